//! The kernels' twins in CUDA: the same formulas and the same order of every sum, so the same bits, on a GPU.
//!
//! Each `.cu` beside its Rust half here is compiled at run time ([`native::cuda`]). A kernel takes its twin where `on_gpu` says so; where
//! there is no compiler it still computes on the CPU. Tests run the twins emulated and compare them with the CPU's kernels.

pub(crate) mod attention;
pub(super) mod elementwise;
pub(super) mod experts;
pub(super) mod indexer;
mod layout;
pub(super) mod log_prob;
pub(super) mod norm;
pub(crate) mod product;
pub(super) mod routing;

use std::collections::HashMap;
use std::sync::Mutex;

pub(crate) use layout::Layouts;

use native::cuda::{Grid, Source, usable};
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;

/// Scalar arithmetic that the sources share.
const MATH: &str = include_str!("math.cuh");

/// Tiles of factors in shared memory.
const TILE: &str = include_str!("tile.cuh");

/// Threads of a block that has no reason for another number.
const THREADS: usize = 256;

/// True where the tensor's device runs our kernels.
pub(crate) fn on_gpu(tensor: &Tensor) -> bool {
    native::cuda::ready(tensor.device())
}

/// What of a model on this GPU is computed on the CPU all the same, and why; `None` where nothing is.
pub fn left_to_cpu(config: &ModelConfig, device: Device) -> Option<String> {
    if let Err(error) = usable(device) {
        return (device != Device::Cpu).then(|| format!("all but products is computed on the CPU: {error}"));
    }
    let geometry = config.geometry(0).widest();
    let widest = config.indexer.as_ref().map_or(geometry, |indexer| geometry.max(indexer.width as usize));
    (!attention::runs(device, widest)).then(|| {
        format!(
            "attention or indexer is computed on the CPU: vectors of {widest} do not fit into the GPU's shared memory"
        )
    })
}

/// A new uninitialised f32 tensor on the device of `like`; a kernel writes every element of it.
fn empty_like(like: &Tensor, shape: &[i64]) -> Tensor {
    Tensor::empty(shape, (Kind::Float, like.device()))
}

/// A thread for each of `n` elements.
fn each_element(n: usize) -> Grid {
    Grid::line(n.div_ceil(THREADS), THREADS)
}

/// Numbers as the kernels read them: i32, on the device.
fn numbers(list: &[u32], device: Device) -> Tensor {
    let signed: Vec<i32> = list.iter().map(|&n| i32::try_from(n).expect("slots, rows and tokens fit an int")).collect();
    Tensor::from_slice(&signed).to_device(device)
}

/// Counters of blocks that have arrived: zeros, which a kernel leaves as it found them. Kernels of one stream share them.
fn arrivals(device: Device, counters: usize) -> Tensor {
    static ARRIVALS: Mutex<Option<HashMap<usize, Tensor>>> = Mutex::new(None);
    let fresh = |n: usize| tch::no_grad(|| Tensor::zeros([n as i64], (Kind::Int, device)));
    let Device::Cuda(ordinal) = device else { return fresh(counters) };
    let mut arrivals = ARRIVALS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let of_device = arrivals.get_or_insert_default().entry(ordinal).or_insert_with(|| fresh(counters));
    if of_device.numel() < counters {
        *of_device = fresh(counters.next_power_of_two());
    }
    of_device.shallow_clone()
}

/// All sources, for who wants to see whether they compile.
pub fn sources() -> Vec<&'static Source> {
    let products = product::sources();
    let others = [
        &norm::SOURCE,
        &elementwise::SOURCE,
        &log_prob::SOURCE,
        &routing::SOURCE,
        &experts::SOURCE,
        &attention::SOURCE,
        &attention::KEY_GRADIENTS,
        &indexer::SOURCE,
    ];
    products.into_iter().chain(others).collect()
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
