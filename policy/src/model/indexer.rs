//! A layer's lightning indexer (DeepSeek-V3.2). Its inputs are detached, so its loss reaches the indexer alone.

use tch::Tensor;

use super::Weights;
use crate::config::{IndexerConfig, LATENT_NORM_EPS, ModelConfig};
use crate::kernels::indexer::IndexerQuery;
use crate::kernels::norm::layer_norm;
use crate::kernels::rotary::{Angles, Layout, rotate};
use crate::params::Shapes;
use crate::products::Products;

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Indexer {
    shape: IndexerConfig,
    wq_b: Tensor,
    wk: Tensor,
    k_norm: Tensor,
    k_bias: Tensor,
    weights: Tensor,
}

impl Indexer {
    pub(super) fn new(shape: &IndexerConfig, weights: &Weights<'_>) -> Self {
        Self {
            shape: shape.clone(),
            wq_b: weights.get("self_attn.indexer.wq_b.weight"),
            wk: weights.get("self_attn.indexer.wk.weight"),
            k_norm: weights.get("self_attn.indexer.k_norm.weight"),
            k_bias: weights.get("self_attn.indexer.k_norm.bias"),
            weights: weights.get("self_attn.indexer.weights_proj.weight"),
        }
    }

    pub(super) fn shapes(i: &IndexerConfig, config: &ModelConfig, shapes: &mut Shapes<'_>) {
        shapes.add("self_attn.indexer.wq_b.weight", &[i.heads * i.width, config.index_input_width()]);
        shapes.add("self_attn.indexer.wk.weight", &[i.width, config.hidden_size]);
        shapes.add("self_attn.indexer.k_norm.weight", &[i.width]);
        shapes.add("self_attn.indexer.k_norm.bias", &[i.width]);
        shapes.add("self_attn.indexer.weights_proj.weight", &[i.heads, config.hidden_size]);
    }

    /// The query side: queries from `input` (the query latent, or the residual stream), their weights from the residual stream `x`.
    pub(super) fn query(&self, products: &Products, x: &Tensor, input: &Tensor, angles: &Angles) -> IndexerQuery {
        let q = products.linear(&input.detach(), &self.wq_b).view([-1, self.shape.heads, self.shape.width]);
        let constant = ((self.shape.heads * self.shape.width) as f64).powf(-0.5);
        let w = products.precise(&x.detach(), &self.weights) * constant;
        IndexerQuery { q: rotate(&q, angles, Layout::Halves), w }
    }

    /// `[rows, index width]`: the rotated index keys.
    pub(super) fn keys(&self, products: &Products, x: &Tensor, angles: &Angles) -> Tensor {
        let k = layer_norm(&products.linear(&x.detach(), &self.wk), &self.k_norm, &self.k_bias, LATENT_NORM_EPS);
        rotate(&k.unsqueeze(1), angles, Layout::Halves).squeeze_dim(1)
    }
}
