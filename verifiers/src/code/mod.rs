//! The code sandbox: runs the model's Python program on tests and says whether it passes.
//!
//! ```text
//! verify ── queue ──> worker (thread) ── commands ──> zygote (warm python3, init of the cell's pid namespace)
//!    ^                  │      ^                         │ fork, once a program
//!    └──── outcomes ────┘      └── inputs, results ──> child (own pid namespace, no rights) ── runs the program
//! ```
//!
//! The child holds one test's input and nothing else. What is expected, the comparison and the clock stay here, or, where a test is code,
//! in a child that the program never enters; values cross as
//! exact-typed data; a result that is missing is a failure whatever the exit code. What goes wrong in the sandbox itself is an error
//! and never a reward (INV-9).

mod api;
mod asserts;
mod calls;
mod cell;
mod cgroup;
mod child;
mod clock;
mod command;
mod compare;
mod compile;
mod examiner;
mod exercise;
mod extract;
mod files;
mod filter;
mod isolation;
mod json;
mod judge;
mod languages;
mod limits;
mod outcome;
mod pyliteral;
mod python;
mod run;
mod sandbox;
mod serve;
mod settings;
mod setup;
mod shop;
mod stdio;
mod tests_spec;
mod value;
mod waits;
mod watch;
mod workers;
mod zygote;

use std::{collections::HashMap, sync::Arc};

use data::{Item, Verdict};

pub use api::{RunBatch, RunBatchResult, RunCode, RunCodeResult, RunStatus, Step, StepStatus};
pub use cgroup::Version as CgroupVersion;
pub use exercise::exercise;
pub use isolation::Isolation;
pub use languages::Language;
pub use sandbox::Sandbox;
pub use serve::{ServeError, ServeSettings, router, serve, serve_on};
pub use settings::{CodeSettings, Unwrap};

use limits::{Limits, of_item};
use outcome::{Outcome, Word, signal_name};
use tests_spec::{Input, Spec};
use workers::Job;

use crate::Verifier;

/// Why there is no sandbox, or no longer one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SandboxError {
    /// A setting makes no sense.
    #[error("{0}")]
    Settings(String),
    /// No usable interpreter.
    #[error(
        "the code verifier needs Python 3.8 or later, and `{python}` is none: {why}; install python3, or set code.python"
    )]
    NoPython {
        /// What was tried.
        python: String,
        /// What came of it.
        why: String,
    },
    /// The system-call filter or the ruleset could not be made.
    #[error("the sandbox's filter could not be made: {0}")]
    Filter(String),
    /// A cell could not be launched.
    #[error("a sandbox cell could not be launched: {step}: {why}")]
    Launch {
        /// What was being done.
        step: &'static str,
        /// The error.
        why: String,
    },
    /// `strict` is set, and a layer is missing.
    #[error(
        "code.strict is set, but the isolation here is {0}; allow user namespaces, Landlock and a cgroup with memory and pids that can be written, or set code.strict = false"
    )]
    NotStrict(String),
    /// The item's own tests, checker or language cannot be run here.
    #[error("{0}")]
    Untestable(String),
    /// The machine kept a program waiting, so that nobody can say whether it is fast enough.
    #[error("the machine was too busy to run the program: it waited {waited_s:.1} s for a processor")]
    Busy {
        /// How long its processes waited.
        waited_s: f64,
    },
    /// A cell that had been launched failed.
    #[error("the sandbox failed: {0}")]
    Lost(String),
}

/// Judges programs. One verifier may be used from several threads; its cells are shared.
#[derive(Debug, Clone)]
pub struct CodeVerifier {
    sandbox: Sandbox,
}

impl CodeVerifier {
    /// Starts the cells.
    ///
    /// # Errors
    /// A setting makes no sense, there is no usable Python, no cell can be launched, or `strict` is set and a layer is missing.
    pub fn new(settings: CodeSettings) -> Result<Self, SandboxError> {
        Ok(Self { sandbox: Sandbox::new(settings)? })
    }

    /// Judges in the cells of a sandbox that has been started.
    pub fn on(sandbox: Sandbox) -> Self {
        Self { sandbox }
    }

    /// The layers in force.
    pub fn isolation(&self) -> &Isolation {
        self.sandbox.isolation()
    }

    /// What is to be run for an item, or the verdict that needs no run.
    fn prepare(&self, item: &Item) -> Result<Job, Box<Verdict>> {
        let error = |why: String| Box::new(Verdict::error(&item.id, why));
        let settings = of_item(self.sandbox.shared_settings(), &item.extra_info).map_err(error)?;
        let word = &settings.language;
        let spec = Spec::parse(&item.ground_truth, &settings).map_err(error)?;
        let limits = Limits::new(&settings).with_room_for(spec.largest_output());
        let limits =
            limits.ok_or_else(|| error("ground_truth expects more output than any program may print".into()))?;
        let languages = self.sandbox.languages();
        let Some((name, language)) = languages.find(word) else {
            return Err(error(format!("unknown language `{word}`; there are {}", languages.names())));
        };
        let named = |fence: &str| fence == name || language.fences.iter().any(|f| f == fence);
        let Some(code) = extract::program(&item.completion, named, settings.bare) else {
            let verdict = Verdict::fail(&item.id, format!("the completion holds no fenced block of {name}"));
            let total = spec.tests.len() as f64;
            return Err(Box::new(
                verdict.tag("verdict", "CE").metric("tests_passed", 0.0).metric("tests_total", total),
            ));
        };
        let (code, language) = (code.into_owned(), name.to_owned());
        let limits = limits.with_stacks_of(&code);
        Ok(Job { code, language, spec, limits, settings })
    }

    fn verdict(&self, id: &str, job: &Job, outcome: &Result<Outcome, SandboxError>) -> Verdict {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(e) => return Verdict::error(id, e.to_string()),
        };
        let total = job.spec.tests.len();
        let mut verdict = if outcome.word == Word::Accepted {
            Verdict::pass(id, &outcome.reason)
        } else {
            Verdict::fail(id, &outcome.reason)
        };
        if job.settings.partial {
            verdict.reward = Some(outcome.passed as f64 / total as f64);
        }
        if let Some(signal) = outcome.signal {
            verdict = verdict.tag("signal", signal_name(signal));
        }
        if job.spec.tests.iter().any(|test| matches!(test.input, Input::Statement(_))) {
            verdict = verdict.tag("asserts", "raw");
        }
        verdict
            .tag("verdict", outcome.word.tag())
            .metric("tests_passed", outcome.passed as f64)
            .metric("tests_total", total as f64)
            .metric("cpu_s", outcome.cpu_s)
            .metric("wall_s", outcome.wall_s)
            .metric("peak_memory_mb", outcome.peak_memory_mb)
            .metric("output_bytes", outcome.output_bytes as f64)
    }
}

/// Items of the same key get the same outcome.
fn key(item: &Item) -> (&str, String, String) {
    (&item.completion, item.ground_truth.to_string(), item.extra_info["code"].to_string())
}

impl Verifier for CodeVerifier {
    fn name(&self) -> &'static str {
        "code"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        // The samples of a group often hold the same program; each distinct (program, tests, limits) runs once.
        let mut known: HashMap<(&str, String, String), usize> = HashMap::new();
        let mut jobs: Vec<Arc<Job>> = Vec::new();
        let mut number = |item, key| -> Result<usize, Box<Verdict>> {
            if let Some(number) = known.get(&key) {
                return Ok(*number);
            }
            jobs.push(Arc::new(self.prepare(item)?));
            known.insert(key, jobs.len() - 1);
            Ok(jobs.len() - 1)
        };
        let prepared: Vec<_> = items.iter().map(|item| number(item, key(item))).collect();
        let outcomes = self.sandbox.judge(&jobs);
        let verdict = |(item, prepared): (&Item, Result<usize, Box<Verdict>>)| match prepared {
            Ok(i) => self.verdict(&item.id, &jobs[i], &outcomes[i]),
            Err(verdict) => *verdict,
        };
        items.iter().zip(prepared).map(verdict).collect()
    }
}
