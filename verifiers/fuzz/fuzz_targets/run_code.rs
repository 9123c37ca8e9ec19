//! Feeds arbitrary bytes to everything that the sandbox reads from outside, and runs what turns out to be a request for Python:
//! `cargo +nightly fuzz run run_code` in `verifiers/fuzz`.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use verifiers::code::{CodeSettings, RunCode, RunStatus, Sandbox, exercise};

static SANDBOX: OnceLock<Sandbox> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    exercise(bytes);
    let Ok(mut request) = serde_json::from_slice::<RunCode>(bytes) else { return };
    if request.language != "python" || !request.files.is_empty() || !request.fetch_files.is_empty() {
        return;
    }
    request.run_timeout = request.run_timeout.min(0.1);
    let start = || Sandbox::new(CodeSettings { workers: 1, ..CodeSettings::default() }).expect("the sandbox starts here");
    if let Ok(result) = SANDBOX.get_or_init(start).run_code(&request) {
        assert!(result.status != RunStatus::SandboxError, "a program cannot make the sandbox fail: {result:?}");
    }
});
