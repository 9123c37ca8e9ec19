//! The only C++ in Temper: what tch does not bind.
//!
//! * [`custom_op`]: an autograd node whose backward is a Rust closure.
//! * [`parallel_for`]: a loop on libtorch's own threads, so that our kernels and its products never fight for cores.
//! * [`held`]: what tensors hold.
//! * [`on_out_of_memory`]: what happens where C++ finds no memory.
//! * [`cuda`]: loading libtorch's CUDA half at run time, so that one binary serves both kinds of machine.
//!
//! Nothing unwinds across the boundary in either direction (INV-10).

mod autograd;
pub mod cuda;
mod memory;
mod parallel;

pub use autograd::{NativeError, custom_op, version, wants_grad};
pub use memory::{Held, count_tensors, forget_most, held, on_out_of_memory};
pub use parallel::{parallel_chunks, parallel_for};

/// The version of libtorch that this program was built for, such as `2.11.0`.
pub fn torch_version() -> &'static str {
    // SAFETY: the C side returns a literal.
    let version = unsafe { std::ffi::CStr::from_ptr(temper_torch_version()) };
    version.to_str().unwrap_or("unknown")
}

/// The vector instructions that libtorch's kernels on the CPU were chosen for, such as `AVX512`: the machine's, or what
/// `ATEN_CPU_CAPABILITY` says.
pub fn cpu_capability() -> &'static str {
    // SAFETY: the C side returns a text that lives as long as the program.
    let capability = unsafe { std::ffi::CStr::from_ptr(temper_cpu_capability()) };
    capability.to_str().unwrap_or("unknown")
}

unsafe extern "C" {
    fn temper_torch_version() -> *const std::ffi::c_char;
    fn temper_cpu_capability() -> *const std::ffi::c_char;
}
