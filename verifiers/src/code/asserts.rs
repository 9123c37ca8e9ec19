//! The shape of an assert: which expression goes into the child, and which literal stays outside.

use super::{
    pyliteral::{literal, string_end},
    value::Value,
};

/// Parentheses around a whole expression that are taken off, one pair within another.
const MAX_WRAPS: usize = 100;

/// An assert, taken apart.
#[derive(Debug, PartialEq)]
pub(super) enum Assert<'a> {
    /// `assert EXPRESSION == LITERAL`, either way round, or with `is` and a constant.
    Equals(&'a str, Value),
    /// `assert f(…)` or `assert not f(…)`.
    Truth(&'a str, bool),
    /// Anything else.
    Other,
}

/// A token that splits an expression at its top level.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Split {
    Equal,
    Is,
    Comma,
    Other,
}

/// Takes an assert apart. `None` when the text is not one assert statement.
pub(super) fn assert_shape(statement: &str) -> Option<Assert<'_>> {
    let body = statement
        .trim()
        .strip_prefix("assert")
        .filter(|rest| rest.starts_with([' ', '(', '\t', '[', '\'', '"', '{']))?;
    shape(body, 0)
}

/// The shape of what stands inside `wraps` pairs of parentheses.
fn shape(body: &str, wraps: usize) -> Option<Assert<'_>> {
    let mut splits = splits(body)?;
    let end = splits.iter().position(|(_, _, s)| *s == Split::Comma);
    let body = match end {
        Some(i) => {
            let comma = splits[i].0;
            splits.truncate(i);
            &body[..comma]
        }
        None => body,
    };
    let sides = |start: usize, len: usize| (body[..start].trim(), body[start + len..].trim());
    Some(match splits.as_slice() {
        [(at, len, Split::Equal)] => match sides(*at, *len) {
            // `not a == b` is the truth of `a == b`, and no comparison of `not a`.
            (left, _) if is_negated(left) => Assert::Other,
            (left, right) if !left.is_empty() && literal(right).is_some() => Assert::Equals(left, literal(right)?),
            (left, right) if !right.is_empty() && literal(left).is_some() => Assert::Equals(right, literal(left)?),
            _ => Assert::Other,
        },
        [(at, len, Split::Is)] => match (sides(*at, *len).0, literal(sides(*at, *len).1)) {
            (left, Some(value @ (Value::None | Value::Bool(_)))) if !left.is_empty() && !is_negated(left) => {
                Assert::Equals(left, value)
            }
            _ => Assert::Other,
        },
        [] if wraps < MAX_WRAPS && wrapped(body).is_some() => shape(wrapped(body)?, wraps + 1)?,
        [] => match body.trim().strip_prefix("not ") {
            Some(negated) if is_one_call(negated) => Assert::Truth(negated.trim(), false),
            None if is_one_call(body) => Assert::Truth(body.trim(), true),
            _ => Assert::Other,
        },
        _ => Assert::Other,
    })
}

/// True for `not …`, which binds less tightly than comparisons do.
fn is_negated(text: &str) -> bool {
    text.strip_prefix("not").is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The inside of an expression that is all in parentheses, and no tuple.
fn wrapped(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    splits(inner)?.iter().all(|(_, _, s)| *s != Split::Comma).then_some(inner)
}

/// Where an expression is split at its top level: (byte offset, length, what). `None` for unbalanced text.
fn splits(text: &str) -> Option<Vec<(usize, usize, Split)>> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut found) = (0, 0usize, Vec::new());
    while at < bytes.len() {
        let rest = &text[at..];
        match bytes[at] {
            b'"' | b'\'' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b'#' | b';' | b'\\' => return None,
            _ if depth > 0 => {}
            b',' => found.push((at, 1, Split::Comma)),
            b'=' if rest.starts_with("==") => {
                found.push((at, 2, Split::Equal));
                at += 1;
            }
            b'=' | b'<' | b'>' | b'!' | b':' => found.push((at, 1, Split::Other)),
            b if b.is_ascii_alphabetic() || b == b'_' || b >= 128 => {
                let word = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
                match word {
                    "is" if !rest[2..].trim_start().starts_with("not ") => found.push((at, 2, Split::Is)),
                    "is" | "and" | "or" | "in" | "if" | "else" | "lambda" | "await" | "yield" => {
                        found.push((at, word.len(), Split::Other));
                    }
                    _ => {}
                }
                if !word.is_empty() {
                    at += word.len();
                    continue;
                }
            }
            _ => {}
        }
        // A character that is no part of a word may be more than one byte long.
        at += 1;
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    (depth == 0).then_some(found)
}

/// True for `name(…)` where the name is no builtin: the truth of a builtin's result would be at the mercy of a returned object's methods.
fn is_one_call(text: &str) -> bool {
    const BUILTINS: [&str; 12] =
        ["all", "any", "abs", "bool", "callable", "hasattr", "isinstance", "issubclass", "len", "max", "min", "sum"];
    let text = text.trim();
    let name_len = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let Some(inner) = text[name_len..].strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return false };
    name_len > 0 && !BUILTINS.contains(&&text[..name_len]) && splits(inner).is_some()
}

/// The name in `name(…)` where every argument is a literal.
pub(super) fn plain_call(text: &str) -> Option<&str> {
    let text = text.trim();
    let name_len = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let inner = text[name_len..].strip_prefix('(')?.strip_suffix(')')?;
    let commas = splits(inner)?.into_iter().filter(|(_, _, split)| *split == Split::Comma).map(|(at, ..)| at);
    let (mut start, mut plain) = (0, name_len > 0);
    for end in commas.chain([inner.len()]) {
        let argument = inner[start..end].trim();
        // `f(1,)`, and `f()`.
        let nothing = argument.is_empty() && end == inner.len();
        let value = named_argument(argument).unwrap_or(argument);
        plain &= nothing || literal(argument).is_some() || literal(value).is_some();
        start = end + 1;
    }
    plain.then(|| &text[..name_len])
}

/// The value of `name=value`.
fn named_argument(argument: &str) -> Option<&str> {
    let (name, value) = argument.split_once('=')?;
    let name = name.trim_end();
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (word && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{Assert, Value, assert_shape, plain_call};

    fn int(i: i64) -> Value {
        Value::Int(i.into())
    }

    #[test]
    fn asserts_are_split_at_their_top_level() {
        let string = |s: &str| Value::Str(s.into());
        for (text, shape) in [
            ("assert f(1, '==') == 2", Assert::Equals("f(1, '==')", int(2))),
            ("assert 2 == f(x == 1), 'message'", Assert::Equals("f(x == 1)", int(2))),
            ("assert(f(1) == 2)", Assert::Equals("f(1)", int(2))),
            ("assert f('a,b') == 'c == d'", Assert::Equals("f('a,b')", string("c == d"))),
            ("assert f(1) is None", Assert::Equals("f(1)", Value::None)),
            ("assert f(1)", Assert::Truth("f(1)", true)),
            ("assert not f(1)", Assert::Truth("not f(1)".strip_prefix("not ").expect("prefix"), false)),
            ("assert sorted(f(1)) == [1]", Assert::Equals("sorted(f(1))", Value::List(vec![int(1)]))),
            ("assert isinstance(f(1), int)", Assert::Other),
            ("assert f(1) == 2 and g(1) == 3", Assert::Other),
            ("assert abs(f(1) - 2) < 1e-6", Assert::Other),
            ("assert f(1) == g(2)", Assert::Other),
            ("assert f(1)(2)", Assert::Other),
            ("assert not f(1) == 3", Assert::Other),
            ("assert not(f(1)) == 3", Assert::Other),
            ("assert not f(1) is None", Assert::Other),
            ("assert nothing(1) == 3", Assert::Equals("nothing(1)", int(3))),
        ] {
            assert_eq!(assert_shape(text), Some(shape), "{text}");
        }
        for text in ["print(1)", "assert f(1", "asserting(1)", "assert f(1) == 1; import os"] {
            assert_eq!(assert_shape(text), None, "{text}");
        }
    }
    #[test]
    fn a_plain_call_has_literal_arguments_alone() {
        for plain in ["f(1)", "f()", " f(1, [2, 'a,b'], k={'x': (1,)}, ) ", "g2(-1.5, None)"] {
            assert!(plain_call(plain).is_some(), "{plain}");
        }
        for other in [
            "f(g(1))",
            "f(x)",
            "f(1) + 1",
            "f(1)(2)",
            "a.f(1)",
            "(f(1))",
            "f(*[1])",
            "f(k==1)",
            "f(lambda: 1)",
            "f",
            "(1)",
        ] {
            assert!(plain_call(other).is_none(), "{other}");
        }
    }

    #[test]
    fn hostile_asserts_do_not_bring_the_reader_down() {
        // Characters of several bytes that are no part of a word, where a comparison is looked for.
        let exotic = "assert not f(x=[1]) ==\u{6c4}\u{61e}': (1, 2.5, None)}";
        assert_eq!(assert_shape(exotic), None);
        assert_eq!(assert_shape("assert \u{61e} == 2"), Some(Assert::Equals("\u{61e}", int(2))));
        // More parentheses than the stack has room for.
        let deep = |n: usize| format!("assert {}f(1) == 2{}", "(".repeat(n), ")".repeat(n));
        assert_eq!(assert_shape(&deep(50)), Some(Assert::Equals("f(1)", int(2))));
        assert_eq!(assert_shape(&deep(100_000)), Some(Assert::Other));
    }
}
