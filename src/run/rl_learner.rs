//! The half of an `rl` stage that learns from a step's groups, wherever they come from: mini-steps of GRPO beside a reference policy.

use std::path::Path;

use data::{Mask, ScoredGroup, Trajectory};
use learner::advantage::has_signal;
use learner::grpo::{GrpoReport, GrpoSettings, LiveIndexer, Routing, Sample, grpo_step, samples};
use learner::losses::aggregate::Aggregation;
use learner::losses::kl::KlEstimator;
use learner::losses::policy_gradient::Clip;
use learner::selection::compare_selections;
use policy::{Model, checkpoint};

use super::keep_batch;
use super::models::{self, indexer_mode};
use super::rl_metrics::{mean, step_metrics};
use super::sample::inverse_temperature;
use super::stage::{Active, step_failure};
use super::state::{learning_work, sampling_work};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{self, IndexerMode, Rl};

/// The file of a checkpoint that holds the reference policy.
const REFERENCE: &str = "reference.safetensors";

/// The half of the stage that learns from a step's groups, wherever they come from.
pub struct Learner {
    reference: Option<Model>,
    /// Whether a reference that was never set lies beside the adapters anyway.
    shares: bool,
    /// What its steps are made with.
    pub settings: GrpoSettings,
}

/// What a step of the learner did.
pub struct Learned {
    /// One entry a mini-step.
    pub reports: Vec<GrpoReport>,
    /// Its numbers for `metrics.jsonl`: those that are a function of weights and groups.
    pub metrics: Vec<(String, f64)>,
}

impl Learner {
    /// The learner of a stage, its reference policy as of the step at which the stage stands.
    ///
    /// # Errors
    /// [`Code::Checkpoint`].
    pub fn new(active: &Active<'_>) -> Result<Self, Failure> {
        let domains = &active.run.recipe.domains;
        let regularised = active.stage.domains.iter().any(|d| domains[d].kl_beta > 0.0);
        let reference = regularised.then(|| reference(active)).transpose()?;
        let shares = active.stage.lora.is_some();
        Ok(Self { reference, shares, settings: settings(active) })
    }

    /// A step from groups that the log has, without a sampler: the weights move as they did when the groups were new.
    ///
    /// # Errors
    /// [`Code::Numeric`] where a loss or a gradient is not finite.
    pub fn relearn(&mut self, active: &mut Active<'_>, groups: &[ScoredGroup]) -> Result<Learned, Failure> {
        let rl = active.stage.rl();
        self.settings.version = active.version();
        let (useful, idle) = useful_and_idle(rl, groups);
        active.state.ledger.add(&active.model.config, sampling_work(&active.model.config, groups), 1.0);
        let measured = self.measured(active, &useful);
        let reports = self.learn(active, rl, &useful)?;
        self.refresh_reference(active, rl)?;
        let metrics = step_metrics(active, groups, idle.len(), &reports, measured);
        Ok(Learned { reports, metrics })
    }

    /// The mini-steps over one batch of groups; none where no group has a signal.
    pub(super) fn learn(
        &self,
        active: &mut Active<'_>,
        rl: &Rl,
        groups: &[ScoredGroup],
    ) -> Result<Vec<GrpoReport>, Failure> {
        let mut reports = Vec::new();
        for (mini, part) in groups.chunks(mini_step(rl, groups.len())).enumerate() {
            let samples = samples(part, |domain| active.run.recipe.domains[domain].kl_beta);
            if samples.is_empty() {
                continue;
            }
            let rate = active.learning_rate();
            let reference = self.reference.as_ref();
            let (run, step) = (active.run, active.state.step + 1);
            let _wait = run.watchdog.wait("the sampler", || format!("step {step} of the learner"));
            let report = grpo_step(&active.model, reference, &mut active.trainer, &samples, &self.settings, rate);
            let report = report.map_err(|error| {
                let tokens: Vec<_> = samples.iter().map(|s| s.trajectory.tokens.as_slice()).collect();
                let kept = keep_batch(active, &tokens);
                step_failure(active, &error, &kept)
            })?;
            // Later mini-steps run on weights that did not sample, so only the first compares like with like.
            if mini == 0 {
                active.state.compared(report.exactness);
            }
            active.state.held(report.memory);
            charge(active, &samples, if reference.is_some() { 4.0 } else { 3.0 });
            reports.push(report);
        }
        Ok(reports)
    }

    /// The indexer beside the attention and beside what it selected for the sampler, before it learns from these groups.
    pub(super) fn measured(&self, active: &Active<'_>, groups: &[ScoredGroup]) -> Vec<(String, f64)> {
        let samples = samples(groups, |_| 0.0);
        if !measures(active) || samples.is_empty() {
            return Vec::new();
        }
        let trajectories: Vec<_> = samples.iter().map(|s| s.trajectory).collect();
        let report = compare_selections(&active.model, &trajectories, self.settings.unit_tokens);
        let overlaps = report.overlaps();
        let mut metrics = vec![("indexer/measured_kl".to_owned(), report.kl)];
        if !overlaps.is_empty() {
            metrics.push(("indexer/selection_overlap".into(), mean(overlaps.iter().copied())));
            metrics.push(("indexer/selection_overlap_min".into(), overlaps.into_iter().fold(f64::INFINITY, f64::min)));
        }
        metrics
    }

    /// Bytes of the reference's own weights.
    pub(super) fn other_weights(&self, active: &Active<'_>) -> u64 {
        let own = self.reference.as_ref().filter(|_| set_at(active) > 0 || !self.shares);
        own.map_or(0, Model::bytes)
    }

    pub(super) fn refresh_reference(&mut self, active: &Active<'_>, rl: &Rl) -> Result<(), Failure> {
        let due = rl.reference_every > 0 && (active.state.step + 1).is_multiple_of(rl.reference_every);
        if let Some(reference) = self.reference.as_mut().filter(|_| due) {
            *reference = active.model.frozen_copy().or_fail(Code::Device)?;
        }
        Ok(())
    }

    /// Keeps the reference policy beside a checkpoint's own weights, once it is no longer what the stage started from.
    pub(super) fn save(&self, active: &Active<'_>, folder: &Path) -> Result<(), Failure> {
        let own = self.reference.as_ref().filter(|_| set_at(active) > 0);
        own.map_or(Ok(()), |own| checkpoint::save_tensors(&own.params, &folder.join(REFERENCE)).or_fail(Code::Disk))
    }
}

/// The groups to learn from, and those without a signal.
pub fn useful_and_idle(rl: &Rl, groups: &[ScoredGroup]) -> (Vec<ScoredGroup>, Vec<ScoredGroup>) {
    groups.iter().cloned().partition(|g| !rl.dynamic_sampling || informative(g))
}

/// True where the group's unmasked rewards differ, so that it has a gradient.
pub(super) fn informative(group: &ScoredGroup) -> bool {
    let rewards: Vec<_> = group.samples.iter().map(|s| s.reward.filter(|_| s.mask == Mask::None)).collect();
    has_signal(&rewards)
}

/// What was sampled in groups and is not learned from.
pub fn masked<'a>(groups: impl Iterator<Item = &'a ScoredGroup>) -> impl Iterator<Item = &'a Trajectory> {
    groups.flat_map(|g| &g.samples).filter(|s| s.mask != Mask::None).map(|s| &s.trajectory)
}

/// Groups of a mini-step.
pub fn mini_step(rl: &Rl, groups: usize) -> usize {
    groups.div_ceil(rl.mini_steps.max(1)).max(1)
}

/// Adds a learner's pass over samples to the ledger.
pub fn charge(active: &mut Active<'_>, samples: &[Sample<'_>], forwards: f64) {
    let config = &active.model.config;
    let work = learning_work(config, false, samples.iter().map(|s| s.trajectory.tokens.len()));
    active.state.ledger.add(config, work, forwards);
}

/// The step after which the reference was last set to the weights; 0 while it is what the stage started from.
fn set_at(active: &Active<'_>) -> u64 {
    let (step, every) = (active.state.step, active.stage.rl().reference_every);
    if every == 0 { 0 } else { step - step % every }
}

/// The reference policy as of the step at which the stage stands: the weights that the stage started from, or the last ones that it was
/// set to, which the checkpoint holds.
fn reference(active: &Active<'_>) -> Result<Model, Failure> {
    let (step, set_at) = (active.state.step, set_at(active));
    match &active.restored {
        // What the stage began with lies beside its adapters.
        _ if set_at == 0 && active.stage.lora.is_some() => active.model.without_adapters().or_fail(Code::Device),
        _ if set_at == step => active.model.frozen_copy().or_fail(Code::Device),
        Some(checkpoint) if set_at > 0 => {
            let params = checkpoint::load_tensors(&checkpoint.join(REFERENCE)).or_fail(Code::Checkpoint)?;
            Model::new(active.model.config.clone(), params, active.run.compute).or_fail(Code::Device)
        }
        _ => models::initial(active.run, active.number),
    }
}

fn settings(active: &Active<'_>) -> GrpoSettings {
    let (run, stage) = (active.run, active.stage);
    let rl = stage.rl();
    grpo_settings(active, rl, run.recipe.sampling.max_new_tokens)
}

/// A recipe's GRPO settings in the learner's terms.
pub fn grpo_settings(active: &Active<'_>, rl: &Rl, longest: usize) -> GrpoSettings {
    let coefficient = active.stage.indexer().coefficient;
    GrpoSettings {
        clip: Clip { low: rl.clip_low, high: rl.clip_high, dual: (rl.dual_clip > 0.0).then_some(rl.dual_clip) },
        aggregation: match rl.aggregation {
            recipe::Aggregation::SequenceMean => Aggregation::SequenceMean,
            recipe::Aggregation::TokenMean => Aggregation::TokenMean,
            recipe::Aggregation::Constant => Aggregation::Constant { length: longest as f64 },
        },
        off_policy_delta: (rl.off_policy_delta > 0.0).then_some(rl.off_policy_delta),
        kl: match rl.kl {
            recipe::KlEstimator::Unbiased => KlEstimator::Unbiased,
            recipe::KlEstimator::K1 => KlEstimator::K1,
            recipe::KlEstimator::K2 => KlEstimator::K2,
            recipe::KlEstimator::K3 => KlEstimator::K3,
        },
        inverse_temperature: inverse_temperature(active.run),
        indexer: match indexer_mode(active.stage, &active.model) {
            IndexerMode::Live => LiveIndexer::Live(coefficient),
            IndexerMode::LiveReplay => LiveIndexer::Replay(coefficient),
            IndexerMode::Auto | IndexerMode::None | IndexerMode::Frozen => LiveIndexer::Frozen,
        },
        routing: Routing { replay: active.stage.routing().replay, balance: active.stage.routing().balance() },
        unit_tokens: active.stage.batch().unit_tokens,
        version: active.version(),
    }
}

/// True where the recipe asks to measure the indexer and there is one.
pub(super) fn measures(active: &Active<'_>) -> bool {
    active.stage.indexer().measure && indexer_mode(active.stage, &active.model) != IndexerMode::None
}
