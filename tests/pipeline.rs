//! The binary as users run it: the smoke recipe with every kind of stage, killed and resumed, on foreign data, and on bad input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn temper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temper"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).args(["--device", "cpu"]);
    command
}

fn run(arguments: &[&str]) -> Output {
    temper(arguments).output().expect("the binary runs")
}

fn smoke(out: &Path, name: &str, more: &[&str]) -> Output {
    let out = format!("run.out={}", out.display());
    run(&[["run", "configs/smoke.toml", "--set", &out, "--name", name].as_slice(), more].concat())
}

fn assert_ok(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn summary(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("summary.json")).expect("the run left a summary");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The bytes of the final weights and of every logged group.
fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = vec![PathBuf::from("export/model.safetensors")];
    let log = fs::read_dir(folder.join("log")).expect("there is a log");
    files.extend(log.map(|e| Path::new("log").join(e.expect("an entry").file_name())));
    files.sort();
    files.into_iter().map(|f| (f.clone(), fs::read(folder.join(&f)).expect("it reads"))).collect()
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (bytes(a), bytes(b));
    assert_eq!(a.iter().map(|(f, _)| f).collect::<Vec<_>>(), b.iter().map(|(f, _)| f).collect::<Vec<_>>());
    for ((file, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{} differs", file.display());
    }
}

#[test]
fn inv_7_the_same_bytes_twice_and_with_one_thread_and_two() {
    let out = tempfile::tempdir().expect("a folder");
    assert_ok(&smoke(out.path(), "a", &["--threads", "2"]));
    assert_ok(&smoke(out.path(), "b", &["--threads", "1"]));
    assert_same(&out.path().join("a"), &out.path().join("b"));
    let found = summary(&out.path().join("a"));
    assert_eq!(found["exactness"]["max_abs_logprob_diff"], 0.0);
    assert!(found["exactness"]["tokens_compared"].as_u64() > Some(1000));
    assert_eq!(found["verdicts"]["error"], 0);
    assert_eq!(found["stages"].as_array().map(Vec::len), Some(10));
    assert!(out.path().join("a/report.html").exists());
}

#[test]
fn inv_6_a_killed_run_ends_with_the_same_bytes() {
    let out = tempfile::tempdir().expect("a folder");
    assert_ok(&smoke(out.path(), "whole", &[]));
    let (killed, set) = (out.path().join("killed"), format!("run.out={}", out.path().display()));
    let start = ["run", "configs/smoke.toml", "--set", &set, "--name", "killed"];
    for delay_ms in [300, 450, 600, 750] {
        let resume = ["resume", killed.to_str().expect("a plain path")];
        let arguments: &[&str] = if killed.join("resolved.toml").exists() { &resume } else { &start };
        let mut child = temper(arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(delay_ms));
        // It may have ended by itself on a fast machine; then there is nothing to kill.
        let _ = child.kill();
        child.wait().expect("it ends");
    }
    assert_ok(&run(&["resume", killed.to_str().expect("a plain path")]));
    assert_same(&out.path().join("whole"), &killed);
}

#[test]
fn a_second_run_in_the_same_folder_is_refused_and_nothing_is_lost() {
    let out = tempfile::tempdir().expect("a folder");
    let quick = ["--set", "stages.pretrain.steps=1"];
    assert_ok(&smoke(out.path(), "a", &quick));
    let before = bytes(&out.path().join("a"));
    let again = smoke(out.path(), "a", &quick);
    assert_eq!(again.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&again.stderr).contains("temper resume"));
    assert_eq!(bytes(&out.path().join("a")), before);
}

/// A recipe on a transformers checkpoint and a pandas Parquet, neither made by Temper.
fn foreign(folder: &Path, data: &str, checkpoint: &str) -> PathBuf {
    let recipe = folder.join("foreign.toml");
    let text = format!(
        r#"
        [run]
        name = "foreign"
        out = "{out}"
        [model]
        checkpoint = "{checkpoint}"
        [sampling]
        max_new_tokens = 12
        [eval]
        n = 4
        [domains.math]
        train = [{{ path = "{data}" }}]
        eval = [{{ path = "{data}" }}]
        verifiers = [{{ name = "math" }}, {{ name = "length", settings = {{ max_tokens = 12, cache_tokens = 10 }} }}]
        [[stages]]
        name = "rl"
        kind = "rl"
        steps = 2
        rl = {{ prompts = 4, group = 4, max_refill = 0 }}
        optimizer = {{ lr = 1e-4 }}
        [[stages]]
        name = "export"
        kind = "export"
        "#,
        out = folder.display(),
    );
    fs::write(&recipe, text).expect("it writes");
    recipe
}

#[test]
fn a_transformers_checkpoint_and_a_verl_parquet_work_the_same_way() {
    let out = tempfile::tempdir().expect("a folder");
    let recipe = foreign(out.path(), "data/tests/fixtures/verl_math.parquet", "tests/fixtures/hf_tiny_v32");
    assert_ok(&run(&["run", recipe.to_str().expect("a plain path")]));
    let found = summary(&out.path().join("foreign"));
    assert_eq!(found["exactness"]["max_abs_logprob_diff"], 0.0);
    let exported = fs::read_to_string(out.path().join("foreign/export/config.json")).expect("a config");
    assert!(exported.contains("deepseek_v32"));
}

/// Bad input: what is given, the exit code, and what the message must name.
#[test]
fn bad_input_gives_a_clear_message_and_its_exit_code() {
    let out = tempfile::tempdir().expect("a folder");
    let good = (("data/tests/fixtures/verl_math.parquet"), ("tests/fixtures/hf_tiny_v32"));
    let write = |name: &str, text: &str| {
        let path = out.path().join(name);
        fs::write(&path, text).expect("it writes");
        path.display().to_string()
    };
    let cut = out.path().join("cut");
    fs::create_dir(&cut).expect("a folder");
    for entry in fs::read_dir(good.1).expect("the fixture is committed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), cut.join(entry.file_name())).expect("it copies");
    }
    let weights = cut.join("model.safetensors");
    let whole = fs::read(&weights).expect("it reads");
    fs::write(&weights, &whole[..whole.len() / 2]).expect("it writes");

    let long = "2+2 ".repeat(300);
    let cases = [
        (write("empty.jsonl", ""), good.1.to_owned(), 3, "empty.jsonl"),
        (write("broken.jsonl", "{\"prompt\": \"1+1\", \n"), good.1.to_owned(), 3, "broken.jsonl"),
        (
            write("long.jsonl", &format!("{{\"prompt\": \"{long}\", \"ground_truth\": \"4\"}}\n")),
            good.1.to_owned(),
            3,
            "tokens leave no room",
        ),
        (good.0.to_owned(), cut.display().to_string(), 4, "cut or damaged"),
        (good.0.to_owned(), out.path().join("absent").display().to_string(), 4, "absent"),
    ];
    for (data, checkpoint, code, message) in cases {
        let _ = fs::remove_dir_all(out.path().join("foreign"));
        let recipe = foreign(out.path(), &data, &checkpoint);
        let output = run(&["run", recipe.to_str().expect("a plain path")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{data} {checkpoint}: {text}");
        assert!(text.contains(message), "{message:?} is not in: {text}");
    }
    let typo = run(&["run", "configs/smoke.toml", "--set", "run.sed=3", "--dry-run"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typo.stderr).contains("seed"));
}

#[test]
fn a_loss_that_is_not_finite_is_not_applied_and_its_batch_is_kept() {
    let out = tempfile::tempdir().expect("a folder");
    let output = smoke(out.path(), "a", &["--set", "stages.pretrain.optimizer.lr=1e30"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{text}");
    let stage = out.path().join("a/stages/00-pretrain");
    let kept = fs::read_dir(stage).expect("the stage's folder").filter_map(Result::ok);
    assert!(kept.into_iter().any(|e| e.file_name().to_string_lossy().starts_with("refused-")), "{text}");
}

#[test]
fn every_recipe_resolves() {
    for entry in fs::read_dir("configs").expect("configs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "toml") {
            assert_ok(&run(&["run", path.to_str().expect("a plain path"), "--dry-run"]));
        }
    }
}
