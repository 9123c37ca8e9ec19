//! SwiGLU's gate: `y = silu(a) · b`, `silu(a) = a σ(a)` (Shazeer, 2020).
//!
//! Backward: `da = g b σ(a) (1 + a (1 − σ(a)))`, `db = g silu(a)`.
//!
//! libtorch's `silu` rounds differently in its vector body and its scalar tail, and where its threads cut, so it is not used on the CPU.

use multiversion::multiversion;
use native::{custom_op, parallel_chunks};
use tch::{Kind, Tensor};

use super::cuda::{self, on_gpu};
use super::math::exp;
use super::{away, empty, floats, floats_mut, plain, to_cpu};

/// Elements that one task takes.
const ELEMENTS_PER_TASK: usize = 8192;

/// `silu(a) · b`, elementwise; `a` and `b` have one shape.
pub fn swiglu(a: &Tensor, b: &Tensor) -> Tensor {
    if a.kind() != Kind::Float {
        return reference(a, b);
    }
    if away(a) {
        return swiglu(&to_cpu(a), &to_cpu(b)).to_device(a.device());
    }
    let (a_plain, b_plain) = (plain(a), plain(b));
    let gpu = on_gpu(a);
    let out = if gpu { cuda::elementwise::swiglu(&a_plain, &b_plain) } else { gate(&a_plain, &b_plain) };
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let gradients = if gpu { cuda::elementwise::swiglu_backward } else { gradients };
        gradients(&a_plain, &b_plain, &plain(g)).map(Some).into()
    };
    custom_op(&[a, b], vec![out], backward).pop().expect("one output")
}

fn gate(a: &Tensor, b: &Tensor) -> Tensor {
    let mut out = empty(&a.size());
    let (a, b) = (floats(a), floats(b));
    parallel_chunks(floats_mut(&mut out), ELEMENTS_PER_TASK, |i, out| {
        let at = i * ELEMENTS_PER_TASK;
        forward(&a[at..][..out.len()], &b[at..][..out.len()], out);
    });
    out
}

/// `da` and `db`.
fn gradients(a_plain: &Tensor, b: &Tensor, g_plain: &Tensor) -> [Tensor; 2] {
    let mut da = empty(&a_plain.size());
    let (a, b, g) = (floats(a_plain), floats(b), floats(g_plain));
    parallel_chunks(floats_mut(&mut da), ELEMENTS_PER_TASK, |i, da| {
        let at = i * ELEMENTS_PER_TASK;
        backward_a(&a[at..][..da.len()], &b[at..][..da.len()], &g[at..][..da.len()], da);
    });
    [da, gate(a_plain, g_plain)]
}

/// The plain-tensor form.
pub fn reference(a: &Tensor, b: &Tensor) -> Tensor {
    a.silu() * b
}

#[inline(always)]
fn sigmoid(a: f32) -> f32 {
    1.0 / (1.0 + exp(-a))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn forward(a: &[f32], b: &[f32], out: &mut [f32]) {
    for i in 0..out.len() {
        out[i] = a[i] * sigmoid(a[i]) * b[i];
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn backward_a(a: &[f32], b: &[f32], g: &[f32], da: &mut [f32]) {
    for i in 0..da.len() {
        let s = sigmoid(a[i]);
        da[i] = g[i] * b[i] * s * (1.0 + a[i] * (1.0 - s));
    }
}
