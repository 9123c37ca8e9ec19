//! `[run]`: what belongs to the run as a whole, and the device it runs on.

use std::fmt;
use std::str::FromStr;

use policy::Precision;
use serde::{Deserialize, Serialize};

/// `[run]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// The run's folder under `out`. Empty: the recipe file's name without its extension.
    pub name: String,
    /// Keys every random number of the run (INV-4).
    pub seed: u64,
    /// What chat templates take for now, in seconds since 1970, UTC; 0: the moment at which the run starts.
    pub clock: i64,
    /// CPU threads; 0: one a core. Does not change a bit of the result (INV-7).
    pub threads: usize,
    /// Learner shards: threads that each take units of a batch, with their share of the CPU threads. Does not change a bit of the
    /// result (INV-7).
    pub shards: usize,
    /// Units of a batch that a shard takes at once, rounded up to a power of two. Does not change a bit of the result (INV-7).
    pub micro_batch: usize,
    /// Where the model runs.
    pub device: Device,
    /// The numbers that products multiply: `f32` or `bf16`. Weights stay f32 either way. `bf16` is for GPUs.
    pub precision: Precision,
    /// A layer's activations are not kept for its backward, which computes them again: less memory, one forward more, and not a bit of the
    /// result changed.
    pub recompute: bool,
    /// AdamW's moments of a model on a GPU live in the host's memory and are brought to the GPU part by part during the step: 8 bytes a
    /// parameter less there, not a bit of the result changed. On the CPU they are there anyway.
    pub offload_optimizer: bool,
    /// Positions that no sequence of the run passes; 0: as many as the model has. Under LongRoPE it decides which frequencies hold.
    pub context: usize,
    /// The folder that holds runs.
    pub out: String,
    /// Refuse to start where the sampler's and the learner's log-probabilities cannot be made bit for bit equal
    /// (INV-1, INV-2).
    pub exact: bool,
    /// Share of the prompts whose samples are recomputed only to be compared with what the sampler recorded, where no learner recomputes
    /// them under the weights that sampled them.
    pub compare_share: f64,
    /// Seconds that the verifiers may take over one group. After them its samples have no reward (INV-9).
    pub verdict_deadline_s: f64,
    /// Seconds after which a wait ends the run, with a dump of who waits for what (INV-9).
    pub stall_s: f64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            seed: 1,
            clock: 0,
            threads: 0,
            shards: 1,
            micro_batch: 1,
            device: Device::Auto,
            precision: Precision::F32,
            recompute: false,
            offload_optimizer: false,
            context: 0,
            out: "runs".into(),
            exact: true,
            compare_share: 1.0,
            verdict_deadline_s: 120.0,
            stall_s: 1800.0,
        }
    }
}

/// A compute device, written `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first GPU where one can be used, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("no device is called `{text}`; say `auto`, `cpu`, `cuda` or `cuda:N`")),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}
