//! `temper eval`: scores a checkpoint on a recipe's held-out prompts.

use crate::cli::EvalArgs;
use crate::exit::Failure;
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
    let (scores, exactness) = run::evaluate_checkpoint(recipe)?;
    let line = serde_json::json!({ "checkpoint": args.checkpoint, "eval": scores, "exactness": exactness });
    tell(line)
}
