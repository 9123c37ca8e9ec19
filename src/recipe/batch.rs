//! `[stages.batch]`: how much a step reads, and in what units.

use serde::{Deserialize, Serialize};

/// Tokens a step where a stage that reads tokens does not say.
pub(super) const DEFAULT_TOKENS: usize = 8192;

/// `[stages.batch]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Tokens a step in stages that read tokens; 0 in `rl` and `distill`, whose steps are counted in prompts.
    pub tokens: usize,
    /// Tokens of one fixed unit of work. Gradients are summed over units in a fixed tree (INV-7), so this changes the
    /// result, as the number of threads or workers does not.
    pub unit_tokens: usize,
    /// Tokens of a sequence in `pretrain`, `indexer-warmup` and `sparse`; longer texts are cut.
    pub sequence: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { tokens: 0, unit_tokens: 2048, sequence: 256 }
    }
}
