//! The generative judge: another model reads the answer and says whether it is right.
//!
//! It is the last resort, for what no rule can check or a rule left undecided. A judge can be pleased, so the answer is cut
//! and marked off, the reference is always shown, an answer without a letter or digit fails unread, and worthless answers
//! are put before it with every call: a judge that passes one gives no verdicts (INV-9).

mod cache;
mod limits;
mod question;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data::{Item, Verdict};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Verifier;
use crate::http::{Client, HttpError, wait};
use cache::{Cache, Outcome};
use limits::Pace;
use question::{Question, Vote, canary, read_vote};
pub use settings::{Form, JudgeError, JudgeSettings, RUBRIC};

/// Bytes of a judge's answer.
const ANSWER_BYTES: usize = 1 << 20;

/// The longest that a server may put one off.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Asks a model behind an OpenAI-compatible API.
pub struct JudgeVerifier {
    asker: Arc<Asker>,
}

struct Asker {
    settings: JudgeSettings,
    endpoint: String,
    client: Client,
    pace: Pace,
    slots: Semaphore,
    cache: Cache,
}

/// Why there is no outcome.
#[derive(Debug, Clone)]
struct Lost {
    kind: &'static str,
    message: String,
}

impl JudgeVerifier {
    /// A judge; nothing is asked yet.
    ///
    /// # Errors
    /// [`JudgeError`].
    pub fn new(settings: JudgeSettings) -> Result<Self, JudgeError> {
        settings.check()?;
        let key = match settings.api_key_env.as_str() {
            "" => None,
            name => Some(std::env::var(name).map_err(|_| JudgeError::NoKey(name.into()))?),
        };
        let asker = Asker {
            endpoint: settings.endpoint(),
            client: Client::new(key).map_err(|error| JudgeError::Client(error.to_string()))?,
            pace: Pace::new(settings.requests_per_minute, settings.tokens_per_minute),
            slots: Semaphore::new(settings.concurrent),
            cache: Cache::open(&settings.cache)?,
            settings,
        };
        Ok(Self { asker: Arc::new(asker) })
    }

    /// The question about an item, or the verdict that needs none.
    fn question(&self, item: &Item) -> Result<Question, Box<Verdict>> {
        let settings = &self.asker.settings;
        if settings.reference && item.ground_truth.is_null() {
            let message = "the item has no ground_truth to show the judge; `reference = false` judges without one";
            return Err(Box::new(Verdict::error(&item.id, message).tag("error", "bad_input")));
        }
        let question = Question::new(item, settings);
        if !question.answer.contains(char::is_alphanumeric) {
            return Err(Box::new(Verdict::fail(&item.id, "the answer has no letter and no digit")));
        }
        Ok(question)
    }

    fn verdict(&self, id: &str, outcome: &Result<Outcome, Lost>) -> Verdict {
        let settings = &self.asker.settings;
        match outcome {
            Err(lost) => {
                Verdict::error(id, format!("judge {}: {}", settings.model, lost.message)).tag("error", lost.kind)
            }
            Ok(Outcome { score: None, .. }) => Verdict::undecided(id, "the judge cannot tell"),
            Ok(Outcome { score: Some(score), votes }) => {
                let words = format!("the judge's mean over {votes} vote(s) is {score:.3}");
                let pass = *score >= settings.threshold;
                let verdict = if pass { Verdict::pass(id, words) } else { Verdict::fail(id, words) };
                Verdict { reward: Some(*score), ..verdict }.metric("votes", *votes as f64)
            }
        }
    }
}

impl Verifier for JudgeVerifier {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        let settings = &self.asker.settings;
        let questions: Vec<Result<Question, Box<Verdict>>> = items.iter().map(|item| self.question(item)).collect();
        let keys: Vec<Option<String>> =
            questions.iter().map(|question| Some(question.as_ref().ok()?.key(settings))).collect();
        let mut known: HashMap<String, Result<Outcome, Lost>> = HashMap::new();
        let mut open: HashMap<String, Question> = HashMap::new();
        for (key, question) in keys.iter().zip(&questions) {
            let (Some(key), Ok(question)) = (key, question) else { continue };
            match self.asker.cache.get(key) {
                Some(outcome) => drop(known.insert(key.clone(), Ok(outcome))),
                None => drop(open.insert(key.clone(), question.clone())),
            }
        }
        if !open.is_empty() {
            let asker = Arc::clone(&self.asker);
            // The first in the order of the items, so that the same items meet the same canaries.
            let first = keys.iter().flatten().find_map(|key| open.get(key)).cloned();
            known.extend(wait(async move { asker.ask_all(open, first).await }));
        }
        let mut verdicts = Vec::with_capacity(items.len());
        for ((item, question), key) in items.iter().zip(questions).zip(keys) {
            verdicts.push(match (question, key) {
                (Err(verdict), _) => *verdict,
                (Ok(_), key) => self.verdict(&item.id, &known[&key.expect("a question has a key")]),
            });
        }
        verdicts
    }
}

impl Asker {
    /// Outcomes of all open questions, or why there are none.
    async fn ask_all(
        self: Arc<Self>,
        open: HashMap<String, Question>,
        first: Option<Question>,
    ) -> HashMap<String, Result<Outcome, Lost>> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs_f64(self.settings.deadline_s);
        let late = Lost { kind: "timeout", message: format!("no verdict within {} s", self.settings.deadline_s) };
        let mut outcomes: HashMap<String, Result<Outcome, Lost>> =
            open.keys().map(|key| (key.clone(), Err(late.clone()))).collect();
        let mut canaries: Vec<Result<Outcome, Lost>> = Vec::new();
        let mut tasks = JoinSet::new();
        for number in 0..self.settings.canaries {
            let Some(question) = first.as_ref().map(|first| canary(first, number)) else { break };
            let asker = Arc::clone(&self);
            tasks.spawn(async move { (None, asker.ask(&question).await) });
        }
        let expected = tasks.len();
        for (key, question) in open {
            let asker = Arc::clone(&self);
            tasks.spawn(async move { (Some(key), asker.ask(&question).await) });
        }
        while let Ok(Some(joined)) = tokio::time::timeout_at(deadline, tasks.join_next()).await {
            match joined {
                Ok((Some(key), outcome)) => drop(outcomes.insert(key, outcome)),
                Ok((None, outcome)) => canaries.push(outcome),
                // A task that broke leaves its outcome as it was: an error.
                Err(_) => {}
            }
        }
        // Dropping the set stops what is still on its way.
        self.trust(&canaries, expected, &mut outcomes);
        outcomes
    }

    /// Keeps the outcomes of a judge that failed every worthless answer, and of no other.
    fn trust(
        &self,
        canaries: &[Result<Outcome, Lost>],
        expected: usize,
        outcomes: &mut HashMap<String, Result<Outcome, Lost>>,
    ) {
        let passed =
            |canary: &&Result<Outcome, Lost>| matches!(canary, Ok(o) if o.score >= Some(self.settings.threshold));
        let message = if canaries.iter().any(|canary| passed(&canary)) {
            "it passed an answer that says nothing, so none of its verdicts is used"
        } else if canaries.len() < expected || canaries.iter().any(Result::is_err) {
            "it gave no verdict on an answer that says nothing, so none of its verdicts is used"
        } else {
            for (key, outcome) in outcomes.iter() {
                if let Ok(outcome) = outcome {
                    self.cache.put(key, *outcome);
                }
            }
            return;
        };
        for outcome in outcomes.values_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = Err(Lost { kind: "canary", message: message.into() });
        }
    }

    /// All votes on one question. More than half of them must be readable.
    async fn ask(&self, question: &Question) -> Result<Outcome, Lost> {
        let (mut scores, mut undecided, mut lost) = (Vec::new(), 0, None);
        for vote in 0..self.settings.votes {
            match self.vote(question, vote).await {
                Ok(Vote::Score(score)) => scores.push(score),
                Ok(Vote::Undecided) => undecided += 1,
                Err(error) => lost = Some(error),
            }
        }
        let votes = scores.len() + undecided;
        match lost {
            Some(lost) if 2 * votes <= self.settings.votes => Err(lost),
            _ if scores.len() <= undecided => Ok(Outcome { score: None, votes }),
            _ => Ok(Outcome { score: Some(scores.iter().sum::<f64>() / scores.len() as f64), votes }),
        }
    }

    /// One vote, asked for again while that may help.
    async fn vote(&self, question: &Question, vote: usize) -> Result<Vote, Lost> {
        let body = question.body(&self.settings, vote);
        let mut lost = Lost { kind: "upstream", message: "it was not asked".into() };
        for attempt in 0..self.settings.tries {
            let mut put_off = None;
            match self.post(&body).await {
                Ok(answer) => match read_vote(&answer, self.settings.form) {
                    Ok(vote) => return Ok(vote),
                    Err(message) => lost = Lost { kind: "nonsense", message },
                },
                Err(error) => {
                    if let HttpError::Status { retry_after, .. } = &error {
                        put_off = *retry_after;
                    }
                    let kind = if matches!(error, HttpError::Timeout(_)) { "timeout" } else { "upstream" };
                    lost = Lost { kind, message: error.to_string() };
                    if !error.is_passing() {
                        return Err(lost);
                    }
                }
            }
            if attempt + 1 < self.settings.tries {
                tokio::time::sleep(put_off.unwrap_or_else(|| self.back_off(question, attempt)).min(MAX_WAIT)).await;
            }
        }
        Err(lost)
    }

    /// Doubles with each attempt, times a half to one and a half that differs between questions, so that they do not all
    /// come back at once.
    fn back_off(&self, question: &Question, attempt: usize) -> Duration {
        let hash = data::counter_rng::stable_hash(format!("{attempt}{}", question.answer).as_bytes());
        let spread = 0.5 + (hash % 1_000) as f64 / 1_000.0;
        Duration::from_secs_f64(self.settings.back_off_s * 2_f64.powi(attempt as i32) * spread).min(MAX_WAIT)
    }

    async fn post(&self, body: &Value) -> Result<Vec<u8>, HttpError> {
        let characters = body["messages"].to_string().len();
        let tokens = characters / 4 + body["max_tokens"].as_u64().unwrap_or(0) as usize;
        let put_off = self.pace.reserve(tokens, Instant::now());
        tokio::time::sleep(put_off).await;
        let _slot = self.slots.acquire().await.expect("it is never closed");
        self.client.post(&self.endpoint, body, Duration::from_secs_f64(self.settings.timeout_s), ANSWER_BYTES).await
    }
}

#[cfg(test)]
mod tests;
