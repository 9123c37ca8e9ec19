//! One stage: load the checkpoint it starts from, step until done, leave a checkpoint, evaluate it.
//!
//! ```text
//! restore ──> [ step ──> metrics ──> checkpoint every N ] ──> last checkpoint ──> evaluation ──> stage.json
//!    ^            a Body does one step; the loop does the rest                                   (the stage is done)
//!    └── a killed or interrupted stage comes back here, from its last whole checkpoint
//! ```
//!
//! A step is a function of the weights, the state and the seed, so the steps that are done again after a kill give the same bytes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use learner::trainer::{StepError, Trainer};
use policy::checkpoint::AdaptedBase;
use policy::params::Params;
use policy::{Model, checkpoint};
use tch::Tensor;

use super::evaluate::evaluate;
use super::state::{STATE, StageState};
use super::{Run, checkpoints, models};
use crate::exit::{Code, Failure, OrFail};
use crate::hub;
use crate::memory;
use crate::progress::Progress;
use crate::recipe::{Kind, Stage};

/// The optimiser's file in a checkpoint folder.
const OPTIMIZER: &str = "optimizer.safetensors";

/// A stage at work.
pub struct Active<'a> {
    /// The run that it belongs to.
    pub run: &'a Run,
    /// Its place in the recipe, from 0.
    pub number: usize,
    /// Its settings.
    pub stage: &'a Stage,
    /// The weights.
    pub model: Model,
    /// How they learn.
    pub trainer: Trainer,
    /// How far it has come.
    pub state: StageState,
    /// The checkpoint of its own that it comes from, if it does. Its state counts all that went before the first step too.
    pub restored: Option<PathBuf>,
}

/// What one step did.
pub struct Stepped {
    /// Numbers for `metrics.jsonl`.
    pub metrics: Vec<(String, f64)>,
    /// What to show of it.
    pub message: String,
}

/// What a kind of stage does in a step.
pub trait Body {
    /// One step, number `active.state.step`.
    ///
    /// # Errors
    /// A failure leaves the weights as they were.
    fn step(&mut self, active: &mut Active<'_>) -> Result<Stepped, Failure>;

    /// Adds to a checkpoint what the stage must have beside weights, optimiser and state to go on.
    ///
    /// # Errors
    /// [`Code::Disk`].
    fn save(&mut self, _active: &Active<'_>, _folder: &Path) -> Result<(), Failure> {
        Ok(())
    }

    /// Bytes of weights beside those of the stage's model.
    fn other_weights(&self, _active: &Active<'_>) -> u64 {
        0
    }
}

impl Active<'_> {
    /// The weights' version: how many steps the stage has applied.
    pub fn version(&self) -> u64 {
        self.state.step
    }

    /// The learning rate of this step.
    pub fn learning_rate(&self) -> f64 {
        models::schedule(self.stage.optimizer(), self.state.total).at(self.state.step)
    }

    fn folder(&self) -> PathBuf {
        self.run.folder.stage(self.number, &self.stage.name)
    }
}

/// Runs a stage that trains, from wherever it stands.
///
/// # Errors
/// The first failure; [`Code::Interrupted`] after Ctrl-C, when all is saved.
pub fn train<'a>(
    run: &'a Run,
    number: usize,
    make_body: impl FnOnce(&mut Active<'a>) -> Result<Box<dyn Body + 'a>, Failure>,
) -> Result<StageState, Failure> {
    let stage = &run.recipe.stages[number];
    run.cache.set(0);
    let mut active = restore(run, number)?;
    let began = Instant::now();
    let mut body = make_body(&mut active)?;
    active.state.ledger.elapsed_s += began.elapsed().as_secs_f64();
    let mut progress = Progress::stage(&stage.name, active.state.total).resumed_at(active.state.step);
    while active.state.total == 0 || active.state.step < active.state.total {
        if run.check_interrupt().is_err() {
            return interrupted(&active, body.as_mut());
        }
        let (began, processor) = (Instant::now(), processor_seconds());
        let mut stepped = match body.step(&mut active) {
            Err(failure) if failure.code == Code::Interrupted => return interrupted(&active, body.as_mut()),
            other => other?,
        };
        active.state.step += 1;
        stepped.metrics.extend(hold(&mut active, body.as_ref()));
        active.state.ledger.elapsed_s += began.elapsed().as_secs_f64();
        stepped.metrics.push(("timing_s/step".into(), began.elapsed().as_secs_f64()));
        stepped.metrics.push(("timing_s/processor".into(), processor_seconds() - processor));
        settle_total(&mut active)?;
        run.write_metrics(stage, active.state.step, &stepped.metrics)?;
        run.watchdog.event(format!("stage {}: step {} done, {}", stage.name, active.state.step, stepped.message));
        progress.step(&stepped.message);
        let every = stage.checkpoint_every;
        if every > 0 && active.state.step.is_multiple_of(every) && active.state.step < active.state.total {
            save(&active, body.as_mut())?;
            checkpoints::retire(&active.folder(), stage.keep)?;
        }
    }
    save(&active, body.as_mut())?;
    finish(active, progress)
}

/// Looks at what the stage holds after a step, and gives the numbers that change from step to step.
fn hold(active: &mut Active<'_>, body: &dyn Body) -> Vec<(String, f64)> {
    const GIB: f64 = (1u64 << 30) as f64;
    let resident = memory::resident();
    let other_models = body.other_weights(active);
    let found = active.state.memory.get_or_insert_default();
    found.weights = active.model.bytes();
    found.other_models = found.other_models.max(other_models);
    found.laid_out = found.laid_out.max(active.model.products.bytes());
    found.optimizer = active.trainer.bytes();
    found.cache = found.cache.max(active.run.cache.get());
    found.process = found.process.max(resident.most);
    vec![
        ("perf/cpu_memory_used_gb".to_owned(), resident.now as f64 / GIB),
        ("perf/max_memory_allocated_gb".to_owned(), found.device as f64 / GIB),
    ]
}

/// Seconds that this process' threads have computed: on a machine with other work they say more than the clock.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` alone. Where the clock does not exist it stays 0.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Evaluates the last checkpoint and marks the stage as done.
fn finish(mut active: Active<'_>, progress: Progress) -> Result<StageState, Failure> {
    let (run, stage) = (active.run, active.stage);
    if stage.evaluates() {
        let began = Instant::now();
        let version = active.version();
        let groups = evaluate(run, &stage.name, &active.model, version, &run.recipe.eval.domains, &mut active.state)?;
        run.log_once(&format!("{}-eval", stage.name), active.state.step, &groups)?;
        active.state.ledger.elapsed_s += began.elapsed().as_secs_f64();
    }
    progress.finish(&scores(&active.state));
    active.state.write_done(&active.folder().join("stage.json"))?;
    Ok(active.state)
}

/// Scores in words, such as `math 0.812, code 0.640`.
pub fn scores(state: &StageState) -> String {
    let score = |(domain, score): (&String, &crate::summary::Score)| format!("{domain} {:.3}", score.pass_at_1);
    state.eval.iter().map(score).collect::<Vec<_>>().join(", ")
}

fn interrupted(active: &Active<'_>, body: &mut dyn Body) -> Result<StageState, Failure> {
    save(active, body)?;
    let root = active.run.folder.root().display();
    Err(Failure::new(
        Code::Interrupted,
        format!("interrupted in stage {} after step {}", active.stage.name, active.state.step),
    )
    .hint(format!("all is saved; `temper resume {root}` goes on")))
}

/// Where the recipe gives a share of the compute instead of steps, the first step tells how many steps that is.
pub fn settle_total(active: &mut Active<'_>) -> Result<(), Failure> {
    if active.state.total > 0 {
        return Ok(());
    }
    let share = active.stage.budget_share;
    let before = active.run.flops_before(active.number)?;
    let target = share / (1.0 - share) * before;
    let per_step = active.state.ledger.flops / active.state.step as f64;
    active.state.total = ((target / per_step).round() as u64).max(1);
    Ok(())
}

/// The stage as its last whole checkpoint left it, or as it begins.
fn restore<'a>(run: &'a Run, number: usize) -> Result<Active<'a>, Failure> {
    let stage = &run.recipe.stages[number];
    let folder = run.folder.stage(number, &stage.name);
    if let Some(last) = checkpoints::last_sound(&folder)? {
        let (model, trainer, state) = read(run, number, &last)?;
        run.rewind(number, state.step)?;
        return Ok(Active { run, number, stage, model, trainer, state, restored: Some(last) });
    }
    run.rewind(number, 0)?;
    begin(run, number)
}

/// The stage as its newest sound checkpoint at or before `step` left it, or as it begins. Nothing on the disk is changed.
///
/// # Errors
/// [`Code::Checkpoint`] where neither is there.
pub fn at<'a>(run: &'a Run, number: usize, step: u64) -> Result<Active<'a>, Failure> {
    let stage = &run.recipe.stages[number];
    let folder = run.folder.stage(number, &stage.name);
    if let Some(before) = checkpoints::sound_up_to(&folder, step)? {
        let (model, trainer, state) = read(run, number, &before)?;
        return Ok(Active { run, number, stage, model, trainer, state, restored: Some(before) });
    }
    begin(run, number)
}

/// The stage as it begins.
fn begin<'a>(run: &'a Run, number: usize) -> Result<Active<'a>, Failure> {
    let stage = &run.recipe.stages[number];
    let model = models::begun(run, number)?;
    let trainer = models::trainer(run, stage, &model)?;
    let state = StageState { total: if stage.budget_share > 0.0 { 0 } else { stage.steps }, ..StageState::default() };
    Ok(Active { run, number, stage, model, trainer, state, restored: None })
}

/// A checkpoint as [`save`] left it.
fn read(run: &Run, number: usize, folder: &Path) -> Result<(Model, Trainer, StageState), Failure> {
    let model = models::restored(run, number, folder)?;
    let mut trainer = models::trainer(run, &run.recipe.stages[number], &model)?;
    trainer.load(&folder.join(OPTIMIZER)).or_fail(Code::Checkpoint)?;
    Ok((model, trainer, StageState::read(&folder.join(STATE))?))
}

fn save(active: &Active<'_>, body: &mut dyn Body) -> Result<(), Failure> {
    let _wait = active.run.watchdog.wait("the stage", || format!("checkpoint {} to be written", active.state.step));
    active.run.metrics.borrow().sync()?;
    checkpoints::write(&active.folder(), active.state.step, |folder| fill(active, body, folder))
}

fn fill(active: &Active<'_>, body: &mut dyn Body, folder: &Path) -> Result<(), Failure> {
    check_finite(active)?;
    checkpoint::save(&active.model, folder).or_fail(Code::Disk)?;
    if active.stage.lora.is_some() {
        let named = |base: PathBuf| match hub::repository(&base) {
            Some((name, commit)) => AdaptedBase { name, revision: Some(commit) },
            None => AdaptedBase { name: base.display().to_string(), revision: None },
        };
        let base = models::adapted_base(active.run, active.stage)?.map(named);
        checkpoint::save_adapters(&active.model, folder, base.as_ref()).or_fail(Code::Disk)?;
    }
    active.run.tokenizer.save(folder).or_fail(Code::Disk)?;
    active.trainer.save(&folder.join(OPTIMIZER)).or_fail(Code::Disk)?;
    body.save(active, folder)?;
    active.state.write(&folder.join(STATE))
}

/// Refuses weights that are no numbers: with a finite loss and gradient, a step can still be too long for f32.
fn check_finite(active: &Active<'_>) -> Result<(), Failure> {
    let Some(name) = not_finite(&active.model.params) else { return Ok(()) };
    let (stage, step) = (&active.stage.name, active.state.step);
    let failure =
        Failure::new(Code::Numeric, format!("stage {stage}, step {step}: the weights `{name}` are not finite"));
    Err(failure.hint(format!("what was saved before is sound; {}", with_a_lower_rate(active))))
}

/// The first weights of which one is infinite or NaN.
fn not_finite(params: &Params) -> Option<&str> {
    let finite = |weights: &Tensor| [weights.min(), weights.max()].iter().all(|end| end.double_value(&[]).is_finite());
    params.iter().find(|(_, weights)| !finite(weights)).map(|(name, _)| name.as_str())
}

/// The step that a resumed run begins from.
fn last_kept(active: &Active<'_>) -> u64 {
    let kept = checkpoints::all(&active.folder()).unwrap_or_default();
    kept.last().and_then(|path| checkpoints::step_of(path)).unwrap_or(0)
}

/// A step that was not applied, as a failure: numeric ones keep their code, and their batch is in the run's folder.
pub fn step_failure(active: &Active<'_>, error: &StepError, batch: &str) -> Failure {
    let code = if error.is_numeric() { Code::Numeric } else { Code::Internal };
    let failure = Failure::from_error(code, error).context(format!(
        "stage {}, step {}",
        active.stage.name,
        active.state.step + 1
    ));
    if error.is_numeric() {
        let way = with_a_lower_rate(active);
        return failure.hint(format!("the weights are as they were; the batch is kept in {batch}; {way}"));
    }
    failure
}

/// How to go on from the last checkpoint with a lower learning rate.
fn with_a_lower_rate(active: &Active<'_>) -> String {
    // What was sampled after the last checkpoint came from weights that a lower rate does not give.
    let sampled = match active.stage.kind {
        Kind::Rl | Kind::Distill => format!(", move the log's files of steps after {} away,", last_kept(active)),
        _ => String::new(),
    };
    let recipe = active.run.folder.root().join("resolved.toml");
    format!("lower the stage's lr in {}{sampled} and `temper resume`", recipe.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_no_numbers_are_found() {
        let params = |odd: f32| {
            let weights = |third: f32| Tensor::from_slice(&[1.0, -2.0, third]);
            Params::from([("a".to_owned(), weights(0.0)), ("b".to_owned(), weights(odd))])
        };
        assert_eq!(not_finite(&params(f32::MAX)), None);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(not_finite(&params(odd)), Some("b"), "{odd}");
        }
    }
}
