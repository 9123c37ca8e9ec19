//! Verdicts of groups that a step has judged and left to a later one, kept beside the step's own groups. A verifier may say something else when
//! it is asked again, so that what it said is part of the log (INV-6) before the group itself is.

use std::collections::BTreeMap;
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
    if !path.exists() {
        return Ok(Left::new());
    }
    sealed::read(&path).map_err(|failure| {
        failure.hint(format!(
            "move it away: `temper resume {}` asks the verifiers again, which gives the same run where they always say the same",
            active.run.folder.root().display()
        ))
    })
}

/// Keeps it, before the step's groups are logged. A step that left nothing writes none.
///
/// # Errors
/// [`Code::Disk`].
pub fn log(active: &Active<'_>, left: &Left) -> Result<(), Failure> {
    if left.is_empty() { Ok(()) } else { sealed::write(&path(active)?, left) }
}
