//! The groups that a step learns from: sampled and logged, or read from the log.
//!
//! A step whose groups are in the log already (the run was killed after logging and before its next checkpoint) reads them from there
//! (INV-6).

use data::ScoredGroup;

use super::prompts::Stream;
use super::stage::Active;
use crate::exit::{Code, Failure, OrFail};

/// Draws prompts, each with the key of this use of it.
///
/// # Errors
/// As [`Stream::next`].
pub fn draw(stream: &mut Stream, stage: &str, n: usize) -> Result<Vec<(data::Prompt, String)>, Failure> {
    (0..n)
        .map(|_| {
            let (prompt, draw) = stream.next()?;
            let key = format!("{stage}/{draw}/{}", prompt.id);
            Ok((prompt, key))
        })
        .collect()
}

/// The groups of the next step of a stage that learns from its own samples. `sample` draws one prompt from the stream for each group
/// that it returns.
///
/// # Errors
/// The first failure; the stream then stands where it stood.
pub fn logged_or_sampled(
    active: &Active<'_>,
    stream: &mut Stream,
    sample: impl FnOnce(&mut Stream) -> Result<Vec<ScoredGroup>, Failure>,
) -> Result<Vec<ScoredGroup>, Failure> {
    let before = stream.cursor.clone();
    let groups = replayed(active, stream).and_then(|logged| match logged {
        Some(logged) => Ok(logged),
        None => {
            let sampled = sample(stream)?;
            active.run.log.append(&active.stage.name, active.state.step + 1, &sampled).or_fail(Code::Disk)?;
            Ok(sampled)
        }
    });
    groups.inspect_err(|_| stream.cursor = before)
}

/// The groups as the log has them. The stream moves on exactly as it did when they were sampled.
fn replayed(active: &Active<'_>, stream: &mut Stream) -> Result<Option<Vec<ScoredGroup>>, Failure> {
    let logged = active.run.logged(&active.stage.name, active.state.step + 1)?;
    for _ in logged.iter().flatten() {
        stream.next()?;
    }
    Ok(logged)
}
