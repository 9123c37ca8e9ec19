//! Small models for tests.

use tch::Device;

use crate::checkpoint;
use crate::config::{IndexerConfig, ModelConfig};
use crate::model::Model;

/// A two-layer model of a few thousand parameters; sparse with this top-k, or dense.
pub fn tiny_config(top_k: Option<i64>) -> ModelConfig {
    ModelConfig {
        vocab_size: 64,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        q_lora_rank: Some(32),
        kv_lora_rank: 16,
        qk_nope_head_dim: 16,
        qk_rope_head_dim: 8,
        v_head_dim: 16,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        yarn: None,
        max_position_embeddings: 256,
        tie_word_embeddings: false,
        indexer: top_k.map(|top_k| IndexerConfig { heads: 2, width: 16, top_k }),
    }
}

/// A fresh model of [`tiny_config`], with weights large enough that attention is not uniform.
///
/// # Panics
/// If no product of this size is row-invariant on the CPU.
pub fn tiny_model(top_k: Option<i64>) -> Model {
    checkpoint::fresh(tiny_config(top_k), 0.3, 11, Device::Cpu).expect("small products are row-invariant")
}
