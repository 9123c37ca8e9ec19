//! `config.json` as Hugging Face's classes read it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::checkpoint::{Storage, is_matrix_of_layer};
use crate::model::is_precise;

use super::{Attention, Experts, Family, Gqa, Mla, ModelConfig, Scores, rope};

/// The block that tells of an indexer in a family whose own config has no fields for one.
pub(super) const INDEXER_BLOCK: &str = "sparse_attention";

impl ModelConfig {
    /// `config.json` as Hugging Face's classes read it, for weights kept in these numbers.
    pub fn to_json(&self, storage: Storage) -> Value {
        let family = self.written_family();
        let mut fields = self.passed_on.clone();
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        put("architectures", json!([family.architecture()]));
        put("model_type", json!(family.model_type()));
        put("dtype", json!(storage.dtype()));
        if storage == Storage::Fp8 {
            put("quantization_config", self.quantisation());
        }
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("intermediate_size", json!(self.intermediate_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("hidden_act", json!("silu"));
        put("rms_norm_eps", json!(self.rms_norm_eps));
        put("rope_parameters", rope::to_json(&self.rope));
        put("max_position_embeddings", json!(self.max_position_embeddings));
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        put("use_cache", json!(true));
        match &self.attention {
            Attention::Mla(mla) => self.put_mla(mla, &mut put),
            Attention::Gqa(gqa) => self.put_gqa(family, gqa, &mut put),
        }
        match family {
            Family::Qwen3Moe => put_qwen_experts(self.experts.as_ref(), self.num_hidden_layers, &mut put),
            _ if family.is_latent() => self.put_deepseek_experts(family, &mut put),
            Family::Llama => put("mlp_bias", json!(self.feed_forward_bias)),
            _ => {}
        }
        self.put_indexer(family, &mut put);
        Value::Object(fields)
    }

    /// As the released FP8 checkpoints say it, with the linear maps that are not in FP8.
    fn quantisation(&self) -> Value {
        let shapes = crate::params::shapes(self);
        let quantised = crate::checkpoint::quantised(&shapes);
        let is_plain = |name: &str, shape: &[i64]| {
            is_precise(name) || (is_matrix_of_layer(name, shape) && !quantised.contains(name))
        };
        let plain = shapes.iter().filter(|(name, shape)| is_plain(name, shape));
        // transformers looks for a layer's experts as one module.
        let module = |name: &String| match name.split_once(".mlp.experts.") {
            Some((layer, _)) => Some(format!("{layer}.mlp.experts")),
            None => name.strip_suffix(".weight").map(str::to_owned),
        };
        let plain: BTreeSet<String> = plain.filter_map(|(name, _)| module(name)).collect();
        json!({
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
            "modules_to_not_convert": plain,
        })
    }

    /// The family that is written: a latent-attention model is `deepseek_v32` when it has that family's indexer and cannot be that without one.
    pub fn written_family(&self) -> Family {
        match self.family {
            family if family.is_deepseek() && self.indexes_as_deepseek() => Family::DeepseekV32,
            Family::DeepseekV32 => Family::DeepseekV3,
            family => family,
        }
    }

    /// DeepSeek-V3.2's indexers stand in every layer and make their queries from a query latent. A model with others is written as the
    /// dense one that it also is, so that other programs load what they know whole.
    fn indexes_as_deepseek(&self) -> bool {
        let latent = matches!(&self.attention, Attention::Mla(mla) if mla.q_lora_rank.is_some());
        latent && self.indexer.as_ref().is_some_and(|indexer| indexer.every == 1)
    }

    fn put_mla(&self, mla: &Mla, put: &mut impl FnMut(&str, Value)) {
        put("num_key_value_heads", json!(self.num_attention_heads));
        put("q_lora_rank", json!(mla.q_lora_rank));
        put("kv_lora_rank", json!(mla.kv_lora_rank));
        put("qk_nope_head_dim", json!(mla.qk_nope_head_dim));
        put("qk_rope_head_dim", json!(mla.qk_rope_head_dim));
        put("v_head_dim", json!(mla.v_head_dim));
        put("attention_bias", json!(mla.bias));
    }

    fn put_gqa(&self, family: Family, gqa: &Gqa, put: &mut impl FnMut(&str, Value)) {
        put("num_key_value_heads", json!(gqa.key_heads));
        put("head_dim", json!(gqa.head_width));
        if !matches!(family, Family::Mistral | Family::Qwen2) {
            put("attention_bias", json!(gqa.qkv_bias));
        }
        let window = gqa.windows.iter().flatten().next();
        if family == Family::Mistral {
            put("sliding_window", json!(window));
        } else if family != Family::Llama {
            put("use_sliding_window", json!(window.is_some()));
            put("sliding_window", json!(window));
        }
        let by_layer = match family {
            Family::Qwen2 | Family::Qwen3 => window.is_some(),
            // transformers takes a Mistral with this field for a Ministral, which is the same with windows by layer.
            Family::Mistral => window.is_some() && gqa.windows.contains(&None),
            _ => false,
        };
        if by_layer {
            let kind = |w: &Option<i64>| if w.is_some() { "sliding_attention" } else { "full_attention" };
            put("layer_types", gqa.windows.iter().map(kind).collect::<Vec<_>>().into());
            if family != Family::Mistral {
                // For readers that do not know `layer_types`: the layers before the first bounded one.
                put("max_window_layers", json!(gqa.windows.iter().take_while(|w| w.is_none()).count()));
            }
        }
    }

    fn put_deepseek_experts(&self, family: Family, put: &mut impl FnMut(&str, Value)) {
        let layers = self.num_hidden_layers as usize;
        let kinds: Vec<bool> = self.experts.as_ref().map_or_else(|| vec![false; layers], |e| e.layers.clone());
        let dense = kinds.iter().take_while(|&&sparse| !sparse).count();
        put("first_k_dense_replace", json!(dense));
        if family == Family::DeepseekV32 {
            let name = |&sparse: &bool| if sparse { "sparse" } else { "dense" };
            put("mlp_layer_types", kinds.iter().map(name).collect::<Vec<_>>().into());
        }
        let Some(e) = &self.experts else { return };
        put("n_routed_experts", json!(e.count));
        put("num_experts_per_tok", json!(e.gate.top_k));
        put("moe_intermediate_size", json!(e.width));
        put("n_shared_experts", json!(e.shared_width / e.width));
        put("n_group", json!(e.gate.groups));
        put("topk_group", json!(e.gate.top_groups));
        put("norm_topk_prob", json!(e.gate.normalise));
        put("routed_scaling_factor", json!(e.gate.scale));
        if e.gate.scores == Scores::BiasedSigmoid {
            put("scoring_func", json!("sigmoid"));
            put("topk_method", json!("noaux_tc"));
        }
    }

    fn put_indexer(&self, family: Family, put: &mut impl FnMut(&str, Value)) {
        let Some(i) = &self.indexer else { return };
        let mut block = Map::new();
        for (name, value) in [("index_n_heads", i.heads), ("index_head_dim", i.width), ("index_topk", i.top_k)] {
            block.insert(name.to_owned(), value.into());
        }
        if i.every > 1 {
            block.insert("index_every".to_owned(), i.every.into());
        }
        if family == Family::DeepseekV32 {
            block.into_iter().for_each(|(name, value)| put(&name, value));
        } else {
            put(INDEXER_BLOCK, Value::Object(block));
        }
    }
}

fn put_qwen_experts(experts: Option<&Experts>, layers: i64, put: &mut impl FnMut(&str, Value)) {
    let Some(e) = experts else {
        // Where a file says nothing, other programs take every layer to have experts.
        return put("mlp_only_layers", json!((0..layers).collect::<Vec<_>>()));
    };
    let dense: Vec<usize> = (0..e.layers.len()).filter(|&l| !e.layers[l]).collect();
    put("num_experts", json!(e.count));
    put("num_experts_per_tok", json!(e.gate.top_k));
    put("moe_intermediate_size", json!(e.width));
    put("norm_topk_prob", json!(e.gate.normalise));
    put("mlp_only_layers", json!(dense));
    put("decoder_sparse_step", json!(1));
}
