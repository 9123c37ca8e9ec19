//! Matrix products whose bits do not depend on the number of threads, forward and backward.
//!
//! A BLAS that is given several threads cuts a product among them, and what it computes at a cut has other bits (seen with three threads
//! and a width of 24). So the cut is made here, and depends on nothing but the product's shape: each tile of the result is computed by one
//! thread, and the number of threads decides who computes it (INV-7).
//!
//! `y_rh = x_rh W_h` for `x [rows, heads, k]`, `y [rows, heads, n]`. Backward, with `g` the gradient of `y`: `dx_rh = g_rh W_hᵀ` and
//! `dW_h = Σ_r x_rhᵀ g_rh`; the last sum is long and its result may be small, so it is cut in blocks of rows too, which are added in order.

use native::gemm::{Matrix, sgemm};
use native::{custom_op, parallel_chunks, parallel_for, wants_grad};
use tch::Tensor;

use super::{empty, floats, floats_mut, plain};

/// Rows of a tile of `y` or `dx`.
const ROWS: usize = 256;
/// Rows that one part of a weight's gradient sums over, where it has fewer tiles than [`FEW_TILES`].
const SUMMED: usize = 512;
const FEW_TILES: usize = 8;
/// Elements that a task adds up.
const ADDED: usize = 4096;

/// How the weights lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[n, k]`, of a single head: a linear layer's.
    Transposed,
    /// `[heads, k, n]`.
    Heads,
}

/// The rows that the BLAS is given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Tiles of 256; a rest of fewer than these goes with the tile before it, so that no row is computed among too few (INV-2).
    Tiles(usize),
    /// All of them: where it is measured how many are too few.
    All,
}

/// `x W`: see the module. `x [rows, k]` gives `[rows, n]` with [`Layout::Transposed`], and `x [rows, heads, k]` `[rows, heads, n]` with
/// [`Layout::Heads`]; f32 on the CPU.
///
/// # Panics
/// If the shapes do not fit: a caller's bug.
pub fn product(x: &Tensor, w: &Tensor, layout: Layout, together: Together) -> Tensor {
    let (x_plain, w_plain) = (plain(x), plain(w));
    let shape = Shape::new(&x_plain, &w_plain, layout);
    let mut size = x_plain.size();
    *size.last_mut().expect("x has columns") = shape.n as i64;
    let mut out = empty(&size);
    shape.forward(floats(&x_plain), floats(&w_plain), together, floats_mut(&mut out));
    if !wants_grad(&[x, w]) {
        return out;
    }
    let (for_x, for_w) = (x.requires_grad(), w.requires_grad());
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let g = plain(g);
        let dx = for_x.then(|| {
            let mut dx = empty(&x_plain.size());
            shape.dx(floats(&g), floats(&w_plain), floats_mut(&mut dx));
            dx
        });
        let dw = for_w.then(|| {
            let mut dw = empty(&w_plain.size());
            shape.dw(floats(&g), floats(&x_plain), floats_mut(&mut dw));
            dw
        });
        vec![dx, dw]
    };
    custom_op(&[x, w], vec![out], backward).pop().expect("one output")
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    rows: usize,
    heads: usize,
    k: usize,
    n: usize,
    layout: Layout,
}

impl Shape {
    fn new(x: &Tensor, w: &Tensor, layout: Layout) -> Self {
        let size = |t: &Tensor| t.size().into_iter().map(|n| n as usize).collect::<Vec<_>>();
        let (x, w) = (size(x), size(w));
        let (rows, heads, k, n) = match (layout, x.as_slice(), w.as_slice()) {
            (Layout::Transposed, &[rows, k], &[n, long]) if long == k => (rows, 1, k, n),
            (Layout::Heads, &[rows, heads, k], &[all, long, n]) if long == k && all == heads => (rows, heads, k, n),
            _ => panic!("there is no product of {x:?} and {w:?}"),
        };
        Self { rows, heads, k, n, layout }
    }

    /// `x`, or what lies like it.
    fn input<'a>(self, data: &'a [f32]) -> Factor<'a> {
        Factor { data, head: self.k, row: self.heads * self.k, transposed: false }
    }

    /// `y`'s gradient.
    fn output<'a>(self, data: &'a [f32]) -> Factor<'a> {
        Factor { data, head: self.n, row: self.heads * self.n, transposed: false }
    }

    fn weights<'a>(self, data: &'a [f32]) -> Factor<'a> {
        match self.layout {
            Layout::Transposed => Factor { data, head: 0, row: self.k, transposed: true },
            Layout::Heads => Factor { data, head: self.k * self.n, row: self.n, transposed: false },
        }
    }

    fn forward(self, x: &[f32], w: &[f32], together: Together, y: &mut [f32]) {
        let lengths = Lengths { heads: self.heads, m: self.rows, n: self.n, k: self.k };
        // The columns' cut must not depend on the number of rows, nor a row's bits with it.
        let (rows, least) = match together {
            Together::Tiles(least) => (ROWS, least),
            Together::All => (self.rows.max(1), 0),
        };
        let tiles = Tiles { rows, least, columns: columns(self.n) };
        multiply(lengths, tiles, self.input(x), self.weights(w), y, (self.n, self.heads * self.n));
    }

    fn dx(self, g: &[f32], w: &[f32], dx: &mut [f32]) {
        let lengths = Lengths { heads: self.heads, m: self.rows, n: self.k, k: self.n };
        let tiles = Tiles { rows: ROWS, least: 0, columns: columns(self.k) };
        multiply(lengths, tiles, self.output(g), self.weights(w).flipped(), dx, (self.k, self.heads * self.k));
    }

    fn dw(self, g: &[f32], x: &[f32], dw: &mut [f32]) {
        let (left, right, m, n) = match self.layout {
            Layout::Transposed => (self.output(g), self.input(x), self.n, self.k),
            Layout::Heads => (self.input(x), self.output(g), self.k, self.n),
        };
        let lengths = Lengths { heads: self.heads, m, n, k: self.rows };
        let tiles = Tiles { rows: columns(m), least: 0, columns: columns(n) };
        let places = (m * n, n);
        if lengths.heads * m.div_ceil(tiles.rows) * n.div_ceil(tiles.columns) >= FEW_TILES || self.rows <= SUMMED {
            return multiply(lengths, tiles, left.flipped(), right, dw, places);
        }
        let mut parts = vec![0.0f32; self.rows.div_ceil(SUMMED) * dw.len()];
        parallel_chunks(&mut parts, dw.len(), |part, out| {
            let first = part * SUMMED;
            let lengths = Lengths { k: SUMMED.min(self.rows - first), ..lengths };
            multiply(lengths, tiles, left.from_row(first).flipped(), right.from_row(first), out, places);
        });
        let size = dw.len();
        parallel_chunks(dw, ADDED, |chunk, out| {
            out.fill(0.0);
            for part in parts.chunks_exact(size) {
                out.iter_mut().zip(&part[chunk * ADDED..]).for_each(|(sum, part)| *sum += part);
            }
        });
    }
}

/// Columns of a tile of a result that is so wide: small results are cut for the threads' sake, large ones for the cache's.
fn columns(wide: usize) -> usize {
    if wide < 1024 { 128 } else { 512 }
}

/// One matrix a head, heads `head` elements apart and rows `row`.
#[derive(Clone, Copy)]
struct Factor<'a> {
    data: &'a [f32],
    head: usize,
    row: usize,
    transposed: bool,
}

impl<'a> Factor<'a> {
    fn flipped(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn from_row(self, row: usize) -> Self {
        Self { data: &self.data[row * self.row..], ..self }
    }

    /// `m` rows from `i` on and `n` columns from `j` on of a head's factor.
    fn part(self, head: usize, (i, m): (usize, usize), (j, n): (usize, usize)) -> Matrix {
        let ((i, m), (j, n)) = if self.transposed { ((j, n), (i, m)) } else { ((i, m), (j, n)) };
        let data = &self.data[head * self.head + i * self.row + j..];
        assert!((m - 1) * self.row + n <= data.len(), "the part lies in the factor");
        Matrix { data: data.as_ptr(), row: self.row, transposed: self.transposed }
    }
}

/// `[m, k] × [k, n]` for each head.
#[derive(Clone, Copy)]
struct Lengths {
    heads: usize,
    m: usize,
    n: usize,
    k: usize,
}

/// How a result is cut: into tiles so high and wide, of which the last in a column takes a rest of fewer than `least` rows along.
#[derive(Clone, Copy)]
struct Tiles {
    rows: usize,
    least: usize,
    columns: usize,
}

/// `c = a b` for each head, one task a tile. `places`: elements of `c` from one head to the next, and from one row to the next.
fn multiply(l: Lengths, tiles: Tiles, a: Factor<'_>, b: Factor<'_>, c: &mut [f32], places: (usize, usize)) {
    if c.is_empty() {
        return;
    }
    if l.k == 0 {
        return c.fill(0.0);
    }
    let (head, row) = places;
    assert!((l.heads - 1) * head + (l.m - 1) * row + l.n <= c.len(), "the result has room");
    let own_rest = l.m % tiles.rows >= tiles.least.max(1);
    let high = (l.m / tiles.rows + usize::from(own_rest)).max(1);
    let wide = l.n.div_ceil(tiles.columns);
    let base = Base(c.as_mut_ptr());
    parallel_for(l.heads * high * wide, |task| {
        let (h, up, across) = (task / (high * wide), task / wide % high, task % wide);
        let (i, j) = (up * tiles.rows, across * tiles.columns);
        let m = if up + 1 == high { l.m - i } else { tiles.rows };
        let n = tiles.columns.min(l.n - j);
        let (a, b) = (a.part(h, (i, m), (0, l.k)), b.part(h, (0, l.k), (j, n)));
        // SAFETY: `part` and the assertion above have checked the bounds, and the tiles of different tasks do not overlap: rows, columns
        // and heads of a result are apart.
        unsafe { sgemm((m, n, l.k), a, b, base.get().add(h * head + i * row + j), row) };
    });
}

struct Base(*mut f32);

impl Base {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

// SAFETY: each task writes its own tile.
unsafe impl Sync for Base {}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn wave(sizes: &[i64], step: f64, kind: Kind) -> Tensor {
        let n: i64 = sizes.iter().product();
        (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step).sin().to_kind(kind).view(sizes)
    }

    /// `y`, `dx` and `dW` of a product, with the gradient of `Σ y sin`.
    fn all(x: &Tensor, w: &Tensor, product: impl Fn(&Tensor, &Tensor) -> Tensor) -> [Tensor; 3] {
        let (x, w) = (x.detach().set_requires_grad(true), w.detach().set_requires_grad(true));
        let y = product(&x, &w);
        let loss = (&y * wave(&y.size(), 0.11, y.kind())).sum(y.kind());
        let mut gradients = Tensor::run_backward(&[loss], &[&x, &w], false, false).into_iter();
        [y.detach(), gradients.next().expect("of x"), gradients.next().expect("of w")]
    }

    /// Odd widths, rows that fill tiles and do not, results of few tiles and of many.
    fn cases() -> Vec<(Tensor, Tensor, Layout)> {
        let linear = [(1, 8, 5), (700, 24, 40), (1300, 40, 24), (257, 130, 300), (530, 1030, 17), (515, 9, 1100)];
        let mut all: Vec<_> = linear
            .into_iter()
            .map(|(rows, k, n)| {
                (wave(&[rows, k], 0.73, Kind::Float), wave(&[n, k], 1.37, Kind::Float), Layout::Transposed)
            })
            .collect();
        for (rows, heads, k, n) in [(3, 2, 7, 5), (600, 3, 24, 40), (1100, 9, 20, 12)] {
            all.push((
                wave(&[rows, heads, k], 0.73, Kind::Float),
                wave(&[heads, k, n], 1.37, Kind::Float),
                Layout::Heads,
            ));
        }
        all
    }

    #[test]
    fn products_and_gradients_are_those_of_f64() {
        for (x, w, layout) in cases() {
            let found = all(&x, &w, |x, w| product(x, w, layout, Together::Tiles(16)));
            let wanted = all(&x.to_kind(Kind::Double), &w.to_kind(Kind::Double), |x, w| match layout {
                Layout::Transposed => x.matmul(&w.tr()),
                Layout::Heads => x.transpose(0, 1).bmm(w).transpose(0, 1),
            });
            for (found, wanted) in found.iter().zip(&wanted) {
                let size = wanted.abs().max().double_value(&[]);
                let error = (found.to_kind(Kind::Double) - wanted).abs().max().double_value(&[]);
                assert!(error <= 2e-5 * size.max(1.0), "{:?} {:?}: {error} of {size}", x.size(), w.size());
            }
        }
    }

    #[test]
    fn inv_7_bits_do_not_depend_on_the_number_of_threads() {
        let before = tch::get_num_threads();
        let with = |threads: i32| {
            tch::set_num_threads(threads);
            cases()
                .into_iter()
                .map(|(x, w, layout)| all(&x, &w, |x, w| product(x, w, layout, Together::Tiles(16))))
                .collect()
        };
        let alone: Vec<[Tensor; 3]> = with(1);
        for threads in [2, 3, 4, 7] {
            for (case, (found, alone)) in with(threads).iter().zip(&alone).enumerate() {
                assert!(found.iter().zip(alone).all(|(a, b)| a.equal(b)), "case {case}, {threads} threads");
            }
        }
        tch::set_num_threads(before);
    }
}
