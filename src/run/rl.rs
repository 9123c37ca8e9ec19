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

use data::{Mask, ScoredGroup, Status};

use super::ahead::{Ahead, Logged};
use super::decisions::Decisions;
use super::evaluate::{check_exactness, sampled};
use super::groups::{draw, foreign, logged_or_sampled};
use super::left;
use super::models::indexer_mode;
use super::prompts::Stream;
use super::rl_learner::{Learner, informative, masked, measures, mini_step, useful_and_idle};
use super::rl_metrics::{mean, step_metrics};
use super::sample::{Round, sample_groups};
use super::stage::{Active, Body, Stepped};
use super::state::sampling_work;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{IndexerMode, Rl, RlSchedule};

/// The body of an `rl` stage.
pub struct Reinforce {
    stream: Stream,
    learner: Learner,
    /// The sampler of a stage whose samples may be older than the weights that learn from them.
    ahead: Option<Ahead>,
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

    fn other_weights(&self, active: &Active<'_>) -> u64 {
        self.learner.other_weights(active) + self.ahead.as_ref().map_or(0, Ahead::own_weights)
    }

    fn save(&mut self, active: &Active<'_>, folder: &Path) -> Result<(), Failure> {
        self.learner.save(active, folder)?;
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
    let logged = match active.run.logged(&stage.name, step)? {
        Some(groups) => Logged { groups, left: left::read(active)? },
        None => Logged::default(),
    };
    let is_logged = !logged.groups.is_empty();
    let timed = rl.schedule == RlSchedule::Timed;
    let mut decisions = timed.then(|| Decisions::open(active, is_logged, &ahead.seen)).transpose()?;
    let signal = |group: &ScoredGroup| !rl.dynamic_sampling || informative(group);
    let groups = ahead.groups(active, &round(active, rl), stream, &logged, decisions.as_mut(), signal)?;
    if !is_logged {
        too_many_errors(active, rl, &groups)?;
        left::log(active, &ahead.left())?;
        decisions.as_ref().map_or(Ok(()), |decisions| decisions.log(&ahead.seen))?;
        active.run.log.append(&stage.name, step, &groups).or_fail(Code::Disk)?;
    } else if groups != logged.groups {
        return Err(foreign(active, "sampled again, the groups are others"));
    }
    ahead.seen.clear();
    Ok(groups)
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
