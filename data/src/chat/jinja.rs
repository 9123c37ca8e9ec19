//! Filters, functions and tests that Jinja2 has and minijinja has not, or has otherwise.

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Value};

pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("wordcount", word_count);
    environment.add_filter("truncate", truncate);
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("callable", is_callable);
}

/// What has a length and items by number or key: to Python, text and maps have both, and so has what is undefined.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Bytes | ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    is_sequence(value) || value.kind() == ValueKind::Iterable
}

/// Functions and macros; and what is undefined, as Jinja2 has it, where calling it is an error all the same.
fn is_callable(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::Plain => true,
        // A macro looks like a map of what is known of it.
        ValueKind::Map => value.as_object().is_some() && value.to_string().starts_with("<macro "),
        _ => false,
    }
}

/// Runs of letters, digits and `_`.
fn word_count(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
}

/// `truncate(length=255, killwords=false, end='...', leeway=5)`, in characters.
fn truncate(text: &str, by_place: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    type ByPlace = (Option<usize>, Option<bool>, Option<String>, Option<usize>);
    let (length, kill_words, end, leeway): ByPlace = from_args(&by_place)?;
    let length = length.or(named.get("length")?).unwrap_or(255);
    let kill_words = kill_words.or(named.get("killwords")?).unwrap_or(false);
    let end = end.or(named.get("end")?).unwrap_or_else(|| "...".to_owned());
    let leeway = leeway.or(named.get("leeway")?).unwrap_or(5);
    named.assert_all_used()?;
    let room = length.checked_sub(end.chars().count()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("truncate: a length of {length} has no room for {end:?}"))
    })?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(room).collect();
    let kept = if kill_words { kept.as_str() } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(kept, _)| kept) };
    Ok(format!("{kept}{end}"))
}
