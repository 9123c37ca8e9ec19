//! Tables of gold, completion and verdict by topic; properties; hostile input.

mod asides;
mod expressions;
mod extraction;
mod hedges;
mod hostile;
mod library;
mod mutation;
mod notation;
mod properties;
mod settings;
mod structures;
mod tables;
mod words_behind;

use data::{Item, Status, Verdict};
use serde_json::{Value, json};

use super::{MathSettings, MathVerifier, Mode};
use crate::Verifier;

fn item(gold: Value, completion: &str) -> Item {
    Item {
        id: "q".into(),
        prompt: None,
        completion: completion.into(),
        ground_truth: gold,
        data_source: None,
        extra_info: Value::Null,
        token_count: None,
        truncated: false,
    }
}

fn verdict_with(settings: MathSettings, gold: &str, completion: &str) -> Verdict {
    let verdicts = MathVerifier::new(settings).verify(&[item(json!(gold), completion)]);
    verdicts.into_iter().next().expect("one verdict an item")
}

fn verdict(gold: &str, completion: &str) -> Verdict {
    verdict_with(MathSettings::default(), gold, completion)
}

/// Checks a table of gold, the content of the box, and the status.
fn check(table: &[(&str, &str, Status)]) {
    let mut wrong = Vec::new();
    for (gold, boxed, expect) in table {
        let verdict = verdict(gold, &format!("so \\boxed{{{boxed}}}"));
        if verdict.status != *expect {
            wrong.push(format!("{gold} | {boxed}: {:?} ({}), not {expect:?}", verdict.status, verdict.reason));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn check_completions(mode: Mode, table: &[(&str, &str, Status)]) {
    for (gold, completion, expect) in table {
        let settings = MathSettings { mode, ..MathSettings::default() };
        let verdict = verdict_with(settings, gold, completion);
        assert_eq!(verdict.status, *expect, "{gold} | {completion}: {}", verdict.reason);
    }
}

/// Checks pairs of which the second must pass for the first.
fn same(pairs: &[(&str, &str)]) {
    let verdicts = pairs.iter().map(|(gold, boxed)| (gold, boxed, verdict(gold, &format!("so \\boxed{{{boxed}}}"))));
    let wrong: Vec<String> = verdicts
        .filter(|(_, _, verdict)| verdict.status != Status::Pass)
        .map(|(gold, boxed, verdict)| format!("{gold} | {boxed}: {:?} ({})", verdict.status, verdict.reason))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Checks pairs of which the second must not pass for the first.
fn different(pairs: &[(&str, &str)]) {
    let verdicts = pairs.iter().map(|(gold, boxed)| (gold, boxed, verdict(gold, &format!("so \\boxed{{{boxed}}}"))));
    let wrong: Vec<String> = verdicts
        .filter(|(_, _, verdict)| verdict.status == Status::Pass)
        .map(|(gold, boxed, verdict)| format!("{gold} | {boxed} passes ({})", verdict.reason))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
