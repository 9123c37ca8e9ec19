//! Verifiers that others write: a child process, a service, or a Python function as it is.
//!
//! A plugin may hang, die, flood or talk nonsense: it is then killed and started anew, and the items it was asked about get
//! errors, never rewards (INV-9). Where a request held several items, each is asked about again alone, so that one item
//! that breaks a plugin does not take its neighbours with it; what shares a request is said by [`Together`].

mod confine;
mod process;
pub mod protocol;
mod python;
mod remote;
pub mod serve;
mod settings;
mod stdio;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use data::{Item, Verdict};

use crate::{Together, Verifier};
use confine::Confinement;
pub use process::Broken;
use protocol::{Hello, Score, failed, group_of};
pub use python::Style;
pub use remote::Contract;
use remote::RemotePlugin;
pub use settings::{Carrier, PluginSettings, PluginSettingsError};
use stdio::{StdioPlugin, StdioSettings};

enum Carried {
    Stdio(StdioPlugin),
    Remote(RemotePlugin),
}

/// A verifier that asks a plugin.
pub struct PluginVerifier {
    settings: PluginSettings,
    carried: Carried,
}

/// Why there is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Its settings make no sense.
    #[error(transparent)]
    Settings(#[from] PluginSettingsError),
    /// It cannot be started.
    #[error("plugin {what}: {broken}")]
    Broken {
        /// Its command or address.
        what: String,
        /// What happened.
        broken: Broken,
    },
}

impl PluginVerifier {
    /// Starts the plugin and waits for its hello.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn new(settings: PluginSettings) -> Result<Self, PluginError> {
        let carrier = settings.carrier()?;
        let start_timeout = Duration::from_secs_f64(settings.start_timeout_s);
        let answer_bytes = settings.answer_mb << 20;
        let broken = |what: &str| {
            let what = what.to_owned();
            |broken| PluginError::Broken { what, broken }
        };
        let carried = match carrier {
            Carrier::Command(command) => {
                let what = settings.what();
                let stdio = StdioSettings {
                    command,
                    settings: settings.settings.clone(),
                    workers: settings.workers,
                    start_timeout,
                    confinement: Confinement {
                        environment: settings.environment.clone(),
                        memory_mb: settings.memory_mb,
                    },
                    answer_bytes,
                };
                Carried::Stdio(StdioPlugin::new(stdio).map_err(broken(&what))?)
            }
            Carrier::Url(url) => {
                let (contract, own) = (settings.contract, settings.settings.clone());
                let remote = RemotePlugin::new(url.clone(), contract, &own, start_timeout, answer_bytes);
                Carried::Remote(remote.map_err(broken(&url))?)
            }
        };
        Ok(Self { settings, carried })
    }

    /// What the plugin says of itself.
    pub fn hello(&self) -> &Hello {
        match &self.carried {
            Carried::Stdio(plugin) => plugin.hello(),
            Carried::Remote(plugin) => plugin.hello(),
        }
    }

    fn ask(&self, items: &[&Item], timeout: Duration) -> Result<Vec<Score>, Broken> {
        match &self.carried {
            Carried::Stdio(plugin) => plugin.score(items, timeout),
            Carried::Remote(plugin) => plugin.score(items, timeout),
        }
    }

    /// One batch's verdicts, in order. Where a request with several items fails, each is asked about alone.
    fn batch(&self, items: &[&Item]) -> Vec<Verdict> {
        let timeout = Duration::from_secs_f64(self.settings.timeout_s);
        match self.ask(items, timeout) {
            Ok(scores) => self.verdicts(items, scores),
            Err(broken) if items.len() == 1 || self.wants_groups() || is_absent(&broken) => self.errors(items, &broken),
            Err(_) => self.one_by_one(items, timeout),
        }
    }

    /// Asks about every item alone, and about those that did not fail together once more: what an item gets may depend on those beside
    /// it, and where some of them fail it is what it would have got without them.
    fn one_by_one(&self, items: &[&Item], timeout: Duration) -> Vec<Verdict> {
        let alone = self.alone(items, timeout);
        let rest: Vec<usize> = (0..items.len()).filter(|&i| alone[i].1).collect();
        let mut verdicts: Vec<Verdict> = alone.into_iter().map(|(verdict, _)| verdict).collect();
        if (2..items.len()).contains(&rest.len()) {
            let beside: Vec<&Item> = rest.iter().map(|&i| items[i]).collect();
            // Where they fail together again, it is no single item's fault, and what each got alone stands.
            if let Ok(scores) = self.ask(&beside, timeout) {
                for (i, verdict) in rest.into_iter().zip(self.verdicts(&beside, scores)) {
                    verdicts[i] = verdict;
                }
            }
        }
        verdicts
    }

    /// Verdicts of requests with one item each, and whether the request was answered, until it is plain that the plugin breaks whatever
    /// it is asked, or too much time went.
    fn alone(&self, items: &[&Item], timeout: Duration) -> Vec<(Verdict, bool)> {
        let (mut verdicts, mut scored, mut failures, mut timeouts) = (Vec::with_capacity(items.len()), 0, 0, 0);
        for (i, item) in items.iter().enumerate() {
            match self.ask(&[*item], timeout) {
                Ok(scores) => {
                    scored += 1;
                    verdicts.extend(self.verdicts(&[*item], scores).into_iter().map(|verdict| (verdict, true)));
                }
                Err(broken) => {
                    // An exception costs nothing, so there is nothing to be saved.
                    failures += u32::from(!matches!(broken, Broken::Refused { .. }));
                    timeouts += u32::from(matches!(broken, Broken::Timeout { .. }));
                    let given_up = (scored == 0 && failures >= MAX_FAILURES) || timeouts >= MAX_TIMEOUTS;
                    let failed = if given_up || is_absent(&broken) { &items[i..] } else { &items[i..=i] };
                    verdicts.extend(self.errors(failed, &broken).into_iter().map(|verdict| (verdict, false)));
                    if verdicts.len() == items.len() {
                        break;
                    }
                }
            }
        }
        verdicts
    }

    fn verdicts(&self, items: &[&Item], scores: Vec<Score>) -> Vec<Verdict> {
        let verdict = |(item, score): (&&Item, Score)| score.into_verdict(&item.id, self.settings.threshold);
        items.iter().zip(scores).map(verdict).collect()
    }

    fn errors(&self, items: &[&Item], broken: &Broken) -> Vec<Verdict> {
        let message = match broken {
            Broken::Refused { message, .. } => message.clone(),
            _ => format!("plugin {}: {broken}", self.settings.what()),
        };
        items.iter().map(|item| failed(&item.id, broken.kind(), &message)).collect()
    }

    /// Items in requests: as many as a batch may have, or all samples of one prompt where the plugin wants groups.
    fn batches<'a>(&self, items: &'a [Item]) -> Vec<Vec<&'a Item>> {
        if self.wants_groups() {
            return items
                .chunk_by(|a, b| group_of(&a.id) == group_of(&b.id))
                .map(|group| group.iter().collect())
                .collect();
        }
        items.chunks(self.batch_size()).map(|batch| batch.iter().collect()).collect()
    }

    fn wants_groups(&self) -> bool {
        self.hello().group || self.settings.group
    }

    fn batch_size(&self) -> usize {
        if self.hello().batch { self.settings.batch } else { 1 }
    }

    fn lanes(&self) -> usize {
        match &self.carried {
            Carried::Stdio(_) => self.settings.workers,
            Carried::Remote(plugin) => self.settings.workers.min(plugin.hello().max_inflight),
        }
    }
}

/// Failures one after another, with nothing scored between or before, after which the rest of a batch is given up.
const MAX_FAILURES: u32 = 8;

/// Time-outs after which the rest of a batch is given up, since each costs its whole time.
const MAX_TIMEOUTS: u32 = 8;

/// True for a plugin that is not there: it is not what it was asked that broke it.
fn is_absent(broken: &Broken) -> bool {
    matches!(broken, Broken::Start { .. } | Broken::Upstream(_))
}

impl Verifier for PluginVerifier {
    fn name(&self) -> &'static str {
        "plugin"
    }

    fn together(&self) -> Together {
        match self.batch_size() {
            _ if self.wants_groups() => Together::Groups,
            1 => Together::Alone,
            size => Together::Batches(size),
        }
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        let batches = self.batches(items);
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Vec<Verdict>)>> = Mutex::new(Vec::new());
        let work = || {
            while let Some((i, batch)) = {
                let i = next.fetch_add(1, Ordering::Relaxed);
                batches.get(i).map(|batch| (i, batch))
            } {
                let verdicts = self.batch(batch);
                done.lock().expect("no holder panics").push((i, verdicts));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.lanes().min(batches.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut done = done.into_inner().expect("no holder panics");
        done.sort_by_key(|(i, _)| *i);
        done.into_iter().flat_map(|(_, verdicts)| verdicts).collect()
    }
}

#[cfg(test)]
mod python_tests;
#[cfg(test)]
mod tests;
