//! The exact loop for every family of docs/models.md, as users run it: a small RL stage on the family's fixture with weights that change
//! under samples, whose keys and experts are replayed.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_metrics_are_documented, assert_ok, plain, run, summary, timeless};
use serde_json::{Value, json};

/// One id a printable character, beside the fixtures' two special tokens: 97 in all, as many as they have.
fn tokenizer() -> Value {
    let mut vocabulary = serde_json::Map::from_iter([("<bos>".to_owned(), json!(0)), ("<eos>".to_owned(), json!(1))]);
    vocabulary.extend((' '..='~').enumerate().map(|(i, c)| (c.to_string(), json!(i + 2))));
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0",
        "added_tokens": [special(0, "<bos>"), special(1, "<eos>")],
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}

/// A family's fixture as a checkpoint that a recipe can name: its tokenizer beside it.
fn checkpoint(family: &str, out: &Path) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/tests/fixtures");
    let nested = fixtures.join("families").join(family);
    let from = if nested.exists() { nested } else { fixtures.join(family) };
    let to = out.join("checkpoint");
    fs::create_dir_all(&to).expect("a folder");
    for entry in fs::read_dir(&from).expect("the fixture is there") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("it copies");
    }
    fs::write(to.join("tokenizer.json"), tokenizer().to_string()).expect("it writes");
    let config = json!({"eos_token": "<eos>", "bos_token": "<bos>", "chat_template": "{% for m in messages %}{{ m.content }} {% endfor %}= "});
    fs::write(to.join("tokenizer_config.json"), config.to_string()).expect("it writes");
    to
}

fn recipe(family: &str, out: &Path) -> PathBuf {
    let text = format!(
        r#"
        [run]
        out = "{out}"
        [model]
        checkpoint = "{checkpoint}"
        [sampling]
        max_new_tokens = 40
        temperature = 0.8
        top_p = 0.9
        [eval]
        after = false
        [domains.math]
        kl_beta = 0.01
        train = [{{ generator = "arithmetic", n = 500, seed = 1, settings = {{ steps = [1, 1] }} }}]
        verifiers = [{{ name = "length", settings = {{ max_tokens = 40, cache_tokens = 39 }} }}]
        [[stages]]
        name = "rl"
        kind = "rl"
        steps = 4
        optimizer = {{ lr = 3e-3 }}
        batch = {{ unit_tokens = 200 }}
        [stages.rl]
        prompts = 2
        group = 4
        max_staleness = 2
        in_flight = 4
        overlap = 9
        mini_steps = 2
        max_refill = 1
        [[stages]]
        name = "export"
        kind = "export"
        "#,
        out = out.display(),
        checkpoint = checkpoint(family, out).display(),
    );
    let path = out.join("loop.toml");
    fs::write(&path, text).expect("it writes");
    path
}

/// Runs the loop and holds it against what it must leave: a difference of nothing, and records of all that was chosen.
fn exact(family: &str) {
    let out = tempfile::tempdir().expect("a folder");
    let recipe = recipe(family, out.path());
    assert_ok(&run(&["run", plain(&recipe)]));
    let folder = recipe.with_extension("");
    let found = summary(&folder);
    assert_eq!(found["exactness"]["max_abs_logprob_diff"], 0.0, "{family}: {found}");
    assert!(found["exactness"]["tokens_compared"].as_u64() > Some(300), "{family}: {found}");

    let config = policy::ModelConfig::read(&folder.join("export")).expect("the export has a config");
    let log = data::RunLog::open(folder.join("log")).expect("a log");
    let (mut mixed, mut samples) = (0, 0);
    for step in log.steps("rl").expect("it lists") {
        for t in log.read("rl", step).expect("it reads").iter().flat_map(|g| &g.samples).map(|s| &s.trajectory) {
            samples += 1;
            mixed += usize::from(t.versions.first() != t.versions.last());
            assert_eq!(t.selections.is_some(), config.indexer.is_some(), "{family}");
            let layers = config.experts.as_ref().map(|e| e.layers.iter().filter(|&&sparse| sparse).count());
            assert_eq!(t.routing.as_ref().map(|r| r.layers.len()), layers, "{family}");
        }
    }
    assert!(samples >= 32 && mixed > 0, "{family}: {mixed} of {samples} samples crossed a change of weights");

    assert_metrics_are_documented(&folder);
    let (_, rows) = timeless(&folder);
    let most = |name: &str| rows.iter().filter_map(|r| r[name].as_f64()).fold(f64::NEG_INFINITY, f64::max);
    assert!((1.0..=2.0).contains(&most("training/staleness_max")), "{family}");
    if config.experts.is_some() {
        let changed = most("routing/changed");
        assert!(changed > 0.0 && changed < 0.5, "{family}: {changed} of the rows would go elsewhere now");
        assert!(most("routing/max_violation") > 0.0, "{family}");
    }
    let explained = run(&["explain", plain(&folder), "--step", "4", "--token", "0:0"]);
    assert_ok(&explained);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("EQUAL: all"), "{family}: {text}");
    assert_eq!(text.contains("experts of mixture 0: "), config.experts.is_some(), "{family}: {text}");
}

macro_rules! families {
    ($($test:ident: $family:literal,)*) => {
        $(#[test]
        fn $test() {
            exact($family);
        })*
    };
}

families! {
    inv_1_and_inv_5_llama_is_exact: "llama",
    inv_1_and_inv_5_mistral_is_exact: "mistral",
    inv_1_and_inv_5_mistral4_is_exact: "mistral4",
    inv_1_and_inv_5_qwen2_is_exact: "qwen2",
    inv_1_and_inv_5_qwen3_is_exact: "qwen3",
    inv_1_and_inv_5_qwen3_moe_is_exact: "qwen3_moe",
    inv_1_and_inv_5_deepseek_v3_is_exact: "deepseek_v3",
    inv_1_and_inv_5_deepseek_v3_in_fp8_is_exact: "deepseek_v3_fp8",
    inv_1_and_inv_5_deepseek_v32_is_exact: "deepseek_v32",
    inv_1_and_inv_5_deepseek_v32_with_yarn_is_exact: "deepseek_v32_yarn",
    inv_1_and_inv_5_kimi_k2_is_exact: "kimi_k2",
}
