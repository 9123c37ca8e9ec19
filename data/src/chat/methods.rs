//! Python's methods that templates call: minijinja's own, and the few that it lacks.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, State, Value};

/// The longest text that `zfill` makes.
const WIDEST: usize = 1 << 16;

/// A method of a string, list or map.
pub(super) fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return match (name, value.kind()) {
            ("index", ValueKind::Seq) => index(value, arguments),
            _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
        };
    };
    Ok(match name {
        "title" if arguments.is_empty() => Value::from(title(text)),
        "rsplit" => {
            let (separator, most, named): (Option<String>, Option<i64>, Kwargs) = from_args(arguments)?;
            let separator = separator.or(named.get("sep")?);
            let most = most.or(named.get("maxsplit")?);
            named.assert_all_used()?;
            Value::from(rsplit(text, separator.as_deref(), most))
        }
        "partition" | "rpartition" => {
            let (separator,): (String,) = from_args(arguments)?;
            let parts = if name == "partition" { text.split_once(&separator) } else { text.rsplit_once(&separator) };
            Value::from(match parts {
                Some((before, after)) => vec![before.to_owned(), separator, after.to_owned()],
                None if name == "partition" => vec![text.to_owned(), String::new(), String::new()],
                None => vec![String::new(), String::new(), text.to_owned()],
            })
        }
        "removeprefix" => {
            let (prefix,): (String,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix.as_str()).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (String,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix.as_str()).unwrap_or(text))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            Value::from(zfill(text, width))
        }
        "index" => {
            let (part,): (String,) = from_args(arguments)?;
            let missing = || Error::new(minijinja::ErrorKind::InvalidOperation, "index: the text does not hold it");
            let at = text.find(&part).ok_or_else(missing)?;
            Value::from(text[..at].chars().count())
        }
        _ => return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    })
}

/// Where a list has a value first, from `start` on.
fn index(list: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let (wanted, start): (&Value, Option<usize>) = from_args(arguments)?;
    let found = list.try_iter()?.skip(start.unwrap_or(0)).position(|item| item == *wanted);
    let missing = || Error::new(minijinja::ErrorKind::InvalidOperation, format!("index: {wanted} is not in the list"));
    found.map(|at| Value::from(at + start.unwrap_or(0))).ok_or_else(missing)
}

/// Zeros before it, after its sign, up to `width` characters (a width that no text of a conversation needs is cut).
fn zfill(text: &str, width: usize) -> String {
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
    let zeros = width.min(WIDEST).saturating_sub(text.chars().count());
    format!("{sign}{}{digits}", "0".repeat(zeros))
}

/// A capital after whatever is no letter, a small letter after every letter.
fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        after_letter = c.is_alphabetic();
    }
    out
}

/// Splits from the end, at most `most` times where that is not negative; without separator at runs of whitespace.
fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Vec<String> {
    let most = most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<String> = match separator {
        Some(separator) => text.rsplitn(most, separator).map(str::to_owned).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let cut = rest.rfind(char::is_whitespace).filter(|_| parts.len() + 1 < most);
                let start = cut.map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
                parts.push(rest[start..].to_owned());
                rest = rest[..cut.unwrap_or(0)].trim_end();
            }
            parts
        }
    };
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.12 gives.
    #[test]
    fn rsplit_is_python_s() {
        assert_eq!(rsplit("a,b,c", Some(","), Some(1)), ["a,b", "c"]);
        assert_eq!(rsplit("a,b,c", Some(","), None), ["a", "b", "c"]);
        assert_eq!(rsplit("  a  b c ", None, Some(1)), ["  a  b", "c"]);
        assert_eq!(rsplit("  a  b ", None, None), ["a", "b"]);
        assert_eq!(rsplit("a b", None, Some(0)), ["a b"]);
    }
}
