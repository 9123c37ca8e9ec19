//! Plugins as child processes: a set of workers, each restarted when it breaks.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data::Item;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::confine::Confinement;
use super::process::{Broken, Process};
use super::protocol::{Ask, Hello, Score, VERSION, read_hello, read_scores};

/// The wait before a plugin that could not be started is tried again; it doubles with each failure.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The longest such wait.
const MAX_BACK_OFF: Duration = Duration::from_secs(10);

/// What a worker needs to be started anew.
pub struct StdioSettings {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// What the plugin is told in its hello.
    pub settings: Map<String, Value>,
    /// Children at the same time.
    pub workers: usize,
    /// Time to answer the hello.
    pub start_timeout: Duration,
    /// What its processes get and may take.
    pub confinement: Confinement,
    /// Longest answer.
    pub answer_bytes: usize,
}

/// Requests of a process whose late or double answers are passed over.
const REMEMBERED: usize = 64;

/// A worker that no one is using.
#[derive(Default)]
struct Slot {
    process: Option<Process>,
    /// The requests that the process was asked last.
    asked: VecDeque<u64>,
    failed_starts: u32,
    not_before: Option<Instant>,
}

/// A set of children of one plugin.
pub struct StdioPlugin {
    settings: StdioSettings,
    hello: Hello,
    idle: Mutex<Vec<Slot>>,
    returned: Condvar,
    next_id: AtomicU64,
}

impl StdioPlugin {
    /// Starts the first worker; the others start when they are needed.
    ///
    /// # Errors
    /// [`Broken`] where it cannot be started or does not answer the hello.
    pub fn new(settings: StdioSettings) -> Result<Self, Broken> {
        let (process, hello) = start(&settings)?;
        let mut idle: Vec<Slot> = (1..settings.workers).map(|_| Slot::default()).collect();
        // The last is taken first.
        idle.push(Slot { process: Some(process), ..Slot::default() });
        Ok(Self { settings, hello, idle: Mutex::new(idle), returned: Condvar::new(), next_id: AtomicU64::new(1) })
    }

    /// What the plugin says of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Scores `items` in one request that takes at most `timeout`, a restart not counted.
    ///
    /// # Errors
    /// [`Broken`]; the worker was then killed and is started anew for the next request, unless it answered that it cannot.
    pub fn score(&self, items: &[&Item], timeout: Duration) -> Result<Vec<Score>, Broken> {
        let mut slot = self.take(timeout)?;
        let outcome = self.score_with(&mut slot, items, timeout);
        if outcome.as_ref().is_err_and(|broken| !matches!(broken, Broken::Refused { .. }))
            && let Some(mut process) = slot.process.take()
        {
            process.kill();
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        self.returned.notify_one();
        outcome
    }

    fn take(&self, timeout: Duration) -> Result<Slot, Broken> {
        let deadline = Instant::now() + timeout + self.settings.start_timeout;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(slot) = idle.pop() {
                return Ok(slot);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = (timeout + self.settings.start_timeout).as_secs_f64();
                return Err(Broken::Timeout { seconds, stderr: "; every worker is busy".into() });
            }
            idle = self.returned.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn score_with(&self, slot: &mut Slot, items: &[&Item], timeout: Duration) -> Result<Vec<Score>, Broken> {
        self.running(slot)?;
        let Slot { process: Some(process), asked, .. } = slot else { unreachable!("started above") };
        let id = self.next_id.fetch_add(unforeseen_step(), Ordering::Relaxed);
        let ask = Ask::score(id, items, timeout);
        let (start, line) = (Instant::now(), serde_json::to_vec(&ask).expect("items are JSON"));
        let mut answer = process.ask(line, start + timeout)?;
        while asked_before(&answer, asked) {
            answer = process.hear(start, start + timeout)?;
        }
        asked.push_back(id);
        asked.drain(..asked.len().saturating_sub(REMEMBERED));
        read_scores(&answer, id, items.len()).map_err(Broken::from)
    }

    fn running(&self, slot: &mut Slot) -> Result<(), Broken> {
        if slot.process.is_none() {
            if let Some(wait) = slot.not_before.and_then(|at| at.checked_duration_since(Instant::now())) {
                std::thread::sleep(wait);
            }
            match start(&self.settings) {
                Ok((process, _)) => {
                    *slot = Slot { process: Some(process), ..Slot::default() };
                }
                Err(broken) => {
                    let wait = BACK_OFF.saturating_mul(1 << slot.failed_starts.min(10)).min(MAX_BACK_OFF);
                    slot.failed_starts += 1;
                    slot.not_before = Some(Instant::now() + wait);
                    return Err(broken);
                }
            }
        }
        Ok(())
    }
}

/// How far the number of the next request is from the last: a plugin that answers what it has not been asked yet guesses wrong.
fn unforeseen_step() -> u64 {
    1 + RandomState::new().hash_one(0) % (1 << 20)
}

/// Whether a line answers one of these requests. It was answered already, or was given up.
fn asked_before(line: &[u8], asked: &VecDeque<u64>) -> bool {
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    !asked.is_empty() && serde_json::from_slice(line).is_ok_and(|Numbered { id }| asked.contains(&id))
}

fn start(settings: &StdioSettings) -> Result<(Process, Hello), Broken> {
    let deadline = Instant::now() + settings.start_timeout;
    let mut process = Process::start(&settings.command, &settings.confinement, settings.answer_bytes)?;
    let ask = Ask::Hello { v: VERSION, settings: &settings.settings };
    let answer = process.ask(serde_json::to_vec(&ask).expect("settings are JSON"), deadline);
    let hello = answer.and_then(|line| read_hello(&line).map_err(|nonsense| Broken::Nonsense(nonsense.0)));
    match hello {
        Ok(hello) => Ok((process, hello)),
        Err(broken) => {
            process.kill();
            Err(match broken {
                // What it had is the setting; the process's own start took some of it, each time another part.
                Broken::Timeout { stderr, .. } => {
                    Broken::Timeout { seconds: settings.start_timeout.as_secs_f64(), stderr }
                }
                other => other,
            })
        }
    }
}
