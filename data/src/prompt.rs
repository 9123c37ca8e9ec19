//! A prompt: what the policy is asked, and what its verifier will need to judge the answer.

use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The role of a turn that is plain text: it stands as it is, outside any chat template.
pub const TEXT: &str = "text";

/// One turn of a conversation.
///
/// As JSON it is the object that chat templates know: `role`, `content`, and whatever else the source says of the turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant`, `tool`, or [`TEXT`].
    pub role: String,
    /// The text of the turn. Empty where there is none beside calls of tools.
    pub content: String,
    /// What else the turn has: `tool_calls`, `reasoning_content`, `name`, `tool_call_id`, …. A `content` here is how the
    /// source writes the text where it is no string (null, or a list of parts), for templates that look at it.
    pub rest: Map<String, Value>,
}

impl Message {
    /// A turn of a role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), rest: Map::new() }
    }

    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// A turn of the assistant.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }

    /// Plain text, which no template touches.
    pub fn text(content: impl Into<String>) -> Self {
        Self::new(TEXT, content)
    }

    /// The same turn with one thing more said of it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.rest.insert(key.to_owned(), value.into());
        self
    }

    /// Whether a model may learn to say this: a turn of the assistant whose `weight` is not 0.
    pub fn is_trained(&self) -> bool {
        self.role == "assistant" && self.rest.get("weight").and_then(Value::as_f64) != Some(0.0)
    }

    /// From JSON's object. Null is like absent, but for `content`: a turn without text has `content: null`.
    ///
    /// # Errors
    /// The key that is not as it must be (`role` or `content`), and what is wrong with it.
    pub fn from_object(mut turn: Map<String, Value>) -> Result<Self, (&'static str, String)> {
        let role = match turn.shift_remove("role") {
            Some(Value::String(role)) => role,
            None => return Err(("role", "missing; a message has `role` and `content`".to_owned())),
            Some(other) => return Err(("role", format!("{other} where a string is expected"))),
        };
        let content = turn.shift_remove("content");
        turn.retain(|_, value| !value.is_null());
        let says_more =
            ["tool_calls", "reasoning_content", "reasoning", "thinking"].iter().any(|k| turn.contains_key(*k));
        let content = match content {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) if says_more => {
                turn.insert("content".to_owned(), Value::Null);
                String::new()
            }
            Some(Value::Array(parts)) => {
                let text = text_of(&parts).ok_or_else(|| {
                    (
                        "content",
                        "a list that holds more than parts of text: `{\"type\": \"text\", \"text\": …}`".to_owned(),
                    )
                })?;
                turn.insert("content".to_owned(), Value::Array(parts));
                text
            }
            None => return Err(("content", "missing; a message has `role` and `content`".to_owned())),
            Some(other) => return Err(("content", format!("{} where a string is expected", kind(&other)))),
        };
        Ok(Self { role, content, rest: turn })
    }
}

/// The text of a list of parts, if all are text.
fn text_of(parts: &[Value]) -> Option<String> {
    parts.iter().map(|part| part["text"].as_str().filter(|_| part["type"] == "text")).collect()
}

/// What to call a value in a message.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own_content = self.rest.get("content");
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", &self.role)?;
        match own_content {
            Some(as_written) => map.serialize_entry("content", as_written)?,
            None => map.serialize_entry("content", &self.content)?,
        }
        for (key, value) in self.rest.iter().filter(|(key, _)| !matches!(key.as_str(), "role" | "content")) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let turn = Map::deserialize(deserializer)?;
        Self::from_object(turn).map_err(|(key, problem)| D::Error::custom(format!("message, `{key}`: {problem}")))
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
    /// The conversation so far. What is to be answered ends in a turn of the user or of a tool; what is to be imitated may
    /// end in the assistant's, and is then the whole conversation. Empty for plain text that nothing asked for.
    pub messages: Vec<Message>,
    /// What the verifier compares with: a string, or the tests of a program. `Null` where the source has none.
    pub ground_truth: Value,
    /// A reference answer to imitate (SFT, pre-training); `None` where the source has none.
    pub answer: Option<String>,
    /// Whatever else the source carries, untouched.
    pub extra_info: Value,
}

impl Prompt {
    /// Whether its own turns hold what is to be imitated.
    pub fn is_conversation(&self) -> bool {
        self.messages.last().is_some_and(|last| last.role == "assistant")
    }

    /// What the source says for the chat template beside the turns: `tools`, `documents` and what is in
    /// `chat_template_kwargs`, all from `extra_info`, where a list may be written as a JSON string.
    pub fn template_variables(&self) -> Map<String, Value> {
        let unquoted = |value: &Value| match value.as_str().map(serde_json::from_str) {
            Some(Ok(inside)) => inside,
            _ => value.clone(),
        };
        let mut variables = match self.extra_info.get("chat_template_kwargs").map(unquoted) {
            Some(Value::Object(given)) => given,
            _ => Map::new(),
        };
        for name in ["tools", "documents"] {
            if let Some(Value::Array(list)) = self.extra_info.get(name).map(unquoted) {
                variables.insert(name.to_owned(), Value::Array(list));
            }
        }
        variables
    }
}
