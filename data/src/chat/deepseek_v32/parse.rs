//! From what DeepSeek-V3.2 wrote to a turn of the assistant.

use serde_json::{Value, json};

use super::super::json::dumps;
use super::{BEGIN, DSML, END, END_THINK, THINK};
use crate::Message;

/// Why a completion is no turn. Nothing is mended: a verifier should see what the model wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Thinking is on, and the thoughts have no end.
    #[error("the thoughts are not ended by `</think>`")]
    OpenThoughts,
    /// A mark of the format stands within the text.
    #[error("`{0}` stands within the text")]
    Mark(&'static str),
    /// The calls are not as they must be.
    #[error("calls of tools, byte {at}: expected {expected}")]
    Calls {
        /// Where, in bytes of the completion.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A parameter stands twice in a call.
    #[error("parameter `{0}` stands twice in one call")]
    Twice(String),
    /// A parameter with `string="false"` is no JSON.
    #[error("the value of parameter `{0}` is no JSON")]
    Value(String),
}

/// Reads a completion: thoughts (with `thinks`), text, calls. The end token may be there or not.
///
/// Calls come as in OpenAI's form, their arguments as a JSON string in the order and spelling of the completion.
///
/// # Errors
/// [`ParseError`].
pub fn parse(text: &str, thinks: bool) -> Result<Message, ParseError> {
    let text = text.strip_suffix(END).unwrap_or(text);
    let opening = format!("\n\n<{DSML}function_calls");
    let start_of_calls = text.find(&opening).unwrap_or(text.len());
    let (thoughts, from) = match text[..start_of_calls].find(END_THINK).filter(|_| thinks) {
        Some(end) => (&text[..end], end + END_THINK.len()),
        None if thinks => return Err(ParseError::OpenThoughts),
        None => ("", 0),
    };
    let content = &text[from..start_of_calls];
    for mark in [BEGIN, END, THINK, END_THINK, DSML] {
        if content.contains(mark) || thoughts.contains(mark) {
            return Err(ParseError::Mark(mark));
        }
    }
    let mut turn = Message::assistant(content);
    if thinks {
        turn = turn.with("reasoning_content", thoughts);
    }
    if start_of_calls < text.len() {
        let mut reader = Reader { text, at: start_of_calls + opening.len() };
        turn = turn.with("tool_calls", Value::Array(reader.calls()?));
    }
    Ok(turn)
}

/// A place in a completion.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, mark: &str) -> bool {
        let is_there = self.text[self.at..].starts_with(mark);
        self.at += if is_there { mark.len() } else { 0 };
        is_there
    }

    fn expect(&mut self, mark: &str, expected: &'static str) -> Result<(), ParseError> {
        if self.eat(mark) { Ok(()) } else { Err(ParseError::Calls { at: self.at, expected }) }
    }

    fn until(&mut self, mark: &str, expected: &'static str) -> Result<&'a str, ParseError> {
        let rest = &self.text[self.at..];
        let end = rest.find(mark).ok_or(ParseError::Calls { at: self.at, expected })?;
        self.at += end + mark.len();
        Ok(&rest[..end])
    }

    fn calls(&mut self) -> Result<Vec<Value>, ParseError> {
        self.expect(">\n", "`>` and a new line")?;
        let mut calls = Vec::new();
        while !self.eat(&format!("</{DSML}function_calls>")) {
            self.expect(&format!("<{DSML}invoke name=\""), "a call or the end of the calls")?;
            calls.push(self.call()?);
        }
        if self.at < self.text.len() {
            return Err(ParseError::Calls { at: self.at, expected: "nothing after the calls" });
        }
        Ok(calls)
    }

    fn call(&mut self) -> Result<Value, ParseError> {
        let name = self.until("\">\n", "the end of the call's name")?;
        // A call without parameters has an empty line in their place.
        self.eat("\n");
        let mut arguments: Vec<(&str, String)> = Vec::new();
        while self.eat(&format!("<{DSML}parameter name=\"")) {
            let key = self.until("\" string=\"", "`string` after a parameter's name")?;
            let is_string = self.until("\">", "the end of a parameter's tag")?;
            let value = self.until(&format!("</{DSML}parameter>\n"), "the end of a parameter")?;
            if arguments.iter().any(|(other, _)| *other == key) {
                return Err(ParseError::Twice(key.to_owned()));
            }
            let value = match is_string {
                "true" => dumps(&Value::from(value)),
                "false" if serde_json::from_str::<Value>(value).is_ok() => value.to_owned(),
                "false" => return Err(ParseError::Value(key.to_owned())),
                _ => return Err(ParseError::Calls { at: self.at, expected: "`true` or `false` for `string`" }),
            };
            arguments.push((key, value));
        }
        self.expect(&format!("</{DSML}invoke>\n"), "a parameter or the end of the call")?;
        let written = arguments.iter().map(|(key, value)| format!("{}: {value}", dumps(&Value::from(*key))));
        let arguments = format!("{{{}}}", written.collect::<Vec<_>>().join(", "));
        Ok(json!({"type": "function", "function": {"name": name, "arguments": arguments}}))
    }
}
