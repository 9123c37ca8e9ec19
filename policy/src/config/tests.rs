//! What is read, refused, reported and written.

use serde_json::{Value, json};

use super::families::{Family, read};
use super::{Attention, ModelConfig, Scaling, Scores};
use crate::checkpoint::Storage;

fn deepseek() -> Value {
    json!({
        "model_type": "deepseek_v32", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
        "v_head_dim": 16, "max_position_embeddings": 256, "index_topk": 4, "index_n_heads": 2, "index_head_dim": 16,
        "hidden_act": "silu", "eos_token_id": 3,
    })
}

fn qwen3() -> Value {
    json!({
        "model_type": "qwen3", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "sliding_window": null, "use_sliding_window": false,
    })
}

fn with(mut base: Value, changes: &[(&str, Value)]) -> Value {
    changes.iter().for_each(|(name, value)| base[*name] = value.clone());
    base
}

fn parse(value: &Value) -> Result<(ModelConfig, Vec<String>), String> {
    read(value.as_object().expect("an object"), "config.json").map_err(|e| e.to_string())
}

fn refused(base: &Value, changes: &[(&str, Value)], words: &str) {
    let error = parse(&with(base.clone(), changes)).expect_err(words);
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn a_bad_number_is_refused_by_its_field() {
    for name in ["vocab_size", "kv_lora_rank", "num_attention_heads", "num_hidden_layers", "q_lora_rank", "index_topk"]
    {
        for value in [json!(0), json!(-3), json!(1.5), json!("many")] {
            refused(&deepseek(), &[(name, value)], &format!("config.json: {name} must be"));
        }
    }
    refused(&deepseek(), &[("kv_lora_rank", Value::Null)], "kv_lora_rank is missing");
    refused(&deepseek(), &[("rope_theta", json!(0.0))], "rope_theta must be positive");
    refused(&deepseek(), &[("rope_theta", json!(-1e4))], "rope_theta must be positive");
    refused(&deepseek(), &[("rms_norm_eps", json!(0))], "rms_norm_eps must be positive");
    refused(&deepseek(), &[("qk_rope_head_dim", json!(7))], "qk_rope_head_dim must be even");
    refused(&deepseek(), &[("index_head_dim", json!(4))], "index_head_dim must be at least the 8");
    refused(&qwen3(), &[("head_dim", json!(15))], "head_dim must be even");
    refused(&qwen3(), &[("num_key_value_heads", json!(3))], "num_key_value_heads must divide the 4");
    refused(&qwen3(), &[("tie_word_embeddings", json!(1))], "tie_word_embeddings must be true or false");
}

#[test]
fn what_is_not_built_is_refused_and_not_ignored() {
    refused(&deepseek(), &[("hidden_act", json!("gelu"))], "hidden_act = \"gelu\" is not built");
    refused(&deepseek(), &[("rope_interleave", json!(false))], "rope_interleave = false is not built");
    refused(
        &deepseek(),
        &[("quantization_config", json!({"quant_method": "gptq"}))],
        "quantization_config.quant_method",
    );
    refused(&qwen3(), &[("model_type", json!("gpt_neox"))], "model_type \"gpt_neox\" is not built");
    refused(&qwen3(), &[("rope_scaling", json!({"rope_type": "spiral"}))], "rope type \"spiral\" is not built");
    refused(&qwen3(), &[("partial_rotary_factor", json!(0.5))], "partial_rotary_factor must be 1");
    let windowed = [("use_sliding_window", json!(true)), ("sliding_window", json!(8)), ("max_window_layers", json!(1))];
    let indexer = json!({"index_topk": 4, "index_n_heads": 2, "index_head_dim": 16});
    let (config, _) = parse(&with(qwen3(), &windowed)).expect("a window is built");
    assert!(matches!(config.attention, Attention::Gqa(g) if g.windows == [None, Some(8)]));
    let both = [windowed.as_slice(), &[("sparse_attention", with(indexer, &[("index_every", json!(2))]))]].concat();
    refused(&qwen3(), &both, "index_every lets layer 1 take the selection of layer 0, whose sliding window is another");
}

/// Other programs know `deepseek_v32` with an indexer in every layer, which reads the query latent. What is not that, they load as the dense
/// model.
#[test]
fn an_indexer_that_no_other_program_knows_is_written_beside_a_dense_model() {
    let of = |changes: &[(&str, Value)]| {
        let config = parse(&with(deepseek(), changes)).expect("it reads").0;
        let written = config.to_json(Storage::F32);
        let again = parse(&written).expect("it reads back").0;
        assert_eq!((&again.indexer, &again.attention), (&config.indexer, &config.attention));
        written
    };
    let own = of(&[]);
    assert_eq!((&own["model_type"], &own["index_topk"]), (&json!("deepseek_v32"), &json!(4)));
    for changes in [("q_lora_rank", Value::Null), ("index_every", json!(2))] {
        let written = of(&[changes]);
        assert_eq!(written["model_type"], "deepseek_v3");
        assert_eq!((written.get("index_topk"), &written["sparse_attention"]["index_topk"]), (None, &json!(4)));
    }
}

#[test]
fn yarn_is_checked_and_its_attention_factor_kept() {
    let yarn = |changes: &[(&str, Value)]| {
        let base = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        with(qwen3(), &[("rope_scaling", with(base, changes))])
    };
    refused(&yarn(&[("factor", json!(0.5))]), &[], "rope_scaling.factor must be at least 1");
    refused(&yarn(&[("beta_fast", json!(-1))]), &[], "rope_scaling.beta_fast must be positive");
    let (config, unknown) =
        parse(&yarn(&[("attention_factor", json!(0.9)), ("betafast", json!(3))])).expect("it reads");
    let Scaling::Yarn(found) = &config.rope.scaling else { panic!("it is YaRN") };
    assert_eq!((found.attention_factor, found.truncate), (Some(0.9), true));
    assert_eq!(unknown, ["rope_scaling.betafast"]);
}

#[test]
fn longrope_has_a_factor_for_each_pair() {
    let longrope = |changes: &[(&str, Value)]| {
        let factors = json!([1.0, 1.0, 1.5, 2.0, 2.0, 2.0, 2.5, 4.0]);
        let base = json!({"type": "longrope", "short_factor": factors, "long_factor": factors});
        with(qwen3(), &[("rope_scaling", with(base, changes)), ("original_max_position_embeddings", json!(64))])
    };
    let (config, unknown) = parse(&longrope(&[("short_mscale", json!(1.1))])).expect("it reads");
    let Scaling::LongRope(found) = &config.rope.scaling else { panic!("it is LongRoPE") };
    assert_eq!((found.original_max_position, found.max_position, found.factor), (64.0, 256.0, None));
    // √(1 + ln 4 / ln 64).
    assert!((found.magnitude() - (4.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(unknown, ["rope_scaling.short_mscale"]);
    let again = parse(&config.to_json(Storage::F32)).expect("it reads back").0;
    assert_eq!(again, config);
    refused(&longrope(&[("long_factor", json!([1.0, 2.0]))]), &[], "long_factor must hold 8 numbers");
    refused(&longrope(&[("long_factor", json!([0.0]))]), &[], "rope_scaling.long_factor must be a list of positive");
    refused(&longrope(&[("short_factor", Value::Null)]), &[], "rope_scaling.short_factor is missing");
    let original = [("original_max_position_embeddings", json!(1))];
    refused(&longrope(&[]), &original, "original_max_position_embeddings must be more than 1");
}

#[test]
fn fields_that_nobody_knows_are_reported() {
    let (config, unknown) =
        parse(&with(deepseek(), &[("use_ropes", json!(1)), ("use_cache", json!(true))])).expect("it reads");
    assert_eq!(unknown, ["use_ropes"]);
    assert_eq!(config.passed_on["eos_token_id"], 3);
}

#[test]
fn mixtures_are_read_and_checked() {
    let experts = [
        ("n_routed_experts", json!(8)),
        ("n_group", json!(4)),
        ("topk_group", json!(2)),
        ("num_experts_per_tok", json!(3)),
        ("moe_intermediate_size", json!(16)),
        ("n_shared_experts", json!(2)),
        ("first_k_dense_replace", json!(1)),
        ("routed_scaling_factor", json!(2.5)),
        ("norm_topk_prob", json!(true)),
    ];
    let base = with(deepseek(), &experts);
    let (config, unknown) = parse(&base).expect("it reads");
    let found = config.experts.expect("it has experts");
    assert_eq!((found.layers, found.shared_width), (vec![false, true], 32));
    assert_eq!((found.gate.scores, found.gate.groups, found.gate.scale), (Scores::BiasedSigmoid, 4, 2.5));
    assert!(unknown.is_empty(), "{unknown:?}");
    refused(&base, &[("n_group", json!(3))], "n_group must cut 8 experts");
    refused(&base, &[("topk_group", json!(5))], "topk_group must be at most");
    refused(&base, &[("num_experts_per_tok", json!(5))], "num_experts_per_tok must be at most 4");
    refused(&base, &[("scoring_func", json!("softmax"))], "scoring_func = \"softmax\" is not built");
}

/// The form of the released Kimi K2, by its public configuration, at a small size.
#[test]
fn kimi_k2_is_deepseek_v3() {
    let kimi = r#"{
        "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "aux_loss_alpha": 0.001, "bos_token_id": 1,
        "eos_token_id": 2, "ep_size": 1, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 64,
        "initializer_range": 0.02, "intermediate_size": 128, "kv_lora_rank": 16, "max_position_embeddings": 131072,
        "model_type": "kimi_k2", "moe_intermediate_size": 32, "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 24,
        "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 4, "num_experts_per_tok": 8,
        "num_hidden_layers": 3, "num_key_value_heads": 4, "num_nextn_predict_layers": 0, "pretraining_tp": 1,
        "q_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "rms_norm_eps": 1e-6,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
        "rope_scaling": {"beta_fast": 1.0, "beta_slow": 1.0, "factor": 32.0, "mscale": 1.0, "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 4096, "type": "yarn"},
        "rope_theta": 50000.0, "routed_scaling_factor": 2.827, "scoring_func": "sigmoid", "seq_aux": true,
        "tie_word_embeddings": false, "topk_group": 1, "topk_method": "noaux_tc", "torch_dtype": "bfloat16",
        "transformers_version": "4.48.3", "use_cache": true, "v_head_dim": 16, "vocab_size": 1024
    }"#;
    let kimi: Value = serde_json::from_str(kimi).expect("it is JSON");
    let (config, unknown) = parse(&kimi).expect("it reads");
    assert_eq!((config.family, unknown), (Family::KimiK2, Vec::<String>::new()));
    assert_eq!(config.experts.as_ref().map(|e| e.layers.clone()), Some(vec![false, true, true]));
    assert_eq!(config.to_json(Storage::F32)["model_type"], "kimi_k2");
}

/// What is written reads back as the same config, for every kind.
#[test]
fn a_written_config_is_the_same_config() {
    let mut configs: Vec<ModelConfig> = crate::testing::every_kind().into_iter().map(|(_, config)| config).collect();
    configs.iter_mut().for_each(|config| {
        // What a family's file can say: experts with grouped attention are Qwen3's own type, and it has all biases or none.
        config.family = match (&config.attention, &config.experts, &config.indexer) {
            (Attention::Gqa(_), Some(_), _) => Family::Qwen3Moe,
            (Attention::Gqa(_), None, _) => Family::Qwen3,
            (Attention::Mla(_), Some(experts), _) if experts.gate.scores == Scores::Softmax => Family::Mistral4,
            (Attention::Mla(mla), _, Some(i)) if i.every == 1 && mla.q_lora_rank.is_some() => Family::DeepseekV32,
            (Attention::Mla(_), ..) => Family::DeepseekV3,
        };
    });
    for config in configs {
        let written = config.to_json(Storage::F32);
        let (again, unknown) = parse(&written).unwrap_or_else(|e| panic!("{e}: {written}"));
        assert_eq!((again, unknown), (config, Vec::new()), "{written}");
    }
}

/// Mistral Large 3 is released so: what to do is said, and not that a file is missing.
#[test]
fn mistrals_own_layout_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("params.json"), "{\"dim\": 7168}").expect("it writes");
    let error = ModelConfig::read(folder.path()).expect_err("there is no config.json").to_string();
    assert!(error.contains("params.json, Mistral's own layout") && error.contains("convert it"), "{error}");
    std::fs::write(folder.path().join("config.json"), qwen3().to_string()).expect("it writes");
    ModelConfig::read(folder.path()).expect("with both, transformers' is read");
}
