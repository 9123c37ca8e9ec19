//! A second answer that is offered beside the final one: "72, or maybe 71", "72 (71 is also possible)".
//!
//! What stands between the two is read word by word. Only words that offer, and words that say nothing, lead from one to the other; any other
//! word means that the text goes on with something else. Whether the two differ is not known here.

use super::spans::percent_end;

/// Bytes behind an answer that are looked at.
const MAX_BYTES: usize = 200;

/// Words of an answer's own behind it: "72 red apples".
const MAX_OWN_WORDS: usize = 3;

/// Answers that are listed.
const MAX_OFFERED: usize = 4;

/// Words that offer another answer.
const OFFERS: [&str; 22] = [
    "possible",
    "or",
    "maybe",
    "perhaps",
    "possibly",
    "potentially",
    "alternatively",
    "alternately",
    "otherwise",
    "else",
    "might",
    "may",
    "could",
    "either",
    "possibility",
    "option",
    "alternative",
    "unsure",
    "unless",
    "probably",
    "conceivably",
    "another",
];

/// Words that say nothing of their own between two answers.
const FILLERS: [&str; 47] = [
    "other", "others", "if", "not", "it", "it's", "its", "is", "are", "was", "be", "been", "the", "a", "an", "my",
    "answer", "answers", "final", "value", "result", "solution", "number", "just", "even", "also", "can", "would",
    "should", "but", "though", "although", "and", "i", "i'm", "am", "think", "guess", "sure", "that", "this", "well",
    "then", "some", "one", "there", "have",
];

/// Words behind an answer that is offered that offer it too.
const AS_WELL: [&str; 12] = [
    "possible",
    "works",
    "work",
    "option",
    "acceptable",
    "plausible",
    "valid",
    "correct",
    "possibility",
    "alternative",
    "too",
    "fits",
];

/// Words that a sentence may go on with behind an answer that was offered.
const GOES_ON: [&str; 22] = [
    "instead",
    "too",
    "also",
    "as",
    "depending",
    "if",
    "but",
    "though",
    "although",
    "because",
    "since",
    "maybe",
    "perhaps",
    "possibly",
    "or",
    "and",
    "when",
    "would",
    "i",
    "not",
    "respectively",
    "for",
];

/// A second answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its text.
    pub text: String,
    /// The first answer is followed by a percent sign.
    pub of_percent: bool,
}

/// What kind of answer another one would have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Mathematics.
    Value,
    /// The letter of a choice.
    Choice,
    /// Yes or no.
    Truth,
}

impl Kind {
    fn of(answer: &str) -> Self {
        let mut plain = answer.to_owned();
        for wrapper in ["\\textbf", "\\text", "\\mathrm", "\\mathbf", "{", "}", "(", ")", "**", "$", "."] {
            plain = plain.replace(wrapper, "");
        }
        match plain.trim() {
            letter if letter.len() == 1 && is_choice(letter) => Self::Choice,
            word if TRUTHS.iter().any(|truth| word.eq_ignore_ascii_case(truth)) => Self::Truth,
            _ => Self::Value,
        }
    }
}

const TRUTHS: [&str; 4] = ["yes", "no", "true", "false"];

fn is_choice(word: &str) -> bool {
    word.len() == 1 && word.starts_with(|c: char| ('A'..='J').contains(&c))
}

/// The answers that are offered behind `answer`, which ends at `end`.
pub fn behind(text: &str, end: usize, answer: &str) -> Vec<Offered> {
    let kind = Kind::of(answer);
    let of_percent = percent_end(text, end).is_some();
    let from = percent_end(text, end).unwrap_or(end);
    let rest = &text[from..floor(text, from + MAX_BYTES)];
    let mut walk = Walk::at(rest);
    let mut found = Vec::new();
    walk.close();
    while found.len() < MAX_OFFERED
        && let Some(answer) = walk.next_answer(kind)
    {
        let after = Walk::at(walk.rest);
        let offered = walk.offers && after.ends_here(&walk.own) || after.is_offered_behind();
        if !offered {
            break;
        }
        found.push(Offered { text: answer.to_owned(), of_percent });
        walk.close();
    }
    found
}

/// Whether what stands between two answers offers the second in place of the first.
pub fn joins(between: &str) -> bool {
    if between.len() > MAX_BYTES {
        return false;
    }
    let (mut offers, mut any) = (false, false);
    for word in between.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty()) {
        offers |= OFFERS.iter().any(|offer| word.eq_ignore_ascii_case(offer));
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
    let mut words = between.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty());
    let Some(own) = words.next() else { return false };
    let rest = words.next().map_or("", |next| &between[next.as_ptr() as usize - between.as_ptr() as usize..]);
    let next = behind.trim_start_matches(' ');
    let next = &next[..next.find(|c: char| !c.is_alphabetic()).unwrap_or(next.len())];
    joins(rest) && (next.is_empty() || next.eq_ignore_ascii_case(own))
}

/// Whether a word may stand between two answers that are offered together.
pub fn may_stand_between(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    OFFERS.contains(&lower.as_str()) || FILLERS.contains(&lower.as_str())
}

/// A way through the words behind an answer.
struct Walk<'a> {
    rest: &'a str,
    /// Words that belong to the first answer.
    own: Vec<&'a str>,
    words: usize,
    /// A word offered another answer.
    offers: bool,
    /// The last word was "if".
    condition: bool,
}

impl<'a> Walk<'a> {
    fn at(rest: &'a str) -> Self {
        Self { rest, own: Vec::new(), words: 0, offers: false, condition: false }
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
        self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || ",;:.?!()[]\"*_—–/".contains(c));
    }

    /// The next word in lower case, where there is one.
    fn word(&mut self) -> Option<(String, &'a str)> {
        let len = self.rest.find(|c: char| !(c.is_alphabetic() || c == '\'' || c == '’')).unwrap_or(self.rest.len());
        let word = &self.rest[..len];
        self.rest = &self.rest[len..];
        (len > 0).then(|| (word.replace('’', "'").to_ascii_lowercase(), word))
    }

    /// Goes on to the next answer, if all on the way there may stand between two.
    fn next_answer(&mut self, kind: Kind) -> Option<&'a str> {
        const MAX_WORDS: usize = 12;
        loop {
            let at_once = !self.rest.starts_with(|c: char| ",;:.?!([—–".contains(c));
            self.pass_marks();
            if kind == Kind::Value
                && let Some((answer, rest)) = answer_at(self.rest)
            {
                self.rest = rest;
                return Some(answer);
            }
            let (lower, word) = self.word()?;
            let answers = match kind {
                Kind::Value => false,
                Kind::Choice => is_choice(word),
                Kind::Truth => TRUTHS.contains(&lower.as_str()),
            };
            if answers && Walk::at(self.rest).ends_here(&[]) {
                return Some(word);
            }
            self.words += 1;
            if self.words > MAX_WORDS {
                return None;
            }
            self.offers |= OFFERS.contains(&lower.as_str()) || self.condition && lower == "not";
            self.condition = lower == "if";
            if OFFERS.contains(&lower.as_str()) || FILLERS.contains(&lower.as_str()) {
                continue;
            }
            if !at_once || self.offers || self.own.len() == MAX_OWN_WORDS {
                return None;
            }
            self.own.push(word);
        }
    }

    /// Whether an answer is the end of what is said: so "or 3 days" offers nothing beside 72 hours, and "alternatively, 9 divides 72" goes on.
    fn ends_here(&self, own: &[&str]) -> bool {
        let mut here = Walk::at(self.rest);
        here.close();
        here.rest = here.rest.trim_start_matches([' ', '\t']);
        if here.rest.is_empty() || here.rest.starts_with(|c: char| ",;:.?!)]\n\r—–".contains(c)) {
            return true;
        }
        let Some((lower, word)) = here.word() else { return false };
        own.iter().any(|own| own.eq_ignore_ascii_case(word))
            || GOES_ON.contains(&lower.as_str())
            || self.is_offered_behind()
    }

    /// Whether the words behind an answer offer it: "71 is also possible".
    fn is_offered_behind(&self) -> bool {
        const MAX_WORDS: usize = 4;
        let mut here = Walk::at(self.rest);
        here.close();
        for _ in 0..MAX_WORDS {
            here.rest = here.rest.trim_start_matches([' ', '\t']);
            let Some((lower, _)) = here.word() else { return false };
            if AS_WELL.contains(&lower.as_str()) {
                return true;
            }
            if !(FILLERS.contains(&lower.as_str()) || OFFERS.contains(&lower.as_str()) || lower == "as") {
                return false;
            }
        }
        false
    }
}

/// The answer that a text begins with, between delimiters or a number or a command, and what stands behind it.
fn answer_at(text: &str) -> Option<(&str, &str)> {
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some(inner) = text.strip_prefix(open) {
            let end = inner.find(close)?;
            let content = inner[..end].trim();
            return is_one_value(content).then_some((content, &inner[end + close.len()..]));
        }
    }
    let signed = text.strip_prefix(['-', '−', '+']).unwrap_or(text);
    if !(signed.starts_with(|c: char| c.is_ascii_digit())
        || ["\\frac", "\\dfrac", "\\sqrt", "\\pi"].iter().any(|c| signed.starts_with(c)))
    {
        return None;
    }
    let run = text.find(char::is_whitespace).unwrap_or(text.len());
    let answer = text[..run].trim_end_matches(['.', ',', ';', ':', '?', '!', ')', ']', '*', '"', '\'', '$', '—', '–']);
    // Closing brackets are the answer's own where it opens them.
    let open = answer.matches('(').count() + answer.matches('[').count();
    let answer = if open > 0 {
        &text[..answer.len() + text[answer.len()..run].find([')', ']']).map_or(0, |at| at + 1)]
    } else {
        answer
    };
    is_one_value(answer).then(|| (answer, &text[answer.len()..]))
}

/// False for an equation of more than a name and its value, and for what says itself that it is no more than near.
fn is_one_value(text: &str) -> bool {
    let near = ["\\approx", "\\sim", "\\simeq", "≈", "~"].iter().any(|mark| text.contains(mark));
    let named = match text.split_once('=') {
        None => true,
        Some((name, value)) => {
            let name = name.trim();
            let short = name.chars().count() <= 4 && name.starts_with(|c: char| c.is_alphabetic());
            short && !value.contains('=')
        }
    };
    !text.is_empty() && !near && named && !text.contains(['<', '>'])
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &str) -> Vec<String> {
        let end = text.find("72").expect("the answer") + 2;
        behind(text, end, "72").into_iter().map(|offered| offered.text).collect()
    }

    #[test]
    fn another_answer_is_seen_behind_the_first() {
        for text in [
            "$72$, or maybe $71$",
            "72 or 71",
            "72, or 71.",
            "72. Or 71.",
            "72 (or 71)",
            "72 ($71$ is also possible)",
            "72; 71 also works",
            "72 alternatively 71",
            "72; if not, 71",
            "72? or 71?",
            "72 but it might be 71",
            "$72$, but it could also be $71$.",
            "\\(72\\) or perhaps \\(71\\)",
            "\\boxed{72}, or maybe 71",
            "**72** or **71**",
            "72 apples, or possibly 71 apples",
            "72 — maybe 71",
            "72. Alternatively, the answer is 71.",
            "72, I'm not sure, maybe 71",
            "72. There is another possibility: 71.",
            "72 or 71 depending on the reading",
            "72, or else 71 instead",
        ] {
            assert_eq!(offered(text), ["71"], "{text}");
        }
        assert_eq!(offered("72 or 71, or maybe 70."), ["71", "70"]);
        assert_eq!(offered("72\n\n(Other possible answers: 71, 70)"), ["71", "70"]);
        let of = |text: &str, answer: &str| {
            behind(text, text.find(answer).expect("the answer") + answer.len(), answer)
                .into_iter()
                .map(|o| o.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("\\boxed{B} or C", "B"), ["C"]);
        assert_eq!(of("The answer is (B), or maybe (C).", "(B)"), ["C"]);
        assert_eq!(of("\\text{Yes}, or maybe no", "\\text{Yes}"), ["no"]);
        assert!(of("B. I think that this is right", "B").is_empty() && of("B, or A different letter", "B").is_empty());
        assert!(of("72, or choice (C)", "72").is_empty() && of("Yes, no doubt", "Yes").is_empty());
        assert_eq!(offered("72 or (maybe) $\\frac{1}{2}$"), ["\\frac{1}{2}"]);
    }

    #[test]
    fn what_goes_on_with_something_else_offers_nothing() {
        for text in [
            "72",
            "72.",
            "72 = 8 * 9",
            "72, not 71",
            "72 instead of 71",
            "72 hours, or 3 days",
            "72, or 3 days",
            "72 or more",
            "72 or about 71.9",
            "72, or approximately 71.9",
            "72, or equivalently 8 * 9",
            "72. Or, we could note that 3 * 24 = 72",
            "72. It could be verified that 8 divides it",
            "72. Alternatively, 9 divides 72",
            "72. Alternatively, $2x + 3 = 147$ gives the same",
            "72, or $\\approx 71.9$",
            "72 and 71",
            "72^\\circ or 1.2566",
            "72. The other root is 71",
            "72, 71",
            "72 mph or 105 ft/s",
            "72. Maybe a check is in order: 8 * 9",
        ] {
            assert!(offered(text).is_empty(), "{text}: {:?}", offered(text));
        }
    }

    #[test]
    fn words_join_two_answers_where_they_offer_the_second() {
        for between in [" or ", ", or maybe ", " or possibly even ", ". Maybe ", "; it might be "] {
            assert!(joins(between), "{between:?}");
        }
        assert!(joins_counted(" apples or ", " apples.") && joins_counted(" apples, or ", ""));
        assert!(!joins_counted(" hours, or ", " days") && !joins_counted(" apples and ", " apples"));
        for between in [", ", " and ", " or about ", " = ", " or more than ", " or x = ", ""] {
            assert!(!joins(between), "{between:?}");
        }
    }
}
