//! DeepSeek-V3.2's own encoding of conversations. The model ships with code for it and no template.
//!
//! ```text
//! <BOS>system [tools] <｜User｜>question<｜Assistant｜><think>thoughts</think>answer[calls]<EOS>[results]<think>…
//! ```
//!
//! Thoughts are kept only after the last turn of a user or developer: a new question drops those before it, the result of
//! a tool does not. Without thinking, and for questions that are answered already, `</think>` follows `<｜Assistant｜>` at
//! once. Calls of tools are DSML, tags with one parameter each, of which `string="true"` says that the value stands as it is
//! and `"false"` that it is JSON.
//!
//! What the tags are, and the words that tell the model of its tools, are the format: the model was trained with these bytes.

mod parse;

use serde_json::{Map, Value};

use super::{ChatError, json, thoughts};
use crate::Message;

pub use parse::{ParseError, parse};

const FORMAT: &str = "DeepSeek-V3.2's encoding";
const BEGIN: &str = "<｜begin▁of▁sentence｜>";
const END: &str = "<｜end▁of▁sentence｜>";
const USER: &str = "<｜User｜>";
const ASSISTANT: &str = "<｜Assistant｜>";
const THINK: &str = "<think>";
const END_THINK: &str = "</think>";
const DSML: &str = "｜DSML｜";

/// Whether the model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thinking {
    /// The answer begins with thoughts.
    pub on: bool,
    /// A new question drops the thoughts before it. The model's own code drops the developer's turns with them, which it
    /// then fails on.
    pub drop_past: bool,
}

impl Thinking {
    /// From the variables `enable_thinking` or `thinking` (false where neither is given) and `drop_thinking` (true).
    pub fn from_variables(variables: &Map<String, Value>) -> Self {
        let flag = |name: &str| variables.get(name).and_then(Value::as_bool);
        Self {
            on: flag("enable_thinking").or_else(|| flag("thinking")).unwrap_or(false),
            drop_past: flag("drop_thinking").unwrap_or(true),
        }
    }
}

/// A conversation as text. A last turn of a user, a developer or a tool is followed by the beginning of the answer.
///
/// Tools come from `variables` (`tools`, in OpenAI's form) and are told in the system's turn, which is put in front where
/// there is none; or from a key `tools` of a turn of the system or the developer.
///
/// # Errors
/// [`ChatError::Encoding`] for an unknown role, a result without its call, arguments that are no JSON object, or an answer
/// after the last question without thoughts while thinking is on.
pub fn encode(messages: &[Message], thinking: &Thinking, variables: &Map<String, Value>) -> Result<String, ChatError> {
    let mut turns = messages.to_vec();
    if let Some(tools @ Value::Array(list)) = variables.get("tools")
        && !list.is_empty()
    {
        if turns.first().is_none_or(|first| first.role != "system") {
            turns.insert(0, Message::new("system", ""));
        }
        turns[0].rest.insert("tools".to_owned(), tools.clone());
    }
    let last = last_question(&turns).unwrap_or(0);
    if thinking.on
        && thinking.drop_past
        && let Some(i) = turns[..last].iter().position(|turn| turn.role == "developer")
    {
        let message = "a developer's turn before the last question needs `drop_thinking = false`".to_owned();
        return Err(ChatError::Encoding { format: FORMAT, turn: i + 1, message });
    }
    let conversation = Conversation { last_question: last_question(&turns), turns: &turns, thinks: thinking.on };
    let mut out = BEGIN.to_owned();
    for i in 0..turns.len() {
        conversation.write(i, &mut out).map_err(|message| ChatError::Encoding {
            format: FORMAT,
            turn: i + 1,
            message,
        })?;
    }
    Ok(out)
}

fn last_question(turns: &[Message]) -> Option<usize> {
    turns.iter().rposition(|turn| matches!(turn.role.as_str(), "user" | "developer"))
}

struct Conversation<'a> {
    turns: &'a [Message],
    last_question: Option<usize>,
    thinks: bool,
}

impl Conversation<'_> {
    fn write(&self, i: usize, out: &mut String) -> Result<(), String> {
        let turn = &self.turns[i];
        match turn.role.as_str() {
            "system" => {
                out.push_str(&turn.content);
                out.push_str(&instructions(turn)?);
            }
            "developer" if turn.content.is_empty() => return Err("a developer's turn has a text".to_owned()),
            "developer" => {
                let content = format!("{}\n\n# The user's message is: {}", instructions(turn)?, turn.content);
                self.question(i, &content, out);
            }
            "user" => self.question(i, &turn.content, out),
            "tool" => self.result(i, out)?,
            "assistant" => self.answer(i, out)?,
            other => return Err(format!("unknown role `{other}`")),
        }
        Ok(())
    }

    fn question(&self, i: usize, content: &str, out: &mut String) {
        let opening = if self.thinks && self.last_question == Some(i) { THINK } else { END_THINK };
        out.extend([USER, content, ASSISTANT, opening]);
    }

    /// Results stand in the order of the calls that they answer; after the last one the assistant goes on.
    fn result(&self, i: usize, out: &mut String) -> Result<(), String> {
        let caller = self.turns[..i].iter().rposition(|turn| turn.role != "tool");
        let caller = caller.filter(|&c| self.turns[c].role == "assistant");
        let caller = caller.ok_or("a tool's result follows a turn of the assistant")?;
        let (nth, calls) = (i - caller, calls(&self.turns[caller])?.len());
        if nth > calls {
            return Err(format!("it is result {nth}, but the assistant made {calls} calls"));
        }
        if nth == 1 {
            out.push_str("\n\n<function_results>");
        }
        out.extend(["\n<result>", &self.turns[i].content, "</result>"]);
        if nth == calls {
            let thinks = self.thinks && self.last_question.is_none_or(|last| i >= last);
            out.extend(["\n</function_results>\n\n", if thinks { THINK } else { END_THINK }]);
        }
        Ok(())
    }

    fn answer(&self, i: usize, out: &mut String) -> Result<(), String> {
        let turn = &self.turns[i];
        let (calls, thoughts) = (calls(turn)?, thoughts(turn).unwrap_or_default());
        if self.thinks && self.last_question.is_none_or(|last| i > last) {
            if thoughts.is_empty() && calls.is_empty() {
                return Err(
                    "thinking is on, but this answer has neither `reasoning_content` nor `tool_calls`".to_owned()
                );
            }
            out.extend([thoughts, END_THINK]);
        }
        out.push_str(&turn.content);
        if !calls.is_empty() {
            let calls = calls.iter().map(call).collect::<Result<Vec<_>, _>>()?.join("\n");
            out.push_str(&format!("\n\n<{DSML}function_calls>\n{calls}\n</{DSML}function_calls>"));
        }
        out.push_str(END);
        Ok(())
    }
}

/// The functions of a list in OpenAI's form: `[{"type": "function", "function": {…}}]`.
fn functions<'a>(turn: &'a Message, key: &str) -> Result<Vec<&'a Value>, String> {
    let list = match turn.rest.get(key) {
        None => return Ok(Vec::new()),
        Some(list) => list.as_array().ok_or_else(|| format!("`{key}` is no list"))?,
    };
    let function =
        |entry: &'a Value| entry.get("function").ok_or_else(|| format!("an entry of `{key}` has no `function`"));
    list.iter().map(function).collect()
}

fn calls(turn: &Message) -> Result<Vec<&Value>, String> {
    functions(turn, "tool_calls")
}

fn call(function: &&Value) -> Result<String, String> {
    let name = function["name"].as_str().ok_or("a call has no `name`")?;
    let read;
    let arguments = match &function["arguments"] {
        Value::String(text) => {
            read = serde_json::from_str(text).map_err(|e| format!("the arguments of `{name}` are no JSON: {e}"))?;
            &read
        }
        other => other,
    };
    let arguments = arguments.as_object().ok_or_else(|| format!("the arguments of `{name}` are no JSON object"))?;
    let parameter = |(key, value): (&String, &Value)| {
        let (is_string, text) = match value {
            Value::String(text) => (true, text.clone()),
            other => (false, json::dumps(other)),
        };
        format!("<{DSML}parameter name=\"{key}\" string=\"{is_string}\">{text}</{DSML}parameter>")
    };
    let parameters = arguments.iter().map(parameter).collect::<Vec<_>>().join("\n");
    Ok(format!("<{DSML}invoke name=\"{name}\">\n{parameters}\n</{DSML}invoke>"))
}

/// What a turn of the system or the developer says of tools and of the answer's form.
fn instructions(turn: &Message) -> Result<String, String> {
    let mut out = String::new();
    let tools = functions(turn, "tools")?;
    if !tools.is_empty() {
        let schemas = tools.into_iter().map(json::dumps).collect::<Vec<_>>().join("\n");
        out.push_str("\n\n");
        out.push_str(&TOOLS.replace("{D}", DSML).replace("{SCHEMAS}", &schemas));
    }
    if let Some(format) = turn.rest.get("response_format") {
        out.push_str("\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n");
        out.push_str(&json::dumps(format));
    }
    Ok(out)
}

/// Part of the format, as are the tags. `{D}` is the mark of DSML.
const TOOLS: &str = r#"## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<{D}function_calls>" block like the following as part of your reply to the user:
<{D}function_calls>
<{D}invoke name="$FUNCTION_NAME">
<{D}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{D}parameter>
...
</{D}invoke>
<{D}invoke name="$FUNCTION_NAME2">
...
</{D}invoke>
</{D}function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<{D}function_calls>
...
</{D}function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
{SCHEMAS}
</functions>
"#;
