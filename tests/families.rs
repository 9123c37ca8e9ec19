//! The exact loop for every family of docs/models.md, as users run it: a small RL stage on the family's fixture with weights that change
//! under samples, whose keys and experts are replayed.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_metrics_are_documented, assert_ok, copy_folder, plain, run, summary, timeless};
use policy::checkpoint;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

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
fn prepared(family: &str, out: &Path) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/tests/fixtures");
    let nested = fixtures.join("families").join(family);
    let from = if nested.exists() { nested } else { fixtures.join(family) };
    let to = out.join("checkpoint");
    copy_folder(&from, &to);
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
        checkpoint = prepared(family, out).display(),
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

/// What a run exports in other numbers is what it trained, rounded to them: read back, every weight is the trained one's nearest. Where
/// `TEMPER_EXPORTS` names a folder the exports stay there, for `scripts/dev/make_family_fixtures.py --check`.
fn exported(family: &str, dtype: &str, nearest: impl Fn(&str, &Tensor) -> Tensor) {
    let out = tempfile::tempdir().expect("a folder");
    let recipe = recipe(family, out.path());
    let text = fs::read_to_string(&recipe).expect("written above").replace("steps = 4", "steps = 1");
    let settings = format!("[stages.export]\ndtype = \"{dtype}\"\nshard_gb = 1e-5\n");
    fs::write(&recipe, text.trim_end().to_owned() + "\n" + &settings).expect("it writes");
    assert_ok(&run(&["run", plain(&recipe)]));
    let folder = recipe.with_extension("");
    let trained =
        checkpoint::load(&folder.join("stages/00-rl/checkpoints/step-000001"), Device::Cpu).expect("it is there");
    let export = folder.join("export");
    let read = checkpoint::load(&export, Device::Cpu).expect("it reads back");
    assert!(trained.params.keys().eq(read.params.keys()), "{family}");
    for (name, found) in &read.params {
        assert!(found.equal(&nearest(name, &trained.params[name])), "{family}: {name}");
    }
    let list = fs::read_to_string(export.join(checkpoint::INDEX)).expect("it is in shards");
    let total = serde_json::from_str::<Value>(&list).expect("JSON")["metadata"]["total_size"].as_u64().expect("a size");
    assert!(total < trained.bytes() * 55 / 100, "{family}: {total} bytes for {} of f32", trained.bytes());
    let config = fs::read_to_string(export.join("config.json")).expect("a config");
    assert_eq!(config.contains("\"fp8\""), dtype == "fp8", "{config}");
    assert!(
        fs::read_to_string(export.join("README.md")).expect("a card").to_lowercase().contains(dtype),
        "the card says so"
    );
    if let Some(kept) = std::env::var_os("TEMPER_EXPORTS").map(PathBuf::from) {
        let to = kept.join(format!("{family}.{dtype}"));
        let widened = kept.join(format!("{family}.{dtype}.f32"));
        copy_folder(&export, &to);
        fs::create_dir_all(&widened).expect("a folder");
        checkpoint::save(&read, &widened).expect("it saves");
    }
}

fn rounded(t: &Tensor) -> Tensor {
    t.to_kind(Kind::BFloat16).to_kind(Kind::Float)
}

#[test]
fn a_recipe_exports_bf16() {
    exported("qwen3_moe", "bf16", |_, trained| rounded(trained));
}

/// By the definition, in other words than the writer's: a block's largest magnitude is 448, and what lies between two numbers of e4m3 goes to
/// the nearer one, or to the even one.
#[test]
fn a_recipe_exports_fp8() {
    exported("deepseek_v3", "fp8", |name, trained| {
        let gate = name.contains("mlp.gate.") || name.contains("indexer.weights_proj");
        match trained.dim() {
            _ if name.ends_with("e_score_correction_bias") => trained.shallow_clone(),
            2 if name.contains("layers.") && !gate => in_fp8(trained),
            _ => rounded(trained),
        }
    });
}

/// The nearest numbers of e4m3 in blocks of 128 × 128.
fn in_fp8(matrix: &Tensor) -> Tensor {
    let out = matrix.zeros_like();
    let (rows, columns) = matrix.size2().expect("a matrix");
    for i in (0..rows).step_by(128) {
        for j in (0..columns).step_by(128) {
            let part = |t: &Tensor| t.narrow(0, i, 128.min(rows - i)).narrow(1, j, 128.min(columns - j));
            let block = part(matrix);
            let scale = block.abs().max() / 448.0;
            let scaled = &block / &scale;
            // Three bits after the leading one; below 2⁻⁶ the step stays that of 2⁻⁶. `round` takes halves to the even number.
            let step = scaled.to_kind(Kind::Double).abs().clamp_min(2f64.powi(-6)).log2().floor().exp2() / 8.0;
            let nearest = ((&scaled / &step).round() * step).to_kind(Kind::Float);
            part(&out).copy_(&(nearest * scale));
        }
    }
    out
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
