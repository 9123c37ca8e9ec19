//! A run's folder, held by one process at a time.
//!
//! ```text
//! NAME/resolved.toml  manifest.json  metrics.jsonl  summary.json  report.html
//!      log/                                   every group, by stage and step
//!      stages/NN-STAGE/checkpoints/step-N/    weights, optimiser, state; whole or absent
//!      stages/NN-STAGE/stage.json             written last: the stage is done
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Code, Failure};

/// The end of the hidden name of a folder that is not whole yet.
const PARTIAL_SUFFIX: &str = ".partial";
/// Folders between a run's own and its deepest that are written: `stages/NN-STAGE/checkpoints`.
const RUN_DEPTH: usize = 3;

/// An open run folder. The lock goes with the process, however it ends.
pub struct RunFolder {
    root: PathBuf,
    /// None where it is only looked at.
    lock: Option<File>,
}

impl RunFolder {
    /// Whether a new run may have this folder.
    ///
    /// # Errors
    /// [`Code::RunFolder`] if a run is there already.
    pub fn free(root: &Path) -> Result<(), Failure> {
        if !root.join("resolved.toml").exists() {
            return Ok(());
        }
        let failure = Failure::new(Code::RunFolder, format!("{} holds a run already", root.display()));
        Err(failure.hint(format!(
            "`temper resume {}` goes on with it; `--name NAME` starts another; delete the folder to start over",
            root.display()
        )))
    }

    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// [`Code::RunFolder`] if a run is there already; [`Code::Disk`] if it cannot be made.
    pub fn create(root: &Path) -> Result<Self, Failure> {
        Self::free(root)?;
        fs::create_dir_all(root.join("log")).map_err(|e| cannot(root, &e))?;
        Self::lock(root)
    }

    /// Opens the folder of a run that began.
    ///
    /// # Errors
    /// [`Code::RunFolder`] if there is no run, or another process has it.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        Self::holds_a_run(root)?;
        Self::lock(root)
    }

    /// The folder of a run that began, to look at: whoever works in it goes on.
    ///
    /// # Errors
    /// [`Code::RunFolder`] if there is no run.
    pub fn view(root: &Path) -> Result<Self, Failure> {
        Self::holds_a_run(root)?;
        Ok(Self { root: root.to_owned(), lock: None })
    }

    /// True where the folder must stay as it is.
    pub fn is_view(&self) -> bool {
        self.lock.is_none()
    }

    fn holds_a_run(root: &Path) -> Result<(), Failure> {
        if root.join("resolved.toml").exists() {
            return Ok(());
        }
        let failure = Failure::new(Code::RunFolder, format!("{} holds no run", root.display()));
        Err(failure.hint("name a folder that `temper run` made, such as runs/quickstart"))
    }

    fn lock(root: &Path) -> Result<Self, Failure> {
        let lock = File::create(root.join(".lock")).map_err(|e| cannot(root, &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(Code::RunFolder, format!("{} is in use by another temper process", root.display()))
                    .hint("wait for it to end, or give this run another --name"))
            }
            Err(TryLockError::Error(e)) => Err(cannot(root, &e)),
        }
    }

    /// Removes what a killed process had half written: no reader takes it for whole, but it fills the disk.
    ///
    /// # Errors
    /// [`Code::Disk`] if a folder cannot be listed or a leftover cannot be removed.
    pub fn remove_leftovers(&self) -> Result<(), Failure> {
        remove_leftovers(&self.root, RUN_DEPTH).map_err(|e| cannot(&self.root, &e))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A stage's folder, by its number from 0.
    pub fn stage(&self, number: usize, name: &str) -> PathBuf {
        self.root.join("stages").join(format!("{number:02}-{name}"))
    }
}

/// Where a folder is filled before it is renamed to `name` in `parent`.
pub fn partial(parent: &Path, name: &str) -> PathBuf {
    parent.join(format!(".{name}{PARTIAL_SUFFIX}"))
}

fn remove_leftovers(folder: &Path, depth: usize) -> io::Result<()> {
    data::atomic::remove_leftovers(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(PARTIAL_SUFFIX) {
            fs::remove_dir_all(entry.path())?;
        } else if depth > 0 {
            remove_leftovers(&entry.path(), depth - 1)?;
        }
    }
    Ok(())
}

fn cannot(root: &Path, error: &std::io::Error) -> Failure {
    Failure::from_error(Code::Disk, error).context(format!("cannot use the run folder {}", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_all_else_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let checkpoints = dir.path().join("stages/00-rl/checkpoints");
        let partial = partial(&checkpoints, "step-000002");
        for folder in [&partial, &checkpoints.join("step-000001"), &dir.path().join("log")] {
            fs::create_dir_all(folder).expect("it is made");
        }
        let left =
            [".summary.json.7-0.temper-tmp", "log/.rl-000001.parquet.7-1.temper-tmp"].map(|f| dir.path().join(f));
        let own = ["resolved.toml", "log/rl-000001.parquet", "stages/00-rl/checkpoints/step-000001/state.json"];
        let own = own.map(|f| dir.path().join(f));
        left.iter().chain(&own).for_each(|file| fs::write(file, "x").expect("it is written"));
        fs::write(partial.join("model.safetensors"), "half").expect("it is written");

        RunFolder::open(dir.path()).expect("a run").remove_leftovers().expect("they can be removed");
        assert!(!partial.exists() && left.iter().all(|file| !file.exists()));
        assert!(own.iter().all(|file| file.exists()) && dir.path().join(".lock").exists());
    }
}
