//! `temper explain`: every number of an honest run comes out again bit for bit, whatever checkpoints are left; what was changed is seen;
//! nothing in the run's folder moves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use data::{Mask, RunLog};
use serde_json::Value;

mod common;

use common::{assert_ok, plain, run};

/// A finished run of the recipe that samples ahead.
fn chaos(out: &Path) -> PathBuf {
    let set = format!("run.out={}", out.display());
    assert_ok(&run(&["run", "configs/chaos.toml", "--set", &set, "--set", "stages.rl.keep=9"]));
    out.join("chaos")
}

fn explain(folder: &Path, more: &[&str]) -> Output {
    run(&[["explain", plain(folder)].as_slice(), more].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file of a folder with its bytes and the moment of its last change.
fn state(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("it lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let changed = path.metadata().and_then(|m| m.modified()).expect("it has a time");
                found.insert(path.clone(), (fs::read(&path).expect("it reads"), changed));
            }
        }
    }
    found
}

fn different(found: &Value) -> Vec<&str> {
    let numbers = found["numbers"].as_array().expect("numbers").iter();
    numbers.filter(|n| n["equal"] == false).map(|n| n["name"].as_str().expect("a name")).collect()
}

/// A run that samples ahead, from each step's own checkpoint, and from the stage's start with all steps replayed.
#[test]
fn inv_6_and_inv_7_a_run_that_samples_ahead_is_explained_bit_for_bit_and_a_change_is_seen() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = chaos(out.path());
    let before = state(&folder);
    for step in ["1", "3"] {
        let output = explain(&folder, &["--step", step, "--json"]);
        let found = json(&output);
        assert_eq!(different(&found), [""; 0], "{}", said(&output));
        assert_ok(&output);
        assert_eq!((found["equal"].as_bool(), found["weights"]["replayed"].as_u64()), (Some(true), Some(0)));
        for name in ["actor/pg_loss", "actor/grad_norm", "training/staleness_max", "rewards, from verdicts"] {
            let numbers = found["numbers"].as_array().expect("numbers");
            assert!(numbers.iter().any(|n| n["name"] == name && n["equal"] == true), "{name}: {numbers:?}");
        }
        let checked = found["mini_steps"].as_array().expect("mini-steps");
        assert!(!checked.is_empty());
        for mini in checked {
            let number = |name: &str| mini[name].as_f64().unwrap_or_else(|| panic!("{name}: {mini}"));
            let parts = number("surrogate") + number("kl");
            assert!((number("sum_over_tokens") - parts).abs() < 1e-5 * parts.abs().max(1e-2), "{mini}");
            assert!(
                (number("loss") - parts - number("indexer")).abs() < 1e-5 * number("loss").abs().max(1e-2),
                "{mini}"
            );
        }
    }
    tokens_are_explained(&folder);
    assert!(state(&folder) == before, "nothing in the run's folder is changed");

    let stage = fs::read_dir(folder.join("stages")).expect("stages").map(|e| e.expect("an entry").path());
    let stage = stage.into_iter().find(|p| plain(p).ends_with("-rl")).expect("an rl stage");
    for step in 1..=3 {
        fs::remove_dir_all(stage.join(format!("checkpoints/step-{step:06}"))).expect("it was there");
    }
    let output = explain(&folder, &["--step", "4", "--json"]);
    let found = json(&output);
    assert_ok(&output);
    assert_eq!(found["weights"]["replayed"], 3, "{}", found["weights"]);
    let last = found["numbers"].as_array().expect("numbers").last().expect("some");
    assert_eq!(
        (last["equal"].as_bool(), &last["name"]),
        (Some(true), &"weights after the step, against the checkpoint".into())
    );

    changes_are_seen(&folder);
}

/// A learned token: what its parts are must follow from each other. And tokens that are not there are refused.
fn tokens_are_explained(folder: &Path) {
    let found = json(&explain(folder, &["--step", "2", "--json"]));
    let groups = found["groups"].as_array().expect("groups");
    let learned = groups.iter().find(|g| !g["mini_step"].is_null()).expect("a group with a signal");
    let sample = learned["samples"][0]["number"].as_u64().expect("a number");
    let place = format!("{sample}:1");
    let output = explain(folder, &["--step", "2", "--json", "--token", &place]);
    let token = &json(&output)["tokens"][0];
    assert_ok(&output);
    let share = &token["share"];
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("no number in {token}"));
    // The sampler's is an f32, written with as few digits as tell it apart.
    let sampler = f64::from(number(&token["sampler"]) as f32);
    let ratio = (number(&share["logp"]) - sampler).exp();
    assert!((number(&share["ratio"]) - ratio).abs() < 1e-9, "{token}");
    assert_eq!(token["selected"].as_array().map(Vec::len), Some(2), "one list a layer: {token}");
    let text = explain(folder, &["--step", "2", "--token", &place]);
    let text = String::from_utf8_lossy(&text.stdout);
    for part in ["ratio ", "share of the loss", "keys selected in layer 0", "EQUAL: all"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let refused = explain(folder, &["--step", "2", "--token", "999:0"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let refused = explain(folder, &["--step", "99"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("steps 1 to 4"), "{}", said(&refused));
    let refused = explain(folder, &["--step", "1", "--stage", "pretrain"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("of kind `pretrain`, which is not explained"), "{}", said(&refused));
}

/// A reward, an advantage, a metric and single bytes of the log.
fn changes_are_seen(folder: &Path) {
    let log = RunLog::open(folder.join("log")).expect("a log");
    let honest = log.read("rl", 4).expect("it reads");
    let path = log.path("rl", 4).expect("a name");
    let bytes = fs::read(&path).expect("it reads");

    let mut changed = honest.clone();
    let sample = changed.iter_mut().flat_map(|g| &mut g.samples).find(|s| s.mask == Mask::None).expect("a sample");
    sample.reward = Some(sample.reward.expect("it has one") + 0.25);
    fs::remove_file(&path).expect("it was there");
    log.append("rl", 4, &changed).expect("it writes");
    let output = explain(folder, &["--step", "4", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found = json(&output);
    for name in ["rewards, from verdicts", "advantages, from rewards", "critic/score/mean"] {
        let expected = name != "advantages, from rewards";
        assert_eq!(different(&found).contains(&name), expected, "{name}: {:?}", different(&found));
    }
    assert!(said(&output).contains("rewards, from verdicts"), "{}", said(&output));

    let mut changed = honest.clone();
    let sample =
        changed.iter_mut().flat_map(|g| &mut g.samples).find(|s| s.advantage != 0.0).expect("one with a signal");
    sample.advantage = -sample.advantage;
    fs::remove_file(&path).expect("it was there");
    log.append("rl", 4, &changed).expect("it writes");
    let found = json(&explain(folder, &["--step", "4", "--json"]));
    for name in ["advantages, from rewards", "actor/pg_loss", "actor/grad_norm"] {
        assert!(different(&found).contains(&name), "{name}: {:?}", different(&found));
    }

    for at in [bytes.len() / 4, bytes.len() / 2] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).expect("it writes");
        let output = explain(folder, &["--step", "4"]);
        assert_eq!(output.status.code(), Some(3), "byte {at}: {}", said(&output));
        assert!(said(&output).contains("rl-000004.parquet"), "{}", said(&output));
    }
    fs::write(&path, bytes).expect("it writes");

    let metrics = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).expect("it reads");
    let row = text.lines().rfind(|l| l.contains("\"rl\"")).expect("rows of the stage").to_owned();
    let mut value: Value = serde_json::from_str(&row).expect("it is JSON");
    let norm = value["actor/grad_norm"].as_f64().expect("a norm");
    value["actor/grad_norm"] = f64::from_bits(norm.to_bits() + 1).into();
    fs::write(&metrics, text.replace(&row, &value.to_string())).expect("it writes");
    let output = explain(folder, &["--step", "4"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("is not what was logged: actor/grad_norm"), "{}", said(&output));
}

/// A run whose groups are sampled by the weights that learn from them, with several `rl` stages.
#[test]
fn inv_6_and_inv_7_a_synchronous_run_is_explained_bit_for_bit() {
    let out = tempfile::tempdir().expect("a folder");
    let set = format!("run.out={}", out.path().display());
    assert_ok(&run(&["run", "configs/smoke.toml", "--set", &set]));
    let folder = out.path().join("smoke");
    let several = explain(&folder, &["--step", "1"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(said(&several).contains("math-rl, code-rl, mixed-rl"), "{}", said(&several));
    for (stage, step) in [("math-rl", "2"), ("code-rl", "1"), ("mixed-rl", "1")] {
        let output = explain(&folder, &["--stage", stage, "--step", step, "--json"]);
        assert_eq!(different(&json(&output)), [""; 0], "{stage}");
        assert_ok(&output);
    }
    let refused = explain(&folder, &["--stage", "distill", "--step", "1"]);
    assert!(said(&refused).contains("of kind `distill`, which is not explained"), "{}", said(&refused));

    // Where the weights are gone that a stage began with, the message says what can still be explained.
    let stages = fs::read_dir(folder.join("stages")).expect("stages").map(|e| e.expect("an entry").path());
    let sparse = stages.into_iter().find(|p| plain(p).ends_with("-sparse")).expect("a stage");
    fs::remove_dir_all(sparse.join("checkpoints")).expect("it was there");
    let gone = explain(&folder, &["--stage", "code-rl", "--step", "1"]);
    assert_eq!(gone.status.code(), Some(4), "{}", said(&gone));
    assert!(said(&gone).contains("the weights before step 1 are gone"), "{}", said(&gone));
    assert!(said(&gone).contains("no step can be explained; `keep`"), "{}", said(&gone));
}
