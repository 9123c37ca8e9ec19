//! Answers by cases: "72 if n is even and 71 if n is odd" is no 72.

use super::values::answer_at;
use super::{Offered, Stance, words};

/// Words that a condition begins with.
const IF: [&str; 4] = ["if", "when", "whenever", "for"];

/// Bytes of a sentence that are looked at.
const MAX_BYTES: usize = 200;

/// The answer of the second case, where the words behind the first answer make it one of cases.
pub(super) fn other_case(rest: &str) -> Option<Offered> {
    let is = |known: &[&str], word: Option<&str>| {
        word.is_some_and(|word| known.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    let rest = rest.trim_start_matches([' ', ',']);
    if !is(&IF, words(rest).next()) {
        return None;
    }
    let end = rest.find(['!', '?', '\n']).unwrap_or(rest.len()).min(rest.find(". ").unwrap_or(rest.len()));
    let sentence = &rest[..super::floor(rest, end.min(MAX_BYTES))];
    for joint in [" and ", ", ", " or ", " but ", "; ", " otherwise ", " else "] {
        for (at, _) in sentence.match_indices(joint) {
            let said = sentence[at + joint.len()..].trim_start_matches("and ");
            let (said, otherwise) = match said.strip_prefix("otherwise ") {
                Some(said) => (said, true),
                None => (said, joint == " otherwise "),
            };
            let Some((answer, behind)) = answer_at(said) else { continue };
            let behind = behind.trim_start_matches([',', ' ', '$']);
            let last = behind.trim_matches(['.', ' ', ')']).is_empty();
            if is(&IF, words(behind).next()) || is(&["otherwise", "else"], words(behind).next()) || last && otherwise {
                return Some(Offered::new(answer, Stance::Another));
            }
        }
    }
    None
}
