//! From a stage's settings to its model and its optimiser.

use std::path::{Path, PathBuf};

use data::Tokenizer;
use learner::optimizer::AdamWConfig;
use learner::schedule::{Decay, Schedule};
use learner::shards::Parallel;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use policy::config::Scores;
use policy::kernels::cuda::left_to_cpu;
use policy::{IndexerConfig, Model, ModelConfig, checkpoint};

use super::{Run, checkpoints};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{self, IndexerMode, Kind, MODEL, ModelSource, Optimizer, Stage};
use crate::say;

/// Deviation of a fresh indexer's weights, in a model that was trained without one.
pub const INDEXER_STD: f64 = 0.02;

/// The model that a stage trains, as it is before the first step.
///
/// # Errors
/// As [`initial`].
pub fn begun(run: &Run, number: usize) -> Result<Model, Failure> {
    let model = initial(run, number)?;
    match &run.recipe.stages[number].lora {
        None => Ok(model),
        Some(lora) => model.with_adapters(lora.config(), run.recipe.run.seed).or_fail(Code::Usage),
    }
}

/// The model that a stage trains, as a checkpoint of its own has it. Where the stage trains adapters, the checkpoint's weights are merged, and
/// what they were merged into is where the stage began.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn restored(run: &Run, number: usize, folder: &Path) -> Result<Model, Failure> {
    if run.recipe.stages[number].lora.is_none() {
        return checkpoint::load(folder, run.compute).or_fail(Code::Checkpoint);
    }
    // What has adapters by default is what had them when the stage began.
    let (adapters, values) = checkpoint::load_adapters(folder).or_fail(Code::Checkpoint)?;
    let model = initial(run, number)?.with_adapters(adapters, run.recipe.run.seed).or_fail(Code::Usage)?;
    model.set_adapters(&values).or_fail(Code::Checkpoint)?;
    Ok(model)
}

/// Where the model lies that a stage's adapters stand beside; `None` where it has fresh weights.
///
/// # Errors
/// As [`initial`].
pub fn adapted_base(run: &Run, stage: &Stage) -> Result<Option<PathBuf>, Failure> {
    Ok(match source(run, &stage.from)? {
        Source::Folder(folder) => Some(folder),
        Source::Fresh { .. } => None,
    })
}

/// The model that a stage starts from, with its indexer as the stage wants it, and without adapters.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn initial(run: &Run, number: usize) -> Result<Model, Failure> {
    let stage = &run.recipe.stages[number];
    let seed = run.recipe.run.seed;
    let model = match source(run, &stage.from)? {
        Source::Fresh { config, std } => {
            let mut config = ModelConfig::read(Path::new(&config)).or_fail(Code::Checkpoint)?;
            let mode = stage.indexer_mode(config.indexer.is_some());
            config.indexer = if mode == IndexerMode::None { None } else { fresh_indexer(stage, &config)? };
            checkpoint::fresh(config, std, seed, run.compute).or_fail(Code::Checkpoint)?
        }
        Source::Folder(folder) => {
            let config = ModelConfig::read(&folder).or_fail(Code::Checkpoint)?;
            let mode = stage.indexer_mode(config.indexer.is_some());
            if mode == IndexerMode::None {
                checkpoint::load_dense(&folder, run.compute).or_fail(Code::Checkpoint)?
            } else {
                let indexer = fresh_indexer(stage, &config)?;
                checkpoint::load_with_indexer(&folder, indexer.as_ref(), INDEXER_STD, seed, run.compute)
                    .or_fail(Code::Checkpoint)?
            }
        }
    };
    check_vocabulary(&run.tokenizer, &model.config)?;
    check_balance(stage, &model.config)?;
    if let Some(slow) = left_to_cpu(&model.config, model.device()) {
        say!("note: {slow}; it is exact and slow there");
    }
    Ok(model)
}

/// A rate for a bias that is not there would have no effect; in `pretrain` it is the default and may be idle.
fn check_balance(stage: &Stage, config: &ModelConfig) -> Result<(), Failure> {
    let biased = config.experts.as_ref().is_some_and(|experts| experts.gate.scores == Scores::BiasedSigmoid);
    if biased || stage.kind == Kind::Pretrain || stage.routing().balance() == 0.0 {
        return Ok(());
    }
    let (name, family) = (&stage.name, config.family.model_type());
    Err(Failure::new(
        Code::Usage,
        format!("stage `{name}` balances experts by a selection bias, and this {family} has none"),
    )
    .hint("leave `routing.balance` out of the stage"))
}

/// The checkpoint folder that a stage left, or the run's own model, for a model that does not learn.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn load_from(run: &Run, name: &str) -> Result<Model, Failure> {
    match source(run, name)? {
        Source::Folder(folder) => checkpoint::load_frozen(&folder, run.compute).or_fail(Code::Checkpoint),
        Source::Fresh { .. } => {
            Err(Failure::new(Code::Usage, "the run's model has fresh weights: there is nothing to load"))
        }
    }
}

/// The model of an `eval` stage: as its checkpoint has it, without its indexer, or with another k.
///
/// # Errors
/// [`Code::Checkpoint`]; [`Code::Usage`] for a k where nothing selects.
pub fn evaluated(run: &Run, stage: &Stage) -> Result<Model, Failure> {
    let settings = stage.indexer.clone().unwrap_or_default();
    if settings.mode == IndexerMode::None {
        return checkpoint::load_dense(&folder_of(run, &stage.from)?, run.compute).or_fail(Code::Checkpoint);
    }
    let mut model = load_from(run, &stage.from)?;
    match &mut model.config.indexer {
        Some(indexer) if settings.top_k > 0 => indexer.top_k = settings.top_k as i64,
        None if settings.top_k > 0 || settings.mode == IndexerMode::Frozen => {
            let message = format!("stage `{}` asks for selected keys, and its checkpoint has no indexer", stage.name);
            return Err(Failure::new(Code::Usage, message).hint("leave `indexer` out: the model is dense"));
        }
        _ => {}
    }
    Ok(model)
}

/// Where a stage's weights lie, for stages that only copy or read them.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn folder_of(run: &Run, name: &str) -> Result<PathBuf, Failure> {
    match source(run, name)? {
        Source::Folder(folder) => Ok(folder),
        Source::Fresh { .. } => Err(Failure::new(Code::Usage, "the run's model has fresh weights: there is no folder")),
    }
}

enum Source {
    Folder(PathBuf),
    Fresh { config: String, std: f64 },
}

fn source(run: &Run, name: &str) -> Result<Source, Failure> {
    if name == MODEL {
        return Ok(match &run.recipe.model {
            ModelSource::Checkpoint { path } => Source::Folder(path.into()),
            ModelSource::Fresh { config, init_std, .. } => Source::Fresh { config: config.clone(), std: *init_std },
        });
    }
    let number = run.recipe.stages.iter().position(|s| s.name == name);
    let number = number.ok_or_else(|| Failure::new(Code::Usage, format!("there is no stage `{name}`")))?;
    let last = checkpoints::all(&run.folder.stage(number, name))?.pop();
    let last = last.ok_or_else(|| Failure::new(Code::Checkpoint, format!("stage `{name}` has left no checkpoint")))?;
    checkpoints::check(&last)?;
    Ok(Source::Folder(last))
}

/// The indexer that the stage adds where the checkpoint has none, or whose top-k replaces the checkpoint's.
fn fresh_indexer(stage: &Stage, config: &ModelConfig) -> Result<Option<IndexerConfig>, Failure> {
    let settings = stage.indexer();
    let top_k = settings.top_k as i64;
    match &config.indexer {
        Some(own) if top_k == 0 => Ok(Some(own.clone())),
        Some(own) => Ok(Some(IndexerConfig { top_k, ..own.clone() })),
        None if !matches!(stage.kind, Kind::IndexerWarmup | Kind::Sparse) => Ok(None),
        None if top_k == 0 => {
            let missing = format!("stage `{}` adds an indexer, and does not say how many keys it selects", stage.name);
            Err(Failure::new(Code::Usage, missing).hint("set `indexer.top_k` in the stage"))
        }
        None => Ok(Some(IndexerConfig {
            heads: settings.heads as i64,
            width: (settings.width as i64).max(config.rope_width()),
            top_k,
            every: settings.every as i64,
        })),
    }
}

/// Every token needs a row of the embedding.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn check_vocabulary(tokenizer: &Tokenizer, config: &ModelConfig) -> Result<(), Failure> {
    let (tokenizer, model) = (tokenizer.vocab_size() as i64, config.vocab_size);
    if tokenizer > model {
        return Err(Failure::new(
            Code::Checkpoint,
            format!("the tokenizer has {tokenizer} tokens and the model's embedding {model}"),
        )
        .hint("use the tokenizer that the checkpoint was trained with"));
    }
    Ok(())
}

/// A stage's optimiser over its model, spread as the run says.
///
/// # Errors
/// [`Code::Usage`] for a number out of range.
pub fn trainer(run: &Run, stage: &Stage, model: &Model) -> Result<Trainer, Failure> {
    let parallel = Parallel { shards: run.recipe.run.shards, micro_batch: run.recipe.run.micro_batch };
    let make = if run.recipe.run.offload_optimizer { Trainer::offloaded } else { Trainer::new };
    Ok(make(model, &trainer_settings(stage, model)).or_fail(Code::Usage)?.spread(parallel))
}

/// The optimiser's settings of a stage: what learns follows from its kind and its indexer's mode.
fn trainer_settings(stage: &Stage, model: &Model) -> TrainerSettings {
    let o = stage.optimizer();
    let live = matches!(indexer_mode(stage, model), IndexerMode::Live | IndexerMode::LiveReplay);
    let learning = match stage.kind {
        Kind::IndexerWarmup => Learning::Indexer,
        _ if live => Learning::Both,
        _ => Learning::Backbone,
    };
    TrainerSettings {
        learning,
        adamw: AdamWConfig { beta1: o.beta1, beta2: o.beta2, epsilon: o.eps, weight_decay: o.weight_decay },
        clip_norm: (o.clip_norm > 0.0).then_some(o.clip_norm),
        indexer_clip_norm: (o.indexer_clip_norm > 0.0).then_some(o.indexer_clip_norm),
        indexer_rate_scale: o.indexer_lr() / o.lr,
    }
}

/// What becomes of the indexer in a stage, once its model is known.
pub fn indexer_mode(stage: &Stage, model: &Model) -> IndexerMode {
    stage.indexer_mode(model.config.indexer.is_some())
}

/// The indexer's coefficient where it learns. Distillation samples with the weights that it learns with, so what the learner selects is what
/// the sampler selected: live and live with replay are one there.
pub fn indexer_coefficient(stage: &Stage, model: &Model) -> Option<f64> {
    let live = matches!(indexer_mode(stage, model), IndexerMode::Live | IndexerMode::LiveReplay);
    live.then_some(stage.indexer().coefficient)
}

/// The learning rate over a stage's steps.
pub fn schedule(o: &Optimizer, total: u64) -> Schedule {
    let final_fraction = if o.lr > 0.0 { o.min_lr / o.lr } else { 0.0 };
    Schedule {
        peak: o.lr,
        warmup_steps: o.warmup,
        total_steps: total.max(1),
        decay: match o.schedule {
            recipe::Schedule::Constant => Decay::Constant,
            recipe::Schedule::Linear => Decay::Linear { final_fraction },
            recipe::Schedule::Cosine => Decay::Cosine { final_fraction },
        },
    }
}
