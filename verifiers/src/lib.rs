//! Domain verifiers: each reads items and answers with typed verdicts, in order. No tensors here (INV-10).

pub mod code;
pub mod compose;
pub mod format;
pub mod http;
pub mod judge;
pub mod language;
pub mod length;
pub mod math;
pub mod plugin;
pub mod repetition;

use data::{Item, Verdict};

/// Judges completions.
///
/// The same item always gets the same verdict. A verifier that cannot run answers [`data::Status::Error`]; it never makes that a
/// reward (INV-9), and it never panics on what an item holds.
pub trait Verifier: Send + Sync {
    /// The name that recipes and `temper verify` use.
    fn name(&self) -> &'static str;

    /// One verdict an item, in the order of `items`.
    fn verify(&self, items: &[Item]) -> Vec<Verdict>;
}
