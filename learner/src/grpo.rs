//! The GRPO step of DeepSeek-V3.2 (facts: arXiv 2512.02556 §3.1, Eq. 5–9).
//!
//! For each sampled token: `min(r A, clip(r, 1 − ε_low, 1 + ε_high) A) · M − β KL`, with `r = π_θ / π_old` over the sampler's kept set,
//! `π_old` the probabilities that the sampler recorded, `M` the off-policy sequence mask and `β` the domain's. A live indexer adds its
//! own loss, whose gradient reaches it alone.

use data::{Mask, ScoredGroup, Trajectory};
use policy::kernels::indexer_loss::Coverage;
use policy::model::Load;
use policy::{Attend, Keys, Model, Task};
use tch::{Device, Tensor};

use crate::balance::{add_load, balance};
use crate::language::add_coverage;
use crate::losses::aggregate::{Aggregation, GlobalCounts, token_weights};
use crate::losses::kl::{KlEstimator, KlStats, KlTerms, kl_penalty};
use crate::losses::off_policy_mask::off_policy_mask;
use crate::losses::policy_gradient::{Clip, PolicyStats, PolicyTerms, clipped_surrogate};
use crate::memory::StepMemory;
use crate::optimizer::GroupStep;
use crate::replay::{Exactness, picked_log_probs, recorded, to_host, unit_log_probs};
use crate::shards::Shard;
use crate::trainer::{StepError, Trainer};
use crate::unit::{Unit, cut};

/// What becomes of the indexer in a step that samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LiveIndexer {
    /// It selects and does not learn.
    Frozen,
    /// It learns from its divergence on the keys that it selects now, with this coefficient.
    Live(f64),
    /// As `Live`, on the keys that the sampler recorded.
    Replay(f64),
}

impl LiveIndexer {
    fn coefficient(self) -> Option<f64> {
        match self {
            Self::Frozen => None,
            Self::Live(c) | Self::Replay(c) => Some(c),
        }
    }
}

/// What becomes of the experts in a step that samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Rows go through the experts that the sampler recorded, weighted by the gate's own scores (Keep Routing). Samples without a record go
    /// where the gate sends them.
    pub replay: bool,
    /// `γ` of [`balance`]; 0 leaves the selection bias alone.
    pub balance: f64,
}

/// The settings of a GRPO step.
#[derive(Debug, Clone)]
pub struct GrpoSettings {
    /// The surrogate's clips.
    pub clip: Clip,
    /// What token losses are divided by.
    pub aggregation: Aggregation,
    /// `δ` of the off-policy sequence mask; `None` leaves it out.
    pub off_policy_delta: Option<f64>,
    /// The KL's estimator.
    pub kl: KlEstimator,
    /// `1 / T` of the sampler.
    pub inverse_temperature: f32,
    /// What becomes of the indexer.
    pub indexer: LiveIndexer,
    /// What becomes of the experts.
    pub routing: Routing,
    /// Rows of a unit.
    pub unit_tokens: usize,
    /// The version of the weights as the step begins: what they sampled is compared with what the learner computes.
    pub version: u64,
}

/// A sample with what its loss needs.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// What was sampled.
    pub trajectory: &'a Trajectory,
    /// Its advantage.
    pub advantage: f64,
    /// `β` of its domain.
    pub beta: f64,
}

/// The unmasked samples of groups, in order.
pub fn samples<'a>(groups: &'a [ScoredGroup], beta: impl Fn(&str) -> f64) -> Vec<Sample<'a>> {
    let of_group = |group: &'a ScoredGroup| {
        let beta = beta(&group.prompt.domain);
        let unmasked = group.samples.iter().filter(|s| s.mask == Mask::None);
        unmasked.map(move |s| Sample { trajectory: &s.trajectory, advantage: f64::from(s.advantage), beta })
    };
    groups.iter().flat_map(of_group).collect()
}

/// What a GRPO step reports.
#[derive(Debug, Clone, Default)]
pub struct GrpoReport {
    /// The loss.
    pub loss: f64,
    /// The surrogate's part of it.
    pub surrogate: f64,
    /// The KL's part of it, `β` included.
    pub penalty: f64,
    /// What those two are made of, token by token.
    pub tokens: TokenTerms,
    /// What happened in the surrogate.
    pub policy: PolicyStats,
    /// The KL to the reference.
    pub kl: KlStats,
    /// Sum of the entropies of the trained rows, in nats.
    pub entropy_sum: f64,
    /// Mean divergence of the indexer a row and layer.
    pub indexer_kl: f64,
    /// What the indexer adds to the loss: the sum of those over layers, times its coefficient.
    pub indexer_loss: f64,
    /// The indexer's coverage of the attention, by layer.
    pub coverage: Vec<Coverage>,
    /// What the experts were given, by layer that has any.
    pub load: Vec<Load>,
    /// The learner's log-probabilities against the sampler's, as this step began.
    pub exactness: Exactness,
    /// Rows of all sequences, those that they share counted for each.
    pub rows: usize,
    /// What the optimiser did.
    pub groups: Vec<GroupStep>,
    /// What the step held.
    pub memory: StepMemory,
}

/// What the learner had of each trained token: all samples' own tokens, one after the other. Natural logarithms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenTerms {
    /// `log π_θ` as the step began.
    pub logp: Vec<f32>,
    /// `log π_ref`; empty without a reference, and NaN where no sample of a token's unit asks for it.
    pub ref_logp: Vec<f32>,
    /// The token's weight in the loss.
    pub weight: Vec<f32>,
    /// `M`: 0 where the off-policy mask dropped the token's sequence, else 1.
    pub kept: Vec<f32>,
}

impl TokenTerms {
    fn add(&mut self, other: &Self) {
        self.logp.extend(&other.logp);
        self.ref_logp.extend(&other.ref_logp);
        self.weight.extend(&other.weight);
        self.kept.extend(&other.kept);
    }
}

/// One step over `samples`. `reference` is needed where a `β` is not 0.
///
/// # Errors
/// [`StepError`]; nothing was applied.
pub fn grpo_step(
    model: &Model,
    reference: Option<&Model>,
    trainer: &mut Trainer,
    samples: &[Sample<'_>],
    settings: &GrpoSettings,
    learning_rate: f64,
) -> Result<GrpoReport, StepError> {
    let lengths: Vec<usize> = samples.iter().map(|s| s.trajectory.tokens.len()).collect();
    let units: Vec<(Unit, &[Sample<'_>])> = cut(&lengths, settings.unit_tokens)
        .into_iter()
        .map(|range| {
            let part = &samples[range];
            (Unit::of_trajectories(&trajectories(part), settings.inverse_temperature), part)
        })
        .collect();
    let counts = GlobalCounts::of(units.iter().map(|(unit, _)| &unit.layout));
    let rows: usize = units.iter().map(|(unit, _)| unit.rows_of_sequences()).sum();
    let asked: Vec<&Model> = reference.into_iter().collect();
    let stepped = trainer.step(model, &asked, units.len(), learning_rate, |shard, i| {
        let (unit, part) = &units[i];
        let weight_T = token_weights(settings.aggregation, counts, &unit.layout, shard.model.device())?;
        Ok(unit_loss(shard, unit, part, &weight_T, rows, settings))
    })?;
    let memory = stepped.memory.with_head(model, units.iter().map(|(unit, _)| unit));
    let (loss, groups) = (stepped.loss, stepped.groups);
    let mut report = GrpoReport { loss, rows, groups, memory, ..GrpoReport::default() };
    stepped.reports.iter().for_each(|unit| report.add(unit));
    balance(model, &report.load, settings.routing.balance);
    Ok(report)
}

impl GrpoReport {
    /// Adds what another unit of the same batch found.
    pub(crate) fn add(&mut self, unit: &Self) {
        self.surrogate += unit.surrogate;
        self.penalty += unit.penalty;
        self.tokens.add(&unit.tokens);
        self.policy.add(&unit.policy);
        self.kl.add(&unit.kl);
        self.entropy_sum += unit.entropy_sum;
        self.indexer_kl += unit.indexer_kl;
        self.indexer_loss += unit.indexer_loss;
        add_coverage(&mut self.coverage, &unit.coverage);
        add_load(&mut self.load, &unit.load);
        self.exactness.add(unit.exactness);
    }
}

fn trajectories<'a>(samples: &[Sample<'a>]) -> Vec<&'a Trajectory> {
    samples.iter().map(|s| s.trajectory).collect()
}

/// The loss of a unit, and what the unit reports. The shard's first asked model is the reference.
fn unit_loss(
    shard: &Shard,
    unit: &Unit,
    samples: &[Sample<'_>],
    weight_T: &Tensor,
    all_rows: usize,
    settings: &GrpoSettings,
) -> (Tensor, GrpoReport) {
    let (model, device) = (&shard.model, shard.model.device());
    let mut report = GrpoReport::default();
    let task = forward_task(model, unit, samples, all_rows, settings);
    let forward = model.forward(&unit.rows, Keys::Fresh, &task);
    let (logp_T, entropy_T) = picked_log_probs(model, unit, &forward);
    report.load = forward.load;
    let old = recorded(&trajectories(samples));
    report.tokens.logp = to_host(&logp_T);
    report.tokens.weight = to_host(weight_T);
    report.exactness.add(Exactness::of_version(settings.version, &trajectories(samples), &report.tokens.logp));
    report.entropy_sum += to_host(&entropy_T).iter().map(|&e| f64::from(e)).sum::<f64>();

    let old_logp_T = Tensor::from_slice(&old).to_device(device);
    let mut loss = surrogate(&logp_T, &old_logp_T, unit, samples, weight_T, settings, &mut report);
    if let Some(reference) = shard.asked.first().filter(|_| samples.iter().any(|s| s.beta != 0.0)) {
        let ref_logp_T = tch::no_grad(|| unit_log_probs(reference, unit, &Task::plain(reference)));
        let beta_T = unit.layout.spread(&samples.iter().map(|s| s.beta).collect::<Vec<_>>(), device);
        let terms =
            KlTerms { logp_T: &logp_T, old_logp_T: &old_logp_T, ref_logp_T: &ref_logp_T, beta_T: &beta_T, weight_T };
        let (penalty, stats) = kl_penalty(&terms, settings.kl);
        report.kl.add(&stats);
        report.penalty += penalty.double_value(&[]);
        report.tokens.ref_logp = to_host(&ref_logp_T);
        loss += penalty;
    } else if !shard.asked.is_empty() {
        report.tokens.ref_logp = vec![f32::NAN; report.tokens.logp.len()];
    }
    if let (Some(indexer_loss), Some(coefficient)) = (forward.indexer_loss, settings.indexer.coefficient()) {
        report.indexer_kl += indexer_loss.double_value(&[]) / model.config.num_hidden_layers as f64;
        add_coverage(&mut report.coverage, &forward.coverage);
        let term = indexer_loss * coefficient;
        report.indexer_loss += term.double_value(&[]);
        loss += term;
    }
    (loss, report)
}

/// The clipped surrogate of a unit, with its off-policy mask.
pub(crate) fn surrogate(
    logp_T: &Tensor,
    old_logp_T: &Tensor,
    unit: &Unit,
    samples: &[Sample<'_>],
    weight_T: &Tensor,
    settings: &GrpoSettings,
    report: &mut GrpoReport,
) -> Tensor {
    let device = logp_T.device();
    let advantage_S: Vec<f64> = samples.iter().map(|s| s.advantage).collect();
    let sequence_mask_T = match settings.off_policy_delta {
        Some(delta) => off_policy_mask(logp_T, old_logp_T, &advantage_S, &unit.layout, delta).mask_T,
        None => logp_T.ones_like().detach(),
    };
    let advantage_T = unit.layout.spread(&advantage_S, device);
    let terms =
        PolicyTerms { logp_T, old_logp_T, advantage_T: &advantage_T, weight_T, sequence_mask_T: &sequence_mask_T };
    let (loss, stats) = clipped_surrogate(&terms, &settings.clip);
    report.policy.add(&stats);
    report.surrogate += loss.double_value(&[]);
    report.tokens.kept = to_host(&sequence_mask_T);
    loss
}

fn forward_task(model: &Model, unit: &Unit, samples: &[Sample<'_>], all_rows: usize, settings: &GrpoSettings) -> Task {
    let device: Device = model.device();
    let mut task = Task::plain(model);
    if matches!(settings.indexer, LiveIndexer::Replay(_)) {
        let replay = unit.replay(&trajectories(samples), device);
        task.attend = replay.unwrap_or(Attend::Sparse);
    }
    if settings.routing.replay {
        task.experts = unit.replay_experts(&trajectories(samples), device);
    }
    task.indexer_weight = settings.indexer.coefficient().map(|_| unit.row_weights(all_rows, device));
    task
}
