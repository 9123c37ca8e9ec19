//! A run's folder, held by one process at a time.
//!
//! ```text
//! NAME/resolved.toml  manifest.json  metrics.jsonl  summary.json  report.html
//!      log/                                   every group, by stage and step
//!      stages/NN-STAGE/checkpoints/step-N/    weights, optimiser, state; whole or absent
//!      stages/NN-STAGE/stage.json             written last: the stage is done
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::exit::{Code, Failure};

/// An open run folder. The lock goes with the process, however it ends.
pub struct RunFolder {
    root: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// [`Code::RunFolder`] if a run is there already; [`Code::Disk`] if it cannot be made.
    pub fn create(root: &Path) -> Result<Self, Failure> {
        if root.join("resolved.toml").exists() {
            let failure = Failure::new(Code::RunFolder, format!("{} holds a run already", root.display()));
            return Err(failure.hint(format!(
                "`temper resume {}` goes on with it; `--name NAME` starts another; delete the folder to start over",
                root.display()
            )));
        }
        fs::create_dir_all(root.join("log")).map_err(|e| cannot(root, &e))?;
        Self::lock(root)
    }

    /// Opens the folder of a run that began.
    ///
    /// # Errors
    /// [`Code::RunFolder`] if there is no run, or another process has it.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        if !root.join("resolved.toml").exists() {
            let failure = Failure::new(Code::RunFolder, format!("{} holds no run", root.display()));
            return Err(failure.hint("name a folder that `temper run` made, such as runs/quickstart"));
        }
        Self::lock(root)
    }

    fn lock(root: &Path) -> Result<Self, Failure> {
        let lock = File::create(root.join(".lock")).map_err(|e| cannot(root, &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(Code::RunFolder, format!("{} is in use by another temper process", root.display()))
                    .hint("wait for it to end, or give this run another --name"))
            }
            Err(TryLockError::Error(e)) => Err(cannot(root, &e)),
        }
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

fn cannot(root: &Path, error: &std::io::Error) -> Failure {
    Failure::from_error(Code::Disk, error).context(format!("cannot use the run folder {}", root.display()))
}
