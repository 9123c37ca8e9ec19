//! What a plugin's process is started with, and how all of it is ended.
//!
//! This is hygiene and no sandbox: a plugin is code that the user chose. It is kept from inheriting what it has no business with
//! (secrets in the environment, open files), from outliving the run, and, where asked, from eating the machine's memory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Variables that are handed down: where programs, libraries and caches are, how to speak, how many threads to use. A `*` at the end
/// stands for any rest.
const HANDED_DOWN: [&str; 32] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TZ",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LD_LIBRARY_PATH",
    "PYTHON*",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "HF_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_*",
    "GOMP_*",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
];

/// The variable that every process of a plugin has, unless it takes it away itself.
const MARK: &str = "TEMPER_PLUGIN";

/// Looks for what is left are repeated while they find something, so that what forks meanwhile is found too.
const LOOKS: usize = 20;

/// What a plugin's process gets and may take.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// Names of variables that are handed down beside the usual ones; `*` at the end stands for any rest.
    pub environment: Vec<String>,
    /// MiB of address space of each process; 0: as much as there is.
    pub memory_mb: u64,
}

/// Finds the processes of one plugin.
#[derive(Debug)]
pub struct Mark(String);

impl Confinement {
    /// Starts the command in a process group of its own.
    ///
    /// # Errors
    /// What the system said.
    pub fn spawn(&self, mut command: Command) -> io::Result<(Child, Mark)> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mark = Mark(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let own: Vec<&str> = self.environment.iter().map(String::as_str).collect();
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| handed_down(name, &own)));
        command.env(MARK, &mark.0).process_group(0);
        let (parent, memory) = (std::process::id(), self.memory_mb.saturating_mul(1 << 20));
        // SAFETY: only system calls that are safe between fork and exec are made, and nothing is allocated.
        unsafe { command.pre_exec(move || confine(parent, memory)) };
        Ok((on_spawner(command)?, mark))
    }
}

/// Whether a variable is handed down.
fn handed_down(name: &OsStr, more: &[&str]) -> bool {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.as_bytes().starts_with(start.as_bytes()),
        None => name == pattern,
    };
    HANDED_DOWN.iter().chain(more).any(|pattern| matches(pattern))
}

/// In the child, before its program is loaded.
fn confine(parent: u32, memory: u64) -> io::Result<()> {
    let limit = |resource, value| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` is a valid limit that outlives the call.
        match unsafe { libc::setrlimit(resource, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    limit(libc::RLIMIT_CORE, 0)?;
    if memory > 0 {
        limit(libc::RLIMIT_AS, memory)?;
    }
    // Temper opens its own files so that they close on exec, but a library that it loads may not. Where the kernel has no such call (before
    // Linux 5.11) they stay open, as they would have anyway.
    // SAFETY: no memory is handed over.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // SAFETY: no memory is handed over.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Temper may have died in between, and then no signal comes.
    // SAFETY: it has no preconditions.
    match unsafe { libc::getppid() }.cast_unsigned() == parent {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

type Order = (Command, Sender<io::Result<Child>>);

/// Has a thread that lives as long as the process start the command: the kernel sends the signal of [`confine`] when the thread ends that
/// made the child, and those that judge come and go.
fn on_spawner(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                // Whoever asked waits for it.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, answered) = channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .expect("the thread ends with the process");
    answered.recv().expect("the thread answers every order")
}

impl Mark {
    /// Kills every process that has the mark: those too that left the process group and the session.
    pub fn kill_all(&self) {
        let wanted = OsString::from(format!("{MARK}={}", self.0));
        for _ in 0..LOOKS {
            let names = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
            let killed = names.filter(|name| kill_marked(name, &wanted)).count();
            if killed == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Kills the process of this number if it is marked, and says whether it was.
fn kill_marked(number: &OsStr, wanted: &OsStr) -> bool {
    let pid = number.to_str().and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return false };
    // The number may become another's between the look and the signal; the descriptor does not.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    let marked = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
    marked && pidfd_send_signal(process, Signal::KILL).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_handed_down_unless_they_are_named() {
        let handed = |name: &str, more: &[&str]| handed_down(OsStr::new(name), more);
        for name in ["PATH", "HOME", "LC_ALL", "PYTHONPATH", "CUDA_VISIBLE_DEVICES"] {
            assert!(handed(name, &[]), "{name}");
        }
        for name in
            ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PATHS", "XPATH", "https_proxy", "LD_PRELOAD"]
        {
            assert!(!handed(name, &[]), "{name}");
        }
        assert!(handed("HF_TOKEN", &["HF_TOKEN"]) && handed("AWS_REGION", &["AWS_*"]) && handed("ANY", &["*"]));
    }
}
