//! The one function that turns logits into a token's log-probability (INV-1), for the sampler and the learner alike.
//!
//! `log π(a) = z_a − log Σ_{v ∈ K} e^{z_v}` with `z = logits / T`, over the kept set `K` that the sampler recorded (all tokens where
//! nothing was cut). Replaying `K` keeps both sides on one action space: DeepSeek-V3.2's Keep Sampling Mask.
//!
//! Backward: `dlogits_v = (g / T) (1[v = a] − π(v))` inside `K`, 0 outside. The entropy of `π` comes along, without a gradient.

use std::sync::Arc;

use multiversion::multiversion;
use native::{custom_op, parallel_chunks};
use tch::{Device, Kind, Tensor};

use super::cuda::{self, on_gpu};
use super::math::{LANES, add_lanes, exp, ln, max};
use super::{empty, floats, floats_mut, plain};

const ROWS_PER_TASK: usize = 16;

/// What each row's log-probability is taken of.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// The token of each row.
    pub tokens: Vec<u32>,
    /// `1 / T` of the sampler.
    pub inverse_temperature: f32,
    /// `kept[offsets[i] .. offsets[i + 1]]` is row `i`'s kept set, ascending; an empty range means the whole vocabulary. Empty
    /// altogether when no row was cut.
    pub offsets: Vec<u32>,
    /// See `offsets`.
    pub kept: Vec<u32>,
}

impl Targets {
    /// Whole-vocabulary targets at temperature 1.
    pub fn plain(tokens: Vec<u32>) -> Self {
        Self { tokens, inverse_temperature: 1.0, offsets: Vec::new(), kept: Vec::new() }
    }

    /// Adds row's kept set; call it for every row or for none. `None` keeps the whole vocabulary.
    pub fn push_kept(&mut self, kept: Option<&[u32]>) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.kept.extend_from_slice(kept.unwrap_or(&[]));
        self.offsets.push(self.kept.len() as u32);
    }

    fn kept(&self, row: usize) -> Option<&[u32]> {
        let range = *self.offsets.get(row)? as usize..*self.offsets.get(row + 1)? as usize;
        (!range.is_empty()).then(|| &self.kept[range])
    }
}

/// Log-probabilities `[rows]` with history, and entropies `[rows]` without, of `logits [rows, vocabulary]`, whose first row is row `first`
/// of `targets`.
///
/// On a GPU its twin computes, whose bits are the CPU's: a token's log-probability has one definition, whoever asks.
///
/// # Panics
/// If there is not a target for each row.
pub fn log_prob(logits: &Tensor, targets: &Arc<Targets>, first: usize) -> (Tensor, Tensor) {
    let rows = logits.size()[0] as usize;
    assert!(first + rows <= targets.tokens.len(), "a target for each row");
    if on_gpu(logits) && logits.kind() == Kind::Float {
        return cuda::log_prob::log_prob(logits, targets, first);
    }
    let (device, kind) = (logits.device(), logits.kind());
    let logits_plain = tch::no_grad(|| plain(logits).to_device(Device::Cpu).to_kind(Kind::Float));
    let mut joint = empty(&[rows as i64, 3]);
    let vocabulary = logits.size()[1] as usize;
    {
        let logits = floats(&logits_plain);
        parallel_chunks(floats_mut(&mut joint), ROWS_PER_TASK * 3, |task, out| {
            for (i, out) in out.chunks_exact_mut(3).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                let scored = log_prob_row(&logits[row * vocabulary..][..vocabulary], targets, first + row);
                out.copy_from_slice(&[scored.log_prob, scored.entropy, scored.lse]);
            }
        });
    }
    let [log_probs, entropies, lse] = [0, 1, 2].map(|i| joint.select(1, i).contiguous());
    let kept_targets = Arc::clone(targets);
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None] };
        let g = plain(g).to_device(Device::Cpu);
        let mut d_logits = empty(&logits_plain.size());
        let (logits, g, lse) = (floats(&logits_plain), floats(&g), floats(&lse));
        parallel_chunks(floats_mut(&mut d_logits), ROWS_PER_TASK * vocabulary, |task, out| {
            for (i, out) in out.chunks_exact_mut(vocabulary).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                let logits = &logits[row * vocabulary..][..vocabulary];
                backward_row(logits, &kept_targets, first + row, lse[row], g[row], out);
            }
        });
        vec![Some(d_logits.to_device(device).to_kind(kind))]
    };
    let attached = custom_op(&[logits], vec![log_probs.to_device(device)], backward).pop().expect("one output");
    (attached, entropies.to_device(device))
}

/// What is known of one row's target.
#[derive(Debug, Clone, Copy)]
pub struct Scored {
    /// Natural log-probability of the target.
    pub log_prob: f32,
    /// Entropy of the row's distribution, in nats.
    pub entropy: f32,
    /// `log Σ e^z`, for the backward.
    pub lse: f32,
}

/// One row of [`log_prob`]; the sampler calls it on the row that it sampled from.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn log_prob_row(logits: &[f32], targets: &Targets, row: usize) -> Scored {
    let inverse_t = targets.inverse_temperature;
    let kept = targets.kept(row);
    let gathered: Vec<f32>;
    let logits_kept = match kept {
        None => logits,
        Some(kept) => {
            gathered = kept.iter().map(|&v| logits[v as usize]).collect();
            &gathered
        }
    };
    let most = max(logits_kept) * inverse_t;
    let (total, moment) = exp_moments(logits_kept, |logit| logit * inverse_t - most);
    let log_total = ln(total);
    let target = logits[targets.tokens[row] as usize] * inverse_t - most;
    Scored { log_prob: target - log_total, entropy: log_total - moment / total, lse: most + log_total }
}

/// `Σ e^z` and `Σ z e^z`, where `z` is `of` a logit.
#[inline(always)]
fn exp_moments(logits: &[f32], of: impl Fn(f32) -> f32) -> (f32, f32) {
    let (mut totals, mut moments) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (full, rest) = logits.as_chunks::<LANES>();
    let mut add = |i: usize, logit: f32| {
        let z = of(logit);
        let e = exp(z);
        totals[i] += e;
        moments[i] = e.mul_add(z, moments[i]);
    };
    for logits in full {
        logits.iter().enumerate().for_each(|(i, &logit)| add(i, logit));
    }
    rest.iter().enumerate().for_each(|(i, &logit)| add(i, logit));
    (add_lanes(totals), add_lanes(moments))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn backward_row(logits: &[f32], targets: &Targets, row: usize, lse: f32, g: f32, out: &mut [f32]) {
    let inverse_t = targets.inverse_temperature;
    let g = g * inverse_t;
    match targets.kept(row) {
        None => {
            for (o, &l) in out.iter_mut().zip(logits) {
                *o = -g * exp(l * inverse_t - lse);
            }
        }
        Some(kept) => {
            out.fill(0.0);
            for &v in kept {
                out[v as usize] = -g * exp(logits[v as usize] * inverse_t - lse);
            }
        }
    }
    out[targets.tokens[row] as usize] += g;
}
