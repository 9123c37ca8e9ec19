//! Multi-head latent attention in its absorbed form: the keys' up-projection is multiplied into the queries and the values' into the
//! output, so that one latent a position serves all heads.

use tch::Tensor;

use super::adapter::Adapter;
use super::linear::Linear;
use super::{Projected, Weights};
use crate::config::{LATENT_NORM_EPS, Mla as Config};
use crate::doctor::ProductShape;
use crate::kernels::norm::rms_norm;
use crate::kernels::rotary::{Angles, Layout, rotate};
use crate::params::Shapes;
use crate::products::Products;

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Mla {
    shape: Config,
    heads: i64,
    query: Query,
    kv_a: Linear,
    kv_a_norm: Tensor,
    kv_b: Tensor,
    kv_b_adapter: Option<Adapter>,
    o: Linear,
}

#[derive(Debug)]
enum Query {
    Direct(Linear),
    Latent { a: Linear, norm: Tensor, b: Linear },
}

impl Mla {
    pub(super) fn new(shape: &Config, heads: i64, weights: &Weights<'_>) -> Self {
        let query = match shape.q_lora_rank {
            None => Query::Direct(Linear::new(weights, "self_attn.q_proj", false)),
            Some(_) => Query::Latent {
                a: Linear::new(weights, "self_attn.q_a_proj", shape.bias),
                norm: weights.get("self_attn.q_a_layernorm.weight"),
                b: Linear::new(weights, "self_attn.q_b_proj", false),
            },
        };
        Self {
            shape: shape.clone(),
            heads,
            query,
            kv_a: Linear::new(weights, "self_attn.kv_a_proj_with_mqa", shape.bias),
            kv_a_norm: weights.get("self_attn.kv_a_layernorm.weight"),
            kv_b: weights.get("self_attn.kv_b_proj.weight"),
            kv_b_adapter: Adapter::of(weights, "self_attn.kv_b_proj"),
            o: Linear::new(weights, "self_attn.o_proj", shape.bias),
        }
    }

    pub(super) fn shapes(c: &Config, heads: i64, hidden: i64, shapes: &mut Shapes<'_>) {
        let queries = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
        match c.q_lora_rank {
            Some(rank) => {
                Linear::shapes(shapes, "self_attn.q_a_proj", rank, hidden, c.bias);
                shapes.add("self_attn.q_a_layernorm.weight", &[rank]);
                Linear::shapes(shapes, "self_attn.q_b_proj", queries, rank, false);
            }
            None => Linear::shapes(shapes, "self_attn.q_proj", queries, hidden, false),
        }
        Linear::shapes(shapes, "self_attn.kv_a_proj_with_mqa", c.kv_lora_rank + c.qk_rope_head_dim, hidden, c.bias);
        shapes.add("self_attn.kv_a_layernorm.weight", &[c.kv_lora_rank]);
        shapes.add("self_attn.kv_b_proj.weight", &[heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank]);
        Linear::shapes(shapes, "self_attn.o_proj", hidden, heads * c.v_head_dim, c.bias);
    }

    /// The products by head, beside those with whole matrices.
    pub(super) fn product_shapes(c: &Config, heads: i64) -> [ProductShape; 2] {
        [
            ProductShape { batch: heads, k: c.qk_nope_head_dim, n: c.kv_lora_rank, precise: false },
            ProductShape { batch: heads, k: c.kv_lora_rank, n: c.v_head_dim, precise: false },
        ]
    }

    pub(super) fn project(&self, products: &Products, x: &Tensor, angles: &Angles) -> Projected {
        let c = &self.shape;
        let rows = x.size()[0];
        let (latent, q) = self.queries(products, x);
        let q = q.view([rows, self.heads, c.qk_nope_head_dim + c.qk_rope_head_dim]);
        let (nope, rope) = (c.qk_nope_head_dim, c.qk_rope_head_dim);
        let absorbed = products.per_head(&q.narrow(2, 0, nope), &self.up(products).narrow(1, 0, nope));
        let turned = rotate(&q.narrow(2, nope, rope), angles, Layout::Interleaved);
        let q = Tensor::cat(&[absorbed, turned], 2);
        let keys = self.keys(products, x, angles);
        Projected { q, keys, index_input: latent.unwrap_or_else(|| x.shallow_clone()) }
    }

    /// Mixed latents `[rows, heads, latent]` to the residual stream.
    pub(super) fn output(&self, products: &Products, mixed: &Tensor) -> Tensor {
        let c = &self.shape;
        let values = self.up(products).narrow(1, c.qk_nope_head_dim, c.v_head_dim).transpose(1, 2);
        let mixed = products.per_head(mixed, &values).reshape([mixed.size()[0], self.heads * c.v_head_dim]);
        self.o.apply(products, &mixed)
    }

    /// `[heads, key and value width, latent]`.
    fn up(&self, products: &Products) -> Tensor {
        let c = &self.shape;
        let weight = match &self.kv_b_adapter {
            Some(adapter) => adapter.within(products, &self.kv_b),
            None => self.kv_b.shallow_clone(),
        };
        weight.view([self.heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank])
    }

    fn queries(&self, products: &Products, x: &Tensor) -> (Option<Tensor>, Tensor) {
        match &self.query {
            Query::Direct(q) => (None, q.apply(products, x)),
            Query::Latent { a, norm, b } => {
                let latent = rms_norm(&a.apply(products, x), norm, LATENT_NORM_EPS);
                let q = b.apply(products, &latent);
                (Some(latent), q)
            }
        }
    }

    /// `[rows, row of keys]`: the normalised latent, then the rotated part.
    fn keys(&self, products: &Products, x: &Tensor, angles: &Angles) -> Tensor {
        let (rank, rope) = (self.shape.kv_lora_rank, self.shape.qk_rope_head_dim);
        let joint = self.kv_a.apply(products, x);
        let latent = rms_norm(&joint.narrow(1, 0, rank), &self.kv_a_norm, LATENT_NORM_EPS);
        let turned = rotate(&joint.narrow(1, rank, rope).unsqueeze(1), angles, Layout::Interleaved);
        Tensor::cat(&[latent, turned.squeeze_dim(1)], 1)
    }
}
