//! One thread a cell: takes programs from a queue, judges them, and launches the cell anew when it is lost.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use super::{
    Isolation, SandboxError,
    cell::{Cell, Kind, Plan},
    filter,
    judge::{Outcome, Program, judge},
    python::Python,
    settings::{CodeSettings, Limits},
    tests_spec::Spec,
};

/// One program with its tests.
#[derive(Debug)]
pub(super) struct Job {
    pub code: String,
    pub spec: Spec,
    pub limits: Limits,
}

type Answer = (usize, Result<Outcome, SandboxError>);

struct Task {
    number: usize,
    job: Arc<Job>,
    answer: Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

impl Shared {
    /// A worker that panicked left the queue whole: nothing is changed in two steps.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task; `None` when the verifier is gone.
    fn take(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            if queue.closed {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The threads and their queue.
pub(super) struct Workers {
    pub isolation: Isolation,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("isolation", &self.isolation)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// Finds the best kind of cell that can be launched here, and starts one in each thread.
    pub fn start(settings: &Arc<CodeSettings>) -> Result<Self, SandboxError> {
        let (plan, missing) = best_plan(settings)?;
        let isolation = Isolation::of(&plan, missing);
        if settings.strict && !isolation.is_full() {
            return Err(SandboxError::NotStrict(isolation.to_string()));
        }
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared::default());
        let mut workers = Self { isolation, shared, threads: Vec::new() };
        for i in 0..settings.cells() {
            let (plan, shared, settings) = (Arc::clone(&plan), Arc::clone(&workers.shared), Arc::clone(settings));
            // The cell is launched by the thread that owns it, and dies with that thread, whatever ends it.
            let thread =
                std::thread::Builder::new().name(format!("cell-{i}")).spawn(move || work(&plan, &shared, &settings));
            workers.threads.push(thread.map_err(|e| SandboxError::Launch { step: "thread", why: e.to_string() })?);
        }
        Ok(workers)
    }

    /// Judges all jobs; the outcomes are in their order.
    pub fn run(&self, jobs: &[Arc<Job>]) -> Vec<Result<Outcome, SandboxError>> {
        let (answer, answers) = channel();
        {
            let mut queue = self.shared.lock();
            queue.tasks.extend(jobs.iter().enumerate().map(|(number, job)| Task {
                number,
                job: Arc::clone(job),
                answer: answer.clone(),
            }));
        }
        self.shared.filled.notify_all();
        drop(answer);
        let lost = || Err(SandboxError::Lost("the thread of a cell ended".into()));
        let mut outcomes: Vec<_> = jobs.iter().map(|_| lost()).collect();
        // Ends when every task has been answered or dropped.
        for (number, outcome) in answers {
            outcomes[number] = outcome;
        }
        outcomes
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

/// Tries the kinds of cell in order of preference; the reasons why better ones failed come along.
fn best_plan(settings: &CodeSettings) -> Result<(Plan, Vec<String>), SandboxError> {
    let python = Python::find(&settings.python)?;
    let landlock = filter::landlock(&[])?.is_some();
    let mut missing = if landlock { Vec::new() } else { vec!["this kernel has no Landlock".to_owned()] };
    let mut last = None;
    for kind in Kind::ladder(rustix::process::geteuid().is_root(), landlock) {
        let plan = Plan::new(kind, python.clone(), settings)?;
        match plan.launch().and_then(|mut cell| cell.try_out(settings)) {
            Ok(()) => return Ok((plan, missing)),
            Err(e) => {
                missing.push(e.to_string());
                last = Some(e);
            }
        }
    }
    Err(last.unwrap_or_else(|| SandboxError::Lost("no kind of cell fits this machine".into())))
}

impl Cell {
    /// One child, so that what only shows there (a filter that the kernel refuses, no memory for a fork) shows at the start.
    fn try_out(&mut self, settings: &CodeSettings) -> Result<(), SandboxError> {
        let limits = Limits::of(settings, &serde_json::Value::Null).map_err(SandboxError::Settings)?;
        let mut run = self.start(&limits, 1, None)?;
        let ready = run.ready();
        // The zygote's own word on a fork that failed says more than the silence of the child.
        self.end(run, false).and(ready)
    }
}

fn work(plan: &Plan, shared: &Shared, settings: &CodeSettings) {
    let mut cell = plan.launch().ok();
    while let Some(task) = shared.take() {
        let job = &*task.job;
        let program = Program { code: &job.code, spec: &job.spec, limits: job.limits, settings };
        let outcome = judge_in(&mut cell, plan, &program).or_else(|_| judge_in(&mut cell, plan, &program));
        // The caller may be gone.
        let _ = task.answer.send((task.number, outcome));
    }
}

/// Judges in the cell, launched first if there is none; a cell that failed is not used again.
fn judge_in(cell: &mut Option<Cell>, plan: &Plan, program: &Program<'_>) -> Result<Outcome, SandboxError> {
    if cell.is_none() {
        *cell = Some(plan.launch()?);
    }
    let outcome = judge(cell.as_mut().expect("launched above"), program);
    if outcome.is_err() {
        *cell = None;
    }
    outcome
}
