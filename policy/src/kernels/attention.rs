//! Attention of each row over its own list of keys: all visible ones (dense) or the selected ones (sparse).
//!
//! `s_hj = α q_h · k_gj`, `p_h = softmax_j(s_h)`, `o_h = Σ_j p_hj v_gj`, over `j` in the row's list, ascending by position, where `g` is
//! the key head that query head `h` shares. [`Geometry`] says where `k` and `v` lie in a position's row of keys: in MLA's absorbed form
//! one vector `[c_s | k^R_s]`, the normalised latent and the rotated part, serves all heads and the latent is the value
//! (DeepSeek-V3.2); in grouped-query attention the key heads lie one after the other, then the value heads.
//!
//! Dense is the list of all visible positions, so selecting every key reproduces it bit for bit (INV-3).
//!
//! Backward, with `δ_h = g_h · o_h`: `ds_hj = p_hj (g_h · v_j − δ_h)`, `dq_h = α Σ_j ds_hj k_j`, `dk_j = Σ_rows,h α ds_hj q_h`,
//! `dv_j += p_hj g_h`. Probabilities are recomputed from the log-sum-exp, never stored (INV-8).

use std::ops::Range;
use std::sync::Arc;

use multiversion::multiversion;
use native::{custom_op, parallel_chunks, parallel_for, wants_grad};
use tch::{Device, Kind, Tensor};

use super::cuda;
use super::cuda::attention::Call;
use super::math::{add_scaled, dot, exp_shifted, fetch, ln, max, sum};
use super::{elsewhere, empty, floats, floats_mut, plain, to_cpu};
use crate::rows::KeyIndex;

pub use super::attention_reference::reference;

/// Rows that one task takes. Later rows of a sequence cost more, so tasks are small.
const ROWS_PER_TASK: usize = 4;
/// Elements of a value that are mixed in registers: four of AVX-512's.
const MIXED_AT_ONCE: usize = 64;
/// Keys that are asked for before they are needed: those of a cache lie wherever there was a page.
const FETCHED_AHEAD: usize = 16;

/// The selected positions of each row: `[rows, k]` i32, ascending, −1 last. `None` selects every visible position.
pub type Selection = Option<Tensor>;

/// Attention's result.
#[derive(Debug)]
pub struct Attended {
    /// `[rows, heads, value]`: the mixed values.
    pub out: Tensor,
    /// `[rows, heads]`: `log Σ_j e^{s_hj}`, without history.
    pub lse: Tensor,
}

/// Where keys and values lie in one position's row of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Key heads, each shared by as many neighbouring query heads; they lie one after the other from the row's start.
    pub key_heads: usize,
    /// Width of a key.
    pub key: usize,
    /// Width of a value.
    pub value: usize,
    /// Where the first value lies; the others follow it.
    pub value_at: usize,
    /// Width of the row.
    pub row: usize,
    /// Positions that a row sees at most, itself included, where nothing is selected; `None` for all.
    pub window: Option<usize>,
}

impl Geometry {
    /// One key for all heads, whose first `latent` elements are the value.
    pub fn latent(key: i64, latent: i64) -> Self {
        let (key, value) = (key as usize, latent as usize);
        Self { key_heads: 1, key, value, value_at: 0, row: key, window: None }
    }

    /// Keys of `heads` heads, then their values.
    pub fn grouped(heads: i64, width: i64) -> Self {
        let (heads, width) = (heads as usize, width as usize);
        Self {
            key_heads: heads,
            key: width,
            value: width,
            value_at: heads * width,
            row: 2 * heads * width,
            window: None,
        }
    }

    /// The widest vector that is multiplied with queries or gradients.
    pub(crate) fn widest(&self) -> usize {
        self.key.max(self.value)
    }
}

/// The sizes of one attention call.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    keys: Geometry,
    scale: f32,
}

impl Shape {
    /// The key head that a query head shares.
    #[inline(always)]
    fn key_head(self, head: usize) -> usize {
        head * self.keys.key_heads / self.heads
    }

    /// The value that a query head mixes, in a position's row of keys.
    #[inline(always)]
    fn value(self, head: usize) -> Range<usize> {
        let at = self.keys.value_at + self.key_head(head) * self.keys.value;
        at..at + self.keys.value
    }
}

/// Attends from `q [rows, heads, key]` to `keys [slots, row]`, which lie as `geometry` says.
///
/// # Panics
/// If shapes, geometry and index disagree: a caller's bug.
pub fn attention(
    q: &Tensor,
    keys: &Tensor,
    geometry: Geometry,
    index: &Arc<KeyIndex>,
    selection: &Selection,
    scale: f64,
) -> Attended {
    let size = q.size();
    assert_eq!(size[0] as usize, index.rows(), "one query row for each row of the index");
    assert_eq!(size[1] as usize % geometry.key_heads, 0, "every key head is shared by as many query heads");
    assert_eq!(
        (size[2] as usize, keys.size()[1] as usize),
        (geometry.key, geometry.row),
        "queries and keys are as wide as the geometry says"
    );
    if q.kind() != Kind::Float {
        return reference(q, keys, geometry, index, selection, scale);
    }
    let gpu = cuda::attention::runs(q.device(), geometry.widest());
    if elsewhere(q, gpu) {
        let attended = attention(&to_cpu(q), &to_cpu(keys), geometry, index, selection, scale);
        return Attended { out: attended.out.to_device(q.device()), lse: attended.lse };
    }
    if gpu {
        return attention_on_gpu(q, keys, geometry, index, selection, scale as f32);
    }
    let shape = Shape { heads: size[1] as usize, keys: geometry, scale: scale as f32 };
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

/// As [`attention`], on a GPU.
fn attention_on_gpu(
    q: &Tensor,
    keys: &Tensor,
    geometry: Geometry,
    index: &Arc<KeyIndex>,
    selection: &Selection,
    scale: f32,
) -> Attended {
    let heads = q.size()[1] as usize;
    let (q_plain, keys_plain) = (plain(q), plain(keys));
    let selection = selection.as_ref().map(|selection| plain(&selection.to_device(q.device()).to_kind(Kind::Int)));
    let call = Call { index, selection: selection.as_ref(), heads, geometry, scale };
    let (out, lse) = cuda::attention::forward(&q_plain, &keys_plain, call);
    if !wants_grad(&[q, keys]) {
        return Attended { out, lse };
    }
    let (index, out_plain, lse_plain) = (Arc::clone(index), out.shallow_clone(), lse.shallow_clone());
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let saved = cuda::attention::Saved { q: &q_plain, keys: &keys_plain, out: &out_plain, lse: &lse_plain };
        let call = Call { index: &index, selection: selection.as_ref(), heads, geometry, scale };
        let (dq, dkeys) = cuda::attention::backward(&saved, &plain(g), call);
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

    /// Positions that a row has room for.
    pub(super) fn width(&self) -> usize {
        self.k
    }

    /// The positions of one row, without the padding.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        self.positions[row * self.k..][..self.k].iter().take_while(|&&p| p >= 0).map(|&p| p as usize)
    }
}

/// The slots, and the positions, of the keys in a row's list: the selected ones, or the visible ones in its window.
pub(crate) fn listed(
    index: &KeyIndex,
    selected: Option<&SelectedRows>,
    window: Option<usize>,
    row: usize,
    slots: &mut Vec<u32>,
    positions: &mut Vec<u32>,
) {
    let visible = index.visible(row);
    slots.clear();
    positions.clear();
    match selected {
        None => {
            let seen = index.seen(row, window);
            slots.extend_from_slice(&visible[seen.clone()]);
            positions.extend(seen.map(|position| position as u32));
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
    let (rows, h, key, l) = (index.rows(), shape.heads, shape.keys.key, shape.keys.value);
    // The mixed values and the log-sum-exp of a row side by side, so that one task writes one range.
    let mut joint = empty(&[rows as i64, (h * l + h) as i64]);
    let width = h * l + h;
    {
        let (q, keys) = (floats(q), floats(keys));
        parallel_chunks(floats_mut(&mut joint), ROWS_PER_TASK * width, |task, out| {
            let (mut slots, mut positions, mut scores) = (Vec::new(), Vec::new(), Vec::new());
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                listed(index, selected, shape.keys.window, row, &mut slots, &mut positions);
                let (mixed, lse) = out.split_at_mut(h * l);
                forward_row(&q[row * h * key..][..h * key], keys, &slots, shape, &mut scores, mixed, lse);
            }
        });
    }
    let out = joint.narrow(1, 0, (h * l) as i64).contiguous().view([rows as i64, h as i64, l as i64]);
    (out, joint.narrow(1, (h * l) as i64, h as i64).contiguous())
}

/// Scores of every head against every listed key: `scores[h][j] = scale · q_h · k_gj`.
#[inline(always)]
pub(crate) fn score(
    q: &[f32],
    keys: &[f32],
    slots: &[u32],
    heads: usize,
    geometry: Geometry,
    scale: f32,
    scores: &mut Vec<f32>,
) {
    let (n, key, shared) = (slots.len(), geometry.key, heads / geometry.key_heads);
    scores.clear();
    scores.resize(heads * n, 0.0);
    let row = |slot: u32| &keys[slot as usize * geometry.row..][..geometry.row];
    slots.iter().take(FETCHED_AHEAD).for_each(|&slot| fetch(row(slot)));
    for (j, &slot) in slots.iter().enumerate() {
        if let Some(&ahead) = slots.get(j + FETCHED_AHEAD) {
            fetch(row(ahead));
        }
        for (g, k) in row(slot)[..geometry.key_heads * key].chunks_exact(key).enumerate() {
            for h in g * shared..(g + 1) * shared {
                scores[h * n + j] = scale * dot(&q[h * key..][..key], k);
            }
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
    let Shape { heads, keys: geometry, scale } = shape;
    let (n, width) = (slots.len(), geometry.value);
    score(q, keys, slots, heads, geometry, scale, scores);
    for (h, lse) in lse.iter_mut().enumerate() {
        let scores = &mut scores[h * n..][..n];
        let most = max(scores);
        exp_shifted(scores, most);
        let total = sum(scores);
        *lse = most + ln(total);
        let inverse = 1.0 / total;
        scores.iter_mut().for_each(|p| *p *= inverse);
    }
    // A part of the values of all keys after the other, so that it stays in the cache for all heads.
    for part in (0..width).step_by(MIXED_AT_ONCE) {
        for h in 0..heads {
            let (p, value) = (&scores[h * n..][..n], shape.value(h).start);
            let end = width.min(part + MIXED_AT_ONCE);
            mix(p, keys, slots, geometry.row, value + part, &mut out[h * width..][part..end]);
        }
    }
}

/// `out = Σ_j p_j v_j`, in the order of `j`, for elements from `at` on of each listed row of keys.
#[inline(always)]
fn mix(p: &[f32], keys: &[f32], slots: &[u32], row: usize, at: usize, out: &mut [f32]) {
    if let Ok(out) = <&mut [f32; MIXED_AT_ONCE]>::try_from(&mut *out) {
        // Of a known width the sums live in registers.
        let mut sums = [0.0f32; MIXED_AT_ONCE];
        for (p, &slot) in p.iter().zip(slots) {
            let v = keys[slot as usize * row + at..].first_chunk::<MIXED_AT_ONCE>().expect("a row holds its values");
            for l in 0..MIXED_AT_ONCE {
                sums[l] = p.mul_add(v[l], sums[l]);
            }
        }
        *out = sums;
        return;
    }
    out.fill(0.0);
    for (p, &slot) in p.iter().zip(slots) {
        add_scaled(out, *p, &keys[slot as usize * row + at..][..out.len()]);
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
    let Geometry { key, value, row: width, window, .. } = shape.keys;
    let h = shape.heads;
    let mut dq = empty(&saved.q.size());
    let mut dkeys = Tensor::zeros(saved.keys.size(), (Kind::Float, Device::Cpu));
    let chunks = index.chunks();
    let partials: Vec<KeyPartial> = chunks.iter().map(|c| KeyPartial::new(c.keys * width)).collect();
    {
        let (q, keys, out, lse, g) =
            (floats(&saved.q), floats(&saved.keys), floats(&saved.out), floats(&saved.lse), floats(g));
        let dq = DisjointRows::new(floats_mut(&mut dq), h * key);
        parallel_for(chunks.len(), |c| {
            let mut dk = vec![0.0f32; chunks[c].keys * width];
            let (mut slots, mut positions, mut scores) = (Vec::new(), Vec::new(), Vec::new());
            for row in chunks[c].rows.clone() {
                listed(index, selected, window, row, &mut slots, &mut positions);
                let row_q = &q[row * h * key..][..h * key];
                let row_g = &g[row * h * value..][..h * value];
                let row_out = &out[row * h * value..][..h * value];
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
        partial.add_to(sums, &index.slots[chunk.sequence], width);
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
    let Shape { heads, keys: geometry, scale } = shape;
    let Geometry { key, value: width, row, .. } = geometry;
    let n = list.slots.len();
    score(t.q, t.keys, list.slots, heads, geometry, scale, scores);
    for h in 0..heads {
        exp_shifted(&mut scores[h * n..][..n], t.lse[h]);
    }
    dq.fill(0.0);
    for h in 0..heads {
        let (g, q) = (&t.g[h * width..][..width], &t.q[h * key..][..key]);
        let dq = &mut dq[h * key..][..key];
        let delta = dot(g, &t.out[h * width..][..width]);
        let (key_at, value) = (shape.key_head(h) * key, shape.value(h));
        for (j, (&slot, &position)) in list.slots.iter().zip(list.positions).enumerate() {
            let keys = &t.keys[slot as usize * row..][..row];
            let dk = &mut dk[position as usize * row..][..row];
            let p = scores[h * n + j];
            let ds = scale * p * (dot(g, &keys[value.clone()]) - delta);
            add_scaled(dq, ds, &keys[key_at..][..key]);
            add_scaled(&mut dk[key_at..][..key], ds, q);
            add_scaled(&mut dk[value.clone()], p, g);
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
