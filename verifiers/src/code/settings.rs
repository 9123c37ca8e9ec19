//! What a recipe may set of the code verifier.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of [`super::CodeVerifier`]. Every field has a default; an unknown field is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodeSettings {
    /// The interpreter: a name that is looked up in `PATH`, or a path.
    pub python: PathBuf,
    /// Cells, each with a warm interpreter; 0 means one for each core.
    pub workers: usize,
    /// Refuse to start with less than the full isolation.
    pub strict: bool,
    /// The user id of programs when Temper runs as root. It should own nothing.
    pub uid: u32,

    /// CPU seconds that a test may take. The load of the program counts towards the first test.
    pub time_limit_s: f64,
    /// Seconds by the clock that a test may take, for programs that wait or share their core.
    pub wall_limit_s: f64,
    /// Address space of a process in MiB, the interpreter's own (about 30 MiB) included.
    pub memory_mb: u64,
    /// Processes and threads that a program may have, its first one included.
    pub processes: u64,
    /// KiB that a program may print, return as one value, or write to one file.
    pub output_kb: u64,
    /// MiB of the program's private scratch directory, which is its working directory.
    pub scratch_mb: u32,
    /// Tests that are run at most; an item with more is an error.
    pub max_tests: usize,

    /// Take the whole completion as the program when it holds no fenced block.
    pub bare: bool,
    /// The reward is the share of tests that pass, and all of them are run. Otherwise the reward is 1 or 0 and the first failure ends the run.
    pub partial: bool,
    /// Absolute or relative difference up to which two floats are equal. It applies to returned values and to numbers on stdout.
    pub float_tolerance: f64,
    /// An int and a float of exactly the same value are equal, as in Python. A bool never equals a number.
    pub int_equals_float: bool,
    /// NaN equals NaN.
    pub nan_equals_nan: bool,
    /// An expected output of a call `[x]` is also met by `x`, as in APPS, where outputs are wrapped in a list.
    pub unwrap_outputs: bool,
    /// Run an assert that cannot be split into an expression and an expected literal inside the child. A program can forge such a test.
    pub raw_asserts: bool,
}

impl Default for CodeSettings {
    fn default() -> Self {
        Self {
            python: "python3".into(),
            workers: 0,
            strict: false,
            uid: 59_999,
            time_limit_s: 2.0,
            wall_limit_s: 10.0,
            memory_mb: 256,
            processes: 8,
            output_kb: 1024,
            scratch_mb: 16,
            max_tests: 1000,
            bare: false,
            partial: false,
            float_tolerance: 0.0,
            int_equals_float: true,
            nan_equals_nan: false,
            unwrap_outputs: false,
            raw_asserts: false,
        }
    }
}

impl CodeSettings {
    /// The number of cells.
    pub(super) fn cells(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// The name of the first setting that makes no sense, with the reason.
    pub(super) fn fault(&self) -> Option<String> {
        let seconds = [("time_limit_s", self.time_limit_s), ("wall_limit_s", self.wall_limit_s)];
        if let Some((name, value)) = seconds.into_iter().find(|(_, v)| !(*v > 0.0 && *v <= 3600.0)) {
            return Some(format!("code.{name} = {value} must be above 0 and at most 3600"));
        }
        if self.memory_mb < 64 {
            return Some(format!(
                "code.memory_mb = {} must be at least 64: the interpreter itself needs 30",
                self.memory_mb
            ));
        }
        if self.output_kb == 0 || self.output_kb > 256 * 1024 {
            return Some(format!("code.output_kb = {} must be between 1 and 262144", self.output_kb));
        }
        if self.processes == 0 || self.scratch_mb == 0 {
            return Some("code.processes and code.scratch_mb must be at least 1".into());
        }
        if self.uid == 0 {
            return Some("code.uid = 0 would run programs as root".into());
        }
        if !(self.float_tolerance >= 0.0 && self.float_tolerance.is_finite()) {
            return Some(format!("code.float_tolerance = {} must be finite and not negative", self.float_tolerance));
        }
        None
    }
}

/// The limits of one item: the settings', unless its `extra_info.code` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub time_s: f64,
    pub wall_s: f64,
    pub memory_mb: u64,
    pub processes: u64,
    pub output_kb: u64,
}

/// `extra_info.code` of an item. It may only tighten or widen limits, never isolation or comparison.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Overrides {
    time_limit_s: Option<f64>,
    wall_limit_s: Option<f64>,
    memory_mb: Option<u64>,
    processes: Option<u64>,
    output_kb: Option<u64>,
}

impl Limits {
    /// The limits of an item, or what is wrong with its `extra_info.code`.
    pub fn of(settings: &CodeSettings, extra_info: &serde_json::Value) -> Result<Self, String> {
        let over = match extra_info.get("code") {
            None | Some(serde_json::Value::Null) => Overrides::default(),
            Some(value) => Overrides::deserialize(value).map_err(|e| format!("extra_info.code: {e}"))?,
        };
        let merged = CodeSettings {
            time_limit_s: over.time_limit_s.unwrap_or(settings.time_limit_s),
            wall_limit_s: over.wall_limit_s.unwrap_or(settings.wall_limit_s),
            memory_mb: over.memory_mb.unwrap_or(settings.memory_mb),
            processes: over.processes.unwrap_or(settings.processes),
            // The runner is told the largest result when the cell starts, so an item cannot widen it.
            output_kb: over.output_kb.unwrap_or(settings.output_kb).min(settings.output_kb),
            ..settings.clone()
        };
        match merged.fault() {
            Some(fault) => Err(format!("extra_info.code: {fault}")),
            None => Ok(Self {
                time_s: merged.time_limit_s,
                wall_s: merged.wall_limit_s,
                memory_mb: merged.memory_mb,
                processes: merged.processes,
                output_kb: merged.output_kb,
            }),
        }
    }
}
