//! The groups that a step learns from: sampled and logged, or read from the log.
//!
//! A step whose groups are in the log already (the run was killed after logging and before its next checkpoint) reads them from there
//! (INV-6).

use data::ScoredGroup;

use super::evaluate::{CHECK_TOKENS, sampled};
use super::prompts::Stream;
use super::sample::inverse_temperature;
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

/// The groups as the log has them. The stream moves on exactly as it did when they were sampled, and in exact mode the weights are held
/// against those that sampled them: what others sampled must not be learned from as if it were the policy's own.
fn replayed(active: &Active<'_>, stream: &mut Stream) -> Result<Option<Vec<ScoredGroup>>, Failure> {
    let Some(logged) = active.run.logged(&active.stage.name, active.state.step + 1)? else { return Ok(None) };
    for group in &logged {
        let (prompt, _) = stream.next()?;
        if prompt.id != group.prompt.id {
            return Err(foreign(active, &format!("it answers prompt {}, and {} is next", group.prompt.id, prompt.id)));
        }
    }
    if active.run.recipe.run.exact {
        let inverse_t = inverse_temperature(active.run);
        let found = learner::replay::check(&active.model, active.version(), &sampled(&logged), inverse_t, CHECK_TOKENS);
        if found.max_abs_logprob_diff > 0.0 {
            return Err(foreign(
                active,
                &format!("log-probabilities differ by up to {} nats", found.max_abs_logprob_diff),
            ));
        }
    }
    Ok(Some(logged))
}

/// The log's groups of the next step are not what this run samples now.
pub fn foreign(active: &Active<'_>, why: &str) -> Failure {
    let (stage, step) = (&active.stage.name, active.state.step + 1);
    let file = active.run.log.path(stage, step).map_or_else(|_| "the log".into(), |path| path.display().to_string());
    let root = active.run.folder.root().display();
    Failure::new(Code::Device, format!("stage {stage}, step {step}: {file} was not sampled by these weights: {why}")).hint(format!(
        "resume with the recipe, on the device and with the libraries with which the run began; after a change that is meant, move this \
         file and those of later steps away: `temper resume {root}` then samples them anew"
    ))
}
