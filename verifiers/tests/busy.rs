//! Verdicts on a machine that is busy with something else: a program is never blamed for what it was kept waiting (INV-9).
//!
//! A binary of its own, since it takes a core away from whatever runs beside it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use data::{Status, Verdict};
use serde_json::json;
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier},
};

#[allow(dead_code, reason = "the tests of the sandbox use the rest")]
#[path = "code/support.rs"]
mod support;

use support::{fails_on, item, namespaces, stdio};

const WALL_LIMIT_S: f64 = 0.5;

/// A quarter of a second of work: half of the limit.
const WORKS: &str = "import time\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass\n";

/// Processes that compute on the core of the first cell, and no longer than this value lives.
struct Spinners(Child);

impl Spinners {
    fn start(count: u32) -> Self {
        let program = format!(
            "import os, signal\nos.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\nfor i in range({count} - 1):\n    if os.fork() == 0: break\nsignal.alarm(60)\nprint('up', flush=True)\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
        );
        let mut child =
            Command::new("python3").args(["-c", &program]).stdout(Stdio::piped()).spawn().expect("there is a python3");
        let mut up = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
        (0..count).for_each(|_| drop(up.next()));
        Self(child)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        // The others end with their parent.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn verifier() -> CodeVerifier {
    let settings =
        CodeSettings { time_limit_s: 5.0, wall_limit_s: WALL_LIMIT_S, workers: 1, ..CodeSettings::default() };
    CodeVerifier::new(settings).expect("the sandbox starts here")
}

fn judge(verifier: &CodeVerifier, program: &str, truth: serde_json::Value) -> Verdict {
    verifier.verify(&[item(program, truth)]).remove(0)
}

#[test]
fn inv_9_what_the_machine_kept_waiting_is_no_failure() {
    let verifier = verifier();
    let (call, asserts) = (
        json!({"inputs": [[2]], "outputs": [3], "fn_name": "f"}),
        json!({"asserts": ["x = f(2)\nassert x == 3 and f(0) == 1"]}),
    );
    let right = format!("{WORKS}def f(x):\n    return x + 1\n");
    // A few others: it takes several times its limit by the clock, and mostly there is patience enough.
    let few = Spinners::start(2);
    for (program, truth) in [(format!("{WORKS}print(3)"), stdio("", "3")), (right.clone(), call), (right, asserts)] {
        let verdict = judge(&verifier, &program, truth);
        assert!(matches!(verdict.status, Status::Pass | Status::Error), "{verdict:?}");
    }
    drop(few);
    let _many = Spinners::start(15);
    // Sleep is the program's own, however busy the machine.
    for sleeps in ["import time\ntime.sleep(60)", "import signal\nsignal.pause()"] {
        let start = Instant::now();
        let verdict = judge(&verifier, sleeps, stdio("", ""));
        assert_eq!((verdict.status, verdict.tags.get("verdict").map(String::as_str)), (Status::Fail, Some("TLE")));
        assert!(start.elapsed().as_secs_f64() < 10.0 * WALL_LIMIT_S, "{verdict:?}");
    }
    // And where it would take for ever nobody can tell, which is no reward.
    let verdict = judge(&verifier, &format!("{WORKS}print(3)"), stdio("", "3"));
    assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
    assert!(verdict.reason.contains("too busy"), "{verdict:?}");
    // The cells are as good as new.
    assert_ne!(judge(&verifier, "print(3)", stdio("", "3")).status, Status::Fail);
}

#[test]
fn a_program_that_is_stopped_or_waits_for_itself_is_late() {
    fails_on("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", stdio("", ""), "TLE");
    if namespaces() {
        // Four on one core wait for each other most of the time: that is no waiting for the machine.
        let deadlock = "import os, threading, time\ndef spin():\n    end = time.thread_time() + 0.05\n    while time.thread_time() < end: pass\nfor _ in range(4):\n    threading.Thread(target=spin).start()\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()";
        let verdict = fails_on(deadlock, stdio("", ""), "TLE");
        assert!(verdict.metrics["wall_s"] < 16.5, "never longer than the patience: {verdict:?}");
    }
}
