//! Small models for tests.

use std::sync::Arc;

use tch::{Device, Tensor};

use crate::cache::PagedCache;
use crate::checkpoint;
use crate::config::{
    Attention, Experts, Family, Gate, Gqa, IndexerConfig, Mla, ModelConfig, Rope, Scaling, Scores, Yarn,
};
use crate::lora::LoraConfig;
use crate::model::{Keys, Model, Task};
use crate::rows::{KeyIndex, Rows};

/// A two-layer model of a few thousand parameters; sparse with this top-k, or dense.
pub fn tiny_config(top_k: Option<i64>) -> ModelConfig {
    ModelConfig {
        family: Family::DeepseekV32,
        vocab_size: 64,
        hidden_size: 32,
        intermediate_size: 64,
        feed_forward_bias: false,
        experts: None,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        attention: Attention::Mla(Mla {
            q_lora_rank: Some(32),
            kv_lora_rank: 16,
            qk_nope_head_dim: 16,
            qk_rope_head_dim: 8,
            v_head_dim: 16,
            bias: false,
        }),
        rms_norm_eps: 1e-6,
        rope: Rope { theta: 10_000.0, scaling: Scaling::None },
        max_position_embeddings: 256,
        tie_word_embeddings: false,
        indexer: top_k.map(|top_k| IndexerConfig { heads: 2, width: 16, top_k, every: 1 }),
        passed_on: serde_json::Map::new(),
    }
}

/// The same with grouped-query attention of four heads on two, biases and head norms.
pub fn tiny_grouped(top_k: Option<i64>) -> ModelConfig {
    ModelConfig {
        family: Family::Qwen3,
        num_attention_heads: 4,
        attention: Attention::Gqa(Gqa {
            key_heads: 2,
            head_width: 8,
            qkv_bias: true,
            output_bias: true,
            head_norms: true,
            windows: Vec::new(),
        }),
        ..tiny_config(top_k)
    }
}

/// A mixture of eight experts in the second layer of `config`, two for a row: DeepSeek's, with four groups and a shared expert, or
/// Qwen3's.
pub fn with_experts(config: ModelConfig, scores: Scores) -> ModelConfig {
    let deepseek = scores == Scores::BiasedSigmoid;
    let gate = Gate {
        scores,
        top_k: 2,
        groups: if deepseek { 4 } else { 1 },
        top_groups: if deepseek { 2 } else { 1 },
        normalise: deepseek,
        scale: if deepseek { 1.5 } else { 1.0 },
    };
    let shared_width = if deepseek { 16 } else { 0 };
    ModelConfig {
        experts: Some(Experts { count: 8, width: 16, shared_width, gate, layers: vec![false, true] }),
        ..config
    }
}

/// A configuration of every kind: latent and grouped attention, dense and sparse, with and without experts.
pub fn every_kind() -> Vec<(&'static str, ModelConfig)> {
    let experts = |config, scores| with_experts(config, scores);
    vec![
        ("latent", tiny_config(None)),
        ("latent, sparse", tiny_config(Some(8))),
        ("latent, experts", experts(tiny_config(None), Scores::BiasedSigmoid)),
        ("latent, sparse, experts", experts(tiny_config(Some(8)), Scores::BiasedSigmoid)),
        ("latent, biases, grouped experts by softmax, scaled queries", mistral4()),
        ("latent, sparse, one indexer for both layers", shared(tiny_config(Some(8)))),
        ("grouped", tiny_grouped(None)),
        ("grouped, sparse", tiny_grouped(Some(8))),
        ("grouped, sparse, an indexer for every two of three layers", deeper(shared(tiny_grouped(Some(8))))),
        ("grouped, experts", experts(tiny_grouped(None), Scores::Softmax)),
        ("grouped, windowed", windowed(tiny_grouped(None), [None, Some(5)])),
        // A window with more keys than are selected of it, and one with fewer.
        ("grouped, sparse, within a window", windowed(tiny_grouped(Some(8)), [Some(13), None])),
        ("grouped, sparse, beside a short window", windowed(tiny_grouped(Some(8)), [Some(5), None])),
        ("grouped, sparse, shared within windows", windowed(shared(tiny_grouped(Some(8))), [Some(13), Some(13)])),
        ("latent, sparse, without a query latent", direct(tiny_config(Some(8)))),
    ]
}

/// Mistral 4: biases of latent attention, groups under a softmax, queries that grow every eight positions.
fn mistral4() -> ModelConfig {
    let mut config = with_experts(tiny_config(None), Scores::BiasedSigmoid);
    config.family = Family::Mistral4;
    config.rope.scaling = Scaling::Yarn(Yarn {
        factor: 4.0,
        original_max_position: 8.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: 1.0,
        mscale_all_dim: 1.0,
        attention_factor: None,
        truncate: true,
        query_beta: 0.3,
    });
    config.experts.iter_mut().for_each(|experts| experts.gate.scores = Scores::Softmax);
    if let Attention::Mla(mla) = &mut config.attention {
        mla.bias = true;
    }
    config
}

/// The first layer's indexer for both layers.
fn shared(mut config: ModelConfig) -> ModelConfig {
    config.indexer.iter_mut().for_each(|indexer| indexer.every = 2);
    config
}

/// A third layer, which begins a group of its own where an indexer serves two.
fn deeper(mut config: ModelConfig) -> ModelConfig {
    config.num_hidden_layers = 3;
    config
}

/// The layers see so many positions at most.
fn windowed(mut config: ModelConfig, windows: [Option<i64>; 2]) -> ModelConfig {
    if let Attention::Gqa(gqa) = &mut config.attention {
        gqa.windows = windows.to_vec();
    }
    config
}

/// Queries straight from the residual stream.
fn direct(mut config: ModelConfig) -> ModelConfig {
    if let Attention::Mla(mla) = &mut config.attention {
        mla.q_lora_rank = None;
    }
    config
}

/// A fresh model of [`tiny_config`], with weights large enough that attention is not uniform.
///
/// # Panics
/// If no product of this size is row-invariant on the CPU.
pub fn tiny_model(top_k: Option<i64>) -> Model {
    checkpoint::fresh(tiny_config(top_k), 0.3, 11, Device::Cpu).expect("small products are row-invariant")
}

/// A fresh model of a config, with weights as large.
///
/// # Panics
/// As [`tiny_model`].
pub fn model_of(config: ModelConfig) -> Model {
    checkpoint::fresh(config, 0.3, 11, Device::Cpu).expect("small products are row-invariant")
}

/// A fresh model of a config with adapters of rank 3 beside all that take one by default, and beside a network's where it has but one, whose
/// `B` is as large as `A`.
///
/// # Panics
/// As [`tiny_model`].
pub fn adapted(config: ModelConfig) -> Model {
    let mut lora = LoraConfig { rank: 3, alpha: 4.5, targets: Vec::new() };
    let model = model_of(config);
    lora.targets =
        lora.targets_in(model.config.family, model.params.keys()).expect("it has weights that take adapters");
    if model.config.experts.is_none() && !model.config.family.peft_adapts_networks() {
        lora.targets.extend(["gate_proj", "up_proj", "down_proj"].map(str::to_owned));
    }
    let model = model.with_adapters(lora, 5).expect("it has weights that take adapters");
    let value = |(name, p): (&String, &Tensor)| (name.clone(), crate::params::initial(name, &p.size(), 0.1, 7));
    let values = model.adapter_params().iter().map(value).collect();
    model.set_adapters(&values).expect("they are its own");
    model
}

/// What [`decode`] saw: logits `[rows, vocabulary]`, and of the last row of each forward the selections and the experts.
#[derive(Debug)]
pub struct Decoded {
    /// Logits of every row of the sequence.
    pub logits: Tensor,
    /// For each forward, by layer, the selection of its last row.
    pub selections: Vec<Vec<Tensor>>,
    /// For each forward, by layer that has experts, those of its last row.
    pub experts: Vec<Vec<Tensor>>,
}

/// Feeds a sequence through a cache of small pages: its first `prompt` tokens at once, then one by one. `next` gives the token to feed
/// after a forward, from the logits of the last row; `None` ends it.
pub fn decode(model: &Model, prompt: &[u32], mut next: impl FnMut(&Tensor) -> Option<u32>) -> Decoded {
    const PAGE: usize = 4;
    let mut cache = PagedCache::new(&model.config, 64, PAGE, model.device());
    let task = Task { record: model.config.indexer.is_some(), record_experts: true, ..Task::plain(model) };
    let (mut slots, mut page, mut feed) = (Vec::new(), 0, prompt.to_vec());
    let (mut logits, mut selections, mut experts) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let first = slots.len();
        for position in first..first + feed.len() {
            if position % PAGE == 0 {
                page = cache.take().expect("the cache is large enough");
            }
            slots.push(cache.slot(page, position % PAGE));
        }
        let position = (first..slots.len()).map(|p| p as u32).collect();
        let index = KeyIndex::new(vec![0; feed.len()], position, vec![slots.clone()]);
        let rows = Rows { tokens: feed.iter().map(|&t| i64::from(t)).collect(), index: Arc::new(index) };
        let forward = model.forward(&rows, Keys::Cached(&mut cache), &task);
        let last = |t: &Tensor| t.get(t.size()[0] - 1);
        logits.push(model.logits(&forward.hidden));
        selections.push(forward.selections.iter().map(last).collect());
        experts.push(forward.experts.iter().map(last).collect());
        match next(&last(logits.last().expect("just pushed"))) {
            Some(token) => feed = vec![token],
            None => return Decoded { logits: Tensor::cat(&logits, 0), selections, experts },
        }
    }
}
