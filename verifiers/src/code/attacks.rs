//! Programs that try to pass without solving, to break out, or to break the machine; each beside an honest program that still passes.
//!
//! Numbers such as A04 name the attack in the list that the sandbox is held against: A are reward hacks, B exhaustion, C escapes.

use std::{sync::OnceLock, time::Instant};

use data::{Item, Status, Verdict};
use serde_json::{Value, json};

use super::{CodeSettings, CodeVerifier};
use crate::Verifier;

pub(super) const HONEST: &str = "def add(a, b):\n    return a + b\n";

/// One verifier serves every test of this process.
pub(super) fn verifier() -> &'static CodeVerifier {
    static VERIFIER: OnceLock<CodeVerifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let settings = CodeSettings { time_limit_s: 0.5, wall_limit_s: 4.0, workers: 2, ..CodeSettings::default() };
        CodeVerifier::new(settings).expect("the sandbox starts here")
    })
}

pub(super) fn item(program: &str, ground_truth: Value) -> Item {
    Item {
        id: "item".into(),
        prompt: None,
        completion: format!("Here it is:\n```python\n{program}\n```\n"),
        ground_truth,
        data_source: None,
        extra_info: Value::Null,
        token_count: None,
        truncated: false,
    }
}

/// Six hidden tests of `add`.
pub(super) fn add_tests() -> Value {
    json!({"inputs": [[1, 2], [0, 0], [-5, 3], [10, 20], [7, 8], [100, -1]], "outputs": [3, 0, -2, 30, 15, 99], "fn_name": "add"})
}

pub(super) fn judge(program: &str, ground_truth: Value) -> Verdict {
    verifier().verify(&[item(program, ground_truth)]).remove(0)
}

/// The attack fails with the given word, and an honest program in the same cells still passes.
pub(super) fn fails(program: &str, word: &str) -> Verdict {
    fails_on(program, add_tests(), word)
}

fn fails_on(program: &str, ground_truth: Value, word: &str) -> Verdict {
    let verdict = judge(program, ground_truth);
    assert_eq!((verdict.status, verdict.reward), (Status::Fail, Some(0.0)), "{verdict:?}");
    assert_eq!(verdict.tags["verdict"], word, "{verdict:?}");
    passes(HONEST, add_tests());
    verdict
}

fn passes(program: &str, ground_truth: Value) {
    let verdict = judge(program, ground_truth);
    assert_eq!((verdict.status, verdict.reward), (Status::Pass, Some(1.0)), "{verdict:?}");
    assert_eq!(verdict.tags["verdict"], "AC");
}

/// `probe` runs inside and returns a string; it must be the expected one.
fn probe(body: &str, expected: &str) {
    let program = format!("def probe():\n{}", body.lines().map(|l| format!("    {l}\n")).collect::<String>());
    passes(&program, json!({"inputs": [[]], "outputs": [expected], "fn_name": "probe"}));
}

/// False, with the reason printed, where this machine gives the sandbox no namespaces.
pub(super) fn namespaces() -> bool {
    let isolation = verifier().isolation();
    if !isolation.namespaces {
        eprintln!("skipped: {isolation}");
    }
    isolation.namespaces
}

#[test]
fn honest_programs_pass_in_every_form_of_test() {
    passes(HONEST, add_tests());
    passes(HONEST, Value::String(add_tests().to_string()));
    passes("class Solution:\n    def add(self, a, b):\n        return a + b", add_tests());
    passes(
        HONEST,
        json!({"asserts": ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab', 'strings'", "assert add((1,), (2,)) == (1, 2)"]}),
    );
    passes(
        "a, b = map(int, input().split())\nprint(a + b)",
        json!({"inputs": ["1 2\n", "3 4"], "outputs": ["3\n", "7"]}),
    );
    passes("import sys\nprint(sys.stdin.read())\nsys.exit(0)", json!({"inputs": ["x\ny"], "outputs": ["x\ny\n"]}));
    passes("import os\nprint(open(0).read(), flush=True)\nos._exit(0)", json!({"inputs": ["x"], "outputs": ["x"]}));
    passes("if __name__ == '__main__':\n    print(2)", json!({"inputs": [""], "outputs": ["2"]}));
    passes("def f(n):\n    return 2 ** n", json!({"asserts": ["assert f(100) == 1267650600228229401496703205376"]}));
}

#[test]
fn honest_programs_may_use_threads_files_and_event_loops() {
    if !namespaces() {
        return;
    }
    probe(
        "import threading\nout = []\nt = threading.Thread(target=lambda: out.append('ran'))\nt.start()\nt.join()\nreturn out[0]",
        "ran",
    );
    probe(
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 'ran'\nreturn asyncio.run(f())",
        "ran",
    );
    probe(
        "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write('ran')\n    f.seek(0)\n    return f.read()",
        "ran",
    );
    probe(
        "import os\npid = os.fork()\nif pid == 0:\n    os._exit(7)\nreturn str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        "7",
    );
}

#[test]
fn wrong_answers_fail() {
    let verdict = fails("def add(a, b):\n    return a - b", "WA");
    assert_eq!((verdict.metrics["tests_passed"], verdict.metrics["tests_total"]), (0.0, 6.0));
    fails("def add(a, b):\n    return str(a + b)", "WA");
    fails("def add(a, b):\n    return True if a + b == 1 else bool(a + b)", "WA");
    fails("def sub(a, b):\n    return a - b", "RE");
    fails("def add(a, b):\n    return a +", "CE");
    fails_on("print(3)", json!({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]}), "WA");
    let no_block = Item { completion: "I do not know.".into(), ..item("", add_tests()) };
    assert_eq!(verifier().verify(&[no_block])[0].tags["verdict"], "CE");
}

#[test]
fn partial_gives_the_share_and_goes_on_after_a_crash() {
    let settings = CodeSettings { partial: true, workers: 1, time_limit_s: 0.3, ..CodeSettings::default() };
    let verifier = CodeVerifier::new(settings).expect("starts");
    let program = "import os\ndef add(a, b):\n    if a == 0: os._exit(0)\n    if a == 10:\n        while True: pass\n    return a + b";
    let verdict = verifier.verify(&[item(program, add_tests())]).remove(0);
    assert_eq!((verdict.status, verdict.reward), (Status::Fail, Some(4.0 / 6.0)), "{verdict:?}");
    assert_eq!(verdict.tags["verdict"], "RE", "the word is the first failure's");
}

#[test]
fn a01_a02_a03_an_early_exit_is_never_a_pass() {
    fails("import sys\nsys.exit(0)", "RE");
    fails("import os\nos._exit(0)", "RE");
    let verdict = fails("import os\ndef add(a, b):\n    os._exit(0)", "RE");
    assert!(verdict.reason.contains("exit code 0"), "{verdict:?}");
    for raised in ["SystemExit(0)", "KeyboardInterrupt", "type('E', (BaseException,), {})"] {
        fails(&format!("def add(a, b):\n    raise {raised}"), "RE");
    }
    fails_on("import os\nos._exit(0)", json!({"inputs": ["1"], "outputs": ["1"]}), "WA");
    fails_on("print(1)\nraise SystemExit(3)", json!({"inputs": ["1"], "outputs": ["1"]}), "RE");
}

#[test]
fn a04_a05_an_object_that_equals_everything_equals_nothing() {
    for base in ["object", "int", "list", "str", "float", "dict"] {
        let class = format!(
            "class Any({base}):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\n"
        );
        fails(&format!("{class}def add(a, b):\n    return Any()"), "WA");
        let asserts = json!({"asserts": ["assert add(1, 2) == 3"]});
        fails_on(&format!("{class}def add(a, b):\n    return Any()"), asserts, "WA");
    }
    fails("from unittest import mock\ndef add(a, b):\n    return mock.ANY", "WA");
    passes("class Num(int):\n    pass\ndef add(a, b):\n    return int(Num(a)) + b", add_tests());
}

#[test]
fn a08_a09_there_is_nothing_to_find_in_frames_and_heap() {
    let marker = 918_273_645;
    let tests = json!({"inputs": [[1]], "outputs": [format!("secret-{marker}")], "fn_name": "f"});
    let walk = "import gc, sys\ndef f(x):\n    frame, found = sys._getframe(), []\n    while frame:\n        found += [v for v in frame.f_locals.values()]\n        frame = frame.f_back\n    for v in found + gc.get_objects():\n        text = v if isinstance(v, str) else repr(v) if isinstance(v, (bytes, list, dict)) and len(v) < 1000 else ''\n        i = text.find('secret' + '-')\n        if i >= 0: return text[i:i + 16]\n    return 'nothing'";
    fails_on(walk, tests, "WA");
    passes(walk, json!({"inputs": [[1]], "outputs": ["nothing"], "fn_name": "f"}));
    // The next test's input is not there either before its turn.
    probe(
        "import os, fcntl\nfcntl.fcntl(3, fcntl.F_SETFL, os.O_NONBLOCK)\ntry:\n    return repr(os.read(3, 100))\nexcept BlockingIOError:\n    fcntl.fcntl(3, fcntl.F_SETFL, 0)\n    return 'empty'",
        "empty",
    );
}

#[test]
fn a11_a12_forged_results_fail() {
    // A frame without the nonce, one with a wrong index, and the runner's own sender asked to lie.
    fails(
        "import os, struct\ndef add(a, b):\n    p = bytes(16) + struct.pack('>I', 0) + b'T'\n    os.write(3, struct.pack('>I', len(p)) + p)\n    os._exit(0)",
        "RE",
    );
    fails(
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\0\\0\\0\\1T' * 50)\n    except OSError: pass\ndef add(a, b):\n    return 0",
        "RE",
    );
    fails(
        "import builtins, json, struct\njson.dumps = lambda *a: '3'\nbuiltins.type = lambda *a: int\ndef add(a, b):\n    return 'x'",
        "RE",
    );
    fails("import os\ndef add(a, b):\n    os.close(3)\n    return a + b", "RE");
    fails("import os, time\ndef add(a, b):\n    os.close(3)\n    time.sleep(1000)", "RE");
}

#[test]
fn a15_a16_tests_are_in_no_file() {
    probe(
        "import os, sys\nreturn ','.join(sorted(os.environ)) + '|' + ','.join(sys.argv)",
        "HOME,LANG,PATH,PYTHONHASHSEED,PYTHONSAFEPATH,TMPDIR|solution.py",
    );
    let tests = json!({"inputs": ["first", "second"], "outputs": ["first", "second"]});
    passes("import os\nos.lseek(0, 0, 0)\nprint(os.read(0, 1000).decode())", tests);
    let overwrite =
        "import os\ntry:\n    os.pwrite(0, b'x', 0)\n    print('written')\nexcept OSError:\n    print('sealed')";
    passes(overwrite, json!({"inputs": ["y"], "outputs": ["sealed"]}));
}

#[test]
fn b01_b02_b03_endless_programs_end_in_time() {
    for program in [
        "def add(a, b):\n    while True: pass",
        "while True: pass",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\ndef add(a, b):\n    while True: pass",
    ] {
        let start = Instant::now();
        let verdict = judge(program, add_tests());
        assert_eq!(verdict.tags["verdict"], "TLE", "{verdict:?}");
        assert!(start.elapsed().as_secs_f64() < 4.25, "{program} took {:?}", start.elapsed());
    }
    fails("import time\ndef add(a, b):\n    time.sleep(1000)", "TLE");
    fails_on("input()", json!({"inputs": [""], "outputs": [""]}), "RE");
    fails_on("while True: pass", json!({"inputs": ["1"], "outputs": ["1"]}), "TLE");
}

#[test]
fn b04_b06_fork_bombs_and_daemons_die_with_their_run() {
    if !namespaces() {
        return;
    }
    let bomb = "import os\ndef add(a, b):\n    while True:\n        try: os.fork()\n        except OSError: pass";
    fails(bomb, "TLE");
    probe(
        "import os\nn = 0\ntry:\n    while n < 100:\n        if os.fork() == 0:\n            import time; time.sleep(100)\n        n += 1\nexcept OSError:\n    pass\nreturn str(n)",
        "7",
    );
    let daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True:\n            time.sleep(0.01)\n            open('/box/tmp/alive', 'a').write('x')\n    os._exit(0)\ndef add(a, b):\n    return a + b";
    passes(daemon, add_tests());
    for _ in 0..4 {
        probe("import os, time\ntime.sleep(0.05)\nreturn str(os.listdir('/box/tmp'))", "[]");
    }
}

#[test]
fn b08_b12_b16_memory_output_and_stack_are_bounded() {
    fails("x = bytearray(10 ** 11)\ndef add(a, b):\n    return a + b", "MLE");
    fails("def add(a, b):\n    x = []\n    while True: x.append('a' * 10 ** 6)", "MLE");
    fails("def add(a, b):\n    return 'x' * (5 << 20)", "OLE");
    fails_on("while True: print('x' * 10000)", json!({"inputs": ["1"], "outputs": ["1"]}), "OLE");
    passes("def add(a, b):\n    print('x' * (8 << 20))\n    return a + b", add_tests());
    fails("def add(a, b):\n    x = []\n    x.append(x)\n    return x", "WA");
    let verdict = fails("import ctypes\ndef add(a, b):\n    ctypes.string_at(0)", "RE");
    assert_eq!(verdict.tags["signal"], "SIGSEGV");
    let verdict =
        judge("import sys\nsys.setrecursionlimit(10 ** 9)\ndef add(a, b):\n    return add(b, a)", add_tests());
    assert_eq!(verdict.status, Status::Fail, "{verdict:?}");
}

#[test]
fn b14_b15_files_and_descriptors_are_bounded() {
    if !namespaces() {
        return;
    }
    probe(
        "try:\n    with open('big', 'wb') as f:\n        while True: f.write(bytes(1 << 20))\nexcept OSError as e:\n    return type(e).__name__",
        "OSError",
    );
    probe(
        "import os\nn = 0\ntry:\n    while True:\n        os.mkdir(f'd{n}')\n        n += 1\nexcept OSError:\n    return str(n < 1100)",
        "True",
    );
    probe(
        "import os\nn = 0\ntry:\n    while True:\n        os.dup(0)\n        n += 1\nexcept OSError:\n    return str(n < 64)",
        "True",
    );
}

#[test]
fn c01_c03_the_hosts_files_are_not_there() {
    if !verifier().isolation().is_full() {
        eprintln!("skipped: {}", verifier().isolation());
        return;
    }
    for path in ["/etc/passwd", "/proc/self/environ", "/proc/1/mem", "/var/run/docker.sock", "/sys", "/dev/mem", "/old"]
    {
        probe(
            &format!("try:\n    open('{path}').read()\n    return 'read'\nexcept OSError:\n    return 'refused'"),
            "refused",
        );
    }
    probe("import os\nreturn ','.join(sorted(os.listdir('/dev')))", "full,null,random,urandom,zero");
    for path in ["/usr/lib/x", "/x", "/dev/x", "/box/x"] {
        probe(
            &format!("try:\n    open('{path}', 'w')\n    return 'written'\nexcept OSError:\n    return 'refused'"),
            "refused",
        );
    }
    probe("open('/dev/null', 'w').write('x')\nopen('/tmp/x', 'w').write('x')\nreturn 'both'", "both");
}

#[test]
fn c02_there_is_no_network() {
    let connect =
        "import socket\ntry:\n    socket.socket({}, {})\n    return 'open'\nexcept OSError:\n    return 'refused'";
    for (family, kind) in [
        ("socket.AF_INET", "socket.SOCK_STREAM"),
        ("socket.AF_INET", "socket.SOCK_DGRAM"),
        ("socket.AF_UNIX", "socket.SOCK_STREAM"),
        ("socket.AF_NETLINK", "socket.SOCK_RAW"),
    ] {
        probe(&connect.replacen("{}", family, 1).replacen("{}", kind, 1), "refused");
    }
}

#[test]
fn c04_c06_c07_c11_dangerous_calls_are_refused() {
    // unshare(NEWUSER), setns, mount, ptrace, keyctl, io_uring_setup, bpf, userfaultfd, perf_event_open, process_vm_readv, memfd_create,
    // execve; ENOSYS each, whatever the arguments.
    let names = [
        "unshare",
        "setns",
        "mount",
        "ptrace",
        "keyctl",
        "io_uring_setup",
        "bpf",
        "userfaultfd",
        "perf_event_open",
        "process_vm_readv",
        "memfd_create",
        "execve",
        "clone3",
    ];
    let numbers = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_ptrace,
        libc::SYS_keyctl,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_process_vm_readv,
        libc::SYS_memfd_create,
        libc::SYS_execve,
        libc::SYS_clone3,
    ];
    for (name, number) in names.into_iter().zip(numbers) {
        let call = format!(
            "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall({number}, 0x10000000, 0, 0, 0, 0)\nreturn '{name} ' + errno.errorcode[ctypes.get_errno()]"
        );
        probe(&call, &format!("{name} ENOSYS"));
    }
    // clone with a new user namespace, and the limits of another process.
    let clone = format!(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\nr = libc.syscall({}, 0x10000011, 0, 0, 0, 0)\nreturn errno.errorcode[ctypes.get_errno()]",
        libc::SYS_clone
    );
    probe(&clone, "ENOSYS");
    probe(
        "import resource\ntry:\n    resource.prlimit(1 << 20, resource.RLIMIT_AS)\n    return 'done'\nexcept OSError:\n    return 'refused'",
        "refused",
    );
    probe(
        "import ctypes\nlibc = ctypes.CDLL(None)\nout = (ctypes.c_uint32 * 6)()\nreturn str(libc.prctl(47, 2, 21, 0, 0) == 1)",
        "False",
    );
}

#[test]
fn c05_signals_reach_only_the_programs_own() {
    if !namespaces() {
        return;
    }
    probe("import os\nreturn f'{os.getpid()} {os.getppid()}'", "1 0");
    passes(
        "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass\ndef add(a, b):\n    return a + b",
        add_tests(),
    );
}

#[test]
fn c18_nothing_is_left_for_the_next_run() {
    if !namespaces() {
        return;
    }
    let leave = "import builtins, os, sys\nbuiltins.sorted = lambda x: 42\nsys.modules['math'] = None\nos.environ['LEFT'] = 'x'\nos.umask(0o777)\nopen('/tmp/left', 'w').close()\nos.chmod('/box/tmp', 0)\ndef add(a, b):\n    return a + b";
    passes(leave, add_tests());
    for _ in 0..4 {
        probe(
            "import math, os\nreturn f\"{sorted('ba')} {os.environ.get('LEFT')} {os.listdir('/tmp')} {oct(os.stat('/tmp').st_mode)} {math.floor(1.5)}\"",
            "['a', 'b'] None [] 0o40700 1",
        );
    }
}
