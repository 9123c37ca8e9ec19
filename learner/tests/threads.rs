#![allow(non_snake_case, reason = "shape suffixes")]
//! Losses of units so long that libtorch cuts them among threads: sums to one number, and rows at places that are no multiples of a vector.

use learner::losses::cross_entropy::cross_entropy;
use learner::losses::distill::{Divergence, distillation, divergence};
use learner::losses::kl::{KlEstimator, KlTerms, kl_penalty};
use learner::losses::policy_gradient::{Clip, PolicyTerms, clipped_surrogate};
use tch::{Device, Kind, Tensor};

fn wave(sizes: &[i64], step: f64) -> Tensor {
    let n: i64 = sizes.iter().product();
    (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step).sin().to_kind(Kind::Float).view(sizes)
}

/// The loss, its statistics and its gradient at `at`.
fn all(at: &Tensor, loss: impl Fn(&Tensor) -> (Tensor, String)) -> (Tensor, String, Tensor) {
    let at = at.detach().set_requires_grad(true);
    let (loss, stats) = loss(&at);
    let gradient = Tensor::run_backward(&[&loss], &[&at], false, false).swap_remove(0);
    (loss.detach(), stats, gradient)
}

fn losses(rows: i64) -> Vec<(Tensor, String, Tensor)> {
    let (logp_T, old, reference) = (wave(&[rows], 0.73) - 2.0, wave(&[rows], 0.731) - 2.0, wave(&[rows], 0.7) - 2.0);
    let (weight, advantage) = (wave(&[rows], 0.31).abs() / rows as f64, wave(&[rows], 0.17));
    let ones = weight.ones_like();
    let surrogate = |logp_T: &Tensor| {
        let terms = PolicyTerms {
            logp_T,
            old_logp_T: &old,
            advantage_T: &advantage,
            weight_T: &weight,
            sequence_mask_T: &ones,
        };
        let (loss, stats) = clipped_surrogate(&terms, &Clip { low: 0.2, high: 0.28, dual: Some(3.0) });
        (loss, format!("{stats:?}"))
    };
    let mut found =
        vec![all(&logp_T, surrogate), all(&logp_T, |logp_T| (cross_entropy(logp_T, &weight), String::new()))];
    for estimator in [KlEstimator::Unbiased, KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
        found.push(all(&logp_T, |logp_T| {
            let terms = KlTerms { logp_T, old_logp_T: &old, ref_logp_T: &reference, beta_T: &ones, weight_T: &weight };
            let (loss, stats) = kl_penalty(&terms, estimator);
            (loss, format!("{stats:?}"))
        }));
    }
    let (student, teacher) = (wave(&[rows, 37], 0.73), wave(&[rows, 37], 0.57));
    for form in [Divergence::ReverseKl, Divergence::ForwardKl, Divergence::GeneralizedJs { beta: 0.3 }] {
        found.push(all(&student, |student| {
            let (loss, stats) = distillation(&divergence(student, &teacher, form), &weight);
            (loss, format!("{stats:?}"))
        }));
    }
    found
}

#[test]
fn inv_7_the_number_of_threads_does_not_change_a_loss() {
    for rows in [1003, 5003, 70_001] {
        tch::set_num_threads(1);
        let alone = losses(rows);
        for threads in 2..=4 {
            tch::set_num_threads(threads);
            for (i, (found, alone)) in losses(rows).iter().zip(&alone).enumerate() {
                assert!(found.0.equal(&alone.0), "loss {i} of {rows} rows with {threads} threads");
                assert_eq!(found.1, alone.1, "statistics {i} of {rows} rows with {threads} threads");
                assert!(found.2.equal(&alone.2), "gradient {i} of {rows} rows with {threads} threads");
            }
        }
    }
}
