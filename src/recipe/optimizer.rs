//! `[stages.optimizer]`: AdamW and its learning-rate schedule.

use serde::{Deserialize, Serialize};

/// `[stages.optimizer]`: AdamW (Loshchilov & Hutter, arXiv:1711.05101) with decoupled weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizer {
    /// Peak learning rate. Must be set.
    pub lr: f64,
    /// Learning rate at the end of a `linear` or `cosine` schedule.
    pub min_lr: f64,
    /// How the learning rate falls after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises linearly from 0.
    pub warmup: u64,
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Added to the root in the denominator.
    pub eps: f64,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
    /// The gradient of all weights but the indexer's is scaled down to this L2 norm; 0: never.
    pub clip_norm: f64,
    /// Peak learning rate of the indexer, which follows the same schedule. `None` until resolved: `lr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexer_lr: Option<f64>,
    /// As `clip_norm`, for the indexer's gradient alone: its loss has its own scale.
    pub indexer_clip_norm: f64,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            lr: 0.0,
            min_lr: 0.0,
            schedule: Schedule::Constant,
            warmup: 0,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
            indexer_lr: None,
            indexer_clip_norm: 1.0,
        }
    }
}

impl Optimizer {
    /// Peak learning rate of the indexer.
    pub fn indexer_lr(&self) -> f64 {
        self.indexer_lr.unwrap_or(self.lr)
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not.
    #[default]
    Constant,
    /// On a line to `min_lr` at the last step.
    Linear,
    /// On half a cosine to `min_lr` at the last step.
    Cosine,
}
