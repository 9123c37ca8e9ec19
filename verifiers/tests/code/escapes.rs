//! Part C: programs that reach for the host, other processes, the network, or the next run. The controls do the same outside.

use std::net::TcpListener;

use crate::support::{add_tests, fails, installed, namespaces, outside, passes, probe, run, sandbox};

fn opens(path: &str) -> String {
    format!("try:\n    open('{path}', 'rb').read(1)\n    return 'read'\nexcept OSError:\n    return 'refused'")
}

#[test]
fn c01_c03_c10_the_hosts_files_are_not_there() {
    if !namespaces() {
        return;
    }
    for path in ["/etc/passwd", "/proc/self/environ", "/proc/self/maps", "/etc/hostname"] {
        probe(&opens(path), "refused");
        assert_eq!(outside(&opens(path)), "read", "the control: {path} can be read outside");
    }
    for path in [
        "/proc/1/mem",
        "/proc/1/environ",
        "/proc/kcore",
        "/var/run/docker.sock",
        "/etc/shadow",
        "/dev/mem",
        "/dev/vda",
        "/dev/kvm",
        "/dev/fuse",
        "/dev/tty",
        "/old",
    ] {
        probe(&opens(path), "refused");
    }
    for path in ["/sys", "/proc", "/home", "/var", "/old"] {
        probe(&format!("import os\nreturn str(os.path.exists('{path}'))"), "False");
    }
    probe("import os\nreturn ','.join(sorted(os.listdir('/dev')))", "full,null,random,stdin,urandom,zero");
    for path in ["/usr/lib/x", "/x", "/dev/x", "/box/x", "/proc/self/oom_score_adj", "/proc/sysrq-trigger"] {
        probe(
            &format!("try:\n    open('{path}', 'w')\n    return 'written'\nexcept OSError:\n    return 'refused'"),
            "refused",
        );
    }
    probe("open('/dev/null', 'w').write('x')\nopen('/tmp/x', 'w').write('x')\nreturn 'both'", "both");
    probe(
        "import os\ntry:\n    os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))\n    return 'made'\nexcept OSError:\n    return 'refused'",
        "refused",
    );
}

#[test]
fn c02_there_is_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connect = format!(
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 1).close()\n    return 'connected'\nexcept OSError:\n    return 'refused'"
    );
    probe(&connect, "refused");
    assert_eq!(outside(&connect), "connected", "the control: this very port can be reached outside");
    for (family, kind) in [
        ("AF_INET", "SOCK_STREAM"),
        ("AF_INET", "SOCK_DGRAM"),
        ("AF_INET6", "SOCK_DGRAM"),
        ("AF_UNIX", "SOCK_STREAM"),
        ("AF_NETLINK", "SOCK_RAW"),
        ("AF_VSOCK", "SOCK_STREAM"),
        ("AF_PACKET", "SOCK_RAW"),
    ] {
        let body = format!(
            "import socket\ntry:\n    socket.socket(socket.{family}, socket.{kind})\n    return 'open'\nexcept OSError:\n    return 'refused'"
        );
        probe(&body, "refused");
    }
    let unix = "import socket\ntry:\n    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n    return 'open'\nexcept OSError:\n    return 'refused'";
    assert_eq!(outside(unix), "open");
}

/// A system call by number, with its first argument; the name of its errno, or its result.
fn call(number: i64, first: u64) -> String {
    format!(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall.restype = ctypes.c_long\nr = libc.syscall(ctypes.c_long({number}), ctypes.c_ulong({first}), 0, 0, 0, 0, 0)\nreturn errno.errorcode[ctypes.get_errno()] if r < 0 else 'done'"
    )
}

#[test]
fn c04_c06_c07_c11_c21_dangerous_calls_are_not_there() {
    const NEWUSER: u64 = 0x1000_0000;
    let calls = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_mount_setattr,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_kcmp,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_quotactl,
        libc::SYS_acct,
        libc::SYS_swapon,
        libc::SYS_reboot,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_memfd_create,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_clone3,
        libc::SYS_seccomp,
        libc::SYS_capset,
        libc::SYS_setuid,
        libc::SYS_setresuid,
        libc::SYS_mknodat,
        libc::SYS_personality,
        libc::SYS_process_madvise,
        libc::SYS_openat2,
    ];
    for number in calls {
        probe(&call(number, NEWUSER), "ENOSYS");
    }
    // The controls: outside each of these is a call that the kernel knows, and some it does.
    for (number, first) in
        [(libc::SYS_unshare, 0), (libc::SYS_ptrace, 0), (libc::SYS_umount2, 0), (libc::SYS_clone3, 0)]
    {
        assert_ne!(outside(&call(number, first)), "ENOSYS", "{number}");
    }
    let nested = "import ctypes, os\npid = os.fork()\nif pid == 0: os._exit(0 if ctypes.CDLL(None).unshare(0x10000000) == 0 else 1)\nreturn 'made' if os.waitpid(pid, 0)[1] == 0 else 'refused'";
    probe(nested, "refused");
    assert_eq!(outside(nested), "made", "the control: a nested user namespace can be made here");
    // clone with a new user namespace, and the limits of another process.
    probe(&call(libc::SYS_clone, NEWUSER | 17), "ENOSYS");
    probe(
        "import resource\ntry:\n    resource.prlimit(1 << 20, resource.RLIMIT_AS)\n    return 'done'\nexcept OSError:\n    return 'refused'",
        "refused",
    );
    // prctl: no ambient capability can be raised, and nothing but names can be set.
    probe("import ctypes\nreturn str(ctypes.CDLL(None).prctl(47, 2, 21, 0, 0))", "-1");
    probe("import ctypes\nreturn str(ctypes.CDLL(None).prctl(4, 1, 0, 0, 0))", "-1");
    // Memory that can be written and executed may be had, and is under the same filter.
    probe("import mmap\nmmap.mmap(-1, 4096, prot=7).close()\nreturn 'mapped'", "mapped");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn c12_other_architectures_calls_are_refused() {
    probe(&call(0x4000_0000 | libc::SYS_getpid, 0), "ENOSYS");
    // mov eax, 20 (getpid of i386); int 0x80; ret
    let body = "import ctypes, mmap\ncode = bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3])\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(code)\nf = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\nreturn 'called' if f() != 0 else ''";
    let program = format!("def add(a, b):\n{}", body.lines().map(|l| format!("    {l}\n")).collect::<String>());
    let verdict = fails(&program, "RE");
    assert_eq!(verdict.tags["signal"], "SIGSYS");
    assert_eq!(outside(body), "called", "the control: the kernel answers such calls outside");
}

#[test]
fn c05_signals_reach_only_the_programs_own() {
    if !namespaces() {
        return;
    }
    probe("import os\nreturn f'{os.getpid()} {os.getppid()}'", "2 0");
    passes(
        "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass\nfor pid in [1, *range(3, 2000)]:\n    for number in (9, 2, 15, 19):\n        try: os.kill(pid, number)\n        except OSError: pass\n    try: os.kill(pid, 9)\n    except OSError: pass\ndef add(a, b):\n    return a + b",
        add_tests(),
    );
}

#[test]
fn c08_c14_no_descriptor_from_outside_is_left() {
    let body = "import os, stat\nfound = []\nfor fd in range(3, 1024):\n    try: found.append(str(fd) + ('directory' if stat.S_ISDIR(os.fstat(fd).st_mode) else ''))\n    except OSError: pass\nreturn ' '.join(found)";
    probe(body, "3");
    // Descriptor 3 is the run's own channel, a socket.
    probe("import os, stat\nreturn str(stat.S_ISSOCK(os.fstat(3).st_mode))", "True");
    if namespaces() {
        probe(
            "import os\nos.chdir('/')\nfor _ in range(50): os.chdir('..')\nreturn os.getcwd() + str(os.path.exists('old') or os.path.exists('etc/passwd'))",
            "/False",
        );
    }
}

#[test]
fn c09_set_user_id_programs_change_nothing() {
    if !installed("/usr/bin/gcc") {
        return;
    }
    let report = "#include <stdio.h>\n#include <unistd.h>\n#include <sys/prctl.h>\n#include <sys/statvfs.h>\nint main() {\n  struct statvfs s;\n  printf(\"%d %d\\n\", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), geteuid() == 0);\n}";
    let result = run("c", report);
    let step = result.run_result.expect("it compiled");
    // The option is not among those that a program may use, which is as good as set; and nobody is root.
    assert!(["1 0\n", "-1 0\n"].contains(&step.stdout.as_str()), "{step:?}");
    for tool in ["/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd", "/usr/bin/chsh"] {
        if std::path::Path::new(tool).exists() {
            let step = run("bash", &format!("{tool} root -c id < /dev/null; id -u")).run_result.expect("it ran");
            assert!(step.stdout.trim() != "0" && !step.stdout.contains("uid=0"), "{tool}: {step:?}");
        }
    }
}

#[test]
fn c13_there_is_no_terminal_to_type_into() {
    probe(&opens("/dev/tty"), "refused");
    probe(
        "import fcntl\ntry:\n    fcntl.ioctl(0, 0x5412, b'x')\n    return 'typed'\nexcept OSError as e:\n    import errno\n    return errno.errorcode[e.errno]",
        "ENOSYS",
    );
}

#[test]
fn c15_the_environment_holds_no_secrets() {
    probe("import os\nreturn str(len(os.environ))", "6");
    if installed("/bin/bash") {
        let step = run("bash", "env | sort | cut -d= -f1 | tr '\\n' ' '").run_result.expect("it ran");
        assert_eq!(step.stdout, "HOME LANG PATH PWD SHLVL TMPDIR _ ");
    }
}

#[test]
fn c18_c19_nothing_is_left_for_the_next_run() {
    if !namespaces() {
        return;
    }
    let leave = "import builtins, ctypes, gc, os, sys\nbuiltins.sorted = lambda x: 42\nsys.modules['math'] = None\nos.environ['LEFT'] = 'x'\nos.umask(0o777)\nopen('/tmp/left', 'w').close()\nos.chmod('/box/tmp', 0)\nfor module in list(sys.modules.values()):\n    try: module.poison = 1\n    except Exception: pass\nctypes.memset(id(7) + 24, 9, 1)\ndef add(a, b):\n    return 0";
    for _ in 0..4 {
        let verdict = crate::support::judge(leave, add_tests());
        assert_eq!(verdict.status, data::Status::Fail, "{verdict:?}");
        probe(
            "import math, os, sys\nreturn f\"{sorted('ba')} {os.environ.get('LEFT')} {os.listdir('/tmp')} {oct(os.stat('/tmp').st_mode)} {math.floor(1.5)} {any(hasattr(m, 'poison') for m in sys.modules.values())} {3 + 4}\"",
            "['a', 'b'] None [] 0o40700 1 False 7",
        );
    }
    probe(
        "try:\n    open('/usr/lib/python3/x.so', 'w')\n    return 'written'\nexcept OSError:\n    return 'refused'",
        "refused",
    );
}

#[test]
fn c20_runs_do_not_see_the_load_of_the_machine() {
    if !namespaces() {
        return;
    }
    for path in ["/proc/loadavg", "/proc/stat", "/sys/devices/system/cpu/online"] {
        probe(&opens(path), "refused");
    }
    assert_eq!(outside(&opens("/proc/loadavg")), "read");
    assert!(sandbox().isolation().to_string().contains("namespaces"));
}
