//! Plugins over HTTP: the protocol's objects as bodies of POST, or OpenRLHF's remote reward contract.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use data::Item;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::process::Broken;
use super::protocol::{Ask, Hello, Nonsense, Score, VERSION, read_hello, read_scores};
use crate::http::{Client, HttpError, wait};

/// The wait before the second try; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Tries of one request, within its deadline.
const TRIES: u32 = 5;

/// What a remote plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// The protocol of this crate.
    #[default]
    Temper,
    /// OpenRLHF's: `{"query", "prompts", "labels"}` in, `{"rewards", "scores", "extra_logs"}` out.
    Openrlhf,
}

/// A plugin at an address.
pub struct RemotePlugin {
    client: Client,
    url: String,
    contract: Contract,
    hello: Hello,
    answer_bytes: usize,
    next_id: AtomicU64,
}

impl RemotePlugin {
    /// Greets the plugin. OpenRLHF's contract has no greeting: such a plugin is first asked when there is something to
    /// score.
    ///
    /// # Errors
    /// [`Broken`] where it cannot be asked or does not answer the hello.
    pub fn new(
        url: String,
        contract: Contract,
        settings: &Map<String, Value>,
        start_timeout: Duration,
        answer_bytes: usize,
    ) -> Result<Self, Broken> {
        let client = Client::new(None).map_err(|error| upstream(&error))?;
        let hello = match contract {
            Contract::Openrlhf => Hello {
                v: VERSION,
                name: "OpenRLHF remote reward".into(),
                version: String::new(),
                batch: true,
                group: false,
                max_inflight: usize::MAX,
            },
            Contract::Temper => {
                let ask = json!(Ask::Hello { v: VERSION, settings });
                let answer = post(&client, &url, ask, start_timeout, answer_bytes)?;
                read_hello(&answer).map_err(nonsense)?
            }
        };
        Ok(Self { client, url, contract, hello, answer_bytes, next_id: AtomicU64::new(1) })
    }

    /// What the plugin says of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Scores `items` in one request that takes at most `timeout`, repetitions included.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn score(&self, items: &[&Item], timeout: Duration) -> Result<Vec<Score>, Broken> {
        match self.contract {
            Contract::Temper => {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                let ask = Ask::score(id, items, timeout);
                let answer = post(&self.client, &self.url, json!(ask), timeout, self.answer_bytes)?;
                read_scores(&answer, id, items.len()).map_err(Broken::from)
            }
            Contract::Openrlhf => {
                let answer = post(&self.client, &self.url, openrlhf_question(items), timeout, self.answer_bytes)?;
                openrlhf_scores(&answer, items.len()).map_err(nonsense)
            }
        }
    }
}

fn nonsense(nonsense: Nonsense) -> Broken {
    Broken::Nonsense(nonsense.0)
}

/// A server that fails on what it was asked may judge another item; one that is not there, or busy, says nothing of the items.
fn upstream(error: &HttpError) -> Broken {
    match error {
        HttpError::Status { status: 400 | 413 | 422 | 500, .. } => Broken::Status(error.to_string()),
        _ => Broken::Upstream(error.to_string()),
    }
}

/// Posts until there is an answer, the failure is no passing one, or the time is up.
fn post(client: &Client, url: &str, body: Value, timeout: Duration, limit: usize) -> Result<Vec<u8>, Broken> {
    let (client, url) = (client.clone(), url.to_owned());
    let deadline = Instant::now() + timeout;
    wait(async move {
        let mut tries = 0;
        loop {
            tries += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match client.post(&url, &body, left, limit).await {
                Ok(answer) => return Ok(answer),
                Err(HttpError::Timeout(_)) => {
                    return Err(Broken::Timeout { seconds: timeout.as_secs_f64(), stderr: String::new() });
                }
                Err(error) => error,
            };
            let back_off = BACK_OFF * 2_u32.pow(tries - 1);
            if !error.is_passing() || tries == TRIES || Instant::now() + back_off >= deadline {
                return Err(upstream(&error));
            }
            tokio::time::sleep(back_off).await;
        }
    })
}

/// OpenRLHF sends the whole text as `query`; its servers take the prompt off again.
fn openrlhf_question(items: &[&Item]) -> Value {
    let prompt = |item: &Item| item.prompt.clone().unwrap_or_default();
    let label = |item: &Item| match &item.ground_truth {
        Value::Null => Value::String(String::new()),
        Value::String(text) => Value::String(text.clone()),
        other => Value::String(other.to_string()),
    };
    json!({
        "query": items.iter().map(|item| prompt(item) + &item.completion).collect::<Vec<_>>(),
        "prompts": items.iter().map(|item| prompt(item)).collect::<Vec<_>>(),
        "labels": items.iter().map(|item| label(item)).collect::<Vec<_>>(),
    })
}

#[derive(Deserialize)]
struct OpenRlhfAnswer {
    rewards: Vec<Option<f64>>,
    #[serde(default)]
    extra_logs: Map<String, Value>,
}

/// Reads `{"rewards": […], "extra_logs": {"name": […]}}`. A reward of null is a failure of that item.
fn openrlhf_scores(body: &[u8], n: usize) -> Result<Vec<Score>, Nonsense> {
    let answer: OpenRlhfAnswer =
        serde_json::from_slice(body).map_err(|error| Nonsense(format!("its answer cannot be read: {error}")))?;
    if answer.rewards.len() != n {
        return Err(Nonsense(format!("it gave {} rewards for {n} items", answer.rewards.len())));
    }
    let metrics = |i: usize| {
        let of_item = |value: &Value| value.as_array().filter(|list| list.len() == n)?[i].as_f64();
        let all = answer.extra_logs.iter().take(64);
        all.filter_map(|(name, value)| Some((name.clone(), of_item(value)?))).collect()
    };
    let score = |(i, reward): (usize, &Option<f64>)| match reward {
        Some(reward) if !reward.is_finite() => Err(Nonsense(format!("its reward {i} is {reward}"))),
        &reward => Ok(Score {
            reward,
            error: None,
            status: None,
            reason: String::new(),
            metrics: metrics(i),
            tags: Default::default(),
        }),
    };
    answer.rewards.iter().enumerate().map(score).collect()
}
