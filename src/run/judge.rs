//! Judging completions beside sampling: each finished group goes to the verifiers of its domain on other threads.
//!
//! At most as many groups as cores are judged at once; a group that has no verdict by the deadline gets errors instead, so nothing waits
//! for a verifier forever and a stuck verifier never becomes a reward (INV-9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use data::{Item, Verdict};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use verifiers::Verifier;
use verifiers::compose::{self, Panel, Worth};

use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Recipe, VerifierEntry};
use crate::say;
use crate::verifiers_by_name::build_verifier;

/// Metrics of a verdict that the machine's mood decides. They stay out of the run log, which is then the same bytes for every run of a
/// recipe; `temper verify` shows them.
const VOLATILE_METRICS: [&str; 3] = ["cpu_s", "wall_s", "peak_memory_mb"];

/// The verifiers of every domain, and the threads that run them.
pub struct Judge {
    /// `None` while it is dropped, and where it is [`Judge::absent`].
    runtime: Option<Runtime>,
    permits: Arc<Semaphore>,
    threads: usize,
    /// Groups that got errors and whose verifiers still hold a thread.
    stuck: Arc<AtomicUsize>,
    /// Judging one group may take this long, the wait for its turn not included.
    deadline: Duration,
    domains: BTreeMap<String, Arc<Panel>>,
}

/// What the verifiers of a domain said of each item: by item, then by verifier in the recipe's order.
pub type Verdicts = Vec<compose::Verdicts>;

/// The run has no watchdog yet when its verifiers start; a plugin may load a model.
const SLOW_START: Duration = Duration::from_secs(20);

/// Does the work, and says who is waited for once that takes long.
fn named_if_slow<T: Send>(label: &str, work: impl FnOnce() -> T) -> T {
    let (done, wait) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if wait.recv_timeout(SLOW_START) == Err(RecvTimeoutError::Timeout) {
                say!("waiting: the verifier `{label}` has not started after {} s", SLOW_START.as_secs());
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Verdicts on their way.
pub struct Pending {
    handle: JoinHandle<Verdicts>,
}

impl Judge {
    /// Builds the verifiers of the recipe's domains.
    ///
    /// # Errors
    /// [`Code::Verifier`] or [`Code::Usage`] where one cannot be built.
    pub fn new(recipe: &Recipe) -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            // As many may be stuck, and none of those waits for a thread that is.
            .max_blocking_threads(2 * threads)
            .enable_time()
            .build()
            .or_fail(Code::Internal)?;
        let build = |entry: &VerifierEntry| -> Result<(Worth, Box<dyn Verifier>), Failure> {
            let built = named_if_slow(&entry.worth().label, || build_verifier(entry.name, &entry.settings))?;
            Ok((entry.worth(), built))
        };
        let mut domains = BTreeMap::new();
        for (name, domain) in &recipe.domains {
            let members = domain.verifiers.iter().map(build).collect::<Result<_, _>>()?;
            domains.insert(name.clone(), Arc::new(Panel::new(members)));
        }
        let deadline = Duration::from_secs_f64(recipe.run.verdict_deadline_s);
        let (permits, stuck) = (Arc::new(Semaphore::new(threads)), Arc::new(AtomicUsize::new(0)));
        Ok(Self { runtime: Some(runtime), permits, threads, stuck, deadline, domains })
    }

    /// The judge of a run that is only looked at: it has no verifiers and is sent nothing.
    pub fn absent() -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let (stuck, domains) = (Arc::new(AtomicUsize::new(0)), BTreeMap::new());
        Self { runtime: None, permits, threads: 0, stuck, deadline: Duration::ZERO, domains }
    }

    /// Sends items of one domain to its verifiers.
    pub fn send(&self, domain: &str, items: Vec<Item>) -> Pending {
        let panel = Arc::clone(&self.domains[domain]);
        let (permits, stuck) = (Arc::clone(&self.permits), Arc::clone(&self.stuck));
        let (threads, deadline) = (self.threads, self.deadline);
        let handle = self.runtime().spawn(async move {
            let labels = panel.labels();
            let ids: Vec<String> = items.iter().map(|i| i.id.clone()).collect();
            // The wait for a permit is bounded too: those who hold one have the deadline.
            let Ok(_permit) = permits.acquire_owned().await else { return errors(&ids, &labels, "the run is ending") };
            let late = format!("no verdict within {} s", deadline.as_secs_f64());
            if stuck.load(Ordering::Relaxed) >= threads {
                return errors(
                    &ids,
                    &labels,
                    &format!("{late} for {threads} groups before it: the verifiers are stuck"),
                );
            }
            let mut work = tokio::task::spawn_blocking(move || judge(&panel, &items));
            match tokio::time::timeout(deadline, &mut work).await {
                Ok(Ok(verdicts)) => verdicts,
                Ok(Err(_)) => errors(&ids, &labels, "the verifier broke"),
                Err(_) => {
                    stuck.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        // Whatever it says now comes too late.
                        let _ = work.await;
                        stuck.fetch_sub(1, Ordering::Relaxed);
                    });
                    errors(&ids, &labels, &late)
                }
            }
        });
        Pending { handle }
    }

    /// Waits for verdicts; bounded, because [`Judge::send`] gives every task a deadline.
    ///
    /// # Errors
    /// [`Code::Internal`] if the task itself broke.
    pub fn wait(&self, pending: Pending) -> Result<Verdicts, Failure> {
        self.runtime().block_on(pending.handle).or_fail(Code::Internal)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the judge is dropped")
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // Not waiting for its threads: a verifier that never answers must not keep a run from ending.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Pending {
    /// True where [`Judge::wait`] would not wait.
    pub fn is_there(&self) -> bool {
        self.handle.is_finished()
    }
}

fn judge(panel: &Panel, items: &[Item]) -> Verdicts {
    let mut by_item = panel.judge(items);
    for (_, verdict) in by_item.iter_mut().flatten() {
        verdict.metrics.retain(|name, _| !VOLATILE_METRICS.contains(&name.as_str()));
    }
    by_item
}

fn errors(ids: &[String], labels: &[String], reason: &str) -> Verdicts {
    let of_item = |id: &String| labels.iter().map(|label| (label.clone(), Verdict::error(id, reason))).collect();
    ids.iter().map(of_item).collect()
}
