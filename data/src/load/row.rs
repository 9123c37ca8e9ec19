//! One row, as a JSON object, to a prompt.

use serde_json::{Map, Value};

use super::{Columns, Format};
use crate::exact_json;
use crate::prompt::{TEXT, kind};
use crate::{Message, Prompt};

/// Columns that have one name in both formats.
const ID: &str = "id";
const DATA_SOURCE: &str = "data_source";
const EXTRA_INFO: &str = "extra_info";

/// pandas writes its row index as a column of this name; it is no part of the data.
const PANDAS_INDEX: &str = "__index_level_";

const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Why a row is no prompt.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) field: String,
    pub(super) problem: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The column of plain text.
pub(super) const TEXT_COLUMN: &str = "text";

/// The format that a row's columns tell, where nobody named one. Columns of the user's own count under the names of their
/// fields, and those that only conversations have tell that it is one.
pub(super) fn detect(row: &Map<String, Value>, columns: &Columns, is_columnar: bool) -> Format {
    let has = |column: &str| row.get(column).is_some_and(|value| !value.is_null());
    let has_prompt = columns.prompt.as_deref().map_or_else(|| has("prompt"), |name| peek(row, name).is_some());
    let is_dialogue = columns.messages.is_some()
        || columns.completion.is_some()
        || (has("messages") && columns.prompt.is_none())
        || (has_prompt && has("completion"));
    if is_dialogue {
        Format::Trl
    } else if is_columnar || has("reward_model") {
        Format::Verl
    } else if has("input") && !has("prompt") {
        Format::OpenRlhf
    } else if has(TEXT_COLUMN) && !has("prompt") && columns.prompt.is_none() {
        Format::Text
    } else {
        Format::Jsonl
    }
}

/// How a row is read.
pub(super) struct Reader<'a> {
    /// It names the columns that `columns` does not.
    pub(super) format: Format,
    /// The columns that the user named.
    pub(super) columns: &'a Columns,
    /// The domain of all rows, if the user gave one.
    pub(super) domain: Option<&'a str>,
    /// What stands around a prompt that is a string, `{}` for the prompt.
    pub(super) template: Option<&'a str>,
}

/// What each format calls its fields.
struct Names {
    prompt: &'static str,
    ground_truth: &'static str,
    answer: &'static str,
    domain: &'static str,
}

impl Reader<'_> {
    fn names(&self) -> Names {
        let own = Names { prompt: "prompt", ground_truth: "ground_truth", answer: "answer", domain: "domain" };
        match self.format {
            Format::Verl => Names { ground_truth: "reward_model.ground_truth", domain: "ability", ..own },
            Format::OpenRlhf => Names { prompt: "input", ground_truth: "label", answer: "output", ..own },
            Format::Text => Names { answer: TEXT_COLUMN, ..own },
            Format::Auto | Format::Jsonl | Format::Trl | Format::PrimeRl => own,
        }
    }

    /// A field whose column the user named though this format has no use for it, and why.
    pub(super) fn without_effect(&self) -> Option<(&'static str, &'static str)> {
        let columns = self.columns;
        let dialogue = "only conversations (`trl`, `prime-rl`) have it";
        let (is_dialogue, is_text) =
            (matches!(self.format, Format::Trl | Format::PrimeRl), self.format == Format::Text);
        let beside_messages = "`messages` holds the whole conversation";
        let cases = [
            (&columns.messages, !is_dialogue, "messages", dialogue),
            (&columns.completion, !is_dialogue, "completion", dialogue),
            (&columns.prompt, is_text, "prompt", "plain text asks nothing; name its column in `answer`"),
            (&columns.prompt, columns.messages.is_some(), "prompt", beside_messages),
            (&columns.completion, columns.messages.is_some(), "completion", beside_messages),
            (&columns.completion, columns.answer.is_some(), "completion", "`answer` says what is to be imitated"),
            (&columns.domain, self.domain.is_some(), "domain", "the domain that lists the file is that of its rows"),
        ];
        cases
            .into_iter()
            .find(|(column, has_none, ..)| column.is_some() && *has_none)
            .map(|(.., field, why)| (field, why))
    }

    pub(super) fn prompt(
        &self,
        row: Map<String, Value>,
        default_id: impl FnOnce() -> String,
    ) -> Result<Prompt, Problem> {
        let (columns, names) = (self.columns, self.names());
        let mut row = Row { columns: row, used: Vec::new() };
        let (messages, completion) = self.turns(&mut row, &names)?;
        let (_, ground_truth) = row.field(&columns.ground_truth, names.ground_truth)?;
        // The answers of TRL's rows are turns or completions; their `answer` is often a ground truth.
        let answer = match self.format {
            Format::Trl | Format::PrimeRl if columns.answer.is_none() => completion,
            Format::OpenRlhf => completion,
            _ => {
                let (name, value) = row.field(&columns.answer, names.answer)?;
                text(name, value)?
            }
        };
        if self.format == Format::Text && answer.as_deref().is_none_or(|text| text.trim().is_empty()) {
            return Err(row.missing(columns.answer.as_deref().unwrap_or(TEXT_COLUMN)));
        }
        let (id_name, id) = row.field(&columns.id, ID)?;
        let domain = match self.domain {
            Some(domain) => domain.to_owned(),
            None => {
                let (name, value) = row.field(&columns.domain, names.domain)?;
                text(name, value)?.ok_or_else(|| row.missing(name))?
            }
        };
        let (_, data_source) = row.field(&None, DATA_SOURCE)?;
        Ok(Prompt {
            id: text(id_name, id)?.unwrap_or_else(default_id),
            data_source: text(DATA_SOURCE, data_source)?.unwrap_or_else(|| domain.clone()),
            domain,
            messages,
            ground_truth: ground_truth.unwrap_or_default(),
            answer,
            extra_info: extra_info(row.rest())?,
        })
    }

    /// The turns of a row, and a completion of them that is plain text.
    fn turns(&self, row: &mut Row, names: &Names) -> Result<(Vec<Message>, Option<String>), Problem> {
        let columns = self.columns;
        if self.format == Format::Text {
            return Ok((Vec::new(), None));
        }
        let is_dialogue = matches!(self.format, Format::Trl | Format::PrimeRl);
        let looks_elsewhere = columns.prompt.is_some() || columns.completion.is_some();
        if is_dialogue && (columns.messages.is_some() || !looks_elsewhere) {
            let (name, whole) = row.field(&columns.messages, "messages")?;
            if let Some(whole) = whole {
                return Ok((self.messages(name, whole)?, None));
            }
        }
        let (name, prompt) = row.field(&columns.prompt, names.prompt)?;
        let mut turns = self.messages(name, prompt.ok_or_else(|| row.missing(name))?)?;
        let (of_completion, completion) = match self.format {
            _ if is_dialogue => row.field(&columns.completion, "completion")?,
            Format::OpenRlhf => match row.field(&columns.answer, names.answer)? {
                (name, Some(Value::Array(turns))) => (name, Some(Value::Array(turns))),
                (name, value) => (name, text(name, value)?.map(Value::String)),
            },
            _ => (name, None),
        };
        match completion {
            // OpenRLHF's rows may hold the answer as the last turn of what is asked.
            None if self.format == Format::OpenRlhf && turns.last().is_some_and(|last| last.role == "assistant") => {
                Ok((turns, None))
            }
            None => Ok((asked(name, turns)?, None)),
            Some(Value::String(text)) => Ok((asked(name, turns)?, Some(text))),
            Some(_) if turns[0].role == TEXT => {
                Err(Problem::new(of_completion, "a list of messages after a prompt that is plain text"))
            }
            Some(list) => {
                // What the prompt has the assistant say is given, not learned.
                for turn in turns.iter_mut().filter(|turn| turn.role == "assistant") {
                    turn.rest.insert("weight".to_owned(), Value::from(0));
                }
                turns.extend(self.messages(of_completion, list)?);
                Ok((turns, None))
            }
        }
    }

    fn messages(&self, field: &str, value: Value) -> Result<Vec<Message>, Problem> {
        let turns = match value {
            Value::Array(turns) => turns,
            Value::String(text) => match message_list(&text) {
                Some(turns) => turns,
                None if text.trim().is_empty() => return Err(Problem::new(field, "the prompt is blank")),
                None => {
                    return Ok(vec![match self.template {
                        Some(template) => Message::text(template.replacen("{}", &text, 1)),
                        None if self.format == Format::Trl => Message::text(text),
                        None => Message::user(text),
                    }]);
                }
            },
            other => {
                let problem = format!("{} where a string or a list of messages is expected", kind(&other));
                return Err(Problem::new(field, problem));
            }
        };
        if turns.is_empty() {
            return Err(Problem::new(field, "the list of messages is empty"));
        }
        turns.into_iter().enumerate().map(|(i, turn)| message(&format!("{field}[{i}]"), turn)).collect()
    }

    pub(super) fn id_column(&self) -> &str {
        self.columns.id.as_deref().unwrap_or(ID)
    }
}

/// Turns that end so that the assistant has something to answer.
fn asked(field: &str, messages: Vec<Message>) -> Result<Vec<Message>, Problem> {
    match messages.last() {
        Some(last) if !matches!(last.role.as_str(), "user" | "developer" | "tool" | TEXT) => Err(Problem::new(
            field,
            format!(
                "the last turn is the {}'s; it must be the user's (put what is to be imitated into the answer)",
                last.role
            ),
        )),
        _ => Ok(messages),
    }
}

/// A row that is being read. A column may serve several fields, so it leaves the row only when all are read.
struct Row {
    columns: Map<String, Value>,
    used: Vec<String>,
}

impl Row {
    /// A field: its column and its value. A column that the user named must be there.
    fn field<'a>(&mut self, named: &'a Option<String>, default: &'a str) -> Result<(&'a str, Option<Value>), Problem> {
        let name = named.as_deref().unwrap_or(default);
        let value = peek(&self.columns, name);
        if value.is_none() && named.is_some() {
            return Err(self.missing(name));
        }
        self.used.push(name.to_owned());
        Ok((name, value))
    }

    fn missing(&self, name: &str) -> Problem {
        let present = self.columns.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
        Problem::new(name, format!("missing or null; the columns are `{present}`"))
    }

    /// The columns that served no field.
    fn rest(mut self) -> Map<String, Value> {
        for name in &self.used {
            take(&mut self.columns, name);
        }
        self.columns
    }
}

/// The value at a dotted path of `row`; `None` if it is missing or null. A column whose own name has the dots goes first.
fn peek(row: &Map<String, Value>, path: &str) -> Option<Value> {
    if let Some(value) = row.get(path) {
        return Some(value.clone()).filter(|v| !v.is_null());
    }
    let (head, rest) = path.split_once('.')?;
    match row.get(head)? {
        Value::Object(object) => peek(object, rest),
        // Some exporters write structs as JSON strings.
        Value::String(text) => peek(&exact_json::from_str::<Map<String, Value>>(text).ok()?, rest),
        _ => None,
    }
}

/// Takes the value that [`peek`] finds out of `row`.
fn take(row: &mut Map<String, Value>, path: &str) -> Option<Value> {
    if row.contains_key(path) {
        return row.shift_remove(path).filter(|v| !v.is_null());
    }
    let (head, rest) = path.split_once('.')?;
    let inside = row.get_mut(head)?;
    if let Some(object) = inside.as_str().and_then(|s| exact_json::from_str::<Map<String, Value>>(s).ok()) {
        *inside = Value::Object(object);
    }
    let object = inside.as_object_mut()?;
    let value = take(object, rest);
    if object.is_empty() {
        row.shift_remove(head);
    }
    value
}

/// A field that is text; booleans and numbers become one, a float the shortest that is read as the same number.
fn text(field: &str, value: Option<Value>) -> Result<Option<String>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s)),
        Some(v @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(v.to_string())),
        Some(other) => Err(Problem::new(field, format!("{} where a string is expected", kind(&other)))),
    }
}

/// A string that is itself a JSON list of messages. Any other string, even other JSON, is the user's text.
fn message_list(text: &str) -> Option<Vec<Value>> {
    let turns: Vec<Value> = text.trim_start().starts_with('[').then(|| serde_json::from_str(text).ok())??;
    let all = turns.iter().all(|t| t.get("role").is_some());
    (all && !turns.is_empty()).then_some(turns)
}

/// A turn.
fn message(field: &str, turn: Value) -> Result<Message, Problem> {
    let Value::Object(turn) = turn else {
        return Err(Problem::new(
            field,
            format!("{} where a message with `role` and `content` is expected", kind(&turn)),
        ));
    };
    let message =
        Message::from_object(turn).map_err(|(key, problem)| Problem::new(format!("{field}.{key}"), problem))?;
    if !ROLES.contains(&message.role.as_str()) {
        return Err(Problem::new(
            format!("{field}.role"),
            format!("unknown role `{}`; expected one of {}", message.role, ROLES.join(", ")),
        ));
    }
    Ok(message)
}

/// What is left of the row: the fields of `extra_info`, then the other columns. `Null` when there is nothing.
fn extra_info(mut row: Map<String, Value>) -> Result<Value, Problem> {
    row.retain(|name, _| !name.starts_with(PANDAS_INDEX));
    let mut extra = match row.shift_remove(EXTRA_INFO) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(object)) => object,
        Some(other) => Map::from_iter([(EXTRA_INFO.to_owned(), other)]),
    };
    for (name, value) in row {
        match extra.get(&name) {
            Some(inside) if *inside != value => {
                let problem =
                    format!("is both a column and a key of `{EXTRA_INFO}`, with different values; rename one");
                return Err(Problem::new(name, problem));
            }
            _ => extra.insert(name, value),
        };
    }
    Ok(if extra.is_empty() { Value::Null } else { Value::Object(extra) })
}
