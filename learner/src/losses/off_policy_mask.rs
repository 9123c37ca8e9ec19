//! The off-policy sequence mask of DeepSeek-V3.2 (arXiv 2512.02556, Eq 9): negative samples that the policy has left.

use tch::{Device, Kind, Tensor, no_grad};

use super::{Rows, assert_rows};

/// Which sequences keep their surrogate.
#[derive(Debug)]
pub struct OffPolicyMask {
    /// `M` of each row: 1, or 0 where the row's sequence is dropped. `[T]` f32 on the device of the log-probabilities.
    pub mask_T: Tensor,
    /// `M` of each sequence.
    pub kept_S: Vec<bool>,
    /// `(1/|o|) Σ_t (log π_old − log π_θ)` of each sequence over its trained rows; 0 without any. It estimates
    /// `KL(π_old ‖ π_θ)` a token, and a quantile of it is how `δ` is chosen.
    pub divergence_S: Vec<f64>,
}

/// `M = 0` iff `A < 0` and `(1/|o|) Σ_t (log π_old − log π_θ) > δ`, else 1; no gradient passes.
///
/// `log π_old` must be what the sampler recorded, so that the mean sees staleness and engine mismatch alike. The sum
/// runs over the trained rows (the policy's own tokens; the paper does not say whether a tool's count, TRL and slime
/// leave them out too), on the host in f64 and in row order.
///
/// # Shapes
/// `logp_T`, `old_logp_T`: `[T]` f32; `advantage_S`: one a sequence of `rows`.
///
/// # Panics
/// If lengths differ (a caller's bug).
pub fn off_policy_mask(
    logp_T: &Tensor,
    old_logp_T: &Tensor,
    advantage_S: &[f64],
    rows: &Rows,
    delta: f64,
) -> OffPolicyMask {
    assert_rows(&[("logp_T", logp_T), ("old_logp_T", old_logp_T)]);
    assert_eq!(logp_T.size(), [rows.len() as i64], "the rows' layout and logp_T must have the same rows");
    assert_eq!(advantage_S.len(), rows.lengths().len(), "one advantage a sequence");
    let (logp, old_logp) = (host(logp_T), host(old_logp_T));
    let divergence_S: Vec<f64> = rows
        .ranges()
        .zip(rows.trained_counts())
        .map(|(range, count)| {
            let trained = range.filter(|&t| rows.trained()[t]);
            trained.map(|t| old_logp[t] - logp[t]).sum::<f64>() / count.max(1) as f64
        })
        .collect();
    let kept_S: Vec<bool> =
        advantage_S.iter().zip(&divergence_S).map(|(&advantage, &gap)| !(advantage < 0.0 && gap > delta)).collect();
    let value_S: Vec<f64> = kept_S.iter().map(|&kept| f64::from(u8::from(kept))).collect();
    OffPolicyMask { mask_T: rows.spread(&value_S, logp_T.device()), kept_S, divergence_S }
}

fn host(value_T: &Tensor) -> Vec<f64> {
    no_grad(|| {
        let value_T = value_T.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
        let mut values = vec![0.0; value_T.numel()];
        value_T.copy_data(&mut values, value_T.numel());
        values
    })
}

#[cfg(test)]
mod tests {
    use super::super::check::{close, leaf, values};
    use super::super::kl::{KlEstimator, KlTerms, kl_penalty};
    use super::super::policy_gradient::{Clip, PolicyTerms, clipped_surrogate};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn drops_a_negative_that_the_policy_has_left() {
        // Sequence 0: negative, mean gap 0.5 over its two trained rows (the untrained one would say otherwise).
        // 1: the same gap, positive. 2: negative, gap below δ. 3: negative, nothing trained.
        let rows = Rows::new(vec![3, 2, 2, 1], vec![false, true, true, true, true, true, true, false]);
        let old = [9.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 9.0];
        let new = [-9.0, -1.25, -1.75, -1.25, -1.75, -1.1, -0.9, -9.0];
        let mask = off_policy_mask(&leaf(&new), &Tensor::from_slice(&old), &[-1.0, 1.0, -1.0, -1.0], &rows, 0.4);
        assert_eq!(mask.kept_S, [false, true, true, true]);
        assert_eq!(values(&mask.mask_T), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(!mask.mask_T.requires_grad());
        for (found, expected) in mask.divergence_S.iter().zip([0.5, 0.5, 0.0, 0.0]) {
            close(*found, expected, 1e-12, "divergence");
        }
    }

    #[test]
    fn all_negative_and_off_policy_leaves_only_the_kl() {
        let rows = Rows::new(vec![2], vec![true, true]);
        let (new, old) = (leaf(&[-3.0, -4.0]), Tensor::from_slice(&[-1.0, -1.0]));
        let mask = off_policy_mask(&new, &old, &[-1.0], &rows, 0.1);
        let weight_T = Tensor::from_slice(&[0.5, 0.5]);
        let terms = PolicyTerms {
            logp_T: &new,
            old_logp_T: &old,
            advantage_T: &Tensor::from_slice(&[-1.0, -1.0]),
            weight_T: &weight_T,
            sequence_mask_T: &mask.mask_T,
        };
        let (surrogate, stats) = clipped_surrogate(&terms, &Clip { low: 0.2, high: 0.2, dual: None });
        surrogate.backward();
        assert_eq!((surrogate.double_value(&[]), stats.masked_fraction()), (0.0, 1.0));
        assert_eq!(values(&new.grad()), [0.0, 0.0]);
        let terms = KlTerms {
            logp_T: &new,
            old_logp_T: &old,
            ref_logp_T: &old,
            beta_T: &Tensor::from_slice(&[1.0, 1.0]),
            weight_T: &weight_T,
        };
        kl_penalty(&terms, KlEstimator::Unbiased).0.backward();
        assert!(values(&new.grad()).iter().all(|&slope| slope != 0.0));
    }

    proptest! {
        #[test]
        fn masks_only_negatives(
            sequences in prop::collection::vec(
                (-2.0f64..2.0, prop::collection::vec((-5.0f64..0.0, -5.0f64..0.0), 1..5)),
                1..6,
            ),
            delta in 0.0f64..1.0,
        ) {
            let lengths: Vec<usize> = sequences.iter().map(|(_, tokens)| tokens.len()).collect();
            let tokens: Vec<(f64, f64)> = sequences.iter().flat_map(|(_, tokens)| tokens.clone()).collect();
            let advantage_S: Vec<f64> = sequences.iter().map(|(advantage, _)| *advantage).collect();
            let rows = Rows::new(lengths, vec![true; tokens.len()]);
            let (new, old): (Vec<f64>, Vec<f64>) = tokens.into_iter().unzip();
            let (new_T, old_T) = (Tensor::from_slice(&new), Tensor::from_slice(&old));
            let mask = off_policy_mask(&new_T, &old_T, &advantage_S, &rows, delta);
            for (s, range) in rows.ranges().enumerate() {
                let length = range.len() as f64;
                // The paper's form: the geometric mean of π_old/π_θ.
                let ratio: f64 = range.map(|t| old[t].exp() / new[t].exp()).product::<f64>();
                let margin = ratio.ln() / length - delta;
                prop_assume!(margin.abs() > 1e-9);
                prop_assert_eq!(mask.kept_S[s], advantage_S[s] >= 0.0 || margin < 0.0);
            }
        }
    }
}
