//! A batch's units spread over shards: threads of this process that hold the same weights.
//!
//! ```text
//! units            0 1 2 3   4 5 6 7   8 9 10 11   12 13      micro-batches of 4
//! shard               A         B          A         B
//!                     └─────────┴──────────┴─────────┘  subtrees, merged in the order of the units
//! ```
//!
//! A micro-batch is a power of two of neighbouring units, so its subtree is made of nodes of the whole batch's tree: neither the number
//! of shards nor the size of a micro-batch changes a bit of the sum (INV-7).

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use policy::Model;
use policy::params::tensor_bytes;
use tch::{Kind, Tensor};

use crate::grad_tree::GradTree;
use crate::memory::{StepMemory, Watch};
use crate::trainer::StepError;

/// How a batch is spread. Nothing of it shows in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallel {
    /// Threads that work on units at the same time, each with its share of the CPU's threads.
    pub shards: usize,
    /// Units that a shard takes at once, rounded up to a power of two.
    pub micro_batch: usize,
}

impl Default for Parallel {
    fn default() -> Self {
        Self { shards: 1, micro_batch: 1 }
    }
}

/// The weights that one shard works with: other handles to the storage that all shards read.
#[derive(Debug)]
pub struct Shard {
    /// The model that learns.
    pub model: Model,
    /// Models that are only asked: a reference, teachers.
    pub asked: Vec<Model>,
}

impl Shard {
    fn of(model: &Model, asked: &[&Model]) -> Self {
        Self { model: model.replica(), asked: asked.iter().map(|model| model.replica()).collect() }
    }
}

/// What the units of a batch add up to.
pub(crate) struct Summed<R> {
    /// The sum of their losses.
    pub loss: f64,
    /// What each unit reports, in order.
    pub reports: Vec<R>,
    /// The sums of their gradients, one tensor a trained parameter.
    pub gradients: Vec<Tensor>,
    /// What they held.
    pub memory: StepMemory,
}

/// A micro-batch's share.
struct Part<R> {
    losses: Vec<f64>,
    reports: Vec<R>,
    tree: GradTree,
}

/// A batch: `loss(shard, unit)` gives the loss of a unit and what it reports, on the shard's own handles to the weights.
pub(crate) struct Batch<'a, F> {
    /// The parameters that learn, in the order of their gradients.
    pub names: &'a [String],
    /// Number of units.
    pub units: usize,
    /// The loss of a unit.
    pub loss: F,
}

impl<R: Send, F: Fn(&Shard, usize) -> Result<(Tensor, R), StepError> + Sync> Batch<'_, F> {
    /// Losses, reports and gradients of all units, for `model`, which learns, and the models that are only `asked`.
    ///
    /// # Errors
    /// That of the first unit that has one.
    pub fn sum(&self, model: &Model, asked: &[&Model], parallel: Parallel) -> Result<Summed<R>, StepError> {
        let size = parallel.micro_batch.max(1).next_power_of_two();
        let parts = self.units.div_ceil(size);
        let shards = parallel.shards.clamp(1, parts.max(1));
        let mut whole = Whole { losses: 0.0, reports: Vec::with_capacity(self.units), tree: GradTree::new() };
        let watch = Watch::begin(model.device());
        let each: u64 = self.names.iter().map(|name| tensor_bytes(&model.params[name])).sum();
        if shards == 1 {
            let shard = Shard::of(model, asked);
            (0..parts).try_for_each(|part| whole.take(self.part(&shard, part * size, size)?))?;
            return Ok(whole.finish(watch, each, shards));
        }
        let threads = tch::get_num_threads();
        let summed = thread::scope(|scope| {
            let (mut receivers, mut workers) = (Vec::new(), Vec::new());
            for first in 0..shards {
                let shard = Shard::of(model, asked);
                // One part may wait to be merged while the next is worked on: a shard that is ahead holds no more memory than that.
                let (sender, receiver) = sync_channel(1);
                receivers.push(receiver);
                workers.push(scope.spawn(move || {
                    tch::set_num_threads((threads / shards as i32).max(1));
                    self.work(&shard, (first..parts).step_by(shards).map(|part| part * size), size, &sender);
                }));
            }
            let merged = merge(whole, &receivers, parts);
            // A shard that waits to be heard is let go.
            drop(receivers);
            for worker in workers {
                // With its own words, by which a lack of memory is known.
                worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
            merged
        });
        let summed = summed.map(|whole| whole.finish(watch, each, shards));
        // The number that a new thread starts with is the process's, and the shards have changed it.
        tch::set_num_threads(threads);
        summed
    }

    /// Sends the micro-batches that begin at `starts`, until one fails or nobody wants them any more.
    fn work(
        &self,
        shard: &Shard,
        starts: impl Iterator<Item = usize>,
        size: usize,
        sender: &SyncSender<Result<Part<R>, StepError>>,
    ) {
        for start in starts {
            let part = self.part(shard, start, size);
            let failed = part.is_err();
            if sender.send(part).is_err() || failed {
                return;
            }
        }
    }

    fn part(&self, shard: &Shard, start: usize, size: usize) -> Result<Part<R>, StepError> {
        let parameters: Vec<&Tensor> = self.names.iter().map(|name| &shard.model.params[name]).collect();
        let mut part = Part { losses: Vec::new(), reports: Vec::new(), tree: GradTree::new() };
        for unit in start..(start + size).min(self.units) {
            let (loss, report) = (self.loss)(shard, unit)?;
            let value = loss.double_value(&[]);
            if !value.is_finite() {
                return Err(StepError::NonFiniteLoss { unit, value });
            }
            part.losses.push(value);
            part.reports.push(report);
            part.tree.push(gradients(&loss, &parameters))?;
        }
        Ok(part)
    }
}

/// The parts so far, in order.
struct Whole<R> {
    losses: f64,
    reports: Vec<R>,
    tree: GradTree,
}

impl<R> Whole<R> {
    fn take(&mut self, part: Part<R>) -> Result<(), StepError> {
        part.losses.iter().for_each(|loss| self.losses += loss);
        self.reports.extend(part.reports);
        Ok(self.tree.merge(part.tree)?)
    }

    /// `each`: bytes of one unit's gradients.
    fn finish(self, watch: Watch, each: u64, shards: usize) -> Summed<R> {
        // The last of the sums that were there at once is what a unit had just brought.
        let waiting = self.tree.most_sums().saturating_sub(1);
        let memory = watch.end(each, waiting as u64, shards as u64);
        Summed { loss: self.losses, reports: self.reports, gradients: self.tree.finish(), memory }
    }
}

fn merge<R>(
    mut whole: Whole<R>,
    receivers: &[Receiver<Result<Part<R>, StepError>>],
    parts: usize,
) -> Result<Whole<R>, StepError> {
    for part in 0..parts {
        // A shard hangs up early only where it failed, which it said first, or panicked, which its join passes on.
        let Ok(found) = receivers[part % receivers.len()].recv() else { break };
        whole.take(found?)?;
    }
    Ok(whole)
}

/// Gradients of one unit, zero for a parameter that the loss does not reach.
fn gradients(loss: &Tensor, parameters: &[&Tensor]) -> Vec<Tensor> {
    if !loss.requires_grad() {
        return parameters.iter().map(|parameter| parameter.zeros_like()).collect();
    }
    let found = Tensor::run_backward(&[loss], parameters, false, false);
    let or_zero = |(gradient, parameter): (Tensor, &&Tensor)| match gradient.defined() {
        true => gradient.to_kind(Kind::Float),
        false => parameter.zeros_like(),
    };
    found.into_iter().zip(parameters).map(or_zero).collect()
}
