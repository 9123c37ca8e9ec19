//! The commands, one a file. Each reads its arguments, calls the library, and prints.

mod bench;
mod bench_load;
mod doctor;
mod eval;
mod explain;
mod generate;
mod run;
mod sandbox;
mod sparsify;

pub use bench::bench;
pub use doctor::doctor;
pub use eval::eval;
pub use explain::explain;
pub use generate::generate;
pub use run::{report, resume, run};
pub use sandbox::sandbox;
pub use sparsify::sparsify;

/// Starts the process anew with OpenMP threads that sleep while they wait.
///
/// libgomp's threads spin by default, and on a small or busy machine they take the core that the other half of a product needs: an
/// optimiser step was seen to take 90 to 480 ms instead of 4. libgomp reads its settings when it is loaded, before `main`, so the
/// only way to set them without a wrapper script is to execute oneself again. Whoever sets either variable decides for himself.
pub fn quiet_threads() {
    use std::os::unix::process::CommandExt;
    let set = |name| std::env::var_os(name).is_some();
    if set("OMP_WAIT_POLICY") || set("GOMP_SPINCOUNT") {
        return;
    }
    let Ok(own) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(own);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Returns only if it failed; the process then goes on as it is, slower at worst.
    let _ = again.args(arguments).env("OMP_WAIT_POLICY", "passive").env("GOMP_SPINCOUNT", "0").exec();
}
