//! `[eval]`: how checkpoints are evaluated on held-out prompts.

use serde::{Deserialize, Serialize};

/// `[eval]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSettings {
    /// Prompts a domain.
    pub n: usize,
    /// Completions a prompt; pass@1 is their mean.
    pub samples: usize,
    /// Sampling temperature; 0: the most likely token.
    pub temperature: f64,
    /// Whether a stage is evaluated at its end, unless the stage says otherwise.
    pub after: bool,
    /// Domains to evaluate. Empty: all that have `eval` prompts and a verifier.
    pub domains: Vec<String>,
}

impl Default for EvalSettings {
    fn default() -> Self {
        Self { n: 200, samples: 1, temperature: 1.0, after: true, domains: Vec::new() }
    }
}
