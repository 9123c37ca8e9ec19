//! Rows to their experts and back on a GPU: `experts.cu`.

use native::cuda::{Source, launch};
use tch::{Device, Tensor};

use super::{MATH, each_element, empty_like, numbers};
use crate::kernels::width;

pub(super) static SOURCE: Source = Source { name: "experts", text: &[MATH, include_str!("experts.cu")] };

/// Threads that add one sum up: `LANES` of the source.
const LANES: usize = 16;

/// A plan's lists on a GPU, i32 each.
#[derive(Debug)]
pub(in crate::kernels) struct Places {
    /// For each place its row.
    row: Tensor,
    /// For each row and each of its experts, the place.
    place: Tensor,
    /// For each place, which of those it is.
    slot: Tensor,
    k: usize,
}

impl Places {
    pub(in crate::kernels) fn new(row: &[u32], place: &[u32], k: usize, device: Device) -> Self {
        let mut slot = vec![0u32; place.len()];
        place.iter().enumerate().for_each(|(at, &place)| slot[place as usize] = at as u32);
        let [row, place, slot] = [row, place, &slot].map(|list| numbers(list, device));
        Self { row, place, slot, k }
    }

    /// Another handle to the same lists.
    pub(in crate::kernels) fn shallow_clone(&self) -> Self {
        let Self { row, place, slot, k } = self;
        Self { row: row.shallow_clone(), place: place.shallow_clone(), slot: slot.shallow_clone(), k: *k }
    }

    /// `[rows · k, d]` of `x [rows, d]`.
    pub(in crate::kernels) fn dispatch(&self, x: &Tensor) -> Tensor {
        let d = width(x);
        let out = empty_like(x, &[self.row.size()[0], d as i64]);
        let args = [x.into(), (&self.row).into(), (out.numel() as i64).into(), d.into(), (&out).into()];
        launch(x.device(), &SOURCE, "gather_rows", each_element(out.numel()), &args);
        out
    }

    /// `Σ_j w_rj y_place(r, j)` for each row; without weights, all are 1.
    pub(in crate::kernels) fn add(&self, y: &Tensor, weights: Option<&Tensor>) -> Tensor {
        let d = width(y);
        let out = empty_like(y, &[self.place.size()[0] / self.k as i64, d as i64]);
        #[rustfmt::skip]
        let args = [
            y.into(), weights.into(), (&self.place).into(), (out.numel() as i64).into(), d.into(), self.k.into(), (&out).into(),
        ];
        launch(y.device(), &SOURCE, "add_places", each_element(out.numel()), &args);
        out
    }

    /// The gradients of `y` and of the weights of [`Places::add`].
    pub(in crate::kernels) fn backward(&self, g: &Tensor, y: &Tensor, weights: &Tensor) -> (Tensor, Tensor) {
        let (d, device) = (width(y), y.device());
        let (dy, dw) = (empty_like(y, &y.size()), empty_like(y, &weights.size()));
        let long = |n: usize| (n as i64).into();
        let (n, k) = (dw.numel(), self.k.into());
        let args = [g.into(), y.into(), (&self.place).into(), long(n), d.into(), k, (&dw).into()];
        launch(device, &SOURCE, "weight_gradients", each_element(n * LANES), &args);
        let args = [g.into(), weights.into(), (&self.slot).into(), long(dy.numel()), d.into(), k, (&dy).into()];
        launch(device, &SOURCE, "place_gradients", each_element(dy.numel()), &args);
        (dy, dw)
    }
}
