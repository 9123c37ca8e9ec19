//! Verdicts: what a verifier says of one completion. An infrastructure failure is a status of its own and never a reward (INV-9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a verifier is given to judge. One line of `temper verify`'s input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Echoed in the verdict.
    pub id: String,
    /// The prompt's text, where the verifier may need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The model's text.
    pub completion: String,
    /// What the answer is compared with.
    #[serde(default)]
    pub ground_truth: Value,
    /// verl's `data_source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_source: Option<String>,
    /// Whatever else the source carries; per-item settings of a verifier live under its name.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub extra_info: Value,
    /// Length of the completion in tokens, where token ids are known. Length rules count these and never re-tokenise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_count: Option<usize>,
    /// True when sampling hit its limit before the policy stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// The four things a verifier can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Status {
    /// The completion is right.
    Pass = 0,
    /// The completion is wrong.
    Fail = 1,
    /// The verifier ran and cannot tell. What that means for the reward is the recipe's choice.
    Undecided = 2,
    /// The verifier could not run. There is no reward, and the sample is masked.
    Error = 3,
}

/// What a verifier says of one completion. One line of `temper verify`'s output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The [`Item::id`].
    pub id: String,
    /// The verdict proper.
    pub status: Status,
    /// Between 0 and 1 for most verifiers; always `None` for an error.
    pub reward: Option<f64>,
    /// One short sentence: the rule that decided.
    pub reason: String,
    /// Numbers worth a curve: CPU time, tests passed, ….
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Words worth a column: the extracted answer, the signal, ….
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Verdict {
    fn new(id: &str, status: Status, reward: Option<f64>, reason: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            status,
            reward,
            reason: reason.into(),
            metrics: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    /// Right: reward 1.
    pub fn pass(id: &str, reason: impl Into<String>) -> Self {
        Self::new(id, Status::Pass, Some(1.0), reason)
    }

    /// Wrong: reward 0.
    pub fn fail(id: &str, reason: impl Into<String>) -> Self {
        Self::new(id, Status::Fail, Some(0.0), reason)
    }

    /// The verifier cannot tell: reward 0 unless the recipe masks it.
    pub fn undecided(id: &str, reason: impl Into<String>) -> Self {
        Self::new(id, Status::Undecided, Some(0.0), reason)
    }

    /// The verifier could not run: no reward.
    pub fn error(id: &str, reason: impl Into<String>) -> Self {
        Self::new(id, Status::Error, None, reason)
    }

    /// Adds a number.
    pub fn metric(mut self, name: &str, value: f64) -> Self {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    /// Adds a word.
    pub fn tag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.tags.insert(name.to_owned(), value.into());
        self
    }
}
