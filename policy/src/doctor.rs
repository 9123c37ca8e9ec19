//! How many rows a product needs before a row's bits stop depending on how many there are (INV-2).
//!
//! A BLAS picks its kernel by shape, and below some number of rows it may pick one that adds in another order. Nobody promises where
//! that ends, so it is measured on the machine at hand, for the shapes of the model at hand: the smallest power of two from which
//! every larger number of rows tried, at every offset tried, gives the bits of the largest. Where there is none (a GPU's library cuts
//! long sums in a number of parts that depends on the rows), a product of always the same number of rows uses always the same kernel,
//! and what is measured is that a row's place in it does not matter.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tch::{Device, Kind, Tensor};

use crate::compute::Precision;
use crate::kernels::product::{Layout, Together, product};

/// Numbers of rows that are compared with the largest; odd ones and ones just off a block are where kernels change.
const ROWS: [i64; 22] = [1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 31, 33, 48, 64, 100, 129, 256, 500, 777, 1024, 2000, 3001];
const LARGEST: i64 = 4096;
/// Padding beyond this would cost more than an own kernel.
const MOST_PADDING: i64 = 2048;
/// Rows of a product that always has the same number of them: enough for every product that is safe by itself.
const BLOCK: i64 = MOST_PADDING;

/// One product of the model: `[rows, k] × [k, n]`, over `batch` heads at once where `batch > 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductShape {
    /// Heads that are multiplied at once; 1 for a plain product.
    pub batch: i64,
    /// Length of the sum.
    pub k: i64,
    /// Columns of the result.
    pub n: i64,
    /// In f32 whatever the model's precision ([`crate::products::Products::precise`]).
    pub precise: bool,
}

impl ProductShape {
    /// The numbers that are multiplied in a model of this precision.
    pub fn kind(&self, precision: Precision) -> Kind {
        if self.precise { Kind::Float } else { precision.kind() }
    }
}

/// The numbers of rows of a product that give a row the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafeRows {
    /// Any number from this on.
    From(i64),
    /// This number alone, wherever in it the row stands.
    Exactly(i64),
}

/// The safe numbers of rows of a product, or `None` where neither every number from one up to 2,048 on nor blocks of 2,048 are safe.
/// Measured once a process.
pub fn safe_rows(device: Device, kind: Kind, shape: ProductShape) -> Option<SafeRows> {
    static MEASURED: Mutex<BTreeMap<String, Option<SafeRows>>> = Mutex::new(BTreeMap::new());
    let key = format!("{device:?} {kind:?} {shape:?} {}", tch::get_num_threads());
    let mut measured = MEASURED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *measured.entry(key).or_insert_with(|| measure(device, kind, shape))
}

fn measure(device: Device, kind: Kind, shape: ProductShape) -> Option<SafeRows> {
    tch::no_grad(|| {
        let ProductShape { batch, k, n, .. } = shape;
        // Fixed values rather than libtorch's generator, whose state belongs to nobody here.
        let wave = |rows: i64, columns: i64, step: f64| {
            (Tensor::arange(batch * rows * columns, (Kind::Double, device)) * step)
                .sin()
                .to_kind(kind)
                .view([batch, rows, columns])
        };
        let (x, w) = (wave(LARGEST, k, 0.73), wave(k, n, 1.37));
        if device == Device::Cpu && kind == Kind::Float {
            return safe_of(&x, tiled(&w));
        }
        safe_of(&x, |x| if batch == 1 { x.get(0).matmul(&w.get(0)).unsqueeze(0) } else { x.bmm(&w) })
    })
}

/// The CPU's product as the model computes it, with all rows at once.
fn tiled(w: &Tensor) -> impl Fn(&Tensor) -> Tensor {
    let (single, linear) = (w.size()[0] == 1, w.get(0).tr().contiguous());
    let w = w.shallow_clone();
    move |x| match single {
        true => product(&x.get(0), &linear, Layout::Transposed, Together::All).unsqueeze(0),
        false => product(&x.transpose(0, 1), &w, Layout::Heads, Together::All).transpose(0, 1),
    }
}

/// The safe numbers of rows of `product`, tried on `x [batch, LARGEST, k]`.
fn safe_of(x: &Tensor, product: impl Fn(&Tensor) -> Tensor) -> Option<SafeRows> {
    let whole = product(x);
    let agrees = |rows: i64| {
        [0, 1, (LARGEST - rows) / 2, LARGEST - rows].into_iter().all(|at| {
            let part = product(&x.narrow(1, at, rows).contiguous());
            part.equal(&whole.narrow(1, at, rows))
        })
    };
    let worst = ROWS.into_iter().rev().find(|&rows| !agrees(rows)).unwrap_or(0);
    let safe = (worst as u64 + 1).next_power_of_two() as i64;
    if safe <= MOST_PADDING {
        return Some(SafeRows::From(safe));
    }
    // Two blocks that share rows, which stand elsewhere in the second.
    let block = |at: i64| product(&x.narrow(1, at, BLOCK).contiguous());
    let first = block(0);
    let same = |by: i64| first.narrow(1, by, BLOCK - by).equal(&block(by).narrow(1, 0, BLOCK - by));
    [1, 2, 7, 16, 33, 64, 100, 129, 512, 1000, 2000].into_iter().all(same).then_some(SafeRows::Exactly(BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Tensor {
        Tensor::arange(LARGEST, (Kind::Double, Device::Cpu)).view([1, LARGEST, 1])
    }

    /// The numbers of the rows of `x`, each with what stands in for a kernel that depends on `added`.
    fn kernel(x: &Tensor, added: impl Fn(i64, i64) -> f64) -> Tensor {
        let rows = x.size()[1];
        let added: Vec<f64> = (0..rows).map(|place| added(rows, place)).collect();
        x + Tensor::from_slice(&added).view([1, rows, 1])
    }

    #[test]
    fn inv_2_rows_are_safe_from_where_the_kernel_stops_changing() {
        let small = |rows, _| if rows < 100 { 0.5 } else { 0.0 };
        assert_eq!(safe_of(&rows(), |x| kernel(x, small)), Some(SafeRows::From(128)));
        assert_eq!(safe_of(&rows(), |x| kernel(x, |_, _| 0.0)), Some(SafeRows::From(1)));
    }

    #[test]
    fn inv_2_a_kernel_that_always_changes_is_safe_in_blocks_unless_the_place_shows() {
        let by_number = |rows: i64, _| 1.0 / rows as f64;
        assert_eq!(safe_of(&rows(), |x| kernel(x, by_number)), Some(SafeRows::Exactly(BLOCK)));
        let by_place = |rows: i64, place: i64| 1.0 / (rows + place % 2) as f64;
        assert_eq!(safe_of(&rows(), |x| kernel(x, by_place)), None);
    }
}
