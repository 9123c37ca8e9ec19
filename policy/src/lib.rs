//! The sparse-attention language model: its shape, its checkpoints, its kernels, and the one forward that everything calls.
//!
//! Read [`model`] first: [`model::Model::forward`] maps [`rows::Rows`] to hidden states for prefill, decode, teacher, reference and
//! learner alike (INV-1). [`kernels`] holds what a row goes through; [`products`] and [`doctor`] see to it that a row's bits do not
//! depend on the rest of the batch (INV-2).

pub mod cache;
pub mod checkpoint;
pub mod compute;
pub mod config;
pub mod doctor;
pub mod flops;
pub mod kernels;
pub mod lora;
pub mod model;
pub mod packs;
pub mod params;
pub mod products;
pub mod rope;
pub mod rows;
pub mod testing;
pub mod twins;

pub use cache::PagedCache;
pub use compute::{Compute, Precision};
pub use config::{IndexerConfig, ModelConfig};
pub use lora::LoraConfig;
pub use model::{Attend, Forward, Keys, Model, Task};
pub use rows::{KeyIndex, Rows};
