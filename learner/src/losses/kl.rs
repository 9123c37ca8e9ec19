//! KL to the reference policy, estimated on the sampled tokens.

use tch::{Kind, Tensor, no_grad};

use super::{assert_rows, sum, to_host, weighted_sum};

/// Which estimate of `KL(π_θ ‖ π_ref)` a token gives, with `x = π_ref / π_θ` and `r = π_θ / π_old`.
///
/// k1–k3 are those of J. Schulman, "Approximating KL divergence" (2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KlEstimator {
    /// `r (x − log x − 1)`: k3 under the importance weight, so value and gradient are unbiased off-policy.
    /// DeepSeek-V3.2, arXiv 2512.02556, Eq 7. Its gradient is exactly `r · log(π_θ/π_ref) · ∇log π_θ`, through `r`
    /// **and** `x`.
    Unbiased,
    /// `−log x`. Unbiased as a number, but as a loss its gradient `∇log π_θ` knows nothing of the reference.
    K1,
    /// `½ (log x)²`. Gradient `log(π_θ/π_ref) ∇log π_θ`.
    K2,
    /// `x − log x − 1`, not negative. Gradient `(1 − x) ∇log π_θ`, unbounded where `π_θ ≪ π_ref`.
    K3,
}

/// What the penalty is made of. All are `[T]`, on one device; only `logp_T` carries a gradient.
#[derive(Debug)]
pub struct KlTerms<'a> {
    /// `log π_θ`; requires grad.
    pub logp_T: &'a Tensor,
    /// `log π_old`, as recorded by the sampler; only [`KlEstimator::Unbiased`] reads it.
    pub old_logp_T: &'a Tensor,
    /// `log π_ref`, over the same kept set as the other two: otherwise the estimate is biased.
    pub ref_logp_T: &'a Tensor,
    /// `β` of the token's domain.
    pub beta_T: &'a Tensor,
    /// From [`super::aggregate::token_weights`].
    pub weight_T: &'a Tensor,
}

/// Sums over trained tokens, which add over units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KlStats {
    /// Trained tokens.
    pub tokens: f64,
    /// `Σ` of the estimate, without `β`.
    pub kl_sum: f64,
}

impl KlStats {
    /// Adds another unit's.
    pub fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.kl_sum += other.kl_sum;
    }

    /// Mean estimate a token.
    pub fn mean(&self) -> f64 {
        self.kl_sum / self.tokens.max(1.0)
    }
}

/// `L = Σ_t w_t β_t KL_t`. The off-policy mask does not touch it (V3.2, Eq 8: `M` multiplies the surrogate alone).
///
/// # Shapes
/// All terms `[T]`; returns a scalar of `logp_T`'s kind.
///
/// # Panics
/// If lengths differ (a caller's bug).
pub fn kl_penalty(terms: &KlTerms<'_>, estimator: KlEstimator) -> (Tensor, KlStats) {
    assert_rows(&[
        ("logp_T", terms.logp_T),
        ("old_logp_T", terms.old_logp_T),
        ("ref_logp_T", terms.ref_logp_T),
        ("beta_T", terms.beta_T),
        ("weight_T", terms.weight_T),
    ]);
    let trained_T = terms.weight_T.ne(0.0);
    // β is 0 where a domain has no penalty. The reference may be far off there and the estimate infinite: 0 · ∞ must
    // arise neither in the loss nor in its gradient, so such rows are set aside before the exponential.
    let penalised_T = trained_T.logical_and(&terms.beta_T.ne(0.0));
    let loss = weighted_sum(&estimate(estimator, terms, &penalised_T), &(terms.weight_T * terms.beta_T), &penalised_T);
    let sums = no_grad(|| {
        let kl_T = estimate(estimator, terms, &trained_T);
        to_host(&[trained_T.sum(Kind::Double), sum(&kl_T.to_kind(Kind::Double))])
    });
    (loss, KlStats { tokens: sums[0], kl_sum: sums[1] })
}

/// The estimate of each active token, 0 for the others. `x − log x − 1` is taken as `expm1(log x) − log x`, which
/// keeps its digits where `x` is near 1.
fn estimate(estimator: KlEstimator, terms: &KlTerms<'_>, active_T: &Tensor) -> Tensor {
    let log_x_T = (terms.ref_logp_T.detach() - terms.logp_T).where_scalarother(active_T, 0.0);
    match estimator {
        KlEstimator::Unbiased => {
            let log_r_T = (terms.logp_T - terms.old_logp_T.detach()).where_scalarother(active_T, 0.0);
            log_r_T.exp() * (log_x_T.expm1() - log_x_T)
        }
        KlEstimator::K1 => log_x_T.neg(),
        KlEstimator::K2 => log_x_T.square() * 0.5,
        KlEstimator::K3 => log_x_T.expm1() - log_x_T,
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{close, gradient, leaf, values};
    use super::*;

    const LOGP: [f64; 5] = [-0.4, -2.5, -1.0, -0.05, -3.0];
    const OLD: [f64; 5] = [-0.5, -2.0, -1.0, -0.3, -0.1];
    const REFERENCE: [f64; 5] = [-0.9, -0.6, -1.0, -0.1, -0.2];
    const BETA: [f64; 5] = [0.1, 0.2, 0.1, 0.05, 0.3];
    /// The last row is not trained.
    const WEIGHT: [f64; 5] = [0.3, 0.2, 0.25, 0.25, 0.0];

    fn penalty(logp_T: &Tensor, estimator: KlEstimator) -> (Tensor, KlStats) {
        let terms = KlTerms {
            logp_T,
            old_logp_T: &Tensor::from_slice(&OLD),
            ref_logp_T: &Tensor::from_slice(&REFERENCE),
            beta_T: &Tensor::from_slice(&BETA),
            weight_T: &Tensor::from_slice(&WEIGHT),
        };
        kl_penalty(&terms, estimator)
    }

    /// Value and derivative in `log π_θ`, from probabilities rather than their logarithms.
    fn expected(estimator: KlEstimator, t: usize) -> (f64, f64) {
        let (p, old, reference) = (LOGP[t].exp(), OLD[t].exp(), REFERENCE[t].exp());
        let (x, log_gap) = (reference / p, LOGP[t] - REFERENCE[t]);
        match estimator {
            KlEstimator::Unbiased => ((reference - p - p * (reference / p).ln()) / old, p / old * log_gap),
            KlEstimator::K1 => ((p / reference).ln(), 1.0),
            KlEstimator::K2 => (0.5 * (p / reference).ln().powi(2), log_gap),
            KlEstimator::K3 => (x - x.ln() - 1.0, 1.0 - x),
        }
    }

    #[test]
    fn each_estimator_matches_its_formula_and_gradient() {
        for estimator in [KlEstimator::Unbiased, KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
            let (loss, stats) = penalty(&leaf(&LOGP), estimator);
            let sum: f64 = (0..5).map(|t| WEIGHT[t] * BETA[t] * expected(estimator, t).0).sum();
            close(loss.double_value(&[]), sum, 1e-12, &format!("{estimator:?}"));
            close(stats.mean(), (0..4).map(|t| expected(estimator, t).0).sum::<f64>() / 4.0, 1e-12, "mean");
            for (t, slope) in gradient(&LOGP, &[5], |logp_T| penalty(logp_T, estimator).0).into_iter().enumerate() {
                close(slope, WEIGHT[t] * BETA[t] * expected(estimator, t).1, 1e-12, &format!("{estimator:?} {t}"));
            }
        }
    }

    /// Over a whole distribution the unbiased estimator's mean under `π_old` is the exact KL, and so is its gradient.
    #[test]
    fn unbiased_is_unbiased_off_policy() {
        let (old, reference) = ([0.5f64, 0.3, 0.2], [0.2f64, 0.2, 0.6]);
        let logits = [0.3f64, -0.8, 0.5];
        let exact = |logits_V: &Tensor| {
            let logp_V = logits_V.log_softmax(-1, None);
            (logp_V.exp() * (&logp_V - Tensor::from_slice(&reference).log())).sum(Kind::Double)
        };
        let estimated = |logits_V: &Tensor| {
            let terms = KlTerms {
                logp_T: &logits_V.log_softmax(-1, None),
                old_logp_T: &Tensor::from_slice(&old).log(),
                ref_logp_T: &Tensor::from_slice(&reference).log(),
                beta_T: &Tensor::from_slice(&[1.0; 3]),
                weight_T: &Tensor::from_slice(&old),
            };
            kl_penalty(&terms, KlEstimator::Unbiased).0
        };
        let at = leaf(&logits);
        close(estimated(&at).double_value(&[]), exact(&at).double_value(&[]), 1e-12, "value");
        let (found, wanted) = (gradient(&logits, &[3], estimated), gradient(&logits, &[3], exact));
        for (found, wanted) in found.into_iter().zip(wanted) {
            close(found, wanted, 1e-12, "gradient");
        }
    }

    #[test]
    fn no_beta_no_penalty_even_where_the_estimate_overflows() {
        let logp_T = leaf(&[-1e4, -1.0]);
        let terms = KlTerms {
            logp_T: &logp_T,
            old_logp_T: &Tensor::from_slice(&[-1e4, -1.0]),
            ref_logp_T: &Tensor::from_slice(&[-0.1, -1.0]),
            beta_T: &Tensor::from_slice(&[0.0, 0.0]),
            weight_T: &Tensor::from_slice(&[0.5, 0.5]),
        };
        let (loss, _) = kl_penalty(&terms, KlEstimator::K3);
        loss.backward();
        assert_eq!((loss.double_value(&[]), values(&logp_T.grad())), (0.0, vec![0.0, 0.0]));
    }
}
