//! `temper explain`: a learner's step of an `rl` stage, computed again from the run log and the last weights before it, beside what was
//! logged.
//!
//! ```text
//! newest sound checkpoint before N ──> steps up to N − 1 from the log ──> step N from the log ──> numbers ──┬──> EQUAL or DIFFERS
//!                                                                                        metrics.jsonl ──┘
//! ```
//!
//! Groups are read and never sampled, and the weights move by the code that a run moves them with (`Learner::relearn`). Nothing in the
//! run's folder is changed.

pub mod found;
mod look;
mod text;
mod token;

use std::path::Path;

use data::ScoredGroup;
use policy::params::is_adapter;

use super::Run;
use super::rl_learner::{Learned, Learner};
use super::stage::{self, Active};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Device, Kind};
use found::{Explanation, Number};
pub use text::render;

/// What to explain.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The step, from 1.
    pub step: u64,
    /// The stage; may be left out where only one is an `rl` stage.
    pub stage: Option<String>,
    /// Tokens: which sample of the step, and which token of its completion, from 0.
    pub tokens: Vec<(usize, usize)>,
    /// Another device than the run's.
    pub device: Option<Device>,
    /// Another number of threads than the run's.
    pub threads: Option<usize>,
}

/// Computes a step of the run in `root` again and compares.
///
/// # Errors
/// [`Code::Usage`] for a step or token that is not there, [`Code::Checkpoint`] where the weights before the step are gone,
/// [`Code::Data`] for a log that cannot be read.
pub fn explain(root: &Path, ask: &Ask) -> Result<Explanation, Failure> {
    let run = Run::view(root, ask.device, ask.threads)?;
    let number = stage_of(&run, ask.stage.as_deref())?;
    let name = &run.recipe.stages[number].name;
    let steps = run.log.steps(name).or_fail(Code::Data)?;
    if ask.step == 0 || !steps.contains(&ask.step) {
        return Err(Failure::new(Code::Usage, format!("the log of stage `{name}` has no step {}", ask.step))
            .hint(format!("it has {}", span(&steps))));
    }
    let mut active = before(&run, number, ask.step, &steps)?;
    let from = active.restored.clone();
    let base = active.state.step;
    let mut learner = Learner::new(&active)?;
    while active.state.step + 1 < ask.step {
        let groups = groups(&run, name, active.state.step + 1)?;
        learner.relearn(&mut active, &groups)?;
        applied(&mut active)?;
    }
    let groups = groups(&run, name, ask.step)?;
    let asked = token::places(&groups, &ask.tokens)?;
    let looked = look::Looked::at(&active, &learner, &groups);
    let learned = learner.relearn(&mut active, &groups)?;
    let mut explanation = look::describe(&active, &learner, &groups, &looked, &learned)?;
    explanation.weights.from = from.map_or_else(|| "the stage's start".into(), |path| within(root, &path));
    explanation.weights.replayed = ask.step - 1 - base;
    explanation.last_step = steps.last().copied().unwrap_or(ask.step);
    explanation.numbers.extend(against_metrics(&active, &groups, &learned)?);
    applied(&mut active)?;
    explanation.numbers.extend(against_checkpoint(&active)?);
    let explain = |at: &token::Place| token::explain(&active, &learner, &groups, &looked, &learned, *at);
    explanation.tokens = asked.iter().map(explain).collect();
    Ok(explanation)
}

/// The stage to explain.
fn stage_of(run: &Run, asked: Option<&str>) -> Result<usize, Failure> {
    let stages = &run.recipe.stages;
    let learns: Vec<&str> = stages.iter().filter(|s| s.kind == Kind::Rl).map(|s| s.name.as_str()).collect();
    let usage = |message: String| {
        let known =
            if learns.is_empty() { "the run has none".into() } else { format!("they are: {}", learns.join(", ")) };
        Failure::new(Code::Usage, message).hint(format!("steps of `rl` stages can be explained; {known}"))
    };
    match (asked, learns.as_slice()) {
        (None, [only]) => Ok(stages.iter().position(|s| s.name == *only).expect("it was found there")),
        (None, []) => Err(usage("no stage of this run can be explained".into())),
        (None, _) => Err(usage("the run has several `rl` stages: say which with --stage".into())),
        (Some(name), _) => {
            let number = stages.iter().position(|s| s.name == name);
            let number = number.ok_or_else(|| usage(format!("the run has no stage `{name}`")))?;
            match stages[number].kind {
                Kind::Rl => Ok(number),
                // Their loss compares with a teacher, which the log does not hold.
                kind => Err(usage(format!("stage `{name}` is of kind `{}`, which is not explained", kind.as_str()))),
            }
        }
    }
}

/// The stage as it stood at the last durable point before a step.
fn before<'a>(run: &'a Run, number: usize, step: u64, steps: &[u64]) -> Result<Active<'a>, Failure> {
    let stage = &run.recipe.stages[number];
    stage::at(run, number, step - 1).map_err(|failure| {
        let kept = super::checkpoints::all(&run.folder.stage(number, &stage.name)).unwrap_or_default();
        let oldest = kept.iter().find_map(|path| super::checkpoints::step_of(path));
        let can: Vec<u64> = steps.iter().copied().filter(|s| oldest.is_some_and(|oldest| *s > oldest)).collect();
        let hint = format!(
            "with the checkpoints that are there {} can be explained; `keep` in the stage keeps more (it is {}), and the stage \
             that this one begins `from` must be there for its first steps",
            span(&can),
            stage.keep
        );
        Failure { hint: Some(hint), ..failure }.context(format!("the weights before step {step} are gone"))
    })
}

fn groups(run: &Run, stage: &str, step: u64) -> Result<Vec<ScoredGroup>, Failure> {
    run.log.read(stage, step).or_fail(Code::Data)
}

/// Counts a step as the run's own loop does.
fn applied(active: &mut Active<'_>) -> Result<(), Failure> {
    active.state.step += 1;
    stage::settle_total(active)
}

/// Steps in words.
fn span(steps: &[u64]) -> String {
    match (steps.first(), steps.last()) {
        (Some(first), Some(last)) if first == last => format!("step {first}"),
        (Some(first), Some(last)) => format!("steps {first} to {last}"),
        _ => "no step".into(),
    }
}

fn within(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The step's numbers beside those of `metrics.jsonl`.
fn against_metrics(active: &Active<'_>, groups: &[ScoredGroup], learned: &Learned) -> Result<Vec<Number>, Failure> {
    let (run, rl) = (active.run, active.stage.rl());
    let step = active.state.step + 1;
    let logged = super::metrics::row(run.folder.root(), &active.stage.name, step)?.ok_or_else(|| {
        let message = format!("metrics.jsonl has no row of stage `{}`, step {step}", active.stage.name);
        Failure::new(Code::Data, message)
            .hint("the run was stopped before the step was written: `temper resume` goes on")
    })?;
    let mut found = learned.metrics.clone();
    if rl.max_staleness > 0 {
        let (useful, _) = super::rl_learner::useful_and_idle(rl, groups);
        found.extend(look::staleness(&useful, active.version(), rl.max_staleness));
    }
    let mut numbers: Vec<Number> = Vec::new();
    for (name, value) in logged.iter().filter(|(name, _)| !["stage", "kind", "step"].contains(&name.as_str())) {
        let at = found.iter().position(|(found, _)| found == name);
        numbers.push(match (at, why_not(name)) {
            (Some(at), _) => Number::compared(name, value.as_f64().unwrap_or(f64::NAN), found.remove(at).1),
            (None, Some(why)) => Number::skipped(name, value.as_f64(), why),
            (None, None) => Number::only_logged(name, value.as_f64()),
        });
    }
    numbers.extend(found.into_iter().map(|(name, value)| Number::only_found(&name, value)));
    Ok(numbers)
}

/// Why a logged number is no function of the log.
fn why_not(name: &str) -> Option<&'static str> {
    match name {
        "training/groups_in_flight" => Some("it counts what else was being sampled"),
        "training/tokens_compared" => Some("it counts the samples in flight that were compared, too"),
        "perf/cpu_memory_used_gb" | "perf/max_memory_allocated_gb" => Some("what this process held"),
        _ if name == "time_s" || name.starts_with("timing_s/") || name.starts_with("perf/") => Some("a time"),
        _ => None,
    }
}

/// The weights after the step beside those of its checkpoint, where there is one.
fn against_checkpoint(active: &Active<'_>) -> Result<Option<Number>, Failure> {
    let folder = active.run.folder.stage(active.number, &active.stage.name);
    let kept = super::checkpoints::all(&folder)?;
    let Some(path) = kept.iter().find(|path| super::checkpoints::step_of(path) == Some(active.state.step)) else {
        return Ok(None);
    };
    let name = "weights after the step, against the checkpoint";
    let Ok(model) = policy::checkpoint::load(path, active.run.compute) else {
        return Ok(Some(Number::unequal(name, "the checkpoint cannot be read")));
    };
    // Adapters are in the merged weights.
    let own: Vec<_> = active.model.params.iter().filter(|(name, _)| !is_adapter(name)).collect();
    let same = |(name, p): &&(&String, &tch::Tensor)| model.params.get(*name).is_some_and(|q| p.equal(q));
    let equal = own.iter().filter(same).count();
    Ok(Some(Number::counted(name, equal, own.len().max(model.params.len()), "tensors")))
}
