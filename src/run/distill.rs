//! The distillation stages: `distill-sft` learns its teachers' verified samples, `distill` its own samples under its teachers' eyes.

use std::collections::BTreeMap;

use data::tasks::Split;
use data::{ScoredGroup, Trajectory};
use learner::grpo::samples;
use learner::losses::distill::Divergence;
use learner::on_policy::{DistillReport, DistillSettings, distill_step};
use learner::unit::Sequence;
use policy::Model;

use super::evaluate::{check_exactness, sampled};
use super::groups::{draw, logged_or_sampled};
use super::language;
use super::models::{self, indexer_coefficient};
use super::prompts::{Cursor, Pool, Stream};
use super::rl::{round, too_many_errors};
use super::rl_learner::{charge, grpo_settings, masked};
use super::rl_metrics::{group_stats, mean, report_metrics, report_routing};
use super::sample::{Round, inverse_temperature, sample_groups};
use super::score::passes;
use super::stage::{Active, Body, Stepped, step_failure};
use super::state::sampling_work;
use super::{Run, keep_batch};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{DistillLoss, Rl};

/// Prompts that a teacher is asked at once.
const TRACE_PROMPTS: usize = 64;

/// The version of a teacher's weights, which do not change.
const OF_TEACHER: u64 = 0;

/// The teachers of a stage by domain.
fn teachers(run: &Run, active: &Active<'_>) -> Result<BTreeMap<String, Model>, Failure> {
    let load = |(domain, stage): (&String, &String)| Ok((domain.clone(), models::load_from(run, stage)?));
    active.stage.distill().teachers.iter().map(load).collect()
}

/// Learns verified traces in an order that the run's seed shuffles anew each epoch.
pub struct TraceTuning {
    traces: Vec<Sequence>,
}

impl TraceTuning {
    /// Gathers the teachers' traces, or reads them from the log.
    ///
    /// # Errors
    /// As sampling; [`Code::Data`] where a teacher gives too few verified traces.
    pub fn new(active: &mut Active<'_>) -> Result<Self, Failure> {
        let teachers = teachers(active.run, active)?;
        let (mut traces, mut rounds) = (Vec::new(), 0);
        for (domain, teacher) in &teachers {
            let groups = gather(active, domain, teacher, &mut rounds)?;
            // A checkpoint's state has counted them.
            if active.restored.is_none() {
                let compared = groups.iter().filter(|g| active.run.compares(&g.prompt.id, OF_TEACHER));
                let (compared, inverse_t) = (sampled(compared), inverse_temperature(active.run));
                check_exactness(teacher, OF_TEACHER, &compared, inverse_t, &mut active.state);
                active.state.ledger.add(&teacher.config, sampling_work(&teacher.config, &groups), 1.0);
                active.state.judged(&groups);
            }
            let rules = &active.run.recipe.domains[domain];
            let verified = |g: &ScoredGroup| {
                g.samples.iter().find(|s| passes(rules, &s.verdicts) == Some(true)).map(|s| sequence(&s.trajectory))
            };
            traces.extend(groups.iter().filter_map(verified).take(active.stage.distill().traces));
        }
        Ok(Self { traces })
    }
}

fn sequence(trajectory: &Trajectory) -> Sequence {
    Sequence::answered(&trajectory.tokens[..trajectory.prompt_len], trajectory.completion())
}

/// Asks one teacher until it has given the traces wanted, and logs all that it said, round by round; `rounds` counts those of all teachers.
/// What the log has is not asked again.
fn gather(active: &Active<'_>, domain: &str, teacher: &Model, rounds: &mut u64) -> Result<Vec<ScoredGroup>, Failure> {
    let (run, stage) = (active.run, active.stage);
    let log = format!("{}-traces", stage.name);
    let (settings, rules) = (stage.distill(), &run.recipe.domains[domain]);
    let mut stream = Stream::open(&run.recipe, &log, &BTreeMap::from([(domain.to_owned(), 1.0)]), Cursor::default())?;
    let limit = Pool::open(&run.recipe, domain, Split::Train)?.len();
    let (mut groups, mut verified) = (Vec::new(), 0);
    while verified < settings.traces {
        if stream.cursor.drawn >= limit {
            let few = format!(
                "the teacher of {domain} solved {verified} of {limit} prompts; {} traces are wanted",
                settings.traces
            );
            return Err(
                Failure::new(Code::Data, few).hint("lower distill.traces, or give the domain more training prompts")
            );
        }
        let wanted = TRACE_PROMPTS.min((limit - stream.cursor.drawn) as usize);
        let asked = draw(&mut stream, &log, wanted)?;
        let round = Round {
            model: teacher,
            version: OF_TEACHER,
            group: settings.max_attempts,
            temperature: run.recipe.sampling.temperature,
            cut: true,
            record: false,
            record_experts: false,
            overlong_filter: false,
            normalize_std: false,
        };
        let answered = match run.logged(&log, *rounds)? {
            Some(logged) => logged,
            None => {
                let answered = sample_groups(run, &round, asked)?;
                too_many_errors(active, &Rl::default(), &answered)?;
                run.log.append(&log, *rounds, &answered).or_fail(Code::Disk)?;
                answered
            }
        };
        *rounds += 1;
        let solved = |g: &&ScoredGroup| g.samples.iter().any(|s| passes(rules, &s.verdicts) == Some(true));
        verified += answered.iter().filter(solved).count();
        groups.extend(answered);
    }
    Ok(groups)
}

impl Body for TraceTuning {
    fn step(&mut self, active: &mut Active<'_>) -> Result<Stepped, Failure> {
        let (mut batch, mut tokens) = (Vec::new(), 0);
        let mut drawn = active.state.cursor.drawn;
        while tokens < active.stage.batch().tokens {
            let sequence = &self.traces[shuffled(active, drawn, self.traces.len() as u64)];
            tokens += sequence.tokens.len();
            batch.push(sequence.clone());
            drawn += 1;
        }
        let stepped = language::step(active, &batch)?;
        active.state.cursor.drawn = drawn;
        Ok(stepped)
    }
}

/// The `i`-th trace in the order of use.
fn shuffled(active: &Active<'_>, i: u64, n: u64) -> usize {
    let mut order: Vec<usize> = (0..n as usize).collect();
    let seed = active.run.recipe.run.seed;
    data::CounterRng::new(seed, &format!("traces/{}/{}", active.stage.name, i / n)).shuffle(&mut order);
    order[(i % n) as usize]
}

/// On-policy distillation.
pub struct OnPolicy {
    stream: Stream,
    teachers: BTreeMap<String, Model>,
    settings: DistillSettings,
    /// How the student's samples are taken and, where the task's reward counts, scored.
    rl: Rl,
}

impl OnPolicy {
    /// Opens prompts and teachers.
    ///
    /// # Errors
    /// [`Code::Data`] or [`Code::Checkpoint`].
    pub fn new(active: &Active<'_>) -> Result<Self, Failure> {
        let (run, stage) = (active.run, active.stage);
        let d = stage.distill();
        let rl = Rl { prompts: d.prompts, group: d.group, dynamic_sampling: false, ..Rl::default() };
        let settings = DistillSettings {
            divergence: match d.loss {
                DistillLoss::Reverse => Divergence::ReverseKl,
                DistillLoss::Forward => Divergence::ForwardKl,
                DistillLoss::Jsd => Divergence::GeneralizedJs { beta: d.jsd_beta },
            },
            reward_coefficient: d.reward_coefficient,
            grpo: grpo_settings(active, &rl, run.recipe.sampling.max_new_tokens),
            indexer: indexer_coefficient(stage, &active.model),
        };
        let stream = Stream::open(&run.recipe, &stage.name, &stage.mix, active.state.cursor.clone())?;
        Ok(Self { stream, teachers: teachers(run, active)?, settings, rl })
    }

    fn groups(&mut self, active: &Active<'_>) -> Result<Vec<ScoredGroup>, Failure> {
        let rl = &self.rl;
        logged_or_sampled(active, &mut self.stream, |stream| {
            let drawn = draw(stream, &active.stage.name, rl.prompts)?;
            let groups = sample_groups(active.run, &round(active, rl), drawn)?;
            too_many_errors(active, rl, &groups)?;
            Ok(groups)
        })
    }
}

impl Body for OnPolicy {
    fn other_weights(&self, _active: &Active<'_>) -> u64 {
        self.teachers.values().map(Model::bytes).sum()
    }

    fn step(&mut self, active: &mut Active<'_>) -> Result<Stepped, Failure> {
        let groups = self.groups(active)?;
        let rate = active.learning_rate();
        let by_teacher: Vec<(&Model, Vec<_>)> = self
            .teachers
            .iter()
            .map(|(domain, teacher)| {
                let own = groups.iter().filter(|g| g.prompt.domain == *domain);
                (teacher, own.flat_map(|g| samples(std::slice::from_ref(g), |_| 0.0)).collect())
            })
            .collect();
        let (run, number) = (active.run, active.state.step + 1);
        let apart = groups.iter().filter(|g| run.compares(&g.prompt.id, active.version()));
        let (apart, inverse_t) = (masked(apart).collect::<Vec<_>>(), self.settings.grpo.inverse_temperature);
        check_exactness(&active.model, active.version(), &apart, inverse_t, &mut active.state);
        let _wait = run.watchdog.wait("the stage", || format!("step {number} of the learner"));
        let report = distill_step(&active.model, &mut active.trainer, &by_teacher, &self.settings, rate);
        let report = report.map_err(|error| {
            let tokens: Vec<_> =
                groups.iter().flat_map(|g| &g.samples).map(|s| s.trajectory.tokens.as_slice()).collect();
            let kept = keep_batch(active, &tokens);
            step_failure(active, &error, &kept)
        })?;
        active.state.compared(report.grpo.exactness);
        active.state.held(report.grpo.memory);
        active.state.cursor = self.stream.cursor.clone();
        active.state.judged(&groups);
        active.state.ledger.add(&active.model.config, sampling_work(&active.model.config, &groups), 1.0);
        let trained: Vec<_> = by_teacher.iter().flat_map(|(_, samples)| samples.iter().copied()).collect();
        charge(active, &trained, 4.0);
        let mut stepped = stepped(&groups, &report, rate);
        stepped.metrics.extend(report_routing(active, std::slice::from_ref(&report.grpo)));
        Ok(stepped)
    }
}

fn stepped(groups: &[ScoredGroup], report: &DistillReport, rate: f64) -> Stepped {
    let mut metrics = group_stats(groups);
    metrics.extend(report_metrics(std::slice::from_ref(&report.grpo)));
    metrics.push(("distill/divergence".into(), report.divergence.mean()));
    metrics.push(("actor/lr".into(), rate));
    let score = mean(groups.iter().flat_map(|g| &g.samples).filter_map(|s| s.reward));
    Stepped { metrics, message: format!("divergence {:.4}, score {score:.3}", report.divergence.mean()) }
}
