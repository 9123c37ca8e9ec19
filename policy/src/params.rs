//! A model's parameters by their Hugging Face names.

use std::collections::BTreeMap;

use data::CounterRng;
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;

/// Parameters by name, in name order: the order of every sum over them.
pub type Params = BTreeMap<String, Tensor>;

/// True for the indexer's own parameters, which learn from the indexer's loss alone.
pub fn is_indexer(name: &str) -> bool {
    name.contains(".indexer.")
}

/// The shape of each parameter that a config asks for.
pub fn shapes(config: &ModelConfig) -> BTreeMap<String, Vec<i64>> {
    let c = config;
    let mut shapes = BTreeMap::new();
    let mut add = |name: String, shape: &[i64]| {
        shapes.insert(name, shape.to_vec());
    };
    add("model.embed_tokens.weight".into(), &[c.vocab_size, c.hidden_size]);
    add("model.norm.weight".into(), &[c.hidden_size]);
    if !c.tie_word_embeddings {
        add("lm_head.weight".into(), &[c.vocab_size, c.hidden_size]);
    }
    for layer in 0..c.num_hidden_layers {
        let mut add = |name: &str, shape: &[i64]| add(format!("model.layers.{layer}.{name}"), shape);
        let queries = c.num_attention_heads * c.qk_head_dim();
        add("input_layernorm.weight", &[c.hidden_size]);
        add("post_attention_layernorm.weight", &[c.hidden_size]);
        match c.q_lora_rank {
            Some(rank) => {
                add("self_attn.q_a_proj.weight", &[rank, c.hidden_size]);
                add("self_attn.q_a_layernorm.weight", &[rank]);
                add("self_attn.q_b_proj.weight", &[queries, rank]);
            }
            None => add("self_attn.q_proj.weight", &[queries, c.hidden_size]),
        }
        add("self_attn.kv_a_proj_with_mqa.weight", &[c.key_width(), c.hidden_size]);
        add("self_attn.kv_a_layernorm.weight", &[c.kv_lora_rank]);
        add(
            "self_attn.kv_b_proj.weight",
            &[c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank],
        );
        add("self_attn.o_proj.weight", &[c.hidden_size, c.num_attention_heads * c.v_head_dim]);
        add("mlp.gate_proj.weight", &[c.intermediate_size, c.hidden_size]);
        add("mlp.up_proj.weight", &[c.intermediate_size, c.hidden_size]);
        add("mlp.down_proj.weight", &[c.hidden_size, c.intermediate_size]);
        if let (Some(i), Some(rank)) = (&c.indexer, c.q_lora_rank) {
            add("self_attn.indexer.wq_b.weight", &[i.heads * i.width, rank]);
            add("self_attn.indexer.wk.weight", &[i.width, c.hidden_size]);
            add("self_attn.indexer.k_norm.weight", &[i.width]);
            add("self_attn.indexer.k_norm.bias", &[i.width]);
            add("self_attn.indexer.weights_proj.weight", &[i.heads, c.hidden_size]);
        }
    }
    shapes
}

/// One fresh parameter: norms at 1, biases at 0, matrices normal with deviation `std`.
///
/// Each number is keyed by (seed, name, position) (INV-4), so that adding an indexer to a model does not move any other weight.
pub fn initial(name: &str, shape: &[i64], std: f64, seed: u64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    if name.ends_with(".bias") {
        return Tensor::zeros(shape, options);
    }
    if shape.len() == 1 {
        return Tensor::ones(shape, options);
    }
    let mut rng = CounterRng::new(seed, name);
    let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(|_| (rng.normal() * std) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}
