//! `temper run`, `temper resume` and `temper report`.

use std::io::IsTerminal;
use std::path::Path;

use crate::cli::{ReportArgs, ResumeArgs, RunArgs};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Recipe;
use crate::report;
use crate::run;
use crate::summary::Summary;

/// Runs a recipe, or prints what it resolves to.
///
/// # Errors
/// The first failure.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let recipe = Recipe::load(&args.recipe, &args.sets())?;
    if args.dry_run {
        print!("{}", recipe.to_toml());
        return Ok(());
    }
    let root = Path::new(&recipe.run.out).join(&recipe.run.name);
    let summary = run::start(recipe)?;
    show(&root, &summary);
    Ok(())
}

/// Goes on with a run.
///
/// # Errors
/// The first failure.
pub fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let summary = run::resume(&args.run, args.machine.device, args.machine.threads)?;
    show(&args.run, &summary);
    Ok(())
}

/// Writes a run's report anew.
///
/// # Errors
/// [`Code::RunFolder`] where there is no run.
pub fn report(args: &ReportArgs) -> Result<(), Failure> {
    let page = report::write_report(&args.run).or_fail(Code::RunFolder)?;
    println!("{}", page.display());
    Ok(())
}

fn show(root: &Path, summary: &Summary) {
    print!("{}", report::terminal_table(summary, std::io::stdout().is_terminal()));
    println!("report: {}", root.join("report.html").display());
}
