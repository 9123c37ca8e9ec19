//! Part B: programs that use up time, processes, memory, output, files, descriptors.

use std::time::Instant;

use data::Status;
use serde_json::json;
use verifiers::code::StepStatus;

use crate::support::{
    HONEST, add_tests, cgroup, fails, fails_for_memory, fails_on, judge, namespaces, outside, passes, probe, request,
    run, sandbox, stdio,
};

/// Four times the tests' limit by the clock, which is as long as anybody waits beside others, and 250 ms.
const PATIENCE_S: f64 = 4.0 * 4.0 + 0.25;

#[test]
fn b01_b02_b03_endless_programs_end_in_time() {
    for program in [
        "def add(a, b):\n    while True: pass",
        "while True: pass",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\ndef add(a, b):\n    while True: pass",
        "import signal\nfor s in (signal.SIGTERM, signal.SIGXCPU, signal.SIGALRM): signal.signal(s, signal.SIG_IGN)\ndef add(a, b):\n    while True: pass",
    ] {
        let verdict = judge(program, add_tests());
        assert_eq!(verdict.tags["verdict"], "TLE", "{verdict:?}");
        assert!(verdict.metrics["wall_s"] < PATIENCE_S, "{program}: {verdict:?}");
    }
    for sleep in ["import time\ntime.sleep(10 ** 9)", "import signal\nsignal.pause()"] {
        let verdict = fails_on(sleep, stdio("1", "1"), "TLE");
        // What sleeps is late at the limit, but for what it waited to go to sleep.
        assert!(verdict.metrics["wall_s"] < 8.0, "{verdict:?}");
    }
    fails_on("input()", stdio("", ""), "RE");
    fails_on("while True: pass", stdio("1", "1"), "TLE");
}

#[test]
fn b04_b05_processes_and_threads_are_counted() {
    if !namespaces() {
        return;
    }
    let bomb = "import os\ndef add(a, b):\n    while True:\n        try: os.fork()\n        except OSError: pass";
    fails(bomb, "TLE");
    let children = "import os\nn = 0\ntry:\n    while n < 40:\n        if os.fork() == 0:\n            import time; time.sleep(2); os._exit(0)\n        n += 1\nexcept OSError:\n    pass\nreturn str(n)";
    probe(children, "7");
    assert_eq!(outside(children), "40", "the control: outside nothing stops it");
    let threads = "import threading\nn, stop = 0, threading.Event()\ntry:\n    while n < 40:\n        threading.Thread(target=stop.wait, daemon=True).start()\n        n += 1\nexcept RuntimeError:\n    pass\nstop.set()\nreturn str(n) if n > 7 else 'few' if n else 'none'";
    probe(threads, "few");
    assert_eq!(outside(threads), "40");
}

#[test]
fn b06_b07_daemons_die_with_their_run_and_nobody_waits_for_them() {
    if !namespaces() {
        return;
    }
    let daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True:\n            time.sleep(0.01)\n            open('/box/tmp/alive', 'a').write('x')\n    os._exit(0)\n";
    passes(&format!("{daemon}{HONEST}"), add_tests());
    for _ in 0..4 {
        probe("import os, time\ntime.sleep(0.05)\nreturn str(os.listdir('/box/tmp'))", "[]");
    }
    let holds = "import os, time\nif os.fork() == 0:\n    time.sleep(100)\nprint(1, flush=True)\nos._exit(0)";
    let start = Instant::now();
    passes(holds, stdio("", "1"));
    // Far below the 100 seconds that the child holds on.
    assert!(start.elapsed().as_secs_f64() < 10.0, "{:?}", start.elapsed());
}

#[test]
fn b08_b10_memory_of_a_process_is_bounded() {
    fails_for_memory("x = bytearray(10 ** 11)\ndef add(a, b):\n    return a + b", add_tests());
    fails_for_memory("def add(a, b):\n    return 'a' * 10 ** 10", add_tests());
    fails_for_memory("def add(a, b):\n    x = []\n    while True: x.append('a' * 10 ** 6)", add_tests());
    fails_for_memory("x = [0]\nwhile True: x += x", stdio("", ""));
    let map = "import mmap\ntry:\n    mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n    return 'mapped'\nexcept (OSError, MemoryError, ValueError):\n    return 'refused'";
    probe(map, "refused");
    assert_eq!(outside(map), "mapped", "the control: outside a TiB can be reserved");
}

/// Children that each hold some memory, and are held until all have it.
fn children(count: u32, mib: u32) -> String {
    format!(
        "import os, time\nfor _ in range({count}):\n    if os.fork() == 0:\n        x = bytearray({mib} << 20)\n        for i in range(0, len(x), 4096): x[i] = 1\n        time.sleep(1)\n        os._exit(0)\nok = all(os.wait()[1] == 0 for _ in range({count}))\nprint('all' if ok else 'killed')"
    )
}

#[test]
fn b09_memory_is_limited_for_the_tree() {
    if !namespaces() {
        return;
    }
    // Each child is far below the 256 MiB of a process.
    fails_for_memory(&children(5, 90), stdio("", "all"));
    passes(&children(1, 90), stdio("", "all"));
    // And a program that hides what happened to its children is found out.
    let hidden = children(5, 90).replace("print('all' if ok else 'killed')", "print('all')");
    fails_for_memory(&hidden, stdio("", "all"));
    let hidden = hidden.replace("print('all')", "").replace('\n', "\n    ");
    fails_for_memory(&format!("def add(a, b):\n    {hidden}\n    return a + b"), add_tests());
}

#[test]
fn b11_files_in_memory_are_bounded_or_absent() {
    if !namespaces() {
        return;
    }
    for body in [
        "import os\ntry:\n    return str(os.memfd_create('x'))\nexcept OSError:\n    return 'refused'",
        "import ctypes\nlibc = ctypes.CDLL(None)\nreturn 'refused' if libc.shmget(0, 1 << 20, 0o1600) < 0 else 'made'",
        "from multiprocessing import shared_memory\ntry:\n    shared_memory.SharedMemory(create=True, size=1 << 20).unlink()\n    return 'made'\nexcept OSError:\n    return 'refused'",
    ] {
        probe(body, "refused");
        assert_ne!(outside(body), "refused", "the control: outside it works\n{body}");
    }
    let pipes = "import os\nheld, n = [], 0\ntry:\n    while True:\n        r, w = os.pipe()\n        os.set_blocking(w, False)\n        held.append((r, w))\n        n += os.write(w, bytes(1 << 20))\nexcept OSError:\n    return str(n < 4 << 20)";
    probe(pipes, "True");
    let sockets = "import socket\nheld, n = [], 0\ntry:\n    while True:\n        a, b = socket.socketpair()\n        a.setblocking(False)\n        held.append((a, b))\n        n += a.send(bytes(1 << 16))\nexcept OSError:\n    return str(n < 16 << 20)";
    probe(sockets, "True");
}

#[test]
fn b12_b13_output_is_cut_and_floods_do_not_block() {
    fails("def add(a, b):\n    return 'x' * (5 << 20)", "OLE");
    fails_on("while True: print('x' * 10000)", stdio("1", "1"), "OLE");
    fails_on("import sys\nwhile True: sys.stdout.write('x')", stdio("1", "1"), "OLE");
    passes("def add(a, b):\n    print('x' * (8 << 20))\n    return a + b", add_tests());
    let both =
        run("python", "import os\nfor _ in range(40):\n    os.write(1, b'o' * 16384)\n    os.write(2, b'e' * 16384)");
    let step = both.run_result.expect("it ran");
    assert_eq!((step.stdout.len(), step.stderr.len(), step.return_code), (40 << 14, 40 << 14, Some(0)));
    let endless =
        run("python", "import sys\nwhile True:\n    sys.stdout.write('o' * 9999)\n    sys.stderr.write('e' * 9999)");
    let step = endless.run_result.expect("it ran");
    assert_eq!(step.limit.as_deref(), Some("OLE"), "{}", step.return_code.unwrap_or(0));
    assert!(step.stdout.len() <= 1 << 20 && step.stdout_bytes <= 1 << 20);
}

#[test]
fn b14_files_are_bounded() {
    if !namespaces() {
        return;
    }
    probe(
        "try:\n    with open('big', 'wb') as f:\n        while True: f.write(bytes(1 << 20))\nexcept OSError as e:\n    return type(e).__name__",
        "OSError",
    );
    probe(
        "import os\nn = 0\ntry:\n    while True:\n        os.mkdir(f'd{n}')\n        n += 1\nexcept OSError:\n    return str(n < 4100)",
        "True",
    );
    let start = Instant::now();
    probe(
        "import os\nn = 0\ntry:\n    while True:\n        os.mkdir('d' * 255)\n        os.chdir('d' * 255)\n        n += 1\n        if n == 1000: return 'True'\nexcept OSError:\n    return 'early'",
        "True",
    );
    assert!(start.elapsed().as_secs_f64() < 2.0, "taking a deep tree away is no walk: {:?}", start.elapsed());
}

#[test]
fn b15_descriptors_are_bounded() {
    for make in ["os.dup(0)", "os.eventfd(0)", "select.epoll()", "os.pipe()", "socket.socketpair()"] {
        let body = format!(
            "import os, select, socket, ctypes\nheld = []\nif not hasattr(os, 'eventfd'): os.eventfd = lambda x: ctypes.CDLL(None).eventfd(0, 0)\ntry:\n    while True: held.append({make})\nexcept OSError:\n    return str(len(held) < 64)"
        );
        probe(&body, "True");
    }
    for name in ["inotify_init", "signalfd", "fanotify_init"] {
        let body = format!(
            "import ctypes\nlibc = ctypes.CDLL(None)\nreturn 'refused' if libc.{name}(0, 0, 0) < 0 else 'made'"
        );
        probe(&body, "refused");
    }
}

#[test]
fn b16_b17_b18_crashes_and_bombs_stay_in_the_child() {
    let verdict = fails("import ctypes\ndef add(a, b):\n    ctypes.string_at(0)", "RE");
    assert_eq!(verdict.tags["signal"], "SIGSEGV");
    fails("def add(a, b):\n    x = []\n    x.append(x)\n    return x", "WA");
    for program in [
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef add(a, b):\n    return add(b, a)",
        "def add(a, b):\n    return 2 ** (2 ** 40)",
        "def add(a, b):\n    return int('9' * 10 ** 7)",
        "import re\ndef add(a, b):\n    return re.match('(a+)+$', 'a' * 60 + 'b')",
        "import zlib\ndef add(a, b):\n    return zlib.decompress(zlib.compress(bytes(10 ** 8)) * 1)",
        "def add(a, b):\n    return eval('(' * 10 ** 6)",
        "def add(a, b):\n    return eval('f\"' + '{1}' * 10 ** 6 + '\"')",
        "x = ((((((((((1,) * 99999,) * 99999,) * 99999,) * 99999,) * 99999,) * 99999,) * 99999,) * 99999,) * 99999)\ndef add(a, b):\n    return x",
    ] {
        let verdict = judge(program, add_tests());
        assert_eq!(verdict.status, Status::Fail, "{program}: {verdict:?}");
        assert!(verdict.metrics["wall_s"] < PATIENCE_S, "{program}: {verdict:?}");
        passes(HONEST, add_tests());
    }
    let parser = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(judge(&format!("x = {parser}\n{HONEST}"), add_tests()).status, Status::Fail);
    passes(HONEST, add_tests());
}

#[test]
fn b19_nothing_of_the_scheduler_or_of_locks_is_shared() {
    for body in [
        "import os\ntry:\n    os.nice(-20)\n    return 'done'\nexcept OSError:\n    return 'refused'",
        "import os\ntry:\n    os.sched_setaffinity(0, {0})\n    return 'done'\nexcept OSError:\n    return 'refused'",
        "import os\ntry:\n    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))\n    return 'done'\nexcept OSError:\n    return 'refused'",
        "import resource\ntry:\n    resource.setrlimit(resource.RLIMIT_RTPRIO, (50, 50))\n    return 'done'\nexcept (OSError, ValueError):\n    return 'refused'",
    ] {
        probe(body, "refused");
    }
    assert_eq!(outside("import os\nos.sched_setaffinity(0, os.sched_getaffinity(0))\nreturn 'done'"), "done");
    if namespaces() {
        let lock = "import fcntl\nf = open('/box/tmp/lock', 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\nreturn 'locked'";
        probe(lock, "locked");
        probe(lock, "locked");
    }
}

#[test]
fn b20_cpu_time_counts_for_the_tree() {
    if !namespaces() {
        return;
    }
    // Four children, each below the half second; and on one core, so that the machine's other cores are left alone.
    let burn = "import os, time\ndef burn():\n    end = time.process_time() + 0.3\n    while time.process_time() < end: pass\nfor _ in range(4):\n    if os.fork() == 0:\n        burn()\n        os._exit(0)\nfor _ in range(4): os.wait()\n";
    fails_on(&format!("{burn}print(1)"), stdio("", "1"), "TLE");
    passes(&format!("{}print(1)", burn.replace("range(4)", "range(1)")), stdio("", "1"));
    let inside = burn.replace('\n', "\n    ");
    fails_on(
        &format!("def f():\n    {inside}return 1"),
        json!({"inputs": [[]], "outputs": [1], "fn_name": "f"}),
        "TLE",
    );
    probe("import os\nreturn str(len(os.sched_getaffinity(0)))", "1");
}

#[test]
fn b21_a_program_that_ends_at_its_limit_has_one_verdict() {
    for offset in [-0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02] {
        let program = format!(
            "import time\ndef add(a, b):\n    end = time.process_time() + {}\n    while time.process_time() < end: pass\n    return a + b",
            0.5 + offset
        );
        let verdict = judge(&program, json!({"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}));
        let pair = (verdict.status, verdict.tags["verdict"].as_str());
        assert!(matches!(pair, (Status::Pass, "AC") | (Status::Fail, "TLE")), "{verdict:?}");
        assert_eq!(verdict.reward, Some(if verdict.status == Status::Pass { 1.0 } else { 0.0 }));
    }
}

#[test]
fn b22_input_that_is_never_read_is_no_error() {
    passes("print(1)", stdio(&"x".repeat(4 << 20), "1"));
    let long = json!({"inputs": [["x".repeat(4 << 20)]], "outputs": [1], "fn_name": "f"});
    passes("def f(x):\n    return 1", long);
    let mut unread = request("bash", "exit 0");
    unread.stdin = Some("x".repeat(4 << 20));
    if namespaces() && std::path::Path::new("/bin/bash").exists() {
        let result = sandbox().run_code(&unread).expect("a sound request");
        assert_eq!(result.run_result.map(|step| step.status), Some(StepStatus::Finished));
    }
}

#[test]
fn b10_a_tree_that_only_the_cgroup_sees_is_ended_by_it() {
    if !cgroup() || !std::path::Path::new("/usr/bin/gcc").exists() {
        return;
    }
    let touch = "#include <sys/mman.h>\nint main() {\n  char *p = mmap(0, 1UL << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);\n  if (p == MAP_FAILED) return 3;\n  for (unsigned long i = 0;; i += 4096) p[i] = 1;\n}";
    let result = run("c", touch);
    let step = result.run_result.expect("it compiled");
    assert_eq!(step.limit.as_deref(), Some("MLE"), "{step:?}");
}
