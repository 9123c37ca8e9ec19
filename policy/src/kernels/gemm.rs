//! One product of f32 matrices on the calling thread, each element of which is one sum in one order.
//!
//! `c_ij = Σ_p a_ip b_pj` is summed in blocks of [`DEEP`] terms: within a block a chain of fused multiply-adds from 0 on, by ascending
//! `p`; the blocks' sums are added in order. Neither the number of rows or columns, nor how they are cut into tiles and given to threads,
//! nor the width of the processor's registers is in that rule, so none of them shows in a bit (INV-2, INV-7). A BLAS promises no such
//! thing: it picks its kernel, and with it the order, by all of them.
//!
//! The right factor is laid out in panels of [`WIDE`] columns, `[k][WIDE]` each, the last filled up with zeros. A weight that many
//! products share is laid out once ([`Packed`]); any other block by block, when it is needed. One of bf16 stays bf16 there and is widened
//! block by block, which is exact: half the memory, and half of what the processor waits for where rows are few.

use std::cell::RefCell;

use multiversion::multiversion;
use native::parallel_chunks;

use super::Number;
use super::math::fetch_far;

/// Terms of a sum's block.
pub const DEEP: usize = 256;
/// Columns of a panel: two AVX-512 registers. Columns may be cut at its multiples.
pub const WIDE: usize = 32;
/// Columns of a tile where registers are fewer or narrower than AVX-512's, which has tiles of 8 rows of a whole panel: of 6 rows so wide the
/// sums lie in 12 of AVX2's 16 registers, and what they are made of in the others.
const NARROW: usize = WIDE / 2;

/// A number of bf16, by its bits: the upper half of an f32's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// The same number.
    #[inline(always)]
    pub fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// A matrix that is read: element `(i, j)` lies at `i · row + j · column`, and one of the two steps is 1.
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a, T = f32> {
    /// Its elements, from the first on.
    pub data: &'a [T],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl<T> Factor<'_, T> {
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
    panels: Panels,
    k: usize,
    n: usize,
}

#[derive(Debug)]
enum Panels {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
}

/// What follows a block in memory, a row of f32 at a time.
type Ahead<'a> = &'a [[u8; WIDE * size_of::<f32>()]];

impl Packed {
    /// Lays `b [k, n]` out, on libtorch's threads.
    pub fn new(b: Factor<'_>, k: usize, n: usize) -> Self {
        Self { panels: Panels::F32(laid_out(b, k, n)), k, n }
    }

    /// As [`Packed::new`], as bf16.
    pub fn of_bf16(b: Factor<'_, Bf16>, k: usize, n: usize) -> Self {
        Self { panels: Panels::Bf16(laid_out(b, k, n)), k, n }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        let bytes = match &self.panels {
            Panels::F32(panels) => size_of_val(panels.as_slice()),
            Panels::Bf16(panels) => size_of_val(panels.as_slice()),
        };
        bytes as u64
    }

    /// The block of `deep` rows from column `j` and row `p` on, and what follows it; `scratch` is where it is widened.
    fn block<'a>(&'a self, j: usize, p: usize, deep: usize, scratch: &'a mut [f32]) -> (&'a [f32], Ahead<'a>) {
        let (from, length) = ((j / WIDE * self.k + p) * WIDE, deep * WIDE);
        match &self.panels {
            Panels::F32(panels) => {
                let (block, after) = panels[from..].split_at(length);
                (block, ahead(after, length))
            }
            Panels::Bf16(panels) => {
                let (block, after) = panels[from..].split_at(length);
                let scratch = &mut scratch[..length];
                widen(block, scratch);
                (scratch, ahead(after, length))
            }
        }
    }
}

/// `b [k, n]` in panels.
fn laid_out<T: Number>(b: Factor<'_, T>, k: usize, n: usize) -> Vec<T> {
    let mut panels = vec![T::default(); n.div_ceil(WIDE) * k * WIDE];
    parallel_chunks(&mut panels, (k * WIDE).max(1), |panel, out| {
        let j = panel * WIDE;
        pack(b.from(0, j), k, WIDE.min(n - j), out);
    });
    panels
}

/// The next block, of as many numbers, for the processor to ask for.
fn ahead<T: Number>(after: &[T], length: usize) -> Ahead<'_> {
    let after = &after[..length.min(after.len())];
    // SAFETY: these numbers are bytes without padding, which are read while the slice is borrowed.
    let bytes = unsafe { std::slice::from_raw_parts(after.as_ptr().cast::<u8>(), size_of_val(after)) };
    bytes.as_chunks().0
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn widen(from: &[Bf16], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.widened());
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
pub unsafe fn gemm(size: (usize, usize, usize), a: Factor<'_>, b: Right<'_>, c: Out) {
    // SAFETY: the caller's promise.
    unsafe { gemm_by(wide_registers(), size, a, b, c) };
}

/// [`gemm`] by tiles for registers that are `wide`, or not.
///
/// # Safety
/// As [`gemm`].
unsafe fn gemm_by(wide: bool, (m, n, k): (usize, usize, usize), a: Factor<'_>, b: Right<'_>, c: Out) {
    PANEL.with_borrow_mut(|scratch| {
        scratch.resize(DEEP * WIDE, 0.0);
        for j in (0..n).step_by(WIDE) {
            let columns = WIDE.min(n - j);
            // Without terms there is one block still, whose sums are 0.
            for p in (0..k.max(1)).step_by(DEEP) {
                let deep = DEEP.min(k - p);
                let (panel, ahead): (&[f32], Ahead<'_>) = match b {
                    Right::Packed(packed, first) => {
                        debug_assert!(first % WIDE == 0 && first + n <= packed.n && packed.k == k);
                        packed.block(first + j, p, deep, scratch)
                    }
                    Right::Plain(b) => {
                        let panel = &mut scratch[..deep * WIDE];
                        if deep > 0 {
                            pack(b.from(p, j), deep, columns, panel);
                        }
                        (panel, &[])
                    }
                };
                let part = if deep > 0 { a.from(0, p) } else { a };
                // SAFETY: the caller's promise, for columns of it.
                unsafe { column((m, columns, p == 0), part, panel, ahead, Out { data: c.data.add(j), ..c }, wide) };
            }
        }
    });
}

fn wide_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Lays `b [k, columns]` out as `[k][WIDE]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn pack<T: Copy + Default>(b: Factor<'_, T>, k: usize, columns: usize, out: &mut [T]) {
    let (rows, _) = out.as_chunks_mut::<WIDE>();
    let rows = &mut rows[..k];
    if b.column == 1 {
        for (p, to) in rows.iter_mut().enumerate() {
            to[..columns].copy_from_slice(&b.data[p * b.row..][..columns]);
            to[columns..].fill(T::default());
        }
        return;
    }
    for l in 0..WIDE {
        if l < columns {
            let from = &b.data[l * b.column..][..k];
            rows.iter_mut().zip(from).for_each(|(to, x)| to[l] = *x);
        } else {
            rows.iter_mut().for_each(|to| to[l] = T::default());
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
    ahead: Ahead<'_>,
    c: Out,
    wide: bool,
) {
    let (panel, _) = panel.as_chunks::<WIDE>();
    // SAFETY: the caller's promise, for these columns.
    unsafe {
        if wide {
            return strip::<8, WIDE, 0>((m, columns, first), a, panel, ahead, c);
        }
        strip::<6, NARROW, 0>((m, columns.min(NARROW), first), a, panel, ahead, c);
        if columns > NARROW {
            let c = Out { data: c.data.add(NARROW), ..c };
            strip::<6, NARROW, NARROW>((m, columns - NARROW, first), a, panel, &[], c);
        }
    }
}

/// The part of [`column()`] in the `COLUMNS` columns from `FROM` on, by tiles of `ROWS` rows while there are so many left.
///
/// # Safety
/// As [`gemm`], for these columns.
#[inline(always)]
unsafe fn strip<const ROWS: usize, const COLUMNS: usize, const FROM: usize>(
    (m, columns, first): (usize, usize, bool),
    a: Factor<'_>,
    panel: &[[f32; WIDE]],
    mut ahead: Ahead<'_>,
    c: Out,
) {
    let mut i = 0;
    while i < m {
        let part = if panel.is_empty() { a } else { a.from(i, 0) };
        let ahead = std::mem::take(&mut ahead);
        // SAFETY: the caller's promise, for the rows from `i` on.
        i += unsafe {
            let c = Out { data: c.data.add(i * c.row), ..c };
            match m - i {
                left if left >= ROWS => tile::<ROWS, COLUMNS, FROM>(part, panel, ahead, c, columns, first),
                4.. => tile::<4, COLUMNS, FROM>(part, panel, ahead, c, columns, first),
                2.. => tile::<2, COLUMNS, FROM>(part, panel, ahead, c, columns, first),
                _ => tile::<1, COLUMNS, FROM>(part, panel, ahead, c, columns, first),
            }
        };
    }
}

/// One block of `ROWS` rows and, from `FROM` on, `COLUMNS` columns of a panel's product. Answers with the number of rows.
///
/// # Safety
/// As [`gemm`], for these rows and columns.
#[expect(clippy::needless_range_loop, reason = "iterators are not unrolled in time: see below")]
#[inline(always)]
unsafe fn tile<const ROWS: usize, const COLUMNS: usize, const FROM: usize>(
    a: Factor<'_>,
    panel: &[[f32; WIDE]],
    ahead: Ahead<'_>,
    c: Out,
    columns: usize,
    first: bool,
) -> usize {
    if let Some(last) = panel.len().checked_sub(1) {
        assert!((ROWS - 1) * a.row + last * a.column < a.data.len(), "the left factor is as large as the sizes say");
    }
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    let data = a.data.as_ptr();
    for (p, b) in panel.iter().enumerate() {
        if let Some(ahead) = ahead.get(p) {
            fetch_far(ahead);
        }
        for i in 0..ROWS {
            // SAFETY: `i` and `p` are at most those of the assertion.
            let x = unsafe { *data.add(i * a.row + p * a.column) };
            for l in 0..COLUMNS {
                sums[i][l] = x.mul_add(b[FROM + l], sums[i][l]);
            }
        }
    }
    // Only plain loops over known counts are unrolled, so that the sums live in registers. A count that is not known would keep them in
    // memory, in both branches; so that branch gets a copy that the compiler cannot see through.
    if columns == COLUMNS {
        for i in 0..ROWS {
            // SAFETY: the caller's promise.
            let out = unsafe { &mut *c.data.add(i * c.row).cast::<[f32; COLUMNS]>() };
            for l in 0..COLUMNS {
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

    fn transposed<T: Copy>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
        (0..x.len()).map(|at| x[at % rows * columns + at / rows]).collect()
    }

    /// What both kinds of tiles give, whichever the processor has.
    fn run(size: (usize, usize, usize), a: Factor<'_>, b: Right<'_>) -> Vec<f32> {
        let (m, n, _) = size;
        let [wide, narrow] = [true, false].map(|wide| {
            let mut c = vec![f32::NAN; m * n];
            // SAFETY: `c` holds m rows of n.
            unsafe { gemm_by(wide, size, a, b, Out { data: c.as_mut_ptr(), row: n }) };
            c
        });
        assert_eq!(wide, narrow, "{size:?}");
        wide
    }

    #[test]
    fn inv_2_and_inv_7_every_layout_gives_the_sums_of_the_rule() {
        for (m, n, k) in [
            (1, 1, 1),
            (3, 5, 7),
            (8, 32, 256),
            (9, 33, 257),
            (17, 70, 600),
            (2, 40, 0),
            (23, 64, 513),
            (7, 16, 9),
            (11, 55, 300),
            (6, 31, 40),
        ] {
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

    /// The bits of numbers that bf16 can say do not depend on how they are kept.
    #[test]
    fn inv_1_a_factor_of_bf16_gives_the_sums_of_its_widened_self() {
        for (m, n, k) in [(1, 1, 1), (3, 33, 7), (9, 70, 600), (17, 64, 513), (2, 40, 0)] {
            let half: Vec<Bf16> = wave(k * n, 1.37).iter().map(|x| Bf16((x.to_bits() >> 16) as u16)).collect();
            let wide: Vec<f32> = half.iter().map(|x| x.widened()).collect();
            let (a, half_t) = (wave(m * k, 0.73), transposed(&half, k, n));
            let left = Factor { data: &a, row: k, column: 1 };
            let wanted = run((m, n, k), left, Right::Plain(Factor { data: &wide, row: n, column: 1 }));
            let rights = [Factor { data: &half, row: n, column: 1 }, Factor { data: &half_t, row: 1, column: k }];
            for right in rights {
                let packed = Packed::of_bf16(right, k, n);
                assert_eq!(run((m, n, k), left, Right::Packed(&packed, 0)), wanted, "{m} {n} {k}");
                let whole = Packed::new(Factor { data: &wide, row: n, column: 1 }, k, n);
                assert_eq!(2 * packed.bytes(), whole.bytes());
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
