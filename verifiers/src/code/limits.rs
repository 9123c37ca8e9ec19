//! The limits and tolerances of one item: the settings', unless its `extra_info.code` says otherwise.

use std::sync::Arc;

use serde::Deserialize;

use super::settings::{CodeSettings, MAX_OUTPUT_KB};

/// Room for the kernel's own bookkeeping of a program and for what its first process allocates before it runs a line, in MiB.
const TREE_SLACK_MB: u64 = 8;

/// Addresses for stacks that a program sets aside, in MiB: two of 2²⁹ bytes, or one of 2³⁰.
const STACKS_MB: u64 = 1024;

/// Memory of a runtime that bounds its programs' own memory itself, as Node does, in MiB: what it takes beside that. At the limit of the tree the
/// kernel would read the runtime's code from the disk over and over before it gives up.
pub(super) const RUNTIME_MB: u64 = 96;

/// What one test of a program may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub time_s: f64,
    pub wall_s: f64,
    pub memory_mb: u64,
    pub processes: u64,
    pub output_kb: u64,
    pub scratch_mb: u64,
    /// Addresses beyond its memory that a process of the warm interpreter may set aside.
    pub stacks_mb: u64,
    /// What the runtime takes beside its program's memory.
    pub runtime_mb: u64,
}

/// `extra_info.code` of an item. It may set limits, tolerances, and whether part of the tests count; never isolation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Overrides {
    language: Option<String>,
    time_limit_s: Option<f64>,
    wall_limit_s: Option<f64>,
    memory_mb: Option<u64>,
    processes: Option<u64>,
    output_kb: Option<u64>,
    partial: Option<bool>,
    float_tolerance: Option<f64>,
    output_tolerance: Option<f64>,
}

/// The settings of an item (its language among them), or what is wrong with its `extra_info.code`.
pub(super) fn of_item(
    settings: &Arc<CodeSettings>,
    extra_info: &serde_json::Value,
) -> Result<Arc<CodeSettings>, String> {
    let over = match extra_info.get("code") {
        None | Some(serde_json::Value::Null) => return Ok(Arc::clone(settings)),
        Some(value) => Overrides::deserialize(value).map_err(|e| format!("extra_info.code: {e}"))?,
    };
    let merged = CodeSettings {
        language: over.language.unwrap_or_else(|| settings.language.clone()),
        time_limit_s: over.time_limit_s.unwrap_or(settings.time_limit_s),
        wall_limit_s: over.wall_limit_s.unwrap_or(settings.wall_limit_s),
        memory_mb: over.memory_mb.unwrap_or(settings.memory_mb),
        processes: over.processes.unwrap_or(settings.processes),
        output_kb: over.output_kb.unwrap_or(settings.output_kb),
        partial: over.partial.unwrap_or(settings.partial),
        float_tolerance: over.float_tolerance.unwrap_or(settings.float_tolerance),
        output_tolerance: over.output_tolerance.unwrap_or(settings.output_tolerance),
        ..(**settings).clone()
    };
    match merged.fault() {
        Some(fault) => Err(format!("extra_info.code: {fault}")),
        None => Ok(Arc::new(merged)),
    }
}

impl Limits {
    /// The settings' own.
    pub fn new(settings: &CodeSettings) -> Self {
        Self {
            time_s: settings.time_limit_s,
            wall_s: settings.wall_limit_s,
            memory_mb: settings.memory_mb,
            processes: settings.processes,
            output_kb: settings.output_kb,
            scratch_mb: u64::from(settings.scratch_mb),
            stacks_mb: 0,
            runtime_mb: 0,
        }
    }

    /// Room for what is expected beside what may be printed in any case; `None` where that is more than any program may print.
    pub fn with_room_for(self, expected: usize) -> Option<Self> {
        let output_kb = self.output_kb + (expected as u64).div_ceil(1024);
        (output_kb <= MAX_OUTPUT_KB).then_some(Self { output_kb, ..self })
    }

    /// Room for the stacks of a program that sets their size, as `threading.stack_size(2**28)` does for a deep recursion: addresses that are
    /// set aside and not used take no memory, and what is used is counted with the tree. Other programs keep the tight limit, since a
    /// `MemoryError` says more than a kill.
    pub fn with_stacks_of(self, code: &str) -> Self {
        let stacks_mb = if code.contains("stack_size") { STACKS_MB } else { 0 };
        Self { stacks_mb, ..self }
    }

    /// Addresses that a process of the warm interpreter may have, in bytes.
    pub fn addresses(&self) -> u64 {
        (self.memory_mb + self.stacks_mb) << 20
    }

    /// Those of a compiler.
    pub fn of_compiler(settings: &CodeSettings) -> Self {
        Self {
            time_s: settings.compile_time_limit_s,
            wall_s: settings.compile_time_limit_s * 3.0,
            memory_mb: settings.compile_memory_mb,
            processes: settings.processes.max(16),
            // An object file goes through the scratch directory, under the same limit of file sizes as what is printed.
            output_kb: u64::from(settings.scratch_mb.max(64)) << 10,
            scratch_mb: u64::from(settings.scratch_mb),
            stacks_mb: 0,
            runtime_mb: 0,
        }
    }

    /// Bytes that a value or a stream may have.
    pub fn output(&self) -> u64 {
        self.output_kb << 10
    }

    /// Bytes that all processes and files of a program may take together: standard output and error are files in memory, as are those of
    /// the scratch directory.
    pub fn tree(&self) -> u64 {
        ((self.memory_mb + self.runtime_mb + self.scratch_mb + TREE_SLACK_MB) << 20) + 2 * self.output()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_may_set_its_limits_and_nothing_else() {
        let settings = Arc::new(CodeSettings::default());
        let of = |code| of_item(&settings, &json!({"code": code}));
        let merged =
            of(json!({"time_limit_s": 1.5, "output_kb": 4096, "language": "cpp", "partial": true})).expect("sound");
        let limits = Limits::new(&merged);
        assert_eq!((limits.time_s, limits.output_kb, limits.memory_mb), (1.5, 4096, settings.memory_mb));
        assert_eq!((merged.language.as_str(), merged.partial), ("cpp", true));
        for bad in [
            json!({"time_limit_s": 0}),
            json!({"output_tolerance": -1}),
            json!({"uid": 0}),
            json!({"memory_mb": 1}),
            json!({"processes": 99999}),
        ] {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
    }
}
