//! `[stages.indexer]`: what becomes of the lightning indexer in a stage.

use serde::{Deserialize, Serialize};

use super::Kind;

/// `[stages.indexer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexerSettings {
    /// Whether it selects, learns, and is replayed.
    pub mode: IndexerMode,
    /// Factor of the indexer's KL loss.
    pub coefficient: f64,
    /// Keys that a query selects; 0: `index_topk` of the model's config.
    pub top_k: usize,
    /// Query heads of an indexer that the stage adds.
    pub heads: usize,
    /// Width of those heads and of the index key; at least the rotated width of the model's keys.
    pub width: usize,
    /// Layers that share one indexer, in one that the stage adds: the first of every so many has it.
    pub every: usize,
    /// In `rl`: report each step how far the indexer is from the attention, and how many of the sampler's keys it would select now. Costs
    /// one more forward.
    pub measure: bool,
}

impl Default for IndexerSettings {
    fn default() -> Self {
        Self { mode: IndexerMode::Auto, coefficient: 1.0, top_k: 0, heads: 4, width: 32, every: 1, measure: false }
    }
}

/// Whether the indexer selects, learns, and is replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexerMode {
    /// What suits the checkpoint and the kind of stage: [`IndexerMode::settle`].
    #[default]
    Auto,
    /// Dense attention, no indexer.
    None,
    /// It selects and does not learn.
    Frozen,
    /// It selects and learns; the learner selects anew.
    Live,
    /// It selects and learns; the learner attends to the keys that the sampler selected (INV-5).
    #[serde(rename = "live+replay")]
    LiveReplay,
}

impl IndexerMode {
    /// The mode that `Auto` stands for: none where the checkpoint has no indexer, live with replay where the policy
    /// is sampled, otherwise live. `indexer-warmup` and `sparse` add an indexer where there is none. Any other mode
    /// stands for itself.
    pub fn settle(self, kind: Kind, checkpoint_has_indexer: bool) -> Self {
        let adds_indexer = matches!(kind, Kind::IndexerWarmup | Kind::Sparse);
        match self {
            Self::Auto if !checkpoint_has_indexer && !adds_indexer => Self::None,
            Self::Auto if kind.samples_policy() => Self::LiveReplay,
            Self::Auto => Self::Live,
            chosen => chosen,
        }
    }
}
