//! Judging completions beside sampling: each finished group goes to the verifiers of its domain on other threads.
//!
//! At most as many groups as cores are judged at once; a group that has no verdict by the deadline gets errors instead, so nothing waits
//! for a verifier forever and a stuck verifier never becomes a reward (INV-9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data::{Item, Verdict};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use verifiers::Verifier;
use verifiers::compose::{self, Panel, Worth};

use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Recipe, VerifierEntry};
use crate::verifiers_by_name::build_verifier;

/// Judging one group may take this long, the wait for its turn not included. The verifiers' own limits are below it.
const DEADLINE: Duration = Duration::from_secs(120);

/// Metrics of a verdict that the machine's mood decides. They stay out of the run log, which is then the same bytes for every run of a
/// recipe; `temper verify` shows them.
const VOLATILE_METRICS: [&str; 3] = ["cpu_s", "wall_s", "peak_memory_mb"];

/// The verifiers of every domain, and the threads that run them.
pub struct Judge {
    runtime: Runtime,
    permits: Arc<Semaphore>,
    domains: BTreeMap<String, Arc<Panel>>,
}

/// What the verifiers of a domain said of each item: by item, then by verifier in the recipe's order.
pub type Verdicts = Vec<compose::Verdicts>;

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
            .max_blocking_threads(threads)
            .enable_time()
            .build()
            .or_fail(Code::Internal)?;
        let build = |entry: &VerifierEntry| -> Result<(Worth, Box<dyn Verifier>), Failure> {
            Ok((entry.worth(), build_verifier(entry.name, &entry.settings)?))
        };
        let mut domains = BTreeMap::new();
        for (name, domain) in &recipe.domains {
            let members = domain.verifiers.iter().map(build).collect::<Result<_, _>>()?;
            domains.insert(name.clone(), Arc::new(Panel::new(members)));
        }
        Ok(Self { runtime, permits: Arc::new(Semaphore::new(threads)), domains })
    }

    /// Sends items of one domain to its verifiers.
    pub fn send(&self, domain: &str, items: Vec<Item>) -> Pending {
        let panel = Arc::clone(&self.domains[domain]);
        let permits = Arc::clone(&self.permits);
        let handle = self.runtime.spawn(async move {
            let labels = panel.labels();
            let ids: Vec<String> = items.iter().map(|i| i.id.clone()).collect();
            // The wait for a permit is bounded too: those who hold one have the deadline.
            let Ok(_permit) = permits.acquire_owned().await else { return errors(&ids, &labels, "the run is ending") };
            let work = tokio::task::spawn_blocking(move || judge(&panel, &items));
            match tokio::time::timeout(DEADLINE, work).await {
                Ok(Ok(verdicts)) => verdicts,
                Ok(Err(_)) => errors(&ids, &labels, "the verifier broke"),
                Err(_) => errors(&ids, &labels, &format!("no verdict within {} s", DEADLINE.as_secs())),
            }
        });
        Pending { handle }
    }

    /// Waits for verdicts; bounded, because [`Judge::send`] gives every task a deadline.
    ///
    /// # Errors
    /// [`Code::Internal`] if the task itself broke.
    pub fn wait(&self, pending: Pending) -> Result<Verdicts, Failure> {
        self.runtime.block_on(pending.handle).or_fail(Code::Internal)
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
