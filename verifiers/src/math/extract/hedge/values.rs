//! Where another answer begins, and what it is.

use crate::math::words::small_number;

/// What kind of answer another one would have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mathematics.
    Value,
    /// The letter of a choice.
    Choice,
    /// Yes or no.
    Truth,
    /// A word; true when it begins with a capital letter.
    Word(bool),
}

const TRUTHS: [&str; 4] = ["yes", "no", "true", "false"];

impl Kind {
    /// What kind of answer a text is.
    pub fn of(answer: &str) -> Self {
        // As nearly every answer is.
        if answer.len() > 32 || answer.bytes().any(|b| b.is_ascii_digit()) {
            return Self::Value;
        }
        let mut plain = answer.to_owned();
        for wrapper in ["\\textbf", "\\text", "\\mathrm", "\\mathbf", "{", "}", "(", ")", "**", "$", "."] {
            plain = plain.replace(wrapper, "");
        }
        match plain.trim() {
            letter if is_choice(letter) => Self::Choice,
            word if is_truth(word) => Self::Truth,
            word if word.len() > 3 && word.bytes().all(|b| b.is_ascii_alphabetic()) && small_number(word).is_none() => {
                Self::Word(word.starts_with(|c: char| c.is_ascii_uppercase()))
            }
            _ => Self::Value,
        }
    }

    /// Whether a word is an answer of this kind. Values are no words.
    pub fn is_said_by(self, word: &str) -> bool {
        match self {
            Self::Value => false,
            Self::Choice => is_choice(word),
            Self::Truth => is_truth(word),
            Self::Word(capital) => {
                const NO_ANSWERS: [&str; 14] = [
                    "later",
                    "more",
                    "less",
                    "similar",
                    "equivalent",
                    "both",
                    "neither",
                    "something",
                    "anything",
                    "none",
                    "equivalently",
                    "otherwise",
                    "simply",
                    "rather",
                ];
                let own = word.starts_with(|c: char| c.is_ascii_uppercase()) == capital;
                own && word.len() > 2 && !NO_ANSWERS.contains(&word)
            }
        }
    }
}

fn is_truth(word: &str) -> bool {
    TRUTHS.iter().any(|truth| word.eq_ignore_ascii_case(truth))
}

fn is_choice(word: &str) -> bool {
    word.len() == 1 && word.starts_with(|c: char| ('A'..='J').contains(&c))
}

/// The answer that a text begins with, between delimiters or a number or a command, and what stands behind it.
pub fn answer_at(text: &str) -> Option<(&str, &str)> {
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some(inner) = text.strip_prefix(open) {
            let Some(end) = inner.find(close) else { break };
            let content = inner[..end].trim();
            return is_one_value(content).then_some((content, &inner[end + close.len()..]));
        }
    }
    // An amount of money.
    let text = text.strip_prefix('$').unwrap_or(text);
    let signed = text.strip_prefix(['-', '−', '+']).unwrap_or(text);
    let commands = ["\\frac", "\\dfrac", "\\sqrt", "\\pi"];
    let number = signed.starts_with(|c: char| c.is_ascii_digit()) || commands.iter().any(|c| signed.starts_with(c));
    let run = text.find(char::is_whitespace).unwrap_or(text.len());
    let answer = text[..run].trim_end_matches(['.', ',', ';', ':', '?', '!', ')', ']', '*', '"', '\'', '$', '—', '–']);
    if !(number || is_formula(answer)) {
        return None;
    }
    // Closing brackets are the answer's own where it opens them.
    let open = answer.matches('(').count() + answer.matches('[').count();
    let answer = if open > 0 {
        &text[..answer.len() + text[answer.len()..run].find([')', ']']).map_or(0, |at| at + 1)]
    } else {
        answer
    };
    is_one_value(answer).then(|| (answer, &text[answer.len()..]))
}

/// Whether a word is mathematics: single letters with digits or operators between them, `x=5`, `2x`, `x+2`.
fn is_formula(word: &str) -> bool {
    const MAX_BYTES: usize = 24;
    let marks = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'*' | b'/' | b'^' | b'=' | b'(' | b')' | b'.');
    let plain = word.bytes().all(|b| b.is_ascii_lowercase() || marks(b));
    let single = word.as_bytes().windows(2).all(|pair| !(pair[0].is_ascii_lowercase() && pair[1].is_ascii_lowercase()));
    (3..=MAX_BYTES).contains(&word.len())
        && plain
        && single
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.contains(['+', '*', '/', '^', '='])
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

/// The number below a hundred that a text begins with in words, and what stands behind it.
pub fn number_at(text: &str) -> Option<(u32, &str)> {
    let len = text.find(|c: char| !(c.is_ascii_alphabetic() || c == '-')).unwrap_or(text.len());
    small_number(text[..len].trim_end_matches('-')).map(|value| (value, &text[len..]))
}
