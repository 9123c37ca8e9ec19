//! Verdicts of groups that a step has judged and left to a later one, kept beside the step's own groups. A verifier may say something else when
//! it is asked again, so that what it said is part of the log (INV-6) before the group itself is.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use super::judge::Verdicts;
use super::sealed;
use super::stage::Active;
use crate::exit::{Code, Failure, OrFail};

/// What was said of each group, by its number.
pub type Left = BTreeMap<u64, Verdicts>;

fn path(active: &Active<'_>) -> Result<PathBuf, Failure> {
    let groups = active.run.log.path(&active.stage.name, active.state.step + 1).or_fail(Code::Internal)?;
    Ok(groups.with_extension("left.json"))
}

/// What the next step, which is in the log, had left.
///
/// # Errors
/// [`Code::Data`] where it cannot be read.
pub fn read(active: &Active<'_>) -> Result<Left, Failure> {
    let path = path(active)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => sealed::open(&text).map_err(|failure| {
            failure.context(path.display()).hint(format!(
                "move it away: `temper resume {}` asks the verifiers again, which gives the same run where they always say the same",
                active.run.folder.root().display()
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Left::new()),
        Err(error) => Err(error).or_fail(Code::Data).map_err(|failure| failure.context(path.display())),
    }
}

/// Keeps it, before the step's groups are logged. A step that left nothing has no such file.
///
/// # Errors
/// [`Code::Disk`].
pub fn log(active: &Active<'_>, left: &Left) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    let text = sealed::seal(left);
    data::atomic::write_atomic(&path(active)?, |f| f.write_all(text.as_bytes())).or_fail(Code::Disk)
}
