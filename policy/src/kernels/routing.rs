//! Which experts a row goes through, and with what weights.
//!
//! With `l` the gate's logits, an expert's score is `s_e = σ(l_e)` (DeepSeek-V3) or `softmax(l)_e` (Qwen3). The choice is by `s_e + b_e`,
//! where `b` is the selection bias that balances the load and has no gradient: first the best groups of neighbouring experts, by the sum
//! of their two best, then the best experts of those groups; equals go to the lower number. The weights are `w_e = c s_e / Σ_chosen s`,
//! or `c s_e` where they are not normalised, by the row's own scores even when the choice is given: DeepSeek-V3.2's Keep Routing.
//!
//! Backward, with `S` the sum, `t = Σ_e g_e s_e / S`: `ds_e = c (g_e − t) / S` over the chosen, or `c g_e`; then `dl_e = ds_e s_e (1 − s_e)`
//! for the sigmoid and `dl_e = s_e (ds_e − Σ_i ds_i s_i)` for the softmax.

use multiversion::multiversion;
use native::{custom_op, parallel_chunks};
use tch::{Kind, Tensor};

use super::cuda::{self, on_gpu};
use super::indexer::top_k;
use super::math::{dot, exp, exp_shifted, max, sum};
use super::{ROWS_PER_TASK, empty, floats, floats_mut, plain, to_cpu, width};
use crate::config::{Gate, Scores};

/// Keeps a sum of scores from being zero, as the released models do.
const SUM_FLOOR: f32 = 1e-20;

/// Where rows go.
#[derive(Debug)]
pub struct Routed {
    /// `k` experts for each row, ascending.
    pub chosen: Vec<i32>,
    /// `[rows, k]`: their weights.
    pub weights: Tensor,
    /// Rows whose choice was given and is not the gate's own.
    pub changed: u64,
}

/// Routes rows by their gate's `logits [rows, experts]`; `bias [experts]` is for the choice alone, `replay [rows, k]` i32 gives it.
///
/// # Panics
/// If a replayed choice names an expert that does not exist: a caller's bug.
pub fn route(logits: &Tensor, bias: Option<&Tensor>, gate: &Gate, replay: Option<&Tensor>) -> Routed {
    if on_gpu(logits) && logits.kind() == Kind::Float {
        return route_on_gpu(logits, bias, gate, replay);
    }
    let on_cpu = tch::no_grad(|| to_cpu(&plain(logits)).to_kind(Kind::Float));
    let k = gate.top_k as usize;
    let scores = scores(&on_cpu, gate.scores);
    let (chosen, changed) = decide(choose(&scores, bias, gate), replay, k, width(logits));
    if logits.kind() != Kind::Float {
        let weights = reference_weights(logits, gate, &chosen);
        return Routed { chosen, weights, changed };
    }
    let mut weights = empty(&[on_cpu.size()[0], k as i64]);
    let experts = width(&scores);
    {
        let scores = floats(&scores);
        parallel_chunks(floats_mut(&mut weights), ROWS_PER_TASK * k, |task, out| {
            for (i, out) in out.chunks_exact_mut(k).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                weigh_row(&scores[row * experts..][..experts], &chosen[row * k..][..k], gate, out);
            }
        });
    }
    let (rule, kept) = (gate.clone(), chosen.clone());
    let device = logits.device();
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None] };
        vec![Some(backward_all(&to_cpu(&plain(g)), &scores, &kept, &rule).to_device(device))]
    };
    let weights = custom_op(&[logits], vec![weights.to_device(device)], backward).pop().expect("one output");
    Routed { chosen, weights, changed }
}

/// As [`route`], on a GPU. The choice is wanted on the host, where rows are laid out.
fn route_on_gpu(logits: &Tensor, bias: Option<&Tensor>, gate: &Gate, replay: Option<&Tensor>) -> Routed {
    let (scores, own) = cuda::routing::choose(&plain(logits), bias.map(plain).as_ref(), gate);
    let (chosen, changed) = decide(integers(&own), replay, gate.top_k as usize, width(logits));
    let on_gpu = if replay.is_some() { Tensor::from_slice(&chosen).view_as(&own).to_device(own.device()) } else { own };
    let weights = cuda::routing::weigh(&scores, &on_gpu, gate);
    let rule = gate.clone();
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None] };
        vec![Some(cuda::routing::backward(&plain(g), &scores, &on_gpu, &rule))]
    };
    let weights = custom_op(&[logits], vec![weights], backward).pop().expect("one output");
    Routed { chosen, weights, changed }
}

fn integers(choice: &Tensor) -> Vec<i32> {
    Vec::<i32>::try_from(&to_cpu(choice).flatten(0, -1)).expect("a choice of experts is i32")
}

/// The gate's own choice or the one that is given instead, and how many rows it changes.
fn decide(own: Vec<i32>, replay: Option<&Tensor>, k: usize, experts: usize) -> (Vec<i32>, u64) {
    let (chosen, changed) = match replay.map(integers) {
        Some(given) => {
            let changed = given.chunks_exact(k).zip(own.chunks_exact(k)).filter(|(given, own)| given != own).count();
            (given, changed as u64)
        }
        None => (own, 0),
    };
    assert!(chosen.iter().all(|&e| (0..experts as i32).contains(&e)), "every chosen expert exists");
    (chosen, changed)
}

/// The weights of given experts in plain tensors, for any float kind and device.
pub fn reference_weights(logits: &Tensor, gate: &Gate, chosen: &[i32]) -> Tensor {
    let scores = match gate.scores {
        Scores::BiasedSigmoid => logits.sigmoid(),
        Scores::Softmax => logits.softmax(-1, logits.kind()),
    };
    let chosen = Tensor::from_slice(chosen).view([-1, gate.top_k]).to_kind(Kind::Int64).to_device(logits.device());
    let scores = scores.gather(1, &chosen, false);
    let scores = match gate.normalise {
        true => &scores / (scores.sum_dim_intlist([1i64].as_slice(), true, scores.kind()) + f64::from(SUM_FLOOR)),
        false => scores,
    };
    scores * gate.scale
}

fn scores(logits: &Tensor, kind: Scores) -> Tensor {
    let experts = width(logits);
    let mut out = empty(&logits.size());
    let logits = floats(logits);
    parallel_chunks(floats_mut(&mut out), ROWS_PER_TASK * experts, |task, out| {
        let at = task * ROWS_PER_TASK * experts;
        score_rows(&logits[at..][..out.len()], experts, kind, out);
    });
    out
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn score_rows(logits: &[f32], experts: usize, kind: Scores, out: &mut [f32]) {
    if kind == Scores::BiasedSigmoid {
        out.iter_mut().zip(logits).for_each(|(s, l)| *s = 1.0 / (1.0 + exp(-l)));
        return;
    }
    for (out, logits) in out.chunks_exact_mut(experts).zip(logits.chunks_exact(experts)) {
        out.copy_from_slice(logits);
        exp_shifted(out, max(logits));
        let inverse = 1.0 / sum(out);
        out.iter_mut().for_each(|s| *s *= inverse);
    }
}

/// The chosen experts of every row.
fn choose(scores: &Tensor, bias: Option<&Tensor>, gate: &Gate) -> Vec<i32> {
    let (k, experts) = (gate.top_k as usize, width(scores));
    let bias = bias.map(|b| tch::no_grad(|| to_cpu(&plain(b)).to_kind(Kind::Float)));
    let (scores, bias) = (floats(scores), bias.as_ref().map(floats));
    let mut chosen = vec![0i32; scores.len() / experts * k];
    parallel_chunks(&mut chosen, ROWS_PER_TASK * k, |task, out| {
        let (mut biased, mut order) = (Vec::new(), Vec::new());
        for (i, out) in out.chunks_exact_mut(k).enumerate() {
            biased.clear();
            biased.extend_from_slice(&scores[(task * ROWS_PER_TASK + i) * experts..][..experts]);
            if let Some(bias) = bias {
                biased.iter_mut().zip(bias).for_each(|(s, b)| *s += b);
            }
            keep_groups(&mut biased, gate, &mut order);
            top_k(&biased, k, &mut order, out);
        }
    });
    chosen
}

/// Takes the experts of the groups that are not kept out of the choice.
fn keep_groups(scores: &mut [f32], gate: &Gate, order: &mut Vec<u64>) {
    let (groups, kept) = (gate.groups as usize, gate.top_groups as usize);
    if kept == groups {
        return;
    }
    let size = scores.len() / groups;
    let two_best = |group: &[f32]| {
        let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for &s in group {
            (first, second) = if s > first { (s, first) } else { (first, second.max(s)) };
        }
        first + second
    };
    let sums: Vec<f32> = scores.chunks_exact(size).map(two_best).collect();
    let mut best = vec![0i32; kept];
    top_k(&sums, kept, order, &mut best);
    for (group, scores) in scores.chunks_exact_mut(size).enumerate() {
        if best.binary_search(&(group as i32)).is_err() {
            scores.fill(f32::NEG_INFINITY);
        }
    }
}

fn weigh_row(scores: &[f32], chosen: &[i32], gate: &Gate, out: &mut [f32]) {
    out.iter_mut().zip(chosen).for_each(|(w, &e)| *w = scores[e as usize]);
    let divisor = if gate.normalise { sum(out) + SUM_FLOOR } else { 1.0 };
    let scale = gate.scale as f32;
    out.iter_mut().for_each(|w| *w = *w / divisor * scale);
}

fn backward_all(g: &Tensor, scores: &Tensor, chosen: &[i32], gate: &Gate) -> Tensor {
    let (k, experts) = (gate.top_k as usize, width(scores));
    let mut out = empty(&scores.size());
    let (g, scores) = (floats(g), floats(scores));
    parallel_chunks(floats_mut(&mut out), ROWS_PER_TASK * experts, |task, out| {
        for (i, out) in out.chunks_exact_mut(experts).enumerate() {
            let row = task * ROWS_PER_TASK + i;
            let scores = &scores[row * experts..][..experts];
            backward_row(&g[row * k..][..k], scores, &chosen[row * k..][..k], gate, out);
        }
    });
    out
}

/// `dl` of one row; on the way `out` holds `ds`.
fn backward_row(g: &[f32], scores: &[f32], chosen: &[i32], gate: &Gate, out: &mut [f32]) {
    let picked: Vec<f32> = chosen.iter().map(|&e| scores[e as usize]).collect();
    let (total, mean) = match gate.normalise {
        true => {
            let total = sum(&picked) + SUM_FLOOR;
            (total, dot(g, &picked) / total)
        }
        false => (1.0, 0.0),
    };
    out.fill(0.0);
    for (&e, g) in chosen.iter().zip(g) {
        out[e as usize] = gate.scale as f32 * (g - mean) / total;
    }
    match gate.scores {
        Scores::BiasedSigmoid => out.iter_mut().zip(scores).for_each(|(d, s)| *d *= s * (1.0 - s)),
        Scores::Softmax => {
            let along = dot(out, scores);
            out.iter_mut().zip(scores).for_each(|(d, s)| *d = s * (*d - along));
        }
    }
}
