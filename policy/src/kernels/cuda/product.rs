//! Products on a GPU: of f32 matrices with the bits of [`crate::kernels::gemm`] (`product.cu`), and of bf16 matrices on the tensor cores
//! (`product_bf16.cu`).

use native::cuda::{Grid, Source, launch, processors};
use native::{custom_op, wants_grad};
use tch::{Kind, Tensor};

use super::{TILE, arrivals, empty_like};
use crate::kernels::product::{Layout, Shape, readable};
use crate::kernels::{gemm, plain};
use crate::packs::Packs;

const COMMON: &str = include_str!("product.cuh");

/// The kernels of one kind of number.
struct Kernels {
    source: Source,
    kind: Kind,
    /// Terms of a sum's slab: `DEEP` of the source.
    deep: usize,
    /// Terms that a block has in shared memory at once, `STEP` of the source, and how many times over.
    step: usize,
    stages: usize,
    /// Elements that pad a row of a tile, and that make 16 bytes.
    pad: usize,
    group: usize,
    tiles: [Tile; 3],
}

/// A tile of the result that one block computes.
struct Tile {
    rows: usize,
    columns: usize,
    threads: usize,
    /// The kernels for factors that lie along the sum: both, the left one alone, none.
    kernels: [&'static str; 3],
}

const fn tile(rows: usize, columns: usize, threads: usize, kernels: [&'static str; 3]) -> Tile {
    Tile { rows, columns, threads, kernels }
}

const LARGE: [&str; 3] = ["large_along_along", "large_along_across", "large_across_across"];
const MIDDLE: [&str; 3] = ["middle_along_along", "middle_along_across", "middle_across_across"];
const SMALL: [&str; 3] = ["small_along_along", "small_along_across", "small_across_across"];

static F32: Kernels = Kernels {
    source: Source { name: "product", text: &[COMMON, TILE, include_str!("product.cu")] },
    kind: Kind::Float,
    deep: gemm::DEEP,
    step: 16,
    stages: 2,
    pad: 4,
    group: 4,
    tiles: [tile(128, 128, 256, LARGE), tile(64, 64, 256, MIDDLE), tile(16, 64, 128, SMALL)],
};

static BF16: Kernels = Kernels {
    source: Source { name: "product_bf16", text: &[COMMON, include_str!("product_bf16.cu")] },
    kind: Kind::BFloat16,
    deep: 1024,
    step: 32,
    stages: 4,
    pad: 8,
    group: 8,
    tiles: [tile(128, 128, 128, LARGE), tile(64, 64, 128, MIDDLE), tile(16, 64, 128, SMALL)],
};

pub(super) fn sources() -> [&'static Source; 2] {
    [&F32.source, &BF16.source]
}

/// `y` of `x` and the weights, both as [`crate::kernels::product`] takes them.
pub(in crate::kernels) fn forward(shape: Shape, x: &Tensor, w: &Tensor) -> Tensor {
    let Shape { rows, heads, k, n, .. } = shape;
    let y = empty_like(x, &shape.of_rows(n));
    multiply(Sizes { heads, m: rows, n, k }, of_rows(x, heads, k), weights(w, shape.layout), &y, (n, heads * n));
    y
}

/// The gradient of `x`, by that of `y`.
pub(in crate::kernels) fn dx(shape: Shape, g: &Tensor, w: &Tensor) -> Tensor {
    let Shape { rows, heads, k, n, .. } = shape;
    let dx = empty_like(g, &shape.of_rows(k));
    let w = weights(w, shape.layout).flipped();
    multiply(Sizes { heads, m: rows, n: k, k: n }, of_rows(g, heads, n), w, &dx, (k, heads * k));
    dx
}

/// The gradient of the weights, by that of `y`.
pub(in crate::kernels) fn dw(shape: Shape, g: &Tensor, x: &Tensor) -> Tensor {
    let Shape { rows, heads, k, n, .. } = shape;
    let dw = empty_like(g, &shape.of_weights());
    let (x, g) = (of_rows(x, heads, k), of_rows(g, heads, n));
    let (left, right, m, n) = match shape.layout {
        Layout::Transposed => (g, x, n, k),
        Layout::Heads => (x, g, k, n),
    };
    multiply(Sizes { heads, m, n, k: rows }, left.flipped(), right.flipped(), &dw, (m * n, n));
    dw
}

/// As [`crate::kernels::product::product`], with factors and results rounded to bf16, also of the gradients. The sums run on the tensor
/// cores, whose rounding inside 16 terms is their own: the bits are those of no CPU, and the same for any number of rows.
pub(crate) fn product_bf16(x: &Tensor, w: &Tensor, layout: Layout, packs: &Packs) -> Tensor {
    let narrow = |t: &Tensor| tch::no_grad(|| t.detach().to_kind(Kind::BFloat16));
    let (x_narrow, w_narrow) = (plain(&narrow(x)), packs.rounded(w, |w| readable(&narrow(w))));
    let shape = Shape::new(&x_narrow, &w_narrow, layout);
    let y = forward(shape, &x_narrow, &w_narrow);
    if !wants_grad(&[x, w]) {
        return y;
    }
    let (for_x, for_w) = (x.requires_grad(), w.requires_grad());
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let g = plain(&narrow(g));
        vec![for_x.then(|| dx(shape, &g, &w_narrow)), for_w.then(|| dw(shape, &g, &x_narrow))]
    };
    custom_op(&[x, w], vec![y], backward).pop().expect("one output")
}

/// A matrix of each head that is read: element `(i, p)` of head `h` lies at `h · head + i · row + p · column`, where `i` counts what the
/// result has and `p` the terms of its sums. One of the two steps is 1.
#[derive(Debug, Clone, Copy)]
struct Factor<'a> {
    tensor: &'a Tensor,
    head: usize,
    row: usize,
    column: usize,
}

impl Factor<'_> {
    /// The factor of a product whose terms are this one's rows.
    fn flipped(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// Terms are neighbours.
    fn along(&self) -> bool {
        self.column == 1 && self.row != 1
    }

    /// The step that is not 1.
    fn step(&self) -> usize {
        if self.along() { self.row } else { self.column }
    }

    /// Groups of so many neighbours lie at multiples of 16 bytes.
    fn wide(&self, group: usize) -> bool {
        let aligned = (self.tensor.data_ptr() as usize).is_multiple_of(16);
        aligned && self.head.is_multiple_of(group) && self.step().is_multiple_of(group)
    }
}

/// `[rows, heads, width]`, contiguous, as a left factor of each head whose terms are the columns.
fn of_rows(tensor: &Tensor, heads: usize, width: usize) -> Factor<'_> {
    Factor { tensor, head: width, row: heads * width, column: 1 }
}

/// The weights as the right factor of the forward.
fn weights(tensor: &Tensor, layout: Layout) -> Factor<'_> {
    let strides: Vec<usize> = tensor.stride().into_iter().map(|step| step as usize).collect();
    match (layout, strides.as_slice()) {
        (Layout::Transposed, &[row, column]) => Factor { tensor, head: 0, row, column },
        (Layout::Heads, &[head, column, row]) => Factor { tensor, head, row, column },
        _ => unreachable!("`Shape::new` has seen the dimensions"),
    }
}

/// `c [heads, m, n]`, each of whose elements is a sum of `k` terms.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl Tile {
    fn count(&self, sizes: Sizes) -> usize {
        sizes.heads * sizes.m.div_ceil(self.rows) * sizes.n.div_ceil(self.columns)
    }
}

impl Kernels {
    fn of(kind: Kind) -> &'static Self {
        if kind == Kind::Float { &F32 } else { &BF16 }
    }

    /// The largest tile that leaves no processor without one; for few rows the small one, which wastes none.
    fn tile(&self, sizes: Sizes, processors: usize) -> &Tile {
        let [large, middle, small] = &self.tiles;
        if sizes.m <= small.rows {
            return small;
        }
        if large.count(sizes) >= processors { large } else { middle }
    }

    /// Bytes of the stages of a tile's factors.
    fn shared(&self, tile: &Tile, a: Factor<'_>, b: Factor<'_>) -> usize {
        let Self { step, pad, .. } = *self;
        let elements = |size: usize, along: bool| if along { size * (step + pad) } else { step * (size + pad) };
        self.stages * 16 / self.group * (elements(tile.rows, a.along()) + elements(tile.columns, b.along()))
    }
}

/// Writes `c = a b`, f32, of factors of one kind. `places`: elements of `c` from one head to the next, and from one row to the next; its
/// columns are neighbours.
fn multiply(sizes: Sizes, a: Factor<'_>, b: Factor<'_>, c: &Tensor, (head, row): (usize, usize)) {
    let Sizes { heads, m, n, k } = sizes;
    let (device, kernels) = (c.device(), Kernels::of(a.tensor.kind()));
    assert!(a.tensor.kind() == kernels.kind && b.tensor.kind() == kernels.kind, "factors of one kind");
    if k == 0 || c.numel() == 0 {
        let _ = tch::no_grad(|| c.shallow_clone().zero_());
        return;
    }
    assert!((heads - 1) * head + (m - 1) * row + n <= c.numel(), "the result has room");
    let tile = kernels.tile(sizes, processors(device));
    let tiles = tile.count(sizes);
    let all = k.div_ceil(kernels.deep);
    // Blocks share the slabs of a tile where there are few tiles.
    let slabs = all.div_ceil((2 * processors(device) / tiles).clamp(1, all));
    let shares = all.div_ceil(slabs);
    let partial = (shares > 1).then(|| empty_like(c, &[(heads * all) as i64, m as i64, n as i64]));
    // How many of a tile's blocks have arrived.
    let arrived = (shares > 1).then(|| arrivals(device, tiles));
    let kernel = match (a.along(), b.along()) {
        (true, true) => tile.kernels[0],
        (true, false) => tile.kernels[1],
        (false, false) => tile.kernels[2],
        (false, true) => unreachable!("no product of the model has such factors"),
    };
    let grid = Grid {
        blocks: [n.div_ceil(tile.columns), m.div_ceil(tile.rows), heads * shares],
        threads: tile.threads,
        shared: kernels.shared(tile, a, b),
    };
    let long = |n: usize| (n as i64).into();
    let factor = |f: Factor<'_>| [long(f.head), long(f.step()), f.wide(kernels.group).into()];
    let ([a_head, a_step, a_wide], [b_head, b_step, b_wide]) = (factor(a), factor(b));
    #[rustfmt::skip]
    let args = [
        a.tensor.into(), a_head, a_step, a_wide,
        b.tensor.into(), b_head, b_step, b_wide,
        c.into(), long(head), long(row),
        m.into(), n.into(), k.into(), slabs.into(), partial.as_ref().into(), arrived.as_ref().into(),
    ];
    launch(device, &kernels.source, kernel, grid, &args);
}
