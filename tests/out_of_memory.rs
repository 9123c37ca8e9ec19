//! A process that may have little memory says so, with exit code 11, or does its work: it neither aborts nor hangs (INV-9).
//!
//! What libtorch's own libraries need before `main` runs is found first. Below that the program says so too, until the system's loader cannot
//! even map them, which then says it itself with its own exit code.

use std::path::Path;
use std::process::{Command, Output};

mod common;

use common::plain;

/// The steps in which the limit grows, in KiB.
const STEP: u64 = 30_000;

fn limited(kib: u64, arguments: &str) -> Output {
    let command = format!("ulimit -v {kib}; exec timeout -s KILL 600 {} {arguments}", env!("CARGO_BIN_EXE_temper"));
    let mut shell = Command::new("bash");
    shell.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-c", &command]).output().expect("bash is there")
}

/// The exit code of the system's loader.
const NOT_LOADED: i32 = 127;

fn run(kib: u64, out: &Path) -> Output {
    let name = format!("--set run.out={} --set run.name={kib}", plain(out));
    limited(kib, &format!("run configs/smoke.toml --device cpu --set run.threads=2 {name}"))
}

#[test]
fn inv_9_too_little_memory_has_a_name_wherever_it_is_met() {
    let out = tempfile::tempdir().expect("a folder");
    let least = (1..200).map(|n| n * STEP).find(|&kib| limited(kib, "--version").status.success());
    let least = least.expect("there is a limit under which the libraries are loaded");
    for kib in (1..=5).map(|n| least - n * STEP) {
        let output = limited(kib, "--version");
        let text = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(11) => {
                assert!(text.contains("libraries could not be loaded") && text.contains("hint: "), "{kib} KiB: {text}")
            }
            Some(NOT_LOADED) => assert!(text.contains("shared libraries"), "{kib} KiB: {text}"),
            code => panic!("{kib} KiB: {code:?}: {text}"),
        }
    }
    let (mut named, mut done) = (0, 0);
    for kib in (1..=7).map(|n| least + n * STEP) {
        let output = run(kib, out.path());
        let text = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => done += 1,
            Some(11) => {
                named += 1;
                assert!(text.contains("error: ") && text.contains("hint: "), "{kib} KiB: {text}");
            }
            code => panic!("{kib} KiB: {code:?}: {text}"),
        }
    }
    assert!(named > 0, "{done} runs had enough memory; none had too little");
}
