//! CUDA at run time: libtorch's CUDA half, and kernels of our own.
//!
//! The binary links `libtorch_cpu` and `libc10` alone. Where `libtorch_cuda.so` stands beside them, opening it before the first
//! tensor registers the CUDA backend, and the same binary computes on the GPU. Our kernels are CUDA C++ inside the binary: NVRTC, which
//! comes with libtorch, compiles them on first use ([`compile`]), and [`launch()`] puts them on libtorch's stream.
//!
//! The same sources run on a machine without a GPU: [`emulated()`] compiles them as C++ and runs a block's threads as fibers, so that tests
//! can hold them to the CPU's kernels.

mod driver;
mod emulated;
mod launch;
mod nvrtc;

use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

pub use emulated::{Emulated, emulated};
pub use launch::{Arg, Grid, Source, launch, processors, ready, shared, usable};
pub use nvrtc::compile;

/// Why CUDA cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CudaError {
    /// `libtorch_cuda.so` could not be opened.
    #[error("libtorch_cuda.so could not be loaded: {0}")]
    Load(String),
    /// The library is there, and no device is.
    #[error("libtorch has CUDA, but sees no device")]
    NoDevice,
    /// NVRTC could not be opened.
    #[error("{0} could not be loaded: it comes with PyTorch's pip packages, as nvidia-cuda-nvrtc")]
    NoCompiler(&'static str),
    /// A source does not compile: our bug.
    #[error("{source_name} does not compile:\n{log}")]
    Compile {
        /// Which source.
        source_name: &'static str,
        /// What the compiler said.
        log: String,
    },
    /// A call of the driver failed.
    #[error("{what}: {reason}")]
    Driver {
        /// What was asked of it.
        what: &'static str,
        /// What it answered.
        reason: String,
    },
}

fn open(library: &CStr, flags: c_int) -> Result<(), String> {
    // SAFETY: `library` is NUL-terminated; the handle is leaked on purpose, since a registered backend cannot be unloaded.
    if !unsafe { libc::dlopen(library.as_ptr(), flags) }.is_null() {
        return Ok(());
    }
    Err(last_dl_error())
}

/// What the last call of the dynamic linker on this thread complained about.
fn last_dl_error() -> String {
    // SAFETY: dlerror returns null or a string that lives until the next dl call of this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "no reason given".into();
    }
    // SAFETY: as above, and it is not null.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Loads the CUDA backend once and says how many devices it sees.
///
/// # Errors
/// [`CudaError::Load`] where the library is not there, [`CudaError::NoDevice`] where it sees no GPU.
pub fn load() -> Result<i64, CudaError> {
    static LOADED: OnceLock<Result<i64, CudaError>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            open(c"libtorch_cuda.so", libc::RTLD_NOW | libc::RTLD_GLOBAL).map_err(CudaError::Load)?;
            let devices = tch::Cuda::device_count();
            if devices > 0 { Ok(devices) } else { Err(CudaError::NoDevice) }
        })
        .clone()
}
