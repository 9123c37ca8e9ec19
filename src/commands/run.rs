//! `temper run`, `temper resume` and `temper report`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::cli::{ReportArgs, ResumeArgs, RunArgs};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Recipe;
use crate::report;
use crate::run;
use crate::say::{tell, tell_plain};
use crate::summary::Summary;

/// Runs a recipe, or prints what it resolves to.
///
/// # Errors
/// The first failure.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let recipe = Recipe::load(&args.recipe, &args.sets())?;
    if args.dry_run {
        return tell_plain(recipe.to_toml());
    }
    let root = Path::new(&recipe.run.out).join(&recipe.run.name);
    let summary = run::start(recipe)?;
    show(&root, &summary)
}

/// Goes on with a run.
///
/// # Errors
/// The first failure.
pub fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let root = named(&args.run);
    let summary = run::resume(&root, args.machine.device, args.machine.threads)?;
    show(&root, &summary)
}

/// Writes a run's report anew and prints its table.
///
/// # Errors
/// [`Code::RunFolder`] where there is no run.
pub fn report(args: &ReportArgs) -> Result<(), Failure> {
    let root = named(&args.run);
    let page = report::write_report(&root).or_fail(Code::RunFolder)?;
    // A run of which no stage has ended has a page and no table.
    if let Ok(summary) = Summary::read(&root) {
        tell_plain(report::terminal_table(&summary, std::io::stdout().is_terminal()))?;
    }
    tell(format_args!("report: {}", page.display()))
}

/// A run's folder as it is, or by its name under `runs/`.
pub(super) fn named(run: &Path) -> PathBuf {
    let below = Path::new("runs").join(run);
    if !run.exists() && below.exists() { below } else { run.to_owned() }
}

fn show(root: &Path, summary: &Summary) -> Result<(), Failure> {
    tell_plain(report::terminal_table(summary, std::io::stdout().is_terminal()))?;
    tell(format_args!("report: {}", root.join("report.html").display()))
}
