//! `[domains.NAME]`: prompts of one kind, and how their completions are rewarded.

use serde::{Deserialize, Serialize};
use toml::Table;
use verifiers::compose::{Relative, Rules, Undecided, Worth};

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
    /// Bounds of the reward as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
    /// What judges a completion. The reward is the weighted sum of the rewards, or 0 where a gate does not pass.
    pub verifiers: Vec<VerifierEntry>,
}

impl Domain {
    /// How verdicts become rewards here.
    pub fn rules(&self) -> Rules {
        let worth = self.verifiers.iter().map(VerifierEntry::worth).collect();
        Rules { worth, undecided: self.undecided, clip: self.clip }
    }
}

/// One verifier of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierEntry {
    /// Which verifier.
    pub name: VerifierName,
    /// What its verdicts are called in the log; empty, before the recipe is resolved: as the verifier.
    #[serde(default)]
    pub label: String,
    /// Its share in the sum.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether a verdict other than pass takes the whole reward to 0.
    #[serde(default)]
    pub gate: bool,
    /// Bounds of its reward, before it is weighted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
    /// Whether its reward is taken relative to the other samples of the prompt.
    #[serde(default)]
    pub relative: Relative,
    /// The sources whose samples it judges, `*` at the end standing for any rest; empty: all.
    #[serde(default)]
    pub data_sources: Vec<String>,
    /// The label of a verifier whose undecided verdicts it decides; it judges nothing else then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decides: Option<String>,
    /// The verifier's own settings; it checks them itself.
    #[serde(default)]
    pub settings: Table,
}

impl VerifierEntry {
    /// What its verdicts are called.
    pub fn label(&self) -> &str {
        if self.label.is_empty() { self.name.as_str() } else { &self.label }
    }

    /// What its verdicts are worth.
    pub fn worth(&self) -> Worth {
        Worth {
            label: self.label().to_owned(),
            weight: self.weight,
            gate: self.gate,
            clip: self.clip,
            data_sources: self.data_sources.clone(),
            relative: self.relative,
            decides: self.decides.clone(),
        }
    }
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
    /// The language of the completion.
    Language,
    /// Whether the completion goes round in circles.
    Repetition,
    /// A process or service of one's own, or a Python reward as it is.
    Plugin,
    /// Another model's opinion.
    Judge,
}

impl VerifierName {
    /// The name as recipes and the command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Code => "code",
            Self::Format => "format",
            Self::Length => "length",
            Self::Language => "language",
            Self::Repetition => "repetition",
            Self::Plugin => "plugin",
            Self::Judge => "judge",
        }
    }
}
