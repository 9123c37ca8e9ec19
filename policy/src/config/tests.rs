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

/// By the names that transformers looks for: a layer's experts are one module there.
#[test]
fn what_stays_out_of_fp8_is_listed() {
    let experts = [
        ("n_routed_experts", json!(4)),
        ("num_experts_per_tok", json!(2)),
        ("moe_intermediate_size", json!(200)),
        ("first_k_dense_replace", json!(1)),
    ];
    let config = parse(&with(deepseek(), &experts)).expect("it reads").0;
    let written = config.to_json(Storage::Fp8);
    let listed = written["quantization_config"]["modules_to_not_convert"].as_array().expect("a list").clone();
    let has = |name: &str| listed.contains(&json!(name));
    assert!(has("model.layers.1.mlp.experts") && has("model.layers.1.mlp.gate") && has("lm_head"), "{listed:?}");
    assert!(!has("model.layers.0.mlp.gate_proj") && !has("model.layers.1.self_attn.q_a_proj"), "{listed:?}");
    assert!(!listed.iter().any(|name| name.to_string().contains(".mlp.experts.")), "{listed:?}");
}

/// transformers gives a `qwen3_moe` experts in every layer that is not listed.
#[test]
fn a_model_without_experts_says_so_where_its_family_has_them() {
    let moe = with(
        qwen3(),
        &[("model_type", json!("qwen3_moe")), ("num_experts", json!(4)), ("mlp_only_layers", json!([0, 1]))],
    );
    let config = parse(&moe).expect("it reads").0;
    let written = config.to_json(Storage::F32);
    assert_eq!((&config.experts, &written["mlp_only_layers"]), (&None, &json!([0, 1])));
    assert_eq!(parse(&written).expect("it reads back").0, config);
}

/// As in transformers, which takes it for a Ministral then.
#[test]
fn a_mistral_may_have_windows_by_layer() {
    let base = with(qwen3(), &[("model_type", json!("mistral")), ("sliding_window", json!(8))]);
    let by_layer = [("layer_types", json!(["full_attention", "sliding_attention"]))];
    for (changes, windows) in [(&by_layer[..], [None, Some(8)]), (&[], [Some(8), Some(8)])] {
        let config = parse(&with(base.clone(), changes)).expect("it reads").0;
        assert!(matches!(&config.attention, Attention::Gqa(g) if g.windows == windows));
        let written = config.to_json(Storage::F32);
        assert_eq!(written.get("layer_types"), changes.first().map(|(_, kinds)| kinds));
        let (again, unknown) = parse(&written).expect("it reads back");
        assert_eq!((again, unknown), (config, Vec::new()));
    }
    let nowhere = [("layer_types", json!(["full_attention", "full_attention"]))];
    let config = parse(&with(base, &nowhere)).expect("it reads").0;
    assert!(matches!(&config.attention, Attention::Gqa(g) if g.windows.is_empty()));
}

#[test]
fn the_original_context_beside_the_ropes_block_wins() {
    for kind in ["yarn", "llama3"] {
        let block = json!({"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 64,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0});
        let changes = [("rope_scaling", block), ("original_max_position_embeddings", json!(32))];
        let original =
            |changes: &[(&str, Value)]| match parse(&with(qwen3(), changes)).expect("it reads").0.rope.scaling {
                Scaling::Yarn(yarn) => yarn.original_max_position,
                Scaling::Llama3(llama3) => llama3.original_max_position,
                other => panic!("{other:?}"),
            };
        assert_eq!((original(&changes), original(&changes[..1])), (32.0, 64.0), "{kind}");
    }
}

/// What transformers takes from outside of the language model's config.
#[test]
fn a_model_with_eyes_is_asked_outside_of_its_language_model_too() {
    let eyes = |changes: &[(&str, Value)]| {
        let text = with(qwen3(), &[("model_type", json!("mistral")), ("sliding_window", Value::Null)]);
        with(json!({"model_type": "mistral3", "text_config": text, "spatial_merge_size": 2}), changes)
    };
    let tied = |changes: &[(&str, Value)]| parse(&eyes(changes)).expect("it reads").0.tie_word_embeddings;
    assert!(tied(&[]) && tied(&[("tie_word_embeddings", json!(true))]));
    let inside = |tie: Value| {
        let text = with(eyes(&[])["text_config"].clone(), &[("tie_word_embeddings", tie)]);
        tied(&[("text_config", text)])
    };
    assert!(!inside(json!(false)) && inside(Value::Null));
    let by_layer = with(
        eyes(&[])["text_config"].clone(),
        &[("sliding_window", json!(8)), ("layer_types", json!(["full_attention", "sliding_attention"]))],
    );
    let config = parse(&eyes(&[("text_config", by_layer)])).expect("it reads").0;
    assert!(matches!(&config.attention, Attention::Gqa(g) if g.windows == [Some(8), Some(8)]), "all layers, there");
    assert!(!tied(&[("tie_word_embeddings", json!(false))]));
    assert_eq!(parse(&eyes(&[("weird", json!(1))])).expect("it reads").1, ["use_sliding_window", "weird"]);
    refused(&eyes(&[("quantization_config", json!({"quant_method": "awq"}))]), &[], "quantization_config.quant_method");
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
    assert_eq!((found.original_max_position, found.factor), (64.0, None));
    // √(1 + ln 4 / ln 64).
    assert!((found.magnitude(256) - (4.0f64 / 3.0).sqrt()).abs() < 1e-12);
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
    assert_eq!((config.family, unknown), (Family::DeepseekV3, Vec::<String>::new()));
    assert_eq!(config.experts.as_ref().map(|e| e.layers.clone()), Some(vec![false, true, true]));
    assert_eq!(config.to_json(Storage::F32)["model_type"], "deepseek_v3", "which other programs know");
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

/// Mistral's own layout by the public `params.json` of Mistral Large 3 (675B).
fn mistral_large_3() -> Value {
    serde_json::from_str(
        r#"{
        "dim": 7168, "head_dim": 192, "hidden_dim": 16384, "kv_lora_rank": 512,
        "llama_4_scaling": {"beta": 0.1, "original_max_position_embeddings": 8192}, "max_position_embeddings": 294912,
        "moe": {"expert_hidden_dim": 4096, "expert_model_parallel": 1, "expert_parallel": 1, "first_k_dense_replace": 3,
            "num_expert_groups": 1, "num_expert_groups_per_tok": 1, "num_experts": 128, "num_experts_per_tok": 4,
            "num_shared_experts": 1, "route_every_n": 1, "routed_scale": 1.0},
        "n_heads": 128, "n_kv_heads": 128, "n_layers": 61, "norm_eps": 1e-06, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "quantization_config": {
            "config_groups": {"FP8_BLOCK": {"format": "float-quantized", "input_activations": {"dynamic": true,
                "group_size": 128, "num_bits": 8, "strategy": "group", "symmetric": true, "type": "float"},
                "output_activations": null, "targets": ["Linear"], "weights": {"block_structure": [128, 128],
                "dynamic": false, "num_bits": 8, "strategy": "block", "symmetric": true, "type": "float"}}},
            "format": "float-quantized", "ignore": ["model.embed_tokens", "lm_head"], "quant_method": "compressed-tensors",
            "quantization_status": "compressed"},
        "rope_theta": 10000.0, "tied_embeddings": false, "v_head_dim": 128, "vocab_size": 131072,
        "vision_encoder": {"hidden_size": 1664, "num_attention_heads": 16, "num_hidden_layers": 48},
        "yarn": {"alpha": 1, "apply_scale": false, "beta": 32, "factor": 36, "original_max_position_embeddings": 8192}
    }"#,
    )
    .expect("it is JSON")
}

fn parse_own(value: &Value) -> Result<(ModelConfig, Vec<String>), String> {
    super::mistral::read(value.as_object().expect("an object"), "params.json").map_err(|e| e.to_string())
}

/// With a value put at a path of names.
fn set(mut base: Value, path: &[&str], value: Value) -> Value {
    *path.iter().fold(&mut base, |inner, name| &mut inner[*name]) = value;
    base
}

#[test]
fn mistral_large_3_is_read_from_its_own_params() {
    let (config, unknown) = parse_own(&mistral_large_3()).expect("it reads");
    assert_eq!((config.family, unknown), (Family::Mistral4, Vec::<String>::new()));
    assert_eq!((config.num_attention_heads, config.num_hidden_layers, config.query_width()), (128, 61, 192));
    assert_eq!((config.max_position_embeddings, config.rms_norm_eps), (294_912, 1e-6));
    let Attention::Mla(mla) = &config.attention else { panic!("it is latent") };
    assert_eq!((mla.q_lora_rank, mla.kv_lora_rank, mla.v_head_dim, mla.bias), (Some(1536), 512, 128, false));
    let experts = config.experts.as_ref().expect("it has experts");
    assert_eq!((experts.count, experts.width, experts.shared_width), (128, 4096, 4096));
    assert_eq!((experts.gate.scores, experts.gate.top_k, experts.gate.normalise), (Scores::Softmax, 4, true));
    assert_eq!(experts.layers.iter().position(|&sparse| sparse), Some(3));
    let Scaling::Yarn(yarn) = &config.rope.scaling else { panic!("it is YaRN") };
    assert_eq!((config.rope.theta, yarn.factor, yarn.original_max_position), (1e4, 36.0, 8192.0));
    assert_eq!((yarn.beta_fast, yarn.beta_slow, yarn.query_beta), (32.0, 1.0, 0.1));
    // `apply_scale` is false: neither cosines and sines nor the softmax grow with the factor.
    assert_eq!((yarn.attention_factor, config.softmax_scale()), (Some(1.0), 192f64.powf(-0.5)));
    // 675 billion with the eyes, which have 2.5 of them.
    assert_eq!(config.parameters() / 1_000_000_000, 673);
    // It is written as a `mistral4`, and read back from that.
    let (again, unknown) = parse(&config.to_json(Storage::Bf16)).expect("it reads back");
    assert_eq!((again, unknown), (config, Vec::new()));
}

/// With `apply_scale`, and where nothing is said of it, latent attention's softmax grows by `m²`, and grouped-query attention's cosines
/// and sines by `m`.
#[test]
fn apply_scale_says_whether_attention_grows_with_the_context() {
    let m = 0.1 * 36f64.ln() + 1.0;
    for value in [json!(true), Value::Null] {
        let (config, _) =
            parse_own(&set(mistral_large_3(), &["yarn", "apply_scale"], value.clone())).expect("it reads");
        assert_eq!(config.softmax_scale(), 192f64.powf(-0.5) * m.powi(2));
        let yarn = json!({"factor": 36, "apply_scale": value});
        let (dense, _) = parse_own(&set(dense_mistral(), &["yarn"], yarn)).expect("it reads");
        let Scaling::Yarn(yarn) = &dense.rope.scaling else { panic!("it is YaRN") };
        assert_eq!((yarn.attention_factor, yarn.mscale, yarn.mscale_all_dim), (None, 0.0, 0.0));
    }
}

/// The form of the released Mistral 7B.
fn dense_mistral() -> Value {
    json!({
        "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8, "norm_eps": 1e-5,
        "vocab_size": 32768, "rope_theta": 1000000.0,
    })
}

#[test]
fn a_dense_mistral_is_read_from_its_own_params() {
    let (config, unknown) = parse_own(&dense_mistral()).expect("it reads");
    assert_eq!((config.family, unknown), (Family::Mistral, Vec::<String>::new()));
    let Attention::Gqa(gqa) = &config.attention else { panic!("it is grouped") };
    assert_eq!((gqa.key_heads, gqa.head_width, gqa.windows.len()), (8, 128, 0));
    assert_eq!((config.max_position_embeddings, config.rope.theta, config.tie_word_embeddings), (128_000, 1e6, false));
    for window in [json!(4096), json!([4096]), json!([4096, 4096])] {
        let (config, _) = parse_own(&set(dense_mistral(), &["sliding_window"], window)).expect("it reads");
        assert!(matches!(config.attention, Attention::Gqa(g) if g.windows == vec![Some(4096); 32]));
    }
    let (config, _) = parse_own(&set(dense_mistral(), &["sliding_window"], json!([null]))).expect("it reads");
    assert!(matches!(config.attention, Attention::Gqa(g) if g.windows.is_empty()));
}

#[test]
fn an_error_names_the_field_as_params_json_does() {
    let refused = |base: Value, path: &[&str], value: Value, words: &str| {
        let error = parse_own(&set(base, path, value)).expect_err(words);
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    let large = mistral_large_3;
    refused(large(), &["dim"], json!(0), "params.json: dim must be positive");
    refused(large(), &["n_layers"], Value::Null, "n_layers is missing");
    refused(large(), &["n_layers"], json!(1 << 30), "n_layers must be at most");
    refused(large(), &["rope_theta"], Value::Null, "rope_theta is missing");
    refused(large(), &["moe", "num_experts"], json!("many"), "moe.num_experts must be");
    refused(large(), &["moe", "num_experts_per_tok"], json!(129), "moe.num_experts_per_tok must be at most 128");
    refused(large(), &["moe"], json!(3), "moe must be an object");
    refused(large(), &["yarn", "factor"], json!(0.5), "yarn.factor must be at least 1");
    refused(large(), &["yarn", "beta"], json!(-1), "yarn.beta must be positive");
    refused(large(), &["yarn", "apply_scale"], json!("no"), "yarn.apply_scale must be true or false");
    refused(large(), &["llama_4_scaling", "beta"], json!(-1), "llama_4_scaling.beta must be not negative");
    let context = ["llama_4_scaling", "original_max_position_embeddings"];
    refused(large(), &context, json!(4096), "llama_4_scaling.original_max_position_embeddings must be that of yarn");
    // And what is not built.
    refused(large(), &["activation"], json!("gelu"), "activation = \"gelu\" is not built");
    refused(large(), &["model_type"], json!("mamba"), "model_type = \"mamba\" is not built");
    refused(large(), &["moe", "route_every_n"], json!(2), "moe.route_every_n = 2 is not built");
    refused(
        large(),
        &["moe", "use_load_balancing_bias"],
        json!(true),
        "moe.use_load_balancing_bias = true is not built",
    );
    refused(large(), &["sliding_window"], json!(4096), "sliding_window beside latent attention");
    refused(dense_mistral(), &["moe"], json!({"num_experts": 8}), "(Mixtral) is not built");
    refused(dense_mistral(), &["sliding_window"], json!([4096, null]), "differs among layers");
    refused(
        dense_mistral(),
        &["llama_4_scaling"],
        json!({"beta": 0.1}),
        "llama_4_scaling is built for latent attention",
    );
    refused(
        large(),
        &["quantization_config", "format"],
        json!("nvfp4-pack-quantized"),
        "\"nvfp4-pack-quantized\" is not built",
    );
    let weights = ["quantization_config", "config_groups", "FP8_BLOCK", "weights"];
    let inner = |name| [weights.as_slice(), &[name]].concat();
    refused(large(), &inner("num_bits"), json!(4), "num_bits = 4 is not built");
    refused(large(), &inner("strategy"), json!("channel"), "strategy = \"channel\" is not built");
    refused(large(), &inner("block_structure"), json!([64, 64]), "block_structure = [64,64] is not built");
    refused(
        dense_mistral(),
        &["quantization"],
        json!({"qformat_weight": "int4"}),
        "qformat_weight = \"int4\" is not built",
    );
    let fp8 = json!({"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"});
    parse_own(&set(dense_mistral(), &["quantization"], fp8)).expect("FP8 with a scale a matrix is read");
}

#[test]
fn fields_of_params_json_that_nobody_knows_are_reported() {
    let unknown = [(&["ropes"][..], "ropes"), (&["moe", "jitter"], "moe.jitter"), (&["yarn", "gamma"], "yarn.gamma")];
    let params = unknown.iter().fold(mistral_large_3(), |params, (path, _)| set(params, path, json!(1)));
    let (_, found) = parse_own(&params).expect("it reads");
    let names: std::collections::BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(names, unknown.iter().map(|(_, name)| *name).collect());
}

/// Whatever stands in a field: an answer, and no panic or gigabytes.
#[test]
fn a_hostile_params_json_is_answered() {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(1e308),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(i32::MAX),
        json!("x"),
        json!(""),
        json!([]),
        json!([1, "x", null]),
        json!({}),
        json!({"beta": {}, "factor": []}),
    ];
    for base in [mistral_large_3(), dense_mistral()] {
        let extra = ["sliding_window", "quantization", "moe", "yarn", "llama_4_scaling", "quantization_config"];
        let names = base.as_object().expect("an object").keys().cloned();
        for name in names.chain(extra.map(str::to_owned)) {
            let inner =
                base[&name].as_object().map(|block| block.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
            let paths = inner.iter().map(|inner| vec![name.as_str(), inner]).chain([vec![name.as_str()]]);
            for (path, value) in paths.flat_map(|path| values.iter().map(move |value| (path.clone(), value))) {
                if let Ok((config, _)) = parse_own(&set(base.clone(), &path, value.clone())) {
                    config.to_json(Storage::Bf16);
                    config.parameters();
                }
            }
        }
    }
}

/// A folder's `config.json` wins where both are there, and either is read by its name.
#[test]
fn a_folder_may_have_either_config_or_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("params.json");
    std::fs::write(&own, dense_mistral().to_string()).expect("it writes");
    let family = |path: &std::path::Path| ModelConfig::read(path).expect("it reads").family;
    assert_eq!((family(folder.path()), family(&own)), (Family::Mistral, Family::Mistral));
    std::fs::write(folder.path().join("config.json"), qwen3().to_string()).expect("it writes");
    assert_eq!((family(folder.path()), family(&own)), (Family::Qwen3, Family::Mistral));
}
