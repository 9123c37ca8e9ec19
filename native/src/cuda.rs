//! Loading libtorch's CUDA half at run time.
//!
//! The binary links `libtorch_cpu` and `libc10` alone. Where `libtorch_cuda.so` stands beside them, opening it before the first
//! tensor registers the CUDA backend, and the same binary computes on the GPU.

use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

/// Why CUDA cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CudaError {
    /// `libtorch_cuda.so` could not be opened.
    #[error("libtorch_cuda.so could not be loaded: {0}")]
    Load(String),
    /// The library is there, and no device is.
    #[error("libtorch has CUDA, but sees no device")]
    NoDevice,
}

fn open(library: &CStr, flags: c_int) -> Result<(), CudaError> {
    // SAFETY: `library` is NUL-terminated; the handle is leaked on purpose, since a registered backend cannot be unloaded.
    if !unsafe { libc::dlopen(library.as_ptr(), flags) }.is_null() {
        return Ok(());
    }
    // SAFETY: dlerror returns null or a string that lives until the next dl call of this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return Err(CudaError::Load("no reason given".into()));
    }
    // SAFETY: as above, and it is not null.
    Err(CudaError::Load(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()))
}

/// Loads the CUDA backend once and says how many devices it sees.
///
/// # Errors
/// [`CudaError::Load`] where the library is not there, [`CudaError::NoDevice`] where it sees no GPU.
pub fn load() -> Result<i64, CudaError> {
    static LOADED: OnceLock<Result<i64, CudaError>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            open(c"libtorch_cuda.so", libc::RTLD_NOW | libc::RTLD_GLOBAL)?;
            let devices = tch::Cuda::device_count();
            if devices > 0 { Ok(devices) } else { Err(CudaError::NoDevice) }
        })
        .clone()
}
