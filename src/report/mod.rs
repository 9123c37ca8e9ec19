//! The run report: `report.html`, one self-contained page (curves, tables, sampled trajectories), and the table on the terminal.
//!
//! [`input`] reads the run's folder, [`page`] lays the page out, `results`, `texts` and `memory` fill its tables, [`chart`] draws curves and [`samples`] trajectories, [`html`]
//! keeps every text from being markup, [`table`] is for the terminal. The page needs no network: style and script are inside it,
//! and its content security policy lets nothing else run or load.

pub mod chart;
pub mod html;
pub mod input;
mod memory;
pub mod page;
mod results;
pub mod samples;
mod scale;
pub mod table;
mod texts;
mod topics;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data::atomic::{WriteError, write_atomic};

use crate::summary::Summary;
pub use input::{MetricRow, ReportInput, SampleView, VerdictView};

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder has neither `summary.json` nor `metrics.jsonl`.
    #[error("{} is not a run: it has neither summary.json nor metrics.jsonl; name a folder under runs/", .0.display())]
    NotARun(PathBuf),
    /// A file of the run could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The report could not be written; an older one is untouched.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes `report.html` into the run's folder and returns its path. A report that was there stays until the new one is whole.
///
/// # Errors
/// [`ReportError::NotARun`] if `dir` holds no run, [`ReportError::Read`] or [`ReportError::Write`] if the system refuses. What
/// is missing or malformed in a run is no error: the page says so.
pub fn write_report(dir: &Path) -> Result<PathBuf, ReportError> {
    let page = page::render(&ReportInput::load(dir)?);
    let path = input::report_path(dir);
    write_atomic(&path, |file| file.write_all(page.as_bytes()))?;
    Ok(path)
}

/// The run's results as lines of text, coloured where `is_terminal` (and the user's `NO_COLOR`) allow it.
pub fn terminal_table(summary: &Summary, is_terminal: bool) -> String {
    table::render(summary, table::Look::of(is_terminal))
}
