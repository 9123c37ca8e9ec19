//! Matrix products whose rows do not depend on how many there are (INV-2).
//!
//! Below some number of rows a BLAS adds in another order, so fewer rows than that are padded with zeros. [`crate::doctor`] measures
//! the number; decoding is bound by memory, so the padding costs little. Where no number is safe, products go in blocks of always the
//! same number of rows. On the CPU products are also cut in tiles that do not depend on the number of threads (INV-7:
//! [`crate::kernels::product`]).

use tch::{Device, Kind, Tensor};

use crate::compute::{Compute, Precision};
use crate::doctor::{ProductShape, SafeRows, safe_rows};
use crate::kernels::product::{Layout, Together, product};

/// Rows that a CPU product is padded to even where fewer were measured to be safe.
pub const CPU_FLOOR: i64 = 16;

/// Products with a floor on the number of rows.
#[derive(Debug, Clone, Copy)]
pub struct Products {
    /// Products of fewer rows are padded to this.
    pub min_rows: i64,
    /// Products of more rows are cut into blocks of this many; `None` leaves them whole.
    pub block: Option<i64>,
    /// The numbers that are multiplied, but for [`Products::precise`].
    pub precision: Precision,
    /// Nothing about a product's surroundings shows in its bits. `false`: products are libtorch's, forward and backward.
    pub exact: bool,
}

/// A product of the model has no safe number of rows on this device.
#[derive(Debug, thiserror::Error)]
#[error(
    "a product with k = {k}, n = {n} gives different bits for different numbers of rows on {device:?}, so sampler and learner would not agree"
)]
pub struct NoSafeRows {
    /// Length of its sums.
    pub k: i64,
    /// Its columns.
    pub n: i64,
    /// Where.
    pub device: Device,
}

impl Products {
    /// Measures the floor for all products of a model.
    ///
    /// # Errors
    /// [`NoSafeRows`] where one has none: exact mode must then refuse to start.
    pub fn measure(compute: Compute, shapes: &[ProductShape]) -> Result<Self, NoSafeRows> {
        let Compute { device, precision, exact } = compute;
        if !exact {
            return Ok(Self { min_rows: 1, block: None, precision, exact });
        }
        let mut min_rows = if device == Device::Cpu { CPU_FLOOR } else { 1 };
        let mut block = None;
        for &shape in shapes {
            match safe_rows(device, shape.kind(precision), shape).ok_or(NoSafeRows {
                k: shape.k,
                n: shape.n,
                device,
            })? {
                SafeRows::From(rows) => min_rows = min_rows.max(rows),
                SafeRows::Exactly(rows) => block = Some(rows),
            }
        }
        Ok(Self { min_rows: block.unwrap_or(min_rows), block, precision, exact })
    }

    /// `x wᵀ` for `x [rows, k]`, `w [n, k]`, both f32, multiplied in the model's precision.
    pub fn linear(&self, x: &Tensor, w: &Tensor) -> Tensor {
        self.precise(&self.rounded(x), &self.rounded(w)).to_kind(Kind::Float)
    }

    /// As [`Products::linear`], in f32 whatever the model's precision.
    pub fn precise(&self, x: &Tensor, w: &Tensor) -> Tensor {
        if self.tiled(x) {
            return self.by_rows(x, 0, |x| product(x, w, Layout::Transposed, self.together()));
        }
        self.by_rows(x, 0, |x| x.matmul(&w.tr()))
    }

    /// `x_h w_h` for each head: `x [rows, heads, k]`, `w [heads, k, n]` → `[rows, heads, n]`.
    pub fn per_head(&self, x: &Tensor, w: &Tensor) -> Tensor {
        let (x, w) = (self.rounded(x), self.rounded(w));
        if self.tiled(&x) {
            return self.by_rows(&x, 0, |x| product(x, &w, Layout::Heads, self.together()));
        }
        self.by_rows(&x.transpose(0, 1), 1, |x| x.bmm(&w)).transpose(0, 1).to_kind(Kind::Float)
    }

    fn rounded(&self, x: &Tensor) -> Tensor {
        x.to_kind(self.precision.kind())
    }

    /// True where products are cut by us, so that the number of threads does not show.
    fn tiled(&self, x: &Tensor) -> bool {
        self.exact && x.device() == Device::Cpu && x.kind() == Kind::Float
    }

    fn together(&self) -> Together {
        if self.block.is_some() { Together::All } else { Together::Tiles(self.min_rows as usize) }
    }

    /// A product of `x`, whose rows lie along `dim`, on as many rows at once as are safe.
    fn by_rows(&self, x: &Tensor, dim: i64, product: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let rows = x.size()[dim as usize];
        match self.block.filter(|&block| rows > block) {
            None => self.padded(x, dim, &product),
            Some(block) => {
                let part = |at: usize| {
                    let at = at as i64;
                    self.padded(&x.narrow(dim, at, block.min(rows - at)), dim, &product)
                };
                let parts: Vec<Tensor> = (0..rows as usize).step_by(block as usize).map(part).collect();
                Tensor::cat(&parts, dim)
            }
        }
    }

    fn padded(&self, x: &Tensor, dim: i64, product: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let rows = x.size()[dim as usize];
        if rows >= self.min_rows {
            return product(x);
        }
        // Pairs of what is added before and after, from the last dimension on.
        let mut padding = vec![0; 2 * (x.dim() - dim as usize)];
        *padding.last_mut().expect("x has rows") = self.min_rows - rows;
        product(&x.constant_pad_nd(padding)).narrow(dim, 0, rows)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn inv_2_blocks_give_each_row_its_bits_and_each_weight_its_gradient() {
        let whole = Products { min_rows: 16, block: None, precision: Precision::F32, exact: true };
        let blocks = Products { min_rows: 32, block: Some(32), precision: Precision::F32, exact: true };
        let wave = |sizes: &[i64], step: f64| {
            let n: i64 = sizes.iter().product();
            (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step).sin().to_kind(Kind::Float).view(sizes)
        };
        let (x, heads) = (wave(&[77, 24], 0.73), wave(&[3, 24, 8], 0.31));
        let w = wave(&[8, 24], 1.37).set_requires_grad(true);
        let per_head = |p: &Products| p.per_head(&x.unsqueeze(1).expand([77, 3, 24], false), &heads);
        let seen = RefCell::new(Vec::new());
        let _ = blocks.by_rows(&x, 0, |part| {
            seen.borrow_mut().push(part.size()[0]);
            part.matmul(&w.tr())
        });
        assert_eq!(*seen.borrow(), [32, 32, 32], "the library never sees another number of rows");
        assert!(blocks.linear(&x, &w).equal(&whole.linear(&x, &w)));
        assert!(per_head(&blocks).equal(&per_head(&whole)));
        assert!(blocks.linear(&x.narrow(0, 40, 5), &w).equal(&blocks.linear(&x, &w).narrow(0, 40, 5)));
        let gradient =
            |p: &Products| Tensor::run_backward(&[p.linear(&x, &w).sin().sum(Kind::Float)], &[&w], false, false);
        let difference = (&gradient(&blocks)[0] - &gradient(&whole)[0]).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{difference}");
    }
}
