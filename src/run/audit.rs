//! `temper doctor --run RUN`: every file of a run that says what it must hash to, read once. A resumed run reads only what it goes on from; this
//! finds damage in what lies behind it, while a copy may still be at hand.

use std::fs;
use std::path::{Path, PathBuf};

use data::RunLog;
use serde_json::Value;

use super::folder::RunFolder;
use super::{checkpoints, inputs, sealed};
use crate::exit::{Code, Failure, OrFail};

/// What was found in a run.
#[derive(Debug, Default)]
pub struct Audit {
    /// Files, and checkpoints as one each, that are what was written.
    pub sound: usize,
    /// What is wrong with each of the others.
    pub damaged: Vec<String>,
}

/// Looks at the log, the checkpoints and the states of a run. Nothing is changed.
///
/// # Errors
/// [`Code::RunFolder`] where there is none, [`Code::Disk`] where a folder cannot be listed.
pub fn audit(root: &Path) -> Result<Audit, Failure> {
    RunFolder::view(root)?;
    let mut audit = Audit::default();
    let log = RunLog::open(root.join("log")).or_fail(Code::Disk)?;
    for path in listed(log.folder())? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some((stage, step)) = RunLog::stage_and_step(name) {
            audit.note(log.read(stage, step).map(|_| ()).or_fail(Code::Data));
        } else if name.ends_with(".json") && !name.starts_with('.') {
            audit.sealed(&path);
        }
    }
    audit.sealed(&root.join(inputs::FILE_NAME));
    for stage in listed(&root.join("stages"))? {
        for checkpoint in checkpoints::all(&stage)? {
            audit.note(checkpoints::check(&checkpoint));
        }
        audit.sealed(&stage.join("stage.json"));
    }
    Ok(audit)
}

impl Audit {
    /// Looks at a sealed file, if it is there.
    fn sealed(&mut self, path: &Path) {
        if path.exists() {
            self.note(sealed::read::<Value>(path).map(|_| ()));
        }
    }

    fn note(&mut self, found: Result<(), Failure>) {
        match found {
            Ok(()) => self.sound += 1,
            Err(failure) => self.damaged.push(failure.message),
        }
    }
}

/// What is in a folder, by name; nothing where there is none.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.or_fail(Code::Disk)?,
    };
    let mut paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().or_fail(Code::Disk)?;
    paths.sort();
    Ok(paths)
}
