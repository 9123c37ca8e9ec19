//! `[stages.lora]`: low-rank adapters in place of all weights.

use policy::LoraConfig;
use serde::{Deserialize, Serialize};

/// `[stages.lora]`: the stage trains adapters beside the backbone's matrices (Hu et al., arXiv:2106.09685) and nothing else; its checkpoint
/// holds the merged weights, with the adapters in PEFT's layout beside them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Columns of `B` and rows of `A`.
    pub rank: usize,
    /// The product of the two is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// The matrices that get an adapter, by the names that PEFT knows them by; empty: all that the model has.
    pub targets: Vec<String>,
}

impl Default for LoraSettings {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Vec::new() }
    }
}

impl LoraSettings {
    /// In the model's terms.
    pub fn config(&self) -> LoraConfig {
        LoraConfig { rank: self.rank as i64, alpha: self.alpha, targets: self.targets.clone() }
    }
}
