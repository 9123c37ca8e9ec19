//! The extraction of Math-Verify: boxes, announcements and any mathematics at all, by rank and then from the right.
//!
//! Ranks, best first: "final answer is … I hope" 0, "final answer is" 50, a box as configured, "answer:" 100, "answer"
//! 200, anything 300. It differs on purpose where that library takes a part for the whole: a text without delimiters
//! that is mathematics as a whole is taken as a whole, a box that cannot be read is not replaced by something of a lower
//! rank, and numbers joined by "or" are one answer.

use std::cmp::Reverse;

use super::hedge::{self, Offered, Stance};
use super::numbers::{self, Plain};
use super::spans::{self, Span};
use super::{Boxes, Target, announcements};
use crate::math::MathSettings;
use crate::math::words::{FUNCTIONS, multiplier};

/// The name of the rule that takes the whole text.
pub const WHOLE: &str = "the whole text";

/// Candidates that are tried.
const MAX_CANDIDATES: usize = 6;

/// The rank of what nothing announces.
const ANYTHING: i32 = 300;

/// Times that a text may say "answer", counted from its end.
const MAX_ANNOUNCED: usize = 200;

/// Answers that are joined to one.
const MAX_JOINED: usize = 6;

/// Bytes of a text that may be an answer as a whole.
const MAX_WHOLE_BYTES: usize = 400;

/// Whose text is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The gold answer, which may be cut anywhere.
    Gold,
    /// The completion.
    Completion,
}

/// A possible final answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its text.
    pub text: String,
    /// The rule that found it.
    pub rule: &'static str,
    /// What the text may also mean: `1,2` is 1.2 first, and then two numbers.
    pub alternative: Option<String>,
    /// Boxes before it that say something else.
    pub hedged_with: Vec<String>,
    /// What is offered beside it.
    pub offered: Vec<Offered>,
}

impl Candidate {
    fn new(text: impl Into<String>, rule: &'static str) -> Self {
        Self { text: text.into(), rule, alternative: None, hedged_with: Vec::new(), offered: Vec::new() }
    }
}

/// The possible final answers of a text, the best first.
pub fn candidates(text: &str, settings: &MathSettings, side: Side) -> Vec<Candidate> {
    let latex = settings.targets.contains(&Target::Latex);
    let expr = settings.targets.contains(&Target::Expr);
    let (mut found, mut whole) = (Vec::new(), None);
    let bare = is_bare(text);
    // A gold answer is one whatever its length.
    if bare && (text.len() <= MAX_WHOLE_BYTES || side == Side::Gold) {
        let trimmed = text.trim().trim_end_matches(['.', '€', '£']);
        if expr && let Some(plain) = numbers::literal(trimmed, 0).filter(|plain| plain.end == trimmed.len()) {
            let spelled = numbers::spelled(trimmed, &plain);
            let decimal_comma = spelled.contains('.') && trimmed.contains(',') && !trimmed.contains('.');
            let alternative = decimal_comma.then(|| trimmed.to_owned());
            return vec![Candidate { alternative, ..Candidate::new(spelled, WHOLE) }];
        }
        let said = without_label(trimmed.trim_start_matches(['#', '=', ' ']));
        if !said.is_empty() && !said.contains('\n') {
            whole = Some(Candidate::new(said, WHOLE));
            // A number in what is all mathematics is a part of it, and a part is never taken for the whole.
            if !is_sentence(said) && (said.contains('\\') || !is_remark(said)) {
                return whole.into_iter().collect();
            }
            // Words at the very end may be what mathematics measures or counts.
            if without_words_behind(said).is_some_and(|head| !is_sentence(head)) {
                found.extend(whole.clone());
            }
            // What a number counts belongs to it, where nothing else is said.
            if expr && let Some(counted) = counted(said) {
                found.push(Candidate::new(counted, "a number and its words"));
            }
        }
    }
    let spans = if latex { spans::spans(text) } else { Vec::new() };
    let mut numbers = if expr && !(bare && text.contains('\\')) { numbers::numbers(text) } else { Vec::new() };
    numbers.retain(|plain| {
        let after = spans.partition_point(|span| span.start <= plain.start);
        after == 0 || spans[after - 1].end <= plain.start
    });
    let search = Search { text, side, spans, numbers };
    let mut ranked = Vec::new();
    if latex && settings.boxed_match_priority >= 0 {
        search.boxes(settings.boxed_match_priority, &mut ranked);
    }
    let has_box = !ranked.is_empty();
    search.announced(&mut ranked);
    if !has_box {
        search.anything(&mut ranked);
    }
    ranked.sort_by_key(|ranked| (ranked.rank, Reverse(ranked.end), ranked.start));
    // What cannot be read is not replaced by something of a lower rank.
    let best = ranked.first().map(|ranked| ranked.rank);
    ranked.retain(|ranked| Some(ranked.rank) == best);
    ranked.truncate(MAX_CANDIDATES);
    for ranked in &mut ranked {
        ranked.candidate.offered = hedge::behind(text, ranked.end, &ranked.candidate.text);
        if has_box && side == Side::Completion {
            ranked.candidate.offered.extend(hedge::before(text, ranked.start, &ranked.candidate.text));
        }
    }
    // A box is the last word on what was announced before it.
    let announced = |rank: i32| rank < ANYTHING || text.contains("####");
    if let Some(first) = ranked.first_mut().filter(|first| !has_box && announced(first.rank)) {
        let rivals = announcements::rivals(text, first.start).into_iter();
        first.candidate.offered.extend(rivals.map(|text| Offered::new(text, Stance::Another)));
    }
    found.extend(ranked.into_iter().map(|ranked| ranked.candidate));
    // Prose is an answer only where nothing in it is one.
    found.extend(whole);
    found
}

struct Ranked {
    rank: i32,
    start: usize,
    end: usize,
    candidate: Candidate,
}

struct Search<'a> {
    text: &'a str,
    side: Side,
    spans: Vec<Span>,
    numbers: Vec<Plain>,
}

impl Search<'_> {
    /// The last box, with those before it that belong to it.
    fn boxes(&self, rank: i32, ranked: &mut Vec<Ranked>) {
        let boxes = super::boxes(self.text);
        let Some(&(last_start, last_end)) = boxes.places.last() else {
            if let (Side::Gold, Some(cut)) = (self.side, boxes.unclosed) {
                let candidate = Candidate::new(cut.lines().next().unwrap_or(cut), "an unclosed box");
                ranked.push(Ranked { rank, start: 0, end: self.text.len(), candidate });
            }
            return;
        };
        if boxes.unclosed_last && self.side == Side::Completion {
            let candidate = Candidate::new("(", "a box that is not closed");
            ranked.push(Ranked { rank, start: last_start, end: self.text.len(), candidate });
            return;
        }
        let first = first_of_chain(self.text, &boxes);
        let mut parts: Vec<&str> = Vec::new();
        for content in &boxes.contents[first..] {
            if parts.last() != Some(content) {
                parts.push(content);
            }
        }
        let mut text = parts.join(",");
        let tail = self.text[last_end..].trim_start_matches(['$', '}', ' ', ')', '\\']);
        if parts.len() == 1 && spans::percent_end(tail, 0).is_some() && !text.contains('%') {
            text.push_str("\\%");
        }
        let hedged_with = boxes.contents[..first].iter().map(|content| (*content).to_owned()).collect();
        let candidate = Candidate { hedged_with, ..Candidate::new(text, "box") };
        ranked.push(Ranked { rank, start: last_start, end: last_end, candidate });
    }

    /// What follows "final answer is", "answer:" and "answer".
    fn announced(&self, ranked: &mut Vec<Ranked>) {
        const WORD: &str = "answer";
        let lower = self.text.to_ascii_lowercase();
        for (at, _) in lower.rmatch_indices(WORD).take(MAX_ANNOUNCED) {
            let end = at + WORD.len();
            if lower[..at].ends_with("final ") {
                self.final_answer(&lower, end, ranked);
            }
            let colon = lower[end..].starts_with(':');
            let (rank, rule) = if colon { (100, "answer:") } else { (200, "answer") };
            self.near(&lower, end + usize::from(colon), rank, rule, ranked);
        }
    }

    /// "final answer … is X", where the search starts behind "answer".
    fn final_answer(&self, lower: &str, from: usize, ranked: &mut Vec<Ranked>) {
        let until = floor_boundary(lower, from + 104);
        for (offset, _) in lower[from..until].match_indices("is") {
            let mut at = from + offset + 2;
            if !lower[..at - 2].ends_with(char::is_whitespace) {
                continue;
            }
            at += usize::from(lower[at..].starts_with(':'));
            if offset < 2 {
                self.sentence(at, 50, "final answer is", ranked);
            }
            let Some((start, end, text)) = self.starting_at(at) else { continue };
            let hope = lower[end..].trim_start_matches('.').trim_start().starts_with("i hope");
            let rank = if hope && offset < 2 { 0 } else { 50 };
            let candidate = Candidate::new(text, "final answer is");
            ranked.push(Ranked { rank, start, end, candidate });
            return;
        }
    }

    /// The first piece of mathematics within 50 bytes, and the first number there.
    fn near(&self, lower: &str, from: usize, rank: i32, rule: &'static str, ranked: &mut Vec<Ranked>) {
        let span = self.spans.partition_point(|span| span.start < from);
        if let Some(first) = self.spans.get(span).filter(|first| first.start <= from + 50) {
            let (end, text) = self.chain(span);
            let text = self.unless_denied(from, first.start, end, text);
            ranked.push(Ranked { rank, start: first.start, end, candidate: Candidate::new(text, rule) });
        }
        let said = lower[from..].strip_prefix(" is").map_or(from, |rest| lower.len() - rest.len());
        if said > from || rank == 100 {
            self.sentence(said + usize::from(lower[said..].starts_with(':')), rank, rule, ranked);
        }
        let reach = floor_boundary(self.text, from + 105);
        let line = self.text[from..reach].find('\n').map_or(reach, |offset| from + offset);
        let first = self.numbers.partition_point(|plain| plain.start < from);
        let near = self.numbers[first..].iter().take_while(|plain| plain.start <= from + 104 && plain.start < line);
        // The last number behind an equals sign, else the first of all.
        let mut chosen: Option<usize> = None;
        for (offset, plain) in near.enumerate() {
            let equals = self.text[..plain.start].trim_end().ends_with('=');
            let equated = self.text[plain.end..].trim_start().starts_with('=');
            let close = plain.start <= from + 52;
            if !equated && (equals || (close && chosen.is_none())) {
                chosen = Some(first + offset);
            }
        }
        if let Some(at) = chosen {
            let (start, end, text) = if lower[from..].starts_with("s are") { self.listed(at) } else { self.joined(at) };
            let text = self.unless_denied(from, start, end, text);
            ranked.push(Ranked { rank, start, end, candidate: Candidate::new(text, rule) });
        }
    }

    /// The candidate, or, where words before it say that it is not the answer or only bounds it, those words with it, which
    /// no rule reads.
    fn unless_denied(&self, from: usize, start: usize, end: usize, text: String) -> String {
        const DENIALS: [&str; 12] = [
            "not", "cannot", "isn't", "can't", "never", "neither", "than", "least", "most", "except", "between",
            "unlike",
        ];
        let between = self.text.get(from..start).unwrap_or_default();
        let word = |word: &str| DENIALS.iter().any(|denial| word.eq_ignore_ascii_case(denial));
        let bounded =
            self.text[end..].trim_start_matches(['$', ' ', '\\', ')']).strip_prefix("or ").is_some_and(|rest| {
                let next = rest.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
                ["more", "less", "fewer", "greater", "higher", "lower", "above", "below", "larger", "smaller"]
                    .contains(&next)
            });
        if bounded
            || between.contains(['<', '>', '≤', '≥', '≠'])
            || between.split(|c: char| !(c.is_alphabetic() || c == '\'')).any(word)
        {
            return format!("not {}", &self.text[start..end]);
        }
        text
    }

    /// What an announcement says up to the end of its sentence, where that holds no delimiters.
    fn sentence(&self, from: usize, rank: i32, rule: &'static str, ranked: &mut Vec<Ranked>) {
        let said = announcements::sentence(&self.text[from..]);
        if said.is_empty() || said.contains('$') || said.contains("\\(") || said.contains("\\[") {
            return;
        }
        let start = said.as_ptr() as usize - self.text.as_ptr() as usize;
        ranked.push(Ranked { rank, start, end: start + said.len(), candidate: Candidate::new(said, rule) });
    }

    /// Mathematics or a number that starts at `at`, white space before it aside.
    fn starting_at(&self, at: usize) -> Option<(usize, usize, String)> {
        let start = self.text.len() - self.text[at..].trim_start_matches([' ', '\n', '"', '*']).len();
        let span = self.spans.partition_point(|span| span.start < start);
        if self.spans.get(span).is_some_and(|first| first.start == start) {
            let (end, text) = self.chain(span);
            return Some((start, end, text));
        }
        let number = self.numbers.partition_point(|plain| plain.start < start);
        let plain = self.numbers.get(number).filter(|plain| plain.start <= start + 1)?;
        let currency = self.text[start..plain.start].chars().all(|c| !c.is_alphanumeric());
        currency.then(|| self.joined(number))
    }

    /// All mathematics and all numbers; the last few of each are enough.
    fn anything(&self, ranked: &mut Vec<Ranked>) {
        let mut at = 0;
        let mut chains = Vec::new();
        while at < self.spans.len() {
            let (end, text) = self.chain(at);
            chains.push(Ranked {
                rank: ANYTHING,
                start: self.spans[at].start,
                end,
                candidate: Candidate::new(text, "mathematics"),
            });
            at = self.spans.partition_point(|span| span.start < end).max(at + 1);
        }
        let keep = chains.len().saturating_sub(MAX_CANDIDATES);
        ranked.extend(chains.into_iter().skip(keep));
        let keep = self.numbers.len().saturating_sub(MAX_CANDIDATES);
        for at in keep..self.numbers.len() {
            let (start, end, text) = self.joined(at);
            let before = self.text[..start].trim_end_matches(['$', ' ', '(']);
            let denied =
                before.rsplit(char::is_whitespace).next().is_some_and(|word| word.len() > 2 && hedge::denies(word));
            let text = if denied { format!("not {text}") } else { text };
            ranked.push(Ranked { rank: ANYTHING, start, end, candidate: Candidate::new(text, "number") });
        }
    }

    /// A span and those that commas, "and" and "or" join to it, as one list; also where it ends.
    fn chain(&self, first: usize) -> (usize, String) {
        let mut text = self.inner(&self.spans[first]);
        let mut end = self.spans[first].end;
        for span in self.spans[first + 1..].iter().take(MAX_JOINED - 1) {
            let between = self.text[end..span.start].trim();
            if !matches!(between, "," | "and" | "or" | ",and" | ",or" | ", and" | ", or") && !hedge::joins(between) {
                break;
            }
            text.push_str(", ");
            text.push_str(&self.inner(span));
            end = span.end;
        }
        (end, text)
    }

    fn inner(&self, span: &Span) -> String {
        let mut text = self.text[span.inner.0..span.inner.1].trim().to_owned();
        if span.percent {
            text.push_str("\\%");
        }
        let behind = self.text[span.end..].trim_start();
        let word = behind.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if multiplier(word).is_some() && text.ends_with(|c: char| c.is_ascii_digit()) {
            text.push_str("\\text{ ");
            text.push_str(word);
            text.push('}');
        }
        text
    }

    /// The numbers of "the answers are 2, 3 and 5"; also where they start and end.
    fn listed(&self, at: usize) -> (usize, usize, String) {
        let mut last = at;
        let marks = [", ", " and ", ", and ", " or ", ", or ", ","];
        while let [a, b] = self.numbers.get(last..last + 2).unwrap_or_default()
            && last - at < MAX_JOINED
            && marks.contains(&&self.text[a.end..b.start])
        {
            last += 1;
        }
        let spelled = self.numbers[at..=last].iter().map(|plain| numbers::spelled(self.text, plain));
        (self.numbers[at].start, self.numbers[last].end, spelled.collect::<Vec<_>>().join(", "))
    }

    /// A number and those that "or" joins to it; also where they start and end. A number in a formula brings the
    /// formula with it.
    fn joined(&self, at: usize) -> (usize, usize, String) {
        let spelled = |plain: &Plain| numbers::spelled(self.text, plain);
        let (mut low, mut high) = (at, at);
        let or = |a: &Plain, b: &Plain| {
            let between = &self.text[a.end..b.start];
            hedge::joins(between) || between.len() < 24 && hedge::joins_counted(between, &self.text[b.end..])
        };
        while low > 0 && at - low < MAX_JOINED && or(&self.numbers[low - 1], &self.numbers[low]) {
            low -= 1;
        }
        while high + 1 < self.numbers.len()
            && high - at < MAX_JOINED
            && or(&self.numbers[high], &self.numbers[high + 1])
        {
            high += 1;
        }
        let (start, end) = (self.numbers[low].start, self.numbers[high].end);
        if low == high {
            let text = self.formula_around(&self.numbers[at]).map_or_else(|| spelled(&self.numbers[at]), str::to_owned);
            return (start, end, text);
        }
        let all: Vec<String> = self.numbers[low..=high].iter().map(spelled).collect();
        (start, end, all.join(" or "))
    }

    /// The word that holds a number behind an equals sign, when its left side is more than a name: of `3x-y+13=0` the
    /// zero is not the answer.
    fn formula_around(&self, plain: &Plain) -> Option<&str> {
        let before = &self.text[..plain.start];
        if !before.ends_with('=') {
            return None;
        }
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let start = if self.text.is_char_boundary(start) { start } else { return None };
        let left = &self.text[start..plain.start - 1];
        let letters = left.chars().any(char::is_alphabetic);
        let operators = left.contains(['+', '-', '*', '/', '^']);
        (letters && operators && plain.start - start < 100).then(|| &self.text[start..plain.end])
    }
}

/// True for a text without delimiters and boxes. An escaped dollar is money.
fn is_bare(text: &str) -> bool {
    let dollar = text.match_indices('$').any(|(at, _)| !text[..at].ends_with('\\'));
    !(dollar || text.contains("\\(") || text.contains("\\[") || text.contains("\\boxed"))
}

/// The text behind a label such as "Answer:" or "x:". Digits before a colon make a ratio or a time.
fn without_label(text: &str) -> &str {
    match text.split_once(':') {
        Some((label, said))
            if !label.is_empty()
                && label.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '*')
                && said.starts_with(char::is_whitespace) =>
        {
            said.trim_matches(['*', ' '])
        }
        _ => text,
    }
}

/// A number with up to three words behind it and nothing else, those as words: `12 red balls`.
fn counted(text: &str) -> Option<String> {
    const MAX_WORDS: usize = 3;
    let digits = text.find(' ')?;
    let (number, words) = (&text[..digits], text[digits..].trim());
    let plain = numbers::literal(number, 0).filter(|plain| plain.end == number.len() && !plain.expression)?;
    let letters = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic());
    let count = words.split(' ').count();
    if count > MAX_WORDS || !words.split(' ').all(letters) || is_remark(words) {
        return None;
    }
    Some(format!("{}\\text{{ {words}}}", numbers::spelled(text, &plain)))
}

/// What stands before words in a font at the very end of a text: of `2\frac{3}{4}\text{ hours}` the number.
fn without_words_behind(text: &str) -> Option<&str> {
    const MAX_WORDS: usize = 3;
    let inner = text.strip_suffix('}')?;
    let (head, words) = inner.rsplit_once("\\text{").or_else(|| inner.rsplit_once("\\mathrm{"))?;
    let plain = words.chars().all(|c| c.is_alphabetic() || c == ' ') && words.split_whitespace().count() <= MAX_WORDS;
    (plain && head.ends_with(|c: char| c.is_ascii_digit() || matches!(c, '}' | ')' | ' ' | '\\' | '~' | ',')))
        .then_some(head)
}

/// True for mathematics with a short word beside it: "so n=5", "it's 5", "x is 5", "72, I think", "* 5", "5 °C".
fn is_remark(text: &str) -> bool {
    const WORDS: [&str; 18] = [
        "so", "is", "it", "it's", "to", "of", "we", "he", "an", "by", "as", "be", "the", "got", "get", "has", "was",
        "I",
    ];
    text.starts_with("* ") || text.contains(" °") || text.split([' ', ',']).any(|word| WORDS.contains(&word))
}

/// True when a text holds words that are no commands and no names of functions: one of three letters, or two of two.
fn is_sentence(text: &str) -> bool {
    // "x=1orx=2" has no words of its own.
    if text.contains('=') && !text.contains(char::is_whitespace) {
        return false;
    }
    let words = text.split(|c: char| !(c.is_alphabetic() || c == '\\'));
    let is_word = |word: &&str| {
        word.len() > 1
            && !word.contains('\\')
            && !FUNCTIONS.contains(word)
            && !matches!(*word, "or" | "and" | "pi" | "sqrt")
    };
    words.filter(is_word).map(|word| word.len().min(3) - 1).sum::<usize>() > 1
}

/// The first box of those that belong to the last one: next to it, or joined to it by a separator and different.
fn first_of_chain(text: &str, boxes: &Boxes) -> usize {
    let mut first = boxes.places.len() - 1;
    while first > 0 {
        let between = &text[boxes.places[first - 1].1..boxes.places[first].0];
        let near = between.chars().take(10).count() < 10;
        let words = || between.split(|c: char| !c.is_alphanumeric()).any(|word| matches!(word, "and" | "or"));
        let separated = || between.len() < 70 && (between.contains([',', ';']) || words());
        if !(near || boxes.contents[first - 1] != boxes.contents[first] && separated()) {
            break;
        }
        first -= 1;
    }
    first
}

/// The last character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
