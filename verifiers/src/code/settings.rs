//! What a recipe may set of the code verifier.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::languages::Language;

/// KiB of output beyond which no program is let.
pub(super) const MAX_OUTPUT_KB: u64 = 256 * 1024;

/// Settings of [`super::CodeVerifier`]. Every field has a default; an unknown field is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodeSettings {
    /// The language of programs, unless an item's `extra_info.code.language` names another: `python`, `c`, `cpp`, `javascript`, `bash`, or one
    /// of `languages`.
    pub language: String,
    /// Languages beside the built-in ones, or in their place.
    pub languages: BTreeMap<String, Language>,
    /// The interpreter: a name that is looked up in `PATH`, or a path.
    pub python: PathBuf,
    /// Cells, each with a warm interpreter; 0 means one for each core.
    pub workers: usize,
    /// Directories of Python packages that programs may import.
    pub packages: Vec<PathBuf>,
    /// Each cell stays on one core, so that programs do not slow each other's caches and clocks.
    pub pin: bool,
    /// Refuse to start with less than the full isolation.
    pub strict: bool,
    /// The user id of programs when Temper runs as root. It should own nothing.
    pub uid: u32,

    /// CPU seconds that a test may take. The load of the program counts towards the first test.
    pub time_limit_s: f64,
    /// Seconds by the clock that a test may take, for programs that wait or share their core.
    pub wall_limit_s: f64,
    /// Address space of a process in MiB, the interpreter's own (about 30 MiB) included; and, where there is a cgroup, memory of all
    /// processes and files of a program together, with `scratch_mb` and twice `output_kb` on top.
    pub memory_mb: u64,
    /// Processes and threads that a program may have, its first one included.
    pub processes: u64,
    /// KiB that a program may print, return as one value, or write to one file, beyond the largest output that the item expects.
    pub output_kb: u64,
    /// MiB of the program's private scratch directory, which is its working directory.
    pub scratch_mb: u32,
    /// CPU seconds that a compiler may take.
    pub compile_time_limit_s: f64,
    /// Address space of a compiler's process in MiB.
    pub compile_memory_mb: u64,
    /// Tests that are run at most; an item with more is an error.
    pub max_tests: usize,

    /// Take the whole completion as the program when it holds no fenced block.
    pub bare: bool,
    /// The reward is the share of tests that pass, and all of them are run. Otherwise the reward is 1 or 0 and the first failure ends the run.
    pub partial: bool,
    /// Absolute or relative difference up to which two floats are equal. It applies to returned values and to numbers on stdout.
    pub float_tolerance: f64,
    /// Relative difference (and an absolute one of 1e-8) up to which a printed number meets an expected word that is written as a float,
    /// such as `0.30`. The default is that of numpy's `allclose`, with which APPS and prime_code compare; 0 compares texts.
    pub output_tolerance: f64,
    /// An int and a float of exactly the same value are equal, as in Python. A bool never equals a number.
    pub int_equals_float: bool,
    /// NaN equals NaN.
    pub nan_equals_nan: bool,
    /// Whether an expected output `[x]` of a call is also met by `x`, as APPS writes it.
    pub unwrap_outputs: Unwrap,
    /// The file `testlib.h` for checkers that include it.
    pub testlib: PathBuf,
    /// Run asserts that are no `EXPRESSION == LITERAL` beside the program, in its own process, instead of apart from it. A program can forge
    /// such a test; it is for tests that hand over what is no plain value.
    pub raw_asserts: bool,
}

/// When an expected output `[x]` of a call is also met by `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unwrap {
    /// Where every output of the item is a list of one, which is how APPS wraps them.
    Auto,
    /// For every list, as verl's prime_code does.
    Always,
    /// For none.
    Never,
}

impl Default for CodeSettings {
    fn default() -> Self {
        Self {
            language: "python".into(),
            languages: BTreeMap::new(),
            python: "python3".into(),
            workers: 0,
            packages: Vec::new(),
            pin: true,
            strict: false,
            uid: 59_999,
            time_limit_s: 2.0,
            wall_limit_s: 10.0,
            memory_mb: 256,
            processes: 8,
            output_kb: 1024,
            scratch_mb: 16,
            compile_time_limit_s: 10.0,
            compile_memory_mb: 1024,
            max_tests: 1000,
            bare: false,
            partial: false,
            float_tolerance: 0.0,
            output_tolerance: 1e-5,
            int_equals_float: true,
            nan_equals_nan: false,
            unwrap_outputs: Unwrap::Auto,
            testlib: PathBuf::new(),
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
        let seconds = [
            ("time_limit_s", self.time_limit_s),
            ("wall_limit_s", self.wall_limit_s),
            ("compile_time_limit_s", self.compile_time_limit_s),
        ];
        if let Some((name, value)) = seconds.into_iter().find(|(_, v)| !(*v > 0.0 && *v <= 3600.0)) {
            return Some(format!("code.{name} = {value} must be above 0 and at most 3600"));
        }
        for (name, value) in [("memory_mb", self.memory_mb), ("compile_memory_mb", self.compile_memory_mb)] {
            if !(64..=1 << 20).contains(&value) {
                return Some(format!(
                    "code.{name} = {value} must be between 64 and 1048576: an interpreter itself needs 30"
                ));
            }
        }
        if self.output_kb == 0 || self.output_kb > MAX_OUTPUT_KB {
            return Some(format!("code.output_kb = {} must be between 1 and {MAX_OUTPUT_KB}", self.output_kb));
        }
        if !(1..=4096).contains(&self.processes) || !(1..=4096).contains(&self.scratch_mb) {
            return Some("code.processes and code.scratch_mb must be between 1 and 4096".into());
        }
        if let Some(fault) = self.languages.iter().find_map(|(name, language)| language.fault(name)) {
            return Some(fault);
        }
        if self.uid == 0 {
            return Some("code.uid = 0 would run programs as root".into());
        }
        for (name, value) in [("float_tolerance", self.float_tolerance), ("output_tolerance", self.output_tolerance)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Some(format!("code.{name} = {value} must be finite and not negative"));
            }
        }
        None
    }
}
