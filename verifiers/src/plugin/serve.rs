//! A verifier as a service over HTTP.
//!
//! | route | body | answer |
//! | --- | --- | --- |
//! | `GET /health` | | the verifier's name |
//! | `POST /score` | the plugin protocol's objects | the same |
//! | `POST /verify` | an item, or a list of items | a verdict, or a list of verdicts |
//! | `POST /get_reward` | OpenRLHF's `{"query", "prompts", "labels"}` | `{"rewards", "scores", "extra_logs"}` |

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data::{Item, Status, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use super::protocol::{Score, VERSION, WireItem};
use crate::Verifier;

/// Bytes of a request.
const BODY_BYTES: usize = 64 << 20;

/// Requests that wait for their turn; more are told to come again.
const QUEUE: usize = 256;

/// How long a request may wait and be judged, unless it says so itself.
const DEADLINE: Duration = Duration::from_secs(120);

struct Shared {
    verifier: Arc<dyn Verifier>,
    /// Verifiers are busy on cores, so as many requests as cores are judged at once.
    cores: Semaphore,
    places: Semaphore,
}

/// A running service; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: std::sync::mpsc::Receiver<io::Result<()>>,
}

impl Server {
    /// Starts to serve `verifier` at `listener`.
    ///
    /// # Errors
    /// Where the listener cannot be used.
    pub fn start(verifier: Arc<dyn Verifier>, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shared = Arc::new(Shared { verifier, cores: Semaphore::new(cores), places: Semaphore::new(QUEUE + cores) });
        let router = Router::new()
            .route("/health", get(health))
            .route("/score", post(score))
            .route("/verify", post(verify))
            .route("/get_reward", post(get_reward))
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .with_state(shared);
        let (stop, stopped) = oneshot::channel();
        let (send, ended) = std::sync::mpsc::sync_channel(1);
        crate::http::spawn(async move {
            let serve = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let end = async {
                    // A dropped sender ends it too.
                    let _ = stopped.await;
                };
                axum::serve(listener, router).with_graceful_shutdown(end).await
            };
            let _ = send.send(serve.await);
        });
        Ok(Self { address, stop: Some(stop), ended })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&self, wait: Duration) -> Option<io::Result<()>> {
        self.ended.recv_timeout(wait).ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

type Refusal = (StatusCode, String);

/// The verdicts on `items` within `deadline`.
async fn judge(shared: &Arc<Shared>, items: Vec<Item>, deadline: Duration) -> Result<Vec<Verdict>, Refusal> {
    let busy = |_| (StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting".to_owned());
    let _place = shared.places.try_acquire().map_err(busy)?;
    let judged = async {
        let permit = shared.cores.acquire().await.expect("it is never closed");
        let verifier = Arc::clone(&shared.verifier);
        let verdicts = tokio::task::spawn_blocking(move || verifier.verify(&items)).await;
        drop(permit);
        verdicts.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the verifier broke".to_owned()))
    };
    let late = |_| (StatusCode::GATEWAY_TIMEOUT, format!("no verdict within {:.1} s", deadline.as_secs_f64()));
    tokio::time::timeout(deadline, judged).await.map_err(late)?
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("cannot be read: {error}")))
}

fn answer(outcome: Result<Value, Refusal>) -> Response {
    match outcome {
        Ok(value) => axum::Json(value).into_response(),
        Err((status, message)) => (status, axum::Json(json!({"error": message}))).into_response(),
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    answer(Ok(json!({"status": "ok", "verifier": shared.verifier.name()})))
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Question<'a> {
    Hello {
        v: u64,
    },
    Score {
        id: u64,
        #[serde(borrow)]
        items: Vec<WireItem<'a>>,
        #[serde(default)]
        deadline_ms: Option<u64>,
    },
}

async fn score(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let outcome = async {
        match read::<Question<'_>>(&body)? {
            Question::Hello { v: VERSION } => Ok(json!({
                "v": VERSION, "name": shared.verifier.name(), "version": env!("CARGO_PKG_VERSION"),
                "batch": true, "group": false, "max_inflight": QUEUE,
            })),
            Question::Hello { v } => {
                Err((StatusCode::BAD_REQUEST, format!("version {v} of the protocol is not spoken here")))
            }
            Question::Score { id, items, deadline_ms } => {
                let items = items.into_iter().map(WireItem::into_item).collect();
                let deadline = deadline_ms.map_or(DEADLINE, Duration::from_millis);
                let verdicts = judge(&shared, items, deadline.min(DEADLINE)).await?;
                let results: Vec<Score> = verdicts.into_iter().map(Score::from_verdict).collect();
                Ok(json!({"id": id, "results": results}))
            }
        }
    };
    answer(outcome.await)
}

async fn verify(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let outcome = async {
        let many = body.trim_ascii_start().starts_with(b"[");
        let items: Vec<Item> = if many { read(&body)? } else { vec![read(&body)?] };
        let mut verdicts = judge(&shared, items, DEADLINE).await?;
        match many {
            true => Ok(json!(verdicts)),
            false => Ok(json!(verdicts.pop())),
        }
    };
    answer(outcome.await)
}

#[derive(Deserialize)]
struct OpenRlhfQuestion {
    query: Vec<String>,
    #[serde(default)]
    prompts: Vec<String>,
    #[serde(default)]
    labels: Vec<Value>,
}

#[derive(Serialize)]
struct OpenRlhfAnswer {
    rewards: Vec<f64>,
    scores: Vec<f64>,
    extra_logs: BTreeMap<String, Vec<f64>>,
}

/// OpenRLHF has no word for a missing reward; a refusal leaves the reward of its whole request `None`.
async fn get_reward(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let outcome = async {
        let verdicts = judge(&shared, openrlhf_items(read(&body)?)?, DEADLINE).await?;
        if let Some(error) = verdicts.iter().find(|verdict| verdict.status == Status::Error) {
            return Err((StatusCode::UNPROCESSABLE_ENTITY, format!("item {}: {}", error.id, error.reason)));
        }
        Ok(json!(openrlhf_answer(&verdicts)))
    };
    answer(outcome.await)
}

fn openrlhf_items(question: OpenRlhfQuestion) -> Result<Vec<Item>, Refusal> {
    let OpenRlhfQuestion { query, prompts, labels } = question;
    for (name, len) in [("prompts", prompts.len()), ("labels", labels.len())] {
        if len != 0 && len != query.len() {
            return Err((StatusCode::BAD_REQUEST, format!("{len} {name} for {} of query", query.len())));
        }
    }
    let item = |(i, text): (usize, String)| {
        let prompt = prompts.get(i).cloned();
        let completion = prompt.as_deref().and_then(|prompt| text.strip_prefix(prompt)).unwrap_or(&text).to_owned();
        let ground_truth = labels.get(i).cloned().unwrap_or_default();
        Item {
            id: i.to_string(),
            prompt,
            completion,
            ground_truth,
            data_source: None,
            extra_info: Value::Null,
            token_count: None,
            truncated: false,
        }
    };
    Ok(query.into_iter().enumerate().map(item).collect())
}

fn openrlhf_answer(verdicts: &[Verdict]) -> OpenRlhfAnswer {
    let rewards: Vec<f64> = verdicts.iter().map(|verdict| verdict.reward.unwrap_or(0.0)).collect();
    let pass = |verdict: &Verdict| f64::from(u8::from(verdict.status == Status::Pass));
    let mut extra_logs = BTreeMap::from([("pass".to_owned(), verdicts.iter().map(pass).collect())]);
    for name in verdicts.first().into_iter().flat_map(|verdict| verdict.metrics.keys()) {
        // Their logs are lists of one number an item.
        let values: Option<Vec<f64>> = verdicts.iter().map(|verdict| verdict.metrics.get(name).copied()).collect();
        extra_logs.extend(values.map(|values| (name.clone(), values)));
    }
    OpenRlhfAnswer { scores: rewards.clone(), rewards, extra_logs }
}
