//! Whether a library's product gives a row the same bits wherever it stands (INV-2).
//!
//! A BLAS picks its kernel by shape, and with it the order of its sums; nobody promises where that changes, and a list of numbers of rows
//! that were tried has gaps. So the library is only ever given [`BLOCK`] rows: one shape, one kernel. What is left to measure, on the
//! machine at hand and for the shapes of the model at hand, is that a row's place in the block does not show.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tch::{Device, Kind, Tensor};

use crate::compute::Precision;

/// Rows of a library's product. Decoding is bound by memory below it, and a learner's batch is many times as large.
pub const BLOCK: i64 = 256;

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

/// True where a row of a block of [`BLOCK`] has the same bits in every place. Measured once a process.
pub fn place_is_hidden(device: Device, kind: Kind, shape: ProductShape) -> bool {
    static MEASURED: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
    let key = format!("{device:?} {kind:?} {shape:?}");
    let mut measured = MEASURED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *measured.entry(key).or_insert_with(|| measure(device, kind, shape))
}

fn measure(device: Device, kind: Kind, shape: ProductShape) -> bool {
    tch::no_grad(|| {
        let ProductShape { batch, k, n, .. } = shape;
        // Fixed values rather than libtorch's generator, whose state belongs to nobody here.
        let wave = |rows: i64, columns: i64, step: f64| {
            (Tensor::arange(batch * rows * columns, (Kind::Double, device)) * step)
                .sin()
                .to_kind(kind)
                .view([batch, rows, columns])
        };
        let (x, w) = (wave(2 * BLOCK, k, 0.73), wave(k, n, 1.37));
        place_is_hidden_of(&x, |x| if batch == 1 { x.get(0).matmul(&w.get(0)).unsqueeze(0) } else { x.bmm(&w) })
    })
}

/// As [`place_is_hidden`], for `product` of blocks of `x [batch, 2 · BLOCK, k]`: each pair of blocks shares rows, which stand elsewhere in
/// the second.
fn place_is_hidden_of(x: &Tensor, product: impl Fn(&Tensor) -> Tensor) -> bool {
    let block = |at: i64| product(&x.narrow(1, at, BLOCK).contiguous());
    let first = block(0);
    (1..BLOCK).all(|by| first.narrow(1, by, BLOCK - by).equal(&block(by).narrow(1, 0, BLOCK - by)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_2_a_place_that_shows_is_seen() {
        let rows = Tensor::arange(2 * BLOCK, (Kind::Double, Device::Cpu)).view([1, 2 * BLOCK, 1]);
        // The rows' numbers, each with what stands in for a kernel that depends on the place.
        let kernel = |added: fn(i64) -> f64| {
            let added: Vec<f64> = (0..BLOCK).map(added).collect();
            let added = Tensor::from_slice(&added).view([1, BLOCK, 1]);
            move |x: &Tensor| x + &added
        };
        assert!(place_is_hidden_of(&rows, kernel(|_| 0.5)));
        assert!(!place_is_hidden_of(&rows, kernel(|place| (place % 2) as f64)));
        assert!(!place_is_hidden_of(&rows, kernel(|place| f64::from(u8::from(place == BLOCK - 1)))));
    }
}
