//! The verifier as a service to its caller: steady verdicts, several threads, errors that are no rewards, nothing left behind.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use data::{Item, Status};
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CgroupVersion, CodeSettings, CodeVerifier, SandboxError},
};

use crate::support::{HONEST, add_tests, fails, item, judge, namespaces, sandbox, verifier};

#[test]
fn d07_the_same_programs_get_the_same_verdicts_a_thousand_times() {
    // The counter makes each program new, so that none is answered from another's run.
    let programs = [
        "def add(a, b):\n    return a + b",
        "def add(a, b):\n    return {str(i) for i in range(9)}.pop()",
        "def add(a, b):\n    return 1 / 0",
        "import random\ndef add(a, b):\n    return random.random()",
    ];
    let items: Vec<Item> = (0..1000).map(|i| item(&format!("{}\n# {i}", programs[i % 4]), add_tests())).collect();
    let start = Instant::now();
    let verdicts = verifier().verify(&items);
    let errors: Vec<_> = verdicts.iter().filter(|v| v.status == Status::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let cpu_s: f64 = verdicts.iter().map(|v| v.metrics["cpu_s"]).sum();
    eprintln!(
        "{:.0} programs/s with up to 6 tests each, 2 cells; {cpu_s:.2} ms of CPU in a child",
        1000.0 / start.elapsed().as_secs_f64()
    );
    for (i, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.tags["verdict"], ["AC", "WA", "RE", "WA"][i % 4], "{verdict:?}");
        assert_eq!(verdict.reason, verdicts[i % 4].reason);
    }
    let seen: BTreeSet<String> = (0..8)
        .map(|i| {
            judge(
                &format!("def add(a, b):\n    raise ValueError(''.join({{str(i) for i in range(9)}}))\n# {i}"),
                add_tests(),
            )
            .reason
        })
        .collect();
    assert_eq!(seen.len(), 1, "the order of a set is the same in every cell: {seen:?}");
}

#[test]
fn the_same_program_on_the_same_tests_runs_once_a_call() {
    let endless = item("def add(a, b):\n    while True: pass", add_tests());
    let other_tests = Item { ground_truth: json!({"asserts": ["assert add(1, 1) == 2"]}), ..item(HONEST, Value::Null) };
    let mut items = vec![endless; 100];
    items.extend([other_tests, item(HONEST, add_tests()), item(HONEST, json!(1))]);
    let start = Instant::now();
    let verdicts = verifier().verify(&items);
    assert!(start.elapsed().as_secs() < 10, "each run alone takes half a second");
    assert!(verdicts[..100].iter().all(|v| v.tags["verdict"] == "TLE"));
    let ends: Vec<Status> = verdicts[100..].iter().map(|v| v.status).collect();
    assert_eq!(ends, [Status::Pass, Status::Pass, Status::Error]);
}

#[test]
fn one_verifier_serves_several_threads() {
    std::thread::scope(|scope| {
        for t in 0..4 {
            scope.spawn(move || {
                for i in 0..10 {
                    let verdict = judge(&format!("def add(a, b):\n    return a + b + {}", (i + t) % 2), add_tests());
                    assert_eq!(verdict.status == Status::Pass, (i + t) % 2 == 0, "{verdict:?}");
                }
            });
        }
    });
}

#[test]
fn inv_9_d05_what_fails_in_the_sandbox_is_an_error_and_never_a_reward() {
    let python = "/nonexistent/python3";
    let missing = CodeVerifier::new(CodeSettings { python: python.into(), ..CodeSettings::default() });
    assert!(matches!(missing, Err(SandboxError::NoPython { .. })), "{missing:?}");
    for bad in [json!(null), json!("x"), json!({"inputs": [[1]], "outputs": [], "fn_name": "add"})] {
        let verdict = judge(HONEST, bad);
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
    }
    let wrong = Item { extra_info: json!({"code": {"time_limit_s": -1.0}}), ..item(HONEST, add_tests()) };
    assert_eq!(verifier().verify(&[wrong])[0].status, Status::Error);
}

#[test]
fn inv_9_a_program_cannot_make_its_failure_look_like_the_sandboxs() {
    // An error masks a sample, which a program that cannot solve its task would like better than a zero.
    for (program, word) in [
        ("import os, signal\ndef add(a, b):\n    os.kill(os.getpid(), signal.SIGKILL)", "RE"),
        (
            "import resource\ndef add(a, b):\n    resource.setrlimit(resource.RLIMIT_CPU, (0, 0))\n    while True: pass",
            "RE",
        ),
        ("import os\ndef add(a, b):\n    os.abort()", "RE"),
        ("import os, sys\nos.chmod('/box/tmp', 0)\nsys.exit(1)", "RE"),
    ] {
        if namespaces() {
            fails(program, word);
        }
    }
}

#[test]
fn inv_9_d04_a_cell_that_cannot_come_back_is_an_error() {
    // A launcher that answers the probe, and then is gone.
    let dir = tempfile::tempdir().expect("directory");
    let python = dir.path().join("python");
    let script = format!(
        "#!/bin/sh\nexec python3 -S -s -E -c 'print(\"{{\\\"executable\\\": \\\"{}\\\", \\\"version\\\": [3, 11], \\\"libraries\\\": []}}\")'\n",
        dir.path().join("gone").display()
    );
    std::fs::write(&python, script).expect("script");
    std::fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).expect("mode");
    let lost = CodeVerifier::new(CodeSettings { python, ..CodeSettings::default() });
    assert!(matches!(lost, Err(SandboxError::Launch { .. })), "{lost:?}");
}

#[test]
fn strict_refuses_less_than_everything() {
    let strict = CodeVerifier::new(CodeSettings { strict: true, workers: 1, ..CodeSettings::default() });
    match strict {
        Ok(verifier) => assert!(verifier.isolation().is_full()),
        Err(e) => assert!(matches!(e, SandboxError::NotStrict(_)) && !verifier().isolation().is_full(), "{e}"),
    }
}

#[test]
fn what_is_in_force_is_printed() {
    let isolation = sandbox().isolation();
    let text = isolation.to_string();
    let word = match isolation.cgroup {
        Some(CgroupVersion::V2) => "limited by cgroup v2",
        Some(CgroupVersion::V1) => "limited by cgroup v1",
        None => "no cgroup",
    };
    assert!(text.contains(word) && text.contains("seccomp") && text.contains("Python 3."), "{text}");
    assert_eq!(text.starts_with("full: "), isolation.is_full(), "{text}");
    assert_eq!(isolation.missing.is_empty(), isolation.is_full(), "what is missing is said: {text}");
}

#[test]
fn d04_a_zygote_that_was_killed_is_started_again() {
    let others = descendants(std::process::id());
    let verifier = CodeVerifier::new(CodeSettings { workers: 1, ..CodeSettings::default() }).expect("starts");
    let ran = |i: u32| verifier.verify(&[item(&format!("{HONEST}# {i}"), add_tests())]).remove(0);
    assert_eq!(ran(0).status, Status::Pass);
    for round in 1..4 {
        // Other tests of this process may have cells of their own.
        let own = descendants(std::process::id()).into_iter().filter(|pid| !others.contains(pid) && is_cell(*pid));
        for pid in own.collect::<Vec<_>>() {
            // SAFETY: no memory is handed over; a process that is gone meanwhile is an error, which is as good.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        let verdict = ran(round);
        assert_eq!((verdict.status, verdict.reward), (Status::Pass, Some(1.0)), "{verdict:?}");
    }
}

/// True for an interpreter of a cell, which has the runner in its command line.
fn is_cell(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("The warm interpreter"))
}

/// Groups of cells below the hierarchies that this process is in.
fn groups() -> Vec<std::path::PathBuf> {
    fn below(path: &std::path::Path, depth: usize, found: &mut Vec<std::path::PathBuf>) {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with("temper-cell-") {
                found.push(entry.path());
            } else if depth < 6 {
                below(&entry.path(), depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    below("/sys/fs/cgroup".as_ref(), 0, &mut found);
    found
}

#[test]
fn d03_nothing_is_left_when_the_verifier_goes() {
    const ROUNDS: usize = 16;
    // Other tests may run beside this one; a leak of one thing a round would still show.
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("/proc").count();
    let children = || descendants(std::process::id()).len();
    let before = (descriptors(), children());
    for _ in 0..ROUNDS {
        let verifier = CodeVerifier::new(CodeSettings { workers: 1, ..CodeSettings::default() }).expect("starts");
        assert_eq!(verifier.verify(&[item(HONEST, add_tests())])[0].status, Status::Pass);
    }
    let after = (descriptors(), children());
    assert!(after.0 < before.0 + ROUNDS && after.1 < before.1 + ROUNDS, "{before:?} {after:?}");
}

#[test]
fn d03_the_cells_die_with_their_supervisor() {
    // This test runs itself in a process that is killed, then looks whether the cells that it had are gone.
    const MARK: &str = "TEMPER_TEST_SUPERVISOR";
    if std::env::var_os(MARK).is_some() {
        let verifier = CodeVerifier::new(CodeSettings { workers: 1, wall_limit_s: 60.0, ..CodeSettings::default() })
            .expect("starts");
        verifier.verify(&[item(HONEST, add_tests())]);
        println!("started");
        verifier.verify(&[item("import time\ndef add(a, b):\n    time.sleep(60)", add_tests())]);
        return;
    }
    let myself = std::env::current_exe().expect("path");
    let name = "service::d03_the_cells_die_with_their_supervisor";
    let mut child = std::process::Command::new(myself)
        .args([name, "--exact", "--nocapture"])
        .env(MARK, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a second process of this test");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    assert!(lines.any(|line| line.expect("text").contains("started")));
    // The zygote, and the child that sleeps.
    std::thread::sleep(Duration::from_millis(300));
    let family = descendants(child.id());
    assert!(!family.is_empty());
    let id = child.id();
    let mine = |path: &std::path::PathBuf| path.to_string_lossy().contains(&format!("temper-cell-{id}-"));
    let had_groups = groups().iter().any(mine);
    child.kill().expect("kill");
    child.wait().expect("wait");
    let deadline = Instant::now() + Duration::from_secs(5);
    while family.iter().any(|pid| alive(*pid)) {
        assert!(Instant::now() < deadline, "still alive: {family:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its groups are taken away by whoever starts next.
    assert_eq!(had_groups, sandbox().isolation().cgroup.is_some());
    drop(CodeVerifier::new(CodeSettings { workers: 1, ..CodeSettings::default() }).expect("starts"));
    assert!(!groups().iter().any(mine), "{:?}", groups());
}

/// Processes below `pid`, as they are now.
fn descendants(pid: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children: Vec<u32> = pids.filter(|p| stat(*p).is_some_and(|(_, parent)| parent == pid)).collect();
    children.iter().copied().chain(children.iter().flat_map(|child| descendants(*child))).collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Runs: neither gone nor waiting to be reaped.
fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}
