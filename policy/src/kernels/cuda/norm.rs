//! RMSNorm and LayerNorm on a GPU: `norm.cu`.

use native::cuda::{Grid, Source, launch};
use tch::Tensor;

use super::{MATH, arrivals, empty_like};
use crate::kernels::width;

pub(super) static SOURCE: Source = Source { name: "norm", text: &[MATH, include_str!("norm.cu")] };

/// Threads of a block, threads that add a row up, and rows of a chunk of the column sums: those of the source.
const THREADS: usize = 128;
const LANES: usize = 16;
const CHUNK: usize = 32;
/// Elements that a block takes into shared memory, unless a row is longer.
const ELEMENTS: usize = 2048;

/// Rows that a block takes.
fn each(d: usize) -> usize {
    (ELEMENTS / d.max(1)).clamp(1, THREADS / LANES)
}

/// As the CPU's forward: `x [.., d]`, contiguous.
pub(in crate::kernels) fn forward(x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f32) -> Tensor {
    let out = empty_like(x, &x.size());
    let d = width(x);
    let (rows, each) = (x.numel() / d.max(1), each(d));
    let grid = Grid { shared: 4 * each * d, ..Grid::line(rows.div_ceil(each), THREADS) };
    let args = [x.into(), w.into(), b.into(), eps.into(), rows.into(), d.into(), each.into(), (&out).into()];
    launch(x.device(), &SOURCE, "norm_forward", grid, &args);
    out
}

/// As the CPU's backward: `dx`, then `[dw]` or `[dw, db]`.
pub(in crate::kernels) fn backward(x: &Tensor, w: &Tensor, g: &Tensor, bias: bool, eps: f32) -> (Tensor, Vec<Tensor>) {
    let (d, device) = (width(x), x.device());
    let (rows, each) = (x.numel() / d.max(1), each(d));
    let (dx, found) = (empty_like(x, &x.size()), empty_like(x, &[rows as i64, 2]));
    let grid = Grid { shared: 8 * each * d, ..Grid::line(rows.div_ceil(each), THREADS) };
    #[rustfmt::skip]
    let args = [
        x.into(), w.into(), g.into(), bias.into(), eps.into(), rows.into(), d.into(), each.into(), (&dx).into(), (&found).into(),
    ];
    launch(device, &SOURCE, "norm_backward", grid, &args);

    // Without rows there is one chunk still, whose sums are 0.
    let (chunks, across) = (rows.div_ceil(CHUNK).max(1), d.div_ceil(THREADS));
    let columns = empty_like(x, &[if bias { 2 } else { 1 }, d as i64]);
    let (partial, arrived) = (empty_like(x, &[chunks as i64, 2, d as i64]), arrivals(device, across));
    let grid = Grid { blocks: [across, chunks, 1], ..Grid::line(1, THREADS) };
    #[rustfmt::skip]
    let args = [
        x.into(), g.into(), (&found).into(), rows.into(), d.into(), bias.into(), (&partial).into(), (&arrived).into(), (&columns).into(),
    ];
    launch(device, &SOURCE, "norm_columns", grid, &args);
    (dx, (0..columns.size()[0]).map(|which| columns.get(which)).collect())
}
