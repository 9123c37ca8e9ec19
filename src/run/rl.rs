//! The `rl` stage: sample groups, judge them, log them, learn from them.
//!
//! ```text
//! prompts ──> sample + judge ──> groups with signal? ──no──> refill (at most max_refill rounds)
//!                                       │ yes
//!                                       v
//!                                  run log (INV-6) ──> mini-steps of GRPO ──> next weights version
//! ```
//!
//! With `rl.max_staleness` above 0 the groups come from [`Ahead`] instead, which samples over several steps.

use std::path::Path;

use data::{Mask, ScoredGroup, Status, Trajectory};
use learner::advantage::has_signal;
use learner::grpo::{GrpoReport, GrpoSettings, LiveIndexer, Routing, Sample, grpo_step, samples};
use learner::losses::aggregate::Aggregation;
use learner::losses::kl::KlEstimator;
use learner::losses::policy_gradient::Clip;
use learner::selection::compare_selections;
use policy::{Model, checkpoint};

use super::ahead::Ahead;
use super::decisions::Decisions;
use super::evaluate::{check_exactness, sampled};
use super::groups::{draw, foreign, logged_or_sampled};
use super::keep_batch;
use super::language::{group_metrics, indexer_metrics, routing_metrics};
use super::models::{self, indexer_mode};
use super::prompts::Stream;
use super::sample::{Round, inverse_temperature, sample_groups};
use super::stage::{Active, Body, Stepped, step_failure};
use super::state::{learning_work, sampling_work};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{self, IndexerMode, Rl, RlSchedule};

/// The file of a checkpoint that holds the reference policy.
const REFERENCE: &str = "reference.safetensors";

/// The body of an `rl` stage.
pub struct Reinforce {
    stream: Stream,
    learner: Learner,
    /// The sampler of a stage whose samples may be older than the weights that learn from them.
    ahead: Option<Ahead>,
}

/// The half of the stage that learns from a step's groups, wherever they come from.
pub struct Learner {
    reference: Option<Model>,
    /// Whether the reference is no longer what the stage started from.
    was_set: bool,
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

impl Reinforce {
    /// Opens prompts and the reference policy.
    ///
    /// # Errors
    /// [`Code::Data`] or [`Code::Checkpoint`].
    pub fn new(active: &Active<'_>) -> Result<Self, Failure> {
        let (run, stage) = (active.run, active.stage);
        let mut stream = Stream::open(&run.recipe, &stage.name, &stage.mix, active.state.cursor.clone())?;
        let ahead = (stage.rl().max_staleness > 0).then(|| ahead(active, &mut stream)).transpose()?;
        Ok(Self { stream, learner: Learner::new(active)?, ahead })
    }

    /// The step's groups: rounds of prompts until enough of them have a signal.
    fn groups(&mut self, active: &Active<'_>) -> Result<Vec<ScoredGroup>, Failure> {
        let (stage, rl) = (active.stage, active.stage.rl());
        if let Some(ahead) = &mut self.ahead {
            return groups_ahead(active, ahead, &mut self.stream);
        }
        logged_or_sampled(active, &mut self.stream, |stream| {
            let mut groups = Vec::new();
            for _ in 0..=if rl.dynamic_sampling { rl.max_refill } else { 0 } {
                let useful = groups.iter().filter(|g| !rl.dynamic_sampling || informative(g)).count();
                if useful >= rl.prompts {
                    break;
                }
                let drawn = draw(stream, &stage.name, rl.prompts - useful)?;
                groups.extend(sample_groups(active.run, &round(active, rl), drawn)?);
            }
            too_many_errors(active, rl, &groups)?;
            Ok(groups)
        })
    }
}

impl Body for Reinforce {
    fn step(&mut self, active: &mut Active<'_>) -> Result<Stepped, Failure> {
        let began = std::time::Instant::now();
        let version = active.version();
        self.learner.settings.version = version;
        let groups = self.groups(active)?;
        let sampled_s = began.elapsed().as_secs_f64();
        let rl = active.stage.rl();
        let (useful, idle) = useful_and_idle(rl, &groups);
        let inverse_t = self.learner.settings.inverse_temperature;
        let compared_before = active.state.exactness.tokens_compared;
        // The first mini-step compares what it learns from.
        let (first, later) = useful.split_at(mini_step(rl, useful.len()).min(useful.len()));
        let compares = |g: &&ScoredGroup| active.run.compares(&g.prompt.id, version);
        let mut apart = sampled(idle.iter().chain(later).filter(compares));
        apart.extend(masked(first.iter().filter(compares)));
        check_exactness(&active.model, version, &apart, inverse_t, &mut active.state);
        active.state.ledger.add(&active.model.config, sampling_work(&active.model.config, &groups), 1.0);
        active.state.judged(&groups);

        let measured = self.learner.measured(active, &useful);
        let began = std::time::Instant::now();
        let reports = match self.ahead.take() {
            None => self.learner.learn(active, rl, &useful)?,
            Some(mut ahead) => {
                let learner = &self.learner;
                let learned = ahead.beside(active, version, inverse_t, |active| learner.learn(active, rl, &useful));
                self.ahead = Some(ahead);
                learned?
            }
        };
        let aged = self.ahead.as_ref().map(|ahead| ahead.staleness(&useful, version));
        if let Some(ahead) = &mut self.ahead {
            ahead.publish(&active.model);
        }
        active.state.cursor = self.stream.cursor.clone();
        self.learner.refresh_reference(active, rl)?;
        let mut metrics = step_metrics(active, &groups, idle.len(), &reports, measured);
        metrics.extend(aged.into_iter().flatten());
        metrics.push(("timing_s/gen".into(), sampled_s));
        metrics.push(("timing_s/update".into(), began.elapsed().as_secs_f64()));
        let compared = active.state.exactness.tokens_compared - compared_before;
        metrics.push(("training/tokens_compared".into(), compared as f64));
        let message = format!("score {:.3}", mean(groups.iter().flat_map(|g| &g.samples).filter_map(|s| s.reward)));
        Ok(Stepped { metrics, message })
    }

    fn other_weights(&self) -> u64 {
        self.learner.other_weights() + self.ahead.as_ref().map_or(0, Ahead::own_weights)
    }

    fn save(&mut self, folder: &Path) -> Result<(), Failure> {
        self.learner.save(folder)?;
        self.ahead.as_mut().map_or(Ok(()), |ahead| ahead.save(&self.stream, folder))
    }
}

/// The sampler of a stage that samples ahead, as its checkpoint left it.
fn ahead(active: &Active<'_>, stream: &mut Stream) -> Result<Ahead, Failure> {
    let (run, rl) = (active.run, active.stage.rl());
    let longest = stream.longest(&run.tokenizer)?;
    let round = round(active, rl);
    let ahead = Ahead::new(run, &round, rl, longest)?;
    match &active.restored {
        Some(checkpoint) => ahead.restore(run, &round, stream, checkpoint),
        None => Ok(ahead),
    }
}

/// The next step's groups of a stage that samples ahead. Those that the log has are sampled again, because what is in flight after them
/// goes on from there, and must come out as they are logged.
fn groups_ahead(active: &Active<'_>, ahead: &mut Ahead, stream: &mut Stream) -> Result<Vec<ScoredGroup>, Failure> {
    let (stage, rl, step) = (active.stage, active.stage.rl(), active.state.step + 1);
    let logged = active.run.logged(&stage.name, step)?.unwrap_or_default();
    let timed = rl.schedule == RlSchedule::Timed;
    let mut decisions = timed.then(|| Decisions::open(active, !logged.is_empty(), &ahead.seen)).transpose()?;
    let signal = |group: &ScoredGroup| !rl.dynamic_sampling || informative(group);
    let groups = ahead.groups(active, &round(active, rl), stream, &logged, decisions.as_mut(), signal)?;
    if logged.is_empty() {
        too_many_errors(active, rl, &groups)?;
        decisions.as_ref().map_or(Ok(()), |decisions| decisions.log(&ahead.seen))?;
        active.run.log.append(&stage.name, step, &groups).or_fail(Code::Disk)?;
    } else if groups != logged {
        return Err(foreign(active, "sampled again, the groups are others"));
    }
    ahead.seen.clear();
    Ok(groups)
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
        let every = active.stage.rl().reference_every;
        let was_set = every > 0 && active.state.step >= every;
        let shares = active.stage.lora.is_some();
        Ok(Self { reference, was_set, shares, settings: settings(active) })
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
    fn learn(&self, active: &mut Active<'_>, rl: &Rl, groups: &[ScoredGroup]) -> Result<Vec<GrpoReport>, Failure> {
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
    fn measured(&self, active: &Active<'_>, groups: &[ScoredGroup]) -> Vec<(String, f64)> {
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
    fn other_weights(&self) -> u64 {
        let own = self.reference.as_ref().filter(|_| self.was_set || !self.shares);
        own.map_or(0, Model::bytes)
    }

    fn refresh_reference(&mut self, active: &Active<'_>, rl: &Rl) -> Result<(), Failure> {
        let due = rl.reference_every > 0 && (active.state.step + 1).is_multiple_of(rl.reference_every);
        if let Some(reference) = self.reference.as_mut().filter(|_| due) {
            *reference = active.model.frozen_copy().or_fail(Code::Device)?;
            self.was_set = true;
        }
        Ok(())
    }

    /// Keeps the reference policy beside a checkpoint's own weights, once it is no longer what the stage started from.
    fn save(&self, folder: &Path) -> Result<(), Failure> {
        let own = self.reference.as_ref().filter(|_| self.was_set);
        own.map_or(Ok(()), |own| checkpoint::save_tensors(&own.params, &folder.join(REFERENCE)).or_fail(Code::Disk))
    }
}

/// The groups to learn from, and those without a signal.
pub fn useful_and_idle(rl: &Rl, groups: &[ScoredGroup]) -> (Vec<ScoredGroup>, Vec<ScoredGroup>) {
    groups.iter().cloned().partition(|g| !rl.dynamic_sampling || informative(g))
}

/// What was sampled in groups and is not learned from.
pub fn masked<'a>(groups: impl Iterator<Item = &'a ScoredGroup>) -> impl Iterator<Item = &'a Trajectory> {
    groups.flat_map(|g| &g.samples).filter(|s| s.mask != Mask::None).map(|s| &s.trajectory)
}

/// The numbers of a step that are a function of the weights and its groups.
fn step_metrics(
    active: &Active<'_>,
    groups: &[ScoredGroup],
    idle: usize,
    reports: &[GrpoReport],
    measured: Vec<(String, f64)>,
) -> Vec<(String, f64)> {
    let mut metrics = group_stats(groups);
    metrics.push(("training/groups_without_signal".into(), idle as f64));
    metrics.extend(report_metrics(reports));
    metrics.extend(measured);
    metrics.extend(report_routing(active, reports));
    metrics.push(("actor/lr".into(), active.learning_rate()));
    metrics
}

/// The experts' load in the first mini-step, on the weights that sampled; and what the gates would choose now.
pub fn report_routing(active: &Active<'_>, reports: &[GrpoReport]) -> Vec<(String, f64)> {
    let replayed = active.stage.routing().replay;
    reports.first().map_or_else(Vec::new, |first| routing_metrics(&active.model.config, &first.load, replayed))
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

/// The reference policy as of the step at which the stage stands: the weights that the stage started from, or the last ones that it was
/// set to, which the checkpoint holds.
fn reference(active: &Active<'_>) -> Result<Model, Failure> {
    let (step, every) = (active.state.step, active.stage.rl().reference_every);
    let set_at = if every == 0 { 0 } else { step - step % every };
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
fn measures(active: &Active<'_>) -> bool {
    active.stage.indexer().measure && indexer_mode(active.stage, &active.model) != IndexerMode::None
}

/// How a stage that trains on its own samples takes them.
pub fn round<'a>(active: &'a Active<'_>, rl: &Rl) -> Round<'a> {
    Round {
        model: &active.model,
        version: active.version(),
        group: rl.group,
        temperature: active.run.recipe.sampling.temperature,
        cut: true,
        record: measures(active) || indexer_mode(active.stage, &active.model) == IndexerMode::LiveReplay,
        record_experts: active.stage.routing().replay && active.model.config.experts.is_some(),
        overlong_filter: rl.overlong_filter,
        normalize_std: rl.normalize_std,
    }
}

/// True where the group's unmasked rewards differ, so that it has a gradient.
fn informative(group: &ScoredGroup) -> bool {
    let rewards: Vec<_> = group.samples.iter().map(|s| s.reward.filter(|_| s.mask == Mask::None)).collect();
    has_signal(&rewards)
}

/// A run whose verifiers mostly fail learns nothing, and should say so. It is asked before the groups are logged, so that the step is
/// judged anew once the verifiers are mended.
pub fn too_many_errors(active: &Active<'_>, rl: &Rl, groups: &[ScoredGroup]) -> Result<(), Failure> {
    let samples: Vec<_> = groups.iter().flat_map(|g| &g.samples).collect();
    let errors: Vec<_> = samples.iter().filter(|s| s.mask == Mask::VerifierError).collect();
    let share = errors.len() as f64 / samples.len().max(1) as f64;
    if share <= rl.max_error_share {
        return Ok(());
    }
    let verdicts = errors.iter().flat_map(|s| &s.verdicts).find(|(_, v)| v.status == Status::Error);
    let reason = verdicts.map_or(String::new(), |(name, v)| format!("; {name}: {}", v.reason));
    Err(Failure::new(
        Code::Verifier,
        format!(
            "stage {}, step {}: {} of {} samples have no reward, because their verifiers failed{reason}",
            active.stage.name,
            active.state.step + 1,
            errors.len(),
            samples.len()
        ),
    )
    .hint("mend the verifier (`temper doctor` checks those that are built in), then `temper resume`: the step is sampled and judged anew; rl.max_error_share is the share that is tolerated"))
}

/// Scores, lengths and masks of a batch.
pub fn group_stats(groups: &[ScoredGroup]) -> Vec<(String, f64)> {
    let all: Vec<_> = groups.iter().flat_map(|g| g.samples.iter().map(move |s| (&g.prompt.domain, s))).collect();
    let score = |domain: Option<&str>| {
        mean(all.iter().filter(|(d, _)| domain.is_none_or(|domain| *d == domain)).filter_map(|(_, s)| s.reward))
    };
    let mut metrics = vec![("critic/score/mean".to_owned(), score(None))];
    let mut domains: Vec<&str> = all.iter().map(|(d, _)| d.as_str()).collect();
    domains.sort_unstable();
    domains.dedup();
    metrics.extend(domains.iter().map(|d| (format!("critic/score/{d}/mean"), score(Some(d)))));
    let share = |of: &dyn Fn(&data::ScoredSample) -> bool| mean(all.iter().map(|(_, s)| f64::from(u8::from(of(s)))));
    metrics.push(("response_length/mean".into(), mean(all.iter().map(|(_, s)| s.trajectory.completion_len() as f64))));
    metrics.push(("response_length/clip_ratio".into(), share(&|s| s.trajectory.finish == data::Finish::Length)));
    metrics.push(("training/masked_share".into(), share(&|s| s.mask != Mask::None)));
    metrics
}

/// What the learner reports over the mini-steps of a batch.
pub fn report_metrics(reports: &[GrpoReport]) -> Vec<(String, f64)> {
    let Some(first) = reports.first() else { return Vec::new() };
    let mut policy = first.policy;
    reports[1..].iter().for_each(|r| policy.add(&r.policy));
    let tokens: f64 = policy.tokens.max(1.0);
    let mut metrics = vec![
        ("actor/loss".to_owned(), mean(reports.iter().map(|r| r.loss))),
        ("actor/entropy".into(), reports.iter().map(|r| r.entropy_sum).sum::<f64>() / tokens),
        ("actor/ppo_kl".into(), policy.kl_old_new()),
        ("actor/pg_clipfrac".into(), policy.clip_fraction_high()),
        ("actor/pg_clipfrac_lower".into(), policy.clip_fraction_low()),
        ("actor/pg_clipfrac_dual".into(), policy.clip_fraction_dual()),
        ("actor/off_policy_masked".into(), policy.masked_fraction()),
        ("actor/ratio_mean".into(), policy.ratio_mean()),
        ("actor/ratio_max".into(), policy.ratio_max),
        ("actor/kl_loss".into(), mean(reports.iter().map(|r| r.kl.mean()))),
        ("training/rollout_probs_diff_max".into(), first.exactness.max_abs_logprob_diff),
    ];
    // Distillation without the task's reward has no surrogate.
    if reports.iter().any(|r| !r.tokens.kept.is_empty()) {
        metrics.push(("actor/pg_loss".into(), mean(reports.iter().map(|r| r.surrogate))));
    }
    metrics.extend(group_metrics(&first.groups));
    metrics.extend(indexer_metrics(first.indexer_kl, first.indexer_loss, &first.coverage));
    metrics
}

/// The mean; NaN of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    sum / n as f64
}
