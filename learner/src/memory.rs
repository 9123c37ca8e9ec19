//! Where a step's memory goes, beside weights and optimiser.

use native::{forget_most, held};
use policy::Model;
use tch::Device;

use crate::unit::Unit;

/// Bytes that a step held at most, by part. Parts need not be at their most at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepMemory {
    /// Gradients of the parameters that learn: the sums of the tree, and one unit's own for each shard.
    pub gradients: u64,
    /// What tensors held on the model's device while the units were worked on, beyond what was there before and the sums of gradients:
    /// activations, a chunk of the head's logits with what is made of them, and what there is of the unit's own gradients. What else the
    /// process does meanwhile is in it. 0 where tensors are not counted ([`native::count_tensors`]).
    pub activations: u64,
    /// A chunk of logits and its gradient.
    pub head: u64,
    /// Most of all tensors on the model's device, since the step before.
    pub device: u64,
}

impl StepMemory {
    /// The larger of each part.
    pub fn most(self, other: Self) -> Self {
        Self {
            gradients: self.gradients.max(other.gradients),
            activations: self.activations.max(other.activations),
            head: self.head.max(other.head),
            device: self.device.max(other.device),
        }
    }

    /// With the head of `model` over the trained rows of these units.
    pub(crate) fn with_head<'a>(self, model: &Model, units: impl Iterator<Item = &'a Unit>) -> Self {
        let rows = units.map(|unit| unit.picked.len()).max().unwrap_or(0);
        Self { head: model.head().bytes(rows), ..self }
    }
}

/// Looks at the tensors of a device while a batch is worked on.
pub(crate) struct Watch {
    device: Device,
    before: u64,
    most_before: u64,
}

impl Watch {
    pub(crate) fn begin(device: Device) -> Self {
        let found = held(device);
        forget_most(device);
        Self { device, before: found.now, most_before: found.most }
    }

    /// Of the batch, in which `sums` sets of gradients of `each` bytes waited to be added to while `shards` units were worked on.
    pub(crate) fn end(self, each: u64, sums: u64, shards: u64) -> StepMemory {
        let most = held(self.device).most;
        let activations = most.saturating_sub(self.before).saturating_sub(sums * each);
        StepMemory { gradients: (sums + shards) * each, activations, head: 0, device: most.max(self.most_before) }
    }
}
