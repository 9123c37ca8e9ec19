//! The binary under test, and what two runs are compared by.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

pub fn temper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temper"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).args(["--device", "cpu"]);
    command
}

/// As [`temper`], for commands that know no device.
pub fn plain_temper(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temper"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().expect("the binary runs")
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

/// `summary.json` and `metrics.jsonl` without what the clock and the machine's memory decide.
pub fn timeless(folder: &Path) -> (Value, Vec<Value>) {
    let mut found = summary(folder);
    let timed = |name: &str| {
        name.ends_with("_s") || name.starts_with("timing_s/") || name.starts_with("perf/") || name == "memory"
    };
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

/// A recipe whose samples live for several steps: an indexer that learns and is replayed, cut sampling, staleness 2.
pub fn recipe(folder: &Path, name: &str, more: &str) -> PathBuf {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let text = format!(
        r#"
        [run]
        name = "{name}"
        out = "{out}"
        {run}
        [model]
        config = "{configs}/smoke-model.json"
        tokenizer = "{configs}/base"
        init_std = 0.1
        [sampling]
        max_new_tokens = 40
        temperature = 0.8
        top_p = 0.9
        batch = 16
        [eval]
        after = false
        [domains.math]
        kl_beta = 0.01
        train = [{{ generator = "arithmetic", n = 500, seed = 1, settings = {{ steps = [2, 2] }} }}]
        verifiers = [{{ name = "length", settings = {{ max_tokens = 40, cache_tokens = 30 }} }}]
        [[stages]]
        name = "pretrain"
        kind = "pretrain"
        steps = 1
        batch = {{ tokens = 512 }}
        optimizer = {{ lr = 3e-3 }}
        [[stages]]
        name = "warmup"
        kind = "indexer-warmup"
        steps = 1
        batch = {{ tokens = 512 }}
        indexer = {{ top_k = 16, heads = 2, width = 16 }}
        optimizer = {{ lr = 3e-3 }}
        [[stages]]
        name = "rl"
        kind = "rl"
        steps = 6
        checkpoint_every = 2
        optimizer = {{ lr = 3e-4 }}
        [stages.rl]
        prompts = 3
        group = 4
        max_staleness = 2
        in_flight = 4
        mini_steps = 2
        off_policy_delta = 0.1
        max_refill = 1
        {rl}
        [[stages]]
        name = "export"
        kind = "export"
        "#,
        out = folder.display(),
        configs = configs.display(),
        run = more.split_once('|').map_or("", |m| m.0),
        rl = more.split_once('|').map_or(more, |m| m.1),
    );
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text).expect("it writes");
    path
}

pub fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A copy of a folder of files.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        fs::copy(&file, to.join(file.file_name().expect("a file"))).expect("it copies");
    }
}

/// Runs a recipe to its end and returns its folder.
pub fn run_recipe(recipe: &Path) -> PathBuf {
    assert_ok(&temper(&["run", plain(recipe)]).output().expect("the binary runs"));
    recipe.with_extension("")
}

/// A recipe as [`recipe`] writes it, with some of its text replaced.
pub fn recipe_with(folder: &Path, name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let path = recipe(folder, name, "");
    change(&path, changes);
    path
}

/// Replaces some of a file's text, which must be there.
pub fn change(path: &Path, changes: &[(&str, &str)]) {
    let text = fs::read_to_string(path).expect("it was written");
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    fs::write(path, text).expect("it writes");
}

/// What makes the recipe's samples as old as the weights that learn from them.
pub const WAITING: [(&str, &str); 2] = [("max_staleness = 2", "max_staleness = 0"), ("in_flight = 4", "")];

/// Files of groups in the log of a run.
pub fn logged(folder: &Path) -> usize {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let of_groups = |name: &String| !name.starts_with('.') && name.ends_with(".parquet");
    fs::read_dir(folder.join("log")).map_or(0, |log| log.filter_map(name).filter(of_groups).count())
}

/// Waits until the log has its `files`-th file of groups, or the run has ended.
pub fn wait_for_log(child: &mut Child, folder: &Path, files: usize) {
    while logged(folder) < files && child.try_wait().expect("it can be asked").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal. The run may have ended by itself; then there is nothing to strike.
pub fn strike(child: &Child, signal: &str) {
    let _ = Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status();
}

/// Stops the run when the log has its `files`-th file and then some, however far the next step has come: with SIGKILL, or with SIGTERM,
/// after which it saves what is in flight.
pub fn stop_at(child: &mut Child, folder: &Path, files: usize, later: Duration, signal: &str) {
    wait_for_log(child, folder, files);
    std::thread::sleep(later);
    strike(child, signal);
    child.wait().expect("it ends");
}
