//! The kernels' twins in CUDA: the same formulas and the same order of every sum, so the same bits, on a GPU.
//!
//! Each `.cu` beside its Rust half here is compiled at run time ([`native::cuda`]). A kernel takes its twin where [`on_gpu`] says so; where
//! there is no compiler it still computes on the CPU. Tests run the twins emulated and compare them with the CPU's kernels.

pub(crate) mod product;

use native::cuda::Source;
use tch::{Kind, Tensor};

/// True where the tensor's device runs our kernels.
pub(crate) fn on_gpu(tensor: &Tensor) -> bool {
    native::cuda::ready(tensor.device())
}

/// A new uninitialised f32 tensor on the device of `like`; a kernel writes every element of it.
pub(crate) fn empty_like(like: &Tensor, shape: &[i64]) -> Tensor {
    Tensor::empty(shape, (Kind::Float, like.device()))
}

/// All sources, for who wants to see whether they compile.
pub fn sources() -> Vec<&'static Source> {
    product::sources().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_compiles_for_a_hopper_gpu() {
        for source in sources() {
            match native::cuda::compile(source, "sm_90") {
                Ok(code) => assert!(!code.is_empty(), "{}", source.name),
                Err(native::cuda::CudaError::NoCompiler(library)) => {
                    return eprintln!("skipped: {library} is not here");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
