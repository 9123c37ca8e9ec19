//! Every wait has an owner and a deadline (INV-9). Most waits end by themselves: verifiers answer, or get errors for verdicts. Where one
//! does not, the watchdog says who waits for what, writes it down with what happened last, and ends the run: `temper resume` goes on from
//! the last checkpoint.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exit::{Code, Failure};

/// Events that a dump shows.
const EVENTS: usize = 64;

/// The file that a stalled run leaves in its folder.
pub const DUMP: &str = "stalled.json";

/// Watches the waits of a run.
pub struct Watchdog {
    shared: Arc<Shared>,
    limit: Duration,
}

struct Shared {
    root: PathBuf,
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    waits: BTreeMap<u64, Wait>,
    queues: BTreeMap<&'static str, usize>,
    events: VecDeque<(Duration, String)>,
    ended: bool,
}

struct Wait {
    owner: &'static str,
    what: String,
    since: Instant,
    deadline: Instant,
}

/// A wait that goes on until it is dropped.
pub struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().waits.remove(&self.id);
    }
}

impl Watchdog {
    /// Watches over the run in `root`, whose waits may take up to `limit`.
    pub fn new(root: &Path, limit: Duration) -> Self {
        let watchdog = Self::asleep(root, limit);
        let watched = Arc::clone(&watchdog.shared);
        std::thread::spawn(move || watched.watch());
        watchdog
    }

    /// One that ends nothing and writes nothing, for a run that is only looked at.
    pub fn asleep(root: &Path, limit: Duration) -> Self {
        let state = Mutex::new(State::default());
        let shared = Shared { root: root.to_owned(), began: Instant::now(), state, changed: Condvar::new() };
        Self { shared: Arc::new(shared), limit }
    }

    /// `owner` waits for `what` from now on, until the guard is dropped.
    pub fn wait(&self, owner: &'static str, what: impl FnOnce() -> String) -> Waiting<'_> {
        let mut state = self.shared.lock();
        let (id, since) = (state.next, Instant::now());
        state.next += 1;
        let alone = state.waits.is_empty();
        state.waits.insert(id, Wait { owner, what: what(), since, deadline: since + self.limit });
        drop(state);
        // Limits are equal, so one that began later never ends the run first.
        if alone {
            self.shared.changed.notify_one();
        }
        Waiting { shared: &self.shared, id }
    }

    /// Something happened that a dump should show.
    pub fn event(&self, what: impl Into<String>) {
        let mut state = self.shared.lock();
        if state.events.len() == EVENTS {
            state.events.pop_front();
        }
        state.events.push_back((self.shared.began.elapsed(), what.into()));
    }

    /// How long a queue is now.
    pub fn queue(&self, name: &'static str, length: usize) {
        self.shared.lock().queues.insert(name, length);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking thread left is whole: every change is one insertion or removal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until the earliest deadline. Only a wait that is still there then has passed it.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.ended {
            let now = Instant::now();
            let earliest = state.waits.values().min_by_key(|wait| wait.deadline);
            state = match earliest {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if wait.deadline <= now => self.stalled(wait, &state),
                Some(wait) => {
                    let left = wait.deadline - now;
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn stalled(&self, wait: &Wait, state: &State) -> ! {
        let path = self.root.join(DUMP);
        let text = format!("{:#}\n", self.dump(state));
        let written = data::atomic::write_atomic(&path, |f| f.write_all(text.as_bytes()));
        let kept = match &written {
            Ok(()) => format!("{} shows all waits and what happened last", path.display()),
            Err(error) => format!("the dump could not be written: {error}"),
        };
        let waited = wait.since.elapsed().as_secs();
        let message = format!("{} has waited {waited} s for {}", wait.owner, wait.what);
        let hint = format!("{kept}; `temper resume {}` goes on; run.stall_s is the limit", self.root.display());
        Failure::new(Code::Stalled, message).hint(hint).print();
        // SAFETY: `_exit` takes a number and does not return. `exit` would run destructors of libraries whose threads are at work.
        unsafe { libc::_exit(Code::Stalled as i32) }
    }

    fn dump(&self, state: &State) -> Value {
        let wait = |wait: &Wait| json!({ "owner": wait.owner, "for": wait.what, "seconds": wait.since.elapsed().as_secs_f64() });
        let event = |(at, what): &(Duration, String)| json!({ "at_s": at.as_secs_f64(), "what": what });
        json!({
            "elapsed_s": self.began.elapsed().as_secs_f64(),
            "waits": state.waits.values().map(wait).collect::<Vec<_>>(),
            "queues": state.queues,
            "events": state.events.iter().map(event).collect::<Vec<_>>(),
        })
    }
}
