//! A stage that trains low-rank adapters, as users run it: exact, resumable, explained, and exported as a model and as adapters.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{assert_metrics_are_documented, assert_ok, assert_same, plain, recipe, run, stop_at, summary, temper};
use policy::params::is_adapter;
use policy::{Model, checkpoint};
use tch::{Device, Tensor};

/// The common recipe, whose `rl` stage trains adapters and restarts often.
fn adapting(folder: &Path, name: &str) -> PathBuf {
    let path = recipe(folder, name, "");
    let text = fs::read_to_string(&path).expect("it was written");
    let text = text.replace(
        "checkpoint_every = 2",
        "checkpoint_every = 1\nlora = { rank = 4, targets = [\"q_b_proj\", \"kv_b_proj\", \"o_proj\", \"up_proj\"] }",
    );
    assert!(text.contains("lora = {"), "{text}");
    fs::write(&path, text).expect("it writes");
    path
}

fn load(folder: &Path) -> Model {
    checkpoint::load(folder, Device::Cpu).expect("a checkpoint")
}

#[test]
fn inv_1_and_inv_6_adapters_are_exact_and_a_killed_run_ends_with_the_same_bytes() {
    let out = tempfile::tempdir().expect("a folder");
    let whole = adapting(out.path(), "whole");
    assert_ok(&run(&["run", plain(&whole)]));
    let whole = whole.with_extension("");
    let found = summary(&whole);
    assert_eq!(found["exactness"]["max_abs_logprob_diff"], 0.0, "{found}");
    assert!(found["exactness"]["tokens_compared"].as_u64() > Some(300), "{found}");
    assert_metrics_are_documented(&whole);

    let killed = adapting(out.path(), "killed");
    let folder = killed.with_extension("");
    let mut child = temper(&["run", plain(&killed)]).stderr(Stdio::null()).spawn().expect("it starts");
    stop_at(&mut child, &folder, 6, Duration::ZERO, "KILL");
    assert_ok(&run(&["resume", plain(&folder)]));
    assert_same(&whole, &folder);
    let adapters = |run: &Path| fs::read(run.join("export/adapter").join(checkpoint::ADAPTER_WEIGHTS)).expect("there");
    assert!(adapters(&whole) == adapters(&folder));

    let explained = run(&["explain", plain(&folder), "--step", "3"]);
    assert_ok(&explained);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("EQUAL: all"), "{text}");

    merged_is_base_and_adapters(&whole);
}

/// The export is its base with the adapters merged, and its base is where the adapters say.
fn merged_is_base_and_adapters(run: &Path) {
    let export = run.join("export");
    let config = fs::read_to_string(export.join("adapter").join(checkpoint::ADAPTER_CONFIG)).expect("there");
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    let base = Path::new(config["base_model_name_or_path"].as_str().expect("a path"));
    assert!(base.starts_with(run.join("stages")), "{}", base.display());
    let (lora, values) = checkpoint::load_adapters(&export.join("adapter")).expect("read");
    let (before, after) = (load(base), load(&export));
    assert!(values.values().any(|p| p.abs().max().double_value(&[]) > 0.0), "something was learned");
    let adapted = before.with_adapters(lora, 0).expect("they fit");
    adapted.set_adapters(&values).expect("they fit");
    let same = |(name, p): (&String, &Tensor)| is_adapter(name) || p.equal(&after.params[name]);
    assert!(adapted.params.iter().all(same), "merged anew, the weights are those of the export");
    let card = fs::read_to_string(export.join("README.md")).expect("a card");
    assert!(card.contains("low-rank adapters (rank 4, α 32)"), "{card}");
}

#[test]
fn settings_that_contradict_adapters_are_refused_before_anything_runs() {
    let out = tempfile::tempdir().expect("a folder");
    let path = adapting(out.path(), "refused");
    let text = fs::read_to_string(&path).expect("it was written");
    let refused = |from: &str, to: &str, words: &str| {
        assert!(text.contains(from), "{text}");
        let changed = path.with_file_name("changed.toml");
        fs::write(&changed, text.replace(from, to)).expect("it writes");
        let output = run(&["run", plain(&changed)]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
        assert!(!changed.with_extension("").exists(), "nothing was begun");
    };
    refused("lora = {", "indexer = { mode = \"live\" }\nlora = {", "must not be live");
    refused("\"o_proj\"", "\"out_proj\"", "takes no adapter: `out_proj`");
    refused("\"o_proj\"", "\"k_proj\"", "`k_proj` is no weight of this model that takes an adapter");
}
