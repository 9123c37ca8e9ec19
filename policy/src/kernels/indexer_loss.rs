//! The indexer's loss: the divergence of its softmax from the attention that it should predict.
//!
//! For a row `t` and the keys `j` of its list (all that it sees in the warm-up, the selected ones in the sparse stage):
//! `p_j = (1/H) Σ_h softmax_j(s_h)` is the head-summed, L1-normalised main attention, and
//! `L = Σ_t u_t KL(p_t ‖ softmax(I_t)) = Σ_t u_t (Σ_j p log p − Σ_j p I + LSE(I))` (DeepSeek-V3.2, Eq. 3 and 4), with a weight `u_t` a row.
//!
//! Gradients, with `dI = u (softmax(I) − p)` and `a_hj = q_h · k_j`: `dw_h = Σ_j dI_j ReLU(a_hj)`,
//! `dq_h = w_h Σ_j dI_j 1[a_hj > 0] k_j`, `dk_j = Σ_rows,h dI_j w_h 1[a_hj > 0] q_h`. Only the indexer's inputs get one: the target
//! is a constant, so the two gradients of the sparse stage are disjoint by construction.
//!
//! Target and scores exist for one row at a time (INV-8); the main scores are recomputed from the log-sum-exp.

use std::sync::{Arc, Mutex};

use multiversion::multiversion;
use native::{custom_op, parallel_for};
use tch::{Device, Kind, Tensor};

use super::attention::{DisjointRows, Geometry, KeyPartial, SelectedRows, Selection, listed, score};
use super::attention_reference::reference_scores as main_scores;
use super::cuda;
use super::cuda::indexer::{Indexer, Pass};
use super::indexer::{IndexerQuery, reference_scores, top_k};
use super::math::{add_scaled, exp_shifted, ln, max, sum};
use super::{elsewhere, empty, floats, floats_mut, plain, to_cpu};
use crate::rows::KeyIndex;

/// The main attention that the indexer imitates: constants.
#[derive(Debug)]
pub struct Target {
    /// `[rows, heads, key]`.
    pub q: Tensor,
    /// `[slots, row]`.
    pub keys: Tensor,
    /// Where keys lie in a row of `keys`.
    pub geometry: Geometry,
    /// `[rows, heads]`, over the same list.
    pub lse: Tensor,
    /// The softmax scale.
    pub scale: f64,
}

/// How well the k best scores cover the attention, summed over the rows that see more than k keys.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Coverage {
    /// Share of the attention's k heaviest keys among the k selected, summed over rows.
    pub recall: f64,
    /// Attention mass on the k selected keys, summed over rows.
    pub mass: f64,
    /// Rows that count.
    pub rows: u64,
}

impl Coverage {
    /// Adds another's sums.
    pub fn add(&mut self, other: Self) {
        self.recall += other.recall;
        self.mass += other.mass;
        self.rows += other.rows;
    }
}

/// The weighted divergence, summed over rows, and the coverage at `k` (of lists longer than `k` only).
///
/// # Shapes
/// `query`: see [`IndexerQuery`]; `keys [slots, index width]`; `weight [rows]` f32. Returns a scalar.
pub fn indexer_loss(
    query: &IndexerQuery,
    keys: &Tensor,
    target: &Target,
    index: &Arc<KeyIndex>,
    selection: &Selection,
    weight: &Tensor,
    k: usize,
) -> (Tensor, Coverage) {
    if query.q.kind() != Kind::Float {
        return (reference(query, keys, target, index, selection, weight), Coverage::default());
    }
    let device = query.q.device();
    let gpu = cuda::attention::runs(device, target.geometry.widest().max(query.q.size()[2] as usize));
    if elsewhere(&query.q, gpu) {
        let query = IndexerQuery { q: to_cpu(&query.q), w: to_cpu(&query.w) };
        let [q, main_keys, lse] = [&target.q, &target.keys, &target.lse].map(to_cpu);
        let target = Target { q, keys: main_keys, lse, ..*target };
        let (loss, coverage) = indexer_loss(&query, &to_cpu(keys), &target, index, selection, &to_cpu(weight), k);
        return (loss.to_device(device), coverage);
    }
    let mut pass = if gpu {
        on_gpu_pass(query, keys, target, index, selection, weight, k)
    } else {
        Pass::run(query, keys, target, index, selection, weight, k)
    };
    let loss = Tensor::from(pass.loss as f32).to_device(device);
    let grads = std::mem::take(&mut pass.grads);
    let backward = move |upstream: &[Option<Tensor>]| match &upstream[0] {
        Some(g) => grads.into_iter().map(|grad| Some(grad * g)).collect(),
        None => vec![None, None, None],
    };
    let loss = custom_op(&[&query.q, &query.w, keys], vec![loss], backward).pop().expect("one output");
    (loss, pass.coverage)
}

/// The plain-tensor form, for any float kind and device. It holds `[rows, n]` at once.
pub fn reference(
    query: &IndexerQuery,
    keys: &Tensor,
    target: &Target,
    index: &KeyIndex,
    selection: &Selection,
    weight: &Tensor,
) -> Tensor {
    let window = target.geometry.window;
    let (slots, valid) = super::attention_reference::gather_plan(index, selection, window, query.q.device());
    let gather = |t: &Tensor| t.index_select(0, &slots.flatten(0, 1)).view([slots.size()[0], slots.size()[1], -1]);
    let p = tch::no_grad(|| {
        let scores = main_scores(&target.q, &target.keys, target.geometry, &slots, target.scale);
        let scores = scores.masked_fill(&valid.logical_not().unsqueeze(1), f64::NEG_INFINITY);
        scores.softmax(-1, scores.kind()).mean_dim([1i64].as_slice(), false, scores.kind())
    });
    let scores = match selection {
        None => reference_scores(query, keys, index, window),
        Some(_) => {
            let hits = query.q.matmul(&gather(keys).transpose(1, 2)).relu();
            (hits * query.w.unsqueeze(-1)).sum_dim_intlist([1i64].as_slice(), false, query.q.kind())
        }
    };
    let log_q = scores.masked_fill(&valid.logical_not(), f64::NEG_INFINITY).log_softmax(-1, scores.kind());
    let log_q = log_q.masked_fill(&valid.logical_not(), 0.0);
    let terms = &p * ((&p + 1e-30).log() - log_q);
    (terms.sum_dim_intlist([-1i64].as_slice(), false, scores.kind()) * weight).sum(scores.kind())
}

/// [`Pass::run`] on a GPU.
fn on_gpu_pass(
    query: &IndexerQuery,
    keys: &Tensor,
    target: &Target,
    index: &KeyIndex,
    selection: &Selection,
    weight: &Tensor,
    k: usize,
) -> Pass {
    let device = query.q.device();
    let here = |t: &Tensor| plain(&t.to_device(device));
    let [q, w, keys, weight] = [&query.q, &query.w, keys, weight].map(here);
    let target = Target { q: here(&target.q), keys: here(&target.keys), lse: here(&target.lse), ..*target };
    let selection = selection.as_ref().map(|selection| here(selection).to_kind(Kind::Int));
    cuda::indexer::loss(Indexer { q: &q, w: &w, keys: &keys }, &target, index, selection.as_ref(), &weight, k)
}

#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    keys: Geometry,
    index_heads: usize,
    index_width: usize,
    scale: f32,
    k: usize,
}

#[derive(Default)]
struct Scratch {
    slots: Vec<u32>,
    positions: Vec<u32>,
    main: Vec<f32>,
    p: Vec<f32>,
    hits: Vec<f32>,
    scores: Vec<f32>,
    order: Vec<u64>,
    best: Vec<i32>,
    heavy: Vec<i32>,
}

struct RowInputs<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    lse: &'a [f32],
    index_q: &'a [f32],
    index_w: &'a [f32],
    index_keys: &'a [f32],
    weight: f32,
}

impl Pass {
    fn run(
        query: &IndexerQuery,
        keys: &Tensor,
        target: &Target,
        index: &KeyIndex,
        selection: &Selection,
        weight: &Tensor,
        k: usize,
    ) -> Self {
        let tensors = [&query.q, &query.w, keys, &target.q, &target.keys, &target.lse, weight].map(plain);
        let [iq, iw, ik, q, main_keys, lse, weight] = tensors.each_ref().map(floats);
        let (iq_size, q_size) = (tensors[0].size(), tensors[3].size());
        let shape = Shape {
            heads: q_size[1] as usize,
            keys: target.geometry,
            index_heads: iq_size[1] as usize,
            index_width: iq_size[2] as usize,
            scale: target.scale as f32,
            k,
        };
        let selected = selection.as_ref().map(SelectedRows::new);
        let chunks = index.chunks();
        let partials: Vec<KeyPartial> = chunks.iter().map(|c| KeyPartial::new(c.keys * shape.index_width)).collect();
        let sums = Mutex::new(vec![(0.0f64, Coverage::default()); chunks.len()]);
        let (mut dq, mut dw) = (empty(&iq_size), empty(&tensors[1].size()));
        {
            let (qw, hw) = (shape.index_heads * shape.index_width, shape.index_heads);
            let (dq, dw) = (DisjointRows::new(floats_mut(&mut dq), qw), DisjointRows::new(floats_mut(&mut dw), hw));
            parallel_for(chunks.len(), |c| {
                let mut dk = vec![0.0f32; chunks[c].keys * shape.index_width];
                let (mut loss, mut coverage, mut scratch) = (0.0, Coverage::default(), Scratch::default());
                for row in chunks[c].rows.clone() {
                    let Scratch { slots, positions, .. } = &mut scratch;
                    listed(index, selected.as_ref(), shape.keys.window, row, slots, positions);
                    let inputs = RowInputs {
                        q: &q[row * shape.heads * shape.keys.key..][..shape.heads * shape.keys.key],
                        keys: main_keys,
                        lse: &lse[row * shape.heads..][..shape.heads],
                        index_q: &iq[row * qw..][..qw],
                        index_w: &iw[row * hw..][..hw],
                        index_keys: ik,
                        weight: weight[row],
                    };
                    // SAFETY: chunks partition the rows, so this row belongs to this task alone.
                    let (dq, dw) = unsafe { (dq.row(row), dw.row(row)) };
                    loss += f64::from(row_pass(inputs, shape, &mut scratch, dq, dw, &mut dk));
                    coverage.add(row_coverage(shape.k, &mut scratch));
                }
                partials[c].set(dk);
                sums.lock().expect("no task panics while holding it")[c] = (loss, coverage);
            });
        }
        let mut dkeys = Tensor::zeros(tensors[2].size(), (Kind::Float, Device::Cpu));
        let (mut loss, mut coverage) = (0.0, Coverage::default());
        let sums = sums.into_inner().expect("the tasks have ended");
        for ((chunk, partial), (chunk_loss, chunk_coverage)) in chunks.iter().zip(&partials).zip(sums) {
            partial.add_to(floats_mut(&mut dkeys), &index.slots[chunk.sequence], shape.index_width);
            loss += chunk_loss;
            coverage.add(chunk_coverage);
        }
        Self { loss, coverage, grads: vec![dq, dw, dkeys] }
    }
}

/// One row: its weighted divergence, its gradients, and `p` and the scores left in `scratch`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn row_pass(
    t: RowInputs<'_>,
    shape: Shape,
    scratch: &mut Scratch,
    dq: &mut [f32],
    dw: &mut [f32],
    dk: &mut [f32],
) -> f32 {
    let n = scratch.slots.len();
    score(t.q, t.keys, &scratch.slots, shape.heads, shape.keys, shape.scale, &mut scratch.main);
    let p = &mut scratch.p;
    p.clear();
    p.resize(n, 0.0);
    for h in 0..shape.heads {
        let main = &mut scratch.main[h * n..][..n];
        exp_shifted(main, t.lse[h]);
        add_scaled(p, 1.0 / shape.heads as f32, main);
    }
    let index_keys = Geometry::latent(shape.index_width as i64, 0);
    score(t.index_q, t.index_keys, &scratch.slots, shape.index_heads, index_keys, 1.0, &mut scratch.hits);
    let scores = &mut scratch.scores;
    scores.clear();
    scores.resize(n, 0.0);
    for h in 0..shape.index_heads {
        let w = t.index_w[h];
        scores.iter_mut().zip(&scratch.hits[h * n..][..n]).for_each(|(s, a)| *s = w.mul_add(a.max(0.0), *s));
    }
    // softmax(I) in `main`, which is free now.
    let most = max(scores);
    let q = &mut scratch.main[..n];
    q.copy_from_slice(scores);
    exp_shifted(q, most);
    let total = sum(q);
    let log_total = most + ln(total);
    let mut divergence = 0.0f32;
    for j in 0..n {
        let log_p = if p[j] > 0.0 { ln(p[j]) } else { 0.0 };
        divergence += p[j] * (log_p - scores[j] + log_total);
    }
    dq.fill(0.0);
    for (h, dw) in dw.iter_mut().enumerate() {
        let (query, w) = (&t.index_q[h * shape.index_width..][..shape.index_width], t.index_w[h]);
        let dq = &mut dq[h * shape.index_width..][..shape.index_width];
        *dw = 0.0;
        for j in 0..n {
            let hit = scratch.hits[h * n + j];
            if hit <= 0.0 {
                continue;
            }
            let d_score = t.weight * (q[j] / total - p[j]);
            *dw += d_score * hit;
            let slot = scratch.slots[j] as usize;
            let position = scratch.positions[j] as usize;
            add_scaled(dq, d_score * w, &t.index_keys[slot * shape.index_width..][..shape.index_width]);
            add_scaled(&mut dk[position * shape.index_width..][..shape.index_width], d_score * w, query);
        }
    }
    t.weight * divergence
}

/// How much of the row's attention its k best scores cover; nothing for a list that fits in k.
fn row_coverage(k: usize, scratch: &mut Scratch) -> Coverage {
    if k == 0 || scratch.p.len() <= k {
        return Coverage::default();
    }
    for out in [&mut scratch.best, &mut scratch.heavy] {
        out.clear();
        out.resize(k, -1);
    }
    top_k(&scratch.scores, k, &mut scratch.order, &mut scratch.best);
    top_k(&scratch.p, k, &mut scratch.order, &mut scratch.heavy);
    let mass: f64 = scratch.best.iter().map(|&j| f64::from(scratch.p[j as usize])).sum();
    let common = scratch.best.iter().filter(|j| scratch.heavy.binary_search(j).is_ok()).count();
    Coverage { recall: common as f64 / k as f64, mass, rows: 1 }
}
