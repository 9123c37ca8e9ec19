//! One layer: its weights, by the names that they have in a checkpoint, and what does not depend on the rest of the model.

use tch::Tensor;

use super::feed_forward::FeedForward;
use super::gqa::Gqa;
use super::indexer::Indexer;
use super::mla::Mla;
use crate::config::{self, ModelConfig};
use crate::kernels::rotary::Angles;
use crate::params::{Params, Shapes};
use crate::products::Products;

/// The parameters of one layer.
pub(super) struct Weights<'a> {
    pub(super) params: &'a Params,
    /// `α/r` of the model's adapters, where it has some.
    pub(super) lora_scale: Option<f64>,
    pub(super) layer: i64,
}

impl Weights<'_> {
    /// A handle to the layer's parameter of this name.
    pub(super) fn get(&self, name: &str) -> Tensor {
        self.find(name).unwrap_or_else(|| panic!("layer {} has a parameter {name}", self.layer))
    }

    /// As [`Weights::get`], where there is one.
    pub(super) fn find(&self, name: &str) -> Option<Tensor> {
        self.params.get(&format!("model.layers.{}.{name}", self.layer)).map(Tensor::shallow_clone)
    }
}

/// What attention works on.
pub(super) struct Projected {
    /// `[rows, heads, key]`.
    pub(super) q: Tensor,
    /// `[rows, row of keys]`: this call's keys and values, as [`ModelConfig::geometry`] lays them out.
    pub(super) keys: Tensor,
    /// What an indexer's queries are made from.
    pub(super) index_input: Tensor,
}

#[derive(Debug)]
pub(super) struct Layer {
    pub(super) number: usize,
    pub(super) input_norm: Tensor,
    pub(super) attention: Attention,
    pub(super) indexer: Option<Indexer>,
    pub(super) post_norm: Tensor,
    pub(super) feed_forward: FeedForward,
}

/// The two kinds of attention differ in their projections alone; what lies between is one kernel.
#[derive(Debug)]
pub(super) enum Attention {
    Mla(Mla),
    Gqa(Gqa),
}

impl Layer {
    pub(super) fn new(config: &ModelConfig, params: &Params, lora_scale: Option<f64>, layer: i64) -> Self {
        let weights = &Weights { params, lora_scale, layer };
        let attention = match &config.attention {
            config::Attention::Mla(mla) => Attention::Mla(Mla::new(mla, config.num_attention_heads, weights)),
            config::Attention::Gqa(gqa) => Attention::Gqa(Gqa::new(gqa, config.rms_norm_eps, weights)),
        };
        Self {
            number: layer as usize,
            input_norm: weights.get("input_layernorm.weight"),
            attention,
            indexer: config
                .indexer
                .as_ref()
                .filter(|_| config.has_indexer(layer))
                .map(|indexer| Indexer::new(indexer, weights)),
            post_norm: weights.get("post_attention_layernorm.weight"),
            feed_forward: FeedForward::new(config, layer, weights),
        }
    }

    /// Names and shapes of a layer's parameters.
    pub(super) fn shapes(config: &ModelConfig, layer: i64, shapes: &mut Shapes<'_>) {
        let (heads, hidden) = (config.num_attention_heads, config.hidden_size);
        shapes.add("input_layernorm.weight", &[hidden]);
        shapes.add("post_attention_layernorm.weight", &[hidden]);
        match &config.attention {
            config::Attention::Mla(mla) => Mla::shapes(mla, heads, hidden, shapes),
            config::Attention::Gqa(gqa) => Gqa::shapes(gqa, heads, hidden, shapes),
        }
        if let Some(indexer) = config.indexer.as_ref().filter(|_| config.has_indexer(layer)) {
            Indexer::shapes(indexer, config, shapes);
        }
        FeedForward::shapes(config, layer, shapes);
    }
}

impl Attention {
    pub(super) fn project(&self, products: &Products, x: &Tensor, angles: &Angles) -> Projected {
        match self {
            Self::Mla(mla) => mla.project(products, x, angles),
            Self::Gqa(gqa) => gqa.project(products, x, angles),
        }
    }

    /// What the heads mixed, to the residual stream.
    pub(super) fn output(&self, products: &Products, mixed: &Tensor) -> Tensor {
        match self {
            Self::Mla(mla) => mla.output(products, mixed),
            Self::Gqa(gqa) => gqa.output(products, mixed),
        }
    }
}
