//! Matrix products whose rows do not depend on how many there are (INV-2).
//!
//! Every product is our own ([`crate::kernels::product`]), on the CPU and on a GPU: each element is a sum in one order whatever is around
//! it. In f32 both give the same bits.
//!
//! On a GPU without a compiler for our kernels products are the library's. It picks its kernel by the number of rows, so it is always
//! given the same number ([`crate::doctor::BLOCK`]): more rows are cut, fewer are filled up with zeros.

use tch::{Device, Kind, Tensor};

use crate::compute::{Compute, Precision};
use crate::doctor::{BLOCK, ProductShape, place_is_hidden};
use crate::kernels::cuda::on_gpu;
use crate::kernels::cuda::product::product_bf16;
use crate::kernels::product::{Layout, product, widened};
use crate::packs::Packs;

/// The products of a model.
#[derive(Debug, Clone)]
pub struct Products {
    /// Products are our own. `false`: they are libtorch's, and both number of rows and number of threads show.
    pub own: bool,
    /// The library's products have exactly this many rows; `None`: as many as come.
    pub block: Option<i64>,
    /// The numbers that are multiplied, but for [`Products::precise`].
    pub precision: Precision,
    packs: Packs,
}

/// A product of the model has no safe number of rows on this device.
#[derive(Debug, thiserror::Error)]
#[error(
    "a product with k = {k}, n = {n} gives a row different bits in different places on {device:?}, so sampler and learner would not agree"
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
    /// Our own where our kernels run; elsewhere the library's, measured for all products of a model.
    ///
    /// # Errors
    /// [`NoSafeRows`] where one has none: exact mode must then refuse to start.
    pub fn new(compute: Compute, shapes: &[ProductShape]) -> Result<Self, NoSafeRows> {
        let Compute { device, precision, exact, .. } = compute;
        let own = exact && (device == Device::Cpu || native::cuda::ready(device));
        let block = (exact && !own).then_some(BLOCK);
        if block.is_some() {
            let shows = shapes.iter().find(|shape| !place_is_hidden(device, shape.kind(precision), **shape));
            if let Some(&ProductShape { k, n, .. }) = shows {
                return Err(NoSafeRows { k, n, device });
            }
        }
        Ok(Self { own, block, precision, packs: Packs::default() })
    }

    /// Our own, wherever they compute.
    pub fn own(precision: Precision) -> Self {
        Self { own: true, block: None, precision, packs: Packs::default() }
    }

    /// Bytes of weights that are kept laid out.
    pub fn bytes(&self) -> u64 {
        self.packs.bytes()
    }

    /// `x wᵀ` for `x [rows, k]`, `w [n, k]`, both f32, multiplied in the model's precision.
    pub fn linear(&self, x: &Tensor, w: &Tensor) -> Tensor {
        self.in_precision(x, w, Layout::Transposed)
    }

    /// As [`Products::linear`], in f32 whatever the model's precision.
    pub fn precise(&self, x: &Tensor, w: &Tensor) -> Tensor {
        self.product(x, w, Layout::Transposed, &self.packs)
    }

    /// As [`Products::precise`], for factors that are not multiplied again: nothing is kept laid out.
    pub fn apart(&self, x: &Tensor, w: &Tensor) -> Tensor {
        self.product(x, w, Layout::Transposed, &Packs::default())
    }

    /// `x_h w_h` for each head: `x [rows, heads, k]`, `w [heads, k, n]` → `[rows, heads, n]`.
    pub fn per_head(&self, x: &Tensor, w: &Tensor) -> Tensor {
        self.in_precision(x, w, Layout::Heads)
    }

    /// A product of factors that are rounded to the model's precision, rounded in turn.
    fn in_precision(&self, x: &Tensor, w: &Tensor, layout: Layout) -> Tensor {
        let kind = self.precision.kind();
        let product = |x: &Tensor, w: &Tensor, packs: &Packs| self.product(x, w, layout, packs);
        match self.precision {
            Precision::F32 => product(x, w, &self.packs),
            Precision::Bf16 if self.own && on_gpu(x) => product_bf16(x, w, layout, &self.packs),
            // Our own product multiplies the rounded numbers as f32, whose products are exact; the rounded weights live for this call alone.
            Precision::Bf16 if self.own => {
                let rounded = |t: &Tensor| t.to_kind(kind).to_kind(Kind::Float);
                rounded(&product(&rounded(x), &rounded(w), &Packs::default()))
            }
            Precision::Bf16 => product(&x.to_kind(kind), &w.to_kind(kind), &self.packs).to_kind(Kind::Float),
        }
    }

    fn product(&self, x: &Tensor, w: &Tensor, layout: Layout, packs: &Packs) -> Tensor {
        // Kinds other than f32 are for tests, which compare and do not need the bits.
        if self.own && x.kind() == Kind::Float {
            return product(x, w, layout, packs);
        }
        let w = if x.kind() == Kind::Float { widened(w) } else { w.shallow_clone() };
        match layout {
            Layout::Transposed => self.by_rows(x, 0, |x| x.matmul(&w.tr())),
            Layout::Heads => self.by_rows(&x.transpose(0, 1), 1, |x| x.bmm(&w)).transpose(0, 1),
        }
    }

    /// A product of `x`, whose rows lie along `dim`, block by block.
    fn by_rows(&self, x: &Tensor, dim: i64, product: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let rows = x.size()[dim as usize];
        let Some(block) = self.block else { return product(x) };
        let part = |at: usize| {
            let (at, rows) = (at as i64, block.min(rows - at as i64));
            let part = x.narrow(dim, at, rows);
            if rows == block { product(&part) } else { product(&filled(&part, block - rows)).narrow(dim, 0, rows) }
        };
        let mut parts: Vec<Tensor> = (0..rows.max(1) as usize).step_by(block as usize).map(part).collect();
        if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(&parts, dim) }
    }
}

/// `x` with so many rows of zeros after its own; rows are the last dimension but one.
fn filled(x: &Tensor, rows: i64) -> Tensor {
    x.constant_pad_nd([0, 0, 0, rows])
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use native::cuda::{Emulated, emulated};

    use super::*;

    /// The tensor cores round in their own way, so a CPU's bits are near and not the same.
    #[test]
    fn inv_2_a_gpu_in_bf16_gives_each_row_its_bits_and_comes_near_the_cpu() {
        let products = Products::own(Precision::Bf16);
        let wave = |sizes: &[i64], step: f64| {
            let n: i64 = sizes.iter().product();
            (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step).sin().to_kind(Kind::Float).view(sizes)
        };
        let near = |found: &Tensor, wanted: &Tensor| {
            let error = (found - wanted).abs().max().double_value(&[]);
            assert!(error <= wanted.abs().max().double_value(&[]) / 128.0, "{error}");
        };
        let both = |x: &Tensor, w: &Tensor, heads: bool| {
            let x = x.detach().set_requires_grad(true);
            let y = if heads { products.per_head(&x, w) } else { products.linear(&x, w) };
            let loss = (&y * wave(&y.size(), 0.11)).sum(Kind::Float);
            let mut gradients = Tensor::run_backward(&[loss], &[&x, w], false, false);
            gradients.push(y.detach());
            gradients
        };
        let w = |sizes: &[i64]| wave(sizes, 1.37).set_requires_grad(true);
        let cases = [
            (wave(&[300, 136], 0.73), w(&[72, 136]), false),
            (wave(&[70, 1100], 0.73), w(&[50, 1100]), false),
            (wave(&[1500, 24], 0.73), w(&[16, 24]), false),
            (wave(&[40, 3, 33], 0.73), w(&[3, 33, 17]), true),
            (wave(&[40, 3, 40], 0.73), wave(&[3, 24, 40], 1.37).transpose(1, 2).set_requires_grad(true), true),
        ];
        for (x, w, heads) in &cases {
            let on_cpu = both(x, w, *heads);
            let on_gpu = emulated(Emulated::Ascending, || both(x, w, *heads));
            let again = emulated(Emulated::Descending, || both(x, w, *heads));
            on_gpu.iter().zip(&on_cpu).for_each(|(found, wanted)| near(found, wanted));
            assert!(on_gpu.iter().zip(&again).all(|(a, b)| a.equal(b)), "an order of threads shows");
            let few = emulated(Emulated::Ascending, || both(&x.narrow(0, 13, 5), w, *heads));
            assert!(few[2].equal(&on_gpu[2].narrow(0, 13, 5)), "a row's bits depend on the others");
        }
    }

    #[test]
    fn inv_2_blocks_give_each_row_its_bits_and_each_weight_its_gradient() {
        let library = |block| Products { own: false, block, precision: Precision::F32, packs: Packs::default() };
        let whole = library(None);
        let blocks = library(Some(32));
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
