//! One row, as a JSON object, to a prompt.

use serde_json::{Map, Value};

use super::{Columns, Format};
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

/// The format that a row's columns tell, where nobody named one.
pub(super) fn detect(row: &Map<String, Value>, is_columnar: bool) -> Format {
    let has = |column: &str| row.get(column).is_some_and(|value| !value.is_null());
    if has("messages") || (has("prompt") && has("completion")) {
        Format::Trl
    } else if is_columnar || has("reward_model") {
        Format::Verl
    } else if has("input") && !has("prompt") {
        Format::OpenRlhf
    } else if has(TEXT_COLUMN) && !has("prompt") {
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

    pub(super) fn prompt(
        &self,
        mut row: Map<String, Value>,
        default_id: impl FnOnce() -> String,
    ) -> Result<Prompt, Problem> {
        let (columns, names) = (self.columns, self.names());
        let present = row.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
        let missing = |name: &str| Problem::new(name, format!("missing or null; the columns are `{present}`"));
        let (messages, completion) = self.turns(&mut row, names.prompt, &missing)?;
        let (_, ground_truth) = field(&mut row, &columns.ground_truth, names.ground_truth, &missing)?;
        // The answers of TRL's rows are turns or completions; their `answer` is often a ground truth.
        let answer = match self.format {
            Format::Trl | Format::PrimeRl if columns.answer.is_none() => completion,
            _ => {
                let (name, value) = field(&mut row, &columns.answer, names.answer, &missing)?;
                text(name, value)?
            }
        };
        if self.format == Format::Text && answer.as_deref().is_none_or(|text| text.trim().is_empty()) {
            return Err(missing(columns.answer.as_deref().unwrap_or(TEXT_COLUMN)));
        }
        let (id_name, id) = field(&mut row, &columns.id, ID, &missing)?;
        let domain = match self.domain {
            Some(domain) => domain.to_owned(),
            None => {
                let (name, value) = field(&mut row, &columns.domain, names.domain, &missing)?;
                text(name, value)?.ok_or_else(|| missing(name))?
            }
        };
        let data_source = text(DATA_SOURCE, take(&mut row, DATA_SOURCE))?.unwrap_or_else(|| domain.clone());
        Ok(Prompt {
            id: text(id_name, id)?.unwrap_or_else(default_id),
            domain,
            data_source,
            messages,
            ground_truth: ground_truth.unwrap_or_default(),
            answer,
            extra_info: extra_info(row)?,
        })
    }

    /// The turns of a row, and a completion of them that is plain text.
    fn turns(
        &self,
        row: &mut Map<String, Value>,
        name: &'static str,
        missing: &dyn Fn(&str) -> Problem,
    ) -> Result<(Vec<Message>, Option<String>), Problem> {
        let columns = self.columns;
        if self.format == Format::Text {
            return Ok((Vec::new(), None));
        }
        let is_dialogue = matches!(self.format, Format::Trl | Format::PrimeRl);
        if is_dialogue {
            let (name, whole) = field(row, &columns.messages, "messages", missing)?;
            if let Some(whole) = whole {
                return Ok((self.messages(name, whole)?, None));
            }
        }
        let (name, prompt) = field(row, &columns.prompt, name, missing)?;
        let mut turns = self.messages(name, prompt.ok_or_else(|| missing(name))?)?;
        let (of_completion, completion) = match is_dialogue {
            true => field(row, &columns.completion, "completion", missing)?,
            false => (name, None),
        };
        match completion {
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

/// Takes a field out of `row`: its column and its value. A column that the user named must be there.
fn field<'a>(
    row: &mut Map<String, Value>,
    named: &'a Option<String>,
    default: &'a str,
    missing: &dyn Fn(&str) -> Problem,
) -> Result<(&'a str, Option<Value>), Problem> {
    let name = named.as_deref().unwrap_or(default);
    match take(row, name) {
        None if named.is_some() => Err(missing(name)),
        value => Ok((name, value)),
    }
}

/// Takes the value at a dotted path out of `row`; `None` if it is missing or null. A column whose own name has the dots
/// goes first.
fn take(row: &mut Map<String, Value>, path: &str) -> Option<Value> {
    if row.contains_key(path) {
        return row.shift_remove(path).filter(|v| !v.is_null());
    }
    let (head, rest) = path.split_once('.')?;
    let inside = row.get_mut(head)?;
    // Some exporters write structs as JSON strings.
    if let Some(object) = inside.as_str().and_then(|s| serde_json::from_str::<Map<String, Value>>(s).ok()) {
        *inside = Value::Object(object);
    }
    let object = inside.as_object_mut()?;
    let value = take(object, rest);
    if object.is_empty() {
        row.shift_remove(head);
    }
    value
}

/// A field that is text; numbers and booleans are taken as they are written.
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
