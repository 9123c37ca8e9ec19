//! Another answer in front of the final one: "71 or \boxed{72}", "The answer is 71. \boxed{72}", "it is not \boxed{72}".

use super::super::announcements;
use super::values::{Kind, answer_at};
use super::vocabulary::{DENIALS, FILLERS, OFFERS};
use super::{Offered, Stance, floor, words};

/// Bytes before an answer that are looked at.
const MAX_BYTES: usize = 300;

/// What is offered in front of `answer`, which begins at `start`, and what denies it.
pub fn before(text: &str, start: usize, answer: &str) -> Vec<Offered> {
    let from = floor(text, start.saturating_sub(MAX_BYTES));
    let head = text[from..start].trim_end_matches(|c: char| c.is_whitespace() || "$*([{\\".contains(c));
    if head.is_empty() {
        return Vec::new();
    }
    if is_struck_out(&text[from..start]) || is_denied(head) {
        return vec![Offered::new("", Stance::Withdrawn)];
    }
    let kind = Kind::of(answer);
    if kind != Kind::Value {
        return Vec::new();
    }
    offered(head).into_iter().chain(announced(head, kind)).collect()
}

/// Whether a line is drawn through what comes next.
fn is_struck_out(head: &str) -> bool {
    let head = head.trim_end_matches(['$', ' ']);
    ["~~", "\\cancel{", "\\xcancel{", "\\bcancel{", "\\sout{", "<s>", "<del>"].iter().any(|mark| head.ends_with(mark))
}

/// Whether the last words deny what comes next: "the answer is not", "it cannot be". What something else is not may be asked for.
fn is_denied(head: &str) -> bool {
    let clause = &head[head.rfind([',', ';', ':', '.', '?', '!', '\n', '(']).map_or(0, |at| at + 1)..];
    let mut words: Vec<&str> = words(clause).collect();
    while words
        .last()
        .is_some_and(|word| ["be", "equal", "to", "the", "been"].contains(&word.to_ascii_lowercase().as_str()))
    {
        words.pop();
    }
    let Some(denial) = words.pop() else { return false };
    if !DENIALS.has(denial) {
        return false;
    }
    while words
        .last()
        .is_some_and(|word| ["is", "are", "was", "does", "do", "can", "could", "would", "should"].contains(word))
    {
        words.pop();
    }
    const SUBJECTS: [&str; 14] = [
        "answer",
        "it",
        "it's",
        "that",
        "that's",
        "this",
        "result",
        "value",
        "solution",
        "total",
        "so",
        "but",
        "and",
        "definitely",
    ];
    !clause.contains(['$', '\\'])
        && words.last().is_none_or(|subject| SUBJECTS.iter().any(|known| known.eq_ignore_ascii_case(subject)))
}

/// The value that an "or" joins to the answer: "71 or", "71, or maybe".
fn offered(head: &str) -> Option<Offered> {
    const MAX_WORDS: usize = 4;
    // The name of the value: "x = 3 or x =".
    let named = head
        .strip_suffix('=')
        .map(|name| name.trim_end().trim_end_matches(|c: char| c.is_ascii_lowercase()).trim_end_matches(['$', ' ']));
    let (mut rest, mut offers) = (named.unwrap_or(head), false);
    for _ in 0..MAX_WORDS {
        let end = rest.trim_end_matches([' ', ',', '(']);
        let start = end.rfind(|c: char| !(c.is_alphabetic() || c == '\'')).map_or(0, |at| at + 1);
        let start = (start..=end.len()).find(|at| end.is_char_boundary(*at)).unwrap_or(end.len());
        let word = &end[start..];
        if !(OFFERS.has(word) || FILLERS.has(word)) {
            break;
        }
        offers |= ["or", "maybe", "perhaps", "possibly", "alternatively", "versus"]
            .iter()
            .any(|o| word.eq_ignore_ascii_case(o));
        rest = &end[..start];
    }
    let rest = rest.trim_end_matches([' ', ',', ')']);
    if !offers {
        return None;
    }
    let start = match rest.strip_suffix('$') {
        Some(inner) => inner.rfind('$')?,
        None => rest.rfind(char::is_whitespace).map_or(0, |at| at + 1),
    };
    let (answer, behind) = answer_at(rest.get(start..)?)?;
    behind.is_empty().then(|| Offered::new(answer, Stance::Another))
}

/// The value of the last announcement, where nothing but words that say nothing stand between it and the answer.
fn announced(head: &str, kind: Kind) -> Option<Offered> {
    const LEADS: [&str; 4] = ["so", "thus", "hence", "therefore"];
    let last = announcements::announcements(head).pop()?;
    let (offered, rest) = super::announced::said(last.says, kind)?;
    let fills = |word: &str| FILLERS.has(word) || LEADS.iter().any(|lead| word.eq_ignore_ascii_case(lead));
    let between = words(rest).chain(words(&head[last.end..]));
    (super::announced::is_ours(&head[..last.at]) && { between }.all(fills)).then_some(offered)
}
