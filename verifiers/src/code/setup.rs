//! The code that the asserts of an item share, and what of it the program may see.

use super::pyliteral::string_end;

/// What of the shared code the program's process is given, and whether that is all of it.
///
/// Given are imports, and classes that hold data and no methods but those with a name like `__init__`, with the lines that these need.
/// All else stays with the tests: functions and literals may be, or say, what is expected.
pub(super) fn split_setup(setup: &str) -> (String, bool) {
    // What does not even split into statements does not run, and whose fault that is shows where all of it is tried.
    let Some(statements) = statements(setup) else { return (setup.to_owned(), false) };
    let mut given: Vec<bool> = statements.iter().map(|s| is_import(s) || is_record(s)).collect();
    // Records may need other lines: a base class, a default. They come along, as do those that they need.
    loop {
        let needed = |i: usize| {
            let users = statements.iter().zip(&given).filter(|(s, given)| **given && !is_import(s));
            !given[i] && bound(statements[i]).is_some_and(|name| users.into_iter().any(|(s, _)| mentions(s, name)))
        };
        match (0..statements.len()).find(|i| needed(*i)) {
            Some(i) => given[i] = true,
            None => break,
        }
    }
    let text = statements.iter().zip(&given).filter(|(_, given)| **given).map(|(s, _)| s.trim_end());
    (text.collect::<Vec<_>>().join("\n"), given.iter().all(|given| *given))
}

/// True where a name stands in the text as a word.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name)
}

fn is_import(statement: &str) -> bool {
    (statement.starts_with("import ") || statement.starts_with("from ")) && !statement.contains(';')
}

/// A class whose methods are all Python's own hooks.
fn is_record(statement: &str) -> bool {
    let class = statement.lines().find(|line| !line.starts_with('@')).is_some_and(|line| line.starts_with("class "));
    class && statement.split("def ").skip(1).all(|method| method.trim_start().starts_with("__"))
}

/// The name that a statement gives.
fn bound(statement: &str) -> Option<&str> {
    let line = statement.lines().find(|line| !line.starts_with('@'))?;
    let line = line.strip_prefix("def ").or(line.strip_prefix("class ")).unwrap_or(line);
    let end = line.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(line.len());
    (end > 0).then(|| &line[..end])
}

/// The statements that stand at the margin, each with what is indented beneath it. `None` for text that is not balanced.
fn statements(text: &str) -> Option<Vec<&str>> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut fresh, mut starts) = (0, 0usize, true, Vec::new());
    while at < bytes.len() {
        if fresh && !matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n' | b'#' | b'\x0c') {
            let rest = &text[at..];
            let goes_on = ["else", "elif ", "except", "finally"].iter().any(|word| rest.starts_with(word));
            // A decorator belongs to what follows it.
            let decorated = starts.last().is_some_and(|start: &usize| {
                text[*start..at].lines().all(|line| line.starts_with(['@', ' ', ')']) || line.trim().is_empty())
            });
            if !goes_on && !decorated {
                starts.push(at);
            }
        }
        fresh = false;
        match bytes[at] {
            b'"' | b'\'' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'#' => {
                at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'\\' => at += 1,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b'\n' => fresh = depth == 0,
            _ => {}
        }
        at += 1;
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    (depth == 0).then(|| starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect())
}

#[cfg(test)]
mod tests {
    use super::split_setup;

    #[test]
    fn imports_and_records_are_given_and_what_they_need() {
        for whole in [
            "",
            "import math\nfrom typing import (\n    List,\n)",
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: str = 'é'",
            "class Node:\n    def __init__(self, v, n=None):\n        self.v, self.n = v, n",
            "MARGIN = 7\nclass A:\n    x = MARGIN",
        ] {
            assert_eq!(split_setup(whole), (whole.to_owned(), true), "{whole}");
        }
    }

    #[test]
    fn literals_and_functions_stay_with_the_tests() {
        for (setup, given) in [
            ("import math\nX = 7\nY=[1, 2]", "import math"),
            ("X = 7; import os", ""),
            ("def same(a, b):\n    return a == b\nimport re", "import re"),
            ("TEXT = '''\nimport os\nclass A:\n    pass\n'''", ""),
            ("class Reference:\n    def solve(self, x):\n        return x * 1000", ""),
            ("X = 7\nclass A:\n    y = 1", "class A:\n    y = 1"),
            ("try:\n    import a\nexcept ImportError:\n    pass", ""),
        ] {
            assert_eq!(split_setup(setup), (given.to_owned(), false), "{setup}");
        }
        assert_eq!(split_setup("x = ("), ("x = (".to_owned(), false));
    }
}
