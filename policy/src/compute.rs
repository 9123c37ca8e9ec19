//! Where a model computes, in which numbers, and whether its rows must be exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

/// The numbers that the model's products multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Both sides of a product are rounded to bf16, which a GPU multiplies an order of magnitude faster; sums inside it are f32, and its
    /// result is rounded once more. Weights stay f32 (the learner's master copy), and so do the residual stream, the kernels, and the
    /// products whose rounding decides something: gates, the indexer's head weights, and the head, whose logits become
    /// log-probabilities.
    Bf16,
}

impl Precision {
    /// libtorch's word for it.
    pub fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
        }
    }
}

/// How a model computes. A [`Device`] alone means f32, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// Where.
    pub device: Device,
    /// In which numbers.
    pub precision: Precision,
    /// A layer's activations are not kept for its backward, which computes them again: the memory of one layer (or of those that share an
    /// indexer) in place of all, for one forward more. Not a bit of a gradient changes.
    pub recompute: bool,
    /// A row's bits do not depend on the rest of the batch (INV-2). `false` measures nothing and pads nothing: only to see what exactness
    /// costs.
    pub exact: bool,
    /// Positions that no sequence passes, where that is fewer than the model has: it sizes the rope's table, and under LongRoPE it decides
    /// which frequencies hold, for all sequences alike.
    pub context: Option<i64>,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("no precision is called `{text}`; say `f32` or `bf16`")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl From<Device> for Compute {
    fn from(device: Device) -> Self {
        Self { device, precision: Precision::F32, recompute: false, exact: true, context: None }
    }
}
