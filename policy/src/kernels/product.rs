//! Matrix products whose bits depend on nothing around them, forward and backward.
//!
//! `y_rh = x_rh W_h` for `x [rows, heads, k]`, `y [rows, heads, n]`. Backward, with `g` the gradient of `y`: `dx_rh = g_rh W_hᵀ` and
//! `dW_h = Σ_r x_rhᵀ g_rh`.
//!
//! A result is cut into tiles that threads take one after another. [`gemm`] gives an element the same bits wherever it is computed, so
//! neither the cut nor the number of threads shows (INV-7), nor how many rows there are (INV-2). On a GPU `cuda/product.cu` does, by the
//! same rule and with the same bits.

use native::{custom_op, parallel_for, wants_grad};
use tch::{Kind, Tensor};

use super::cuda::{self, on_gpu};
use super::gemm::{Factor, Out, Packed, Right, WIDE, gemm};
use super::{Number, empty, floats, floats_mut, plain, strided};
use crate::packs::Packs;

/// The largest tile.
const ROWS: usize = 256;
const COLUMNS: usize = 16 * WIDE;
/// The fewest rows of a tile.
const LEAST_ROWS: usize = 32;
/// Tiles that even out what threads have to do.
const TILES_A_THREAD: usize = 4;
/// Multiplications that are worth a task.
const LEAST_WORK: usize = 1 << 17;

/// How the weights lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[n, k]`, of a single head: a linear layer's.
    Transposed,
    /// `[heads, k, n]`.
    Heads,
}

/// `x W`: see the module. `x [rows, k]` gives `[rows, n]` with [`Layout::Transposed`], and `x [rows, heads, k]` `[rows, heads, n]` with
/// [`Layout::Heads`]; f32. `packs` keeps the weights laid out for the next product with them, on the CPU, where they may also be bf16.
///
/// # Panics
/// If the shapes do not fit: a caller's bug.
pub fn product(x: &Tensor, w: &Tensor, layout: Layout, packs: &Packs) -> Tensor {
    let (x_plain, w_read) = (plain(x), readable(w));
    let shape = Shape::new(&x_plain, &w_read, layout);
    let out = if on_gpu(&x_plain) {
        cuda::product::forward(shape, &x_plain, &w_read)
    } else {
        shape.forward(&x_plain, &w_read, packs)
    };
    if !wants_grad(&[x, w]) {
        return out;
    }
    let (for_x, for_w, w_read) = (x.requires_grad(), w.requires_grad(), widened(&w_read));
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let g = plain(g);
        let gpu = on_gpu(&g);
        let dx = for_x.then(|| if gpu { cuda::product::dx(shape, &g, &w_read) } else { shape.dx(&g, &w_read) });
        let dw = for_w.then(|| if gpu { cuda::product::dw(shape, &g, &x_plain) } else { shape.dw(&g, &x_plain) });
        vec![dx, dw]
    };
    custom_op(&[x, w], vec![out], backward).pop().expect("one output")
}

/// Weights of bf16 as f32, which is exact; others as they are.
pub(crate) fn widened(w: &Tensor) -> Tensor {
    if w.kind() == Kind::BFloat16 { w.to_kind(Kind::Float) } else { w.shallow_clone() }
}

/// The weights without history, copied only where neither rows nor columns lie together.
pub(super) fn readable(w: &Tensor) -> Tensor {
    let strides = w.stride();
    let steps = &strides[strides.len() - 2..];
    if steps.contains(&1) { w.detach() } else { plain(w) }
}

/// The sizes of one product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) heads: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) layout: Layout,
}

impl Shape {
    pub(super) fn new(x: &Tensor, w: &Tensor, layout: Layout) -> Self {
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
    fn input<'a>(self, data: &'a [f32]) -> Heads<'a> {
        Heads { of_first: Factor { data, row: self.heads * self.k, column: 1 }, head: self.k }
    }

    /// `y`'s gradient.
    fn output<'a>(self, data: &'a [f32]) -> Heads<'a> {
        Heads { of_first: Factor { data, row: self.heads * self.n, column: 1 }, head: self.n }
    }

    /// `W [k, n]` of each head.
    fn weights<T: Number>(self, w: &Tensor) -> Heads<'_, T> {
        let (data, strides) = strided(w);
        match (self.layout, strides.as_slice()) {
            (Layout::Transposed, &[column, row]) => Heads { of_first: Factor { data, row, column }, head: 0 },
            (Layout::Heads, &[head, row, column]) => Heads { of_first: Factor { data, row, column }, head },
            _ => unreachable!("`new` has seen the dimensions"),
        }
    }

    fn pack(self, w: &Tensor) -> Vec<Packed> {
        let (k, n) = (self.k, self.n);
        if w.kind() == Kind::BFloat16 {
            let weights = self.weights(w);
            return (0..self.heads).map(|head| Packed::of_bf16(weights.of(head), k, n)).collect();
        }
        let weights = self.weights(w);
        (0..self.heads).map(|head| Packed::new(weights.of(head), k, n)).collect()
    }

    /// `[rows, columns]`, or `[rows, heads, columns]`.
    pub(super) fn of_rows(self, columns: usize) -> Vec<i64> {
        let size = [self.rows as i64, self.heads as i64, columns as i64];
        if self.layout == Layout::Heads { size.to_vec() } else { vec![size[0], size[2]] }
    }

    /// The size of the weights.
    pub(super) fn of_weights(self) -> Vec<i64> {
        let (heads, k, n) = (self.heads as i64, self.k as i64, self.n as i64);
        if self.layout == Layout::Heads { vec![heads, k, n] } else { vec![n, k] }
    }

    fn forward(self, x: &Tensor, w: &Tensor, packs: &Packs) -> Tensor {
        let mut y = empty(&self.of_rows(self.n));
        let (x, packed) = (self.input(floats(x)), packs.panels(w, |w| self.pack(w)));
        let right = |head: usize, j: usize| Right::Packed(&packed[head], j);
        let places = (self.n, self.heads * self.n);
        self.multiply((self.rows, self.n, self.k), |head| x.of(head), right, floats_mut(&mut y), places);
        y
    }

    fn dx(self, g: &Tensor, w: &Tensor) -> Tensor {
        let mut dx = empty(&self.of_rows(self.k));
        let (g, w) = (self.output(floats(g)), self.weights(w));
        let right = |head: usize, j: usize| Right::Plain(w.of(head).flipped().from(0, j));
        let places = (self.k, self.heads * self.k);
        self.multiply((self.rows, self.k, self.n), |head| g.of(head), right, floats_mut(&mut dx), places);
        dx
    }

    fn dw(self, g: &Tensor, x: &Tensor) -> Tensor {
        let mut dw = empty(&self.of_weights());
        let (x, g) = (self.input(floats(x)), self.output(floats(g)));
        let (left, right, m, n) = match self.layout {
            Layout::Transposed => (g, x, self.n, self.k),
            Layout::Heads => (x, g, self.k, self.n),
        };
        let right = |head: usize, j: usize| Right::Plain(right.of(head).from(0, j));
        self.multiply((m, n, self.rows), |head| left.of(head).flipped(), right, floats_mut(&mut dw), (m * n, n));
        dw
    }

    /// `c = a b` for each head, one task a tile. `places`: elements of `c` from one head to the next, and from one row to the next.
    fn multiply<'a>(
        self,
        (m, n, k): (usize, usize, usize),
        a: impl Fn(usize) -> Factor<'a> + Sync,
        b: impl Fn(usize, usize) -> Right<'a> + Sync,
        c: &mut [f32],
        (head, row): (usize, usize),
    ) {
        if c.is_empty() {
            return;
        }
        if k == 0 {
            return c.fill(0.0);
        }
        assert!((self.heads - 1) * head + (m - 1) * row + n <= c.len(), "the result has room");
        let (rows, columns) = tile(self.heads, m, n, k);
        let (high, wide) = (m.div_ceil(rows), n.div_ceil(columns));
        let base = Base(c.as_mut_ptr());
        parallel_for(self.heads * high * wide, |task| {
            let (h, up, across) = (task / (high * wide), task / wide % high, task % wide);
            let (i, j) = (up * rows, across * columns);
            let size = (rows.min(m - i), columns.min(n - j), k);
            // SAFETY: the assertion above has checked the bounds, and the tiles of different tasks do not overlap: heads, rows and columns
            // of a result are apart.
            unsafe {
                let c = Out { data: base.get().add(h * head + i * row + j), row };
                gemm(size, a(h).from(i, 0), b(h, j), c);
            }
        });
    }
}

/// Rows and columns of a tile: as large as fits the cache, and smaller where the threads would not all have some.
fn tile(heads: usize, m: usize, n: usize, k: usize) -> (usize, usize) {
    let wanted = TILES_A_THREAD * tch::get_num_threads().max(1) as usize;
    let (mut rows, mut columns) = (ROWS, COLUMNS);
    let enough = |rows: usize, columns: usize| {
        heads * m.div_ceil(rows) * n.div_ceil(columns) >= wanted || rows.min(m) * columns.min(n) * k <= LEAST_WORK
    };
    // Columns first: a tile of few rows lays its right factor out for little.
    while columns > WIDE && !enough(rows, columns) {
        columns /= 2;
    }
    while rows > LEAST_ROWS && !enough(rows, columns) {
        rows /= 2;
    }
    (rows, columns)
}

/// One matrix a head, `head` elements apart.
#[derive(Clone, Copy)]
struct Heads<'a, T = f32> {
    of_first: Factor<'a, T>,
    head: usize,
}

impl<'a, T> Heads<'a, T> {
    fn of(&self, head: usize) -> Factor<'a, T> {
        Factor { data: &self.of_first.data[head * self.head..], ..self.of_first }
    }
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
    use native::cuda::{Emulated, emulated};
    use tch::Device;

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
            let found = all(&x, &w, |x, w| product(x, w, layout, &Packs::default()));
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

    /// The emulated GPU has few processors, so that these cases take tiles of every size, shared by blocks and not.
    #[test]
    fn inv_2_a_gpu_gives_the_same_bits() {
        let found =
            |(x, w, layout): (Tensor, Tensor, Layout)| all(&x, &w, |x, w| product(x, w, layout, &Packs::default()));
        let decoding = [(1, 513, 70), (16, 768, 64), (40, 1030, 90)].map(|(rows, k, n)| {
            (wave(&[rows, k], 0.73, Kind::Float), wave(&[n, k], 1.37, Kind::Float), Layout::Transposed)
        });
        let cases = || cases().into_iter().chain(decoding.iter().map(|(x, w, l)| (x.copy(), w.copy(), *l)));
        for order in [Emulated::Ascending, Emulated::Descending] {
            for (case, (on_cpu, on_gpu)) in
                cases().map(found).zip(cases().map(|c| emulated(order, || found(c)))).enumerate()
            {
                for (what, (on_cpu, on_gpu)) in ["y", "dx", "dw"].iter().zip(on_cpu.iter().zip(&on_gpu)) {
                    assert!(on_cpu.equal(on_gpu), "{what} of case {case}, {order:?}");
                }
            }
        }
    }

    #[test]
    fn transposed_weights_on_a_gpu_are_read_where_they_lie() {
        let x = wave(&[9, 2, 12], 0.73, Kind::Float);
        let w = wave(&[2, 5, 12], 1.37, Kind::Float).transpose(1, 2);
        let run = || all(&x, &w, |x, w| product(x, w, Layout::Heads, &Packs::default()));
        let (on_cpu, on_gpu) = (run(), emulated(Emulated::Ascending, run));
        assert!(on_cpu.iter().zip(&on_gpu).all(|(a, b)| a.equal(b)));
    }

    #[test]
    fn inv_7_bits_do_not_depend_on_the_number_of_threads() {
        let before = tch::get_num_threads();
        let with = |threads: i32| {
            tch::set_num_threads(threads);
            cases()
                .into_iter()
                .map(|(x, w, layout)| all(&x, &w, |x, w| product(x, w, layout, &Packs::default())))
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
