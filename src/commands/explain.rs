//! `temper explain`.

use crate::cli::ExplainArgs;
use crate::exit::{Code, Failure};
use crate::run::explain::{Ask, explain as compute, render};
use crate::say::{tell, tell_plain};

use super::run::named;

/// Computes a step again and prints it beside what was logged.
///
/// # Errors
/// [`Code::Differs`] where a number is not what was logged; the first failure.
pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let ask = Ask {
        step: args.step,
        stage: args.stage.clone(),
        tokens: args.token.clone(),
        device: args.machine.device,
        threads: args.machine.threads,
    };
    let mut found = compute(&named(&args.run), &ask)?;
    found.equal = found.different().is_empty();
    if args.json {
        tell(serde_json::to_string_pretty(&found).expect("an explanation is plain JSON"))?;
    } else {
        tell_plain(render(&found))?;
    }
    let different: Vec<&str> = found.different().iter().map(|n| n.name.as_str()).collect();
    if different.is_empty() {
        return Ok(());
    }
    let message = format!("step {} is not what was logged: {}", args.step, different.join(", "));
    Err(Failure::new(Code::Differs, message).hint(
        "the log, the metrics or a checkpoint was changed, or this build, library or device computes other bits than the run's",
    ))
}
