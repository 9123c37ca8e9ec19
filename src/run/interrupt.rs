//! Ctrl-C and SIGTERM: the first asks the run to save and stop, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{self, Code, Failure, OrFail};
use crate::say;

static PENDING: AtomicBool = AtomicBool::new(false);

/// True once a stop was asked for.
pub fn pending() -> bool {
    PENDING.load(Ordering::Relaxed)
}

/// Starts listening, on a thread of its own.
///
/// # Errors
/// [`Code::Internal`] where the system refuses a signal handler.
pub fn listen() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().or_fail(Code::Internal)?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(Code::Internal)?;
    let mut terminate = signal(SignalKind::terminate()).or_fail(Code::Internal)?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if PENDING.swap(true, Ordering::Relaxed) {
                    exit::at_once(Code::Interrupted);
                }
                say!("stopping after this step; once more to stop at once");
            }
        });
    });
    Ok(())
}
