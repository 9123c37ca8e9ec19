//! Temper: from a base checkpoint to a sparse-attention reasoning model, in one binary. This crate is the only place that wires
//! the others together.

// They panic where nobody reads; `say` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod commands;
pub mod exit;
pub mod hub;
pub mod memory;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod run;
pub mod say;
pub mod schedule;
pub mod seen;
pub mod summary;
pub mod verifiers_by_name;
pub mod verify;
