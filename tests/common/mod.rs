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

/// Equal weights, logged groups, and metrics without what the clock decides.
pub fn assert_same(a: &Path, b: &Path) {
    assert_eq!(timeless(a).1, timeless(b).1);
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

/// Every metric of a run is one that `docs/metrics.md` names.
pub fn assert_metrics_are_documented(folder: &Path) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let named: Vec<&str> = rows.flat_map(|(names, _)| names.split(", ")).map(|name| name.trim_matches('`')).collect();
    let (_, metrics) = timeless(folder);
    let numbers =
        metrics.iter().flat_map(|row| row.as_object().expect("an object").keys()).filter(|name| name.contains('/'));
    let names: std::collections::BTreeSet<&String> = numbers.collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(named.iter().any(|pattern| is_named_by(name, pattern)), "docs/metrics.md does not name {name}");
    }
}

/// `*` stands for one path segment.
fn is_named_by(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<_>, Vec<_>) = (name.split('/').collect(), pattern.split('/').collect());
    name.len() == pattern.len() && name.iter().zip(&pattern).all(|(n, p)| n == p || *p == "*")
}
