//! Weighted negative log-likelihood, the loss of `pretrain`, `sft` and of distillation on sampled traces.

use tch::Tensor;

use super::{assert_rows, weighted_sum};

/// `L = −Σ_t w_t log π(a_t)`.
///
/// # Shapes
/// `logp_T` (requires grad) and `weight_T`: `[T]`; returns a scalar of `logp_T`'s kind.
///
/// # Panics
/// If the lengths differ (a caller's bug).
pub fn cross_entropy(logp_T: &Tensor, weight_T: &Tensor) -> Tensor {
    assert_rows(&[("logp_T", logp_T), ("weight_T", weight_T)]);
    -weighted_sum(logp_T, weight_T, &weight_T.ne(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::check::{close, gradient, leaf, values};
    use super::*;

    #[test]
    fn matches_the_plain_sum() {
        let (logp, weight) = ([-0.5, -2.0, -0.1], [0.25, 0.5, 0.0]);
        let weight_T = Tensor::from_slice(&weight);
        let loss = |logp_T: &Tensor| cross_entropy(logp_T, &weight_T);
        close(loss(&leaf(&logp)).double_value(&[]), 0.25 * 0.5 + 0.5 * 2.0, 1e-12, "loss");
        assert_eq!(gradient(&logp, &[3], loss), [-0.25, -0.5, 0.0]);
    }

    #[test]
    fn a_row_without_weight_cannot_leak() {
        let logp_T = leaf(&[f64::NEG_INFINITY, -1.0]);
        let loss = cross_entropy(&logp_T, &Tensor::from_slice(&[0.0, 1.0]));
        loss.backward();
        assert_eq!(loss.double_value(&[]), 1.0);
        assert_eq!(values(&logp_T.grad()), [0.0, -1.0]);
    }
}
