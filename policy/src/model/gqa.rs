//! Grouped-query attention: several query heads share a key and a value head (Ainslie et al., 2023).

use tch::Tensor;

use super::linear::Linear;
use super::{Projected, Weights};
use crate::config::Gqa as Config;
use crate::kernels::norm::rms_norm;
use crate::kernels::rotary::{Angles, Layout, rotate};
use crate::params::Shapes;
use crate::products::Products;

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Gqa {
    width: i64,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norms: Option<HeadNorms>,
}

/// Norms over the width of a head.
#[derive(Debug)]
struct HeadNorms {
    q: Tensor,
    k: Tensor,
    eps: f64,
}

impl Gqa {
    pub(super) fn new(c: &Config, eps: f64, weights: &Weights<'_>) -> Self {
        let norm = |name: &str| weights.get(&format!("self_attn.{name}_norm.weight"));
        Self {
            width: c.head_width,
            q: Linear::new(weights, "self_attn.q_proj", c.qkv_bias),
            k: Linear::new(weights, "self_attn.k_proj", c.qkv_bias),
            v: Linear::new(weights, "self_attn.v_proj", c.qkv_bias),
            o: Linear::new(weights, "self_attn.o_proj", c.output_bias),
            norms: c.head_norms.then(|| HeadNorms { q: norm("q"), k: norm("k"), eps }),
        }
    }

    pub(super) fn shapes(c: &Config, heads: i64, hidden: i64, shapes: &mut Shapes<'_>) {
        let (queries, keys) = (heads * c.head_width, c.key_heads * c.head_width);
        Linear::shapes(shapes, "self_attn.q_proj", queries, hidden, c.qkv_bias);
        Linear::shapes(shapes, "self_attn.k_proj", keys, hidden, c.qkv_bias);
        Linear::shapes(shapes, "self_attn.v_proj", keys, hidden, c.qkv_bias);
        Linear::shapes(shapes, "self_attn.o_proj", hidden, queries, c.output_bias);
        if c.head_norms {
            shapes.add("self_attn.q_norm.weight", &[c.head_width]);
            shapes.add("self_attn.k_norm.weight", &[c.head_width]);
        }
    }

    pub(super) fn project(&self, products: &Products, x: &Tensor, angles: &Angles) -> Projected {
        let rows = x.size()[0];
        let heads = |linear: &Linear| linear.apply(products, x).view([rows, -1, self.width]);
        let (mut q, mut k) = (heads(&self.q), heads(&self.k));
        if let Some(norms) = &self.norms {
            (q, k) = (rms_norm(&q, &norms.q, norms.eps), rms_norm(&k, &norms.k, norms.eps));
        }
        let q = rotate(&q, angles, Layout::Halves);
        let k = rotate(&k, angles, Layout::Halves).flatten(1, 2);
        let keys = Tensor::cat(&[k, self.v.apply(products, x)], 1);
        Projected { q, keys, index_input: x.shallow_clone() }
    }

    /// Mixed values `[rows, heads, width]` to the residual stream.
    pub(super) fn output(&self, products: &Products, mixed: &Tensor) -> Tensor {
        self.o.apply(products, &mixed.flatten(1, 2))
    }
}
