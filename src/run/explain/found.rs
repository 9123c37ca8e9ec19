//! What an explanation holds: for people by [`super::render`], for machines as JSON.

use serde::Serialize;

/// A step, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The run's name.
    pub run: String,
    /// The stage.
    pub stage: String,
    /// The step, from 1.
    pub step: u64,
    /// The last step that the log has.
    pub last_step: u64,
    /// True where every number that can be computed again is what was logged.
    pub equal: bool,
    /// Which weights the step began with.
    pub weights: Weights,
    /// The step's groups in the order of the log.
    pub groups: Vec<Group>,
    /// The learner's passes.
    pub mini_steps: Vec<MiniStep>,
    /// Computed again beside what was logged.
    pub numbers: Vec<Number>,
    /// The tokens that were asked for.
    pub tokens: Vec<super::token::Token>,
}

impl Explanation {
    /// The numbers that differ.
    pub fn different(&self) -> Vec<&Number> {
        self.numbers.iter().filter(|n| n.equal == Some(false)).collect()
    }
}

/// Where the weights before the step come from.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Weights {
    /// Their version: steps applied.
    pub version: u64,
    /// The checkpoint, as a path in the run's folder, or the stage's start.
    pub from: String,
    /// Steps that were applied to them from the log.
    pub replayed: u64,
}

/// A group of the step.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Its place in the log's file.
    pub number: usize,
    /// The prompt's id.
    pub prompt: String,
    /// Its domain.
    pub domain: String,
    /// Weights version at admission.
    pub version: u64,
    /// The mini-step that learned from it, from 0; none for a group without a signal.
    pub mini_step: Option<usize>,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// A sample of a group.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Its number in the step, which `--token` takes.
    pub number: usize,
    /// The composed reward.
    pub reward: Option<f64>,
    /// Its advantage.
    pub advantage: f32,
    /// Why it is left out of the loss; `none` where it is not.
    pub mask: String,
    /// Tokens of its completion.
    pub tokens: usize,
    /// `stop` or `length`.
    pub finish: String,
    /// Smallest and largest number of versions between the weights that sampled a token and those that learn from it.
    pub staleness: (u64, u64),
    /// What each verifier said.
    pub verdicts: Vec<Verdict>,
}

/// What a verifier said.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Its name in the recipe.
    pub verifier: String,
    /// `pass`, `fail`, `undecided` or `error`.
    pub status: String,
    /// Its own reward.
    pub reward: Option<f64>,
    /// The rule that decided.
    pub reason: String,
}

/// A pass of the learner, as it was computed again.
#[derive(Debug, Clone, Serialize)]
pub struct MiniStep {
    /// Samples that it learned from.
    pub samples: usize,
    /// Tokens that it learned from.
    pub tokens: usize,
    /// The loss: the sum of the three parts below.
    pub loss: f64,
    /// The clipped surrogate.
    pub surrogate: f64,
    /// The KL to the reference, times `β`.
    pub kl: f64,
    /// The indexer's loss, times its coefficient.
    pub indexer: f64,
    /// Surrogate and KL once more, summed over tokens from their own formulas in f64.
    pub sum_over_tokens: f64,
    /// Share of tokens that the lower bound clipped.
    pub clipped_low: f64,
    /// Share of tokens that the upper bound clipped.
    pub clipped_high: f64,
    /// Share of tokens whose sequence the off-policy mask dropped.
    pub off_policy: f64,
    /// Norm of the gradient by group of parameters, before it was clipped.
    pub gradient_norms: Vec<(String, f64)>,
}

/// A number beside what was logged.
#[derive(Debug, Clone, Serialize)]
pub struct Number {
    /// Its name, that of `metrics.jsonl` where it is from there.
    pub name: String,
    /// What was logged.
    pub logged: Option<f64>,
    /// What was computed again.
    pub found: Option<f64>,
    /// Whether they are the same bits; none where it is not computed again.
    pub equal: Option<bool>,
    /// What there is to say of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Number {
    /// A logged number and the one that was found. JSON holds no NaN, so NaN stands for whatever was no number.
    pub fn compared(name: &str, logged: f64, found: f64) -> Self {
        let equal = logged.to_bits() == found.to_bits() || logged.is_nan() && !found.is_finite();
        Self { name: name.into(), logged: Some(logged), found: Some(found), equal: Some(equal), note: String::new() }
    }

    /// One that is no function of the log.
    pub fn skipped(name: &str, logged: Option<f64>, why: &str) -> Self {
        Self { name: name.into(), logged, found: None, equal: None, note: why.into() }
    }

    /// One that was logged, and which this build does not find.
    pub fn only_logged(name: &str, logged: Option<f64>) -> Self {
        Self { name: name.into(), logged, found: None, equal: Some(false), note: "logged and not found again".into() }
    }

    /// One that was found and not logged.
    pub fn only_found(name: &str, found: f64) -> Self {
        Self { name: name.into(), logged: None, found: Some(found), equal: Some(false), note: "not logged".into() }
    }

    /// `equal` of `all` things are what was logged.
    pub fn counted(name: &str, equal: usize, all: usize, things: &str) -> Self {
        Self {
            name: name.into(),
            logged: Some(all as f64),
            found: Some(equal as f64),
            equal: Some(equal == all),
            note: format!("{equal} of {all} {things}"),
        }
    }

    /// One that is not what was logged, for a reason in words.
    pub fn unequal(name: &str, why: &str) -> Self {
        Self { name: name.into(), logged: None, found: None, equal: Some(false), note: why.into() }
    }
}
