//! The lightning indexer's scores and the exact top-k selection.
//!
//! `I_ts = Σ_j w_tj ReLU(q_tj · k_s)` over the index heads `j` (DeepSeek-V3.2, Eq. 1), with the constants `H_I^−½ d_I^−½` already in
//! `w`. The k best visible positions are kept, of those within the window where the layer has one: larger score first, then the lower
//! position; −0.0 is made +0.0 first, because a negative weight times ReLU's zero gives −0.0, which a comparison of bits would rank lower
//! (INV-3).
//!
//! Scores exist for one row at a time (INV-8), and selection has no gradient: the indexer learns from [`super::indexer_loss`].

use multiversion::multiversion;
use native::parallel_chunks;
use tch::{Kind, Tensor};

use super::cuda;
use super::cuda::indexer::Indexer;
use super::math::dot;
use super::{elsewhere, floats, plain, to_cpu};
use crate::rows::KeyIndex;

const ROWS_PER_TASK: usize = 4;

/// What the indexer computed for the rows of one layer.
#[derive(Debug)]
pub struct IndexerQuery {
    /// `[rows, index heads, index width]`, rotated.
    pub q: Tensor,
    /// `[rows, index heads]`, with all constants.
    pub w: Tensor,
}

/// Selects `k` positions for each row: `[rows, k]` i32 where the scores are computed, ascending, −1 where fewer are visible.
///
/// `keys [slots, index width]` are the rotated index keys, and `window` the most positions that a row sees, itself included. Rows that see at
/// most `k` keys select them all without scoring.
pub fn select(query: &IndexerQuery, keys: &Tensor, index: &KeyIndex, window: Option<usize>, k: usize) -> Tensor {
    let shape = [index.rows() as i64, k as i64];
    if query.q.kind() != Kind::Float {
        return reference_select(query, keys, index, window, k);
    }
    let gpu = cuda::attention::runs(query.q.device(), query.q.size()[2] as usize);
    if gpu {
        let (q, w, keys) = (plain(&query.q), plain(&query.w), plain(keys));
        return cuda::indexer::select(Indexer { q: &q, w: &w, keys: &keys }, index, window, k);
    }
    if elsewhere(&query.q, gpu) {
        let query = IndexerQuery { q: to_cpu(&query.q), w: to_cpu(&query.w) };
        return select(&query, &to_cpu(keys), index, window, k);
    }
    let (q, w, keys) = (plain(&query.q), plain(&query.w), plain(keys));
    let size = q.size();
    let (heads, width) = (size[1] as usize, size[2] as usize);
    let mut selected = vec![-1i32; index.rows() * k];
    {
        let (q, w, keys) = (floats(&q), floats(&w), floats(&keys));
        parallel_chunks(&mut selected, ROWS_PER_TASK * k, |task, out| {
            let (mut scores, mut order) = (Vec::new(), Vec::new());
            for (i, out) in out.chunks_exact_mut(k).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                let seen = index.seen(row, window);
                if seen.len() > k {
                    let (q, w) = (&q[row * heads * width..][..heads * width], &w[row * heads..][..heads]);
                    score_row(q, w, keys, &index.visible(row)[seen.clone()], &mut scores);
                    top_k(&scores, k, &mut order, out);
                    out.iter_mut().for_each(|place| *place += seen.start as i32);
                } else {
                    out.iter_mut().zip(seen).for_each(|(o, p)| *o = p as i32);
                }
            }
        });
    }
    Tensor::from_slice(&selected).view(shape)
}

/// `I_s` of one row over its listed keys.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn score_row(q: &[f32], w: &[f32], keys: &[f32], slots: &[u32], scores: &mut Vec<f32>) {
    let width = q.len() / w.len();
    scores.clear();
    for &slot in slots {
        let key = &keys[slot as usize * width..][..width];
        let mut score = 0.0f32;
        for (h, w) in w.iter().enumerate() {
            score = w.mul_add(dot(&q[h * width..][..width], key).max(0.0), score);
        }
        scores.push(score);
    }
}

/// Writes the positions of the `k` best scores to `out`, ascending. `order` is scratch.
///
/// Scores become 64-bit keys that are all different: the order-preserving bits of the score above, the complement of the position
/// below. So no tie is left for an algorithm to break in its own way.
pub(crate) fn top_k(scores: &[f32], k: usize, order: &mut Vec<u64>, out: &mut [i32]) {
    let k = k.min(scores.len());
    order.clear();
    order.extend(scores.iter().enumerate().map(|(position, &score)| {
        let bits = (score + 0.0).to_bits() as i32;
        let ordered = (bits ^ ((bits >> 31) & i32::MAX)) as u32 ^ 0x8000_0000;
        u64::from(ordered) << 32 | u64::from(u32::MAX - position as u32)
    }));
    if k < order.len() && k > 0 {
        order.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    }
    for (out, key) in out.iter_mut().zip(&order[..k]) {
        *out = (u32::MAX - *key as u32) as i32;
    }
    out[..k].sort_unstable();
}

/// The plain-tensor form of the scores, for any float kind and device: `[rows, n]` over each row's list of keys, −∞ where it has ended.
pub fn reference_scores(query: &IndexerQuery, keys: &Tensor, index: &KeyIndex, window: Option<usize>) -> Tensor {
    let (slots, valid) = super::attention_reference::gather_plan(index, &None, window, query.q.device());
    let keys = keys.index_select(0, &slots.flatten(0, 1)).view([slots.size()[0], slots.size()[1], -1]);
    let hits = query.q.matmul(&keys.transpose(1, 2)).relu();
    let scores = (hits * query.w.unsqueeze(-1)).sum_dim_intlist([1i64].as_slice(), false, query.q.kind());
    scores.masked_fill(&valid.logical_not(), f64::NEG_INFINITY)
}

/// The plain-tensor form of the selection: a stable descending sort, which keeps the lower position first among equals.
pub fn reference_select(
    query: &IndexerQuery,
    keys: &Tensor,
    index: &KeyIndex,
    window: Option<usize>,
    k: usize,
) -> Tensor {
    let scores = tch::no_grad(|| reference_scores(query, keys, index, window) + 0.0);
    let n = scores.size()[1];
    let (sorted, order) = scores.sort_stable(true, -1, true);
    let taken = n.min(k as i64);
    let unseen = sorted.narrow(1, 0, taken).isinf();
    let first: Vec<i64> = (0..index.rows()).map(|row| index.seen(row, window).start as i64).collect();
    let first = Tensor::from_slice(&first).to_device(order.device()).unsqueeze(1);
    let positions = (order.narrow(1, 0, taken) + first).masked_fill(&unseen, i64::MAX);
    let (ascending, _) = positions.sort(-1, false);
    let ascending = ascending.masked_fill(&ascending.eq(i64::MAX), -1);
    ascending.constant_pad_nd([0, k as i64 - taken]).masked_fill(&pad_mask(&ascending, k as i64), -1).to_kind(Kind::Int)
}

/// True in the columns that padding added.
fn pad_mask(taken: &Tensor, k: i64) -> Tensor {
    Tensor::arange(k, (Kind::Int64, taken.device())).ge(taken.size()[1]).unsqueeze(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(scores: &[f32], k: usize) -> Vec<i32> {
        let mut out = vec![-1; k];
        top_k(scores, k, &mut Vec::new(), &mut out);
        out
    }

    #[test]
    fn inv_3_ties_go_to_the_lower_position_and_minus_zero_is_zero() {
        assert_eq!(top(&[0.0; 6], 3), [0, 1, 2]);
        assert_eq!(top(&[-0.0, 0.0, -0.0, 0.0], 2), [0, 1]);
        assert_eq!(top(&[1.0, -1.0, 3.0, 3.0, 2.0], 2), [2, 3]);
        assert_eq!(top(&[-5.0, -1.0, -3.0], 2), [1, 2]);
        assert_eq!(top(&[1.0], 3), [0, -1, -1]);
    }

    #[test]
    fn inv_3_selection_agrees_with_a_stable_sort() {
        let mut rng = data::CounterRng::new(1, "top-k");
        for _ in 0..500 {
            let n = rng.range(1, 60) as usize;
            let k = rng.range(1, 40) as usize;
            // Few distinct values, so that ties are the rule.
            let scores: Vec<f32> = (0..n).map(|_| [0.0, -0.0, 1.0, -1.0, 0.5][rng.range(0, 4) as usize]).collect();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).expect("finite"));
            let mut expected: Vec<i32> = order[..k.min(n)].iter().map(|&p| p as i32).collect();
            expected.sort_unstable();
            expected.resize(k, -1);
            assert_eq!(top(&scores, k), expected);
        }
    }
}
