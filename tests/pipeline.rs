//! The binary as users run it: the smoke recipe with every kind of stage, killed and resumed, on foreign data, and on bad input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use data::{Author, RunLog};
use serde_json::Value;

mod common;

use common::{
    assert_metrics_are_documented, assert_ok, assert_same, bytes, copy_folder, run, summary, temper, timeless,
};

fn smoke(out: &Path, name: &str, more: &[&str]) -> Output {
    let out = format!("run.out={}", out.display());
    run(&[["run", "configs/smoke.toml", "--set", &out, "--name", name].as_slice(), more].concat())
}

#[test]
fn inv_7_the_same_bytes_twice_and_with_one_thread_and_two() {
    let out = tempfile::tempdir().expect("a folder");
    assert_ok(&smoke(out.path(), "a", &["--threads", "2"]));
    assert_ok(&smoke(out.path(), "b", &["--threads", "1"]));
    assert_same(&out.path().join("a"), &out.path().join("b"));
    let found = summary(&out.path().join("a"));
    assert_eq!(found["exactness"]["max_abs_logprob_diff"], 0.0);
    assert_eq!(found["verdicts"]["error"], 0);
    assert_eq!(found["stages"].as_array().map(Vec::len), Some(11));
    assert!(out.path().join("a/report.html").exists());
    assert_metrics_are_documented(&out.path().join("a"));
}

/// Tokens of the run's log that a policy sampled, whoever it was.
fn tokens_sampled(folder: &Path) -> usize {
    let log = RunLog::open(folder.join("log")).expect("it is there");
    let of_file = |file: PathBuf| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let (stage, step) = name.rsplit_once('-').expect("a stage and a step");
        let groups = log.read(stage, step.parse().expect("a number")).expect("it reads");
        let samples = groups.iter().flat_map(|g| &g.samples);
        samples.flat_map(|s| &s.trajectory.authors).filter(|author| **author == Author::Policy).count()
    };
    files_of(&folder.join("log")).into_iter().map(of_file).sum()
}

#[test]
fn inv_1_every_token_that_was_sampled_is_compared() {
    let out = tempfile::tempdir().expect("a folder");
    // Short completions are cut, and those that are cut are masked.
    let cut = ["--set", "sampling.max_new_tokens=6", "--set", "stages.math-rl.rl.overlong_filter=true"];
    for (name, more) in [("a", &[][..]), ("cut", &cut)] {
        assert_ok(&smoke(out.path(), name, more));
        let (folder, found) = (out.path().join(name), summary(&out.path().join(name)));
        assert_eq!(found["exactness"]["tokens_compared"].as_u64(), Some(tokens_sampled(&folder) as u64), "{name}");
    }
}

#[test]
fn inv_6_a_killed_run_ends_with_the_same_bytes() {
    let out = tempfile::tempdir().expect("a folder");
    assert_ok(&smoke(out.path(), "whole", &[]));
    let (killed, set) = (out.path().join("killed"), format!("run.out={}", out.path().display()));
    let start = ["run", "configs/smoke.toml", "--set", &set, "--name", "killed"];
    // At the instant at which the log has this many files: after a group is logged and before it is learned, or in an evaluation.
    for files in [1, 4, 7, 11, 15] {
        let resume = ["resume", killed.to_str().expect("a plain path")];
        let arguments: &[&str] = if killed.join("resolved.toml").exists() { &resume } else { &start };
        let mut child = temper(arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        let logged = || fs::read_dir(killed.join("log")).map_or(0, Iterator::count);
        while logged() < files && child.try_wait().expect("it can be asked").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It may have ended by itself; then there is nothing to kill.
        let _ = child.kill();
        child.wait().expect("it ends");
    }
    assert_ok(&run(&["resume", killed.to_str().expect("a plain path")]));
    assert_same(&out.path().join("whole"), &killed);
}

#[test]
fn inv_6_traces_gathered_before_a_kill_count_as_if_it_had_not_been() {
    let out = tempfile::tempdir().expect("a folder");
    assert_ok(&smoke(out.path(), "a", &[]));
    let folder = out.path().join("a");
    let (before, counted) = (bytes(&folder), timeless(&folder));
    let stages = counted.0["stages"].as_array().expect("stages");
    let stage =
        |of: &[Value]| of.iter().position(|stage| stage["kind"] == "distill-sft").expect("smoke has every kind");
    let number = stage(stages);
    // As after a kill between the log of the traces and the stage's first checkpoint.
    for entry in files_of(&folder.join("stages")) {
        let name = entry.file_name().expect("a stage").to_string_lossy().into_owned();
        if name[..2].parse::<usize>().expect("its number") >= number {
            fs::remove_dir_all(&entry).expect("it is removed");
        }
    }
    fs::remove_dir_all(folder.join("export")).expect("it was there");
    for entry in files_of(&folder.join("log")) {
        let name = entry.file_name().expect("a step").to_string_lossy().into_owned();
        if ["distill-0", "distill-eval", "distill-sft-eval", "mixed-rl", "eval"].iter().any(|s| name.starts_with(s)) {
            fs::remove_file(&entry).expect("it is removed");
        }
    }
    assert!(folder.join("log/distill-sft-traces-000000.parquet").exists(), "the traces are what was not lost");
    assert_ok(&run(&["resume", folder.to_str().expect("a plain path")]));
    assert_eq!(bytes(&folder), before);
    assert_eq!(timeless(&folder), counted);
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

/// The bytes of `needle` somewhere among those of `hay`.
fn holds(hay: &[u8], needle: &str) -> bool {
    hay.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn the_folder_does_not_show_in_the_bytes_and_a_run_is_resumed_from_any_other() {
    let out = tempfile::tempdir().expect("a folder");
    let clone = |name: &str| {
        let folder = out.path().join(name);
        copy_folder(Path::new("tests/fixtures/hf_tiny_v32"), &folder.join("model"));
        fs::copy("data/tests/fixtures/verl_math.parquet", folder.join("prompts.parquet")).expect("it copies");
        foreign(&folder, "prompts.parquet", "model");
        let started = temper(&["run", "foreign.toml"]).current_dir(&folder).output().expect("the binary runs");
        assert_ok(&started);
        folder.join("foreign")
    };
    let (a, b) = (clone("a"), clone("elsewhere/b"));
    assert_same(&a, &b);
    let here = out.path().to_str().expect("a plain path");
    assert!(bytes(&a).iter().all(|(_, bytes)| !holds(bytes, here)));

    // As after a kill between the first step's log and its checkpoint, with two files half written.
    for gone in ["stages", "export"] {
        fs::remove_dir_all(b.join(gone)).expect("it was there");
    }
    fs::remove_file(b.join("log/rl-000002.parquet")).expect("it was there");
    let half = ["log/.rl-000002.parquet.1-2.temper-tmp", "stages/00-rl/checkpoints/.step-000002.partial/x"];
    for half in half.map(|file| b.join(file)) {
        fs::create_dir_all(half.parent().expect("a folder")).expect("a folder");
        fs::write(half, "half").expect("it writes");
    }
    assert_ok(&run(&["resume", b.to_str().expect("a plain path")]));
    assert_same(&a, &b);
    assert!(!b.join("stages/00-rl/checkpoints/.step-000002.partial").exists());
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

/// The prompts that a run logged in its first `rl` step, as text.
fn logged_prompts(folder: &Path) -> String {
    let log = data::RunLog::open(folder.join("log")).expect("a log");
    let tokenizer = data::Tokenizer::load(&folder.join("export")).expect("it was exported");
    let groups = log.read("rl", 1).expect("the first step is logged");
    let text = |s: &data::ScoredSample| tokenizer.decode(&s.trajectory.tokens[..s.trajectory.prompt_len], false);
    groups.iter().flat_map(|g| &g.samples).map(|s| text(s).expect("it decodes")).collect()
}

#[test]
fn a_resumed_run_takes_the_start_of_the_run_for_now() {
    let out = tempfile::tempdir().expect("a folder");
    let model = out.path().join("model");
    copy_folder(Path::new("tests/fixtures/hf_tiny_v32"), &model);
    let template = "It is {{ strftime_now('%Y-%m-%d') }}. {{ messages[0].content }}";
    fs::write(model.join("chat_template.jinja"), template).expect("it writes");
    let recipe = foreign(out.path(), "data/tests/fixtures/verl_math.parquet", model.to_str().expect("a plain path"));
    assert_ok(&run(&["run", recipe.to_str().expect("a plain path"), "--set", "stages.rl.steps=1"]));
    let folder = out.path().join("foreign");
    let clock = |text: &str| text.lines().find_map(|line| line.strip_prefix("clock = ")?.parse::<u64>().ok());
    let resolved = fs::read_to_string(folder.join("resolved.toml")).expect("it is there");
    let began = clock(&resolved).expect("the run says when it began");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!((now - 600..=now).contains(&began), "{began} at {now}");

    // As if it had begun long ago and been killed at once.
    let earlier = resolved.replace(&format!("clock = {began}"), "clock = 1000000000");
    fs::write(folder.join("resolved.toml"), earlier).expect("it writes");
    for gone in ["stages", "export", "log"] {
        fs::remove_dir_all(folder.join(gone)).expect("it was there");
    }
    assert_ok(&run(&["resume", folder.to_str().expect("a plain path")]));
    assert!(logged_prompts(&folder).contains("It is 2001-09-09. "), "{}", logged_prompts(&folder));
}

/// Bad input: what is given, the exit code, and what the message must name.
#[test]
fn bad_input_gives_a_clear_message_and_its_exit_code() {
    let out = tempfile::tempdir().expect("a folder");
    let set = format!("run.out={}", out.path().display());
    let good = (("data/tests/fixtures/verl_math.parquet"), ("tests/fixtures/hf_tiny_v32"));
    let write = |name: &str, text: &str| {
        let path = out.path().join(name);
        fs::write(&path, text).expect("it writes");
        path.display().to_string()
    };
    let cut = out.path().join("cut");
    copy_folder(Path::new(good.1), &cut);
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
        let recipe = foreign(out.path(), &data, &checkpoint);
        let output = run(&["run", recipe.to_str().expect("a plain path")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{data} {checkpoint}: {text}");
        assert!(text.contains(message), "{message:?} is not in: {text}");
        assert!(!out.path().join("foreign").exists(), "a run that did not begin leaves no folder");
    }
    let smoke = fs::read_to_string("configs/smoke-model.json").expect("it reads");
    let vast = write("vast.json", &smoke.replace("\"intermediate_size\": ", "\"intermediate_size\": 20000000"));
    let too_large = run(&["run", "configs/smoke.toml", "--set", &format!("model.config={vast}"), "--set", &set]);
    assert_eq!(too_large.status.code(), Some(11), "{}", String::from_utf8_lossy(&too_large.stderr));
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
