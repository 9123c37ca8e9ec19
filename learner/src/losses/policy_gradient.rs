//! The clipped surrogate of PPO and GRPO, with separate bounds, an optional second clip and a sequence mask.

use tch::{Tensor, no_grad};

use super::{assert_rows, sum, to_host, weighted_sum};

/// The bounds on the ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// `ε_low`: the ratio is bounded below by `1 − low`.
    pub low: f64,
    /// `ε_high`: the ratio is bounded above by `1 + high` ("clip-higher" where it exceeds `low`; DAPO, arXiv
    /// 2503.14476).
    pub high: f64,
    /// `c > 1` of the dual clip: for a negative advantage the objective is bounded below by `c·A` (arXiv 1912.09729).
    pub dual: Option<f64>,
}

/// What the surrogate is made of. All are `[T]`, on one device; only `logp_T` carries a gradient.
#[derive(Debug)]
pub struct PolicyTerms<'a> {
    /// `log π_θ` of each token, over the sampler's kept set (INV-5); requires grad.
    pub logp_T: &'a Tensor,
    /// `log π_old`, as recorded with the token by the sampler.
    pub old_logp_T: &'a Tensor,
    /// The advantage of the token's sequence.
    pub advantage_T: &'a Tensor,
    /// From [`super::aggregate::token_weights`].
    pub weight_T: &'a Tensor,
    /// `M` from [`super::off_policy_mask`]: 1, or 0 where the sequence's surrogate is dropped.
    pub sequence_mask_T: &'a Tensor,
}

/// What happened in the surrogate, as sums that add over units. Over trained tokens (weight not 0), masked ones
/// included.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PolicyStats {
    /// Trained tokens.
    pub tokens: f64,
    /// Tokens whose gradient the lower bound stopped: `A < 0` and `r < 1 − low`.
    pub clipped_low: f64,
    /// Tokens whose gradient the upper bound stopped: `A > 0` and `r > 1 + high`.
    pub clipped_high: f64,
    /// Tokens whose gradient the dual clip stopped: `A < 0` and `r > c`.
    pub clipped_dual: f64,
    /// Tokens of sequences that the off-policy mask dropped.
    pub masked: f64,
    /// `Σ r`.
    pub ratio_sum: f64,
    /// `max r`; 0 without tokens.
    pub ratio_max: f64,
    /// `Σ (r − 1 − log r)`, the non-negative estimate of `KL(π_old ‖ π_θ)` on tokens of `π_old`.
    pub kl_sum: f64,
}

impl PolicyStats {
    /// Adds another unit's.
    pub fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.clipped_dual += other.clipped_dual;
        self.masked += other.masked;
        self.ratio_sum += other.ratio_sum;
        self.ratio_max = self.ratio_max.max(other.ratio_max);
        self.kl_sum += other.kl_sum;
    }

    fn per_token(&self, sum: f64) -> f64 {
        sum / self.tokens.max(1.0)
    }

    /// Share of tokens stopped by the lower bound.
    pub fn clip_fraction_low(&self) -> f64 {
        self.per_token(self.clipped_low)
    }

    /// Share of tokens stopped by the upper bound.
    pub fn clip_fraction_high(&self) -> f64 {
        self.per_token(self.clipped_high)
    }

    /// Share of tokens stopped by the dual clip.
    pub fn clip_fraction_dual(&self) -> f64 {
        self.per_token(self.clipped_dual)
    }

    /// Share of tokens whose sequence was masked.
    pub fn masked_fraction(&self) -> f64 {
        self.per_token(self.masked)
    }

    /// Mean ratio.
    pub fn ratio_mean(&self) -> f64 {
        self.per_token(self.ratio_sum)
    }

    /// Mean estimate of `KL(π_old ‖ π_θ)` a token.
    pub fn kl_old_new(&self) -> f64 {
        self.per_token(self.kl_sum)
    }
}

/// `L = −Σ_t w_t M_t min( r_t A_t, clip(r_t, 1 − low, 1 + high) A_t )`, `r_t = exp(log π_θ − log π_old)`.
///
/// With a dual clip `c`, tokens of `A_t < 0` take `max(that, c·A_t)`. Source: DeepSeek-V3.2, arXiv 2512.02556, §3.1
/// (there one `ε`, no dual clip). Tokens with `w_t = 0` or `M_t = 0` are set aside before the exponential.
///
/// # Shapes
/// All terms `[T]`; returns a scalar of `logp_T`'s kind.
///
/// # Panics
/// If lengths differ or the bounds make no sense: `low` outside `[0, 1]`, `high < 0`, `dual ≤ 1` (a caller's bug).
pub fn clipped_surrogate(terms: &PolicyTerms<'_>, clip: &Clip) -> (Tensor, PolicyStats) {
    assert!((0.0..=1.0).contains(&clip.low) && clip.high >= 0.0 && clip.dual.is_none_or(|c| c > 1.0), "bad {clip:?}");
    assert_rows(&[
        ("logp_T", terms.logp_T),
        ("old_logp_T", terms.old_logp_T),
        ("advantage_T", terms.advantage_T),
        ("weight_T", terms.weight_T),
        ("sequence_mask_T", terms.sequence_mask_T),
    ]);
    let trained_T = terms.weight_T.ne(0.0);
    let active_T = trained_T.logical_and(&terms.sequence_mask_T.ne(0.0));
    let log_ratio_T = terms.logp_T - terms.old_logp_T.detach();
    let advantage_T = terms.advantage_T.detach();

    let ratio_T = log_ratio_T.where_scalarother(&active_T, 0.0).exp();
    let bounded_T = ratio_T.clamp(1.0 - clip.low, 1.0 + clip.high) * &advantage_T;
    let mut objective_T = (&ratio_T * &advantage_T).minimum(&bounded_T);
    if let Some(c) = clip.dual {
        let floored_T = objective_T.maximum(&(&advantage_T * c));
        objective_T = floored_T.where_self(&advantage_T.lt(0.0), &objective_T);
    }
    let loss = -weighted_sum(&objective_T, terms.weight_T, &active_T);
    let stats = no_grad(|| statistics(&log_ratio_T.detach(), &advantage_T, &trained_T, &active_T, clip));
    (loss, stats)
}

fn statistics(
    log_ratio_T: &Tensor,
    advantage_T: &Tensor,
    trained_T: &Tensor,
    active_T: &Tensor,
    clip: &Clip,
) -> PolicyStats {
    if trained_T.numel() == 0 {
        return PolicyStats::default();
    }
    let log_ratio_T = log_ratio_T.where_scalarother(trained_T, 0.0);
    let ratio_T = log_ratio_T.exp();
    let count = |condition_T: Tensor| condition_T.logical_and(trained_T).sum(tch::Kind::Double);
    let (falling_T, rising_T) = (advantage_T.lt(0.0), advantage_T.gt(0.0));
    let sums = to_host(&[
        count(trained_T.shallow_clone()),
        count(falling_T.logical_and(&ratio_T.lt(1.0 - clip.low))),
        count(rising_T.logical_and(&ratio_T.gt(1.0 + clip.high))),
        count(falling_T.logical_and(&ratio_T.gt(clip.dual.unwrap_or(f64::INFINITY)))),
        count(active_T.logical_not()),
        sum(&ratio_T.where_scalarother(trained_T, 0.0).to_kind(tch::Kind::Double)),
        ratio_T.where_scalarother(trained_T, 0.0).max(),
        sum(&(log_ratio_T.expm1() - &log_ratio_T).to_kind(tch::Kind::Double)),
    ]);
    PolicyStats {
        tokens: sums[0],
        clipped_low: sums[1],
        clipped_high: sums[2],
        clipped_dual: sums[3],
        masked: sums[4],
        ratio_sum: sums[5],
        ratio_max: sums[6],
        kl_sum: sums[7],
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{close, gradient, leaf, values};
    use super::*;

    const OLD: [f64; 8] = [-1.0, -0.7, -2.0, -0.3, -1.5, -0.9, -0.2, -3.0];
    /// Log-ratios: inside, far up, far down, far up, far down, inside; then an untrained and a masked row.
    const MOVE: [f64; 8] = [0.05, 0.6, -0.7, 1.9, -0.5, -0.1, 0.4, 0.8];
    const ADVANTAGE: [f64; 8] = [1.0, 0.5, 0.8, -1.2, -0.4, -0.6, 2.0, -1.0];
    const WEIGHT: [f64; 8] = [0.1, 0.2, 0.1, 0.3, 0.15, 0.05, 0.0, 0.1];
    const MASK: [f64; 8] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0];

    fn logp() -> Vec<f64> {
        OLD.iter().zip(MOVE).map(|(old, step)| old + step).collect()
    }

    fn surrogate(logp_T: &Tensor, clip: &Clip) -> (Tensor, PolicyStats) {
        let terms = PolicyTerms {
            logp_T,
            old_logp_T: &Tensor::from_slice(&OLD),
            advantage_T: &Tensor::from_slice(&ADVANTAGE),
            weight_T: &Tensor::from_slice(&WEIGHT),
            sequence_mask_T: &Tensor::from_slice(&MASK),
        };
        clipped_surrogate(&terms, clip)
    }

    /// The same objective by cases rather than by min and max.
    fn by_cases(step: f64, advantage: f64, clip: &Clip) -> f64 {
        let ratio = step.exp();
        if advantage >= 0.0 {
            return if ratio > 1.0 + clip.high { (1.0 + clip.high) * advantage } else { ratio * advantage };
        }
        match clip.dual {
            Some(c) if ratio > c => c * advantage,
            _ if ratio < 1.0 - clip.low => (1.0 - clip.low) * advantage,
            _ => ratio * advantage,
        }
    }

    fn check_against_cases(clip: Clip) {
        let expected: f64 = (0..8).map(|t| -WEIGHT[t] * MASK[t] * by_cases(MOVE[t], ADVANTAGE[t], &clip)).sum();
        close(surrogate(&leaf(&logp()), &clip).0.double_value(&[]), expected, 1e-12, "loss");
        let found = gradient(&logp(), &[8], |logp_T| surrogate(logp_T, &clip).0);
        for (t, &slope) in found.iter().enumerate() {
            let (ratio, advantage) = (MOVE[t].exp(), ADVANTAGE[t]);
            let stopped = (advantage > 0.0 && ratio > 1.0 + clip.high)
                || (advantage < 0.0 && (ratio < 1.0 - clip.low || clip.dual.is_some_and(|c| ratio > c)));
            let expected = if stopped { 0.0 } else { -WEIGHT[t] * MASK[t] * ratio * advantage };
            close(slope, expected, 1e-12, &format!("gradient of token {t}"));
        }
    }

    #[test]
    fn matches_the_objective_by_cases() {
        check_against_cases(Clip { low: 0.2, high: 0.28, dual: None });
        check_against_cases(Clip { low: 0.2, high: 0.28, dual: Some(3.0) });
        check_against_cases(Clip { low: 1.0, high: 9.0, dual: None });
    }

    #[test]
    fn counts_what_was_clipped() {
        let (_, mut stats) = surrogate(&leaf(&logp()), &Clip { low: 0.2, high: 0.28, dual: Some(3.0) });
        let trained = [0, 1, 2, 3, 4, 5, 7];
        assert_eq!((stats.tokens, stats.clipped_low, stats.clipped_high), (7.0, 1.0, 1.0));
        assert_eq!((stats.clipped_dual, stats.masked), (1.0, 1.0));
        close(stats.ratio_max, 1.9f64.exp(), 1e-12, "max");
        close(stats.ratio_mean(), trained.iter().map(|&t| MOVE[t].exp()).sum::<f64>() / 7.0, 1e-12, "mean");
        close(
            stats.kl_old_new(),
            trained.iter().map(|&t| MOVE[t].exp() - 1.0 - MOVE[t]).sum::<f64>() / 7.0,
            1e-12,
            "KL",
        );
        let once = stats;
        stats.add(&once);
        assert_eq!((stats.tokens, stats.ratio_max), (14.0, once.ratio_max));
        assert_eq!(stats.clip_fraction_low(), 1.0 / 7.0);
    }

    #[test]
    fn on_policy_the_gradient_is_the_plain_policy_gradient() {
        let clip = Clip { low: 0.2, high: 0.2, dual: None };
        let logp_T = leaf(&OLD);
        let (loss, stats) = surrogate(&logp_T, &clip);
        loss.backward();
        for (t, &slope) in values(&logp_T.grad()).iter().enumerate() {
            close(slope, -WEIGHT[t] * MASK[t] * ADVANTAGE[t], 1e-15, &format!("token {t}"));
        }
        assert_eq!((stats.ratio_mean(), stats.ratio_max, stats.kl_old_new()), (1.0, 1.0, 0.0));
    }

    #[test]
    fn untrained_and_masked_rows_cannot_leak() {
        let mut wild = logp();
        (wild[6], wild[7]) = (f64::INFINITY, 1e4);
        let logp_T = leaf(&wild);
        let (loss, _) = surrogate(&logp_T, &Clip { low: 0.2, high: 0.2, dual: None });
        loss.backward();
        assert!(loss.double_value(&[]).is_finite());
        assert_eq!(values(&logp_T.grad())[6..], [0.0, 0.0]);
    }
}
