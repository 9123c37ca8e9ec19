//! Attention on a GPU: `attention.cu` and `key_gradients.cu`.
//!
//! Scores of a block of rows exist at a time (INV-8; [`super::layout`]). The order of every sum is the CPU's: a score by the lanes of its
//! dot product, a row's softmax by the lanes of its list, mixed values and gradients one chain each.

use std::ops::Range;

use native::cuda::{Arg, Grid, Source, launch, processors, ready, shared};
use tch::{Device, Kind, Tensor};

use super::layout::{Block, FEW, Layout, MANY, Wanted};
use super::{MATH, THREADS, TILE, each_element, empty_like};
use crate::kernels::attention::Geometry;
use crate::rows::KeyIndex;

pub(super) static SOURCE: Source = Source { name: "attention", text: &[MATH, TILE, include_str!("attention.cu")] };
pub(super) static KEY_GRADIENTS: Source =
    Source { name: "key_gradients", text: &[TILE, include_str!("key_gradients.cu")] };

/// Columns of a tile of mixed values, and keys and columns of a tile of gradients.
const COLUMNS: usize = 64;
const KEYS: usize = 64;
/// Keys that a block of `scores` takes at once, for jobs of many vectors and of few.
const KEYS_OF_MANY: usize = 32;
const KEYS_OF_FEW: usize = 64;
/// Elements of a key that are in shared memory at a time, and the padding of a row.
const PART: usize = 64;
const PAD: usize = 16;
/// Vectors of a block of `softmax` and `differences`: a warp each.
const WARPS: usize = 4;

/// Blocks of a grid's third dimension.
const MOST_BLOCKS: usize = 65_535;

/// True where a GPU runs these kernels for vectors so wide: a tile of query vectors lies in a block's shared memory as a whole.
pub(crate) fn runs(device: Device, width: usize) -> bool {
    ready(device) && shared_of_scores(MANY, KEYS_OF_MANY, width) <= shared(device)
}

/// Bytes of shared memory of a tile of query vectors and two stages of keys.
fn shared_of_scores(vectors: usize, keys: usize, width: usize) -> usize {
    4 * (vectors * (width.div_ceil(PART) * PART + PAD) + 2 * keys * (PART + PAD))
}

/// One attention call.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Call<'a> {
    pub index: &'a KeyIndex,
    /// `[rows, k]` i32 on the GPU, contiguous.
    pub selection: Option<&'a Tensor>,
    pub heads: usize,
    pub geometry: Geometry,
    pub scale: f32,
}

/// `[rows, heads, value]` and the log-sum-exp `[rows, heads]` of contiguous `q` and `keys`.
pub(in crate::kernels) fn forward(q: &Tensor, keys: &Tensor, call: Call<'_>) -> (Tensor, Tensor) {
    let Call { heads, geometry, scale, .. } = call;
    let lists = call.lists(q);
    let rows = call.index.rows() as i64;
    let out = empty_like(q, &[rows, heads as i64, geometry.value as i64]);
    let lse = empty_like(q, &[rows, heads as i64]);
    let parts = Parts::of(geometry);
    for block in lists.layout.blocks.iter() {
        let scores = lists.scratch(block);
        lists.scores(block, q, keys, parts.key, scale, &scores);
        let vectors = lists.vectors(block);
        #[rustfmt::skip]
        let args = [
            (&scores).into(), vectors.into(), heads.into(), (&lists.rows).into(), block.rows.start.into(), block.stride.into(), (&lse).into(),
        ];
        launch(q.device(), &SOURCE, "softmax", Grid::line(vectors.div_ceil(WARPS), 32 * WARPS), &args);
        lists.mix(block, &scores, keys, parts.value, &out);
    }
    (out, lse)
}

/// What the forward leaves for the backward, contiguous.
pub(in crate::kernels) struct Saved<'a> {
    pub q: &'a Tensor,
    pub keys: &'a Tensor,
    pub out: &'a Tensor,
    pub lse: &'a Tensor,
}

/// The gradients of `q` and `keys` by that of the mixed values, `g [rows, heads, value]`.
pub(in crate::kernels) fn backward(saved: &Saved<'_>, g: &Tensor, call: Call<'_>) -> (Tensor, Tensor) {
    let Saved { q, keys, out, lse } = *saved;
    let Call { heads, geometry, scale, .. } = call;
    let lists = call.lists(q);
    let dq = empty_like(q, &q.size());
    let dkeys = Tensor::zeros(keys.size(), (Kind::Float, keys.device()));
    let partial = lists.layout.cuts_chunks.then(|| empty_like(keys, &keys.size()));
    let parts = Parts::of(geometry);
    for block in lists.layout.blocks.iter() {
        let (p, d) = (lists.scratch(block), lists.scratch(block));
        lists.scores(block, q, keys, parts.key, scale, &p);
        lists.scores(block, g, keys, parts.value, 1.0, &d);
        let vectors = lists.vectors(block);
        #[rustfmt::skip]
        let args = [
            (&p).into(), (&d).into(), vectors.into(), heads.into(), (&lists.rows).into(), block.rows.start.into(), block.stride.into(),
            lse.into(), g.into(), out.into(), geometry.value.into(), scale.into(),
        ];
        launch(q.device(), &SOURCE, "differences", Grid::line(vectors.div_ceil(WARPS), 32 * WARPS), &args);
        lists.mix(block, &d, keys, parts.key, &dq);
        let (p, d) = (lists.by_position(block, p), lists.by_position(block, d));
        let to = Gradients { of: &dkeys, partial: partial.as_ref() };
        let (of_key, of_value) = ((&d, q, geometry.key), (&p, g, geometry.value));
        if geometry.value_at == 0 {
            // The first elements are key and value at once.
            lists.key_gradients(block, of_key, Some(of_value), 0..geometry.value, 0, to);
            lists.key_gradients(block, of_key, None, geometry.value..geometry.key, 0, to);
        } else {
            lists.key_gradients(block, of_key, None, 0..geometry.key, 0, to);
            lists.key_gradients(block, of_value, None, 0..geometry.value, geometry.value_at, to);
        }
    }
    (dq, dkeys)
}

impl Call<'_> {
    fn lists(&self, like: &Tensor) -> Lists<'_> {
        let Geometry { key_heads, window, .. } = self.geometry;
        // The backward has two numbers for each score.
        Lists::new(self.index, self.selection, like, self.heads, key_heads, 2 * self.heads, window)
    }
}

/// Where the keys, or the values, of all key heads lie in a position's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub at: usize,
    pub width: usize,
}

struct Parts {
    key: Part,
    value: Part,
}

impl Parts {
    fn of(geometry: Geometry) -> Self {
        let Geometry { key, value, value_at, .. } = geometry;
        Self { key: Part { at: 0, width: key }, value: Part { at: value_at, width: value } }
    }
}

/// The lists of the rows of one call, on the GPU.
pub(super) struct Lists<'a> {
    pub layout: Layout,
    /// `Row` of the kernels, for these lists.
    pub rows: Tensor,
    selection: Option<&'a Tensor>,
    heads: usize,
    key_heads: usize,
}

/// Where gradients of keys go, and where chains wait that a block cut.
#[derive(Clone, Copy)]
pub(super) struct Gradients<'a> {
    pub of: &'a Tensor,
    pub partial: Option<&'a Tensor>,
}

impl<'a> Lists<'a> {
    /// Lists for `heads` query heads on `key_heads` key heads, on the device of `like`; `floats`: what a row and a key need.
    pub fn new(
        index: &KeyIndex,
        selection: Option<&'a Tensor>,
        like: &Tensor,
        heads: usize,
        key_heads: usize,
        floats: usize,
        window: Option<usize>,
    ) -> Self {
        let selected = selection.map(|selection| selection.size()[1] as usize);
        let wanted = Wanted { shared: heads / key_heads, floats, window, selected };
        let layout = Layout::of(index, like.device(), wanted);
        let rows = match selection {
            None => layout.rows.shallow_clone(),
            Some(selection) => rows_of(selection, &layout.rows),
        };
        Self { layout, rows, selection, heads, key_heads }
    }

    /// Query vectors of a block.
    pub fn vectors(&self, block: &Block) -> usize {
        block.rows.len() * self.heads
    }

    /// A number for each vector and key of a block.
    pub fn scratch(&self, block: &Block) -> Tensor {
        empty_like(&self.layout.rows, &[(self.vectors(block) * block.stride) as i64])
    }

    /// Parts of a key head's query heads that are a tile each.
    fn parts(&self) -> usize {
        (self.heads / self.key_heads).div_ceil(self.layout.vectors)
    }

    /// The arguments that say which keys.
    fn keys<'b>(&'b self, keys: &'b Tensor, part: Part) -> [Arg<'b>; 10] {
        let row = keys.size()[1] as usize;
        let aligned = (keys.data_ptr() as usize).is_multiple_of(16);
        let wide = aligned && [row, part.at, part.width].iter().all(|n| n.is_multiple_of(4));
        #[rustfmt::skip]
        let args = [
            keys.into(), (row as i64).into(), part.at.into(), part.width.into(), wide.into(),
            (&self.layout.slots).into(), self.selection.into(), self.selection.map_or(0, |s| s.size()[1] as usize).into(),
            (&self.layout.jobs).into(), (&self.rows).into(),
        ];
        args
    }

    /// `scale x · key` for every vector of `x [rows, heads, width]` in the block and every key of its list.
    pub fn scores(&self, block: &Block, x: &Tensor, keys: &Tensor, part: Part, scale: f32, to: &Tensor) {
        let few = self.layout.vectors == FEW;
        let (kernel, at_once, threads) =
            if few { ("scores_8", KEYS_OF_FEW, 128) } else { ("scores_32", KEYS_OF_MANY, 256) };
        let shared = shared_of_scores(self.layout.vectors, at_once, part.width);
        let (jobs, groups) = (block.jobs.len(), self.key_heads * self.parts());
        // Few jobs share their keys out among blocks.
        let wanted = (8 * processors(x.device())).div_ceil((jobs * groups).max(1));
        let tiles = block.longest.div_ceil(at_once).min(wanted).max(1);
        let job = jobs_from(&self.layout.jobs, block);
        let mut args: Vec<Arg<'_>> = vec![x.into(), self.heads.into(), self.key_heads.into()];
        args.extend(self.keys(keys, part));
        args[11] = (&job).into();
        args.extend([Arg::from(scale), block.rows.start.into(), block.stride.into(), to.into()]);
        launch(x.device(), &SOURCE, kernel, Grid { blocks: [tiles, jobs, groups], threads, shared }, &args);
    }

    /// `Σ_j p_j value_j` for every vector of the block, to its place in `to [rows, heads, width]`.
    pub fn mix(&self, block: &Block, p: &Tensor, values: &Tensor, part: Part, to: &Tensor) {
        let (kernel, threads) = if self.layout.vectors == FEW { ("mix_8", 64) } else { ("mix_32", 128) };
        let blocks = [part.width.div_ceil(COLUMNS), block.jobs.len(), self.key_heads * self.parts()];
        let job = jobs_from(&self.layout.jobs, block);
        let mut args: Vec<Arg<'_>> = vec![p.into(), self.heads.into(), self.key_heads.into()];
        args.extend(self.keys(values, part));
        args[11] = (&job).into();
        args.extend([Arg::from(block.rows.start), block.stride.into(), to.into()]);
        launch(p.device(), &SOURCE, kernel, Grid { blocks, threads, shared: 0 }, &args);
    }

    /// Coefficients by position: as they are where lists are of all keys, spread out where keys were selected.
    pub fn by_position(&self, block: &Block, coefficients: Tensor) -> Tensor {
        let Some(selection) = self.selection else { return coefficients };
        let vectors = self.vectors(block);
        let spread = Tensor::zeros([(vectors * block.by_position) as i64], (Kind::Float, coefficients.device()));
        #[rustfmt::skip]
        let args = [
            (&coefficients).into(), selection.into(), (selection.size()[1] as usize).into(), vectors.into(), self.heads.into(),
            (&self.rows).into(), block.rows.start.into(), block.stride.into(), block.by_position.into(), (&spread).into(),
        ];
        launch(coefficients.device(), &SOURCE, "spread", Grid::line(vectors.div_ceil(WARPS), 32 * WARPS), &args);
        spread
    }

    /// Adds what the block's rows give the keys: `Σ c x` over rows and heads for `first`, a side of coefficients by position, vectors and
    /// their width, alternating with `second`'s where there is one; for the elements `columns` of each head's piece, which lie from `at` on.
    pub fn key_gradients(
        &self,
        block: &Block,
        first: (&Tensor, &Tensor, usize),
        second: Option<(&Tensor, &Tensor, usize)>,
        columns: Range<usize>,
        at: usize,
        to: Gradients<'_>,
    ) {
        if columns.is_empty() {
            return;
        }
        let kernel = if second.is_some() { "key_and_value_gradients" } else { "key_gradients" };
        let stride = if self.selection.is_some() { block.by_position } else { block.stride };
        let wide = |(_, x, width): (&Tensor, &Tensor, usize)| {
            (x.data_ptr() as usize).is_multiple_of(16) && width.is_multiple_of(4) && columns.start.is_multiple_of(4)
        };
        let side = |side: (&'_ Tensor, &'_ Tensor, usize)| (side.2.into(), wide(side).into());
        let second = second.unwrap_or(first);
        let ((width, is_wide), (second_width, second_wide)) = (side(first), side(second));
        let tiles = [columns.len().div_ceil(COLUMNS), block.by_position.div_ceil(KEYS)];
        let stages = 2 * if kernel == "key_gradients" { 1 } else { 2 };
        let shared = 4 * stages * 16 * (KEYS + 4 + COLUMNS + 4);
        let run = |segments: Range<usize>| {
            let from = self.layout.segments.narrow(0, segments.start as i64, segments.len() as i64);
            let grid = Grid { blocks: [tiles[0], tiles[1], segments.len() * self.key_heads], threads: THREADS, shared };
            // Coefficients by position end with what a row sees.
            #[rustfmt::skip]
            let args = [
                first.0.into(), first.1.into(), width, is_wide, second.0.into(), second.1.into(), second_width, second_wide,
                self.heads.into(), self.key_heads.into(), (&from).into(), (&self.layout.rows).into(), (&self.layout.slots).into(),
                block.rows.start.into(), stride.into(), columns.start.into(), columns.end.into(), at.into(),
                to.of.size()[1].into(), to.partial.into(), to.of.into(),
            ];
            launch(to.of.device(), &KEY_GRADIENTS, kernel, grid, &args);
        };
        // Segments that share slots wait for one another.
        let at_once = if self.layout.apart { (MOST_BLOCKS / self.key_heads).max(1) } else { 1 };
        let Range { start, end } = block.segments;
        (start..end).step_by(at_once).for_each(|first| run(first..(first + at_once).min(end)));
    }
}

/// A block's jobs.
fn jobs_from(jobs: &Tensor, block: &Block) -> Tensor {
    jobs.narrow(0, block.jobs.start as i64, block.jobs.len() as i64)
}

/// `Row` of the kernels where keys were selected: a list is as long as its row's selection.
fn rows_of(selection: &Tensor, rows: &Tensor) -> Tensor {
    let of_lists = rows.empty_like();
    let (n, k) = (selection.size()[0] as usize, selection.size()[1] as usize);
    let args = [selection.into(), n.into(), k.into(), rows.into(), (&of_lists).into()];
    launch(rows.device(), &SOURCE, "rows_of_lists", each_element(n), &args);
    of_lists
}
