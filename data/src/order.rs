//! The order in which rows are used: every epoch is a shuffle of its own, a function of the seed and a position, so that a
//! resumed run goes on where it stopped (INV-4).
//!
//! Rows that fit into one window are shuffled as one. Larger data is shuffled by blocks, and then within windows of blocks:
//!
//! ```text
//! blocks of the files   [0][1][2][3][4][5]
//! shuffled              [4][1][5][0][3][2]
//! windows               [4  1  5][0  3  2]      the rows of a window are shuffled among each other
//! ```
//!
//! so that rows are read block by block, and at most a window of them is in memory.

use crate::CounterRng;

/// Bytes of files in a window.
pub const WINDOW_BYTES: u64 = 256 << 20;

/// Rows that stand together in a file.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: u64,
    rows: u64,
    bytes: u64,
}

/// The order of one set of rows.
#[derive(Debug)]
pub struct WindowOrder {
    blocks: Vec<Block>,
    window_bytes: u64,
    seed: u64,
    name: String,
    total: u64,
    epoch: Option<Epoch>,
}

/// An epoch that was asked for.
#[derive(Debug)]
struct Epoch {
    number: u64,
    /// Each window: the position where it begins, and its blocks.
    windows: Vec<(u64, Vec<usize>)>,
    /// The window that was asked for last, and the row at each of its positions.
    window: Option<(usize, Vec<u64>)>,
}

impl WindowOrder {
    /// The order called `name` of blocks of (rows, bytes).
    pub fn new(blocks: impl IntoIterator<Item = (u64, u64)>, window_bytes: u64, seed: u64, name: &str) -> Self {
        let mut total = 0;
        let blocks = blocks.into_iter().map(|(rows, bytes)| {
            total += rows;
            Block { first: total - rows, rows, bytes }
        });
        let blocks = blocks.collect();
        Self { blocks, window_bytes, seed, name: name.to_owned(), total, epoch: None }
    }

    /// Rows in an epoch.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The row at position `i`, counted over all epochs.
    ///
    /// # Panics
    /// If there is no row at all.
    pub fn at(&mut self, i: u64) -> u64 {
        let (number, position) = (i / self.total, i % self.total);
        if self.epoch.as_ref().is_none_or(|epoch| epoch.number != number) {
            self.epoch = Some(Epoch { number, windows: self.windows(number), window: None });
        }
        let epoch = self.epoch.as_ref().expect("made above");
        let window = epoch.windows.partition_point(|(start, _)| *start <= position) - 1;
        let start = epoch.windows[window].0;
        if epoch.window.as_ref().is_none_or(|(last, _)| *last != window) {
            let rows = self.rows_of(epoch, window);
            self.epoch.as_mut().expect("made above").window = Some((window, rows));
        }
        let (_, rows) = self.epoch.as_ref().and_then(|epoch| epoch.window.as_ref()).expect("made above");
        rows[(position - start) as usize]
    }

    fn windows(&self, epoch: u64) -> Vec<(u64, Vec<usize>)> {
        let mut order: Vec<usize> = (0..self.blocks.len()).filter(|&b| self.blocks[b].rows > 0).collect();
        if order.iter().map(|&b| self.blocks[b].bytes).sum::<u64>() <= self.window_bytes {
            return vec![(0, order)];
        }
        CounterRng::new(self.seed, &format!("{}/{epoch}/blocks", self.name)).shuffle(&mut order);
        let mut windows: Vec<(u64, Vec<usize>)> = Vec::new();
        let (mut start, mut bytes) = (0, u64::MAX);
        for b in order {
            bytes = bytes.saturating_add(self.blocks[b].bytes);
            if bytes > self.window_bytes {
                windows.push((start, Vec::new()));
                bytes = self.blocks[b].bytes;
            }
            windows.last_mut().expect("the first block opens one").1.push(b);
            start += self.blocks[b].rows;
        }
        windows
    }

    fn rows_of(&self, epoch: &Epoch, window: usize) -> Vec<u64> {
        let blocks = epoch.windows[window].1.iter().map(|&b| self.blocks[b]);
        let mut rows: Vec<u64> = blocks.flat_map(|block| block.first..block.first + block.rows).collect();
        let name = match epoch.windows.len() {
            1 => format!("{}/{}", self.name, epoch.number),
            _ => format!("{}/{}/{window}", self.name, epoch.number),
        };
        CounterRng::new(self.seed, &name).shuffle(&mut rows);
        rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn inv_4_every_epoch_has_every_row_once_and_a_resumed_order_is_the_undisturbed_one(
            blocks in prop::collection::vec((0u64..9, 0u64..5), 1..12), window in 1u64..20, seed: u64, from in 0u64..200,
        ) {
            prop_assume!(blocks.iter().any(|(rows, _)| *rows > 0));
            let order = || WindowOrder::new(blocks.clone(), window, seed, "o");
            let mut whole = order();
            let total = whole.total();
            let all: Vec<u64> = (0..3 * total).map(|i| whole.at(i)).collect();
            for epoch in all.chunks(total as usize) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..total).collect::<Vec<_>>());
            }
            let mut resumed = order();
            let from = from % (3 * total);
            prop_assert_eq!((from..3 * total).map(|i| resumed.at(i)).collect::<Vec<_>>(), &all[from as usize..]);
        }
    }

    #[test]
    fn a_window_takes_whole_blocks_up_to_its_bytes() {
        let mut order = WindowOrder::new((0..10).map(|_| (100, 10)), 30, 1, "o");
        for window in 0..3 {
            let rows: Vec<u64> = (window * 300..(window + 1) * 300).map(|i| order.at(i)).collect();
            let blocks: std::collections::BTreeSet<u64> = rows.iter().map(|row| row / 100).collect();
            assert_eq!(blocks.len(), 3, "of three blocks");
            assert!(rows.windows(2).any(|pair| pair[0] / 100 != pair[1] / 100 && pair[1] < pair[0]), "mixed");
        }
    }
}
