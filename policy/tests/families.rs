//! Every family against Hugging Face transformers: logits, experts, selected positions and 64 greedy tokens of small random
//! checkpoints that `scripts/dev/make_family_fixtures.py` made.

mod fixture;
#[path = "families/mistral.rs"]
mod mistral;

use std::path::{Path, PathBuf};

use fixture::{assert_close, expected, fixture, logits, sequences};
use policy::checkpoint::{self, CheckpointError, Storage, Writing};
use policy::testing::decode;
use policy::{Attend, IndexerConfig, ModelConfig, Task};
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 10] = [
    "llama",
    "llama_longrope",
    "mistral",
    "mistral4",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "deepseek_v3",
    "deepseek_v32",
    "kimi_k2",
];

fn folder(family: &str) -> PathBuf {
    fixture("families").join(family)
}

fn unused(folder: &Path) -> Vec<String> {
    let config = checkpoint::check(folder).expect("it is whole");
    checkpoint::unused(folder, &config).expect("it reads")
}

fn check(family: &str) {
    let folder = folder(family);
    let expected = expected(&folder);
    let (config, unknown) = ModelConfig::read_with_unknown(&folder).expect("the config reads");
    let model_type = if family == "kimi_k2" { "deepseek_v3" } else { family.trim_end_matches("_longrope") };
    assert_eq!((config.family.model_type(), unknown), (model_type, Vec::new()), "what transformers writes is known");
    let model = checkpoint::load(&folder, Device::Cpu).expect("the fixture loads");
    let _guard = tch::no_grad_guard();
    let inputs = sequences(&expected("input_ids"));
    let sparse = model.config.indexer.is_some();
    let task = Task { record: sparse, record_experts: true, ..Task::plain(&model) };
    let (got, forward) = logits(&model, &inputs, &task);
    assert_close(&got, &expected("logits"));
    if model.config.experts.is_some() {
        let experts = expected("experts");
        assert_eq!(experts.size()[0], forward.experts.len() as i64);
        for (layer, got) in forward.experts.iter().enumerate() {
            assert!(got.equal(&experts.get(layer as i64)), "layer {layer} with experts chooses others");
        }
        let replay = Task { experts: Some(forward.experts), ..Task::plain(&model) };
        assert!(logits(&model, &inputs, &replay).0.equal(&got), "replaying the experts gives the same bits");
    }
    if sparse {
        let selected = expected("selected");
        for (layer, got) in forward.selections.iter().enumerate() {
            assert!(got.equal(&selected.get(layer as i64).reshape_as(got)), "layer {layer} selects other positions");
        }
        let replay = Task { attend: Attend::Replay(forward.selections), ..Task::plain(&model) };
        assert!(logits(&model, &inputs, &replay).0.equal(&got), "replaying the selection gives the same bits");
    }
    for (number, (input, want)) in inputs.iter().zip(sequences(&expected("greedy"))).enumerate() {
        assert_eq!(want.len(), 64, "{family}");
        let mut tokens = Vec::new();
        let decoded = decode(&model, input, |last| {
            tokens.push(last.argmax(-1, false).int64_value(&[]) as u32);
            (tokens.len() < want.len()).then(|| tokens[tokens.len() - 1])
        });
        assert_eq!(tokens, want, "{family}: greedy tokens");
        if sparse {
            let last = expected("selected_last").select(1, number as i64);
            for (step, layers) in decoded.selections.iter().enumerate() {
                for (layer, got) in layers.iter().enumerate() {
                    let want = last.get(layer as i64).get(step as i64);
                    assert!(got.equal(&want), "layer {layer} selects other positions at token {step}");
                }
            }
        }
    }
}

#[test]
fn llama_agrees() {
    check("llama");
}

#[test]
fn mistral_agrees() {
    check("mistral");
}

#[test]
fn mistral4_agrees() {
    check("mistral4");
}

/// The same model inside one with eyes: its config in a block, its parameters behind a prefix, of either of two forms.
#[test]
fn a_language_model_is_read_out_of_one_with_eyes() {
    let own = folder("mistral4");
    let model = checkpoint::load(&own, Device::Cpu).expect("the fixture loads");
    let text: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(own.join("config.json")).expect("it is there")).expect("JSON");
    let raw = checkpoint::load_tensors(&own.join(checkpoint::WEIGHTS)).expect("it reads");
    for prefix in ["language_model.", "model.language_model."] {
        let to = tempfile::tempdir().expect("a folder");
        let config = serde_json::json!({"model_type": "mistral3", "text_config": text, "vision_config": {"a": 1}});
        std::fs::write(to.path().join("config.json"), config.to_string()).expect("it writes");
        let renamed = |name: &str| match prefix {
            "language_model." => format!("{prefix}{name}"),
            _ => name.replacen("model.", prefix, 1),
        };
        let mut all: policy::params::Params = raw.iter().map(|(n, t)| (renamed(n), t.shallow_clone())).collect();
        all.insert("model.vision_tower.patch.weight".into(), Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)));
        checkpoint::save_tensors(&all, &to.path().join(checkpoint::WEIGHTS)).expect("it saves");
        assert_eq!(unused(to.path()), [""; 0], "eyes are known to be passed over");
        let again = checkpoint::load(to.path(), Device::Cpu).expect("it loads");
        assert_eq!(again.config, model.config);
        assert!(again.params.iter().eq_by_bits(&model.params), "{prefix}");
    }
}

#[test]
fn qwen2_agrees() {
    check("qwen2");
}

#[test]
fn qwen3_agrees() {
    check("qwen3");
}

#[test]
fn qwen3_moe_agrees_and_is_read_from_shards() {
    assert!(
        folder("qwen3_moe").join(checkpoint::INDEX).exists() && !folder("qwen3_moe").join(checkpoint::WEIGHTS).exists()
    );
    check("qwen3_moe");
}

#[test]
fn deepseek_v3_with_experts_agrees() {
    check("deepseek_v3");
}

#[test]
fn deepseek_v32_with_experts_agrees() {
    check("deepseek_v32");
}

/// The long factors hold where the context passes the original one, whatever a sequence's length, and the short ones where it does not: those
/// are what transformers takes for sequences as short.
#[test]
fn llama_with_longrope_agrees() {
    check("llama_longrope");
    let _guard = tch::no_grad_guard();
    let folder = folder("llama_longrope");
    let expected = expected(&folder);
    let inputs: Vec<Vec<u32>> = sequences(&expected("input_ids")).into_iter().map(|i| i[..24].to_vec()).collect();
    let of = |context| {
        let compute = policy::Compute { context, ..Device::Cpu.into() };
        let model = checkpoint::load(&folder, compute).expect("the fixture loads");
        logits(&model, &inputs, &Task::plain(&model)).0
    };
    assert_close(&of(Some(32)), &expected("logits_short"));
    assert!(of(Some(33)).equal(&of(None)) && !of(Some(32)).equal(&of(None)));
}

#[test]
fn kimi_k2_agrees() {
    check("kimi_k2");
}

#[test]
fn fp8_blocks_agree_with_what_they_stand_for() {
    let folder = folder("deepseek_v3_fp8");
    let expected = expected(&folder);
    let model = checkpoint::load(&folder, Device::Cpu).expect("the fixture loads");
    let inputs = sequences(&expected("input_ids"));
    let (got, _) = tch::no_grad(|| logits(&model, &inputs, &Task::plain(&model)));
    assert_close(&got, &expected("logits"));
}

/// Exported and read again: the same config, weights and bytes. Where `TEMPER_EXPORTS` names a folder the exports stay there, for
/// `make_family_fixtures.py --check`.
#[test]
fn an_export_is_the_same_model_and_the_same_bytes() {
    let kept = std::env::var("TEMPER_EXPORTS").ok().map(PathBuf::from);
    for family in FAMILIES {
        let model = checkpoint::load(&folder(family), Device::Cpu).expect("the fixture loads");
        let temporary = tempfile::tempdir().expect("a folder");
        let first = kept.as_ref().map_or_else(|| temporary.path().join(family), |kept| kept.join(family));
        let second = temporary.path().join("again");
        [&first, &second].into_iter().for_each(|f| std::fs::create_dir_all(f).expect("a folder"));
        checkpoint::save(&model, &first).expect("it saves");
        let again = checkpoint::load(&first, Device::Cpu).expect("it loads back");
        assert_eq!(again.config, model.config, "{family}");
        assert!(again.params.iter().eq_by_bits(&model.params), "{family}: the weights are the same");
        checkpoint::save(&again, &second).expect("it saves");
        let bytes = |folder: &Path| std::fs::read(folder.join(checkpoint::WEIGHTS)).expect("written");
        assert_eq!(bytes(&first), bytes(&second), "{family}");
    }
}

/// In shards: what is read back is the same weights, the list names every one, and no file is larger than it may be.
#[test]
fn a_checkpoint_is_written_in_shards_and_converted_back_to_one_file() {
    let model = checkpoint::load(&folder("qwen3_moe"), Device::Cpu).expect("the fixture loads");
    let temporary = tempfile::tempdir().expect("a folder");
    let at = |name: &str| {
        let folder = temporary.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    let (whole, sharded, back, direct) = (at("whole"), at("sharded"), at("back"), at("direct"));
    checkpoint::save(&model, &whole).expect("it saves");
    let writing = Writing { storage: Storage::F32, shard_bytes: 40_000 };
    checkpoint::save_with(&model, &sharded, &writing).expect("it saves");
    assert!(!sharded.join(checkpoint::WEIGHTS).exists());
    let list = std::fs::read_to_string(sharded.join(checkpoint::INDEX)).expect("a list");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let places = list["weight_map"].as_object().expect("a map");
    assert!(places.keys().eq(model.params.keys()));
    let total: usize = model.params.values().map(|t| 4 * t.numel()).sum();
    assert_eq!(list["metadata"]["total_size"].as_u64(), Some(total as u64));
    let mut files: Vec<&str> = places.values().map(|v| v.as_str().expect("a name")).collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() > 3 && files[0] == format!("model-00001-of-{:05}.safetensors", files.len()), "{files:?}");
    for file in files {
        let size = std::fs::metadata(sharded.join(file)).expect("written").len();
        assert!(size < 50_000, "{file} has {size} bytes, header included");
    }
    let again = checkpoint::load(&sharded, Device::Cpu).expect("it loads back");
    assert!(again.params.iter().eq_by_bits(&model.params));
    // From shards to one file, and from the fixture's own shards: both are what the model writes.
    let one = Writing::whole(Storage::F32);
    checkpoint::convert(&sharded, &back, &one).expect("it converts");
    checkpoint::convert(&folder("qwen3_moe"), &direct, &one).expect("it converts");
    for file in [checkpoint::WEIGHTS, "config.json"] {
        let bytes = |folder: &Path| std::fs::read(folder.join(file)).expect("written");
        assert!(bytes(&back) == bytes(&whole) && bytes(&direct) == bytes(&whole), "{file}");
    }
}

/// FP8 as DeepSeek releases it: the layers' matrices within half a step of the format, gates and the rest in bf16. Where `TEMPER_EXPORTS`
/// names a folder, bf16 and FP8 stay there beside what they stand for, for `make_family_fixtures.py --check`.
#[test]
fn fp8_is_written_in_blocks_and_read_back() {
    let kept = std::env::var("TEMPER_EXPORTS").ok().map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a folder");
    for family in FAMILIES {
        let model = checkpoint::load(&folder(family), Device::Cpu).expect("the fixture loads");
        let fused = family == "mistral4";
        if fused {
            let refused = checkpoint::save_as(&model, temporary.path(), Storage::Fp8).expect_err("no reader");
            assert!(matches!(refused, CheckpointError::NoFp8 { .. }), "{refused}");
        }
        let forms = [(Storage::Fp8, "fp8"), (Storage::Bf16, "bf16")];
        for (storage, name) in forms.into_iter().skip(usize::from(fused)) {
            let to = kept.as_deref().unwrap_or(temporary.path()).join(format!("{family}.{name}"));
            let meant = to.with_extension(format!("{name}.f32"));
            [&to, &meant].into_iter().for_each(|f| std::fs::create_dir_all(f).expect("a folder"));
            checkpoint::save_with(&model, &to, &Writing::whole(storage)).expect("it saves");
            let again = checkpoint::load(&to, Device::Cpu).expect("it loads back");
            assert_eq!(again.config, model.config, "{family}");
            checkpoint::save(&again, &meant).expect("it saves");
            if storage == Storage::Fp8 {
                assert!(fp8_is_near(&model, &again) > 8, "{family}");
            }
        }
    }
}

/// How many parameters are in FP8; all are as near as their format lets them be.
fn fp8_is_near(model: &policy::Model, again: &policy::Model) -> usize {
    let mut quantised = 0;
    for (name, value) in &model.params {
        let got = &again.params[name];
        let bf16 = value.to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let precise =
            ["lm_head.weight", "mlp.gate.weight", "weights_proj.weight"].iter().any(|end| name.ends_with(end));
        if name.ends_with("e_score_correction_bias") {
            assert!(got.equal(value), "{name}");
        } else if value.dim() != 2 || precise || name.contains("embed_tokens") {
            assert!(got.equal(&bf16), "{name}");
        } else {
            // Three bits of fraction: half a step is 2⁻⁴ of the value; below the least exponent, of the block's largest over 448 × 2⁶.
            let bound = value.abs() * 2f64.powi(-4) + value.abs().max() * (2f64.powi(-10) / 448.0 * 1.01);
            let near = (got - value).abs().le_tensor(&bound).all().int64_value(&[]) == 1;
            assert!(near && !got.equal(value), "{name}");
            quantised += 1;
        }
    }
    quantised
}

/// Compares parameters without letting −0.0 equal 0.0.
trait EqByBits {
    fn eq_by_bits(self, other: &policy::params::Params) -> bool;
}

impl<'a, I: Iterator<Item = (&'a String, &'a Tensor)>> EqByBits for I {
    fn eq_by_bits(self, other: &policy::params::Params) -> bool {
        let bits = |t: &Tensor| t.view_dtype(Kind::Int);
        self.map(|(name, t)| (name, bits(t)))
            .zip(other)
            .all(|((a_name, a), (b_name, b))| a_name == b_name && a.equal(&bits(b)))
    }
}

/// DSA for a dense grouped-query checkpoint: an indexer is added, dense to the bit while k covers the context (INV-3), and the file
/// that is written has it.
#[test]
fn inv_3_an_indexer_is_added_to_a_dense_checkpoint() {
    let _guard = tch::no_grad_guard();
    let dense = checkpoint::load(&folder("qwen3"), Device::Cpu).expect("the fixture loads");
    let inputs = sequences(&expected(&folder("qwen3"))("input_ids"));
    let (want, _) = logits(&dense, &inputs, &Task::plain(&dense));
    for (top_k, same) in [(24, true), (6, false)] {
        let indexer = IndexerConfig { heads: 2, width: 16, top_k, every: 1 };
        let sparse = checkpoint::load_with_indexer(&folder("qwen3"), Some(&indexer), 0.3, 7, Device::Cpu);
        let sparse = sparse.expect("an indexer is added");
        let task = Task { record: true, ..Task::plain(&sparse) };
        let (got, _) = logits(&sparse, &inputs, &task);
        assert_eq!(got.equal(&want), same, "k = {top_k}");
        let folder = tempfile::tempdir().expect("a folder");
        checkpoint::save(&sparse, folder.path()).expect("it saves");
        let again = checkpoint::load(folder.path(), Device::Cpu).expect("it loads back");
        assert_eq!(again.config, sparse.config);
        assert!(logits(&again, &inputs, &task).0.equal(&got));
        let without = checkpoint::load_dense(folder.path(), Device::Cpu).expect("the dense model is in it");
        assert!(logits(&without, &inputs, &Task::dense()).0.equal(&want));
    }
}

/// Latent attention without a query latent, dense, as a checkpoint.
fn without_query_latent() -> tempfile::TempDir {
    let mut config = policy::testing::tiny_config(None);
    if let policy::config::Attention::Mla(mla) = &mut config.attention {
        mla.q_lora_rank = None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    checkpoint::save(&policy::testing::model_of(config), folder.path()).expect("it saves");
    folder
}

/// DSA for any of them, on disk: every dense family, with its sliding windows, and latent attention without a query latent, are given an
/// indexer, one a layer or one for both layers, that is dense to the bit while k covers what a row sees (INV-3); a smaller k shows; and
/// the backbone's weights are the source's.
#[test]
fn inv_3_every_dense_family_is_given_an_indexer_on_disk() {
    let _guard = tch::no_grad_guard();
    let direct = without_query_latent();
    let families = ["llama", "mistral", "mistral4", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3", "kimi_k2"];
    let sources = families.map(folder).into_iter().chain([direct.path().to_owned()]);
    let mut refused = Vec::new();
    for (source, every, top_k) in sources.flat_map(|s| [(1, 4096), (2, 4096), (1, 5)].map(|(e, k)| (s.clone(), e, k))) {
        let dense = checkpoint::load(&source, Device::Cpu).expect("the fixture loads");
        let target = tempfile::tempdir().expect("a folder");
        let indexer = IndexerConfig { heads: 2, width: dense.config.rope_width().max(16), top_k, every };
        let added = checkpoint::add_indexer(&source, target.path(), &indexer, 0.3, 7);
        let Ok(config) = added else {
            refused.push((source, every, added.expect_err("just seen").to_string()));
            continue;
        };
        let sparse = checkpoint::load(target.path(), Device::Cpu).expect("it loads");
        let name = source.display();
        assert_eq!((&sparse.config.indexer, config.indexer), (&Some(indexer.clone()), Some(indexer)), "{name}");
        let own = sparse.params.keys().filter(|name| name.ends_with("indexer.wk.weight")).count();
        assert_eq!(own, 2 / every as usize, "{name}: one indexer for every {every} of two layers");
        assert!(dense.params.iter().all(|(name, value)| sparse.params[name].equal(value)), "{name}");
        let inputs = [(0..40).map(|i| (i * i * 7 + 3) % 60).collect::<Vec<u32>>()];
        let run = |model| logits(model, &inputs, &Task::plain(model)).0;
        assert_eq!(run(&sparse).equal(&run(&dense)), top_k == 4096, "{name}, every {every}, k = {top_k}");
    }
    let [(source, 2, error)] = refused.as_slice() else { panic!("qwen2 alone has two windows: {refused:?}") };
    assert!(source.ends_with("qwen2") && error.contains("whose sliding window is another"), "{error}");
}

#[test]
fn an_indexer_that_does_not_fit_is_refused_and_nothing_is_written() {
    let target = tempfile::tempdir().expect("a folder");
    let add = |source: &Path, width, every| {
        let indexer = IndexerConfig { heads: 2, width, top_k: 8, every };
        checkpoint::add_indexer(source, target.path(), &indexer, 0.3, 7).expect_err("it does not fit").to_string()
    };
    assert!(add(&folder("qwen3"), 2, 1).contains("index_head_dim"));
    assert!(add(&folder("qwen3"), 64, 3).contains("index_every"));
    assert_eq!(target.path().read_dir().expect("it lists").count(), 0);
}

#[test]
fn bf16_is_half_the_size_and_every_weight_is_the_nearest() {
    let model = checkpoint::load(&folder("deepseek_v3"), Device::Cpu).expect("the fixture loads");
    let (whole, half) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    checkpoint::save(&model, whole.path()).expect("it saves");
    checkpoint::save_as(&model, half.path(), Storage::Bf16).expect("it saves");
    let size = |f: &Path| std::fs::metadata(f.join(checkpoint::WEIGHTS)).expect("written").len();
    assert!(size(half.path()) < size(whole.path()) * 6 / 10);
    let config = std::fs::read_to_string(half.path().join("config.json")).expect("written");
    assert!(config.contains("\"dtype\": \"bfloat16\""));
    let again = checkpoint::load(half.path(), Device::Cpu).expect("it loads back");
    for (name, value) in &model.params {
        let bias = name.ends_with("e_score_correction_bias");
        let want = if bias { value.copy() } else { value.to_kind(Kind::BFloat16).to_kind(Kind::Float) };
        assert!(again.params[name].equal(&want), "{name}");
    }
}

/// As transformers does: the config says that the head is the embedding, and the weights know better.
#[test]
fn a_head_of_its_own_is_taken_whatever_the_config_says() {
    let _guard = tch::no_grad_guard();
    let own = folder("llama");
    let expected = expected(&own);
    let inputs = sequences(&expected("input_ids"));
    let raw = checkpoint::load_tensors(&own.join(checkpoint::WEIGHTS)).expect("it reads");
    let text = std::fs::read_to_string(own.join("config.json")).expect("it reads");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    config["tie_word_embeddings"] = true.into();
    for same in [false, true] {
        let copy = tempfile::tempdir().expect("a folder");
        let mut all: policy::params::Params = raw.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
        if same {
            all.insert("lm_head.weight".into(), all["model.embed_tokens.weight"].copy());
        }
        checkpoint::save_tensors(&all, &copy.path().join(checkpoint::WEIGHTS)).expect("it saves");
        std::fs::write(copy.path().join("config.json"), config.to_string()).expect("written");
        let model = checkpoint::load(copy.path(), Device::Cpu).expect("it loads");
        assert_eq!(model.config.tie_word_embeddings, same);
        if !same {
            assert_close(&logits(&model, &inputs, &Task::plain(&model)).0, &expected("logits"));
        }
    }
}

#[test]
fn weights_that_the_config_does_not_ask_for_are_named() {
    for family in FAMILIES {
        assert_eq!(unused(&folder(family)), [""; 0], "{family}");
    }
    assert_eq!(unused(&folder("deepseek_v3_fp8")), [""; 0]);
    let copy = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(folder("llama").join("config.json")).expect("it reads");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    (config["attention_bias"], config["num_hidden_layers"]) = (false.into(), 1.into());
    std::fs::write(copy.path().join("config.json"), config.to_string()).expect("written");
    std::fs::copy(folder("llama").join(checkpoint::WEIGHTS), copy.path().join(checkpoint::WEIGHTS)).expect("it copies");
    let unused = unused(copy.path());
    let biases = ["k", "o", "q", "v"].map(|name| format!("model.layers.0.self_attn.{name}_proj.bias"));
    let (first, second): (Vec<_>, Vec<_>) = unused.into_iter().partition(|name| name.starts_with("model.layers.0."));
    assert!(first == biases && second.len() == 16, "{first:?} {second:?}");
}

#[test]
fn a_missing_shard_is_named() {
    let (from, to) = (folder("qwen3_moe"), tempfile::tempdir().expect("a folder"));
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(&from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_owned();
        std::fs::copy(&path, to.path().join(&name)).expect("it copies");
        shards.extend(name.to_str().filter(|n| n.starts_with("model-")).map(str::to_owned));
    }
    shards.sort();
    assert!(shards.len() > 1, "{shards:?}");
    checkpoint::check(to.path()).expect("whole");
    std::fs::remove_file(to.path().join(&shards[1])).expect("it is there");
    let error = checkpoint::load(to.path(), Device::Cpu).expect_err("a shard is missing");
    assert!(matches!(&error, CheckpointError::MissingShard { shard, .. } if shard.ends_with(&shards[1])), "{error}");
    std::fs::copy(from.join(&shards[1]), to.path().join(&shards[1])).expect("it copies");
    let index = to.path().join(checkpoint::INDEX);
    let text = std::fs::read_to_string(&index).expect("it is there");
    std::fs::write(&index, text.replace(&shards[0], "../elsewhere.safetensors")).expect("it writes");
    let error = checkpoint::check(to.path()).expect_err("a shard outside of the folder");
    assert!(matches!(error, CheckpointError::Index { .. }), "{error}");
}
