//! `--set a.b=c`: one setting of a recipe, from the command line.

use toml::{Table, Value};

use super::words::{explain, says_missing, suggest, wants_text};
use super::{Place, Problem, Recipe, RecipeError};

/// An override, understood.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    /// As it was typed.
    pub typed: String,
    /// Keys from the root, stages by their index.
    pub path: Vec<String>,
    /// The text after the `=`.
    raw: String,
    /// That text as TOML, or as it stands.
    pub value: Value,
}

impl Override {
    fn problem(&self, message: impl Into<String>, help: Option<String>) -> Problem {
        Problem { place: Place::Set(self.typed.clone()), message: message.into(), help }
    }
}

/// Applies `sets` to a recipe's table, the later winning.
///
/// `missing` is what the recipe alone lacks; it is the error if the overrides do not bring it.
pub(super) fn apply(
    table: &Table,
    sets: &[String],
    missing: Option<Problem>,
) -> Result<(Recipe, Vec<Override>), RecipeError> {
    let mut overrides = Vec::new();
    let mut written = table.clone();
    for typed in sets {
        let mut set = parse(typed)?;
        set.path = write(&mut written, &set)?;
        overrides.push(set);
    }
    loop {
        let error = match build(table, overrides.iter()) {
            Ok(recipe) => return Ok((recipe, overrides)),
            Err(error) => error,
        };
        if let (true, Some(problem)) = (says_missing(error.message()), &missing) {
            return Err(problem.clone().into());
        }
        let at_fault = culprit(table, &overrides);
        let set = &mut overrides[at_fault];
        // `--set run.name=2026` means the text, though 2026 alone is a number.
        if wants_text(error.message()) && !set.value.is_str() {
            set.value = Value::String(set.raw.clone());
            continue;
        }
        let explained = explain(error.message());
        return Err(set.problem(explained.message, explained.help).into());
    }
}

/// Which override the recipe fails on: the one without which it is fine, else the first that makes it fail.
fn culprit(table: &Table, overrides: &[Override]) -> usize {
    let without = |i: usize| overrides.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, set)| set);
    (0..overrides.len())
        .find(|&i| build(table, without(i)).is_ok())
        .or_else(|| {
            let fails = |i: &usize| build(table, overrides[..=*i].iter()).is_err_and(|e| !says_missing(e.message()));
            (0..overrides.len()).find(fails)
        })
        .unwrap_or(0)
}

fn build<'a>(table: &Table, sets: impl Iterator<Item = &'a Override>) -> Result<Recipe, toml::de::Error> {
    let mut table = table.clone();
    for set in sets {
        // Every path was walked once in `apply`; one that needs another override's table fails in `try_into` instead.
        let _ = write(&mut table, set);
    }
    table.try_into()
}

/// `a.b=c` into keys and a value; a value that is no TOML is text.
pub(crate) fn parse(typed: &str) -> Result<Override, Problem> {
    let problem = |message: &str| Problem {
        place: Place::Set(typed.to_owned()),
        message: message.into(),
        help: Some("write it as `section.key=value`, for example `sampling.temperature=0.7`".into()),
    };
    let (path, raw) = typed.split_once('=').ok_or_else(|| problem("there is no `=`"))?;
    let (path, raw) = (split_path(path), raw.trim());
    if path.iter().any(String::is_empty) {
        return Err(problem("a key is empty"));
    }
    let parsed = toml::from_str::<Table>(&format!("value = {raw}")).ok();
    // More than one key would mean that the text held a newline and went on.
    let value = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    // An object of JSON is no TOML, but means the same; `null` has no counterpart, and then it stays a text.
    let json = || serde_json::from_str(raw).ok().filter(serde_json::Value::is_object);
    let value = value.or_else(|| Value::try_from(json()?).ok());
    let value = value.unwrap_or_else(|| Value::String(raw.to_owned()));
    Ok(Override { typed: typed.to_owned(), path, raw: raw.to_owned(), value })
}

/// Splits at dots, but for those in double quotes.
fn split_path(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut quoted = false;
    for c in path.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => keys.push(String::new()),
            _ => keys.last_mut().expect("it starts with one key").push(c),
        }
    }
    keys
}

/// Writes the value into the table and returns the path with list items by their index.
fn write(table: &mut Table, set: &Override) -> Result<Vec<String>, Problem> {
    let (last, parents) = set.path.split_last().expect("a split path has a key");
    let mut resolved: Vec<String> = Vec::new();
    let mut root = Value::Table(std::mem::take(table));
    let result = walk(&mut root, parents, &mut resolved, set).and_then(|parent| {
        let key = place_value(parent, last, set)?;
        resolved.push(key);
        Ok(resolved)
    });
    if let Value::Table(walked) = root {
        *table = walked;
    }
    result
}

fn walk<'a>(
    root: &'a mut Value,
    keys: &[String],
    resolved: &mut Vec<String>,
    set: &Override,
) -> Result<&'a mut Value, Problem> {
    let mut here = root;
    for key in keys {
        let in_domains = resolved.len() == 1 && resolved[0] == "domains";
        let dotted = resolved.join(".");
        here = match here {
            Value::Array(items) => {
                let index = index_of(items, key, &dotted, set)?;
                resolved.push(index.to_string());
                &mut items[index]
            }
            Value::Table(table) => {
                // A new domain needs its own table in the recipe; a name that is not there is a slip.
                if in_domains && !table.contains_key(key) {
                    let names: Vec<&str> = table.keys().map(String::as_str).collect();
                    return Err(set.problem(format!("there is no domain `{key}`"), suggest(key, &names)));
                }
                resolved.push(key.clone());
                table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()))
            }
            _ => return Err(set.problem(format!("`{dotted}` is a single value and has no `{key}`"), None)),
        };
    }
    Ok(here)
}

fn place_value(parent: &mut Value, key: &str, set: &Override) -> Result<String, Problem> {
    let dotted = set.path[..set.path.len() - 1].join(".");
    match parent {
        Value::Array(items) => {
            let index = index_of(items, key, &dotted, set)?;
            items[index] = set.value.clone();
            Ok(index.to_string())
        }
        Value::Table(table) => {
            table.insert(key.to_owned(), set.value.clone());
            Ok(key.to_owned())
        }
        _ => Err(set.problem(format!("`{dotted}` is a single value and has no `{key}`"), None)),
    }
}

/// A list's item by its `name`, or by its index from 0.
fn index_of(items: &[Value], key: &str, dotted: &str, set: &Override) -> Result<usize, Problem> {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    if let Some(index) = items.iter().position(|item| name(item).as_deref() == Some(key)) {
        return Ok(index);
    }
    match key.parse::<usize>() {
        Ok(index) if index < items.len() => Ok(index),
        Ok(_) => {
            Err(set.problem(format!("`{dotted}` has {} items, counted from 0, and no item {key}", items.len()), None))
        }
        Err(_) => {
            let names: Vec<String> = items.iter().filter_map(name).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Err(set.problem(format!("nothing in `{dotted}` is called `{key}`"), suggest(key, &names)))
        }
    }
}
