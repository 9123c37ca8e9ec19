//! The loop of a step: a loss for each unit, gradients added in a fixed tree, one update.

use std::collections::BTreeMap;
use std::path::Path;

use policy::Model;
use policy::params::{Params, is_adapter, is_indexer, is_selection_bias};
use tch::Tensor;

use crate::grad_tree::GradTreeError;
use crate::losses::aggregate::AggregateError;
use crate::memory::StepMemory;
use crate::optimizer::{AdamW, AdamWConfig, GroupStep, OptimizerError, ParameterGroup, StateError};
use crate::shards::{Batch, Parallel, Shard};

/// The group of what never learns from a gradient: the gates' selection biases ([`crate::balance`] moves them), and what low-rank adapters
/// stand beside.
const FROZEN: &str = "frozen";

/// Which parameters learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learning {
    /// All but the indexer; of a model with low-rank adapters, those alone.
    Backbone,
    /// The indexer alone.
    Indexer,
    /// Both, each from its own loss.
    Both,
}

/// How parameters learn.
#[derive(Debug, Clone, Copy)]
pub struct TrainerSettings {
    /// Which.
    pub learning: Learning,
    /// The optimiser's numbers.
    pub adamw: AdamWConfig,
    /// Bound on the norm of the backbone's gradient.
    pub clip_norm: Option<f64>,
    /// Bound on the norm of the indexer's gradient. A shared bound would couple two losses that have nothing to do with each other.
    pub indexer_clip_norm: Option<f64>,
    /// The indexer's learning rate over the backbone's.
    pub indexer_rate_scale: f64,
}

/// Why a step was not applied.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A loss is NaN or infinite.
    #[error("the loss of unit {unit} is {value}: the step was not applied")]
    NonFiniteLoss {
        /// Which unit of the batch, from 0.
        unit: usize,
        /// The loss.
        value: f64,
    },
    /// Nothing is trained.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// The gradients do not fit together.
    #[error(transparent)]
    GradTree(#[from] GradTreeError),
    /// The optimiser refused.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
}

impl StepError {
    /// True where a number was not finite, so that the batch is worth keeping.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::NonFiniteLoss { .. } | Self::Optimizer(OptimizerError::NonFinite { .. }))
    }
}

/// An optimiser over a model's parameters.
pub struct Trainer {
    optimizer: AdamW,
    names: Vec<String>,
    parallel: Parallel,
}

/// What a step did.
#[derive(Debug)]
pub struct Stepped<R> {
    /// The batch's loss.
    pub loss: f64,
    /// What each unit reports, in order.
    pub reports: Vec<R>,
    /// What the optimiser did to each group.
    pub groups: Vec<GroupStep>,
    /// What the step held, but for the head.
    pub memory: StepMemory,
}

/// Whether a group owns the parameter of a name.
type Owns = fn(&str) -> bool;

impl Trainer {
    /// Marks the parameters that learn and makes an optimiser for them. Where the model has low-rank adapters, they are its backbone.
    ///
    /// # Errors
    /// [`OptimizerError`] for a number out of range.
    pub fn new(model: &Model, settings: &TrainerSettings) -> Result<Self, OptimizerError> {
        Self::with(model, settings, AdamW::new)
    }

    /// As [`Trainer::new`], with the moments of a model on a GPU in the host's memory: [`AdamW::offloaded`].
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`OptimizerError::Torch`] where the host has no room.
    pub fn offloaded(model: &Model, settings: &TrainerSettings) -> Result<Self, OptimizerError> {
        Self::with(model, settings, AdamW::offloaded)
    }

    fn with(
        model: &Model,
        settings: &TrainerSettings,
        optimizer: impl Fn(AdamWConfig, Vec<ParameterGroup>, &Params) -> Result<AdamW, OptimizerError>,
    ) -> Result<Self, OptimizerError> {
        let group = |name: &str, owns: Owns, clip: Option<f64>, scale: f64, learns: bool| ParameterGroup {
            learning_rate_scale: scale,
            max_norm: clip,
            frozen: !learns,
            ..ParameterGroup::new(name, owns)
        };
        let learning = settings.learning;
        let still: Owns = match model.adapters {
            None => is_selection_bias,
            Some(_) => |name| !is_adapter(name) && !is_indexer(name),
        };
        let groups = vec![
            // No loss reaches a selection bias, and weight decay would undo what it learned of the load.
            group(FROZEN, still, None, 1.0, false),
            group(
                "indexer",
                is_indexer,
                settings.indexer_clip_norm,
                settings.indexer_rate_scale,
                learning != Learning::Backbone,
            ),
            group("backbone", |_| true, settings.clip_norm, 1.0, learning != Learning::Indexer),
        ];
        let optimizer = optimizer(settings.adamw, groups, &model.params)?;
        let names: Vec<String> = optimizer.trained_names().map(str::to_owned).collect();
        for (name, parameter) in &model.params {
            let _ = parameter.set_requires_grad(names.binary_search(name).is_ok());
        }
        Ok(Self { optimizer, names, parallel: Parallel::default() })
    }

    /// Spreads the units of a batch as `parallel` says; nothing of it shows in the result.
    pub fn spread(mut self, parallel: Parallel) -> Self {
        self.parallel = parallel;
        self
    }

    /// Bytes of the optimiser's state.
    pub fn bytes(&self) -> u64 {
        self.optimizer.bytes()
    }

    /// One step: `unit_loss(shard, i)` is the loss of unit `i` of `units`, whose sum over units is the batch's, and what the unit
    /// reports. It is called on several threads, each with its own handles to the weights of `model` and of the models that are only
    /// `asked`.
    ///
    /// # Errors
    /// [`StepError`]; nothing was applied, unless libtorch itself failed in the midst of it ([`OptimizerError::Torch`]).
    pub fn step<R: Send>(
        &mut self,
        model: &Model,
        asked: &[&Model],
        units: usize,
        learning_rate: f64,
        unit_loss: impl Fn(&Shard, usize) -> Result<(Tensor, R), StepError> + Sync,
    ) -> Result<Stepped<R>, StepError> {
        let batch = Batch { names: &self.names, units, loss: unit_loss };
        let summed = batch.sum(model, asked, self.parallel)?;
        let gradients: BTreeMap<String, Tensor> = self.names.iter().cloned().zip(summed.gradients).collect();
        let mut groups = self.optimizer.step(learning_rate, &gradients)?;
        model.merge();
        groups.retain(|group| group.name != FROZEN);
        Ok(Stepped { loss: summed.loss, reports: summed.reports, groups, memory: summed.memory })
    }

    /// Writes the optimiser's state.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        self.optimizer.save(path)
    }

    /// Reads the optimiser's state.
    ///
    /// # Errors
    /// [`StateError`] where the file is damaged or another model's.
    pub fn load(&mut self, path: &Path) -> Result<(), StateError> {
        self.optimizer.load(path)
    }
}
