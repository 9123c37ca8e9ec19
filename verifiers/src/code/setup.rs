//! The code that the asserts of an item share, and what of it the program may see.

use super::pyliteral::literal;

/// What of the shared code the program's process is given, and the names that the rest binds: a line `NAME = LITERAL` stays outside.
pub(super) fn split_setup(setup: &str) -> (String, Vec<String>) {
    let mut constants = Vec::new();
    let mut given = Vec::new();
    // Within brackets or quotes that go over several lines, a line is not what it looks like.
    let balanced = |line: &str| line.matches(['(', '[', '{']).count() == line.matches([')', ']', '}']).count();
    let over_lines = setup.contains("\"\"\"") || setup.contains("'''") || !setup.lines().all(balanced);
    let simple = !setup.contains(['\\', ';']) && !over_lines;
    for line in setup.lines() {
        let name = line.split_once('=').map(|(name, value)| (name.trim_end(), value)).filter(|(name, value)| {
            let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            simple && word && !name.is_empty() && !name.starts_with(' ') && literal(value).is_some()
        });
        match name {
            Some((name, _)) => constants.push(name.to_owned()),
            None => given.push(line),
        }
    }
    // What else is shared may need them, and then they cannot be kept from it.
    if given.iter().any(|line| mentions_any(line, &constants)) {
        return (setup.to_owned(), Vec::new());
    }
    (given.join("\n"), constants)
}

/// True where a name of `names` stands in the text as a word.
pub(super) fn mentions_any(text: &str, names: &[String]) -> bool {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    !names.is_empty() && words.any(|word| names.iter().any(|name| name == word))
}

#[cfg(test)]
mod tests {
    use super::split_setup;

    #[test]
    fn literals_stay_outside_unless_other_code_needs_them() {
        let split = |setup| split_setup(setup);
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(split("import math\nX = 7\nY=[1, 2]"), ("import math".to_owned(), names(&["X", "Y"])));
        for whole in [
            "X = 7\ndef g():\n    return X",
            "X = 7; import os",
            "X = \"\"\"\nY = 1\n\"\"\"",
            "X = f()",
            "X = dict(\nY = 1\n)",
            "class A:\n    X = 1",
        ] {
            assert_eq!(split(whole), (whole.to_owned(), Vec::new()), "{whole}");
        }
    }
}
