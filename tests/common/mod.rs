//! The binary under test, and what two runs are compared by.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub fn temper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temper"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).args(["--device", "cpu"]);
    command
}

pub fn run(arguments: &[&str]) -> Output {
    temper(arguments).output().expect("the binary runs")
}

pub fn assert_ok(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub fn summary(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("summary.json")).expect("the run left a summary");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The bytes of the final weights and of every logged group.
pub fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = vec![PathBuf::from("export/model.safetensors")];
    let log = fs::read_dir(folder.join("log")).expect("there is a log");
    files.extend(log.map(|e| Path::new("log").join(e.expect("an entry").file_name())));
    files.sort();
    files.into_iter().map(|f| (f.clone(), fs::read(folder.join(&f)).expect("it reads"))).collect()
}

pub fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (bytes(a), bytes(b));
    assert_eq!(a.iter().map(|(f, _)| f).collect::<Vec<_>>(), b.iter().map(|(f, _)| f).collect::<Vec<_>>());
    for ((file, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{} differs", file.display());
    }
}

/// `summary.json` and `metrics.jsonl` without what the clock decides.
pub fn timeless(folder: &Path) -> (Value, Vec<Value>) {
    let mut found = summary(folder);
    let timed = |name: &str| name.ends_with("_s") || name.starts_with("timing_s/") || name == "perf/throughput";
    let strip = |value: &mut Value| value.as_object_mut().expect("an object").retain(|name, _| !timed(name));
    strip(&mut found);
    found["stages"].as_array_mut().expect("stages").iter_mut().for_each(strip);
    let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("the run left metrics");
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    rows.iter_mut().for_each(strip);
    (found, rows)
}
