//! Matrix products whose rows do not depend on how many there are (INV-2).
//!
//! Below some number of rows a BLAS adds in another order, so fewer rows than that are padded with zeros. [`crate::doctor`] measures
//! the number; decoding is bound by memory, so the padding costs little.

use tch::{Device, Kind, Tensor};

use crate::doctor::{ProductShape, safe_rows};

/// Rows that a CPU product is padded to even where fewer were measured to be safe.
pub const CPU_FLOOR: i64 = 16;

/// Products with a floor on the number of rows.
#[derive(Debug, Clone, Copy)]
pub struct Products {
    /// Products of fewer rows are padded to this.
    pub min_rows: i64,
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
    /// Measures the floor for all `shapes` on `device`.
    ///
    /// # Errors
    /// [`NoSafeRows`] where one has none: exact mode must then refuse to start.
    pub fn measure(device: Device, kind: Kind, shapes: &[ProductShape]) -> Result<Self, NoSafeRows> {
        let mut min_rows = if device == Device::Cpu { CPU_FLOOR } else { 1 };
        for &shape in shapes {
            let safe = safe_rows(device, kind, shape).ok_or(NoSafeRows { k: shape.k, n: shape.n, device })?;
            min_rows = min_rows.max(safe);
        }
        Ok(Self { min_rows })
    }

    /// `x wᵀ` for `x [rows, k]`, `w [n, k]`.
    pub fn linear(&self, x: &Tensor, w: &Tensor) -> Tensor {
        let rows = x.size()[0];
        if rows >= self.min_rows {
            return x.matmul(&w.tr());
        }
        x.constant_pad_nd([0, 0, 0, self.min_rows - rows]).matmul(&w.tr()).narrow(0, 0, rows)
    }

    /// `x_h w_h` for each head: `x [rows, heads, k]`, `w [heads, k, n]` → `[rows, heads, n]`.
    pub fn per_head(&self, x: &Tensor, w: &Tensor) -> Tensor {
        let rows = x.size()[0];
        let x = x.transpose(0, 1);
        let x = if rows >= self.min_rows { x } else { x.constant_pad_nd([0, 0, 0, self.min_rows - rows]) };
        x.bmm(w).narrow(1, 0, rows).transpose(0, 1)
    }
}
