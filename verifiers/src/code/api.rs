//! Running a program without judging it: SandboxFusion's `run_code`, and the same for one program on many inputs.
//!
//! Field names and words are those of that service, so that what calls it can call this.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{SandboxError, command::Given, limits::Limits, outcome::signal_name, settings::CodeSettings};

/// Files of a request, and inputs of a batch.
const MAX_FILES: usize = 256;
const MAX_INPUTS: usize = 10_000;
/// Time limits that a request may ask for, in seconds.
const MAX_SECONDS: f64 = 600.0;

/// A request of `POST /run_code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCode {
    /// The program.
    pub code: String,
    /// Its language: `python`, `cpp`, `c`, `nodejs`, `bash`, or one of the table.
    pub language: String,
    /// What it reads.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Seconds by the clock that its compiler may take.
    #[serde(default = "ten", deserialize_with = "seconds")]
    pub compile_timeout: f64,
    /// Seconds by the clock that it may take.
    #[serde(default = "ten", deserialize_with = "seconds")]
    pub run_timeout: f64,
    /// Its memory in MiB; the service's own limit where it is not above 0, and never more than that.
    #[serde(default = "minus_one", rename = "memory_limit_MB")]
    pub memory_limit_mb: i64,
    /// Files that lie beside it, in base64.
    #[serde(default)]
    pub files: BTreeMap<String, Option<String>>,
    /// Files that are handed back.
    #[serde(default)]
    pub fetch_files: Vec<String>,
}

/// A request of `POST /run_batch`: one program, compiled once, on every input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunBatch {
    /// The program and its limits; `stdin` is not used.
    #[serde(flatten)]
    pub program: RunCode,
    /// One run each.
    pub stdins: Vec<String>,
    /// No run after the first that does not end with exit code 0.
    #[serde(default)]
    pub stop_at_failure: bool,
}

fn ten() -> f64 {
    10.0
}

fn minus_one() -> i64 {
    -1
}

/// The word for a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Every step ended with exit code 0.
    Success,
    /// A step ended otherwise, or took too long.
    Failed,
    /// The sandbox could not run it; nothing is said of the program.
    SandboxError,
}

/// The word for one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepStatus {
    /// It ended by itself, or by a signal.
    Finished,
    /// The sandbox failed.
    Error,
    /// It took too long.
    TimeLimitExceeded,
}

/// One step: a compilation, or a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What came of it.
    pub status: StepStatus,
    /// Seconds by the clock.
    pub execution_time: Option<f64>,
    /// The exit code; minus the signal where one ended it.
    pub return_code: Option<i32>,
    /// What it wrote, up to the limit; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// The same for standard error.
    pub stderr: String,
    /// CPU seconds.
    pub cpu_time: f64,
    /// MiB.
    pub peak_memory_mb: f64,
    /// Bytes that it wrote to standard output, those that were cut included.
    pub stdout_bytes: u64,
    /// `TLE`, `MLE`, `OLE` where a limit ended it.
    pub limit: Option<String>,
}

/// The answer of `POST /run_code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCodeResult {
    /// The word for the whole.
    pub status: RunStatus,
    /// What the sandbox has to say.
    pub message: String,
    /// Absent where nothing was compiled.
    pub compile_result: Option<Step>,
    /// Absent where the compiler refused the program.
    pub run_result: Option<Step>,
    /// Always absent here.
    pub executor_pod_name: Option<String>,
    /// The fetched files, in base64.
    pub files: BTreeMap<String, String>,
}

/// The answer of `POST /run_batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunBatchResult {
    /// `Success` if every run was.
    pub status: RunStatus,
    /// What the sandbox has to say.
    pub message: String,
    /// Absent where nothing was compiled.
    pub compile_result: Option<Step>,
    /// In the order of `stdins`; shorter where a failure stopped it.
    pub run_results: Vec<Step>,
}

/// A request that makes sense: paths are plain, limits are in bounds.
#[derive(Debug)]
pub(super) struct Order {
    pub code: String,
    pub language: String,
    pub files: Vec<Given>,
    pub fetch: Vec<String>,
    pub compile: Limits,
    pub run: Limits,
}

impl RunCode {
    /// Checks a request; what is wrong with it is the caller's to hear.
    pub(super) fn order(&self, settings: &CodeSettings) -> Result<Order, String> {
        let seconds = |name: &str, value: f64| {
            let ok = value > 0.0 && value <= MAX_SECONDS;
            if ok { Ok(value) } else { Err(format!("{name} = {value} must be above 0 and at most {MAX_SECONDS}")) }
        };
        if self.files.len() + self.fetch_files.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files"));
        }
        let mut files = Vec::new();
        for (name, content) in &self.files {
            plain_path(name)?;
            let Some(content) = content else { continue };
            let bytes = STANDARD.decode(content).map_err(|e| format!("files, {name}: no base64: {e}"))?;
            files.push(Given { name: name.clone(), bytes: bytes.into(), executable: false });
        }
        self.fetch_files.iter().try_for_each(|name| plain_path(name))?;
        let memory_mb = match u64::try_from(self.memory_limit_mb) {
            Ok(mb) if mb > 0 => mb.clamp(64, settings.memory_mb.max(64)),
            _ => settings.memory_mb,
        };
        let run_s = seconds("run_timeout", self.run_timeout)?;
        let compile_s = seconds("compile_timeout", self.compile_timeout)?;
        // The service's callers think of time by the clock; CPU time is bounded by as much for one thread.
        let run =
            Limits { time_s: run_s, wall_s: run_s, memory_mb, ..Limits::new(settings) }.with_stacks_of(&self.code);
        let compile = Limits { time_s: compile_s, wall_s: compile_s, ..Limits::of_compiler(settings) };
        let (code, language) = (self.code.clone(), self.language.clone());
        Ok(Order { code, language, files, fetch: self.fetch_files.clone(), compile, run })
    }
}

/// Refuses a path that is not a plain relative one: absolute, upward, with a NUL, or a name of the sandbox's own.
pub(super) fn plain_path(path: &str) -> Result<(), String> {
    let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    let tidy = !path.is_empty() && path.len() <= 255 && !path.contains(['\0', '\\']) && !path.ends_with('/');
    if plain && tidy && !path.contains("//") && !path.contains("/./") && path != ".stdin" {
        return Ok(());
    }
    Err(format!("the path {path:?} is not a plain relative one"))
}

impl RunBatch {
    /// What is wrong with it as a batch.
    pub(super) fn fault(&self) -> Result<(), String> {
        if self.stdins.is_empty() || self.stdins.len() > MAX_INPUTS {
            return Err(format!("a batch has between 1 and {MAX_INPUTS} inputs"));
        }
        if !self.program.fetch_files.is_empty() {
            return Err("a batch fetches no files".into());
        }
        Ok(())
    }
}

impl Order {
    /// Refuses files that cannot all be there: one that is also a folder of another, and one with the name of the program's own.
    pub(super) fn fits(&self, source: &str) -> Result<(), String> {
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).chain([source]).collect();
        for (i, name) in names.iter().enumerate() {
            let clash = |(j, other): (usize, &&str)| {
                i != j && other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some((_, other)) = names.iter().enumerate().find(|(j, other)| clash((*j, other))) {
                return Err(format!("files: {name:?} and {other:?} cannot both be there ({source:?} is the program)"));
            }
        }
        Ok(())
    }
}

/// Seconds, as a number or the text of one; null is the default.
fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => Ok(ten()),
        serde_json::Value::String(text) => text.trim().parse().map_err(serde::de::Error::custom),
        other => f64::deserialize(other).map_err(serde::de::Error::custom),
    }
}

/// What came of one run: its compilation, itself, and the fetched files.
pub(super) type One = (Option<Step>, Option<Step>, BTreeMap<String, String>);

impl Step {
    fn succeeded(&self) -> bool {
        self.status == StepStatus::Finished && self.return_code == Some(0)
    }

    fn words(&self) -> String {
        match (self.limit.as_deref(), self.return_code) {
            (Some(limit), _) => format!("a limit ended it: {limit}"),
            (None, Some(code)) if code < 0 => format!("killed by {}", signal_name(-code)),
            (None, Some(code)) if code > 0 => format!("exit code {code}"),
            _ => String::new(),
        }
    }
}

impl RunCodeResult {
    pub(super) fn of(ran: Result<One, SandboxError>) -> Self {
        let (compile_result, run_result, files, status, message) = match ran {
            Err(e) => (None, None, BTreeMap::new(), RunStatus::SandboxError, e.to_string()),
            Ok((compiled, run, files)) => {
                let last = run.as_ref().or(compiled.as_ref());
                let status = match last {
                    Some(step) if step.succeeded() => RunStatus::Success,
                    _ => RunStatus::Failed,
                };
                let message = last.map(Step::words).unwrap_or_default();
                (compiled, run, files, status, message)
            }
        };
        Self { status, message, compile_result, run_result, executor_pod_name: None, files }
    }
}

impl RunBatchResult {
    pub(super) fn of(wanted: usize, ran: Result<(Option<Step>, Vec<Step>), SandboxError>) -> Self {
        match ran {
            Err(e) => Self {
                status: RunStatus::SandboxError,
                message: e.to_string(),
                compile_result: None,
                run_results: Vec::new(),
            },
            Ok((compile_result, run_results)) => {
                let passed = run_results.len() == wanted && run_results.iter().all(Step::succeeded);
                let failed = run_results.iter().find(|step| !step.succeeded()).or(compile_result.as_ref());
                Self {
                    status: if passed { RunStatus::Success } else { RunStatus::Failed },
                    message: if passed { String::new() } else { failed.map(Step::words).unwrap_or_default() },
                    compile_result,
                    run_results,
                }
            }
        }
    }
}

/// True where the sandbox failed in a way that another cell may not, and where the cells of the run are in no known state.
pub(super) fn is_lost(error: &SandboxError) -> bool {
    !matches!(error, SandboxError::Untestable(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> RunCode {
        serde_json::from_str(text).expect("a request")
    }

    #[test]
    fn requests_have_the_services_defaults() {
        let run = request(r#"{"code": "x", "language": "python"}"#);
        assert_eq!((run.run_timeout, run.compile_timeout, run.memory_limit_mb), (10.0, 10.0, -1));
        let order = run.order(&CodeSettings::default()).expect("sound");
        assert_eq!((order.run.wall_s, order.run.memory_mb), (10.0, 256));
    }

    #[test]
    fn c17_paths_that_lead_elsewhere_are_refused() {
        for path in ["a", "a/b.txt", ".hidden", "a b", "ä"] {
            assert_eq!(plain_path(path), Ok(()), "{path}");
        }
        for path in
            ["", "/a", "../a", "a/../../b", "a/..", ".", "a\0b", "a/", "a//b", "./a", ".stdin", &"x".repeat(256)]
        {
            assert!(plain_path(path).is_err(), "{path:?}");
            let mut run = request(r#"{"code": "", "language": "python"}"#);
            run.fetch_files = vec![path.to_owned()];
            assert!(run.order(&CodeSettings::default()).is_err());
        }
    }

    #[test]
    fn limits_out_of_bounds_are_refused_and_memory_is_never_more_than_the_services() {
        for bad in
            ["\"run_timeout\": 0", "\"run_timeout\": 1e9", "\"compile_timeout\": -1", "\"files\": {\"a\": \"?\"}"]
        {
            let run = request(&format!(r#"{{"code": "", "language": "c", {bad}}}"#));
            assert!(run.order(&CodeSettings::default()).is_err(), "{bad}");
        }
        let run = request(r#"{"code": "", "language": "c", "memory_limit_MB": 100000}"#);
        assert_eq!(run.order(&CodeSettings::default()).expect("sound").run.memory_mb, 256);
    }
}
