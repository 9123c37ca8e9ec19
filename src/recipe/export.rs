//! `[stages.export]`: the checkpoint for others to load.

use serde::{Deserialize, Serialize};

/// `[stages.export]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportSettings {
    /// The numbers of the weights.
    pub dtype: ExportKind,
    /// Most GB (10⁹ bytes) of weights in a file; what has more is written in shards, with their list.
    pub shard_gb: f64,
}

impl Default for ExportSettings {
    fn default() -> Self {
        Self { dtype: ExportKind::F32, shard_gb: 5.0 }
    }
}

/// The numbers of exported weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// As they were trained, to the bit.
    #[default]
    F32,
    /// Rounded to half the size.
    Bf16,
    /// The layers' matrices in blocks of FP8, as DeepSeek-V3 is released, the rest in bf16.
    Fp8,
}
