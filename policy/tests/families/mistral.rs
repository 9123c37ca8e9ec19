//! Checkpoints in Mistral's own layout. The fixtures that transformers made are put into it by a table of names of this file's own, and
//! must be the model that they are in transformers' layout, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use policy::checkpoint::{self, CheckpointError, Storage, Writing};
use policy::params::Params;
use policy::{ModelConfig, Task};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::fixture::{expected, fixture, logits, sequences};

/// Mistral's words by those of transformers, of what stands between a layer's number and `weight`.
const WORDS: [(&str, &str); 16] = [
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attention.wq"),
    ("self_attn.k_proj", "attention.wk"),
    ("self_attn.v_proj", "attention.wv"),
    ("self_attn.o_proj", "attention.wo"),
    ("self_attn.q_a_proj", "attention.wq_a"),
    ("self_attn.q_a_layernorm", "attention.q_a_norm"),
    ("self_attn.q_b_proj", "attention.wq_b"),
    ("self_attn.kv_a_proj_with_mqa", "attention.wkv_a_with_mqa"),
    ("self_attn.kv_a_layernorm", "attention.kv_a_norm"),
    ("self_attn.kv_b_proj", "attention.wkv_b"),
    ("mlp.gate", "gate"),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.down_proj", "feed_forward.w2"),
    ("mlp.up_proj", "feed_forward.w3"),
];

fn own_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "tok_embeddings.weight".into(),
        "model.norm.weight" => return "norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let (layer, module) = name.strip_prefix("model.layers.").expect("a layer's").split_once('.').expect("a number");
    let module = module.strip_suffix(".weight").expect("a weight");
    if let Some((_, own)) = WORDS.iter().find(|(theirs, _)| *theirs == module) {
        return format!("layers.{layer}.{own}.weight");
    }
    // An expert's matrix, or a shared one's.
    let own = module.replace("mlp.", "").replace("gate_proj", "w1").replace("down_proj", "w2").replace("up_proj", "w3");
    format!("layers.{layer}.{own}.weight")
}

fn family(name: &str) -> PathBuf {
    fixture("families").join(name)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("it is JSON")
}

/// A fixture's model in transformers' layout, without what Mistral's cannot say: biases, ids of special tokens and, for `mistral`, the
/// linear scaling of the rope.
fn reference(name: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    let mut config = json_of(&family(name).join("config.json"));
    let fields = config.as_object_mut().expect("an object");
    fields.retain(|name, _| !name.ends_with("_token_id") && name != "attention_bias");
    if name == "mistral" {
        fields.insert("rope_parameters".into(), json!({"rope_type": "default", "rope_theta": 1e4}));
    }
    std::fs::write(to.path().join("config.json"), config.to_string()).expect("it writes");
    let mut raw = checkpoint::load_tensors(&family(name).join(checkpoint::WEIGHTS)).expect("it reads");
    raw.retain(|name, _| !name.ends_with(".bias"));
    checkpoint::save_tensors(&raw, &to.path().join(checkpoint::WEIGHTS)).expect("it saves");
    to
}

/// What the fixtures' `config.json` say, in the words of `params.json`.
fn params(name: &str) -> Value {
    let shared = json!({
        "dim": 32, "n_layers": 2, "hidden_dim": 40, "n_heads": 4, "norm_eps": 1e-5, "vocab_size": 97, "rope_theta": 10000.0,
        "max_position_embeddings": 128, "tied_embeddings": false, "vision_encoder": {"hidden_size": 8},
    });
    let more = match name {
        "mistral" => json!({"n_kv_heads": 2, "head_dim": 12, "sliding_window": 20}),
        _ => json!({
            "n_kv_heads": 4, "head_dim": 16, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
            "v_head_dim": 8, "llama_4_scaling": {"beta": 0.3, "original_max_position_embeddings": 32},
            "yarn": {"factor": 4, "alpha": 1, "beta": 32, "original_max_position_embeddings": 32, "apply_scale": true},
            "moe": {"num_experts": 8, "num_experts_per_tok": 3, "expert_hidden_dim": 16, "first_k_dense_replace": 1,
                "num_shared_experts": 1, "routed_scale": 2.5, "num_expert_groups": 4, "num_expert_groups_per_tok": 2},
        }),
    };
    let fields = |value: Value| value.as_object().expect("an object").clone();
    Value::Object(fields(shared).into_iter().chain(fields(more)).collect())
}

/// The model's parameters under Mistral's names. Rows `2i` and `2i + 1` of a grouped query or key head are transformers' `i` and `i + width/2`.
fn in_own_order(model: &Params, config: &ModelConfig) -> Params {
    let order = |name: &str, value: &Tensor| {
        let is_turned = name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight");
        if !is_turned {
            return value.shallow_clone();
        }
        let (width, rows) = (config.query_width(), value.size()[0]);
        let theirs = |row: i64| row / width * width + row % width / 2 + row % 2 * (width / 2);
        let order: Vec<i64> = (0..rows).map(theirs).collect();
        value.index_select(0, &Tensor::from_slice(&order))
    };
    model.iter().map(|(name, value)| (own_name(name), order(name, value))).collect()
}

/// A tensor as it lies in a file.
struct Raw(Dtype, Vec<usize>, Vec<u8>);

fn plain(value: &Tensor, dtype: Dtype) -> Raw {
    let kind = if dtype == Dtype::BF16 { Kind::BFloat16 } else { Kind::Float };
    let value = value.to_kind(kind).contiguous();
    let mut bytes = vec![0u8; value.numel() * kind.elt_size_in_bytes()];
    value.copy_data_u8(&mut bytes, value.numel());
    Raw(dtype, value.size().iter().map(|&n| n as usize).collect(), bytes)
}

fn write(tensors: &BTreeMap<String, Raw>, path: &Path) {
    let views = tensors.iter().map(|(name, Raw(dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("its bytes fit its shape"))
    });
    std::fs::write(path, safetensors::serialize(views, None).expect("it is written")).expect("it writes");
}

/// A folder in Mistral's layout, in one file, with a tensor of the eyes beside the language model's.
fn own_folder(tensors: &BTreeMap<String, Raw>, params: &Value) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    std::fs::write(to.path().join("params.json"), params.to_string()).expect("it writes");
    write(tensors, &to.path().join("consolidated.safetensors"));
    to
}

fn raw(params: &Params, dtype: Dtype) -> BTreeMap<String, Raw> {
    let mut all: BTreeMap<String, Raw> = params.iter().map(|(name, t)| (name.clone(), plain(t, dtype))).collect();
    all.insert("vision_encoder.transformer.layers.0.attention.wq.weight".into(), Raw(Dtype::U8, vec![1], vec![0]));
    all
}

fn assert_same(got: &Params, want: &Params) {
    assert!(got.keys().eq(want.keys()));
    for (name, want) in want {
        let bits = |t: &Tensor| t.to_kind(Kind::Float).view_dtype(Kind::Int);
        assert!(bits(&got[name]).equal(&bits(want)), "{name}");
    }
}

/// Latent attention with experts, as Mistral Large 3, and dense grouped-query attention, whose query and key rows lie in another order:
/// the same config, parameters and logits; and what is written of it is transformers' layout, byte for byte.
#[test]
fn a_model_in_mistrals_own_layout_is_the_one_in_transformers() {
    let _guard = tch::no_grad_guard();
    for name in ["mistral4", "mistral"] {
        let theirs = reference(name);
        let want = checkpoint::load(theirs.path(), Device::Cpu).expect("the fixture loads");
        let own = own_folder(&raw(&in_own_order(&want.params, &want.config), Dtype::F32), &params(name));
        let (config, unknown) = ModelConfig::read_with_unknown(own.path()).expect("the config reads");
        assert_eq!((&config, unknown), (&want.config, Vec::new()), "{name}");
        let got = checkpoint::load(own.path(), Device::Cpu).expect("it loads");
        assert_same(&got.params, &want.params);
        let inputs = sequences(&expected(&family(name))("input_ids"));
        let run = |model| logits(model, &inputs, &Task::plain(model)).0;
        assert!(run(&got).equal(&run(&want)), "{name}");
        let (saved, converted) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        checkpoint::save(&want, saved.path()).expect("it saves");
        checkpoint::convert(own.path(), converted.path(), &Writing::whole(Storage::F32)).expect("it converts");
        for file in [checkpoint::WEIGHTS, "config.json"] {
            let bytes = |folder: &Path| std::fs::read(folder.join(file)).expect("written");
            assert!(bytes(saved.path()) == bytes(converted.path()), "{name}: {file}");
        }
    }
}

#[test]
fn bf16_of_mistrals_own_layout_is_read_and_kept() {
    for name in ["mistral4", "mistral"] {
        let model = checkpoint::load(reference(name).path(), Device::Cpu).expect("the fixture loads");
        let own = own_folder(&raw(&in_own_order(&model.params, &model.config), Dtype::BF16), &params(name));
        let rounded = |t: &Tensor| t.to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let want: Params = model.params.iter().map(|(name, t)| (name.clone(), rounded(t))).collect();
        assert_same(&checkpoint::load(own.path(), Device::Cpu).expect("it loads").params, &want);
        let frozen = checkpoint::load_frozen(own.path(), Device::Cpu).expect("it loads");
        assert!(frozen.params.values().any(|t| t.kind() == Kind::BFloat16));
        assert_same(&frozen.params, &want);
    }
}

/// e4m3 by its definition, without what is not a number.
fn e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7) / 8.0);
    let size = if exponent == 0 { fraction * 2f32.powi(-6) } else { (1.0 + fraction) * 2f32.powi(exponent - 7) };
    if byte >= 128 { -size } else { size }
}

/// FP8 with one scale a matrix, as Mistral Small 4 is released, and one a block of 128 × 128, as Mistral Large 3: `w = FP8 × scale`, in a
/// latent model with matrices of several blocks and in a dense one.
#[test]
fn fp8_of_mistrals_own_layout_is_read_with_a_scale_a_matrix_or_a_block() {
    let wide = |name: &str| {
        let mut wide = params(name);
        for (field, value) in [("dim", 144), ("hidden_dim", 160)] {
            wide[field] = json!(value);
        }
        wide
    };
    for (name, blocks) in [("mistral4", false), ("mistral4", true), ("mistral", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("params.json"), wide(name).to_string()).expect("it writes");
        let config = ModelConfig::read(folder.path()).expect("it reads");
        let model = checkpoint::fresh(config, 0.3, 1, Device::Cpu).expect("it is made");
        let kept = in_own_order(&model.params, &model.config);
        let mut file = raw(&kept, Dtype::F32);
        let mut read_back = BTreeMap::new();
        for (number, name) in file.keys().cloned().collect::<Vec<_>>().into_iter().enumerate() {
            let Raw(_, shape, _) = &file[&name];
            let &[rows, columns] = shape.as_slice() else { continue };
            if !name.starts_with("layers.") || name.ends_with(".gate.weight") {
                continue;
            }
            let bytes: Vec<u8> = (0..rows * columns)
                .map(|i| ((i * 7 + number * 13) % 251 % 127) as u8 | ((i % 3 == 0) as u8) << 7)
                .collect();
            let (down, across) = if blocks { (rows.div_ceil(128), columns.div_ceil(128)) } else { (1, 1) };
            let scales: Vec<f32> =
                (0..down * across).map(|i| 2f32.powi(-(i as i32) - 4) * (1.0 + number as f32 / 64.0)).collect();
            let scale =
                |i: usize| if blocks { scales[i / columns / 128 * across + i % columns / 128] } else { scales[0] };
            let values: Vec<f32> = bytes.iter().enumerate().map(|(i, &byte)| e4m3(byte) * scale(i)).collect();
            read_back.insert(name.clone(), Tensor::from_slice(&values).view([rows as i64, columns as i64]));
            let ending = if blocks { "weight_scale" } else { "qscale_weight" };
            let shape = if blocks { vec![down, across] } else { vec![1; number % 2] };
            let stem = name.strip_suffix("weight").expect("a weight");
            let scales = Raw(Dtype::F32, shape, scales.iter().flat_map(|s| s.to_le_bytes()).collect());
            file.insert(format!("{stem}{ending}"), scales);
            file.insert(format!("{stem}qscale_act"), plain(&Tensor::from(0.5f32), Dtype::F32));
            file.insert(name, Raw(Dtype::F8_E4M3, vec![rows, columns], bytes));
        }
        assert!(read_back.len() >= 14);
        let own = own_folder(&file, &wide(name));
        let got = checkpoint::load(own.path(), Device::Cpu).expect("it loads");
        for (name, got) in in_own_order(&got.params, &got.config) {
            let want = read_back.get(&name).map_or_else(|| kept[&name].shallow_clone(), Tensor::shallow_clone);
            assert!(got.equal(&want), "{name}");
        }
    }
}

/// In shards with a list: the same; and what is missing, a shard or a tensor, is named as the files name it.
#[test]
fn shards_of_mistrals_own_layout_are_read_and_what_is_missing_is_named() {
    let model = checkpoint::load(reference("mistral4").path(), Device::Cpu).expect("the fixture loads");
    let all = raw(&in_own_order(&model.params, &model.config), Dtype::F32);
    let to = tempfile::tempdir().expect("a folder");
    std::fs::write(to.path().join("params.json"), params("mistral4").to_string()).expect("it writes");
    let name_of = |number: usize| format!("consolidated-{number:05}-of-00003.safetensors");
    let mut shards: [BTreeMap<String, Raw>; 3] = Default::default();
    let mut list = serde_json::Map::new();
    for (number, (name, tensor)) in all.into_iter().enumerate() {
        list.insert(name.clone(), json!(name_of(number % 3)));
        shards[number % 3].insert(name, tensor);
    }
    for (number, tensors) in shards.iter().enumerate() {
        write(tensors, &to.path().join(name_of(number)));
    }
    let index = to.path().join("consolidated.safetensors.index.json");
    std::fs::write(&index, json!({"weight_map": list}).to_string()).expect("it writes");
    assert_same(&checkpoint::load(to.path(), Device::Cpu).expect("it loads").params, &model.params);
    assert_eq!(checkpoint::files(to.path()).expect("they are there").len(), 3);

    let without = |missing: &str| {
        list.iter()
            .filter(|(name, _)| *name != missing)
            .map(|(n, f)| (n.clone(), f.clone()))
            .collect::<serde_json::Map<_, _>>()
    };
    for missing in ["layers.1.experts.3.w2.weight", "layers.0.attention.wkv_a_with_mqa.weight", "output.weight"] {
        std::fs::write(&index, json!({"weight_map": without(missing)}).to_string()).expect("it writes");
        let error = checkpoint::check(to.path()).expect_err("it is missing");
        assert!(matches!(&error, CheckpointError::Missing { name, .. } if name == missing), "{error}");
    }
    std::fs::write(&index, json!({"weight_map": list}).to_string()).expect("it writes");
    std::fs::remove_file(to.path().join(name_of(1))).expect("it was there");
    let error = checkpoint::check(to.path()).expect_err("a shard is missing");
    assert!(matches!(&error, CheckpointError::MissingShard { shard, .. } if shard.ends_with(name_of(1))), "{error}");
    std::fs::remove_file(&index).expect("it was there");
    let error = checkpoint::check(to.path()).expect_err("there are no weights").to_string();
    assert!(error.contains("consolidated.safetensors"), "{error}");
}

/// As the files name it: a weight that `params.json` does not ask for, and one that is there under the names of both layouts.
#[test]
fn weights_of_mistrals_own_layout_that_have_no_effect_or_two_names_are_named() {
    let model = checkpoint::load(reference("mistral4").path(), Device::Cpu).expect("the fixture loads");
    let mut all = raw(&in_own_order(&model.params, &model.config), Dtype::F32);
    let one = || plain(&Tensor::from_slice(&[1f32, 2.0]), Dtype::F32);
    all.insert("layers.0.attention.wo.bias".to_owned(), one());
    all.insert("vision_encoder.patch.weight".to_owned(), one());
    let folder = own_folder(&all, &params("mistral4"));
    assert_eq!(super::unused(folder.path()), ["layers.0.attention.wo.bias"]);
    all.insert("model.norm.weight".to_owned(), one());
    let error = checkpoint::check(own_folder(&all, &params("mistral4")).path()).expect_err("which of them?");
    assert!(matches!(&error, CheckpointError::Twice { name, .. } if name == "norm.weight"), "{error}");
}

/// Where both layouts are there transformers' is read, config and weights.
#[test]
fn transformers_layout_wins_over_mistrals_own() {
    let folder = reference("mistral4");
    let want = checkpoint::load(folder.path(), Device::Cpu).expect("the fixture loads");
    std::fs::write(folder.path().join("params.json"), "{}").expect("it writes");
    std::fs::write(folder.path().join("consolidated.safetensors"), "").expect("it writes");
    assert_same(&checkpoint::load(folder.path(), Device::Cpu).expect("it loads").params, &want.params);
}
