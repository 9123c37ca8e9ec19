//! A second answer that stands beside the final one, and words that take the final one back: "72, or maybe 71", "72 (71 is also possible)",
//! "72? No: 71", "72 is wrong".
//!
//! What stands between the two is read word by word. Only words that offer or take back, and words that say nothing, lead from one to the
//! other; any other word means that the text goes on with something else. Whether the two differ is not known here.

mod announced;
mod before;
mod cases;
#[cfg(test)]
mod tests;
mod values;
mod vocabulary;
mod withdrawal;

use std::borrow::Cow;

use self::values::{Kind, answer_at, number_at};
use self::vocabulary::{AS_WELL, DENIALS, FILLERS, GOES_ON, OFFERS, RETRACTS, WRONG};
use super::spans::percent_end;

pub use self::before::before;

/// Bytes behind an answer that are looked at, blank ones not counted: they would hide what follows.
const MAX_BYTES: usize = 200;

/// Words of an answer's own behind it: "72 red apples".
const MAX_OWN_WORDS: usize = 3;

/// Answers that are listed.
const MAX_OFFERED: usize = 4;

/// How a second answer stands to the final one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// Beside it or in its place.
    Another,
    /// An answer of its own, announced elsewhere.
    Announced,
    /// It is said not to be the answer.
    Denied,
    /// None: the final answer itself is taken back.
    Withdrawn,
}

/// A second answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its text.
    pub text: String,
    /// All of the sentence that says it, where it may be the beginning of a longer answer.
    pub sentence: Option<String>,
    /// The first answer is followed by a percent sign.
    pub of_percent: bool,
    /// How it stands to the first answer.
    pub stance: Stance,
}

impl Offered {
    /// A second answer of which no more is known.
    pub fn new(text: impl Into<String>, stance: Stance) -> Self {
        Self { text: text.into(), sentence: None, of_percent: false, stance }
    }
}

/// What is offered behind `answer`, which ends at `end`, and what takes it back.
pub fn behind(text: &str, end: usize, answer: &str) -> Vec<Offered> {
    let percent = percent_end(text, end);
    let (of_percent, from) = (percent.is_some(), percent.unwrap_or(end));
    let rest = &text[from..from + bounded(&text[from..])];
    let mut walk = Walk::at(rest);
    let mut found = Vec::new();
    walk.close();
    if walk.rest.trim_start_matches([' ', '.', '\n']).is_empty() && text.len() - from == rest.len() {
        return found;
    }
    let kind = Kind::of(answer);
    // Of words "that is wrong" may be what was asked for.
    let worded = answer.contains("\\text") && !answer.bytes().any(|b| b.is_ascii_digit());
    if kind == Kind::Value && !worded && withdrawal::withdraws(walk.rest) {
        found.push(Offered::new("", Stance::Withdrawn));
        return found;
    }
    while found.len() < MAX_OFFERED
        && let Some(answer) = walk.next_answer(kind)
    {
        let after = Walk::at(walk.rest);
        let ends = after.ends_here(&walk.own);
        if walk.denies && ends {
            found.push(Offered::new(answer, Stance::Denied));
            break;
        }
        let instead = walk.retracts && after.ends_sentence();
        let offered = !walk.denies && (walk.offers && ends || instead) || after.is_offered_behind();
        if !offered || after.is_rejected() {
            break;
        }
        found.push(Offered { of_percent, ..Offered::new(answer, Stance::Another) });
        walk.close();
    }
    if kind == Kind::Value && found.is_empty() {
        let mut closed = Walk::at(rest);
        closed.close();
        found.extend(cases::other_case(closed.rest));
    }
    announced::behind(&text[from..], kind, &mut found);
    found
}

/// How much of `text` holds [`MAX_BYTES`] bytes that are not blank.
fn bounded(text: &str) -> usize {
    let mut left = MAX_BYTES;
    let past = text.char_indices().find(|(_, c)| {
        let size = if c.is_whitespace() { 0 } else { c.len_utf8() };
        let over = size > left;
        left = left.saturating_sub(size);
        over
    });
    past.map_or(text.len(), |(at, _)| at)
}

/// Whether what stands between two answers offers the second in place of the first.
pub fn joins(between: &str) -> bool {
    if bounded(between) < between.len() {
        return false;
    }
    let (mut offers, mut any) = (false, false);
    for word in words(between) {
        offers |= OFFERS.has(word);
        any = true;
        if !may_stand_between(word) {
            return false;
        }
    }
    let plain = between.chars().all(|c| c.is_alphabetic() || c.is_whitespace() || ",;:.?!()'\"*-–—".contains(c));
    any && offers && plain
}

/// The same where the first answer counts something: in "3 apples or 4 apples" or "3 apples or 4" the second counts the same.
pub fn joins_counted(between: &str, behind: &str) -> bool {
    let mut words = words(between);
    let Some(own) = words.next() else { return false };
    let rest = words.next().map_or("", |next| &between[next.as_ptr() as usize - between.as_ptr() as usize..]);
    let next = behind.trim_start_matches(' ');
    let next = &next[..next.find(|c: char| !c.is_alphabetic()).unwrap_or(next.len())];
    joins(rest) && (next.is_empty() || next.eq_ignore_ascii_case(own))
}

/// Whether a word may stand between two answers that are offered together.
pub fn may_stand_between(word: &str) -> bool {
    OFFERS.has(word) || FILLERS.has(word)
}

/// Whether a word says that what stands behind it is not so, or more or less than so.
pub fn denies(word: &str) -> bool {
    DENIALS.has(word) || word.eq_ignore_ascii_case("than")
}

/// Whether a text is neither the letter of a choice nor yes or no nor a word.
pub fn is_mathematics(text: &str) -> bool {
    Kind::of(text) == Kind::Value
}

/// Whether two texts are answers of one kind.
pub fn same_kind(a: &str, b: &str) -> bool {
    Kind::of(a) == Kind::of(b)
}

/// The words of a text, numbers among them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty())
}

/// A way through the words behind an answer.
struct Walk<'a> {
    rest: &'a str,
    /// Words that belong to the first answer.
    own: Vec<&'a str>,
    words: usize,
    /// A word offered another answer.
    offers: bool,
    /// A word took the first answer back.
    retracts: bool,
    /// The last word was "second", as before "thoughts".
    second: bool,
    /// The last word was "if".
    condition: bool,
    /// The last word denies what comes next.
    denies: bool,
}

impl<'a> Walk<'a> {
    fn at(rest: &'a str) -> Self {
        Self {
            rest,
            own: Vec::new(),
            words: 0,
            offers: false,
            retracts: false,
            second: false,
            condition: false,
            denies: false,
        }
    }

    /// Passes what closes the answer: delimiters, brackets and marks.
    fn close(&mut self) {
        loop {
            let before = self.rest.len();
            self.rest = self.rest.trim_start_matches(['$', '}', ')', ']', '*', '_', '"', '\'']);
            self.rest = ["\\)", "\\]"].iter().find_map(|mark| self.rest.strip_prefix(mark)).unwrap_or(self.rest);
            if self.rest.len() == before {
                return;
            }
        }
    }

    fn pass_marks(&mut self) {
        loop {
            let before = self.rest.len();
            self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || ",;:.?!()[]\"*_—–/→".contains(c));
            // A dash, and not the sign of a number; and what only sets letters upright.
            const PASSED: [&str; 6] = ["--", "- ", "\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"];
            let passed = PASSED.iter().find_map(|mark| self.rest.strip_prefix(mark));
            self.rest = passed.unwrap_or(self.rest);
            if self.rest.len() == before {
                return;
            }
        }
    }

    /// The next word in lower case, where there is one.
    fn word(&mut self) -> Option<(String, &'a str)> {
        let len = self.rest.find(|c: char| !(c.is_alphabetic() || c == '\'' || c == '’')).unwrap_or(self.rest.len());
        let word = &self.rest[..len];
        self.rest = &self.rest[len..];
        (len > 0).then(|| (word.replace('’', "'").to_ascii_lowercase(), word))
    }

    /// Goes on to the next answer, if all on the way there may stand between two.
    fn next_answer(&mut self, kind: Kind) -> Option<Cow<'a, str>> {
        const MAX_WORDS: usize = 12;
        self.denies = false;
        loop {
            let at_once = !self.rest.starts_with(|c: char| ",;:.?!([—–→".contains(c));
            self.denies &= at_once;
            self.pass_marks();
            if let Some(answer) = self.value(kind) {
                return Some(answer);
            }
            let (lower, word) = self.word()?;
            let known = OFFERS.has(&lower) || RETRACTS.has(&lower) || FILLERS.has(&lower);
            let may_answer = match kind {
                Kind::Word(_) => (self.offers || self.retracts) && !known,
                _ => true,
            };
            if may_answer && kind.is_said_by(word) && Walk::at(self.rest).ends_here(&[]) {
                return Some(Cow::Borrowed(word));
            }
            self.words += 1;
            if self.words > MAX_WORDS {
                return None;
            }
            // "No 71" counts, and "no: 71" takes back.
            let counts = lower == "no" && !self.rest.starts_with(|c: char| ",;:.?!—–".contains(c));
            self.offers |= OFFERS.has(&lower) || self.condition && lower == "not";
            self.retracts |= RETRACTS.has(&lower) && !counts || self.second && lower.starts_with("thought");
            self.second = lower == "second";
            self.denies = DENIALS.has(&lower) && !self.condition || self.denies && matches!(&*lower, "be" | "the");
            self.condition = lower == "if";
            if known || DENIALS.has(&lower) {
                continue;
            }
            if !at_once || self.words > MAX_OWN_WORDS || self.own.len() + 1 < self.words {
                return None;
            }
            self.own.push(word);
        }
    }

    /// The value that comes next; in words only where another answer is offered.
    fn value(&mut self, kind: Kind) -> Option<Cow<'a, str>> {
        if kind != Kind::Value {
            return None;
        }
        if let Some((answer, rest)) = answer_at(self.rest) {
            self.rest = rest;
            return Some(Cow::Borrowed(answer));
        }
        let (number, rest) = number_at(self.rest).filter(|_| self.offers || self.retracts)?;
        if !Walk::at(rest).ends_here(&self.own) {
            return None;
        }
        self.rest = rest;
        Some(Cow::Owned(number.to_string()))
    }

    /// Whether an answer is the end of what is said: so "or 3 days" offers nothing beside 72 hours, and "alternatively, 9 divides 72" goes on.
    fn ends_here(&self, own: &[&str]) -> bool {
        let mut here = Walk::at(self.rest);
        here.close();
        here.rest = here.rest.trim_start_matches([' ', '\t']);
        if here.rest.is_empty() || here.rest.starts_with(|c: char| ",;:.?!)]\n\r—–<".contains(c)) {
            return true;
        }
        let Some((lower, word)) = here.word() else { return false };
        own.iter().any(|own| own.eq_ignore_ascii_case(word)) || GOES_ON.has(&lower) || self.is_offered_behind()
    }

    /// Whether a sentence ends with an answer, but for its reason: "no, 71 since …", and not "no, 71, 72 and 73 are …".
    fn ends_sentence(&self) -> bool {
        let mut here = Walk::at(self.rest);
        here.close();
        here.rest = here.rest.trim_start_matches([' ', '\t']);
        if here.rest.is_empty() || here.rest.starts_with(|c: char| ";.?!)]\n\r—–<".contains(c)) {
            return true;
        }
        here.rest = here.rest.trim_start_matches([',', ' ']);
        here.word()
            .is_some_and(|(word, _)| ["because", "since", "as", "so", "instead", "not", "too"].contains(&word.as_str()))
    }

    /// Whether the words behind an answer reject it: "the other option, 71, is wrong", "71 does not work".
    fn is_rejected(&self) -> bool {
        const MAX_WORDS: usize = 4;
        let mut here = Walk::at(self.rest);
        here.close();
        // "71, not 72" does not.
        if here.rest.starts_with(", not ") {
            return false;
        }
        for _ in 0..MAX_WORDS {
            here.rest = here.rest.trim_start_matches([' ', '\t', ',']);
            let Some((lower, _)) = here.word() else { return false };
            if DENIALS.has(&lower) || WRONG.has(&lower) || lower.ends_with("n't") {
                return true;
            }
            if !(FILLERS.has(&lower) || matches!(&*lower, "does" | "were" | "which" | "clearly" | "fails")) {
                return false;
            }
        }
        false
    }

    /// Whether the words behind an answer offer it: "71 is also possible".
    fn is_offered_behind(&self) -> bool {
        const MAX_WORDS: usize = 4;
        let mut here = Walk::at(self.rest);
        here.close();
        for _ in 0..MAX_WORDS {
            here.rest = here.rest.trim_start_matches([' ', '\t']);
            let Some((lower, _)) = here.word() else { return false };
            if AS_WELL.has(&lower) {
                return true;
            }
            let leads = FILLERS.has(&lower) || OFFERS.has(&lower) || lower == "as";
            if !leads || DENIALS.has(&lower) {
                return false;
            }
        }
        false
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
