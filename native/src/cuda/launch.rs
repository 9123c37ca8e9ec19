//! Launching a kernel on tensors, on the stream that libtorch computes on.

use std::ffi::c_void;
use std::marker::PhantomData;

use tch::{Device, Tensor};

use super::{CudaError, driver, emulated};

/// CUDA C++ with the kernels that it holds, compiled once a device.
#[derive(Debug)]
pub struct Source {
    /// What errors call it; no two sources have one name.
    pub name: &'static str,
    /// The program, part by part. It may use what `prelude.cuh` defines, and names each kernel in a line `EXPORT(kernel)`.
    pub text: &'static [&'static str],
}

/// How many threads run a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Blocks in each dimension.
    pub blocks: [usize; 3],
    /// Threads of a block: whole warps of 32.
    pub threads: usize,
    /// Bytes of `DYNAMIC_SHARED` memory.
    pub shared: usize,
}

impl Grid {
    /// So many blocks in a row, without dynamic shared memory.
    pub fn line(blocks: usize, threads: usize) -> Self {
        Self { blocks: [blocks, 1, 1], threads, shared: 0 }
    }
}

/// An argument of a kernel. Tensors are borrowed until the kernel is in the stream; after that libtorch gives their memory to nobody who
/// is not behind it in the same stream.
#[derive(Debug, Clone, Copy)]
pub struct Arg<'a> {
    word: u64,
    tensor: PhantomData<&'a Tensor>,
}

impl Arg<'_> {
    fn new(word: u64) -> Self {
        Self { word, tensor: PhantomData }
    }
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::new(tensor.data_ptr() as u64)
    }
}

/// A null pointer for `None`.
impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(tensor: Option<&'a Tensor>) -> Self {
        tensor.map_or(Self::new(0), Self::from)
    }
}

/// `int`: sizes. What does not fit is a caller's bug.
impl From<usize> for Arg<'_> {
    fn from(value: usize) -> Self {
        Self::from(i32::try_from(value).expect("a size of a kernel fits an int"))
    }
}

impl From<i32> for Arg<'_> {
    fn from(value: i32) -> Self {
        Self::new(u64::from(value as u32))
    }
}

/// `long`: offsets into a tensor.
impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::new(value as u64)
    }
}

impl From<f32> for Arg<'_> {
    fn from(value: f32) -> Self {
        Self::new(u64::from(value.to_bits()))
    }
}

impl From<bool> for Arg<'_> {
    fn from(value: bool) -> Self {
        Self::from(i32::from(value))
    }
}

/// True where our kernels can run: a GPU with a compiler for it, or the CPU inside [`super::emulated()`].
pub fn ready(device: Device) -> bool {
    match device {
        Device::Cuda(ordinal) => driver::gpu(ordinal).is_ok(),
        Device::Cpu => emulated::is_on(),
        _ => false,
    }
}

/// Why our kernels cannot run on a GPU.
///
/// # Errors
/// [`CudaError`].
pub fn usable(device: Device) -> Result<(), CudaError> {
    match device {
        Device::Cuda(ordinal) => driver::gpu(ordinal).map(drop).map_err(Clone::clone),
        _ if ready(device) => Ok(()),
        _ => Err(CudaError::NoDevice),
    }
}

/// Multiprocessors of a device: how many blocks it takes to fill it.
///
/// # Panics
/// If the device is not [`ready`].
pub fn processors(device: Device) -> usize {
    match device {
        Device::Cuda(ordinal) => driver::gpu(ordinal).expect("the device is ready").processors,
        _ => emulated::PROCESSORS,
    }
}

/// Bytes of shared memory that a block may have.
///
/// # Panics
/// If the device is not [`ready`].
pub fn shared(device: Device) -> usize {
    match device {
        Device::Cuda(ordinal) => driver::gpu(ordinal).expect("the device is ready").shared as usize,
        _ => emulated::SHARED,
    }
}

/// Runs `kernel` of `source` with `args`, which must be what the kernel takes, in order.
///
/// Pointers and sizes are the caller's word: the kernel reads and writes where they say.
///
/// # Panics
/// If the device is not [`ready`], the source does not compile, or the driver refuses the launch: bugs.
pub fn launch(device: Device, source: &'static Source, kernel: &'static str, grid: Grid, args: &[Arg<'_>]) {
    if grid.blocks.contains(&0) {
        return;
    }
    assert!(grid.threads.is_multiple_of(32) && grid.threads > 0, "a block is whole warps");
    let mut words: Vec<u64> = args.iter().map(|arg| arg.word).collect();
    // An int or a float is the first four bytes of its word.
    let mut pointers: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
    match device {
        Device::Cuda(ordinal) => driver::launch(ordinal, source, kernel, grid, &mut pointers),
        _ => emulated::launch(source, kernel, grid, &mut pointers),
    }
}
