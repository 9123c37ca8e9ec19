//! Sampling ahead of learning: groups are in flight over several steps, and the weights change under them.
//!
//! ```text
//!          ┌────────────── the engine decodes, over and over ──────────────┐
//! admit ───┤  finished groups ──> verifiers ──> the next step is full?     ├──> compare ──> learn ──> publish
//!          └───────────────────────────────────────────────────────────────┘      (weights that sampled)    │
//!    ^                                 caches computed anew under the new weights                            │
//!    └───────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Window`] decides what happens next from what it is told and never from a clock. In the `logical` schedule it is told of verdicts when
//! they are needed, so two runs are equal to the byte; in the `timed` one when they come, and [`Decisions`] keeps when that was. Sampler
//! and learner take turns, or run at the same time on devices of their own; what they do is the same ([`Ahead::beside`]). What is gained
//! over waiting for every group of a step is that the batch stays full: a long completion goes on while later prompts are sampled and
//! learned from.

use std::collections::BTreeMap;

use data::{Prompt, ScoredGroup, Trajectory};
use learner::replay;
use policy::Model;
use rollout::{Begun, Engine, FinishedGroup, Request};

use super::decisions::{Decisions, Seen};
use super::evaluate::CHECK_TOKENS;
use super::left::Left;
use super::prompts::Stream;
use super::sample::{Round, Waiting, engine, scored, send};
use super::stage::Active;
use super::state::StageState;
use super::{Run, device};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{self, OnSwap, Rl};
use crate::schedule::{Limits, Window};

/// The sampler of a stage that runs ahead of its learner.
pub struct Ahead {
    pub(super) window: Window,
    pub(super) engine: Engine,
    pub(super) open: BTreeMap<u64, Open>,
    /// Steps of the sampler since the last step of the learner.
    pub(super) tick: u64,
    /// What was decided in them, where the clock decides.
    pub(super) seen: Vec<Seen>,
    pub(super) limits: Limits,
    on_swap: OnSwap,
    /// Steps of the sampler beside a step of the learner.
    overlap: usize,
    /// The sampler's copy of the weights, where it has a device of its own.
    own: Option<Model>,
}

/// A number of steps of the sampler, fewer where it has nothing left to do.
fn steps_of(engine: &mut Engine, model: &Model, version: u64, steps: usize) -> Vec<FinishedGroup> {
    let mut done = Vec::new();
    for _ in 0..steps {
        if engine.idle() {
            break;
        }
        done.extend(engine.step(model, version));
    }
    done
}

/// An admitted group.
pub(super) struct Open {
    pub(super) prompt: Prompt,
    pub(super) key: String,
    /// The weights' version at admission.
    pub(super) version: u64,
    pub(super) progress: Progress,
}

pub(super) enum Progress {
    Sampling,
    Judging(Waiting),
    Judged(Box<ScoredGroup>),
}

impl Progress {
    /// The finished trajectories; none while they are being sampled, when the engine has them.
    pub(super) fn trajectories(&self) -> Vec<&Trajectory> {
        match self {
            Self::Sampling => Vec::new(),
            Self::Judging(waiting) => waiting.trajectories.iter().collect(),
            Self::Judged(group) => group.samples.iter().map(|s| &s.trajectory).collect(),
        }
    }
}

/// What the log has of a step; nothing where it is still to be sampled.
#[derive(Default)]
pub struct Logged {
    pub groups: Vec<ScoredGroup>,
    /// Verdicts of groups that it judged, and left to a later step.
    pub left: Left,
}

impl Ahead {
    /// The sampler of a stage at its start, whose longest prompt has `longest` tokens.
    ///
    /// # Errors
    /// [`Code::Device`] where the sampler's own cannot be used.
    pub fn new(run: &Run, round: &Round<'_>, rl: &Rl, longest: usize) -> Result<Self, Failure> {
        let limits = Limits {
            prompts: rl.prompts,
            max_staleness: rl.max_staleness,
            max_refill: if rl.dynamic_sampling { rl.max_refill } else { 0 },
        };
        let in_flight = if rl.in_flight == 0 { rl.prompts } else { rl.in_flight };
        let apart = rl.sampler_device != recipe::Device::Auto;
        let copy = || round.model.frozen_copy_on(device::find(rl.sampler_device)?).or_fail(Code::Device);
        let own = apart.then(copy).transpose()?;
        Ok(Self {
            window: Window::new(limits),
            engine: engine(run, round, longest, in_flight * rl.group),
            open: BTreeMap::new(),
            tick: 0,
            seen: Vec::new(),
            limits,
            on_swap: rl.on_swap,
            overlap: rl.overlap,
            own,
        })
    }

    /// The groups of the next step: those to learn from, then those without a signal. `signal` tells them apart. `logged` are the
    /// step's groups where the log has them, with the verdicts of those that it judged and left: they are sampled again, since those after
    /// them go on from there, and not judged again.
    ///
    /// # Errors
    /// As sampling. After [`Code::Interrupted`] the next call goes on. [`Code::Internal`] where `logged` are others.
    pub fn groups(
        &mut self,
        active: &Active<'_>,
        round: &Round<'_>,
        stream: &mut Stream,
        logged: &Logged,
        mut decisions: Option<&mut Decisions>,
        signal: impl Fn(&ScoredGroup) -> bool,
    ) -> Result<Vec<ScoredGroup>, Failure> {
        loop {
            active.run.check_interrupt()?;
            self.admit(active, round, stream)?;
            let to_judge = match decisions.as_deref_mut() {
                None => self.window.to_judge(),
                Some(decisions) => {
                    let there = |id| self.is_there(id);
                    let now = decisions.at(self.tick, &self.window.finished(), self.engine.idle(), there);
                    self.seen.extend(now.iter().map(|id| (self.tick, *id)));
                    now
                }
            };
            let any = !to_judge.is_empty();
            for id in to_judge {
                let informative = signal(self.judge(active.run, round, id, logged)?);
                // What was judged in a logged step and is not in it had a signal, and was left for a later one.
                let left = !logged.groups.is_empty() && !logged.groups.contains(self.judged(id));
                self.window.judge(id, informative || left);
            }
            if self.window.ready() {
                let taken = self.window.take();
                self.tick = 0;
                return Ok(taken.learned.iter().chain(&taken.idle).map(|id| self.close(*id)).collect());
            }
            if self.engine.idle() {
                // Those without a signal have made room for others.
                if any {
                    self.tick += 1;
                    continue;
                }
                return Err(Failure::new(Code::Internal, "the sampler has nothing to do and the step is not full"));
            }
            let _wait =
                active.run.watchdog.wait("the learner", || format!("step {} of the sampler for this batch", self.tick));
            self.tick += 1;
            for done in self.engine.step(self.own.as_ref().unwrap_or(round.model), round.version) {
                self.finish(active.run, done)?;
            }
            active.run.watchdog.queue("groups in flight", self.open.len());
            active.run.watchdog.queue("groups without verdicts", self.window.finished().len());
        }
    }

    /// The learner's step, and beside it the sampler's `overlap`: before it where they share a device, at the same time where not. Then
    /// all that the weights before it, of `version`, have sampled in open groups is compared.
    ///
    /// # Errors
    /// Those of `learn`, and as [`Ahead::groups`].
    pub fn beside<T>(
        &mut self,
        active: &mut Active<'_>,
        version: u64,
        inverse_temperature: f32,
        learn: impl FnOnce(&mut Active<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (run, steps) = (active.run, self.overlap);
        let Some(own) = self.own.take() else {
            let done = steps_of(&mut self.engine, &active.model, version, steps);
            done.into_iter().try_for_each(|done| self.finish(run, done))?;
            self.compare(run, &active.model, version, inverse_temperature, &mut active.state);
            return learn(active);
        };
        let engine = &mut self.engine;
        let (own, done, learned) = std::thread::scope(|scope| {
            let sampler = scope.spawn(move || {
                let done = steps_of(engine, &own, version, steps);
                (own, done)
            });
            let learned = learn(active);
            let _wait = run.watchdog.wait("the learner", || format!("{steps} steps of the sampler beside its own"));
            let (own, done) = sampler.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (own, done, learned)
        });
        done.into_iter().try_for_each(|done| self.finish(run, done))?;
        self.compare(run, &own, version, inverse_temperature, &mut active.state);
        self.own = Some(own);
        learned
    }

    /// Compares what the weights of `version` sampled in groups that are still open with what the learner computes. After the step
    /// these weights are gone.
    fn compare(&self, run: &Run, model: &Model, version: u64, inverse_temperature: f32, state: &mut StageState) {
        let finished = self.open.values().flat_map(|group| group.progress.trajectories());
        let ours = |t: &&Trajectory| t.versions.contains(&version) && run.compares(&t.prompt_id, version);
        let mut trajectories: Vec<&Trajectory> = finished.chain(self.engine.begun()).filter(ours).collect();
        // Samples of one prompt side by side: they share its rows.
        trajectories.sort_by(|a, b| (&a.prompt_id, a.sample).cmp(&(&b.prompt_id, b.sample)));
        state.compared(replay::check(model, version, &trajectories, inverse_temperature, CHECK_TOKENS));
    }

    /// Bytes of the sampler's own copy of the weights.
    pub fn own_weights(&self) -> u64 {
        self.own.as_ref().map_or(0, Model::bytes)
    }

    /// The next weights, `model`, sample from now on.
    pub fn publish(&mut self, model: &Model) {
        self.window.publish();
        if let Some(own) = &self.own {
            // In place: the layers share the storage.
            tch::no_grad(|| own.params.iter().for_each(|(name, p)| p.shallow_clone().copy_(&model.params[name])));
        }
        if self.on_swap == OnSwap::Recompute {
            self.engine.recompute();
        }
    }

    /// Staleness of the policy's tokens in `groups` when weights of `version` learn from them: mean, largest, and tokens of each age.
    pub fn staleness(&self, groups: &[ScoredGroup], version: u64) -> Vec<(String, f64)> {
        let mut tokens = vec![0u64; self.limits.max_staleness as usize + 1];
        let samples = groups.iter().flat_map(|g| &g.samples);
        for sampled in samples.flat_map(|s| &s.trajectory.versions) {
            tokens[(version - sampled) as usize] += 1;
        }
        let sum: u64 = tokens.iter().zip(0..).map(|(n, age)| n * age).sum();
        let all: u64 = tokens.iter().sum();
        let most = tokens.iter().rposition(|n| *n > 0).unwrap_or(0);
        let mut metrics = vec![
            ("training/staleness_mean".to_owned(), sum as f64 / all.max(1) as f64),
            ("training/staleness_max".into(), most as f64),
            ("training/groups_in_flight".into(), self.open.len() as f64),
        ];
        metrics
            .extend(tokens.iter().enumerate().map(|(age, n)| (format!("training/staleness_tokens/{age}"), *n as f64)));
        metrics
    }

    fn admit(&mut self, active: &Active<'_>, round: &Round<'_>, stream: &mut Stream) -> Result<(), Failure> {
        let total = if active.state.total == 0 { u64::MAX } else { active.state.total };
        for id in self.window.admit(total - active.state.step) {
            let (prompt, draw) = stream.next()?;
            let key = format!("{}/{draw}/{}", active.stage.name, prompt.id);
            let open = Open { prompt, key, version: round.version, progress: Progress::Sampling };
            self.submit(active.run, round, id, open, Vec::new())?;
        }
        Ok(())
    }

    pub(super) fn submit(
        &mut self,
        run: &Run,
        round: &Round<'_>,
        id: u64,
        open: Open,
        begun: Vec<Begun>,
    ) -> Result<(), Failure> {
        let tokens = run.tokenizer.encode_asked(&open.prompt).or_fail(Code::Data);
        let tokens = tokens.map_err(|f| f.context(&open.prompt.id))?;
        let (key, prompt_id) = (open.key.clone(), open.prompt.id.clone());
        let request = Request { id: id as usize, key, prompt_id, tokens, samples: round.group, begun };
        self.engine.submit(request).or_fail(Code::Data)?;
        self.open.insert(id, open);
        Ok(())
    }

    fn finish(&mut self, run: &Run, done: FinishedGroup) -> Result<(), Failure> {
        let id = done.id as u64;
        let open = self.open.get_mut(&id).expect("the engine samples open groups");
        open.progress = Progress::Judging(send(run, &open.prompt, done)?);
        self.window.finish(id);
        Ok(())
    }

    /// True where a group's verdicts have come.
    fn is_there(&self, id: u64) -> bool {
        match &self.open[&id].progress {
            Progress::Judging(waiting) => waiting.pending.is_there(),
            Progress::Judged(_) => true,
            Progress::Sampling => false,
        }
    }

    /// Waits for a group's verdicts, which have a deadline, or takes them from the log.
    fn judge(&mut self, run: &Run, round: &Round<'_>, id: u64, logged: &Logged) -> Result<&ScoredGroup, Failure> {
        let mut open = self.open.remove(&id).expect("the window judges open groups");
        open.progress = match open.progress {
            Progress::Judging(waiting) => {
                let prompt = open.prompt.clone();
                let same = |group: &&ScoredGroup| {
                    let trajectories = group.samples.iter().map(|s| &s.trajectory);
                    group.prompt.id == prompt.id && trajectories.eq(&waiting.trajectories)
                };
                if let Some(group) = logged.groups.iter().find(same) {
                    Progress::Judged(Box::new(group.clone()))
                } else {
                    let verdicts = match logged.left.get(&id) {
                        Some(verdicts) => verdicts.clone(),
                        None => run.wait_for_verdicts(&prompt, waiting.pending)?,
                    };
                    let admitted = Round { version: open.version, ..*round };
                    Progress::Judged(Box::new(scored(
                        run,
                        &admitted,
                        prompt,
                        waiting.trajectories,
                        waiting.texts,
                        verdicts,
                    )?))
                }
            }
            other => other,
        };
        self.open.insert(id, open);
        Ok(self.judged(id))
    }

    /// What was said of the groups that are judged and were left by the step that was taken.
    pub fn left(&self) -> Left {
        let judged = self.open.iter().filter_map(|(id, open)| match &open.progress {
            Progress::Judged(group) => Some((*id, group.samples.iter().map(|s| s.verdicts.clone()).collect())),
            Progress::Sampling | Progress::Judging(_) => None,
        });
        judged.collect()
    }

    pub(super) fn judged(&self, id: u64) -> &ScoredGroup {
        match &self.open[&id].progress {
            Progress::Judged(group) => group,
            _ => unreachable!("the group was judged"),
        }
    }

    fn close(&mut self, id: u64) -> ScoredGroup {
        match self.open.remove(&id).map(|open| open.progress) {
            Some(Progress::Judged(group)) => *group,
            _ => unreachable!("the window takes judged groups"),
        }
    }
}
