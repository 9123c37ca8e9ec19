//! The indexer's selection and its loss on a GPU: `indexer.cu`, on the scores of `attention.cu`.

use native::cuda::{Grid, Source, launch};
use tch::{Device, Kind, Tensor};

use super::attention::{Gradients, Lists, Part};
use super::layout::Block;
use super::{MATH, THREADS, each_element, empty_like};
use crate::kernels::attention::Geometry;
use crate::kernels::indexer_loss::{Coverage, Target};
use crate::rows::KeyIndex;

pub(super) static SOURCE: Source = Source { name: "indexer", text: &[MATH, include_str!("indexer.cu")] };

/// Rows, or vectors, of a block of kernels that take each with a warp.
const WARPS: usize = 4;

/// The indexer's side of a forward, contiguous: `q [rows, heads, width]`, `w [rows, heads]`, `keys [slots, width]`.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Indexer<'a> {
    pub q: &'a Tensor,
    pub w: &'a Tensor,
    pub keys: &'a Tensor,
}

impl Indexer<'_> {
    fn heads(&self) -> usize {
        self.w.size()[1] as usize
    }

    /// A position's index key.
    fn part(&self) -> Part {
        Part { at: 0, width: self.keys.size()[1] as usize }
    }

    /// What each head gives each key of the block's lists, and the scores, one a row and key.
    fn scores(&self, lists: &Lists<'_>, block: &Block) -> (Tensor, Tensor) {
        let hits = lists.scratch(block);
        lists.scores(block, self.q, self.keys, self.part(), 1.0, &hits);
        let scores = of_rows(&hits, block);
        #[rustfmt::skip]
        let args = [
            (&hits).into(), self.w.into(), self.heads().into(), (&lists.rows).into(), block.rows.start.into(), block.stride.into(),
            (&scores).into(),
        ];
        launch(hits.device(), &SOURCE, "weigh_hits", row_and_key(block), &args);
        (hits, scores)
    }
}

/// As the CPU's selection: `[rows, k]` i32.
pub(in crate::kernels) fn select(indexer: Indexer<'_>, index: &KeyIndex, window: Option<usize>, k: usize) -> Tensor {
    let lists = Lists::new(index, None, indexer.q, indexer.heads(), 1, indexer.heads() + 1, window);
    let most = window.unwrap_or(usize::MAX);
    let selected = integers(&[index.rows() as i64, k as i64], indexer.q.device());
    for block in lists.layout.blocks.iter() {
        // Where all lists fit, the kernel looks at no score.
        let scores =
            if block.by_position.min(most) > k { indexer.scores(&lists, block).1 } else { empty_like(indexer.q, &[0]) };
        best(&scores, &lists, block, &selected);
    }
    selected
}

/// What one sweep over the rows finds: the loss is a scalar, so its gradient is known when the scores are.
pub(in crate::kernels) struct Pass {
    pub loss: f64,
    pub coverage: Coverage,
    /// `dq, dw, dkeys`.
    pub grads: Vec<Tensor>,
}

/// As the CPU's sweep. `selection [rows, k]` i32 and the target's tensors lie on the GPU, contiguous, and so does `weight [rows]`.
pub(in crate::kernels) fn loss(
    indexer: Indexer<'_>,
    target: &Target,
    index: &KeyIndex,
    selection: Option<&Tensor>,
    weight: &Tensor,
    k: usize,
) -> Pass {
    let (device, rows) = (indexer.q.device(), index.rows() as i64);
    let (heads, index_heads) = (target.lse.size()[1] as usize, indexer.heads());
    // Scores of both sides, targets, their gradients: one cut of rows for all.
    let floats = heads + index_heads + 3;
    let Geometry { key_heads, window, .. } = target.geometry;
    let main = Lists::new(index, selection, indexer.q, heads, key_heads, floats, window);
    let own = Lists::new(index, selection, indexer.q, index_heads, 1, floats, window);
    let (dq, dw) = (empty_like(indexer.q, &indexer.q.size()), empty_like(indexer.w, &indexer.w.size()));
    let dkeys = Tensor::zeros(indexer.keys.size(), (Kind::Float, device));
    let partial = own.layout.cuts_chunks.then(|| empty_like(&dkeys, &dkeys.size()));
    let losses = empty_like(&dkeys, &[rows]);
    let cover = Cover::new(rows, k as i64, device);
    for (block, own_block) in main.layout.blocks.iter().zip(own.layout.blocks.iter()) {
        assert_eq!((&block.rows, block.stride), (&own_block.rows, own_block.stride), "blocks are by the lists alone");
        let p = attention_of(target, heads, &main, block);
        let (hits, scores) = indexer.scores(&own, own_block);
        let d = of_rows(&hits, block);
        let count = block.rows.len();
        #[rustfmt::skip]
        let args = [
            (&scores).into(), (&p).into(), weight.into(), (&own.rows).into(), block.rows.start.into(), count.into(), block.stride.into(),
            (&d).into(), (&losses).into(),
        ];
        launch(device, &SOURCE, "divergence", Grid::line(count.div_ceil(WARPS), 32 * WARPS), &args);
        if k > 0 {
            cover.take(&scores, &p, &own, own_block, k);
        }
        let vectors = own.vectors(own_block);
        #[rustfmt::skip]
        let args = [
            (&hits).into(), (&d).into(), indexer.w.into(), index_heads.into(), (&own.rows).into(), block.rows.start.into(), vectors.into(),
            block.stride.into(), (&dw).into(),
        ];
        launch(device, &SOURCE, "hit_gradients", Grid::line(vectors.div_ceil(WARPS), 32 * WARPS), &args);
        own.mix(own_block, &hits, indexer.keys, indexer.part(), &dq);
        let coefficients = own.by_position(own_block, hits);
        let width = indexer.part().width;
        let to = Gradients { of: &dkeys, partial: partial.as_ref() };
        own.key_gradients(own_block, (&coefficients, indexer.q, width), None, 0..width, 0, to);
    }
    let (loss, coverage) = sums(index, &losses, &cover, k);
    Pass { loss, coverage, grads: vec![dq, dw, dkeys] }
}

/// The main attention, summed over its heads: a number for each row and key of its list.
fn attention_of(target: &Target, heads: usize, lists: &Lists<'_>, block: &Block) -> Tensor {
    let scores = lists.scratch(block);
    let part = Part { at: 0, width: target.geometry.key };
    lists.scores(block, &target.q, &target.keys, part, target.scale as f32, &scores);
    let p = of_rows(&scores, block);
    #[rustfmt::skip]
    let args = [
        (&scores).into(), (&target.lse).into(), heads.into(), (&lists.rows).into(), block.rows.start.into(), block.stride.into(), (&p).into(),
    ];
    launch(scores.device(), &SOURCE, "target", row_and_key(block), &args);
    p
}

/// How rows' k best scores cover their attention.
struct Cover {
    best: Tensor,
    heavy: Tensor,
    common: Tensor,
    mass: Tensor,
}

impl Cover {
    fn new(rows: i64, k: i64, device: Device) -> Self {
        let [best, heavy] = [(); 2].map(|()| integers(&[rows, k], device));
        Self { best, heavy, common: integers(&[rows], device), mass: Tensor::empty([rows], (Kind::Double, device)) }
    }

    fn take(&self, scores: &Tensor, p: &Tensor, lists: &Lists<'_>, block: &Block, k: usize) {
        best(scores, lists, block, &self.best);
        best(p, lists, block, &self.heavy);
        let count = block.rows.len();
        #[rustfmt::skip]
        let args = [
            (&self.best).into(), (&self.heavy).into(), p.into(), (&lists.rows).into(), block.rows.start.into(), count.into(),
            block.stride.into(), k.into(), (&self.common).into(), (&self.mass).into(),
        ];
        launch(p.device(), &SOURCE, "covered", each_element(count), &args);
    }
}

/// Where the best scores of each row of the block lie, to its rows of `to [rows, k]`.
fn best(scores: &Tensor, lists: &Lists<'_>, block: &Block, to: &Tensor) {
    let k = to.size()[1] as usize;
    let args = [scores.into(), (&lists.rows).into(), block.rows.start.into(), block.stride.into(), k.into(), to.into()];
    launch(to.device(), &SOURCE, "select_best", Grid::line(block.rows.len(), THREADS), &args);
}

/// The rows' numbers on the host, added as the CPU adds them: row by row within a chunk, then chunk by chunk.
fn sums(index: &KeyIndex, losses: &Tensor, cover: &Cover, k: usize) -> (f64, Coverage) {
    let losses = Vec::<f32>::try_from(losses.to_device(Device::Cpu)).expect("a loss a row");
    let covered = (k > 0).then(|| {
        let common = Vec::<i32>::try_from(cover.common.to_device(Device::Cpu)).expect("a count a row");
        let mass = Vec::<f64>::try_from(cover.mass.to_device(Device::Cpu)).expect("a mass a row");
        common.into_iter().zip(mass).collect::<Vec<_>>()
    });
    let of_row = |row: usize| match covered.as_ref().map(|covered| covered[row]) {
        Some((common @ 0.., mass)) => Coverage { recall: f64::from(common) / k as f64, mass, rows: 1 },
        _ => Coverage::default(),
    };
    let (mut loss, mut coverage) = (0.0, Coverage::default());
    for chunk in index.chunks() {
        let (mut of_chunk, mut covered) = (0.0, Coverage::default());
        for row in chunk.rows {
            of_chunk += f64::from(losses[row]);
            covered.add(of_row(row));
        }
        loss += of_chunk;
        coverage.add(covered);
    }
    (loss, coverage)
}

/// A number for each row and key of a block.
fn of_rows(like: &Tensor, block: &Block) -> Tensor {
    empty_like(like, &[(block.rows.len() * block.stride) as i64])
}

/// A thread for each of them.
fn row_and_key(block: &Block) -> Grid {
    Grid { blocks: [block.rows.len(), block.stride.div_ceil(THREADS), 1], threads: THREADS, shared: 0 }
}

fn integers(shape: &[i64], device: Device) -> Tensor {
    Tensor::empty(shape, (Kind::Int, device))
}
