//! The sampling engine: continuous batching over a paged cache, the prompt of a group prefilled once.
//!
//! Token ids go in and come out; nothing is re-tokenised. Each sampled token carries what the learner needs to replay it (INV-5), and
//! its random number is a function of what it is for (INV-4), so the batch it was sampled in does not show.

pub mod engine;
mod recorded;
mod request;
pub mod sampler;

pub use engine::{Engine, EngineSettings, turns};
pub use request::{Begun, EngineError, FinishedGroup, Request};
pub use sampler::Sampling;
