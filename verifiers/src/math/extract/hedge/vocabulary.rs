//! The words around a final answer that offer another one, take it back, or say nothing.

/// A list of words, which has them in either case.
pub struct Words(&'static [&'static str]);

impl Words {
    /// Whether a word is one of them.
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|known| known.len() == word.len() && known.eq_ignore_ascii_case(word))
    }
}

/// Words that offer another answer.
pub const OFFERS: Words = Words(&[
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
    "uncertain",
    "unless",
    "probably",
    "conceivably",
    "another",
    "vs",
    "versus",
]);

/// Words that take an answer back in favour of the next one.
pub const RETRACTS: Words = Words(&[
    "no",
    "nope",
    "nah",
    "wait",
    "edit",
    "edited",
    "update",
    "updated",
    "correction",
    "corrected",
    "actually",
    "sorry",
    "apologies",
    "oops",
    "whoops",
    "hmm",
    "hm",
    "scratch",
    "strike",
    "rather",
    "instead",
    "mean",
    "meant",
    "typo",
    "should",
    "must",
    "ought",
    "revised",
    "make",
    "erratum",
]);

/// Words that say nothing of their own between two answers.
pub const FILLERS: Words = Words(&[
    "other", "others", "if", "not", "it", "it's", "its", "is", "are", "was", "be", "been", "the", "a", "an", "my",
    "answer", "answers", "final", "value", "result", "solution", "number", "just", "even", "also", "can", "would",
    "have", "but", "though", "although", "and", "i", "i'm", "am", "think", "guess", "sure", "that", "this", "well",
    "should", "then", "some", "one", "there", "that's", "thought", "thoughts", "to", "on", "second", "oh", "read",
    "now", "however", "yet", "certain", "entirely", "fully", "totally", "quite",
]);

/// Words behind an answer that is offered that offer it too.
pub const AS_WELL: Words = Words(&[
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
]);

/// Words that a sentence may go on with behind an answer that was offered.
pub const GOES_ON: Words = Words(&[
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
    "when",
    "would",
    "i",
    "not",
    "respectively",
    "for",
]);

/// Words that deny what stands behind them, or what they are said of.
pub const DENIALS: Words =
    Words(&["not", "isn't", "wasn't", "never", "cannot", "can't", "couldn't", "shouldn't", "nor"]);

/// What a wrong answer is said to be.
pub const WRONG: Words = Words(&["wrong", "incorrect", "mistaken", "invalid", "erroneous", "mistake", "extraneous"]);

/// What a denied answer is said not to be.
pub const RIGHT: Words = Words(&["correct", "right", "valid", "answer", "solution", "it"]);

/// Words between an answer and what is said of it.
pub const SUBJECTS: Words = Words(&[
    "that",
    "that's",
    "thought",
    "thoughts",
    "this",
    "it",
    "it's",
    "its",
    "which",
    "the",
    "answer",
    "is",
    "was",
    "be",
    "a",
    "an",
    "my",
    "final",
    "result",
    "value",
    "wait",
    "no",
    "but",
    "so",
    "sorry",
    "actually",
    "hmm",
    "oops",
    "clearly",
    "obviously",
    "however",
    "completely",
    "totally",
    "definitely",
    "just",
    "seems",
]);

/// Words that make an announcement one of a condition, or of somebody else.
pub const NOT_OURS: Words = Words(&[
    "if",
    "when",
    "were",
    "had",
    "suppose",
    "supposing",
    "assuming",
    "unless",
    "without",
    "otherwise",
    "for",
    "part",
    "student",
    "student's",
    "students",
    "many",
    "some",
    "someone",
    "people",
    "they",
    "he",
    "she",
    "you",
    "your",
    "his",
    "her",
    "their",
    "textbook",
    "book",
    "tempting",
    "naive",
    "common",
    "wrong",
    "incorrect",
    "original",
    "earlier",
    "previous",
    "initial",
    "old",
    "trap",
    "whether",
    "would",
    "may",
    "might",
    "could",
    "wrongly",
    "why",
    "example",
    "question",
    "given",
]);
