//! JSON as Python's `json.dumps` writes it, which is what models saw in training.

use std::fmt::Write;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind};
use serde_json::{Number, Value};

/// How to write.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// What a level is indented by; `None` for one line.
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { indent: None, item: ", ".into(), key: ": ".into(), ascii: false, sorted: false }
    }
}

/// `json.dumps(value, ensure_ascii=False)`.
pub(super) fn dumps(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, &Style::default(), 0);
    out
}

/// The filter `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`: nothing is escaped for HTML.
pub(super) fn tojson(value: &minijinja::Value, arguments: Kwargs) -> Result<minijinja::Value, Error> {
    let indent: Option<minijinja::Value> = arguments.get("indent")?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    let mut style = Style {
        ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ..Style::default()
    };
    arguments.assert_all_used()?;
    if let Some(indent) = indent.filter(|value| !value.is_none()) {
        style.item = ",".into();
        style.indent = Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent).unwrap_or(0).min(64)),
        });
    }
    match separators.as_deref() {
        None => {}
        Some([item, key]) => (style.item, style.key) = (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: `separators` are two strings")),
    }
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "tojson: the value is undefined"));
    }
    let value =
        serde_json::to_value(value).map_err(|e| Error::new(ErrorKind::BadSerialization, format!("tojson: {e}")))?;
    let mut out = String::new();
    write(&mut out, &value, &style, 0);
    Ok(minijinja::Value::from_safe_string(out))
}

fn write(out: &mut String, value: &Value, style: &Style, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => number(out, n),
        Value::String(s) => string(out, s, style.ascii),
        Value::Array(items) => {
            list(out, style, depth, ('[', ']'), items.iter(), |out, item| write(out, item, style, depth + 1));
        }
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            if style.sorted {
                entries.sort_by_key(|(key, _)| *key);
            }
            list(out, style, depth, ('{', '}'), entries.into_iter(), |out, (key, item)| {
                string(out, key, style.ascii);
                out.push_str(&style.key);
                write(out, item, style, depth + 1);
            });
        }
    }
}

fn list<T>(
    out: &mut String,
    style: &Style,
    depth: usize,
    (open, close): (char, char),
    items: impl ExactSizeIterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    let is_empty = items.len() == 0;
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push_str(&style.item);
        }
        new_line(out, depth + 1);
        each(out, item);
    }
    if !is_empty {
        new_line(out, depth);
    }
    out.push(close);
}

/// Python's `repr` of a float: the shortest digits that read back, in scientific form below 1e-4 and from 1e16 on, with a
/// sign and two digits in the exponent.
fn number(out: &mut String, number: &Number) {
    let float = match number.as_f64() {
        Some(float) if number.is_f64() => float,
        _ => return write!(out, "{number}").expect("a string takes all"),
    };
    let shortest = format!("{float:e}");
    let (digits, exponent) = shortest.split_once('e').expect("this is how floats are written in scientific form");
    let exponent: i32 = exponent.parse().expect("this is how floats are written in scientific form");
    if float != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs()).expect("a string takes all");
    } else {
        write!(out, "{float:?}").expect("a string takes all");
    }
}

fn string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && c > '~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a string takes all");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What Python 3.12 prints for the same values.
    #[test]
    fn numbers_and_strings_are_python_s() {
        let value = json!([
            1.0,
            1e16,
            1e-5,
            0.0001,
            123456789012345680.0,
            -0.0,
            2.5e-300,
            3,
            -7,
            "a\u{7f}\u{1}\"\\\u{e9}",
            [],
            {}
        ]);
        assert_eq!(
            dumps(&value),
            "[1.0, 1e+16, 1e-05, 0.0001, 1.2345678901234568e+17, -0.0, 2.5e-300, 3, -7, \"a\u{7f}\\u0001\\\"\\\\\u{e9}\", [], {}]"
        );
    }
}
