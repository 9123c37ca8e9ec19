//! Answers that a text announces behind the final one: "The answer is 71."

use super::super::announcements;
use super::values::{Kind, answer_at};
use super::vocabulary::{DENIALS, NOT_OURS};
use super::{MAX_OFFERED, Offered, Stance, Walk, words};

/// Adds what is announced in a text, where it is an answer of this kind, is nobody else's and hangs on no condition.
pub(super) fn behind(text: &str, kind: Kind, found: &mut Vec<Offered>) {
    for announcement in announcements::announcements(text) {
        if found.len() < MAX_OFFERED && is_ours(&text[..announcement.at]) {
            let said = said(announcement.says, kind).map(|(offered, _)| offered);
            found.extend(said.filter(|said| found.iter().all(|known| known.text != said.text)));
        }
    }
}

/// Whether the words of a sentence up to an announcement leave it without a condition, and to us.
pub(super) fn is_ours(before: &str) -> bool {
    let start = before.rfind(['.', '!', '?', '\n', ';']).map_or(0, |at| at + 1);
    !words(&before[start..]).any(|word| NOT_OURS.has(word))
}

/// The answer that a sentence begins with, where it is the end of what is said, and what stands behind it.
pub(super) fn said(sentence: &str, kind: Kind) -> Option<(Offered, &str)> {
    let mut walk = Walk::at(sentence);
    walk.pass_marks();
    let whole = walk.rest;
    let denied = walk.word().is_some_and(|(word, _)| DENIALS.has(&word));
    if !denied {
        walk.rest = whole;
    }
    walk.pass_marks();
    let stance = if denied { Stance::Denied } else { Stance::Announced };
    let (answer, rest) = match kind {
        Kind::Value => answer_at(walk.rest)?,
        _ => {
            let (_, word) = walk.word()?;
            let single = !matches!(kind, Kind::Word(_)) || walk.rest.trim_matches(['.', '*', ' ', '$']).is_empty();
            (kind.is_said_by(word) && single).then_some((word, walk.rest))?
        }
    };
    let behind = rest.trim_start_matches(['$', ' ', ')', '*']);
    let conditional = ["if", "when", "only", "for"].iter().any(|word| behind.starts_with(word));
    if conditional || !Walk::at(rest).ends_here(&[]) {
        return None;
    }
    let sentence = Some(announcements::without_reasons(whole).to_owned());
    Some((Offered { sentence, ..Offered::new(answer, stance) }, rest))
}
