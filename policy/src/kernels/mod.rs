//! Own kernels of the model, one idea a file: each a row-parallel Rust kernel for the CPU with its backward, beside a plain-tensor
//! reference of the same formula.
//!
//! Kernels compute in f32; other kinds, which only tests use, take the reference. On a GPU a kernel's twin in [`cuda`] computes, with the
//! same bits; where there is none yet, the CPU does.
//!
//! Three rules make a row's bits independent of the rest of the batch (INV-2): a task computes whole rows and nothing else; every
//! reduction inside a row runs in one fixed order ([`math`]); where rows add into one place (the gradient of a key), the partial
//! sums belong to chunks whose bounds depend on the sequence alone, and are added in order (INV-7).

pub mod attention;
mod attention_reference;
pub mod cuda;
pub mod experts;
pub mod gemm;
pub mod indexer;
pub mod indexer_loss;
pub mod log_prob;
pub mod math;
pub mod norm;
pub mod product;
pub mod rotary;
pub mod routing;
pub mod swiglu;

use tch::{Kind, Tensor};

/// True where the tensor lies on a GPU that our kernels cannot run on: they compute on the CPU then and send their result back, which is
/// slow, and the same bits as anywhere else.
pub(crate) fn away(tensor: &Tensor) -> bool {
    elsewhere(tensor, cuda::on_gpu(tensor))
}

/// True where the tensor must go to the CPU for a kernel that does not run on its GPU.
pub(crate) fn elsewhere(tensor: &Tensor, runs: bool) -> bool {
    tensor.device() != tch::Device::Cpu && !runs
}

/// The tensor on the CPU, with its history.
pub(crate) fn to_cpu(tensor: &Tensor) -> Tensor {
    tensor.to_device(tch::Device::Cpu)
}

/// Rows that one task of a cheap row kernel takes. It bounds the cost of scheduling and does not touch the arithmetic.
pub(crate) const ROWS_PER_TASK: usize = 32;

/// A contiguous f32 CPU tensor's elements.
///
/// # Panics
/// If the tensor is anything else: the callers make it so.
pub(crate) fn floats(tensor: &Tensor) -> &[f32] {
    assert_eq!(tensor.kind(), Kind::Float, "a CPU kernel computes in f32");
    assert!(tensor.is_contiguous() && tensor.device() == tch::Device::Cpu);
    // SAFETY: the tensor is contiguous f32 on the CPU and holds `numel` elements; it is borrowed for the slice's life, and the
    // kernels write only to tensors that they made themselves.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// Numbers that a tensor holds.
///
/// # Safety
/// The type is laid out as libtorch's numbers of this kind are: every bit pattern is one, and none has padding.
pub(crate) unsafe trait Number: Copy + Default + Send + Sync {
    /// libtorch's word for them.
    const KIND: Kind;
}

// SAFETY: these are the same four bytes.
unsafe impl Number for f32 {
    const KIND: Kind = Kind::Float;
}

// SAFETY: these are the same two bytes.
unsafe impl Number for gemm::Bf16 {
    const KIND: Kind = Kind::BFloat16;
}

/// A CPU tensor's elements from its first to its last, with the step of each dimension.
///
/// # Panics
/// If the tensor holds other numbers, lies elsewhere, or is empty.
pub(crate) fn strided<T: Number>(tensor: &Tensor) -> (&[T], Vec<usize>) {
    assert!(tensor.kind() == T::KIND && tensor.device() == tch::Device::Cpu && tensor.numel() > 0);
    let strides: Vec<usize> = tensor.stride().into_iter().map(|step| step as usize).collect();
    let last: usize = tensor.size().iter().zip(&strides).map(|(&size, step)| (size as usize - 1) * step).sum();
    // SAFETY: a CPU tensor's elements lie where its steps say, from `data_ptr` on, and they are such numbers by the assertion and by what
    // `Number` promises; it is borrowed for the slice's life.
    (unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), last + 1) }, strides)
}

/// As [`floats`], for writing to a tensor that the caller has just made.
pub(crate) fn floats_mut(tensor: &mut Tensor) -> &mut [f32] {
    assert_eq!(tensor.kind(), Kind::Float, "a CPU kernel computes in f32");
    assert!(tensor.is_contiguous() && tensor.device() == tch::Device::Cpu);
    // SAFETY: as in `floats`; the tensor was made by the caller, so nothing else looks at its storage.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

/// A new uninitialised f32 CPU tensor; a kernel writes every element of it.
pub(crate) fn empty(shape: &[i64]) -> Tensor {
    Tensor::empty(shape, (Kind::Float, tch::Device::Cpu))
}

/// The last dimension of a shape.
pub(crate) fn width(tensor: &Tensor) -> usize {
    *tensor.size().last().expect("a tensor of at least one dimension") as usize
}

/// A detached contiguous copy-on-need of `tensor` for a kernel to read.
pub(crate) fn plain(tensor: &Tensor) -> Tensor {
    tch::no_grad(|| tensor.detach().contiguous())
}
