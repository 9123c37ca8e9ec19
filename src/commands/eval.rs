//! `temper eval`: scores a checkpoint on a recipe's held-out prompts.

use crate::cli::EvalArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{ModelSource, Recipe};
use crate::run;
use crate::say::tell;

/// Prints one JSON object with the scores.
///
/// # Errors
/// The first failure.
pub fn eval(args: &EvalArgs) -> Result<(), Failure> {
    let mut recipe = Recipe::load(&args.recipe, &args.overrides.sets())?;
    recipe.model = ModelSource::Checkpoint { path: args.checkpoint.display().to_string() };
    let found = run::evaluate_checkpoint(recipe)?;
    let mut line =
        serde_json::json!({ "checkpoint": args.checkpoint, "eval": found.eval, "exactness": found.exactness });
    if !found.texts.is_empty() {
        line["texts"] = serde_json::to_value(&found.texts).or_fail(Code::Internal)?;
    }
    tell(line)
}
