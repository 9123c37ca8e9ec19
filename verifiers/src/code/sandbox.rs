//! The sandbox as a value: workers with their cells, which judge, or run programs that nobody judges.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
};

use super::{
    Isolation, SandboxError,
    api::{One, Order, RunBatch, RunBatchResult, RunCode, RunCodeResult, Step},
    languages::Languages,
    outcome::Outcome,
    run::run,
    settings::CodeSettings,
    workers::{Job, Workers, retried},
};

/// A started sandbox. Clones share its cells; they end with the last.
#[derive(Debug, Clone)]
pub struct Sandbox {
    workers: Arc<Workers>,
}

/// Sets its flag when it is dropped: whoever waited for a run no longer does.
#[derive(Debug)]
pub(super) struct Cancel(pub Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Sandbox {
    /// Starts the cells.
    ///
    /// # Errors
    /// A setting makes no sense, there is no usable Python, no cell can be launched, or `strict` is set and a layer is missing.
    pub fn new(settings: CodeSettings) -> Result<Self, SandboxError> {
        if let Some(fault) = settings.fault() {
            return Err(SandboxError::Settings(fault));
        }
        Ok(Self { workers: Arc::new(Workers::start(&Arc::new(settings))?) })
    }

    /// The layers in force.
    pub fn isolation(&self) -> &Isolation {
        &self.workers.isolation
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &CodeSettings {
        &self.workers.plans.settings
    }

    pub(super) fn shared_settings(&self) -> &Arc<CodeSettings> {
        &self.workers.plans.settings
    }

    /// Programs that can run at once.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn languages(&self) -> &Languages {
        &self.workers.plans.languages
    }

    pub(super) fn judge(&self, jobs: &[Arc<Job>]) -> Vec<Result<Outcome, SandboxError>> {
        self.workers.judge(jobs)
    }

    /// Runs a program and waits for it.
    ///
    /// # Errors
    /// The request itself makes no sense. That the sandbox failed is a result, [`super::RunStatus::SandboxError`].
    pub fn run_code(&self, request: &RunCode) -> Result<RunCodeResult, String> {
        let order = self.order(request)?;
        let (answer, answers) = channel();
        let stdin = request.stdin.clone().unwrap_or_default();
        self.submit(Arc::default(), order, vec![stdin], true, move |done| {
            // The caller may be gone.
            let _ = answer.send(RunCodeResult::of(one(done)));
        });
        Ok(answers.recv().unwrap_or_else(|_| RunCodeResult::of(Err(gone()))))
    }

    /// Runs a program on every input and waits for all.
    ///
    /// # Errors
    /// As [`Self::run_code`].
    pub fn run_batch(&self, request: &RunBatch) -> Result<RunBatchResult, String> {
        let order = self.order_of_batch(request)?;
        let (answer, answers) = channel();
        let wanted = request.stdins.len();
        self.submit(Arc::default(), order, request.stdins.clone(), request.stop_at_failure, move |done| {
            // The caller may be gone.
            let _ = answer.send(RunBatchResult::of(wanted, done.map(|done| (done.compiled, done.steps))));
        });
        Ok(answers.recv().unwrap_or_else(|_| RunBatchResult::of(wanted, Err(gone()))))
    }

    /// A request that can be run, or what is wrong with it.
    pub(super) fn order(&self, request: &RunCode) -> Result<Order, String> {
        let order = request.order(self.settings())?;
        match self.languages().find(&order.language) {
            Some((_, language)) => order.fits(&language.source).map(|()| order),
            // The answer to the request says so.
            None => Ok(order),
        }
    }

    /// The same for a batch.
    pub(super) fn order_of_batch(&self, request: &RunBatch) -> Result<Order, String> {
        request.fault()?;
        self.order(&request.program)
    }

    /// Has a worker run an order, and hand what came of it to `answer`. Nothing is run after `cancel` was set.
    pub(super) fn submit(
        &self,
        cancel: Arc<AtomicBool>,
        order: Order,
        stdins: Vec<String>,
        stop: bool,
        answer: impl FnOnce(Result<Done, SandboxError>) + Send + 'static,
    ) {
        self.workers.submit(Box::new(move |shop| {
            if cancel.load(Ordering::Relaxed) {
                return answer(Err(gone()));
            }
            let inputs: Vec<&str> = stdins.iter().map(String::as_str).collect();
            answer(retried(shop, cancel, |shop| {
                let mut done = Done::default();
                done.compiled = run(shop, &order, &inputs, |step, files| {
                    let go_on = !stop || step.return_code == Some(0);
                    done.steps.push(step);
                    done.files = files;
                    go_on
                })?;
                Ok(done)
            }));
        }));
    }
}

/// What came of an order.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub compiled: Option<Step>,
    pub steps: Vec<Step>,
    pub files: BTreeMap<String, String>,
}

/// The only run of an order.
pub(super) fn one(done: Result<Done, SandboxError>) -> Result<One, SandboxError> {
    done.map(|mut done| (done.compiled, done.steps.pop(), done.files))
}

pub(super) fn gone() -> SandboxError {
    SandboxError::Lost("nobody waited for the run, or its thread ended".into())
}
