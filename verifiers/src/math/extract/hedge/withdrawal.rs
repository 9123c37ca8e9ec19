//! Words that say of the answer before them that it is wrong: "72 is incorrect", "72? No.", "72. That is not the answer."

use super::Walk;
use super::vocabulary::{DENIALS, RIGHT, SUBJECTS, WRONG};

/// Words between an answer and what is said of it.
const MAX_WORDS: usize = 8;

/// Whether the words behind an answer take it back. What may be wrong, or is wrong under a condition, is not taken back.
pub(super) fn withdraws(rest: &str) -> bool {
    let mut walk = Walk::at(rest);
    if let Some(asked) = walk.rest.trim_start().strip_prefix('?') {
        let mut answer = Walk::at(asked);
        answer.pass_marks();
        if answer.word().is_some_and(|(word, _)| matches!(word.as_str(), "no" | "nope" | "wrong")) && ends(answer.rest)
        {
            return true;
        }
    }
    let mut denied = false;
    for _ in 0..MAX_WORDS {
        let marked = walk.rest.starts_with(|c: char| ",;:.?!([—–".contains(c));
        walk.pass_marks();
        let Some((word, _)) = walk.word() else { return false };
        let counted = word == "no" && !walk.rest.starts_with(|c: char| ",;:.?!—–".contains(c));
        if DENIALS.has(&word) || counted {
            denied = true;
        } else if WRONG.has(&word) {
            return !denied && ends(walk.rest);
        } else if denied && RIGHT.has(&word) && ends(walk.rest) {
            return true;
        } else if !SUBJECTS.has(&word) {
            return false;
        } else if marked {
            denied = false;
        }
    }
    false
}

/// Whether what is said of an answer is over: "wrong to say" and "wrong for n = 0" are not.
fn ends(rest: &str) -> bool {
    let mut walk = Walk::at(rest);
    walk.close();
    let rest = walk.rest.trim_start_matches([' ', '\t']);
    if rest.is_empty() || rest.starts_with(|c: char| ",;:.?!)]\n\r—–<".contains(c)) {
        return true;
    }
    let next = rest.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    ["because", "since", "and", "but", "so", "as", "the"].iter().any(|word| next.eq_ignore_ascii_case(word))
}
