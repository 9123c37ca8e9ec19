//! Rows: the unit that the forward works on. A row is one token with its position, its sequence and the keys that it may see.

use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Tensor};

use crate::kernels::cuda::Layouts;

/// Query rows of one sequence that add into the gradient of that sequence's keys as one partial sum; a sequence longer than
/// [`MAX_CHUNKS`] such chunks takes longer chunks instead, so that the partial sums stay few.
const CHUNK_ROWS: usize = 64;
const MAX_CHUNKS: usize = 16;

/// Which keys each row sees.
///
/// Keys live as rows of one matrix per layer, each at a *slot*. A row of sequence `s` at position `t` sees positions `0 ..= t` of `s`
/// (causal attention), which lie at `slots[s][0 ..= t]`. The same structure serves a paged cache, whose slots are scattered, and a
/// training batch, whose slots are the rows themselves.
#[derive(Debug, Clone, Default)]
pub struct KeyIndex {
    /// For each row, its sequence: an index into `slots`.
    pub sequence: Vec<u32>,
    /// For each row, its position in the sequence; it sees `position + 1` keys.
    pub position: Vec<u32>,
    /// For each sequence, the slot of each of its positions so far.
    pub slots: Vec<Vec<u32>>,
    /// What kernels on a GPU made of it: it must not change after the first forward.
    pub(crate) layouts: Layouts,
}

impl KeyIndex {
    /// The index of rows of these sequences and positions.
    pub fn new(sequence: Vec<u32>, position: Vec<u32>, slots: Vec<Vec<u32>>) -> Self {
        Self { sequence, position, slots, layouts: Layouts::default() }
    }

    /// The index of sequences laid one after the other, each from position 0: the layout of learning, where row `i` is slot `i`.
    pub fn packed(lengths: &[usize]) -> Self {
        let mut index = Self::default();
        let mut start = 0u32;
        for (s, &length) in lengths.iter().enumerate() {
            let length = length as u32;
            index.sequence.extend(std::iter::repeat_n(s as u32, length as usize));
            index.position.extend(0..length);
            index.slots.push((start..start + length).collect());
            start += length;
        }
        index
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.sequence.len()
    }

    /// The slots of all keys that row `row` sees, by position.
    pub fn visible(&self, row: usize) -> &[u32] {
        &self.slots[self.sequence[row] as usize][..=self.position[row] as usize]
    }

    /// The positions that row `row` sees where it sees at most `window` of them, itself included.
    pub fn seen(&self, row: usize, window: Option<usize>) -> Range<usize> {
        let all = self.position[row] as usize + 1;
        window.map_or(0, |window| all.saturating_sub(window))..all
    }

    /// The slot of each row itself, `[rows]` i64 on the device, uploaded once.
    pub(crate) fn own_slots(&self, device: Device) -> Tensor {
        self.layouts.own_slots(device, || {
            (0..self.rows()).map(|row| i64::from(*self.visible(row).last().expect("a row sees itself"))).collect()
        })
    }

    /// The most keys that any row sees.
    pub fn most_visible(&self) -> usize {
        self.position.iter().map(|&p| p as usize + 1).max().unwrap_or(0)
    }

    /// Cuts the rows into chunks of one sequence each. The bounds depend on the sequence's own rows alone, so a sum over chunks, in
    /// order, does not depend on the batch or the number of threads (INV-7).
    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < self.rows() {
            let sequence = self.sequence[start];
            let length = self.sequence[start..].iter().take_while(|&&s| s == sequence).count();
            let step = CHUNK_ROWS.max(length.div_ceil(MAX_CHUNKS));
            for at in (start..start + length).step_by(step) {
                let rows = at..(at + step).min(start + length);
                let keys = rows.clone().map(|r| self.position[r] as usize + 1).max().unwrap_or(0);
                chunks.push(Chunk { sequence: sequence as usize, rows, keys });
            }
            start += length;
        }
        chunks
    }
}

/// Consecutive rows of one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// Index into [`KeyIndex::slots`].
    pub sequence: usize,
    /// The rows.
    pub rows: Range<usize>,
    /// How many of the sequence's first positions any of the rows sees.
    pub keys: usize,
}

/// What one forward is asked to compute: tokens, and where their keys are.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Token ids.
    pub tokens: Vec<i64>,
    /// Their sequences, positions and visible keys.
    pub index: Arc<KeyIndex>,
}

impl Rows {
    /// Whole sequences, one after the other.
    pub fn packed(sequences: &[&[u32]]) -> Self {
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
        let tokens = sequences.iter().flat_map(|s| s.iter().map(|&t| i64::from(t))).collect();
        Self { tokens, index: Arc::new(KeyIndex::packed(&lengths)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_7_chunk_bounds_depend_on_the_sequence_alone() {
        let alone = KeyIndex::packed(&[150]).chunks();
        let among = KeyIndex::packed(&[7, 150, 3]).chunks();
        let shifted: Vec<_> =
            among.iter().filter(|c| c.sequence == 1).map(|c| (c.rows.start - 7, c.rows.end - 7)).collect();
        assert_eq!(alone.iter().map(|c| (c.rows.start, c.rows.end)).collect::<Vec<_>>(), shifted);
        assert_eq!(alone.len(), 3);
        assert!(KeyIndex::packed(&[100_000]).chunks().len() <= MAX_CHUNKS);
    }
}
