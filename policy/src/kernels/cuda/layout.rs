//! How the rows of a forward are cut for attention and the indexer on a GPU: jobs of rows that share a list of keys, blocks of rows whose
//! scores exist at a time (INV-8), and the segments of sequences in each block for the gradients of keys.
//!
//! What it holds depends on the index alone, so it is made once a forward and kept with the index ([`Layouts`]). None of it shows in a bit.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use tch::{Device, Tensor};

use crate::rows::{Chunk, KeyIndex};

/// Query vectors of a tile, for jobs of many and for jobs of few: those of the kernels.
pub(super) const MANY: usize = 32;
pub(super) const FEW: usize = 8;
/// Scores of a vector begin at multiples of so many.
const ALIGNED: usize = 32;
/// Rows of a block at most: a grid's second dimension has room for so many jobs.
const MOST_ROWS: usize = 32_768;
/// Bytes of scores and what is made of them that exist at a time.
const SCRATCH: usize = 512 << 20;
/// The same in emulation, so that small cases take several blocks.
const SCRATCH_EMULATED: usize = 100_000;

/// What a layout is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Query heads that share a key head.
    pub shared: usize,
    /// Floats that a row and a key of its list need.
    pub floats: usize,
    /// Positions that a row sees at most, itself included.
    pub window: Option<usize>,
    /// Positions that are selected for a row at most; rows have lists of their own then.
    pub selected: Option<usize>,
}

/// Rows whose scores exist at a time.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The rows.
    pub rows: Range<usize>,
    /// Their jobs.
    pub jobs: Range<usize>,
    /// Their segments.
    pub segments: Range<usize>,
    /// From one vector's scores to the next one's.
    pub stride: usize,
    /// The same, where scores lie by position instead of by place in the list.
    pub by_position: usize,
    /// The longest list of a job, counted from its first element.
    pub longest: usize,
}

/// The cut of one index.
#[derive(Debug)]
pub(super) struct Layout {
    /// Vectors of a tile.
    pub vectors: usize,
    /// `[rows, 6]` i32: `Row` of the kernels, for lists of all keys.
    pub rows: Tensor,
    /// The slots of all sequences, one after the other.
    pub slots: Tensor,
    /// `[jobs, 4]` i32: `Job` of the kernels.
    pub jobs: Tensor,
    /// `[segments, 8]` i32: `Segment` of the kernels.
    pub segments: Tensor,
    /// The blocks, in order.
    pub blocks: Arc<Vec<Block>>,
    /// No slot belongs to two sequences, so that their gradients may be written at once.
    pub apart: bool,
    /// A block ends within a chunk of rows whose gradients are one sum.
    pub cuts_chunks: bool,
}

/// What was made of an index on its devices. A copy of an index has nothing yet.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    cuts: Mutex<Vec<(Device, Wanted, Layout)>>,
    own_slots: Mutex<Option<Tensor>>,
}

impl Layouts {
    /// The slots of the rows themselves, which `list` lists the first time.
    pub fn own_slots(&self, device: Device, list: impl FnOnce() -> Vec<i64>) -> Tensor {
        let mut slots = self.own_slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match slots.as_ref().filter(|slots| slots.device() == device) {
            Some(slots) => slots.shallow_clone(),
            None => slots.insert(Tensor::from_slice(&list()).to_device(device)).shallow_clone(),
        }
    }
}

impl Clone for Layouts {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Layout {
    /// The layout of `index`, kept with it.
    pub fn of(index: &KeyIndex, device: Device, wanted: Wanted) -> Self {
        let mut layouts = index.layouts.cuts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((.., layout)) = layouts.iter().find(|(on, what, _)| (*on, *what) == (device, wanted)) {
            return layout.shallow_clone();
        }
        let layout = Self::new(index, device, wanted);
        layouts.push((device, wanted, layout.shallow_clone()));
        layout
    }

    fn shallow_clone(&self) -> Self {
        Self {
            vectors: self.vectors,
            rows: self.rows.shallow_clone(),
            slots: self.slots.shallow_clone(),
            jobs: self.jobs.shallow_clone(),
            segments: self.segments.shallow_clone(),
            blocks: Arc::clone(&self.blocks),
            ..*self
        }
    }

    fn new(index: &KeyIndex, device: Device, wanted: Wanted) -> Self {
        let chunks = index.chunks();
        let longest_run = chunks.iter().map(|chunk| chunk.rows.len()).max().unwrap_or(0);
        let neighbours = if wanted.selected.is_some() { 1 } else { longest_run };
        let vectors = if neighbours * wanted.shared <= FEW { FEW } else { MANY };
        let mut cut = Cut {
            index,
            wanted,
            per_job: if wanted.selected.is_some() { 1 } else { (vectors / wanted.shared).max(1) },
            scratch: if device == Device::Cpu { SCRATCH_EMULATED } else { SCRATCH },
            rows: Vec::new(),
            jobs: Vec::new(),
            blocks: Vec::new(),
        };
        cut.run();
        let (starts, slots) = all_slots(index);
        let mut segments = Vec::new();
        let cuts_chunks = cut_segments(&mut cut.blocks, &runs(&chunks), index, &starts, &mut segments);
        cut.rows.iter_mut().enumerate().for_each(|(row, found)| found[0] = starts[index.sequence[row] as usize]);
        Self {
            vectors,
            rows: upload(&cut.rows, device),
            apart: apart(&slots),
            slots: Tensor::from_slice(&slots).to_device(device),
            jobs: upload(&cut.jobs, device),
            segments: upload(&segments, device),
            blocks: Arc::new(cut.blocks),
            cuts_chunks,
        }
    }
}

fn upload<const N: usize>(list: &[[i32; N]], device: Device) -> Tensor {
    Tensor::from_slice(list.as_flattened()).view([list.len() as i64, N as i64]).to_device(device)
}

/// Where each sequence's slots begin, and all slots.
fn all_slots(index: &KeyIndex) -> (Vec<i32>, Vec<i32>) {
    let (mut starts, mut slots) = (Vec::new(), Vec::new());
    for of_sequence in &index.slots {
        starts.push(slots.len() as i32);
        slots.extend(of_sequence.iter().map(|&slot| i32::try_from(slot).expect("a slot fits an int")));
    }
    (starts, slots)
}

fn apart(slots: &[i32]) -> bool {
    let mut seen = vec![false; slots.iter().max().map_or(0, |&most| most as usize + 1)];
    slots.iter().all(|&slot| !std::mem::replace(&mut seen[slot as usize], true))
}

/// The cut on its way.
struct Cut<'a> {
    index: &'a KeyIndex,
    wanted: Wanted,
    per_job: usize,
    scratch: usize,
    rows: Vec<[i32; 6]>,
    jobs: Vec<[i32; 4]>,
    blocks: Vec<Block>,
}

impl Cut<'_> {
    /// Blocks first, which are by the rows' lists alone: two kinds of heads with the same lists have the same blocks. Then jobs in each.
    fn run(&mut self) {
        (0..self.index.rows()).for_each(|row| self.add_to_block(row));
        for number in 0..self.blocks.len() {
            let rows = self.blocks[number].rows.clone();
            let (first, mut row, mut longest) = (self.jobs.len(), rows.start, 0);
            while row < rows.end {
                let end = self.job_end(row, rows.end);
                longest = longest.max(self.job(row..end));
                row = end;
            }
            let block = &mut self.blocks[number];
            (block.jobs, block.longest) = (first..self.jobs.len(), longest);
        }
    }

    fn seen(&self, row: usize) -> usize {
        self.index.position[row] as usize + 1
    }

    /// Puts a row into the last block, or into a new one where that has no room for it.
    fn add_to_block(&mut self, row: usize) {
        let seen = self.seen(row);
        let stride = self.wanted.selected.map_or(seen, |k| seen.min(k)).next_multiple_of(ALIGNED);
        let by_position = seen.next_multiple_of(ALIGNED);
        let fits = |block: &Block| {
            let spread = if self.wanted.selected.is_some() { block.by_position.max(by_position) } else { 0 };
            let per_row = 4 * self.wanted.floats * (block.stride.max(stride) + spread);
            let count = row + 1 - block.rows.start;
            count <= MOST_ROWS && count * per_row <= self.scratch
        };
        if !self.blocks.last().is_some_and(fits) {
            let rows = row..row;
            self.blocks.push(Block { rows, jobs: 0..0, segments: 0..0, stride, by_position, longest: 0 });
        }
        let block = self.blocks.last_mut().expect("one was pushed");
        block.rows.end = row + 1;
        block.stride = block.stride.max(stride);
        block.by_position = block.by_position.max(by_position);
    }

    /// Where the job that begins with this row ends: rows of one sequence, as many as a tile takes, in the block that ends with `last`.
    fn job_end(&self, row: usize, last: usize) -> usize {
        let sequence = &self.index.sequence;
        let most = (row + self.per_job).min(last);
        (row..most).find(|&r| sequence[r] != sequence[row]).unwrap_or(most)
    }

    /// Writes a job and its rows down, and answers with the length of its list.
    fn job(&mut self, rows: Range<usize>) -> usize {
        let seen: Vec<usize> = rows.clone().map(|row| self.seen(row)).collect();
        let first = |seen: usize| match (self.wanted.window, self.wanted.selected) {
            (Some(window), None) => seen.saturating_sub(window),
            _ => 0,
        };
        let most = seen.iter().copied().max().unwrap_or(0);
        let begin = seen.iter().map(|&seen| first(seen)).min().unwrap_or(0) / 4 * 4;
        let end = self.wanted.selected.map_or(most, |k| most.min(k));
        self.rows.extend(seen.iter().map(|&seen| [0, first(seen), seen, begin, most, 0].map(|n: usize| n as i32)));
        self.jobs.push([rows.start, rows.len(), begin, end].map(|n| n as i32));
        end - begin
    }
}

/// Neighbouring rows of one sequence, with the rows of their chunks.
struct Run {
    sequence: usize,
    rows: Range<usize>,
    step: usize,
}

fn runs(chunks: &[Chunk]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for chunk in chunks {
        match runs.last_mut() {
            // The chunk before this one was as long as chunks of its sequence are: it was not the last.
            Some(run) if run.sequence == chunk.sequence && run.rows.end == chunk.rows.start => {
                run.rows.end = chunk.rows.end
            }
            _ => runs.push(Run { sequence: chunk.sequence, rows: chunk.rows.clone(), step: chunk.rows.len() }),
        }
    }
    runs
}

/// Cuts the runs where blocks end; says whether a chunk was cut.
fn cut_segments(blocks: &mut [Block], runs: &[Run], index: &KeyIndex, starts: &[i32], to: &mut Vec<[i32; 8]>) -> bool {
    let mut cuts = false;
    let mut run = 0;
    for block in blocks {
        block.segments = to.len()..to.len();
        let mut row = block.rows.start;
        while row < block.rows.end {
            while runs[run].rows.end <= row {
                run += 1;
            }
            let Run { sequence, rows, step } = &runs[run];
            let end = rows.end.min(block.rows.end);
            let seen = |rows: Range<usize>| index.position[rows].iter().map(|&p| p as usize + 1).max().unwrap_or(0);
            // What an earlier block left of the chunk that this row is in the midst of.
            let known = seen(row - (row - rows.start) % step..row);
            cuts |= end < rows.end && !(end - rows.start).is_multiple_of(*step);
            let numbers = [row, end - row, rows.start, rows.end, *step, seen(row..end), known];
            let [row_, length, begin, last, step, keys, known] = numbers.map(|n| n as i32);
            to.push([row_, length, begin, last, step, keys, starts[*sequence], known]);
            row = end;
        }
        block.segments.end = to.len();
    }
    cuts
}
