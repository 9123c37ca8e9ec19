//! Distillation over the whole vocabulary: the exact divergence between a teacher's and the student's next-token
//! distributions, for on-policy distillation on the student's own samples.

use tch::{Kind, Tensor, no_grad};

use super::{assert_rows, sum, to_host, weighted_sum};

/// Which divergence, with teacher `P` and student `Q`.
///
/// The family is that of GKD (arXiv 2306.13649, Eq 1 and §3), under TRL's convention for the ends of `beta`: there the
/// paper's form vanishes, and TRL puts the two KLs in its place.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Divergence {
    /// `KL(Q ‖ P) = Σ_v Q (log Q − log P)`: mode-seeking.
    #[default]
    ReverseKl,
    /// `KL(P ‖ Q) = Σ_v P (log P − log Q)`: mode-covering.
    ForwardKl,
    /// `β KL(P ‖ M) + (1 − β) KL(Q ‖ M)` with `M = β P + (1 − β) Q`; at `β = 0` forward, at `β = 1` reverse KL.
    GeneralizedJs {
        /// In `[0, 1]`.
        beta: f64,
    },
}

/// Sums over trained rows, which add over units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DistillStats {
    /// Trained tokens.
    pub tokens: f64,
    /// `Σ` of the divergence.
    pub divergence_sum: f64,
}

impl DistillStats {
    /// Adds another unit's.
    pub fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.divergence_sum += other.divergence_sum;
    }

    /// Mean divergence a token, in nats.
    pub fn mean(&self) -> f64 {
        self.divergence_sum / self.tokens.max(1.0)
    }
}

/// The divergence of each row, `[T]`, from logits that are finite and already at the sampling temperature (both sides).
///
/// # Shapes
/// `student_TV` (requires grad), `teacher_TV`: `[T, V]`. Some six tensors of that shape live at once: the caller hands over chunks of rows
/// ([`policy::model::Head::rows`]).
///
/// # Panics
/// If the shapes differ, or `beta` is outside `[0, 1]` (a caller's bug).
pub fn divergence(student_TV: &Tensor, teacher_TV: &Tensor, divergence: Divergence) -> Tensor {
    assert_eq!(student_TV.size(), teacher_TV.size(), "student and teacher logits must have one shape [T, V]");
    let log_q_TV = student_TV.log_softmax(-1, None);
    let log_p_TV = no_grad(|| teacher_TV.detach().log_softmax(-1, None));
    match divergence {
        Divergence::ReverseKl => kl(&log_q_TV, &log_p_TV),
        Divergence::ForwardKl => kl(&log_p_TV, &log_q_TV),
        Divergence::GeneralizedJs { beta } => {
            assert!((0.0..=1.0).contains(&beta), "beta must be in [0, 1], not {beta}");
            if beta == 0.0 {
                return kl(&log_p_TV, &log_q_TV);
            }
            if beta == 1.0 {
                return kl(&log_q_TV, &log_p_TV);
            }
            let log_m_TV = log_add_exp(&(&log_p_TV + beta.ln()), &(&log_q_TV + (1.0 - beta).ln()));
            kl(&log_p_TV, &log_m_TV) * beta + kl(&log_q_TV, &log_m_TV) * (1.0 - beta)
        }
    }
}

/// `L = Σ_t w_t D(P_t, Q_t)`.
///
/// # Shapes
/// `divergence_T`: `[T]`, of [`divergence`] (requires grad); `weight_T`: `[T]`, of [`super::aggregate::token_weights`]. Returns a scalar of
/// the divergence's kind.
///
/// # Panics
/// If lengths differ (a caller's bug).
pub fn distillation(divergence_T: &Tensor, weight_T: &Tensor) -> (Tensor, DistillStats) {
    assert_rows(&[("divergence_T", divergence_T), ("weight_T", weight_T)]);
    let trained_T = weight_T.ne(0.0);
    let loss = weighted_sum(divergence_T, weight_T, &trained_T);
    let sums = no_grad(|| {
        let trained_divergence_T = divergence_T.detach().where_scalarother(&trained_T, 0.0);
        to_host(&[trained_T.sum(Kind::Double), sum(&trained_divergence_T.to_kind(Kind::Double))])
    });
    (loss, DistillStats { tokens: sums[0], divergence_sum: sums[1] })
}

/// `Σ_v a (log a − log b)` of each row.
fn kl(log_a_TV: &Tensor, log_b_TV: &Tensor) -> Tensor {
    (log_a_TV.exp() * (log_a_TV - log_b_TV)).sum_dim_intlist(-1, false, None::<Kind>)
}

/// `ln(e^a + e^b) = max(a, b) + ln(1 + e^−|a − b|)`. libtorch's own rounds otherwise in the rest of a vector, and where that lies depends on
/// the number of threads (INV-7); these operations take a rest as a vector that is not full.
fn log_add_exp(a: &Tensor, b: &Tensor) -> Tensor {
    // Where both are −∞ their difference is no number, and the sum is −∞.
    let apart = (a - b).abs().nan_to_num(0.0, f64::INFINITY, f64::NEG_INFINITY);
    a.maximum(b) + (-apart).exp().log1p()
}

#[cfg(test)]
mod tests {
    use super::super::check::{close, gradient, leaf, values};
    use super::*;

    const STUDENT: [f64; 8] = [0.2, -1.0, 0.7, 0.1, 2.0, 0.0, -0.5, 0.3];
    const TEACHER: [f64; 8] = [-0.3, 0.4, 1.1, -2.0, -1.0, 0.5, 0.6, 0.1];
    const WEIGHT: [f64; 2] = [0.7, 0.2];

    fn probabilities(logits: &[f64]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|z| z.exp()).sum();
        logits.iter().map(|z| z.exp() / total).collect()
    }

    fn plain_kl(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * (a / b).ln()).sum()
    }

    fn expected_row(p: &[f64], q: &[f64], form: Divergence) -> f64 {
        match form {
            Divergence::ReverseKl => plain_kl(q, p),
            Divergence::ForwardKl => plain_kl(p, q),
            Divergence::GeneralizedJs { beta } => {
                let m: Vec<f64> = p.iter().zip(q).map(|(p, q)| beta * p + (1.0 - beta) * q).collect();
                beta * plain_kl(p, &m) + (1.0 - beta) * plain_kl(q, &m)
            }
        }
    }

    fn loss(student_TV: &Tensor, form: Divergence) -> Tensor {
        let teacher_TV = Tensor::from_slice(&TEACHER).reshape([2, 4]);
        distillation(&divergence(student_TV, &teacher_TV, form), &Tensor::from_slice(&WEIGHT)).0
    }

    #[test]
    fn matches_plain_sums_and_finite_differences() {
        let js = |beta| Divergence::GeneralizedJs { beta };
        for form in [Divergence::ReverseKl, Divergence::ForwardKl, js(0.5), js(0.1), js(0.9)] {
            let expected: f64 = (0..2)
                .map(|t| {
                    let row = t * 4..t * 4 + 4;
                    WEIGHT[t] * expected_row(&probabilities(&TEACHER[row.clone()]), &probabilities(&STUDENT[row]), form)
                })
                .sum();
            let student_TV = Tensor::from_slice(&STUDENT).reshape([2, 4]);
            close(loss(&student_TV, form).double_value(&[]), expected, 1e-12, &format!("{form:?}"));
            gradient(&STUDENT, &[2, 4], |student_TV| loss(student_TV, form));
        }
    }

    /// Reverse KL: `∂/∂z_v = w Q_v (log Q_v − log P_v − KL)`. Forward KL: `∂/∂z_v = w (Q_v − P_v)`.
    #[test]
    fn gradients_are_the_analytic_ones() {
        let reverse = gradient(&STUDENT, &[2, 4], |student_TV| loss(student_TV, Divergence::ReverseKl));
        let forward = gradient(&STUDENT, &[2, 4], |student_TV| loss(student_TV, Divergence::ForwardKl));
        for t in 0..2 {
            let (p, q) = (probabilities(&TEACHER[t * 4..t * 4 + 4]), probabilities(&STUDENT[t * 4..t * 4 + 4]));
            let kl = plain_kl(&q, &p);
            for v in 0..4 {
                let slope = WEIGHT[t] * q[v] * ((q[v] / p[v]).ln() - kl);
                close(reverse[t * 4 + v], slope, 1e-12, "reverse");
                close(forward[t * 4 + v], WEIGHT[t] * (q[v] - p[v]), 1e-12, "forward");
            }
        }
    }

    #[test]
    fn the_ends_of_beta_are_the_two_kls() {
        let student_TV = Tensor::from_slice(&STUDENT).reshape([2, 4]);
        let at = |form| loss(&student_TV, form).double_value(&[]);
        assert_eq!(at(Divergence::GeneralizedJs { beta: 0.0 }), at(Divergence::ForwardKl));
        assert_eq!(at(Divergence::GeneralizedJs { beta: 1.0 }), at(Divergence::ReverseKl));
    }

    #[test]
    fn the_teachers_own_distribution_costs_nothing_and_moves_nothing() {
        let shifted: Vec<f64> = TEACHER.iter().map(|z| z + 3.0).collect();
        for form in [Divergence::ReverseKl, Divergence::ForwardKl, Divergence::GeneralizedJs { beta: 0.5 }] {
            let student_TV = leaf(&shifted);
            let value = loss(&student_TV.reshape([2, 4]), form);
            value.backward();
            close(value.double_value(&[]), 0.0, 1e-14, "value");
            assert!(values(&student_TV.grad()).iter().all(|slope| slope.abs() < 1e-14));
        }
    }

    #[test]
    fn statistics_run_over_trained_rows_only() {
        let student_TV = Tensor::from_slice(&STUDENT).reshape([2, 4]);
        let teacher_TV = Tensor::from_slice(&TEACHER).reshape([2, 4]);
        let divergence_T = divergence(&student_TV, &teacher_TV, Divergence::default());
        let (_, stats) = distillation(&divergence_T, &Tensor::from_slice(&[0.0, 0.2]));
        let row = plain_kl(&probabilities(&STUDENT[4..]), &probabilities(&TEACHER[4..]));
        assert_eq!(stats.tokens, 1.0);
        close(stats.mean(), row, 1e-12, "mean");
    }
}
