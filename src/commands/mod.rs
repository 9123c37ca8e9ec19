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

/// What libraries read before `main`, each unless its variable is set already.
const LIBRARIES: [(&str, &str); 3] = [
    // libgomp's threads spin by default, and on a small or busy machine they take the core that the other half of a product needs: an
    // optimiser step was seen to take 90 to 480 ms instead of 4.
    ("OMP_WAIT_POLICY", "passive"),
    ("GOMP_SPINCOUNT", "0"),
    // Memory in pages of 2 MiB where the system gives some: weights and keys are read once a step each, and finding thousands of small
    // pages took a sixth of the time of sampling.
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

/// Starts the process anew with what libraries read before `main`: the only way to set it without a wrapper script is to execute oneself
/// again.
pub fn settle_libraries() {
    use std::os::unix::process::CommandExt;
    let missing: Vec<_> = LIBRARIES.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    let Ok(own) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(own);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Returns only if it failed; the process then goes on as it is, slower at worst.
    let _ = again.args(arguments).envs(missing).exec();
}
