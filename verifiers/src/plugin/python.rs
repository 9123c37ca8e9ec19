//! Python rewards as they are: a host of one file, standard library only, calls them and speaks the protocol for them.

use serde::{Deserialize, Serialize};

/// The host. It is given to the interpreter on its command line, so nothing has to be installed.
const HOST: &str = include_str!("pyhost.py");

/// How a Python reward is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// By the names of its parameters.
    #[default]
    Auto,
    /// verl: `compute_score(data_source, solution_str, ground_truth, extra_info)`.
    Verl,
    /// verl, batched: `compute_score(data_sources, solution_strs, ground_truths, extra_infos)`.
    VerlBatch,
    /// TRL: `f(prompts, completions, **columns)`.
    Trl,
    /// OpenRLHF: `reward_func(queries, prompts, labels)`.
    Openrlhf,
    /// A function, `Rubric` or environment of the package `verifiers`.
    Verifiers,
    /// reasoning-gym: `score_answer(answer, entry)`.
    ReasoningGym,
    /// Math-Verify: `verify(parse(gold), parse(answer))`.
    MathVerify,
}

impl Style {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Verl => "verl",
            Self::VerlBatch => "verl_batch",
            Self::Trl => "trl",
            Self::Openrlhf => "openrlhf",
            Self::Verifiers => "verifiers",
            Self::ReasoningGym => "reasoning_gym",
            Self::MathVerify => "math_verify",
        }
    }
}

/// The command that hosts `target`; `None` where that names nothing.
pub fn command(interpreter: &str, target: &str, style: Style) -> Option<Vec<String>> {
    let (module, name) = target.rsplit_once(':')?;
    if module.is_empty() || name.is_empty() || interpreter.is_empty() {
        return None;
    }
    Some([interpreter, "-u", "-c", HOST, target, style.as_str()].map(str::to_owned).into())
}
