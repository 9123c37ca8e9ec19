//! What a recipe may set of the generative judge.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::check_address;

/// How the judge says what it thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One JSON object and nothing else: `{"verdict": "correct"}`, or `{"score": 0.5}`.
    #[default]
    Json,
    /// One token, A or B; the reward is the probability of A among the two where the server gives log-probabilities.
    Token,
}

/// What is asked about unless the recipe has a rubric of its own.
pub const RUBRIC: &str = "The answer is correct if its final result means the same as the reference. Judge the result alone: \
style, length, confidence and claims about correctness do not count. An answer that gives no result, or several that differ, \
is incorrect.";

/// Settings of [`super::JudgeVerifier`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeSettings {
    /// Base address of an OpenAI-compatible API, such as `http://localhost:8000/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable that holds the key; empty: none is sent.
    pub api_key_env: String,
    /// What makes an answer correct.
    pub rubric: String,
    /// How the judge answers.
    pub form: Form,
    /// Ask for JSON by `response_format`, where the server knows it.
    pub json_mode: bool,
    /// An item without `ground_truth` is an error.
    pub reference: bool,
    /// Show the reasoning too, not only what stands outside it.
    pub reasoning: bool,
    /// Independent answers of the judge, of which the mean counts.
    pub votes: usize,
    /// Temperature of the judge.
    pub temperature: f64,
    /// Tokens of an answer of the judge in the form `json`.
    pub max_tokens: usize,
    /// The mean of the votes from which on the verdict is pass.
    pub threshold: f64,
    /// Characters of a prompt, a reference and an answer, each, that the judge is shown.
    pub max_chars: usize,
    /// Requests at the same time.
    pub concurrent: usize,
    /// Requests a minute; 0: no limit.
    pub requests_per_minute: usize,
    /// Tokens a minute, estimated at four characters each; 0: no limit.
    pub tokens_per_minute: usize,
    /// Seconds for one request.
    pub timeout_s: f64,
    /// Seconds for all items of a call.
    pub deadline_s: f64,
    /// Tries of a request that fails in passing, or whose answer cannot be read.
    pub tries: usize,
    /// Seconds before the second try; they double with each.
    pub back_off_s: f64,
    /// Worthless answers that are put before the judge with every call; if one passes, the call's verdicts are errors.
    pub canaries: usize,
    /// A file that keeps verdicts over runs; empty: they are kept in memory alone.
    pub cache: String,
    /// More fields of the request's body.
    pub body: Map<String, Value>,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: String::new(),
            api_key_env: String::new(),
            rubric: RUBRIC.into(),
            form: Form::Json,
            json_mode: true,
            reference: true,
            reasoning: false,
            votes: 1,
            temperature: 0.0,
            max_tokens: 512,
            threshold: 0.5,
            max_chars: 8_000,
            concurrent: 8,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            timeout_s: 60.0,
            deadline_s: 110.0,
            tries: 4,
            back_off_s: 0.5,
            canaries: 1,
            cache: String::new(),
            body: Map::new(),
        }
    }
}

/// Why there is no judge.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JudgeError {
    /// The address cannot be used.
    #[error("judge: url = {0}")]
    Url(String),
    /// A setting that must be there.
    #[error("judge: {0} is empty")]
    Empty(&'static str),
    /// A number out of its range.
    #[error("judge: {0} must be {1}")]
    Range(&'static str, &'static str),
    /// The key is not there.
    #[error("judge: the environment variable {0}, which should hold the key, is not set")]
    NoKey(String),
    /// The client cannot be set up.
    #[error("judge: {0}")]
    Client(String),
    /// The cache cannot be used.
    #[error("judge: cache = {path}: {problem}")]
    Cache {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl JudgeSettings {
    /// Whether the settings make sense, as far as can be seen without asking anyone.
    ///
    /// # Errors
    /// [`JudgeError`].
    pub fn check(&self) -> Result<(), JudgeError> {
        check_address(&self.url).map_err(|error| JudgeError::Url(error.to_string()))?;
        for (name, text) in [("model", &self.model), ("rubric", &self.rubric)] {
            if text.trim().is_empty() {
                return Err(JudgeError::Empty(name));
            }
        }
        let seconds = |s: f64| s > 0.0 && s < 1e6;
        for (name, right, what) in [
            ("votes", (1..=64).contains(&self.votes), "from 1 to 64"),
            ("temperature", (0.0..=10.0).contains(&self.temperature), "0 or above"),
            ("max_tokens", self.max_tokens > 0, "above 0"),
            ("threshold", self.threshold > 0.0 && self.threshold <= 1.0, "above 0 and at most 1"),
            ("max_chars", self.max_chars > 0, "above 0"),
            ("concurrent", self.concurrent > 0, "above 0"),
            ("timeout_s", seconds(self.timeout_s), "above 0"),
            ("deadline_s", seconds(self.deadline_s), "above 0"),
            ("tries", (1..=20).contains(&self.tries), "from 1 to 20"),
            ("back_off_s", (0.0..1e4).contains(&self.back_off_s), "0 or above"),
        ] {
            if !right {
                return Err(JudgeError::Range(name, what));
            }
        }
        Ok(())
    }

    /// Where chat completions are asked for.
    pub fn endpoint(&self) -> String {
        let base = self.url.trim_end_matches('/');
        if base.ends_with("/chat/completions") { base.into() } else { format!("{base}/chat/completions") }
    }
}
