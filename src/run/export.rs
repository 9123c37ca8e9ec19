//! The `export` stage: the checkpoint as others load it, with what it cost beside it.

use std::fs;
use std::io::Write;

use super::folder::partial;
use super::state::StageState;
use super::{Run, models};
use crate::exit::{Code, Failure, OrFail};
use crate::say;

/// Copies the weights of the stage's `from` to `export/` of the run: HF layout, nothing of the optimiser.
///
/// # Errors
/// [`Code::Checkpoint`] or [`Code::Disk`].
pub fn export(run: &Run, number: usize) -> Result<(), Failure> {
    let began = std::time::Instant::now();
    let stage = &run.recipe.stages[number];
    let from = models::folder_of(run, &stage.from)?;
    let target = run.folder.root().join("export");
    let aside = partial(run.folder.root(), "export");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).or_fail(Code::Disk)?;
    for name in ["config.json", policy::checkpoint::WEIGHTS] {
        fs::copy(from.join(name), aside.join(name)).or_fail(Code::Disk)?;
    }
    run.tokenizer.save(&aside).or_fail(Code::Disk)?;
    let mut cost = run.base;
    for (_, state) in run.states()? {
        cost.tokens += state.ledger.tokens;
        cost.flops += state.ledger.flops;
        cost.elapsed_s += state.ledger.elapsed_s;
    }
    let ledger = serde_json::to_string_pretty(&cost).expect("a ledger is plain JSON") + "\n";
    data::atomic::write_atomic(&aside.join("ledger.json"), |f| f.write_all(ledger.as_bytes())).or_fail(Code::Disk)?;
    let _ = fs::remove_dir_all(&target);
    fs::rename(&aside, &target).or_fail(Code::Disk)?;
    say!("{:>16} {}", stage.name, target.display());
    let mut state = StageState::default();
    state.ledger.elapsed_s = began.elapsed().as_secs_f64();
    run.mark_done(number, &state)
}
