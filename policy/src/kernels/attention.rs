//! Attention of each row over its own list of keys: all visible ones (dense) or the selected ones (sparse), in MLA's absorbed form.
//!
//! One key vector `k_s = [c_s | k^R_s]`, the normalised latent and the rotated part, serves all heads, and the latent is the value
//! (DeepSeek-V3.2, facts §2.3):
//!
//! `s_hj = α q_h · k_j`, `p_h = softmax_j(s_h)`, `o_h = Σ_j p_hj c_j`, over `j` in the row's list, ascending by position.
//!
//! Dense is the list of all visible positions, so selecting every key reproduces it bit for bit (INV-3).
//!
//! Backward, with `δ_h = g_h · o_h`: `ds_hj = p_hj (g_h · c_j − δ_h)`, `dq_h = α Σ_j ds_hj k_j`, `dk_j = Σ_rows,h α ds_hj q_h`,
//! `dc_j += p_hj g_h`. Probabilities are recomputed from the log-sum-exp, never stored (INV-8).

use std::sync::Arc;

use multiversion::multiversion;
use native::{custom_op, parallel_chunks, parallel_for, wants_grad};
use tch::{Device, Kind, Tensor};

use super::math::{add_scaled, dot, exp_shifted, max, sum};
use super::{empty, floats, floats_mut, plain, to_cpu};
use crate::rows::KeyIndex;

/// Rows that one task takes. Later rows of a sequence cost more, so tasks are small.
const ROWS_PER_TASK: usize = 4;

/// The selected positions of each row: `[rows, k]` i32, ascending, −1 last. `None` selects every visible position.
pub type Selection = Option<Tensor>;

/// Attention's result.
#[derive(Debug)]
pub struct Attended {
    /// `[rows, heads, latent]`: the mixed latents.
    pub out: Tensor,
    /// `[rows, heads]`: `log Σ_j e^{s_hj}`, without history, on the CPU.
    pub lse: Tensor,
}

/// The sizes of one attention call.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    /// Width of a key.
    key: usize,
    /// Width of its latent, which comes first.
    latent: usize,
    scale: f32,
}

/// Attends from `q [rows, heads, key]` to `keys [slots, key]`, whose first `latent` columns are the values.
///
/// # Panics
/// If shapes and index disagree: a caller's bug.
pub fn attention(
    q: &Tensor,
    keys: &Tensor,
    latent: i64,
    index: &Arc<KeyIndex>,
    selection: &Selection,
    scale: f64,
) -> Attended {
    let size = q.size();
    assert_eq!(size[0] as usize, index.rows(), "one query row for each row of the index");
    assert_eq!(size[2], keys.size()[1], "queries and keys have one width");
    if q.kind() != Kind::Float {
        return reference(q, keys, latent, index, selection, scale);
    }
    if q.device() != Device::Cpu {
        let attended = attention(&to_cpu(q), &to_cpu(keys), latent, index, selection, scale);
        return Attended { out: attended.out.to_device(q.device()), lse: attended.lse };
    }
    let shape = Shape { heads: size[1] as usize, key: size[2] as usize, latent: latent as usize, scale: scale as f32 };
    let (q_plain, keys_plain) = (plain(q), plain(keys));
    let selected = selection.as_ref().map(SelectedRows::new);
    let (out, lse) = forward(&q_plain, &keys_plain, shape, index, selected.as_ref());
    if !wants_grad(&[q, keys]) {
        return Attended { out, lse };
    }
    let (index, out_plain, lse_plain) = (Arc::clone(index), out.shallow_clone(), lse.shallow_clone());
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let saved = Saved { q: q_plain, keys: keys_plain, out: out_plain, lse: lse_plain };
        let (dq, dkeys) = backward(&saved, &plain(g), shape, &index, selected.as_ref());
        vec![Some(dq), Some(dkeys)]
    };
    let out = custom_op(&[q, keys], vec![out], backward).pop().expect("one output");
    Attended { out, lse }
}

/// The selection as plain integers.
pub(crate) struct SelectedRows {
    positions: Vec<i32>,
    k: usize,
}

impl SelectedRows {
    pub(crate) fn new(selection: &Tensor) -> Self {
        let flat = selection.to_device(Device::Cpu).flatten(0, -1);
        let positions = Vec::<i32>::try_from(&flat).expect("a selection is i32");
        Self { positions, k: selection.size()[1] as usize }
    }

    /// The positions of one row, without the padding.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        self.positions[row * self.k..][..self.k].iter().take_while(|&&p| p >= 0).map(|&p| p as usize)
    }
}

/// The slots, and the positions, of the keys in a row's list.
pub(crate) fn listed(
    index: &KeyIndex,
    selected: Option<&SelectedRows>,
    row: usize,
    slots: &mut Vec<u32>,
    positions: &mut Vec<u32>,
) {
    let visible = index.visible(row);
    slots.clear();
    positions.clear();
    match selected {
        None => {
            slots.extend_from_slice(visible);
            positions.extend(0..visible.len() as u32);
        }
        Some(selected) => {
            positions.extend(selected.row(row).map(|p| p as u32));
            slots.extend(positions.iter().map(|&p| visible[p as usize]));
        }
    }
}

fn forward(
    q: &Tensor,
    keys: &Tensor,
    shape: Shape,
    index: &KeyIndex,
    selected: Option<&SelectedRows>,
) -> (Tensor, Tensor) {
    let (rows, h, l) = (index.rows(), shape.heads, shape.latent);
    // The mixed latents and the log-sum-exp of a row side by side, so that one task writes one range.
    let mut joint = empty(&[rows as i64, (h * l + h) as i64]);
    let width = h * l + h;
    {
        let (q, keys) = (floats(q), floats(keys));
        parallel_chunks(floats_mut(&mut joint), ROWS_PER_TASK * width, |task, out| {
            let (mut slots, mut positions, mut scores) = (Vec::new(), Vec::new(), Vec::new());
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                listed(index, selected, row, &mut slots, &mut positions);
                let (mixed, lse) = out.split_at_mut(h * l);
                forward_row(&q[row * h * shape.key..][..h * shape.key], keys, &slots, shape, &mut scores, mixed, lse);
            }
        });
    }
    let out = joint.narrow(1, 0, (h * l) as i64).contiguous().view([rows as i64, h as i64, l as i64]);
    (out, joint.narrow(1, (h * l) as i64, h as i64).contiguous())
}

/// Scores of every head against every listed key: `scores[h][j] = scale · q_h · k_j`.
#[inline(always)]
pub(crate) fn score(
    q: &[f32],
    keys: &[f32],
    slots: &[u32],
    heads: usize,
    key: usize,
    scale: f32,
    scores: &mut Vec<f32>,
) {
    let n = slots.len();
    scores.clear();
    scores.resize(heads * n, 0.0);
    for (j, &slot) in slots.iter().enumerate() {
        let k = &keys[slot as usize * key..][..key];
        for h in 0..heads {
            scores[h * n + j] = scale * dot(&q[h * key..][..key], k);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn forward_row(
    q: &[f32],
    keys: &[f32],
    slots: &[u32],
    shape: Shape,
    scores: &mut Vec<f32>,
    out: &mut [f32],
    lse: &mut [f32],
) {
    let Shape { heads, key, latent, scale } = shape;
    let n = slots.len();
    score(q, keys, slots, heads, key, scale, scores);
    for (h, lse) in lse.iter_mut().enumerate() {
        let scores = &mut scores[h * n..][..n];
        let most = max(scores);
        exp_shifted(scores, most);
        let total = sum(scores);
        *lse = most + total.ln();
        let inverse = 1.0 / total;
        scores.iter_mut().for_each(|p| *p *= inverse);
    }
    out.fill(0.0);
    for (j, &slot) in slots.iter().enumerate() {
        let c = &keys[slot as usize * key..][..latent];
        for h in 0..heads {
            add_scaled(&mut out[h * latent..][..latent], scores[h * n + j], c);
        }
    }
}

/// What the forward leaves for the backward.
struct Saved {
    q: Tensor,
    keys: Tensor,
    out: Tensor,
    lse: Tensor,
}

fn backward(
    saved: &Saved,
    g: &Tensor,
    shape: Shape,
    index: &KeyIndex,
    selected: Option<&SelectedRows>,
) -> (Tensor, Tensor) {
    let (h, key, latent) = (shape.heads, shape.key, shape.latent);
    let mut dq = empty(&saved.q.size());
    let mut dkeys = Tensor::zeros(saved.keys.size(), (Kind::Float, Device::Cpu));
    let chunks = index.chunks();
    let partials: Vec<KeyPartial> = chunks.iter().map(|c| KeyPartial::new(c.keys * key)).collect();
    {
        let (q, keys, out, lse, g) =
            (floats(&saved.q), floats(&saved.keys), floats(&saved.out), floats(&saved.lse), floats(g));
        let dq = DisjointRows::new(floats_mut(&mut dq), h * key);
        parallel_for(chunks.len(), |c| {
            let mut dk = vec![0.0f32; chunks[c].keys * key];
            let (mut slots, mut positions, mut scores) = (Vec::new(), Vec::new(), Vec::new());
            for row in chunks[c].rows.clone() {
                listed(index, selected, row, &mut slots, &mut positions);
                let row_q = &q[row * h * key..][..h * key];
                let row_g = &g[row * h * latent..][..h * latent];
                let row_out = &out[row * h * latent..][..h * latent];
                // SAFETY: chunks partition the rows, so this row belongs to this task alone.
                let row_dq = unsafe { dq.row(row) };
                let list = List { slots: &slots, positions: &positions };
                let tensors = RowTensors { q: row_q, keys, out: row_out, lse: &lse[row * h..][..h], g: row_g };
                backward_row(tensors, list, shape, &mut scores, row_dq, &mut dk);
            }
            partials[c].set(dk);
        });
    }
    let sums = floats_mut(&mut dkeys);
    for (chunk, partial) in chunks.iter().zip(&partials) {
        partial.add_to(sums, &index.slots[chunk.sequence], key);
    }
    (dq, dkeys)
}

#[derive(Clone, Copy)]
struct List<'a> {
    slots: &'a [u32],
    positions: &'a [u32],
}

#[derive(Clone, Copy)]
struct RowTensors<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    g: &'a [f32],
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn backward_row(
    t: RowTensors<'_>,
    list: List<'_>,
    shape: Shape,
    scores: &mut Vec<f32>,
    dq: &mut [f32],
    dk: &mut [f32],
) {
    let Shape { heads, key, latent, scale } = shape;
    let n = list.slots.len();
    score(t.q, t.keys, list.slots, heads, key, scale, scores);
    for h in 0..heads {
        exp_shifted(&mut scores[h * n..][..n], t.lse[h]);
    }
    dq.fill(0.0);
    for h in 0..heads {
        let (g, q) = (&t.g[h * latent..][..latent], &t.q[h * key..][..key]);
        let dq = &mut dq[h * key..][..key];
        let delta = dot(g, &t.out[h * latent..][..latent]);
        for (j, (&slot, &position)) in list.slots.iter().zip(list.positions).enumerate() {
            let k = &t.keys[slot as usize * key..][..key];
            let dk = &mut dk[position as usize * key..][..key];
            let p = scores[h * n + j];
            let ds = scale * p * (dot(g, &k[..latent]) - delta);
            add_scaled(dq, ds, k);
            add_scaled(dk, ds, q);
            add_scaled(&mut dk[..latent], p, g);
        }
    }
}

/// A chunk's share of the gradient of its sequence's keys, by position.
pub(crate) struct KeyPartial(std::sync::Mutex<Vec<f32>>, usize);

impl KeyPartial {
    pub(crate) fn new(length: usize) -> Self {
        Self(std::sync::Mutex::new(Vec::new()), length)
    }

    pub(crate) fn set(&self, values: Vec<f32>) {
        debug_assert_eq!(values.len(), self.1);
        *self.0.lock().expect("one task writes it, once") = values;
    }

    /// Adds into rows of `width` at the sequence's slots. Called chunk by chunk, in order (INV-7).
    pub(crate) fn add_to(&self, sums: &mut [f32], slots: &[u32], width: usize) {
        let values = self.0.lock().expect("the tasks have ended");
        for (row, &slot) in values.chunks_exact(width).zip(slots) {
            sums[slot as usize * width..][..width].iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
    }
}

/// A matrix whose rows are written by different tasks, each row by one.
pub(crate) struct DisjointRows {
    base: *mut f32,
    width: usize,
    length: usize,
}

// SAFETY: `row` is unsafe and its contract keeps two tasks from holding one row.
unsafe impl Sync for DisjointRows {}

impl DisjointRows {
    pub(crate) fn new(values: &mut [f32], width: usize) -> Self {
        Self { base: values.as_mut_ptr(), width, length: values.len() }
    }

    /// # Safety
    /// No two tasks may ask for one row, and the matrix must outlive the use.
    #[expect(clippy::mut_from_ref, reason = "the contract hands out disjoint rows")]
    pub(crate) unsafe fn row(&self, row: usize) -> &mut [f32] {
        assert!((row + 1) * self.width <= self.length);
        // SAFETY: in bounds by the assertion, and unshared by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(row * self.width), self.width) }
    }
}

/// The plain-tensor form, for any float kind and device: it gathers each row's keys.
pub fn reference(
    q: &Tensor,
    keys: &Tensor,
    latent: i64,
    index: &KeyIndex,
    selection: &Selection,
    scale: f64,
) -> Attended {
    let (slots, valid) = gather_plan(index, selection, q.device());
    let listed = keys.index_select(0, &slots.flatten(0, 1)).view([slots.size()[0], slots.size()[1], -1]);
    let scores =
        (q.matmul(&listed.transpose(1, 2)) * scale).masked_fill(&valid.logical_not().unsqueeze(1), f64::NEG_INFINITY);
    let lse = scores.logsumexp([-1i64].as_slice(), false);
    let out = scores.softmax(-1, scores.kind()).matmul(&listed.narrow(2, 0, latent));
    Attended { out, lse: lse.detach() }
}

/// The slots `[rows, n]` of each row's list (padded with slot 0) and which of them count.
pub(crate) fn gather_plan(index: &KeyIndex, selection: &Selection, device: Device) -> (Tensor, Tensor) {
    let selected = selection.as_ref().map(SelectedRows::new);
    let n = selected.as_ref().map_or(index.most_visible(), |s| s.k);
    let mut slots = vec![0i64; index.rows() * n];
    let mut valid = vec![false; index.rows() * n];
    let (mut row_slots, mut positions) = (Vec::new(), Vec::new());
    for row in 0..index.rows() {
        listed(index, selected.as_ref(), row, &mut row_slots, &mut positions);
        for (j, &slot) in row_slots.iter().enumerate() {
            slots[row * n + j] = i64::from(slot);
            valid[row * n + j] = true;
        }
    }
    let shape = [index.rows() as i64, n as i64];
    (Tensor::from_slice(&slots).view(shape).to_device(device), Tensor::from_slice(&valid).view(shape).to_device(device))
}
