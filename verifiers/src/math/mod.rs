//! The math verifier: is the final answer of a completion the same as the gold answer?
//!
//! [`extract`] finds the final answer; [`normal`], [`lexer`] and [`parser`] read it into a tree; [`answer`] gives the
//! tree its type and exact value; [`compare`] decides. Nothing is ever evaluated as code, no clock is read and no
//! signal is used: a [`budget::Budget`] of steps bounds the work, so the same item always gets the same verdict.

pub mod answer;
pub mod budget;
pub mod compare;
pub mod extract;
pub mod lexer;
pub mod normal;
pub mod number;
pub mod parser;
pub mod polynomial;
pub mod quotient;
#[cfg(test)]
mod tests;
pub mod words;

use data::{Item, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::answer::Answer;
use self::budget::{Budget, Unread};
use self::compare::{Outcome, Percent, Policy};
use self::extract::Mode;
use self::lexer::Commas;
use crate::Verifier;

/// Distinct final answers that are compared; more are a hedge whatever they say.
const MAX_FINALS: usize = 8;

/// Characters of the extracted answer that a verdict repeats.
const MAX_TAG_CHARS: usize = 200;

/// The switches of the math verifier. An item overrides them by `extra_info.math`, which takes the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MathSettings {
    /// How the final answer may be announced.
    pub mode: Mode,
    /// Several different final answers never pass. When false, the last one counts.
    pub one_final: bool,
    /// Whether a percent sign may be left off.
    pub percent: Percent,
    /// Numbers within half a unit of this decimal place are the same; exact when absent.
    pub decimal_places: Option<u32>,
    /// Longer answers are not read.
    pub max_answer_bytes: usize,
    /// Steps of arithmetic per item; the default takes some ten milliseconds.
    pub max_steps: u64,
}

impl Default for MathSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Strict,
            one_final: true,
            percent: Percent::Either,
            decimal_places: None,
            max_answer_bytes: 20_000,
            max_steps: 1_000_000,
        }
    }
}

impl MathSettings {
    /// These settings with an item's own on top.
    fn overridden(&self, extra_info: &Value) -> Result<Option<Self>, serde_json::Error> {
        let Some(own) = extra_info.get("math") else { return Ok(None) };
        let mut merged = serde_json::to_value(self)?;
        match (merged.as_object_mut(), own.as_object()) {
            (Some(merged), Some(own)) => merged.extend(own.clone()),
            // Not an object: deserialising it names the mistake.
            _ => merged = own.clone(),
        }
        serde_json::from_value(merged).map(Some)
    }
}

/// Compares final answers with `ground_truth`, which may be LaTeX, plain text or a number.
#[derive(Debug, Clone, Default)]
pub struct MathVerifier {
    settings: MathSettings,
}

impl MathVerifier {
    /// A verifier with these settings.
    pub fn new(settings: MathSettings) -> Self {
        Self { settings }
    }

    fn verify_one(&self, item: &Item) -> Verdict {
        let own = match self.settings.overridden(&item.extra_info) {
            Ok(own) => own,
            Err(error) => return Verdict::error(&item.id, format!("extra_info.math of the item: {error}")),
        };
        let settings = own.as_ref().unwrap_or(&self.settings);
        let gold = match gold_text(&item.ground_truth) {
            Ok(gold) => gold,
            Err(reason) => return Verdict::error(&item.id, reason),
        };
        let finals = match extract::extract(&item.completion, settings.mode) {
            Ok(finals) => finals,
            Err(reason) => return Verdict::fail(&item.id, reason),
        };
        Judge { settings, gold: Reading::new(&gold), budget: Budget::new(settings.max_steps) }.judge(&item.id, &finals)
    }
}

impl Verifier for MathVerifier {
    fn name(&self) -> &'static str {
        "math"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| self.verify_one(item)).collect()
    }
}

/// The gold answer as text; its own box, where it has one, is opened.
fn gold_text(ground_truth: &Value) -> Result<String, String> {
    let text = match ground_truth {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(golds) if golds.len() == 1 => return gold_text(&golds[0]),
        Value::Null => return Err("the item has no ground_truth; give the gold answer as a string or a number".into()),
        _ => return Err("ground_truth is neither a string nor a number; give the gold answer as one of them".into()),
    };
    if text.trim().is_empty() {
        return Err("ground_truth is empty; give the gold answer as a string or a number".into());
    }
    let boxed = extract::boxes(&text).contents.last().map(|content| (*content).to_owned());
    Ok(boxed.unwrap_or(text))
}

/// A text and what it was read as so far.
struct Reading {
    normal: String,
    /// By the reading of commas: thousands first, separators second. `None` where not tried yet.
    answers: [Option<Result<Answer, Unread>>; 2],
    ambiguous: bool,
}

impl Reading {
    fn new(text: &str) -> Self {
        Self { normal: normal::normalise(text), answers: [None, None], ambiguous: false }
    }

    fn answer(&mut self, commas: Commas, budget: &mut Budget) -> Result<&Answer, Unread> {
        // Where commas mean one thing only, both readings are the first.
        let slot = usize::from(commas == Commas::Separators && self.ambiguous);
        if self.answers[slot].is_none() {
            let (answer, ambiguous) = read(&self.normal, commas, budget);
            self.ambiguous |= ambiguous;
            self.answers[slot] = Some(answer);
        }
        self.answers[slot].as_ref().expect("filled above").as_ref().map_err(Clone::clone)
    }
}

/// Reads a normalised text; also says whether its commas may be read in two ways.
fn read(normal: &str, commas: Commas, budget: &mut Budget) -> (Result<Answer, Unread>, bool) {
    match lexer::lex(normal, commas) {
        Ok(lexed) => {
            let tree = parser::parse(normal, lexed.lexemes, budget);
            (tree.and_then(|tree| answer::evaluate(&tree, budget)), lexed.ambiguous)
        }
        Err(unread) => (Err(unread), false),
    }
}

/// One item's comparison.
struct Judge<'a> {
    settings: &'a MathSettings,
    gold: Reading,
    budget: Budget,
}

impl Judge<'_> {
    fn judge(mut self, id: &str, finals: &extract::Finals) -> Verdict {
        let mut texts: Vec<&str> = Vec::new();
        for text in &finals.texts {
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
        let mut readings: Vec<Reading> = texts.iter().map(|text| Reading::new(text)).collect();
        let mut last_reading = readings.pop().expect("extraction never answers with nothing");
        if self.settings.one_final && !readings.is_empty() {
            if let Some(reason) = self.together(&mut readings, &mut last_reading) {
                return Verdict::pass(id, reason).tag("extracted", shortened(&texts.join(", ")));
            }
            if readings.iter_mut().any(|other| !matches!(self.same(other, &mut last_reading), Outcome::Equal(_))) {
                let joined = shortened(&texts.join(" | "));
                return Verdict::fail(id, "several different final answers").tag("extracted", joined);
            }
        }
        let (reason, verdict): (_, fn(&str, String) -> Verdict) = match self.against_gold(&mut last_reading) {
            Outcome::Equal(reason) => (reason, Verdict::pass),
            Outcome::Different(reason) => (reason, Verdict::fail),
            Outcome::Unknown(reason) => (reason, Verdict::undecided),
        };
        verdict(id, format!("{}: {reason}", finals.rule)).tag("extracted", shortened(last))
    }

    fn policy(&self) -> Policy {
        Policy { percent: self.settings.percent, decimal_places: self.settings.decimal_places }
    }

    /// Several boxes may be the items of one gold list or set, all of them and nothing else.
    fn together(&mut self, others: &mut [Reading], last: &mut Reading) -> Option<&'static str> {
        let policy = self.policy();
        let gold = self.gold.answer(Commas::Separators, &mut self.budget).ok()?.clone();
        let Answer::Sequence(parser::Shape::Bare | parser::Shape::Set, items) = &gold else { return None };
        if items.len() != others.len() + 1 {
            return None;
        }
        let mut said = Vec::with_capacity(items.len());
        for reading in others.iter_mut().chain([last]) {
            said.push(reading.answer(Commas::Thousands, &mut self.budget).ok()?.clone());
        }
        let said = Answer::Sequence(parser::Shape::Bare, said);
        match compare::compare(&gold, &said, policy, &mut self.budget) {
            Ok(Outcome::Equal(_)) => Some("boxes: together the gold items"),
            _ => None,
        }
    }

    fn against_gold(&mut self, answer: &mut Reading) -> Outcome {
        let mut gold = std::mem::replace(&mut self.gold, Reading::new(""));
        let outcome = self.same(&mut gold, answer);
        self.gold = gold;
        outcome
    }

    /// The ladder: the same text, the same choice, the same answer with commas read one way or the other.
    fn same(&mut self, gold: &mut Reading, other: &mut Reading) -> Outcome {
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
        let first = self.compared(gold, other, Commas::Thousands);
        if matches!(first, Outcome::Equal(_)) || !(gold.ambiguous || other.ambiguous) {
            return first;
        }
        match self.compared(gold, other, Commas::Separators) {
            Outcome::Equal(reason) => Outcome::Equal(reason),
            _ => first,
        }
    }

    fn compared(&mut self, gold: &mut Reading, other: &mut Reading, commas: Commas) -> Outcome {
        let policy = self.policy();
        let gold = match gold.answer(commas, &mut self.budget) {
            Ok(gold) => gold,
            Err(_) => return Outcome::Unknown("the gold answer is not read, and the text is another"),
        };
        let other = match other.answer(commas, &mut self.budget) {
            Ok(other) => other,
            Err(Unread::Malformed(_)) => return Outcome::Different("the answer is not well formed"),
            Err(Unread::Unsupported(_)) => return Outcome::Unknown("the answer is in a notation that no rule reads"),
            Err(Unread::Limit(_)) => return Outcome::Unknown("the answer is over a limit of size, depth or steps"),
        };
        match compare::compare(gold, other, policy, &mut self.budget) {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unknown("the comparison is over the limit of steps"),
        }
    }
}

/// At most [`MAX_TAG_CHARS`] characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TAG_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
