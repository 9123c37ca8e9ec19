//! `[domains.NAME]`: prompts of one kind, and how their completions are rewarded.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::source::Source;

/// `[domains.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domain {
    /// Strength β of the KL penalty toward the reference policy in `rl` stages.
    pub kl_beta: f64,
    /// What a verdict `undecided` means for the reward.
    pub undecided: Undecided,
    /// Where training prompts come from.
    pub train: Vec<Source>,
    /// Where held-out prompts come from.
    pub eval: Vec<Source>,
    /// What judges a completion. The reward is the weighted sum of the rewards, or 0 where a gate does not pass.
    pub verifiers: Vec<VerifierEntry>,
}

/// What a verdict `undecided` means for the reward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undecided {
    /// It counts as wrong.
    #[default]
    Zero,
    /// The sample leaves the loss.
    Mask,
}

/// One verifier of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierEntry {
    /// Which verifier.
    pub name: VerifierName,
    /// Its share in the sum.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether a verdict other than pass takes the whole reward to 0.
    #[serde(default)]
    pub gate: bool,
    /// The verifier's own settings; it checks them itself.
    #[serde(default)]
    pub settings: Table,
}

fn one() -> f64 {
    1.0
}

/// The verifiers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum VerifierName {
    /// A final answer, compared exactly.
    Math,
    /// A program, run against tests in the sandbox.
    Code,
    /// The form of the completion.
    Format,
    /// The length of the completion in tokens.
    Length,
}

impl VerifierName {
    /// The name as recipes and the command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Code => "code",
            Self::Format => "format",
            Self::Length => "length",
        }
    }
}
