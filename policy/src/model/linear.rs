//! A linear map of rows, with or without a bias and a low-rank adapter.

use tch::Tensor;

use super::Weights;
use super::adapter::Adapter;
use crate::params::Shapes;
use crate::products::Products;

/// `x wᵀ + b`.
#[derive(Debug)]
pub(super) struct Linear {
    /// The adapter merged.
    weight: Tensor,
    adapter: Option<Adapter>,
    bias: Option<Tensor>,
}

impl Linear {
    /// The layer's parameter `NAME.weight`, and `NAME.bias` where it has one.
    pub(super) fn new(weights: &Weights<'_>, name: &str, bias: bool) -> Self {
        let bias = bias.then(|| weights.get(&format!("{name}.bias")));
        Self { weight: weights.get(&format!("{name}.weight")), adapter: Adapter::of(weights, name), bias }
    }

    /// Names and shapes of a map from `k` to `n`.
    pub(super) fn shapes(shapes: &mut Shapes<'_>, name: &str, n: i64, k: i64, bias: bool) {
        shapes.add(&format!("{name}.weight"), &[n, k]);
        if bias {
            shapes.add(&format!("{name}.bias"), &[n]);
        }
    }

    pub(super) fn apply(&self, products: &Products, x: &Tensor) -> Tensor {
        let y = products.linear(x, &self.weight);
        let y = match &self.adapter {
            Some(adapter) => adapter.beside(products, x, y),
            None => y,
        };
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}
