//! From what serde says of a value that does not fit to what a person needs to hear, with the nearest valid name.

/// A message in the reader's words, and what may have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explained {
    /// What is wrong.
    pub message: String,
    /// What may have been meant, as a sentence.
    pub help: Option<String>,
}

/// Rewrites a message of serde's.
pub(crate) fn explain(message: &str) -> Explained {
    let message = message.trim_end();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return unknown("unknown key", rest);
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return unknown("unknown value", rest);
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return Explained { message: format!("{rest} is missing"), help: None };
    }
    if message == "wanted string or table" {
        return Explained { message: "expected text in quotes".into(), help: None };
    }
    let mismatch = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let message = match mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("expected {}, found {}", type_in_words(expected), found_in_words(found)),
        None => message.to_owned(),
    };
    Explained { message, help: None }
}

/// Whether a message of serde's says that a required key is missing.
pub(crate) fn says_missing(message: &str) -> bool {
    message.starts_with("missing field ")
}

/// Whether a message of serde's says that text was expected.
pub(crate) fn wants_text(message: &str) -> bool {
    message.trim_end().ends_with("expected a string")
}

/// `` `x`, expected one of `a`, `b` `` becomes "unknown key `x`" with the nearest of the names.
fn unknown(what: &str, rest: &str) -> Explained {
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let name = quoted.next().unwrap_or("");
    let valid: Vec<&str> = quoted.collect();
    Explained { message: format!("{what} `{name}`"), help: suggest(name, &valid) }
}

/// "did you mean `x`?" for a near name, all names where none is near, `None` where there are none.
pub(crate) fn suggest(name: &str, valid: &[&str]) -> Option<String> {
    match (nearest(name, valid), valid) {
        (Some(near), _) => Some(format!("did you mean `{near}`?")),
        (None, []) => None,
        (None, [only]) => Some(format!("the only one there is: `{only}`")),
        (None, all) => Some(format!("there are: `{}`", all.join("`, `"))),
    }
}

/// The valid name that a slip of the keyboard may have turned into `name`.
pub(crate) fn nearest<'a>(name: &str, valid: &[&'a str]) -> Option<&'a str> {
    let wanted = plain(name);
    let near = |candidate: &&&str| {
        let length = wanted.chars().count().max(candidate.chars().count());
        let distance = strsim::damerau_levenshtein(&wanted, &plain(candidate));
        // A third of the letters may be wrong, or the rest of a begun word missing.
        distance * 3 <= length || (wanted.len() >= 3 && plain(candidate).starts_with(&wanted))
    };
    valid.iter().filter(near).min_by_key(|candidate| strsim::damerau_levenshtein(&wanted, &plain(candidate))).copied()
}

/// Case and the kind of dash are not what a reader looks at.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

fn type_in_words(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" => "text in quotes".into(),
        "a boolean" => "true or false".into(),
        "any valid TOML value" => "a number of at most 64 bits".into(),
        "a sequence" => "a list, [...]".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other if other.starts_with("enum ") => "text in quotes".into(),
        other => other.to_owned(),
    }
}

fn found_in_words(found: &str) -> String {
    match found {
        "map" => "a table".into(),
        "sequence" => "a list".into(),
        other => match other.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("floating", rest)) => format!("the number {}", rest.trim_start_matches("point ")),
            Some(("integer", number)) => format!("the number {}", number.trim_end_matches(" as i128")),
            Some(("boolean", value)) => value.to_owned(),
            _ => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_forgives_slips_and_not_more() {
        let valid = ["temperature", "top_p", "top_k", "max_new_tokens", "stop", "lr"];
        let cases = [
            ("temprature", Some("temperature")),
            ("topp", Some("top_p")),
            ("top-k", Some("top_k")),
            ("TOP_K", Some("top_k")),
            ("max_tokens", Some("max_new_tokens")),
            ("temp", Some("temperature")),
            ("banana", None),
            ("lx", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, &valid), expected, "{typed}");
        }
    }

    #[test]
    fn serde_is_put_in_words() {
        let cases = [
            ("invalid type: string \"x\", expected usize", "expected a whole number, 0 or more, found the text \"x\""),
            ("invalid value: integer `-3`, expected u64", "expected a whole number, 0 or more, found the number `-3`"),
            ("invalid type: boolean `true`, expected f64", "expected a number, found `true`"),
            ("missing field `kind`", "`kind` is missing"),
            ("something else", "something else"),
        ];
        for (serde, words) in cases {
            assert_eq!(explain(serde).message, words);
        }
        let unknown = explain("unknown variant `kosine`, expected one of `constant`, `linear`, `cosine`");
        assert_eq!(unknown.message, "unknown value `kosine`");
        assert_eq!(unknown.help.as_deref(), Some("did you mean `cosine`?"));
    }
}
