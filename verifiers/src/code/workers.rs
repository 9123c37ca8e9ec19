//! One thread for each worker: takes work from a queue, and does it with its own cells.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, mpsc::channel},
    thread::JoinHandle,
};

use super::{
    Isolation, SandboxError,
    api::is_lost,
    cell::{Cell, Kind, Plan, Purpose},
    cgroup::Hierarchy,
    compile::Cache,
    filter,
    judge::{Program, judge},
    languages::Languages,
    limits::Limits,
    outcome::Outcome,
    python::Python,
    settings::CodeSettings,
    shop::{Plans, Shop},
    tests_spec::Spec,
    zygote::machine_kills_more,
};

/// One program with its tests.
#[derive(Debug)]
pub(super) struct Job {
    pub code: String,
    pub language: String,
    pub spec: Spec,
    pub limits: Limits,
    /// Those of the sandbox, or the item's own.
    pub settings: Arc<CodeSettings>,
}

/// What a worker is asked to do.
type Work = Box<dyn FnOnce(&mut Shop) + Send>;

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
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

    /// The next work; `None` when the verifier is gone.
    fn take(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if let Some(work) = queue.work.pop_front() {
                return Some(work);
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
    pub plans: Arc<Plans>,
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
        let (plans, missing) = plans(settings)?;
        let isolation = Isolation::of(&plans.warm, missing);
        if settings.strict && !isolation.is_full() {
            return Err(SandboxError::NotStrict(isolation.to_string()));
        }
        let mut workers = Self { isolation, plans: Arc::new(plans), shared: Arc::default(), threads: Vec::new() };
        let cores = cores(settings.pin);
        for i in 0..settings.cells() {
            let shop = Shop::new(Arc::clone(&workers.plans), cores.get(i % cores.len().max(1)).copied());
            let shared = Arc::clone(&workers.shared);
            // A cell is launched by the thread that owns it, and dies with that thread, whatever ends it.
            let thread = std::thread::Builder::new().name(format!("cell-{i}")).spawn(move || work(shop, &shared));
            workers.threads.push(thread.map_err(|e| SandboxError::Launch { step: "thread", why: e.to_string() })?);
        }
        Ok(workers)
    }

    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Has a worker do something, after all that was submitted before.
    pub fn submit(&self, work: Work) {
        self.shared.lock().work.push_back(work);
        self.shared.filled.notify_one();
    }

    /// Judges all jobs; the outcomes are in their order.
    pub fn judge(&self, jobs: &[Arc<Job>]) -> Vec<Result<Outcome, SandboxError>> {
        let (answer, answers) = channel();
        for (number, job) in jobs.iter().enumerate() {
            let (job, answer) = (Arc::clone(job), answer.clone());
            // The caller may be gone.
            self.submit(Box::new(move |shop| drop(answer.send((number, judged(shop, &job, Arc::default()))))));
        }
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

/// Judges one job in a worker's cells.
pub(super) fn judged(shop: &mut Shop, job: &Job, cancel: Arc<AtomicBool>) -> Result<Outcome, SandboxError> {
    let program = Program {
        code: &job.code,
        language: &job.language,
        spec: &job.spec,
        limits: job.limits,
        settings: &job.settings,
    };
    retried(shop, cancel, |shop| judge(shop, &program))
}

/// Does it once more, in new cells, where the sandbox failed; cells that were part of a failure are not used again. A machine that is too busy
/// is not made less so by another try.
pub(super) fn retried<T>(
    shop: &mut Shop,
    cancel: Arc<AtomicBool>,
    mut work: impl FnMut(&mut Shop) -> Result<T, SandboxError>,
) -> Result<T, SandboxError> {
    shop.cancelled_by(cancel);
    let mut attempt = |shop: &mut Shop| {
        let done = work(shop);
        if matches!(&done, Err(e) if is_lost(e)) {
            shop.reset();
        }
        done
    };
    match attempt(shop) {
        Err(e) if is_lost(&e) && !matches!(e, SandboxError::Busy { .. }) => attempt(shop),
        done => done,
    }
}

fn work(mut shop: Shop, shared: &Shared) {
    shop.warm_up();
    while let Some(work) = shared.take() {
        work(&mut shop);
    }
}

/// The cores that this process may use, the first for the first cell; none where cells are not kept on one.
fn cores(pin: bool) -> Vec<usize> {
    // SAFETY: the set is a live one of the size given; a failure leaves it empty.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: the number is within the set.
    if pin { all.filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect() } else { Vec::new() }
}

/// Tries the kinds of cell in order of preference; the reasons why better ones failed come along.
fn plans(settings: &Arc<CodeSettings>) -> Result<(Plans, Vec<String>), SandboxError> {
    let python = Python::find(&settings.python)?;
    // From here on it counts.
    let _ = machine_kills_more();
    let landlock = filter::landlock(&[], false)?.is_some();
    let mut missing = if landlock { Vec::new() } else { vec!["this kernel has no Landlock".to_owned()] };
    let hierarchy = Hierarchy::find().map_err(|why| missing.push(format!("no cgroup: {why}"))).ok();
    let languages = Languages::new(settings, &python);
    let warm = |kind, hierarchy: &Option<Hierarchy>| {
        Plan::new(kind, Purpose::Warm, python.clone(), &settings.packages, hierarchy.clone(), settings)
    };
    let mut last = None;
    for kind in Kind::ladder(rustix::process::geteuid().is_root(), landlock) {
        // A cgroup that cannot be entered is no reason to do without namespaces.
        for hierarchy in [hierarchy.clone(), None].iter().skip(usize::from(hierarchy.is_none())) {
            let plan = warm(kind, hierarchy)?;
            match plan.launch(None).and_then(|mut cell| cell.try_out(settings)) {
                Ok(()) => {
                    let tools = kind.namespaces().then(|| tools(&plan, &python, &languages, settings)).transpose()?;
                    let (settings, cache) = (Arc::clone(settings), Cache::default());
                    return Ok((Plans { settings, warm: plan, tools, languages, cache }, missing));
                }
                Err(e) => {
                    missing.push(e.to_string());
                    last = Some(e);
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| SandboxError::Lost("no kind of cell fits this machine".into())))
}

/// The same kind of cell, with the machine's tools in it.
fn tools(warm: &Plan, python: &Python, languages: &Languages, settings: &CodeSettings) -> Result<Plan, SandboxError> {
    let usual = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives"];
    let shown: Vec<_> = usual.iter().map(Into::into).chain(languages.show().cloned()).collect();
    Plan::new(warm.kind, Purpose::Tools, python.clone(), &shown, warm.hierarchy.clone(), settings)
}

impl Cell {
    /// One child, so that what only shows there (a filter that the kernel refuses, no memory for a fork) shows at the start.
    fn try_out(&mut self, settings: &CodeSettings) -> Result<(), SandboxError> {
        let mut run = self.start(Purpose::Warm, &Limits::new(settings), 1, &[])?;
        let ready = run.ready();
        // The zygote's own word on a fork that failed says more than the silence of the child.
        self.end(run, false).and(ready)
    }
}
