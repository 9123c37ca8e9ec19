//! One item's comparison: readings of both texts, and the ladder from "the same text" to "proved different".

use data::Verdict;

use super::answer::Answer;
use super::budget::{Budget, Unread};
use super::compare::{self, Outcome, Policy};
use super::evaluate::{self, Reader};
use super::extract::hedge::{self, Offered, Stance};
use super::lexer::{self, Commas};
use super::tree::Shape;
use super::{MathSettings, Mode, labels, normal, parser, quantifiers, words};

/// Distinct final answers that are compared; more are a hedge whatever they say.
const MAX_FINALS: usize = 8;

/// Characters of the extracted answer that a verdict repeats.
const MAX_TAG_CHARS: usize = 200;

/// A text and what it was read as so far.
pub struct Reading {
    normal: String,
    /// By the reading of commas: thousands first, separators second. `None` where not tried yet.
    answers: [Option<Result<Answer, Unread>>; 2],
    ambiguous: bool,
    /// It is the gold answer.
    gold: bool,
}

impl Reading {
    /// A text that is not read yet.
    pub fn new(text: &str) -> Self {
        let normal = normal::normalise(text);
        let normal = normal::number_in_words(&normal).unwrap_or(normal);
        Self { normal, answers: [None, None], ambiguous: false, gold: false }
    }

    /// The text of a gold answer.
    pub fn of_gold(text: &str) -> Self {
        Self { gold: true, ..Self::new(text) }
    }

    fn answer(&mut self, commas: Commas, reader: Reader, budget: &mut Budget) -> Result<&Answer, Unread> {
        // Where commas mean one thing only, both readings are the first.
        let slot = usize::from(commas == Commas::Separators && self.ambiguous);
        if self.answers[slot].is_none() && words::is_phrase(&self.normal) {
            let phrase = self.normal.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
            self.answers[slot] = Some(Ok(Answer::Text(phrase)));
        }
        if self.answers[slot].is_none() {
            let reader = Reader { trusts: reader.trusts || self.gold && reader.last_side_counts, ..reader };
            let (answer, ambiguous) = read(&self.normal, commas, reader, budget);
            self.ambiguous |= ambiguous;
            self.answers[slot] = Some(answer);
        }
        self.answers[slot].as_ref().expect("filled above").as_ref().map_err(Clone::clone)
    }
}

/// Reads a normalised text; also says whether its commas may be read in two ways.
pub fn read(normal: &str, commas: Commas, reader: Reader, budget: &mut Budget) -> (Result<Answer, Unread>, bool) {
    match lexer::lex(normal, commas) {
        Ok(lexed) => {
            let tree = parser::parse(normal, lexed.lexemes, reader.slash_takes_product, budget);
            (tree.and_then(|tree| evaluate::evaluate(&tree, reader, budget)), lexed.ambiguous)
        }
        Err(unread) => (Err(unread), false),
    }
}

/// One item's comparison.
pub struct Judge<'a> {
    settings: &'a MathSettings,
    reader: Reader,
    policy: Policy,
    budget: Budget,
}

impl<'a> Judge<'a> {
    /// A judge with a full budget.
    pub fn new(settings: &'a MathSettings) -> Self {
        Self { settings, reader: settings.reader(), policy: settings.policy(), budget: Budget::new(settings.max_steps) }
    }

    /// True when a text is read as mathematics, and not only as words.
    pub fn reads(&mut self, reading: &mut Reading) -> bool {
        let answer = reading.answer(Commas::Thousands, self.reader, &mut self.budget);
        answer.is_ok_and(|answer| !matches!(answer, Answer::Text(_)))
    }

    /// The verdict on final answers of one rank, the last of which counts, where no other one is offered beside it.
    pub fn judge(&mut self, id: &str, mut gold: Reading, rule: &str, finals: &[&str], offered: &[Offered]) -> Verdict {
        let mut texts: Vec<&str> = Vec::new();
        for text in finals {
            let text = text.trim();
            // A repetition moves to the end, so the last one said stays last.
            texts.retain(|seen| *seen != text);
            texts.push(text);
            if texts.len() > MAX_FINALS {
                texts.remove(0);
            }
        }
        let last = texts.last().copied().unwrap_or_default();
        if texts.iter().any(|text| text.len() > self.settings.max_answer_bytes) {
            return Verdict::undecided(id, "the answer is over the limit of bytes").tag("extracted", shortened(last));
        }
        if normal::is_struck(last) && !normal::is_struck(&gold.normal) {
            return Verdict::fail(id, "a line goes through the final answer").tag("extracted", shortened(last));
        }
        let mut readings: Vec<Reading> = texts.iter().map(|text| Reading::new(text)).collect();
        let mut last_reading = readings.pop().expect("extraction never answers with nothing");
        if self.settings.one_final && !readings.is_empty() {
            if let Some(reason) = self.together(&mut gold, &mut readings, &mut last_reading) {
                return Verdict::pass(id, reason).tag("extracted", shortened(&texts.join(", ")));
            }
            if readings.iter_mut().any(|other| !matches!(self.same(other, &mut last_reading), Outcome::Equal(_))) {
                let joined = shortened(&texts.join(" | "));
                return Verdict::fail(id, "several different final answers").tag("extracted", joined);
            }
        }
        let outcome = self.same(&mut gold, &mut last_reading);
        if self.settings.one_final
            && matches!(outcome, Outcome::Equal(_))
            && let Some(other) = offered.iter().find(|other| self.contradicts(last, other))
        {
            let (reason, both) = match other.stance {
                Stance::Withdrawn | Stance::Denied => ("the final answer is taken back", shortened(last)),
                Stance::Another | Stance::Announced => {
                    let both = shortened(&format!("{last} | {}", other.text));
                    ("another answer is offered beside the final one", both)
                }
            };
            return Verdict::fail(id, reason).tag("extracted", both);
        }
        verdict(id, rule, outcome).tag("extracted", shortened(last))
    }

    /// Whether what stands beside an answer leaves it no answer, or not the only one.
    pub fn contradicts(&mut self, last: &str, other: &Offered) -> bool {
        match other.stance {
            Stance::Withdrawn => true,
            Stance::Denied => {
                matches!(self.same(&mut Reading::new(last), &mut Reading::new(&other.text)), Outcome::Equal(_))
            }
            Stance::Another => self.is_another(last, other),
            Stance::Announced => {
                let sentence = other.sentence.as_ref().map(|text| Offered { text: text.clone(), ..other.clone() });
                (!hedge::is_mathematics(last) || self.read(last).is_some() && self.read(&other.text).is_some())
                    && self.is_another(last, other)
                    && sentence.is_none_or(|sentence| self.is_another(last, &sentence))
            }
        }
    }

    /// What a text is read as.
    fn read(&mut self, text: &str) -> Option<Answer> {
        Reading::new(text).answer(Commas::Thousands, self.reader, &mut self.budget).ok().cloned()
    }

    /// Whether the one is a set, a tuple or a matrix and the other a plain number.
    fn is_number_beside_structure(&mut self, last: &str, other: &str) -> bool {
        use Answer::{Intersection, Matrix, Reals, Sequence, Union, Without};
        let plain = matches!(self.read(other), Some(Answer::Value(value)) if value.form.as_rational().is_some());
        plain
            && match self.read(last) {
                Some(Sequence(Shape::Ratio(_), ..)) => false,
                Some(Sequence(..) | Union(..) | Intersection(..) | Without(..) | Matrix { .. } | Reals) => true,
                _ => false,
            }
    }

    /// Whether what is offered beside an answer is proved to be another one, and is not the same but for its rounding.
    fn is_another(&mut self, last: &str, other: &Offered) -> bool {
        let percent = other.of_percent.then(|| format!("{last}\\%"));
        let places = [last, &other.text].map(decimal_places).into_iter().flatten().min();
        let (policy, settings) = (self.policy, self.settings);
        for last in std::iter::once(last).chain(percent.as_deref()) {
            for places in [None, places] {
                let decimal_places = places.or(settings.decimal_places);
                self.policy = Policy { decimal_places, relation_for_set: true, ..policy };
                let outcome = self.same(&mut Reading::new(last), &mut Reading::new(&other.text));
                self.policy = policy;
                let differs = match outcome {
                    Outcome::Equal(_) => false,
                    Outcome::Different(_) => true,
                    Outcome::Unknown(_) => self.is_number_beside_structure(last, &other.text),
                };
                if !differs {
                    return false;
                }
            }
        }
        true
    }

    /// Whether texts are the same where each may also be read with its commas between numbers.
    pub fn same_as_lists(
        &mut self,
        gold: &str,
        gold_list: Option<&str>,
        other: &str,
        other_list: Option<&str>,
    ) -> bool {
        let pairs = [(Some(gold), other_list), (gold_list, Some(other)), (gold_list, other_list)];
        pairs.into_iter().any(|pair| match pair {
            (Some(gold), Some(other)) => {
                matches!(self.same(&mut Reading::of_gold(gold), &mut Reading::new(other)), Outcome::Equal(_))
            }
            _ => false,
        })
    }

    /// Several boxes may be the items of one gold list or set, all of them and nothing else.
    fn together(&mut self, gold: &mut Reading, others: &mut [Reading], last: &mut Reading) -> Option<&'static str> {
        if !quantifiers::agree(&gold.normal, "") {
            return None;
        }
        let gold = gold.answer(Commas::Separators, self.reader, &mut self.budget).ok()?.clone();
        let Answer::Sequence(Shape::Bare | Shape::Set, items, _) = &gold else { return None };
        if items.len() != others.len() + 1 {
            return None;
        }
        let mut said = Vec::with_capacity(items.len());
        for reading in others.iter_mut().chain([last]) {
            said.push(reading.answer(Commas::Thousands, self.reader, &mut self.budget).ok()?.clone());
        }
        match compare::compare(&gold, &Answer::list(said), self.policy, &mut self.budget) {
            Ok(Outcome::Equal(_)) => Some("boxes: together the gold items"),
            _ => None,
        }
    }

    /// The ladder: the same text, the same choice, the same answer with commas read one way or the other.
    pub fn same(&mut self, gold: &mut Reading, other: &mut Reading) -> Outcome {
        if normal::text_key(&gold.normal) == normal::text_key(&other.normal) {
            return Outcome::Equal("the same text");
        }
        if let (Some(gold), Some(other)) = (normal::choice_only(&gold.normal), normal::choice(&other.normal)) {
            return if gold == other {
                Outcome::Equal("the same choice")
            } else {
                Outcome::Different("another choice")
            };
        }
        if let (Some(gold), Some(other)) = (normal::marked_choice(&gold.normal), normal::choice_only(&other.normal)) {
            return if gold == other {
                Outcome::Equal("the same choice")
            } else {
                Outcome::Different("another choice")
            };
        }
        if normal::does_not_exist(&gold.normal) && normal::does_not_exist(&other.normal) {
            return Outcome::Equal("both say that it does not exist");
        }
        if !quantifiers::agree(&gold.normal, &other.normal) {
            return Outcome::Unknown("the quantifiers differ");
        }
        let first = self.compared(gold, other, Commas::Thousands);
        if matches!(first, Outcome::Equal(_)) {
            return first;
        }
        if let Some(outcome) = self.contents(&gold.normal, &other.normal) {
            return outcome;
        }
        if self.policy.fold_case && normal::same_but_for_case(&gold.normal, &other.normal) {
            return Outcome::Equal("the same text but for its case");
        }
        if normal::same_word(&gold.normal, &other.normal) {
            return Outcome::Equal("the same word");
        }
        if self.settings.mode != Mode::MathVerify && normal::same_choices(&gold.normal, &other.normal) {
            return Outcome::Equal("the same choices");
        }
        // Who asks for a number in a base has said which.
        if labels::digits_of_base(&gold.normal).is_some_and(|digits| digits == other.normal) {
            return Outcome::Equal("the digits of the gold, without their base");
        }
        if let Some(outcome) = self.named(gold, other) {
            return outcome;
        }
        if !(gold.ambiguous || other.ambiguous) {
            return first;
        }
        match self.compared(gold, other, Commas::Separators) {
            Outcome::Equal(reason) => Outcome::Equal(reason),
            _ => first,
        }
    }

    /// The values behind names that the parser does not read, where one side has such a name and the other the same or none.
    fn named(&mut self, gold: &mut Reading, other: &mut Reading) -> Option<Outcome> {
        let mut value = |reading: &mut Reading| match reading.answer(Commas::Thousands, self.reader, &mut self.budget) {
            Err(Unread::Malformed(_) | Unread::Unsupported(_)) => {
                labels::named_value(&reading.normal).map(|(name, value)| (normal::text_key(name), value.to_owned()))
            }
            _ => None,
        };
        let (own, others) = (value(gold), value(other));
        let outcome = match (own, others) {
            (None, None) => return None,
            (Some((name, _)), Some((other, _))) if name != other => return None,
            (Some((_, gold)), Some((_, other))) => self.content(&gold, &other),
            (Some((_, gold)), None) => self.content(&gold, &other.normal),
            (None, Some((_, other))) => self.content(&gold.normal, &other),
        };
        Some(outcome)
    }

    /// A choice with its content, `(B) 12`, is the same as its content; against another such one both parts count.
    fn contents(&mut self, gold: &str, other: &str) -> Option<Outcome> {
        let outcome = match (normal::choice_with_content(gold), normal::choice_with_content(other)) {
            (None, None) => return None,
            (Some((a, _)), Some((b, _))) if a != b => return Some(Outcome::Different("another choice")),
            (Some((_, gold)), Some((_, other))) => return Some(self.content(gold, other)),
            (Some((_, gold)), None) => self.content(gold, other),
            (None, Some((_, other))) => self.content(gold, other),
        };
        matches!(outcome, Outcome::Equal(_)).then_some(outcome)
    }

    /// Two contents, which are not taken apart again: `A. A. A. …` has no end.
    fn content(&mut self, gold: &str, other: &str) -> Outcome {
        let (mut gold, mut other) = (Reading::of_gold(gold), Reading::new(other));
        if normal::text_key(&gold.normal) == normal::text_key(&other.normal) {
            return Outcome::Equal("the same content");
        }
        self.compared(&mut gold, &mut other, Commas::Thousands)
    }

    fn compared(&mut self, gold: &mut Reading, other: &mut Reading, commas: Commas) -> Outcome {
        let gold = match gold.answer(commas, self.reader, &mut self.budget) {
            Ok(gold) => gold,
            Err(_) => return Outcome::Unknown("the gold answer is not read, and the text is another"),
        };
        let other = match other.answer(commas, self.reader, &mut self.budget) {
            Ok(other) => other,
            Err(Unread::Malformed(_)) => return Outcome::Different("the answer is not well formed"),
            Err(Unread::Unsupported(_)) => return Outcome::Unknown("the answer is in a notation that no rule reads"),
            Err(Unread::Limit(_)) => return Outcome::Unknown("the answer is over a limit of size, depth or steps"),
        };
        match compare::compare(gold, other, self.policy, &mut self.budget) {
            Ok(outcome) => outcome,
            Err(Unread::Limit(_)) => Outcome::Unknown("the comparison is over the limit of steps"),
            Err(_) => Outcome::Unknown("no rule compares the two"),
        }
    }
}

/// Digits behind the point of a text that is a decimal and nothing else.
fn decimal_places(text: &str) -> Option<u32> {
    let text = text.trim().trim_start_matches(['-', '+', '$']);
    let (whole, decimals) = text.split_once('.')?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b',');
    (digits(whole) && digits(decimals) && !decimals.is_empty())
        .then(|| u32::try_from(decimals.len()).unwrap_or(u32::MAX))
}

/// A verdict that names the rule of extraction and the rule of comparison.
fn verdict(id: &str, rule: &str, outcome: Outcome) -> Verdict {
    let (reason, verdict): (_, fn(&str, String) -> Verdict) = match outcome {
        Outcome::Equal(reason) => (reason, Verdict::pass),
        Outcome::Different(reason) => (reason, Verdict::fail),
        Outcome::Unknown(reason) => (reason, Verdict::undecided),
    };
    verdict(id, format!("{rule}: {reason}"))
}

/// At most [`MAX_TAG_CHARS`] characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TAG_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Runs every mode on the two parts of arbitrary bytes, cut at the first line break: for fuzzing. Answers with nothing;
/// what it checks is that nothing panics and that a text is always the same as itself.
///
/// # Panics
/// When a text is found to differ from itself: then the verifier is wrong.
pub fn exercise(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (gold, answer) = text.split_once('\n').unwrap_or((&text, &text));
    let (gold, answer) = (gold.to_owned(), answer.to_owned());
    for mode in [super::Mode::Strict, super::Mode::Lenient, super::Mode::MathVerify] {
        let settings = MathSettings { mode, ..MathSettings::default() };
        let mut judge = Judge::new(&settings);
        let own = judge.same(&mut Reading::new(&answer), &mut Reading::new(&answer));
        assert!(matches!(own, Outcome::Equal(_)), "a text differs from itself: {answer:?}");
        judge.same(&mut Reading::new(&gold), &mut Reading::new(&answer));
        let item = data::Item {
            id: String::new(),
            prompt: None,
            completion: answer.clone(),
            ground_truth: gold.clone().into(),
            data_source: None,
            extra_info: serde_json::Value::Null,
            token_count: None,
            truncated: false,
        };
        crate::Verifier::verify(&super::MathVerifier::new(settings), &[item]);
    }
}
