//! Every wait has an owner and a deadline (INV-9). Most waits end by themselves: verifiers answer, or get errors for verdicts. Where one
//! does not, the watchdog says who waits for what, writes it down with what happened last, and ends the run: `temper resume` goes on from
//! the last checkpoint. Long before that it names a wait that is slow, so that nobody looks at a run that stands without knowing why.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exit::{self, Code, Failure};
use crate::say;

/// Events that a dump shows.
const EVENTS: usize = 64;

/// A wait of this length is spoken of. What is slow by its nature is spoken of less and less: each time doubles it for that owner.
const SLOW: Duration = Duration::from_secs(20);

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
    /// How long a wait of an owner is before it is slow, where that is no longer [`SLOW`].
    patience: BTreeMap<&'static str, Duration>,
    ended: bool,
}

struct Wait {
    owner: &'static str,
    what: String,
    since: Instant,
    deadline: Instant,
    /// When it is slow; nothing once that was said.
    slow: Option<Instant>,
}

/// What the watchdog is to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing is waited for.
    Sleep,
    SleepFor(Duration),
    /// The words are for the user.
    Say(String),
    /// The wait of this number has passed its deadline.
    End(u64),
}

impl State {
    fn patience(&self, owner: &str) -> Duration {
        self.patience.get(owner).copied().unwrap_or(SLOW)
    }

    /// A wait begins; its number.
    fn begin(&mut self, owner: &'static str, what: String, since: Instant, limit: Duration) -> u64 {
        let (id, slow) = (self.next, Some(since + self.patience(owner)));
        self.next += 1;
        self.waits.insert(id, Wait { owner, what, since, deadline: since + limit, slow });
        id
    }

    fn next(&mut self, now: Instant) -> Next {
        if let Some((&id, _)) = self.waits.iter().find(|(_, wait)| wait.deadline <= now) {
            return Next::End(id);
        }
        let slow = self.waits.values_mut().find(|wait| wait.slow.is_some_and(|at| at <= now));
        if let Some(wait) = slow {
            wait.slow = None;
            let (waited, limit) = (now - wait.since, wait.deadline - wait.since);
            self.patience.insert(wait.owner, 2 * waited);
            return Next::Say(format!(
                "{} has waited {} s for {}; the run ends after {} s (run.stall_s)",
                wait.owner,
                waited.as_secs(),
                wait.what,
                limit.as_secs()
            ));
        }
        let moments = self.waits.values().map(|wait| wait.slow.unwrap_or(wait.deadline).min(wait.deadline));
        moments.min().map_or(Next::Sleep, |at| Next::SleepFor(at - now))
    }
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
        let what = what();
        let id = self.shared.lock().begin(owner, what, Instant::now(), self.limit);
        self.shared.changed.notify_one();
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

    /// Sleeps until a wait is slow or has passed its deadline. Only one that is still there then is either.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.ended {
            state = match state.next(Instant::now()) {
                Next::Sleep => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::SleepFor(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Say(words) => {
                    // On a terminal, a line of progress stands where the words go; it is drawn again at its next step.
                    let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
                    say!("{clear}{words}");
                    state
                }
                Next::End(id) => self.stalled(&state.waits[&id], &state),
            };
        }
    }

    fn stalled(&self, wait: &Wait, state: &State) -> ! {
        let waited = wait.since.elapsed().as_secs();
        let path = self.root.join(DUMP);
        let text = format!("{:#}\n", self.dump(state));
        let written = data::atomic::write_atomic(&path, |f| f.write_all(text.as_bytes()));
        let kept = match &written {
            Ok(()) => format!("{} shows all waits and what happened last", path.display()),
            Err(error) => format!("the dump could not be written: {error}"),
        };
        let message = format!("{} has waited {waited} s for {}", wait.owner, wait.what);
        let hint = format!("{kept}; `temper resume {}` goes on; run.stall_s is the limit", self.root.display());
        Failure::new(Code::Stalled, message).hint(hint).print();
        exit::at_once(Code::Stalled)
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1800);

    fn begin(state: &mut State, owner: &'static str, since: Instant) -> u64 {
        state.begin(owner, "verdicts".to_owned(), since, LIMIT)
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn inv_9_a_slow_wait_is_named_once_and_the_next_of_its_owner_later() {
        let (mut state, start) = (State::default(), Instant::now());
        assert_eq!(state.next(start), Next::Sleep);
        begin(&mut state, "the sampler", start);
        assert_eq!(state.next(start), Next::SleepFor(SLOW));
        let words = "the sampler has waited 20 s for verdicts; the run ends after 1800 s (run.stall_s)";
        assert_eq!(state.next(start + SLOW), Next::Say(words.to_owned()));
        assert_eq!(state.next(start + SLOW), Next::SleepFor(LIMIT - SLOW));
        state.waits.clear();

        begin(&mut state, "the sampler", start);
        begin(&mut state, "the learner", start);
        assert_eq!(state.next(start + seconds(5)), Next::SleepFor(seconds(15)));
        assert!(matches!(state.next(start + SLOW), Next::Say(words) if words.starts_with("the learner")));
        assert_eq!(state.next(start + SLOW), Next::SleepFor(SLOW));
        assert!(
            matches!(state.next(start + 2 * SLOW), Next::Say(words) if words.starts_with("the sampler has waited 40 s"))
        );
    }

    #[test]
    fn inv_9_a_wait_past_its_deadline_ends_the_run() {
        let (mut state, start) = (State::default(), Instant::now());
        let id = begin(&mut state, "the stage", start);
        assert_eq!(state.next(start + LIMIT), Next::End(id));
    }
}
