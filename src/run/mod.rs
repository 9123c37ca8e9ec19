//! A run: the recipe's stages, one after the other, in a folder that can always be gone on with.
//!
//! ```text
//! temper run ──> folder, resolved.toml, manifest.json
//!                   │
//!                   v           stage.json there? then it is done
//!              for each stage ────────────────────────────────────> next
//!                   │ no
//!                   v
//!              stage::train with the Body of its kind ──> checkpoint, stage.json ──> summary.json, report.html
//! temper resume ────^
//! ```

mod ahead;
pub mod audit;
mod card;
mod checkpoints;
mod data_files;
mod decisions;
pub mod device;
mod distill;
pub mod evaluate;
pub mod explain;
mod export;
mod folder;
mod groups;
mod in_flight;
mod inputs;
mod interrupt;
mod judge;
mod language;
mod left;
mod manifest;
mod metrics;
mod models;
pub mod preflight;
mod prompts;
mod rl;
mod rl_learner;
mod rl_metrics;
pub mod sample;
mod score;
mod sealed;
mod stage;
mod state;
mod watchdog;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data::tokenizer::FORMS;
use data::{ChatTemplate, CounterRng, Prompt, RunLog, ScoredGroup, Tokenizer};
use policy::Compute;

use crate::exit::{Code, Failure, OrFail};
use crate::hub;
use crate::recipe::{ChatEncoding, Kind, MODEL, ModelSource, Recipe, Stage};
use crate::report;
use crate::say;
use crate::summary::{Exactness, Score, StageSummary, Summary, TextScore};
use data_files::DataFiles;
use folder::RunFolder;
use inputs::Inputs;
use judge::{Judge, Pending, Verdicts};
use metrics::Metrics;
pub(crate) use models::INDEXER_STD;
use stage::{Active, Body};
use state::{Ledger, StageState};
use watchdog::Watchdog;

/// An open run.
pub struct Run {
    /// What to do.
    pub recipe: Recipe,
    /// Where it is kept.
    pub folder: RunFolder,
    /// Where it computes, and in which numbers.
    pub compute: Compute,
    /// How text becomes tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// Every group that was sampled.
    pub log: RunLog,
    /// The verifiers.
    pub judge: Judge,
    /// Who waits for what.
    pub watchdog: Watchdog,
    metrics: RefCell<Metrics>,
    /// Bytes of the largest cache of keys since a stage began.
    cache: Cell<u64>,
    began: Instant,
    /// What the base checkpoint cost, where it says so.
    base: Ledger,
}

/// What an evaluation found.
pub struct Evaluation {
    /// Held-out scores by domain.
    pub eval: BTreeMap<String, Score>,
    /// Held-out text by domain, at the recipe's contexts.
    pub texts: BTreeMap<String, TextScore>,
    /// Sampler against learner.
    pub exactness: Exactness,
}

/// Starts a run and carries it to its end.
///
/// # Errors
/// The first failure; what was done stays, and `temper resume` goes on.
pub fn start(mut recipe: Recipe) -> Result<Summary, Failure> {
    interrupt::listen()?;
    recipe.settle_clock();
    let root = Path::new(&recipe.run.out).join(&recipe.run.name);
    let compute = device::compute(&recipe.run)?;
    // All that can refuse a run is asked before its folder is made.
    RunFolder::free(&root)?;
    hub::fetch(&mut recipe)?;
    let tokenizer = open_tokenizer(&recipe)?;
    let files = preflight::check(&mut recipe, &tokenizer)?;
    let judge = Judge::new(&recipe)?;
    let folder = RunFolder::create(&root)?;
    files.write(&root)?;
    let absolute = recipe.with_absolute_paths().or_fail(Code::Usage)?;
    Inputs::of(&absolute)?.write(&root)?;
    manifest::write(&root, &absolute, compute)?;
    let resolved = absolute.to_toml();
    // Written last: a folder with it holds a run.
    data::atomic::write_atomic(&root.join("resolved.toml"), |f| f.write_all(resolved.as_bytes()))
        .or_fail(Code::Disk)?;
    Run::open(recipe, folder, compute, tokenizer, judge)?.carry_on()
}

/// Goes on with a run that was stopped.
///
/// # Errors
/// As [`start`].
pub fn resume(root: &Path, device: Option<crate::recipe::Device>, threads: Option<usize>) -> Result<Summary, Failure> {
    interrupt::listen()?;
    let folder = RunFolder::open(root)?;
    folder.remove_leftovers()?;
    let mut recipe = Recipe::load(&root.join("resolved.toml"), &[])?;
    recipe.run.device = device.unwrap_or(recipe.run.device);
    recipe.run.threads = threads.unwrap_or(recipe.run.threads);
    let compute = device::compute(&recipe.run)?;
    let files = DataFiles::read(root)?;
    files.check()?;
    files.note_refused(&mut recipe);
    Inputs::check(root)?;
    manifest::tell_differences(root, &recipe, compute);
    let (tokenizer, judge) = (open_tokenizer(&recipe)?, Judge::new(&recipe)?);
    Run::open(recipe, folder, compute, tokenizer, judge)?.carry_on()
}

/// Scores the recipe's model on its held-out prompts, in a run folder that is gone afterwards.
///
/// # Errors
/// The first failure.
pub fn evaluate_checkpoint(mut recipe: Recipe) -> Result<Evaluation, Failure> {
    interrupt::listen()?;
    let folder = std::env::temp_dir().join(format!("temper-eval-{}", std::process::id()));
    recipe.stages.clear();
    let compute = device::compute(&recipe.run)?;
    hub::fetch(&mut recipe)?;
    let tokenizer = open_tokenizer(&recipe)?;
    preflight::check_held_out(&mut recipe, &tokenizer)?;
    let judge = Judge::new(&recipe)?;
    let run = Run::open(recipe, RunFolder::create(&folder)?, compute, tokenizer, judge)?;
    let mut state = StageState::default();
    let scored = models::load_from(&run, MODEL)
        .and_then(|model| evaluate::evaluate(&run, "eval", &model, 0, &run.recipe.eval.domains, &mut state));
    // Whatever came of it, the folder held nothing to keep.
    let _ = std::fs::remove_dir_all(&folder);
    scored.map(|_| Evaluation { eval: state.eval, texts: state.texts, exactness: state.exactness })
}

/// The folder of a tokenizer's file, which must be the one that is read there.
fn folder_of_tokenizer(path: &Path) -> Result<&Path, Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let read = FORMS.iter().find(|form| folder.join(form).is_file());
    match read {
        Some(read) if !path.ends_with(read) => {
            let message = format!("{} is not read: {read} beside it goes first", path.display());
            Err(Failure::new(Code::Usage, message).hint("name that one, or move one of them to another folder"))
        }
        _ => Ok(folder),
    }
}

fn open_tokenizer(recipe: &Recipe) -> Result<Tokenizer, Failure> {
    let folder = match &recipe.model {
        ModelSource::Checkpoint { path } => Path::new(path),
        ModelSource::Fresh { tokenizer, .. } => {
            let path = Path::new(tokenizer);
            if path.is_file() { folder_of_tokenizer(path)? } else { path }
        }
    };
    let mut tokenizer = Tokenizer::load(folder).or_fail(Code::Checkpoint)?;
    match recipe.chat.encoding {
        ChatEncoding::Auto => {}
        ChatEncoding::DeepSeekV32 => tokenizer.set_chat_template(Some(ChatTemplate::deepseek_v32())),
        ChatEncoding::None => tokenizer.set_chat_template(None),
    }
    let variables = serde_json::to_value(&recipe.chat.variables).or_fail(Code::Usage)?;
    tokenizer.set_variables(variables.as_object().cloned().unwrap_or_default());
    if recipe.run.clock != 0 {
        tokenizer.set_clock(recipe.run.clock);
    }
    Ok(tokenizer)
}

impl Run {
    fn open(
        recipe: Recipe,
        folder: RunFolder,
        compute: Compute,
        tokenizer: Tokenizer,
        judge: Judge,
    ) -> Result<Self, Failure> {
        let log = RunLog::open(folder.root().join("log")).or_fail(Code::Disk)?;
        let metrics = RefCell::new(Metrics::open(folder.root(), |_, _| true)?);
        let base = base_cost(&recipe);
        let tokenizer = Arc::new(tokenizer);
        let watchdog = Watchdog::new(folder.root(), Duration::from_secs_f64(recipe.run.stall_s));
        let (cache, began) = (Cell::new(0), Instant::now());
        Ok(Self { recipe, folder, compute, tokenizer, log, judge, watchdog, metrics, cache, began, base })
    }

    /// A run as it stands, to look at: nothing in its folder is changed, whoever works in it.
    ///
    /// # Errors
    /// [`Code::RunFolder`] where there is no run, and as [`resume`].
    pub fn view(root: &Path, device: Option<crate::recipe::Device>, threads: Option<usize>) -> Result<Self, Failure> {
        let folder = RunFolder::view(root)?;
        let mut recipe = Recipe::load(&root.join("resolved.toml"), &[])?;
        recipe.run.device = device.unwrap_or(recipe.run.device);
        recipe.run.threads = threads.unwrap_or(recipe.run.threads);
        let compute = device::compute(&recipe.run)?;
        let tokenizer = Arc::new(open_tokenizer(&recipe)?);
        if !root.join("log").is_dir() {
            return Err(Failure::new(Code::RunFolder, format!("{} has no log", root.display())));
        }
        let log = RunLog::open(root.join("log")).or_fail(Code::Disk)?;
        let metrics = RefCell::new(Metrics::unwritten(root));
        let watchdog = Watchdog::asleep(root, Duration::from_secs_f64(recipe.run.stall_s));
        let base = base_cost(&recipe);
        let (judge, cache, began) = (Judge::absent(), Cell::new(0), Instant::now());
        Ok(Self { recipe, folder, compute, tokenizer, log, judge, watchdog, metrics, cache, began, base })
    }

    fn carry_on(self) -> Result<Summary, Failure> {
        for number in 0..self.recipe.stages.len() {
            if !self.done(number).exists() {
                self.run_stage(number).map_err(|failure| self.how_to_go_on(failure))?;
                self.summarise()?;
            }
        }
        let summary = self.summarise()?;
        report::write_report(self.folder.root()).or_fail(Code::Disk)?;
        Ok(summary)
    }

    /// Nothing of a stage is lost that its next start would not do again to the same bytes, wherever Ctrl-C met it.
    fn how_to_go_on(&self, failure: Failure) -> Failure {
        if failure.code != Code::Interrupted || failure.hint.is_some() {
            return failure;
        }
        failure.hint(format!("what was done is saved; `temper resume {}` goes on", self.folder.root().display()))
    }

    fn run_stage(&self, number: usize) -> Result<(), Failure> {
        match self.recipe.stages[number].kind {
            Kind::Eval => self.eval_stage(number),
            Kind::Export => export::export(self, number),
            kind => stage::train(self, number, |active| body(kind, active)).map(|_| ()),
        }
    }

    fn eval_stage(&self, number: usize) -> Result<(), Failure> {
        let stage = &self.recipe.stages[number];
        let began = Instant::now();
        let model = models::evaluated(self, stage)?;
        let mut state = StageState::default();
        let groups = evaluate::evaluate(self, &stage.name, &model, 0, &stage.domains, &mut state)?;
        self.log_once(&stage.name, 0, &groups)?;
        state.ledger.elapsed_s = began.elapsed().as_secs_f64();
        say!("{:>16} {}", stage.name, stage::scores(&state));
        self.mark_done(number, &state)
    }

    /// Writes `stage.json`: the stage is done.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn mark_done(&self, number: usize, state: &StageState) -> Result<(), Failure> {
        let path = self.done(number);
        std::fs::create_dir_all(path.parent().expect("it is in the stage's folder")).or_fail(Code::Disk)?;
        state.write_done(&path)
    }

    /// The file that is there once a stage is done.
    fn done(&self, number: usize) -> PathBuf {
        self.folder.stage(number, &self.recipe.stages[number].name).join("stage.json")
    }

    /// # Errors
    /// [`Code::Interrupted`] once Ctrl-C or SIGTERM came.
    pub fn check_interrupt(&self) -> Result<(), Failure> {
        match interrupt::pending() {
            true => Err(Failure::new(Code::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }

    /// True where what weights of `version` sampled for a prompt, and no learner is about to recompute under them, is recomputed only to be
    /// compared: for a share of the prompts, chosen by their own random number (INV-4).
    pub fn compares(&self, prompt_id: &str, version: u64) -> bool {
        let settings = &self.recipe.run;
        let draw = || CounterRng::new(settings.seed, &format!("compare/{prompt_id}")).uniform_at(version);
        settings.exact && (settings.compare_share >= 1.0 || draw() < settings.compare_share)
    }

    /// Waits for a group's verdicts.
    ///
    /// # Errors
    /// As [`Judge::wait`].
    fn wait_for_verdicts(&self, prompt: &Prompt, pending: Pending) -> Result<Verdicts, Failure> {
        let verifiers = || self.recipe.domains[&prompt.domain].verifiers.iter().map(|v| v.worth().label);
        let deadline = self.recipe.run.verdict_deadline_s;
        let what = || {
            let verifiers = verifiers().collect::<Vec<_>>().join(", ");
            format!(
                "verdicts on prompt {} from {verifiers}, which count as errors after {deadline} s (run.verdict_deadline_s)",
                prompt.id
            )
        };
        let _wait = self.watchdog.wait("the sampler", what);
        self.judge.wait(pending)
    }

    /// Appends a step's numbers to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn write_metrics(&self, stage: &Stage, step: u64, numbers: &[(String, f64)]) -> Result<(), Failure> {
        let time_s = self.began.elapsed().as_secs_f64();
        self.metrics.borrow_mut().write(&stage.name, stage.kind.as_str(), step, time_s, numbers)
    }

    /// Drops the metrics of steps after the checkpoint that a stage comes back to, and of the stages that are not done after it the steps
    /// after theirs: they will be written again.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn rewind(&self, number: usize, step: u64) -> Result<(), Failure> {
        let this = self.recipe.stages[number].name.as_str();
        let mut kept = BTreeMap::from([(this, step)]);
        let later = self.recipe.stages.iter().enumerate().skip(number + 1);
        for (at, stage) in later.filter(|(at, _)| !self.done(*at).exists()) {
            let checkpoints = checkpoints::all(&self.folder.stage(at, &stage.name))?;
            kept.insert(&stage.name, checkpoints.last().and_then(|path| checkpoints::step_of(path)).unwrap_or(0));
        }
        let done = RefCell::new(BTreeSet::new());
        let keep = |stage: &str, at: u64| {
            let keep = kept.get(stage).is_none_or(|last| at <= *last);
            if keep && stage == this {
                done.borrow_mut().insert(at);
            }
            keep
        };
        *self.metrics.borrow_mut() = Metrics::open(self.folder.root(), keep)?;
        let lost = step.saturating_sub(done.borrow().len() as u64);
        if lost > 0 {
            say!(
                "warning: metrics.jsonl has no row of {lost} of the {step} steps of stage {this} that are done; the weights are whole"
            );
        }
        Ok(())
    }

    /// The groups of a step, where the log has them.
    ///
    /// # Errors
    /// [`Code::Data`] for a damaged log.
    pub fn logged(&self, stage: &str, step: u64) -> Result<Option<Vec<ScoredGroup>>, Failure> {
        let there = self.log.path(stage, step).or_fail(Code::Internal)?.exists();
        let read = || {
            let groups = self.log.read(stage, step).or_fail(Code::Data);
            groups.map_err(|failure| {
                let root = self.folder.root().display();
                failure.hint(format!(
                    "move the file away: `temper resume {root}` then samples the step again, to the same groups; or restore it from a copy"
                ))
            })
        };
        there.then(read).transpose()
    }

    /// Logs groups, unless the log has them: a resumed run samples the same ones again.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn log_once(&self, stage: &str, step: u64, groups: &[ScoredGroup]) -> Result<(), Failure> {
        // Read, since a damaged file must not stay unseen.
        if self.logged(stage, step)?.is_some() {
            return Ok(());
        }
        self.log.append(stage, step, groups).or_fail(Code::Disk)
    }

    /// FLOPs of the base and of all stages before `number`.
    ///
    /// # Errors
    /// [`Code::Checkpoint`].
    pub fn flops_before(&self, number: usize) -> Result<f64, Failure> {
        let done = self.states()?.into_iter().filter(|(n, _)| *n < number);
        Ok(self.base.flops + done.map(|(_, state)| state.ledger.flops).sum::<f64>())
    }

    /// The states of the stages that are done.
    fn states(&self) -> Result<Vec<(usize, StageState)>, Failure> {
        let mut states = Vec::new();
        for number in 0..self.recipe.stages.len() {
            let path = self.done(number);
            if path.exists() {
                states.push((number, StageState::read_done(&path)?));
            }
        }
        Ok(states)
    }

    fn summarise(&self) -> Result<Summary, Failure> {
        let mut summary = Summary { run: self.recipe.run.name.clone(), ..Summary::default() };
        let (mut all, mut post) = (self.base.flops, 0.0);
        for (number, state) in self.states()? {
            let stage = &self.recipe.stages[number];
            summary.elapsed_s += state.ledger.elapsed_s;
            summary.exactness.waived = !self.recipe.run.exact;
            summary.exactness.add(state.exactness.max_abs_logprob_diff, state.exactness.tokens_compared);
            summary.verdicts.pass += state.verdicts.pass;
            summary.verdicts.fail += state.verdicts.fail;
            summary.verdicts.undecided += state.verdicts.undecided;
            summary.verdicts.error += state.verdicts.error;
            all += state.ledger.flops;
            if matches!(stage.kind, Kind::Sft | Kind::Rl | Kind::DistillSft | Kind::Distill) {
                post += state.ledger.flops;
            }
            summary.stages.push(StageSummary {
                name: stage.name.clone(),
                kind: stage.kind.as_str().into(),
                from: stage.from.clone(),
                elapsed_s: state.ledger.elapsed_s,
                tokens: state.ledger.tokens,
                flops: state.ledger.flops,
                eval: state.eval,
                texts: state.texts,
                memory: state.memory,
            });
        }
        summary.post_training_share = post / all;
        summary.skipped_rows = DataFiles::read(self.folder.root())?.skipped_rows();
        summary.write(self.folder.root()).or_fail(Code::Disk)?;
        Ok(summary)
    }
}

fn base_cost(recipe: &Recipe) -> Ledger {
    match &recipe.model {
        ModelSource::Checkpoint { path } => manifest::base_cost(Path::new(path)),
        ModelSource::Fresh { .. } => Ledger::default(),
    }
}

/// What a kind of stage does in a step.
fn body<'a>(kind: Kind, active: &mut Active<'a>) -> Result<Box<dyn Body + 'a>, Failure> {
    Ok(match kind {
        Kind::Rl => Box::new(rl::Reinforce::new(active)?),
        Kind::Distill => Box::new(distill::OnPolicy::new(active)?),
        Kind::DistillSft => Box::new(distill::TraceTuning::new(active)?),
        Kind::Pretrain | Kind::Sft | Kind::IndexerWarmup | Kind::Sparse => Box::new(language::Language::new(active)?),
        Kind::Eval | Kind::Export => unreachable!("these kinds do not train"),
    })
}

/// Keeps the token ids of a batch whose step was refused, and says where.
pub(crate) fn keep_batch(active: &Active<'_>, sequences: &[&[u32]]) -> String {
    if active.run.folder.is_view() {
        return "the run log".into();
    }
    let folder = active.run.folder.stage(active.number, &active.stage.name);
    let path = folder.join(format!("refused-{:06}.json", active.state.step + 1));
    let text = serde_json::to_string(sequences).expect("token ids are plain JSON");
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        data::atomic::write_atomic(&path, |f| f.write_all(text.as_bytes())).map_err(std::io::Error::other)
    });
    match written {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("(it could not be kept: {error})"),
    }
}
