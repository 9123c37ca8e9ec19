//! One product of f32 matrices on the calling thread, each element of which is one sum in one order.
//!
//! `c_ij = Σ_p a_ip b_pj` is summed in blocks of [`DEEP`] terms: within a block a chain of fused multiply-adds from 0 on, by ascending
//! `p`; the blocks' sums are added in order. Neither the number of rows or columns, nor how they are cut into tiles and given to threads,
//! nor the width of the processor's registers is in that rule, so none of them shows in a bit (INV-2, INV-7). A BLAS promises no such
//! thing: it picks its kernel, and with it the order, by all of them.
//!
//! The right factor is laid out in panels of [`WIDE`] columns, `[k][WIDE]` each, the last filled up with zeros. A weight that many
//! products share is laid out once ([`Packed`]); any other block by block, when it is needed.

use std::cell::RefCell;

use multiversion::multiversion;
use native::parallel_chunks;

use super::math::fetch_far;

/// Terms of a sum's block.
pub const DEEP: usize = 256;
/// Columns of a panel: two AVX-512 registers. Columns may be cut at its multiples.
pub const WIDE: usize = 32;
/// Rows whose sums fit in the registers: 16 of AVX-512's 32, or 8 of AVX2's 16.
const HIGH: usize = 8;
const HIGH_AVX2: usize = 2;

/// A matrix that is read: element `(i, j)` lies at `i · row + j · column`, and one of the two steps is 1.
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a> {
    /// Its elements, from the first on.
    pub data: &'a [f32],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl<'a> Factor<'a> {
    /// The transpose.
    pub fn flipped(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// What is left from row `i` and column `j` on.
    pub fn from(self, i: usize, j: usize) -> Self {
        Self { data: &self.data[i * self.row + j * self.column..], ..self }
    }
}

/// A right factor `[k, n]` laid out in panels.
#[derive(Debug)]
pub struct Packed {
    panels: Vec<f32>,
    k: usize,
    n: usize,
}

impl Packed {
    /// Lays `b [k, n]` out, on libtorch's threads.
    pub fn new(b: Factor<'_>, k: usize, n: usize) -> Self {
        let mut panels = vec![0.0f32; n.div_ceil(WIDE) * k * WIDE];
        parallel_chunks(&mut panels, (k * WIDE).max(1), |panel, out| {
            let j = panel * WIDE;
            pack(b.from(0, j), k, WIDE.min(n - j), out);
        });
        Self { panels, k, n }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        (self.panels.len() * size_of::<f32>()) as u64
    }

    /// All panels, from column `j` and row `p` on.
    fn from(&self, j: usize, p: usize) -> &[f32] {
        &self.panels[(j / WIDE * self.k + p) * WIDE..]
    }
}

/// A right factor.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// As it lies in memory.
    Plain(Factor<'a>),
    /// Laid out, from this column on, which is a multiple of [`WIDE`].
    Packed(&'a Packed, usize),
}

/// Where a result goes: rows `row` elements apart from `data` on.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Its first element.
    pub data: *mut f32,
    /// From one row to the next.
    pub row: usize,
}

thread_local! {
    static PANEL: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `c = a b` for `a [m, k]`, `b [k, n]`, `c [m, n]`.
///
/// # Safety
/// `c`'s `m` rows of `n` elements can be written, and nobody else touches them meanwhile.
///
/// # Panics
/// If a factor is smaller than the sizes say: a caller's bug.
pub unsafe fn gemm((m, n, k): (usize, usize, usize), a: Factor<'_>, b: Right<'_>, c: Out) {
    let most = if wide_registers() { HIGH } else { HIGH_AVX2 };
    PANEL.with_borrow_mut(|scratch| {
        scratch.resize(DEEP * WIDE, 0.0);
        for j in (0..n).step_by(WIDE) {
            let columns = WIDE.min(n - j);
            // Without terms there is one block still, whose sums are 0.
            for p in (0..k.max(1)).step_by(DEEP) {
                let deep = DEEP.min(k - p);
                let mut ahead = None;
                let panel = match b {
                    Right::Packed(packed, first) => {
                        debug_assert!(first % WIDE == 0 && first + n <= packed.n && packed.k == k);
                        let (panel, after) = packed.from(first + j, p).split_at(deep * WIDE);
                        ahead = Some(after);
                        panel
                    }
                    Right::Plain(b) => {
                        let panel = &mut scratch[..deep * WIDE];
                        if deep > 0 {
                            pack(b.from(p, j), deep, columns, panel);
                        }
                        &*panel
                    }
                };
                let part = if deep > 0 { a.from(0, p) } else { a };
                // SAFETY: the caller's promise, for columns of it.
                unsafe { column((m, columns, p == 0), part, panel, ahead, Out { data: c.data.add(j), ..c }, most) };
            }
        }
    });
}

fn wide_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

/// Lays `b [k, columns]` out as `[k][WIDE]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn pack(b: Factor<'_>, k: usize, columns: usize, out: &mut [f32]) {
    let (rows, _) = out.as_chunks_mut::<WIDE>();
    let rows = &mut rows[..k];
    if b.column == 1 {
        for (p, to) in rows.iter_mut().enumerate() {
            to[..columns].copy_from_slice(&b.data[p * b.row..][..columns]);
            to[columns..].fill(0.0);
        }
        return;
    }
    for l in 0..WIDE {
        if l < columns {
            let from = &b.data[l * b.column..][..k];
            rows.iter_mut().zip(from).for_each(|(to, x)| to[l] = *x);
        } else {
            rows.iter_mut().for_each(|to| to[l] = 0.0);
        }
    }
}

/// One block of a panel's product, over all rows. What follows the block in memory, `ahead`, is the next one: the processor does not ask
/// for it by itself beyond a page of 4 KiB, so it is asked for meanwhile.
///
/// # Safety
/// As [`gemm`], for `columns` of its columns.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
unsafe fn column(
    (m, columns, first): (usize, usize, bool),
    a: Factor<'_>,
    panel: &[f32],
    ahead: Option<&[f32]>,
    c: Out,
    most: usize,
) {
    let (panel, _) = panel.as_chunks::<WIDE>();
    let mut ahead = ahead.map_or(&[][..], |ahead| ahead.as_chunks::<WIDE>().0);
    let mut i = 0;
    while i < m {
        let part = if panel.is_empty() { a } else { a.from(i, 0) };
        // SAFETY: the caller's promise, for the rows from `i` on.
        i += unsafe {
            let c = Out { data: c.data.add(i * c.row), ..c };
            match most.min(m - i) {
                8.. => tile::<8>(part, panel, std::mem::take(&mut ahead), c, columns, first),
                4.. => tile::<4>(part, panel, std::mem::take(&mut ahead), c, columns, first),
                2.. => tile::<2>(part, panel, std::mem::take(&mut ahead), c, columns, first),
                _ => tile::<1>(part, panel, std::mem::take(&mut ahead), c, columns, first),
            }
        };
    }
}

/// One block of `ROWS` rows of a panel's product. Answers with their number.
///
/// # Safety
/// As [`gemm`], for these rows and columns.
#[expect(clippy::needless_range_loop, reason = "iterators are not unrolled in time: see below")]
#[inline(always)]
unsafe fn tile<const ROWS: usize>(
    a: Factor<'_>,
    panel: &[[f32; WIDE]],
    ahead: &[[f32; WIDE]],
    c: Out,
    columns: usize,
    first: bool,
) -> usize {
    if let Some(last) = panel.len().checked_sub(1) {
        assert!((ROWS - 1) * a.row + last * a.column < a.data.len(), "the left factor is as large as the sizes say");
    }
    let mut sums = [[0.0f32; WIDE]; ROWS];
    let data = a.data.as_ptr();
    for (p, b) in panel.iter().enumerate() {
        if let Some(ahead) = ahead.get(p) {
            fetch_far(ahead);
        }
        for i in 0..ROWS {
            // SAFETY: `i` and `p` are at most those of the assertion.
            let x = unsafe { *data.add(i * a.row + p * a.column) };
            for l in 0..WIDE {
                sums[i][l] = x.mul_add(b[l], sums[i][l]);
            }
        }
    }
    // Only plain loops over known counts are unrolled, so that the sums live in registers. A count that is not known would keep them in
    // memory, in both branches; so that branch gets a copy that the compiler cannot see through.
    if columns == WIDE {
        for i in 0..ROWS {
            // SAFETY: the caller's promise.
            let out = unsafe { &mut *c.data.add(i * c.row).cast::<[f32; WIDE]>() };
            for l in 0..WIDE {
                out[l] = if first { sums[i][l] } else { out[l] + sums[i][l] };
            }
        }
    } else {
        let sums = std::hint::black_box(sums);
        for i in 0..ROWS {
            // SAFETY: the caller's promise.
            let out = unsafe { std::slice::from_raw_parts_mut(c.data.add(i * c.row), columns) };
            for l in 0..columns {
                out[l] = if first { sums[i][l] } else { out[l] + sums[i][l] };
            }
        }
    }
    ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    /// The rule of the module's first lines, one element at a time.
    fn by_the_rule((m, n, k): (usize, usize, usize), a: &[f32], b: &[f32]) -> Vec<f32> {
        let element = |i: usize, j: usize| {
            let block = |p: usize| {
                let terms = p..(p + DEEP).min(k);
                terms.fold(0.0f32, |sum, p| a[i * k + p].mul_add(b[p * n + j], sum))
            };
            (0..k).step_by(DEEP).map(block).reduce(|sum, block| sum + block).unwrap_or(0.0)
        };
        (0..m * n).map(|at| element(at / n, at % n)).collect()
    }

    fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..x.len()).map(|at| x[at % rows * columns + at / rows]).collect()
    }

    fn run(size: (usize, usize, usize), a: Factor<'_>, b: Right<'_>) -> Vec<f32> {
        let (m, n, _) = size;
        let mut c = vec![f32::NAN; m * n];
        // SAFETY: `c` holds m rows of n.
        unsafe { gemm(size, a, b, Out { data: c.as_mut_ptr(), row: n }) };
        c
    }

    #[test]
    fn inv_2_and_inv_7_every_layout_gives_the_sums_of_the_rule() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (8, 32, 256), (9, 33, 257), (17, 70, 600), (2, 40, 0), (23, 64, 513)] {
            let (a, b) = (wave(m * k, 0.73), wave(k * n, 1.37));
            let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
            let wanted = by_the_rule((m, n, k), &a, &b);
            let lefts = [Factor { data: &a, row: k, column: 1 }, Factor { data: &a_t, row: 1, column: m }];
            let rights = [Factor { data: &b, row: n, column: 1 }, Factor { data: &b_t, row: 1, column: k }];
            for left in lefts {
                for right in rights {
                    let packed = Packed::new(right, k, n);
                    assert_eq!(run((m, n, k), left, Right::Plain(right)), wanted, "{m} {n} {k}");
                    assert_eq!(run((m, n, k), left, Right::Packed(&packed, 0)), wanted, "{m} {n} {k}, packed");
                }
            }
        }
    }

    #[test]
    fn inv_2_a_part_has_the_bits_of_the_whole() {
        let (m, n, k) = (21, 100, 300);
        let (a, b) = (wave(m * k, 0.73), wave(k * n, 1.37));
        let (left, right) = (Factor { data: &a, row: k, column: 1 }, Factor { data: &b, row: n, column: 1 });
        let packed = Packed::new(right, k, n);
        let whole = run((m, n, k), left, Right::Plain(right));
        let part = run((5, 36, k), left.from(7, 0), Right::Packed(&packed, 64));
        assert!((0..5).all(|i| part[i * 36..][..36] == whole[(7 + i) * n + 64..][..36]));
    }
}
