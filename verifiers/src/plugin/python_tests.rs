//! Rewards written for other systems, as they are, through the host.

use std::path::PathBuf;

use data::{Item, Status, Verdict};
use serde_json::{Map, Value, json};

use super::{PluginSettings, PluginVerifier, Style};
use crate::{Together, Verifier};

/// Functions in the shapes that other systems call.
const REWARDS: &str = r##"
import fractions
import os
import re

print("printed while loading")

class Tensor:
    """Stands for torch's and numpy's: one that knows item() or tolist()."""
    def __init__(self, data): self.data = data
    def item(self): return self.data
    def tolist(self): return self.data

def compute_score(data_source, solution_str, ground_truth, extra_info=None, bonus=0.0):
    print("printed while scoring")
    if solution_str == "raise":
        raise ValueError("odd input")
    if solution_str == "exit":
        raise SystemExit(1)
    if solution_str == "nan":
        return float("nan")
    right = solution_str == ground_truth
    return {"score": Tensor(float(right) + bonus), "acc": right, "pred": solution_str, "level": extra_info.get("level")}

async def compute_score_async(solution_str, ground_truth, **kwargs):
    return solution_str == ground_truth

def compute_score_batch(data_sources, solution_strs, ground_truths, extra_infos, **kwargs):
    return [{"score": float(s == g), "n": len(solution_strs)} for s, g in zip(solution_strs, ground_truths)]

def trl_reward(completions, solution, level=None, **kwargs):
    return [None if text == "skip" else float(text == gold) for text, gold in zip(completions, solution)]

def verl_forgets(solution_str, ground_truth):
    solution_str == ground_truth

def trl_forgets(completions, **kwargs):
    [1.0 for _ in completions]

def openrlhf_forgets(queries, prompts, labels):
    [1.0 for _ in queries]

def get_limit(longest):
    def limit(completion_ids, **kwargs):
        return [0.0 if len(ids) <= longest else -1.0 for ids in completion_ids]
    return limit

def trl_messages(prompts, completions, **kwargs):
    return [1.0 if completion[0]["content"] == truth else -1.0
            for completion, truth in zip(completions, kwargs["ground_truth"])]

def reward_func(queries, prompts, labels, **kwargs):
    rewards = [float(query[len(prompt):] == label) for query, prompt, label in zip(queries, prompts, labels)]
    return {"rewards": Tensor(rewards), "scores": Tensor(rewards), "extra_logs": {"right": Tensor(rewards), "mean": 0.5}}

def exact(completion, answer, parser=None):
    text = completion[-1]["content"]
    if text == "raise":
        raise KeyError("no")
    return float(text == answer)

async def short(completion, state):
    return float(len(completion[-1]["content"]) < 5)

def best_of(completions, answers):
    hits = [c[-1]["content"] == a for c, a in zip(completions, answers)]
    return [float(hit) / max(1, sum(hits)) for hit in hits]

class Rubric:
    def __init__(self, funcs, weights):
        self.funcs, self.weights, self.class_objects = funcs, weights, {"parser": None}

class Environment:
    def __init__(self, rubric): self.rubric = rubric

def load_environment(weight=0.5):
    return Environment(Rubric([exact, short], [1.0, weight]))

grouped = Rubric([best_of], [1.0])

class Puzzle:
    def score_answer(self, answer, entry):
        assert set(entry) == {"question", "answer", "metadata"}
        return 1.0 if answer == entry["answer"] else 0.01

def unknown(a, b):
    return 0

class Odd(BaseException):
    def __str__(self): raise self

def check(text):
    if text == "raise":
        raise ValueError("odd input")
    if text == "stop":
        raise StopIteration
    if text == "exit":
        raise SystemExit(1)
    if text == "odd":
        raise Odd

def verl_strict(data_sources, solution_strs, ground_truths):
    for text in solution_strs: check(text)
    return [float(s == g) for s, g in zip(solution_strs, ground_truths)]

def trl_strict(completions, solution, **kwargs):
    for text in completions: check(text)
    return [float(text == gold) for text, gold in zip(completions, solution)]

def openrlhf_strict(queries, prompts, labels):
    texts = [query[len(prompt):] for query, prompt in zip(queries, prompts)]
    for text in texts: check(text)
    return {"rewards": [float(text == label) for text, label in zip(texts, labels)]}

def trl_relative(completions, **kwargs):
    for text in completions: check(text)
    mean = sum(map(len, completions)) / len(completions)
    return [len(text) - mean for text in completions]

def verl_forks(solution_str, ground_truth):
    pid = os.fork() if solution_str in ("fork", "fork and raise") else 1
    if pid == 0 and solution_str == "fork and raise":
        raise SystemExit(0)
    return float(solution_str == ground_truth)

def trl_forks(completions, solution, **kwargs):
    for text in completions:
        if text == "fork": os.fork()
    return [float(text == gold) for text, gold in zip(completions, solution)]

def verl_batch_scalar(solution_strs): return 1.0
def trl_scalar(completions, **kwargs): return 1.0
def openrlhf_scalar(queries, prompts, labels): return {"rewards": Tensor(1.0)}
def trl_set(completions, **kwargs): return {1.0}
def trl_one(completions, **kwargs): return (1.0 for _ in completions)

def verl_odd(solution_str):
    return {"bytes": b"1", "text": "1", "array": bytearray(b"1"), "view": memoryview(b"1"), "tensor": Tensor(b"1"),
            "fraction": fractions.Fraction(1, 2), "tensor of one": Tensor(1), "true": True}[solution_str]

def trl_loses_one(completions, solution, **kwargs):
    return [float(text == gold) for text, gold in zip(completions, solution) if text != "lose"]

def trl_first_letter(completions, **kwargs):
    return [float(text[0] == "4") for text in completions]

def trl_asks(completions, solution, **kwargs):
    return [float(text(completion) == gold) for completion, gold in zip(completions, solution)]

def text(completion):
    return completion[0]["content"]
"##;

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rewards.py");
    std::fs::write(&path, REWARDS).expect("it can be written");
    (folder, path)
}

fn settings(name: &str, own: &Value) -> (tempfile::TempDir, PluginSettings) {
    let (folder, path) = file();
    let own: Map<String, Value> = own.as_object().cloned().unwrap_or_default();
    let python = format!("{}:{name}", path.display());
    (folder, PluginSettings { python, settings: own, timeout_s: 20.0, ..PluginSettings::default() })
}

fn judge(name: &str, own: &Value, completions: &[&str]) -> Vec<Verdict> {
    let (_folder, settings) = settings(name, own);
    judge_with(settings, completions)
}

fn judge_with(settings: PluginSettings, completions: &[&str]) -> Vec<Verdict> {
    let plugin = PluginVerifier::new(settings).expect("the host starts");
    plugin.verify(&items(completions))
}

fn items(completions: &[&str]) -> Vec<Item> {
    let item = |(i, text): (usize, &&str)| Item {
        id: format!("p{}#{i}", i / 2),
        prompt: Some("6 * 7 = ".into()),
        completion: (*text).into(),
        ground_truth: json!("42"),
        data_source: Some("test".into()),
        extra_info: json!({"level": 3}),
        token_count: Some(text.len()),
        truncated: false,
    };
    completions.iter().enumerate().map(item).collect()
}

fn rewards(verdicts: &[Verdict]) -> Vec<Option<f64>> {
    verdicts.iter().map(|verdict| verdict.reward).collect()
}

#[test]
fn verl_one_by_one() {
    let verdicts = judge("compute_score", &json!({"bonus": 0.5}), &["42", "41", "raise", "exit", "nan"]);
    assert_eq!(rewards(&verdicts), [Some(1.5), Some(0.5), None, None, None]);
    assert_eq!((verdicts[0].metrics["acc"], verdicts[0].metrics["level"]), (1.0, 3.0));
    assert_eq!((verdicts[2].status, verdicts[2].reason.as_str()), (Status::Error, "ValueError: odd input"));
    assert_eq!((verdicts[2].tags["error"].as_str(), verdicts[4].tags["error"].as_str()), ("crash", "bad_reward"));
    assert_eq!(rewards(&judge("compute_score_async", &json!({}), &["42", "41"])), [Some(1.0), Some(0.0)]);
}

#[test]
fn verl_in_batches() {
    let verdicts = judge("compute_score_batch", &json!({}), &["42", "41", "42"]);
    assert_eq!(rewards(&verdicts), [Some(1.0), Some(0.0), Some(1.0)]);
    assert_eq!(verdicts[0].metrics["n"], 3.0);
}

#[test]
fn trl_with_strings_and_with_messages() {
    let verdicts = judge("trl_reward", &json!({}), &["42", "41", "skip"]);
    let statuses: Vec<Status> = verdicts.iter().map(|verdict| verdict.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Fail, Status::Undecided]);
    assert_eq!(rewards(&judge("get_limit", &json!({"longest": 2}), &["42", "421"])), [Some(0.0), Some(-1.0)]);
    assert_eq!(rewards(&judge("trl_messages", &json!({}), &["42", "41"])), [Some(1.0), Some(-1.0)]);
}

#[test]
fn openrlhf_with_tensors_and_logs() {
    let verdicts = judge("reward_func", &json!({}), &["42", "41"]);
    assert_eq!(rewards(&verdicts), [Some(1.0), Some(0.0)]);
    assert_eq!(verdicts[0].metrics.iter().map(|(k, v)| (k.as_str(), *v)).collect::<Vec<_>>(), [("right", 1.0)]);
}

#[test]
fn verifiers_functions_rubrics_and_environments() {
    assert_eq!(rewards(&judge("exact", &json!({}), &["42", "41"])), [Some(1.0), Some(0.0)]);
    let verdicts = judge("load_environment", &json!({"weight": 0.25}), &["42", "41", "raise"]);
    assert_eq!(rewards(&verdicts), [Some(1.25), Some(0.25), None]);
    assert_eq!((verdicts[1].metrics["exact"], verdicts[1].metrics["short"]), (0.0, 1.0));
    // Where verifiers itself would score an exception 0, there is no reward here (INV-9).
    assert_eq!(verdicts[2].status, Status::Error);
    let grouped = judge("grouped", &json!({}), &["42", "42", "42", "41"]);
    assert_eq!(rewards(&grouped), [Some(0.5), Some(0.5), Some(1.0), Some(0.0)]);
}

#[test]
fn inv_9_an_exception_in_a_batch_is_its_items_alone_whoever_shares_the_request() {
    let texts = ["42", "raise", "41", "stop", "exit", "42", "odd", "41"];
    for name in ["verl_strict", "trl_strict", "openrlhf_strict"] {
        let (_folder, settings) = settings(name, &json!({}));
        let plugin = PluginVerifier::new(settings).expect("the host starts");
        let brief = |verdict: &Verdict| (verdict.status, verdict.reward, verdict.reason.clone());
        let alone: Vec<_> =
            items(&texts).iter().map(|item| brief(&plugin.verify(std::slice::from_ref(item))[0])).collect();
        let right = Some(1.0);
        assert_eq!(
            alone.iter().map(|(_, reward, _)| *reward).collect::<Vec<_>>(),
            [right, None, Some(0.0), None, None, right, None, Some(0.0)],
            "{name}: {alone:?}"
        );
        assert_eq!((alone[1].0, alone[1].2.as_str()), (Status::Error, "ValueError: odd input"), "{name}");
        // However the items fall into requests, each gets what it gets alone.
        for size in [2, 3, 8] {
            let together: Vec<_> = items(&texts).chunks(size).flat_map(|chunk| plugin.verify(chunk)).collect();
            assert_eq!(together.iter().map(brief).collect::<Vec<_>>(), alone, "{name} in requests of {size}");
        }
    }
}

/// `None` is an opinion withheld for an item of TRL's, and elsewhere what a function says that forgot its `return`.
#[test]
fn inv_9_a_function_that_returns_nothing_is_an_error() {
    for name in ["verl_forgets", "trl_forgets", "openrlhf_forgets"] {
        for verdict in judge(name, &json!({}), &["42", "41"]) {
            assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{name}: {verdict:?}");
            assert!(verdict.reason.contains("None"), "{name}: {verdict:?}");
        }
    }
}

#[test]
fn inv_9_a_batch_without_its_failures_is_scored_as_if_they_had_not_been_there() {
    // The lengths 2, 4, 6 have the mean 4.
    let expected = [Some(-2.0), Some(0.0), Some(2.0)];
    assert_eq!(rewards(&judge("trl_relative", &json!({}), &["ab", "abcd", "abcdef"])), expected);
    let with_failure = judge("trl_relative", &json!({}), &["ab", "raise", "abcd", "abcdef"]);
    assert_eq!(rewards(&with_failure), [expected[0], None, expected[1], expected[2]]);
    // Where the function is said to judge groups, a group with a failure has no rewards: p0 is items 0 and 1.
    let (_folder, grouped) = settings("trl_relative", &json!({}));
    let grouped = judge_with(PluginSettings { group: true, ..grouped }, &["ab", "raise", "abcd", "abcdef"]);
    assert_eq!(rewards(&grouped), [None, None, Some(-1.0), Some(1.0)]);
    // As many rewards as items, or there is none for the one that has none.
    assert_eq!(rewards(&judge("trl_loses_one", &json!({}), &["42", "lose", "41"])), [Some(1.0), None, Some(0.0)]);
}

/// A copy of the process that comes back from a `fork` would answer too, and the second answer would be taken for the next request's.
#[test]
fn inv_9_a_reward_that_forks_answers_once() {
    let texts = ["42", "fork", "42", "fork and raise", "41", "42"];
    let expected = [Some(1.0), Some(0.0), Some(1.0), Some(0.0), Some(0.0), Some(1.0)];
    for name in ["verl_forks", "trl_forks"] {
        let (_folder, settings) = settings(name, &json!({}));
        let plugin = PluginVerifier::new(PluginSettings { batch: 2, ..settings }).expect("the host starts");
        for _ in 0..3 {
            assert_eq!(rewards(&plugin.verify(&items(&texts))), expected, "{name}");
        }
    }
}

#[test]
fn inv_9_one_number_is_no_list_of_rewards_however_many_are_asked_for() {
    for name in ["verl_batch_scalar", "trl_scalar", "openrlhf_scalar", "trl_set"] {
        for texts in [&["42"][..], &["42", "41"]] {
            for verdict in judge(name, &json!({}), texts) {
                assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{name}: {verdict:?}");
                assert_eq!(verdict.tags["error"], "bad_reward", "{name}: {verdict:?}");
            }
        }
    }
    assert_eq!(rewards(&judge("trl_one", &json!({}), &["42"])), [Some(1.0)]);
}

#[test]
fn inv_9_what_could_be_read_as_a_number_is_none() {
    let texts = ["bytes", "text", "array", "view", "tensor", "fraction", "tensor of one", "true"];
    let verdicts = judge("verl_odd", &json!({}), &texts);
    assert_eq!(rewards(&verdicts), [None, None, None, None, None, Some(0.5), Some(1.0), Some(1.0)]);
    for verdict in &verdicts[..5] {
        assert_eq!(verdict.tags["error"], "bad_reward", "{verdict:?}");
    }
}

#[test]
fn whether_a_function_takes_messages_does_not_depend_on_what_came_before() {
    let (_folder, takes_text) = settings("trl_first_letter", &json!({}));
    let plugin = PluginVerifier::new(takes_text).expect("the host starts");
    for texts in [&["", "42"][..], &["42"], &[""]] {
        // Of no text there is no first letter: that is an error and no 0.
        let expected: Vec<Option<f64>> = texts.iter().map(|text| (!text.is_empty()).then_some(1.0)).collect();
        assert_eq!(rewards(&plugin.verify(&items(texts))), expected, "{texts:?}");
    }
    let (_folder, takes_messages) = settings("trl_asks", &json!({}));
    let plugin = PluginVerifier::new(takes_messages).expect("the host starts");
    for texts in [&["42", ""][..], &[""], &["42"], &["", "41"]] {
        let expected: Vec<Option<f64>> = texts.iter().map(|text| Some(f64::from(u8::from(*text == "42")))).collect();
        assert_eq!(rewards(&plugin.verify(&items(texts))), expected, "{texts:?}");
    }
}

#[test]
fn what_shares_a_request_is_said_and_is_no_matter_of_time() {
    for (name, group, together) in [
        ("compute_score", false, Together::Alone),
        ("compute_score_batch", false, Together::Batches(32)),
        ("trl_reward", false, Together::Batches(32)),
        ("trl_reward", true, Together::Groups),
        ("grouped", false, Together::Groups),
    ] {
        let (_folder, settings) = settings(name, &json!({}));
        let plugin = PluginVerifier::new(PluginSettings { group, ..settings }).expect("the host starts");
        assert_eq!(plugin.together(), together, "{name}");
    }
}

#[test]
fn reasoning_gym_scorers() {
    let verdicts = judge("Puzzle", &json!({}), &["I think <answer>42</answer>", "so:\n42", "41"]);
    assert_eq!(rewards(&verdicts), [Some(1.0), Some(1.0), Some(0.01)]);
}

#[test]
fn what_cannot_be_hosted_is_refused_with_the_reason() {
    let refused = |name: &str| {
        let (_folder, settings) = settings(name, &json!({}));
        PluginVerifier::new(settings).err().expect("refused").to_string()
    };
    assert!(refused("unknown").contains("cannot tell the style of unknown(a, b); set `style`"));
    assert!(refused("missing").contains("has no attribute 'missing'"), "{}", refused("missing"));
    let (_folder, settings) = settings("compute_score", &json!({}));
    let wrong = PluginVerifier::new(PluginSettings { style: Style::MathVerify, ..settings.clone() });
    // Math-Verify need not be installed where this runs.
    if let Err(error) = wrong {
        assert!(error.to_string().contains("math_verify"), "{error}");
    }
    let absent = PluginSettings { interpreter: "/no/python".into(), ..settings };
    assert!(PluginVerifier::new(absent).is_err());
}
