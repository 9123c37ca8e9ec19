//! Rotary embedding and SwiGLU's gate on a GPU: `elementwise.cu`.

use native::cuda::{Source, launch};
use tch::Tensor;

use super::{MATH, each_element, empty_like};
use crate::kernels::rotary::Layout;
use crate::kernels::width;

pub(super) static SOURCE: Source = Source { name: "elementwise", text: &[MATH, include_str!("elementwise.cu")] };

/// As the CPU's: `x [rows, heads, width]` and `cos`, `sin [rows, half]`, contiguous.
pub(in crate::kernels) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, layout: Layout, back: bool) -> Tensor {
    let out = empty_like(x, &x.size());
    let (heads, head_width, half) = (x.size()[1] as usize, width(x), width(cos));
    let heads_in_all = x.numel() / head_width.max(1);
    let neighbours = layout == Layout::Interleaved;
    #[rustfmt::skip]
    let args = [
        x.into(), cos.into(), sin.into(), (heads_in_all as i64).into(), heads.into(), head_width.into(), half.into(), neighbours.into(),
        back.into(), (&out).into(),
    ];
    launch(x.device(), &SOURCE, "rotate", each_element(heads_in_all * (head_width - half)), &args);
    out
}

/// As the CPU's gate, of contiguous tensors.
pub(in crate::kernels) fn swiglu(a: &Tensor, b: &Tensor) -> Tensor {
    let out = empty_like(a, &a.size());
    let args = [a.into(), b.into(), (a.numel() as i64).into(), (&out).into()];
    launch(a.device(), &SOURCE, "swiglu_forward", each_element(a.numel()), &args);
    out
}

/// As the CPU's gradients: `da` and `db`.
pub(in crate::kernels) fn swiglu_backward(a: &Tensor, b: &Tensor, g: &Tensor) -> [Tensor; 2] {
    let gradients = [(); 2].map(|()| empty_like(a, &a.size()));
    let [da, db] = &gradients;
    let args = [a.into(), b.into(), g.into(), (a.numel() as i64).into(), da.into(), db.into()];
    launch(a.device(), &SOURCE, "swiglu_backward", each_element(a.numel()), &args);
    gradients
}
