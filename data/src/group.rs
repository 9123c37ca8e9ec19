//! A scored group: the samples of one prompt with their verdicts, rewards and advantages. It is what the learner consumes.

use crate::{Prompt, Trajectory, Verdict};

/// Why a sample takes no part in the loss. The first that applies is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mask {
    /// It is trained on.
    None = 0,
    /// A verifier could not run, so there is no reward (INV-9).
    VerifierError = 1,
    /// No verifier could tell, and the recipe masks such samples.
    Undecided = 2,
    /// It ran into the length limit, and the recipe's overlong filter is on.
    Overlong = 3,
}

/// One sample of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredSample {
    /// What was sampled.
    pub trajectory: Trajectory,
    /// The completion as text, for people; nothing re-tokenises it.
    pub text: String,
    /// What each verifier of the domain said, by its name in the recipe.
    pub verdicts: Vec<(String, Verdict)>,
    /// The composed reward; `None` when the sample has none.
    pub reward: Option<f64>,
    /// Reward minus the group's mean (and over its deviation, if the recipe says so); 0 for a masked sample.
    pub advantage: f32,
    /// Why the sample is left out, if it is.
    pub mask: Mask,
}

/// All samples of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredGroup {
    /// What was asked.
    pub prompt: Prompt,
    /// Weights version when the group was admitted.
    pub version: u64,
    /// The samples, by their number.
    pub samples: Vec<ScoredSample>,
}
