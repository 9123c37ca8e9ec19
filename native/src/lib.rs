//! The only C++ in Temper: what tch does not bind.
//!
//! * [`custom_op`]: an autograd node whose backward is a Rust closure.
//! * [`parallel_for`]: a loop on libtorch's own threads, so that our kernels and its products never fight for cores.
//! * [`on_out_of_memory`]: what happens where C++ finds no memory.
//! * [`cuda`]: loading libtorch's CUDA half at run time, so that one binary serves both kinds of machine.
//!
//! Nothing unwinds across the boundary in either direction (INV-10).

mod autograd;
pub mod cuda;
mod memory;
mod parallel;

pub use autograd::{NativeError, custom_op, version, wants_grad};
pub use memory::on_out_of_memory;
pub use parallel::{parallel_chunks, parallel_for};
