//! How a gradient goes past a merged weight to its low-rank adapter ([`crate::lora`]).
//!
//! With `W = W₀ + s B A` and `g` the gradient of `y = x Wᵀ`: `dA = s (g B)ᵀ x` and `dB = s gᵀ (x Aᵀ)`. Neither needs `dW = gᵀ x`, which is as
//! large as the weight. A weight that is multiplied head by head hands on its own gradient: `dA = s Bᵀ dW`, `dB = s dW Aᵀ`.

use native::{custom_op, wants_grad};
use tch::Tensor;

use super::Weights;
use crate::lora::names;
use crate::products::Products;

/// `A [r, k]` and `B [n, r]` of one weight.
#[derive(Debug)]
pub(super) struct Adapter {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl Adapter {
    /// That of the layer's weight `NAME.weight`, if it has one.
    pub(super) fn of(weights: &Weights<'_>, name: &str) -> Option<Self> {
        let scale = weights.lora_scale?;
        let [a, b] = names(&format!("{name}.weight")).map(|name| weights.find(&name));
        Some(Self { a: a?, b: b?, scale })
    }

    /// `y`, which is `x Wᵀ`, with a way for its gradient to the adapter.
    pub(super) fn beside(&self, products: &Products, x: &Tensor, y: Tensor) -> Tensor {
        if !wants_grad(&[&self.a, &self.b]) {
            return y;
        }
        let ([a, b, x], products, scale) = ([&self.a, &self.b, x].map(|t| t.detach()), products.clone(), self.scale);
        let out = y.detach();
        let backward = move |grads: &[Option<Tensor>]| {
            let Some(g) = &grads[0] else { return vec![None, None, None] };
            let through_b = products.apart(g, &b.tr());
            let da = products.apart(&through_b.tr(), &x.tr()) * scale;
            let through_a = products.apart(&x, &a);
            let db = products.apart(&g.tr(), &through_a.tr()) * scale;
            vec![Some(g.shallow_clone()), Some(da), Some(db)]
        };
        custom_op(&[&y, &self.a, &self.b], vec![out], backward).pop().expect("one output")
    }

    /// `W`, with a way for its gradient to the adapter.
    pub(super) fn within(&self, products: &Products, w: &Tensor) -> Tensor {
        let ([a, b], products, scale) = ([&self.a, &self.b].map(|t| t.detach()), products.clone(), self.scale);
        let backward = move |grads: &[Option<Tensor>]| {
            let Some(dw) = &grads[0] else { return vec![None, None] };
            let da = products.apart(&b.tr(), &dw.tr()) * scale;
            let db = products.apart(dw, &a) * scale;
            vec![Some(da), Some(db)]
        };
        custom_op(&[&self.a, &self.b], vec![w.detach()], backward).pop().expect("one output")
    }
}
