//! `temper sparsify`: a dense checkpoint in, a sparse one out that the two stages train, and what it refuses.

mod common;

use std::fs;
use std::path::Path;

use common::{assert_ok, plain, plain_temper, run, summary};
use serde_json::Value;

const BASE: &str = "configs/base";

fn recipe(folder: &Path, checkpoint: &str) -> String {
    let text = format!(
        r#"
        [run]
        name = "r"
        out = "{out}"
        [model]
        checkpoint = "{checkpoint}"
        [sampling]
        max_new_tokens = 16
        [eval]
        n = 6
        temperature = 0.0
        contexts = [16, 128]
        texts = ["retrieval"]
        [domains.retrieval]
        train = [{{ generator = "retrieval", n = 100, settings = {{ pairs = [18, 18], repeats = 0.5 }} }}]
        eval = [{{ generator = "retrieval", n = 10, seed = 2, settings = {{ pairs = [18, 18] }} }}]
        verifiers = [{{ name = "math" }}]
        [[stages]]
        name = "dense"
        kind = "eval"
        indexer = {{ mode = "none" }}
        [[stages]]
        name = "untrained"
        kind = "eval"
        [[stages]]
        name = "warmup"
        kind = "indexer-warmup"
        steps = 12
        batch = {{ tokens = 512 }}
        optimizer = {{ lr = 1e-2 }}
        [[stages]]
        name = "sparse"
        kind = "sparse"
        steps = 2
        batch = {{ tokens = 512 }}
        optimizer = {{ lr = 1e-4 }}
        [[stages]]
        name = "all-keys"
        kind = "eval"
        indexer = {{ top_k = 512 }}
        [[stages]]
        name = "all-keys-without"
        kind = "eval"
        indexer = {{ mode = "none" }}
        [[stages]]
        name = "export"
        kind = "export"
        "#,
        out = folder.display()
    );
    let path = folder.join("r.toml");
    fs::write(&path, text).expect("written");
    plain(&path).to_owned()
}

fn sparsify(out: &Path, more: &[&str]) -> std::process::Output {
    plain_temper(&[&["sparsify", BASE, plain(out)], more].concat())
}

#[test]
fn inv_1_and_inv_3_a_sparsified_checkpoint_is_trained_by_the_two_stages_and_is_dense_where_k_reaches() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("sparse");
    let how = ["--topk", "16", "--heads", "2", "--head-dim", "16", "--share-every", "2"];
    assert_ok(&sparsify(&out, &how));
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let [before, after] = [Path::new(BASE), &out].map(|f| fs::read(f.join(name)).expect("it is there"));
        assert_eq!(before, after, "{name}");
    }
    let again = folder.path().join("again");
    assert_ok(&sparsify(&again, &how));
    let weights = |f: &Path| fs::read(f.join("model.safetensors")).expect("it is there");
    assert_eq!(weights(&again), weights(&out), "one seed, the same bytes");

    let path = recipe(folder.path(), plain(&out));
    let output = run(&["run", &path, "--set", "stages.warmup.batch.sequence=100"]);
    assert_ok(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let warned = said.matches("the indexer learns from sequences of").count();
    assert!(said.contains("of 100 tokens in stage `warmup`, and `eval.contexts` goes to 128") && warned == 1, "{said}");
    let run_folder = folder.path().join("r");
    let found = summary(&run_folder);
    assert_eq!(found["exactness"]["max_abs_logprob_diff"], 0.0);
    let stage = |name: &str| {
        let stages = found["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let text = |name: &str| stage(name)["texts"]["retrieval"].clone();
    let at = |name: &str, i: usize| text(name)["contexts"][i]["perplexity"].as_f64().expect("a number");
    // Up to k tokens of context a selection is all; beyond, a fresh indexer's misses what the model needs.
    assert_eq!(at("dense", 0), at("untrained", 0));
    assert_ne!(at("dense", 1), at("untrained", 1));
    assert_eq!(text("all-keys")["contexts"], text("all-keys-without")["contexts"], "k over the context is dense");
    assert_ne!(text("sparse")["contexts"], text("dense")["contexts"]);
    let layers = |name: &str| text(name)["layers"].as_array().cloned().unwrap_or_default();
    assert!(layers("dense").is_empty() && layers("untrained").len() == 4, "by layer, those without an own one too");
    let mass = |name: &str| layers(name).iter().map(|l| l["mass"].as_f64().expect("a number")).sum::<f64>();
    assert!(mass("warmup") > mass("untrained"), "the warm-up taught it: {} {}", mass("warmup"), mass("untrained"));
    let report = fs::read_to_string(run_folder.join("report.html")).expect("a report");
    assert!(report.contains("id=\"texts\"") && report.contains("attention mass"));

    // `temper eval` finds the same of the same weights.
    let export = run_folder.join("export");
    let output = run(&["eval", plain(&export), &path]);
    assert_ok(&output);
    let line: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(line["texts"]["retrieval"], text("sparse"));
}

#[test]
fn what_cannot_be_sparsified_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("sparse");
    let refused = |more: &[&str], says: &str| {
        let output = sparsify(&out, more);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {error}");
        assert!(error.contains(says), "{more:?}: {error}");
        assert!(!out.exists(), "nothing is left");
    };
    refused(&["--topk", "0"], "1 or more");
    refused(&["--topk", "8", "--head-dim", "8"], "hint: say --head-dim 16 or more");
    refused(&["--topk", "8", "--share-every", "5"], "hint: say at most 4");
    assert_ok(&sparsify(&out, &["--topk", "8"]));
    let occupied = sparsify(&out, &["--topk", "8"]);
    assert_eq!(occupied.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&occupied.stderr).contains("is there already"));
    let source = plain(&out);
    let twice = plain_temper(&["sparsify", source, plain(&folder.path().join("b")), "--topk", "4"]);
    let error = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(twice.status.code() == Some(2) && error.contains("has an indexer") && error.contains("hint:"), "{error}");
}
