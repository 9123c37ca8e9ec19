//! The `timed` schedule's decisions. Which verdicts have come when the sampler looks depends on the machine's mood; so when a verdict was
//! first seen is kept beside the step's groups, and a resumed run sees it at the same moment.

use std::path::PathBuf;

use super::sealed;
use super::stage::Active;
use crate::exit::{Code, Failure, OrFail};
pub use crate::seen::Seen;
use crate::seen::Sight;

/// When the verdicts of a step's groups are seen.
pub struct Decisions {
    path: PathBuf,
    sight: Sight,
}

impl Decisions {
    /// Those of the next step, of which `seen` are taken: the log's where it has the step.
    ///
    /// # Errors
    /// [`Code::Data`] where they cannot be read.
    pub fn open(active: &Active<'_>, is_logged: bool, seen: &[Seen]) -> Result<Self, Failure> {
        let groups = active.run.log.path(&active.stage.name, active.state.step + 1).or_fail(Code::Internal)?;
        let path = groups.with_extension("decisions.json");
        let sight = if is_logged {
            let all: Vec<Seen> = sealed::read(&path).map_err(|failure| {
                let name = &active.stage.name;
                failure.hint(format!(
                    "restore it from a copy; or move the log's files of this and later steps of {name} away: `temper resume {}` then samples them anew, in another order of events",
                    active.run.folder.root().display()
                ))
            })?;
            Sight::logged(all, seen.len())
        } else {
            Sight::new()
        };
        Ok(Self { path, sight })
    }

    /// The groups to judge at `tick`: [`Sight::at`].
    pub fn at(&mut self, tick: u64, finished: &[u64], idle: bool, is_there: impl Fn(u64) -> bool) -> Vec<u64> {
        self.sight.at(tick, finished, idle, is_there)
    }

    /// Keeps what was decided, before the step's groups are logged.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn log(&self, seen: &[Seen]) -> Result<(), Failure> {
        sealed::write(&self.path, &seen)
    }
}
