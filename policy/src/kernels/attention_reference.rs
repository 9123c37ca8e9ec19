//! Attention in plain tensors: slow, plainly the formula, for any float kind and device. Tests hold the kernel to it.

use tch::{Device, Tensor};

use super::attention::{Attended, Geometry, SelectedRows, Selection, listed};
use crate::rows::KeyIndex;

/// The plain-tensor form, for any float kind and device: it gathers each row's keys.
pub fn reference(
    q: &Tensor,
    keys: &Tensor,
    geometry: Geometry,
    index: &KeyIndex,
    selection: &Selection,
    scale: f64,
) -> Attended {
    let (slots, valid) = gather_plan(index, selection, geometry.window, q.device());
    let scores = reference_scores(q, keys, geometry, &slots, scale);
    let scores = scores.masked_fill(&valid.logical_not().unsqueeze(1), f64::NEG_INFINITY);
    let lse = scores.logsumexp([-1i64].as_slice(), false);
    let Geometry { key_heads, value, value_at, .. } = geometry;
    let p = scores.softmax(-1, scores.kind()).view([q.size()[0], key_heads as i64, -1, slots.size()[1]]);
    let out = p.matmul(&heads_of(keys, &slots, value_at, key_heads, value)).flatten(1, 2);
    Attended { out, lse: lse.detach() }
}

/// `[rows, heads, n]`: the scaled scores against the keys at `slots [rows, n]`, in plain tensors.
pub(crate) fn reference_scores(q: &Tensor, keys: &Tensor, geometry: Geometry, slots: &Tensor, scale: f64) -> Tensor {
    let Geometry { key_heads, key, .. } = geometry;
    let k = heads_of(keys, slots, 0, key_heads, key);
    let q = q.view([q.size()[0], key_heads as i64, -1, key as i64]);
    q.matmul(&k.transpose(2, 3)).flatten(1, 2) * scale
}

/// `[rows, heads, n, width]`: what lies in `heads` neighbouring pieces from `at` on, of the keys at `slots [rows, n]`.
fn heads_of(keys: &Tensor, slots: &Tensor, at: usize, heads: usize, width: usize) -> Tensor {
    let pieces = keys.narrow(1, at as i64, (heads * width) as i64).index_select(0, &slots.flatten(0, 1));
    pieces.view([slots.size()[0], slots.size()[1], heads as i64, width as i64]).transpose(1, 2)
}

/// The slots `[rows, n]` of each row's list (padded with slot 0) and which of them count.
pub(crate) fn gather_plan(
    index: &KeyIndex,
    selection: &Selection,
    window: Option<usize>,
    device: Device,
) -> (Tensor, Tensor) {
    let selected = selection.as_ref().map(SelectedRows::new);
    let n = selected.as_ref().map_or(index.most_visible(), |s| s.width());
    let mut slots = vec![0i64; index.rows() * n];
    let mut valid = vec![false; index.rows() * n];
    let (mut row_slots, mut positions) = (Vec::new(), Vec::new());
    for row in 0..index.rows() {
        listed(index, selected.as_ref(), window, row, &mut row_slots, &mut positions);
        for (j, &slot) in row_slots.iter().enumerate() {
            slots[row * n + j] = i64::from(slot);
            valid[row * n + j] = true;
        }
    }
    let shape = [index.rows() as i64, n as i64];
    (Tensor::from_slice(&slots).view(shape).to_device(device), Tensor::from_slice(&valid).view(shape).to_device(device))
}
