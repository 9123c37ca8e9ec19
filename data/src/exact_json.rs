//! JSON whose integers stay what they are. serde_json makes a float of an integer of more than 64 bits, so that 2⁶⁴ + 1 as a ground truth would
//! be 2⁶⁴, and a wrong answer right. Here such an integer becomes its digits, as a string: where it is the value of a field. Within a list it
//! stays a float, since there a string would be another value than the number that others of the list are (the inputs and outputs of a test,
//! which the code verifier refuses for it).

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The fewest digits of an integer that may not fit into 64 bits.
const MANY_DIGITS: usize = 19;

/// As `serde_json::from_slice`, but a field whose value is an integer beyond 64 bits is a string of its digits.
///
/// # Errors
/// Those of serde_json.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(&whole_integers(json))
}

/// As [`from_slice`].
///
/// # Errors
/// Those of serde_json.
pub fn from_str<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    from_slice(json.as_bytes())
}

/// The JSON with quotes around the fields' values that are integers of more than 64 bits and lie in no list. What is no JSON stays none.
fn whole_integers(json: &[u8]) -> Cow<'_, [u8]> {
    if !json.chunk_by(|a, b| a.is_ascii_digit() && b.is_ascii_digit()).any(|run| run.len() >= MANY_DIGITS) {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len() + 2);
    // A field's value follows a colon.
    let (mut rest, mut lists, mut is_value) = (json, 0_usize, false);
    while let [first, ..] = rest {
        let length = match first {
            b'"' => string(rest),
            b'-' | b'0'..=b'9' => number(rest),
            _ => 1,
        };
        match first {
            b'[' => lists += 1,
            b']' => lists = lists.saturating_sub(1),
            _ => {}
        }
        let (token, after) = rest.split_at(length);
        if lists == 0 && is_value && is_wide(token) {
            out.push(b'"');
            out.extend_from_slice(token);
            out.push(b'"');
        } else {
            out.extend_from_slice(token);
        }
        if !first.is_ascii_whitespace() {
            is_value = *first == b':';
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// Bytes of the string that begins here, to the end where it has none.
fn string(json: &[u8]) -> usize {
    let mut at = 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// Bytes of the number that begins here.
fn number(json: &[u8]) -> usize {
    json.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count()
}

/// Whether it is an integer of JSON that 64 bits do not hold.
fn is_wide(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    let is_integer = digits.iter().all(u8::is_ascii_digit) && digits.first().is_some_and(|first| *first != b'0');
    let fits = |text: &str| text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    is_integer && std::str::from_utf8(token).is_ok_and(|text| !fits(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(json: &str) -> Value {
        from_str(json).expect("it is JSON")
    }

    #[test]
    fn integers_of_any_length_keep_their_digits() {
        let max = u64::MAX;
        assert_eq!(
            read(&format!(
                r#"{{"a": {max}, "b": 18446744073709551616, "c": {{"d": -9223372036854775809}}, "e": {}}}"#,
                i64::MIN
            )),
            json!({"a": max, "b": "18446744073709551616", "c": {"d": "-9223372036854775809"}, "e": i64::MIN})
        );
        // Lists, text and floats are what they were.
        let other = r#"{"18446744073709551616": "x\"18446744073709551616\\", "l": [18446744073709551616, {"x": 18446744073709551616}], "f": 18446744073709551616.5, "g": [1844674407370955161600e2]}"#;
        assert_eq!(read(other), serde_json::from_str::<Value>(other).expect("it is JSON"));
        for none in
            ["018446744073709551616", "18446744073709551616x", "\"18446744073709551616", "--18446744073709551616"]
        {
            assert!(from_str::<Value>(none).is_err(), "{none}");
        }
    }

    /// Pieces of JSON and of what is none.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", " ", "-", ".", "e", "0", "\"a\":", "null", "{\"b\": "
            ])
            .prop_map(str::to_owned),
            "[1-9][0-9]{17,21}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// Whether the two differ in nothing but wide integers, of which the first has the digits.
    fn agree(ours: &Value, plain: &Value) -> bool {
        match (ours, plain) {
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((k, x), (l, y))| k == l && agree(x, y))
            }
            (Value::String(digits), Value::Number(float)) => {
                is_wide(digits.as_bytes()) && digits.parse().ok() == float.as_f64()
            }
            _ => ours == plain,
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays_so_and_nothing_else_becomes_it(text in pieces()) {
            for json in [text.clone(), format!("{{\"x\":{text}}}"), format!("[{text}]")] {
                match (from_str::<Value>(&json), serde_json::from_str::<Value>(&json)) {
                    (Ok(ours), Ok(plain)) => prop_assert!(agree(&ours, &plain), "{json}: {ours} {plain}"),
                    (ours, plain) => prop_assert!(ours.is_err() && plain.is_err(), "{json}: {ours:?} {plain:?}"),
                }
            }
        }
    }
}
