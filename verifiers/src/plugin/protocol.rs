//! The protocol: one JSON object a line (or an HTTP body) each way. docs/plugins.md is its description for authors.
//!
//! ```text
//! → {"v":1,"op":"hello","settings":{…}}
//! ← {"v":1,"name":"…","version":"…","batch":true,"group":false,"max_inflight":1}
//! → {"v":1,"op":"score","id":7,"deadline_ms":30000,"items":[{"completion":"…","ground_truth":…,…}]}
//! ← {"id":7,"results":[{"reward":1.0},{"reward":null,"error":{"kind":"timeout","message":"…"}}]}
//! ```
//!
//! What a plugin writes is read as if an enemy had written it: bounded, typed, and refused as a whole where one part is
//! not as it should be.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use data::{Item, Status, Verdict};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The version of the protocol that is spoken here.
pub const VERSION: u64 = 1;

/// Metrics and tags that a result may have, each.
const MAX_ENTRIES: usize = 64;

/// Characters of a text of the plugin's that are kept.
const MAX_TEXT: usize = 500;

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol's version.
    pub v: u64,
    /// What it calls itself.
    #[serde(default)]
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Whether it takes several items at once. If not, each goes alone, and a failure is its own.
    #[serde(default = "yes")]
    pub batch: bool,
    /// Whether a request has to hold all samples of one prompt and nothing else.
    #[serde(default)]
    pub group: bool,
    /// Requests that it answers at the same time, over HTTP.
    #[serde(default = "one")]
    pub max_inflight: usize,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

/// A question to a plugin.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Ask<'a> {
    /// Who are you?
    Hello {
        /// The protocol's version.
        v: u64,
        /// What the recipe set for the plugin.
        settings: &'a Map<String, Value>,
    },
    /// Judge these.
    Score {
        /// The protocol's version.
        v: u64,
        /// Echoed in the answer.
        id: u64,
        /// The plugin is killed when it has not answered by then.
        deadline_ms: u64,
        /// What to judge.
        items: Vec<WireItem<'a>>,
    },
}

impl<'a> Ask<'a> {
    /// The question number `id`: judge `items` within `timeout`.
    pub fn score(id: u64, items: &[&'a Item], timeout: Duration) -> Self {
        let items = items.iter().map(|item| WireItem::new(item)).collect();
        Self::Score { v: VERSION, id, deadline_ms: timeout.as_millis() as u64, items }
    }
}

/// An item as a plugin sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireItem<'a> {
    /// The item's id.
    pub sample_id: Cow<'a, str>,
    /// Equal for the samples of one prompt: the id up to its last `#`.
    pub group_id: Cow<'a, str>,
    /// The prompt's text.
    #[serde(default)]
    pub prompt: Option<Cow<'a, str>>,
    /// The model's text.
    pub completion: Cow<'a, str>,
    /// What the answer is compared with.
    #[serde(default)]
    pub ground_truth: Cow<'a, Value>,
    /// Where the prompt came from.
    #[serde(default)]
    pub data_source: Option<Cow<'a, str>>,
    /// Whatever else the source carries; `{}` where it carries nothing.
    #[serde(default)]
    pub extra: Cow<'a, Value>,
    /// Length of the completion in tokens, where known.
    #[serde(default)]
    pub token_count: Option<usize>,
    /// `stop`, or `length` where the completion was cut.
    #[serde(default = "stop")]
    pub finish_reason: Cow<'a, str>,
}

fn stop() -> Cow<'static, str> {
    "stop".into()
}

impl<'a> WireItem<'a> {
    /// The item as it is sent.
    pub fn new(item: &'a Item) -> Self {
        let extra = match &item.extra_info {
            Value::Null => Cow::Owned(Value::Object(Map::new())),
            extra => Cow::Borrowed(extra),
        };
        Self {
            sample_id: item.id.as_str().into(),
            group_id: group_of(&item.id).into(),
            prompt: item.prompt.as_deref().map(Cow::Borrowed),
            completion: item.completion.as_str().into(),
            ground_truth: Cow::Borrowed(&item.ground_truth),
            data_source: item.data_source.as_deref().map(Cow::Borrowed),
            extra,
            token_count: item.token_count,
            finish_reason: if item.truncated { "length" } else { "stop" }.into(),
        }
    }

    /// The item that was sent.
    pub fn into_item(self) -> Item {
        Item {
            id: self.sample_id.into_owned(),
            prompt: self.prompt.map(Cow::into_owned),
            completion: self.completion.into_owned(),
            ground_truth: self.ground_truth.into_owned(),
            data_source: self.data_source.map(Cow::into_owned),
            extra_info: self.extra.into_owned(),
            token_count: self.token_count,
            truncated: self.finish_reason == "length",
        }
    }
}

/// What the samples of one prompt have in common: a run numbers them behind a `#`.
pub fn group_of(id: &str) -> &str {
    id.rsplit_once('#').map_or(id, |(group, _)| group)
}

/// Why an answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Nonsense(pub String);

/// What a plugin says of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The reward; `null` where there is none, and then `error` says why. The key must be there.
    #[serde(deserialize_with = "present")]
    pub reward: Option<f64>,
    /// Why there is no reward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ScoreError>,
    /// The verdict proper; where absent it follows from the reward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// One short sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Numbers worth a curve.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Words worth a column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Why an item has no reward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreError {
    /// `timeout`, `crash`, `bad_input`, `upstream`, or a word of the plugin's own.
    pub kind: String,
    /// What happened.
    #[serde(default)]
    pub message: String,
}

/// Unlike serde's default for options, a key that is missing is an error.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    #[serde(default)]
    results: Option<Vec<Score>>,
    /// In place of `results`.
    #[serde(default)]
    error: Option<ScoreError>,
}

/// Why there are no scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoScores {
    /// The answer makes no sense.
    Nonsense(Nonsense),
    /// The plugin says that it cannot score these items together.
    Refused(ScoreError),
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8], what: &str) -> Result<T, Nonsense> {
    serde_json::from_slice(line)
        .map_err(|error| Nonsense(format!("its {what} cannot be read: {}", cut(&error.to_string()))))
}

/// Reads the answer to a hello.
///
/// # Errors
/// [`Nonsense`] where it is none, or speaks another version.
pub fn read_hello(line: &[u8]) -> Result<Hello, Nonsense> {
    let hello: Hello = parse(line, "hello")?;
    if hello.v != VERSION {
        return Err(Nonsense(format!("it speaks version {} of the protocol instead of {VERSION}", hello.v)));
    }
    if hello.max_inflight == 0 {
        return Err(Nonsense("its max_inflight is 0".into()));
    }
    Ok(Hello { name: cut(&hello.name), version: cut(&hello.version), ..hello })
}

/// Reads the answer to the request `id` about `n` items.
///
/// # Errors
/// [`NoScores::Nonsense`] where it answers another request, has not `n` results, or one of them is not as it should be;
/// [`NoScores::Refused`] where it has an error in place of results.
pub fn read_scores(line: &[u8], id: u64, n: usize) -> Result<Vec<Score>, NoScores> {
    let nonsense = |what: String| NoScores::Nonsense(Nonsense(what));
    let answer: Answer = parse(line, "answer").map_err(NoScores::Nonsense)?;
    if answer.id != id {
        // Without their numbers, which are drawn anew in each run: the words stand in run logs that two runs have alike.
        return Err(nonsense("it answered another request than it was asked".to_owned()));
    }
    let results = match (answer.results, answer.error) {
        (Some(results), None) => results,
        (None, Some(error)) => {
            return Err(NoScores::Refused(ScoreError { kind: cut(&error.kind), message: cut(&error.message) }));
        }
        (Some(_), Some(_)) => return Err(nonsense("it gave results and an error".into())),
        (None, None) => return Err(nonsense("its answer has no results".into())),
    };
    if results.len() != n {
        return Err(nonsense(format!("it gave {} results for {n} items", results.len())));
    }
    let checked = |(i, score)| check(score).map_err(|what| NoScores::Nonsense(at(i, &what)));
    results.into_iter().enumerate().map(checked).collect()
}

fn at(i: usize, what: &str) -> Nonsense {
    Nonsense(format!("its result {i} {what}"))
}

fn check(score: Score) -> Result<Score, String> {
    if score.metrics.len() > MAX_ENTRIES || score.tags.len() > MAX_ENTRIES {
        return Err(format!("has more than {MAX_ENTRIES} metrics or tags"));
    }
    // JSON has no NaN, but 1e999 is read as infinity.
    if let Some(reward) = score.reward.filter(|reward| !reward.is_finite()) {
        return Err(format!("has the reward {reward}"));
    }
    if let Some((name, _)) = score.metrics.iter().find(|(_, value)| !value.is_finite()) {
        return Err(format!("has a metric `{}` that is not finite", cut(name)));
    }
    match (score.reward, score.status, &score.error) {
        (Some(_), _, Some(_)) => return Err("has a reward and an error".into()),
        (Some(_), Some(Status::Error), _) => return Err("has a reward and the status error".into()),
        (None, Some(Status::Pass | Status::Fail), _) => return Err("has a verdict and no reward".into()),
        _ => {}
    }
    let cut_all = |map: BTreeMap<String, String>| map.into_iter().map(|(k, v)| (cut(&k), cut(&v))).collect();
    Ok(Score {
        reason: cut(&score.reason),
        tags: cut_all(score.tags),
        metrics: score.metrics.into_iter().map(|(k, v)| (cut(&k), v)).collect(),
        error: score.error.map(|e| ScoreError { kind: cut(&e.kind), message: cut(&e.message) }),
        ..score
    })
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

impl Score {
    /// The verdict on the item `id`. A reward of at least `threshold` passes where the plugin gives no status.
    pub fn into_verdict(self, id: &str, threshold: f64) -> Verdict {
        let mut verdict = match (self.reward, self.status) {
            (reward, Some(Status::Undecided)) => {
                Verdict { reward: Some(reward.unwrap_or(0.0)), ..Verdict::undecided(id, "") }
            }
            (None, _) => {
                let error = self.error.unwrap_or_else(|| ScoreError {
                    kind: "unknown".into(),
                    message: "the plugin gave no reward and does not say why".into(),
                });
                return failed(id, &error.kind, &error.message);
            }
            (Some(reward), status) => {
                let pass = status.map_or(reward >= threshold, |status| status == Status::Pass);
                let verdict = if pass { Verdict::pass(id, "") } else { Verdict::fail(id, "") };
                Verdict { reward: Some(reward), ..verdict }
            }
        };
        verdict.reason = if self.reason.is_empty() { "the plugin's reward".into() } else { self.reason };
        verdict.metrics = self.metrics;
        verdict.tags = self.tags;
        verdict
    }

    /// What a verdict says, for a plugin's answer.
    pub fn from_verdict(verdict: Verdict) -> Self {
        let error = (verdict.status == Status::Error).then(|| ScoreError {
            kind: verdict.tags.get("error").cloned().unwrap_or_else(|| "verifier".into()),
            message: verdict.reason.clone(),
        });
        Self {
            reward: verdict.reward.filter(|_| error.is_none()),
            status: Some(verdict.status),
            reason: if error.is_some() { String::new() } else { verdict.reason },
            error,
            metrics: verdict.metrics,
            tags: verdict.tags,
        }
    }
}

/// An error of a kind, as a verdict (INV-9).
pub fn failed(id: &str, kind: &str, message: &str) -> Verdict {
    Verdict::error(id, message).tag("error", kind)
}

/// Reads bytes as everything that may come in, and checks what must hold of all that is accepted (INV-9). For fuzzing.
///
/// # Panics
/// If something is accepted that should not be.
pub fn read_anything(bytes: &[u8]) {
    if let Ok(hello) = read_hello(bytes) {
        assert!(hello.v == VERSION && hello.max_inflight > 0);
    }
    for n in 0..3 {
        for score in read_scores(bytes, 1, n).into_iter().flatten() {
            let verdict = score.into_verdict("a", 0.5);
            assert!(verdict.reward.is_none_or(f64::is_finite));
            assert_eq!(verdict.reward.is_none(), verdict.status == Status::Error);
        }
    }
    if let Ok(item) = serde_json::from_slice::<WireItem<'_>>(bytes) {
        item.into_item();
    }
}

#[cfg(test)]
mod tests;
