//! The math verifier: is the final answer of a completion the same as the gold answer?
//!
//! [`extract`] finds the final answer; [`normal`], [`lexer`] and [`parser`] read it into a tree; [`evaluate`] gives the
//! tree its type and exact value; [`compare`] decides, by [`numeric`] intervals where exact forms do not. Nothing is ever
//! evaluated as code, no clock is read and no signal is used: a [`budget::Budget`] of steps bounds the work, so the same
//! item always gets the same verdict.

pub mod answer;
pub mod budget;
pub mod commands;
pub mod compare;
pub mod evaluate;
pub mod extract;
pub mod judge;
pub mod labels;
pub mod lexer;
pub mod normal;
pub mod number;
pub mod numeric;
pub mod parser;
pub mod polynomial;
pub mod quantifiers;
pub mod quotient;
pub mod region;
mod settings;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod tree;
pub mod units;
pub mod words;

use data::{Item, Status, Verdict};
use serde_json::{Number, Value};

pub use self::compare::{Percent, Units};
pub use self::evaluate::LogBase;
use self::extract::End;
use self::extract::library::{self, Candidate};
pub use self::extract::{Mode, Target};
use self::judge::{Judge, Reading};
use self::settings::Base;
pub use self::settings::MathSettings;
use crate::Verifier;

/// Compares final answers with `ground_truth`, which may be LaTeX, plain text or a number.
#[derive(Debug, Clone)]
pub struct MathVerifier {
    base: Base,
}

impl Default for MathVerifier {
    fn default() -> Self {
        Self::new(MathSettings::default())
    }
}

impl MathVerifier {
    /// A verifier with these settings.
    pub fn new(settings: MathSettings) -> Self {
        Self { base: Base::new(settings) }
    }

    fn verify_one(&self, item: &Item) -> Verdict {
        let (mut verdict, unread) = self.verdict(item);
        if unread > 0 {
            verdict.reason.push_str(&format!("; the first {unread} bytes of the completion were not read"));
            return verdict.metric("unread_bytes", unread as f64);
        }
        verdict
    }

    /// The verdict, and how many bytes of the completion were not read.
    fn verdict(&self, item: &Item) -> (Verdict, usize) {
        let own = match self.base.overridden(&item.extra_info) {
            Ok(own) => own,
            Err(error) => return (Verdict::error(&item.id, format!("extra_info.math of the item: {error}")), 0),
        };
        let settings = own.as_ref().unwrap_or(&self.base.settings);
        let gold = match gold_text(&item.ground_truth) {
            Ok(gold) => gold,
            Err(reason) => return (Verdict::error(&item.id, reason), 0),
        };
        let end = End::of(&item.completion, settings.max_completion_bytes);
        if settings.mode == Mode::MathVerify {
            let verdict = verify_as_library(item, end, &gold, settings);
            // A text is the same as itself, whether a rule reads it or not.
            if verdict.status == Status::Undecided && item.completion.trim() == gold.trim() && !normal::is_struck(&gold)
            {
                return (Verdict::pass(&item.id, "the same text").tag("extracted", &gold), end.unread);
            }
            return (verdict, end.unread);
        }
        let finals = match extract::extract(end, settings.mode) {
            Ok(finals) => finals,
            Err(reason) => return (Verdict::fail(&item.id, reason), end.unread),
        };
        let gold = Reading::of_gold(own_box(&gold));
        let verdict = Judge::new(settings).judge(&item.id, gold, finals.rule, &finals.texts, &finals.offered);
        (verdict, end.unread)
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

/// The mode that follows Math-Verify: gold and completion go through the same extraction.
fn verify_as_library(item: &Item, end: End<'_>, gold: &str, settings: &MathSettings) -> Verdict {
    let mut judge = Judge::new(settings);
    let gold_whole = gold;
    let golds = library::candidates(gold, settings, library::Side::Gold);
    let (gold_text, gold_alternative, gold) = match chosen(&golds, &mut judge, Reading::of_gold) {
        Some((candidate, reading)) => (candidate.text.as_str(), candidate.alternative.as_deref(), reading),
        None => (gold, None, Reading::of_gold(own_box(gold))),
    };
    let visible = end.outside_reasoning().join("\n");
    if visible.is_empty() {
        return Verdict::fail(&item.id, "nothing stands outside the reasoning");
    }
    let mut tagged = extract::in_answer_tags(&visible);
    if !tagged.is_empty() && !extract::boxes(&visible).contents.is_empty() {
        tagged.retain(|content| extract::may_be_an_answer(content));
    }
    let (last, others) = tagged.split_last().map_or((visible.as_str(), &[][..]), |(last, others)| (*last, others));
    let answers = library::candidates(last, settings, library::Side::Completion);
    let Some((candidate, _)) = chosen(&answers, &mut judge, Reading::new) else {
        return Verdict::fail(&item.id, "no final answer");
    };
    let mut finals: Vec<String> = Vec::new();
    for other in others {
        let answers = library::candidates(other, settings, library::Side::Completion);
        finals.extend(chosen(&answers, &mut judge, Reading::new).map(|(other, _)| other.text.clone()));
    }
    finals.extend(candidate.hedged_with.iter().cloned());
    let mut offered = candidate.offered.clone();
    if !tagged.is_empty() {
        offered.extend(extract::boxed_rivals(&visible, &candidate.text));
        offered.extend(extract::behind_tags(&visible, &candidate.text));
    }
    let finals: Vec<&str> = finals.iter().map(String::as_str).chain([candidate.text.as_str()]).collect();
    let verdict = judge.judge(&item.id, gold, candidate.rule, &finals, &offered);
    // Prose is the same as itself, whatever number it holds.
    if verdict.status != Status::Pass
        && finals.len() == 1
        && normal::same_prose(gold_whole, &candidate.text)
        && !offered.iter().any(|other| judge.contradicts(&candidate.text, other))
    {
        return Verdict::pass(&item.id, "the same words").tag("extracted", &candidate.text);
    }
    if verdict.status != Status::Pass
        && finals.len() == 1
        && !offered.iter().any(|other| judge.contradicts(&candidate.text, other))
        && (gold_alternative.is_some() || candidate.alternative.is_some())
        && judge.same_as_lists(gold_text, gold_alternative, &candidate.text, candidate.alternative.as_deref())
    {
        return Verdict::pass(&item.id, "the same with commas between numbers").tag("extracted", &candidate.text);
    }
    verdict
}

/// The first candidate that can be read, else the first one.
fn chosen<'a>(
    candidates: &'a [Candidate],
    judge: &mut Judge,
    read: fn(&str) -> Reading,
) -> Option<(&'a Candidate, Reading)> {
    for candidate in candidates {
        let mut reading = read(&candidate.text);
        if judge.reads(&mut reading) {
            return Some((candidate, reading));
        }
    }
    let whole = |candidate: &&Candidate| candidate.rule != library::WHOLE;
    candidates.iter().find(whole).or(candidates.first()).map(|first| (first, read(&first.text)))
}

/// An integer beyond 64 bits, which a reader of JSON has made a float.
fn has_lost_digits(number: &Number) -> bool {
    let float = number.as_f64().filter(|_| number.is_f64());
    float.is_some_and(|x| x.fract() == 0.0 && x.abs() >= 2f64.powi(63))
}

/// The gold answer as text.
fn gold_text(ground_truth: &Value) -> Result<String, String> {
    let text = match ground_truth {
        Value::String(text) => text.clone(),
        Value::Number(number) if has_lost_digits(number) => {
            return Err(format!(
                "ground_truth: {number} is beyond 64 bits and has lost its digits; give it as a string"
            ));
        }
        Value::Number(number) => number.to_string(),
        Value::Array(golds) if golds.len() == 1 => return gold_text(&golds[0]),
        Value::Null => return Err("the item has no ground_truth; give the gold answer as a string or a number".into()),
        _ => return Err("ground_truth is neither a string nor a number; give the gold answer as one of them".into()),
    };
    if text.trim().is_empty() {
        return Err("ground_truth is empty; give the gold answer as a string or a number".into());
    }
    Ok(text)
}

/// The content of the last box of a gold answer that has one, else what stands behind `####` where a solution ends so.
fn own_box(gold: &str) -> &str {
    let boxes = extract::boxes(gold).contents;
    let marked = || gold.rsplit_once("####").map(|(_, said)| said.trim()).filter(|said| !said.is_empty());
    boxes.last().copied().or_else(marked).unwrap_or(gold)
}
