//! A prompt: what the policy is asked, and what its verifier will need to judge the answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

impl Message {
    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }

    /// A turn of the assistant.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".into(), content: content.into() }
    }
}

/// What the policy is asked, with the means to judge the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Unique within its source; it keys the random numbers of sampling (INV-4), so it must not depend on order or time.
    pub id: String,
    /// The domain that picks verifiers, KL strength and teacher: `math`, `code`, `retrieval`, ….
    pub domain: String,
    /// verl's `data_source`: where the prompt came from. Equal to `domain` where the source names none.
    pub data_source: String,
    /// The conversation so far. The last turn is the user's.
    pub messages: Vec<Message>,
    /// What the verifier compares with: a string, or the tests of a program. `Null` where the source has none.
    pub ground_truth: Value,
    /// A reference answer to imitate (SFT, pre-training); `None` where the source has none.
    pub answer: Option<String>,
    /// Whatever else the source carries, untouched.
    pub extra_info: Value,
}
