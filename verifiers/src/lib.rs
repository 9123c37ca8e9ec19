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
mod together;

use data::{Item, Verdict};
pub use together::Together;

/// Judges completions.
///
/// The same item always gets the same verdict. A verifier that cannot run answers [`data::Status::Error`]; it never makes that a
/// reward (INV-9), and it never panics on what an item holds.
pub trait Verifier: Send + Sync {
    /// The name that recipes and `temper verify` use.
    fn name(&self) -> &'static str;

    /// What has to be in one call of [`Verifier::verify`] for its verdicts to be the same always. Callers that cut a stream of items into
    /// calls cut it there.
    fn together(&self) -> Together {
        Together::Alone
    }

    /// One verdict an item, in the order of `items`.
    fn verify(&self, items: &[Item]) -> Vec<Verdict>;
}
