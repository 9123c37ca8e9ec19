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
    /// Contexts, in tokens, at which the perplexity of held-out text is measured. Empty: it is not.
    pub contexts: Vec<usize>,
    /// Domains whose held-out prompts, with their reference answers, are that text. Empty: all that have `eval` prompts.
    pub texts: Vec<String>,
}

impl EvalSettings {
    /// Whether there is anything to score or to measure, in a recipe that is resolved.
    pub fn measures_something(&self) -> bool {
        !self.domains.is_empty() || !self.contexts.is_empty()
    }
}

impl Default for EvalSettings {
    fn default() -> Self {
        Self {
            n: 200,
            samples: 1,
            temperature: 1.0,
            after: true,
            domains: Vec::new(),
            contexts: Vec::new(),
            texts: Vec::new(),
        }
    }
}
