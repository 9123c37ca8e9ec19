//! Finds the interpreter and what it needs to run, so that a cell can show exactly that.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::SandboxError;

/// Asked of the interpreter once, outside the cell; a launcher (pyenv, a virtual environment) answers with what stands behind it.
const PROBE: &str = r#"
import json, os, sys, sysconfig
import ctypes, resource, _socket
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({
    "executable": os.path.realpath(base),
    "version": list(sys.version_info[:2]),
    "libraries": [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_config_var("LIBDIR")]
        + [os.path.join(p, d) for p in (sys.base_prefix, sys.base_exec_prefix) for d in ("lib", "lib64")],
}))
"#;

/// Times that an interpreter is asked again for the same answer.
const ASKED: usize = 4;

/// Where the dynamic loader looks, on the distributions that we know.
const SYSTEM_LIBRARIES: [&str; 8] = [
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
];

/// An interpreter and the paths that it reads.
#[derive(Debug, Clone)]
pub(super) struct Python {
    /// The real executable.
    pub executable: PathBuf,
    /// Files and directories that must be readable: as the interpreter names them, none inside another.
    pub readable: Vec<PathBuf>,
    /// For the line that says what is in force.
    pub version: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Answer {
    executable: PathBuf,
    version: (u32, u32),
    libraries: Vec<Option<PathBuf>>,
}

impl Python {
    /// Adds paths that must be readable.
    pub fn show(&mut self, more: &[PathBuf]) {
        let exists = |p: &&PathBuf| p.is_absolute() && p.exists();
        let all = self.readable.drain(..).chain(more.iter().filter(exists).cloned()).collect();
        self.readable = outermost(all);
    }

    /// Asks `python` until it gives one answer twice. A launcher of which a process is killed passes on to another interpreter, and
    /// two interpreters do not judge alike: their messages differ between versions.
    pub fn find(python: &Path) -> Result<Self, SandboxError> {
        let failed = |why: String| SandboxError::NoPython { python: python.display().to_string(), why };
        let answer = agreed(|| ask(python)).map_err(failed)?;
        if answer.version < (3, 8) {
            return Err(failed(format!("version {}.{} is older than 3.8", answer.version.0, answer.version.1)));
        }
        let mut paths: Vec<PathBuf> = SYSTEM_LIBRARIES.iter().map(PathBuf::from).collect();
        paths.extend(answer.libraries.into_iter().flatten());
        paths.push(answer.executable.clone());
        paths.retain(|p| p.is_absolute() && p.exists());
        Ok(Self {
            executable: answer.executable,
            readable: outermost(paths),
            version: format!("{}.{}", answer.version.0, answer.version.1),
        })
    }
}

/// The first answer that comes twice running. A failure counts as an answer.
fn agreed<T: PartialEq>(mut ask: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let mut last = ask();
    for _ in 0..ASKED {
        let again = ask();
        if again == last {
            return again;
        }
        last = again;
    }
    Err(format!("it answered otherwise each of {} times", ASKED + 1))
}

/// What the interpreter says of itself.
fn ask(python: &Path) -> Result<Answer, String> {
    let mut command = Command::new(python);
    let output =
        command.args(["-S", "-s", "-E", "-c", PROBE]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text.trim().lines().last().unwrap_or("it failed without a word").to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("it is no Python 3: {e}"))
}

/// Drops what lies inside another path of the list.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !kept.iter().any(|k| path.starts_with(k)) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_9_an_answer_counts_when_it_comes_twice() {
        let mut answers = [Ok(1), Err("killed".to_owned()), Ok(2), Ok(1), Ok(1)].into_iter();
        assert_eq!(agreed(|| answers.next().expect("not asked more often")), Ok(1));
        let mut turn = 0;
        let never = agreed(|| {
            turn += 1;
            Ok(turn)
        });
        assert_eq!((never.is_err(), turn), (true, 5));
        assert_eq!(agreed(|| Err::<(), _>("there is none".to_owned())), Err("there is none".to_owned()));
    }

    #[test]
    fn paths_inside_others_are_dropped() {
        let paths = ["/a/b", "/a", "/ab", "/a/b/c", "/a"].map(PathBuf::from).to_vec();
        assert_eq!(outermost(paths), ["/a", "/ab"].map(PathBuf::from));
    }
}
