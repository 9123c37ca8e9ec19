//! Verdicts of several verifiers and what they come to.

use serde_json::Value;

use super::*;

fn rules(worth: Vec<Worth>) -> Rules {
    Rules { worth, undecided: Undecided::Zero, clip: None }
}

fn rewarded(reward: f64) -> Verdict {
    Verdict { reward: Some(reward), ..Verdict::pass("a", "") }
}

fn sample(verdicts: &[(&str, Verdict)]) -> Verdicts {
    verdicts.iter().map(|(label, verdict)| ((*label).to_owned(), verdict.clone())).collect()
}

fn pass() -> Verdict {
    Verdict::pass("a", "")
}

fn fail() -> Verdict {
    Verdict::fail("a", "")
}

#[test]
fn weights_gates_and_clips() {
    let math = Worth { weight: 2.0, clip: Some([0.0, 1.0]), ..Worth::of("math") };
    let format = Worth { weight: 0.5, gate: true, ..Worth::of("format") };
    let length = Worth::of("length");
    let rules = Rules { clip: Some([-0.25, 2.25]), ..rules(vec![math, format, length]) };
    let one = |math, format, length| {
        let verdicts = sample(&[("math", rewarded(math)), ("format", format), ("length", rewarded(length))]);
        rules.compose(&[verdicts])[0]
    };
    assert_eq!(one(0.5, pass(), 0.0), Composed::Reward(1.5));
    assert_eq!(one(3.0, pass(), -1.0), Composed::Reward(1.5));
    assert_eq!(one(1.0, pass(), 0.0), Composed::Reward(2.25));
    assert_eq!(one(-3.0, pass(), -1.0), Composed::Reward(-0.25));
    assert_eq!(one(1.0, fail(), -1.0), Composed::Reward(0.0));
}

#[test]
fn inv_9_an_error_is_never_a_reward() {
    let rules = rules(vec![Worth::of("math"), Worth { weight: 0.0, ..Worth::of("format") }]);
    let broken = sample(&[("math", pass()), ("format", Verdict::error("a", ""))]);
    let whole = sample(&[("math", pass()), ("format", fail())]);
    assert_eq!(rules.compose(&[broken.clone(), whole.clone()]), [Composed::Error, Composed::Reward(1.0)]);
    assert_eq!((rules.passes(&broken), rules.passes(&whole)), (None, Some(true)));
    // No verdict at all is no reward either.
    assert_eq!((rules.compose(&[Vec::new()])[0], rules.passes(&Vec::new())), (Composed::Error, None));
}

#[test]
fn undecided_is_zero_or_masked_or_decided_by_another() {
    let judge = Worth { decides: Some("math".into()), weight: 7.0, ..Worth::of("judge") };
    let mut rules = rules(vec![Worth::of("math"), Worth { gate: true, ..Worth::of("format") }, judge]);
    let undecided = || ("math", Verdict::undecided("a", ""));
    let open = sample(&[undecided(), ("format", pass())]);
    let still_open = sample(&[undecided(), ("format", pass()), ("judge", Verdict::undecided("a", ""))]);
    let right = sample(&[undecided(), ("format", pass()), ("judge", pass())]);
    let broken = sample(&[undecided(), ("format", pass()), ("judge", Verdict::error("a", ""))]);
    let group = [open, still_open, right, broken];
    let zero = Composed::Reward(0.0);
    // format's own weight is 1 and it passes.
    let with_format = |composed| if composed == zero { Composed::Reward(1.0) } else { composed };
    assert_eq!(rules.compose(&group), [with_format(zero), with_format(zero), Composed::Reward(2.0), Composed::Error]);
    rules.undecided = Undecided::Mask;
    use Composed::Undecided as Masked;
    assert_eq!(rules.compose(&group), [Masked, Masked, Composed::Reward(2.0), Composed::Error]);
    assert_eq!(group.each_ref().map(|sample| rules.passes(sample)), [Some(false), Some(false), Some(true), None]);
}

#[test]
fn rewards_relative_to_the_group() {
    let of = |relative, rewards: &[f64]| {
        let rules = rules(vec![Worth { relative, ..Worth::of("judge") }]);
        let group: Vec<Verdicts> = rewards.iter().map(|reward| sample(&[("judge", rewarded(*reward))])).collect();
        let value = |composed| match composed {
            Composed::Reward(reward) => reward,
            other => panic!("{other:?}"),
        };
        rules.compose(&group).into_iter().map(value).collect::<Vec<f64>>()
    };
    assert_eq!(of(Relative::None, &[1.0, 5.0]), [1.0, 5.0]);
    assert_eq!(of(Relative::Rank, &[0.1, 0.9, 0.1, 0.5, 0.2]), [0.125, 1.0, 0.125, 0.75, 0.5]);
    assert_eq!(of(Relative::Rank, &[0.7]), [0.0]);
    assert_eq!(of(Relative::Best, &[0.1, 0.9, 0.9]), [0.0, 1.0, 1.0]);
    assert_eq!(of(Relative::Mean, &[1.0, 2.0, 6.0]), [-2.0, -1.0, 3.0]);
    // A sample without a reward is in no comparison.
    let rules = rules(vec![Worth { relative: Relative::Rank, ..Worth::of("judge") }]);
    let group = [0.1, 0.2].map(|reward| sample(&[("judge", rewarded(reward))]));
    let group = [group[0].clone(), sample(&[("judge", Verdict::error("a", ""))]), group[1].clone()];
    assert_eq!(rules.compose(&group), [Composed::Reward(0.0), Composed::Error, Composed::Reward(1.0)]);
}

/// Says the same of every item, and how many it was asked about.
struct Says(fn(&str) -> Verdict);

impl Verifier for Says {
    fn name(&self) -> &'static str {
        "says"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| (self.0)(&item.id).metric("asked", items.len() as f64)).collect()
    }
}

fn item(source: &str) -> Item {
    Item {
        id: source.into(),
        prompt: None,
        completion: String::new(),
        ground_truth: Value::Null,
        data_source: Some(source.into()),
        extra_info: Value::Null,
        token_count: None,
        truncated: false,
    }
}

#[test]
fn items_go_to_the_verifiers_of_their_source() {
    let only = |label: &str, sources: &[&str]| Worth {
        data_sources: sources.iter().map(|s| (*s).to_owned()).collect(),
        ..Worth::of(label)
    };
    let says = |verdict| Box::new(Says(verdict)) as Box<dyn Verifier>;
    let panel = Panel::new(vec![
        (only("math", &["gsm8k", "math/*"]), says(|id| Verdict::undecided(id, ""))),
        (only("code", &["apps"]), says(|id| Verdict::pass(id, ""))),
        (Worth { decides: Some("math".into()), ..Worth::of("judge") }, says(|id| Verdict::pass(id, ""))),
    ]);
    let judged = panel.judge(&["gsm8k", "apps", "math/algebra", "mathx"].map(item));
    let labels: Vec<Vec<&str>> = judged.iter().map(|of| of.iter().map(|(label, _)| label.as_str()).collect()).collect();
    assert_eq!(labels, [vec!["math", "judge"], vec!["code"], vec!["math", "judge"], vec!["math"]]);
    assert_eq!(judged[0][1].1.metrics["asked"], 2.0);
    let lost = &judged[3][0].1;
    assert_eq!((lost.status, lost.reward), (Status::Error, None));
    assert!(lost.reason.contains("`mathx`"), "{}", lost.reason);
}

#[test]
fn inv_9_a_masked_sample_does_not_move_the_group() {
    let code = |how| Worth { relative: how, ..Worth::of("code") };
    let whole = |reward| sample(&[("code", rewarded(reward)), ("judge", rewarded(0.0))]);
    // Another verifier could not run, or cannot tell: the sample is masked, whatever the first one gave it.
    for masked in [Verdict::error("a", ""), Verdict::undecided("a", "")] {
        let best_but_masked = sample(&[("code", rewarded(9.0)), ("judge", masked)]);
        let group = [whole(1.0), best_but_masked, whole(3.0)];
        let others = [whole(1.0), whole(3.0)];
        for how in [Relative::Rank, Relative::Best, Relative::Mean] {
            let rules = Rules { undecided: Undecided::Mask, ..rules(vec![code(how), Worth::of("judge")]) };
            let with = rules.compose(&group);
            assert!(!matches!(with[1], Composed::Reward(_)), "{how:?}: {with:?}");
            assert_eq!([with[0], with[2]], rules.compose(&others)[..], "{how:?}");
        }
    }
}

/// Says how many items it was shown, and wants whole groups.
struct Grouped;

impl Verifier for Grouped {
    fn name(&self) -> &'static str {
        "grouped"
    }

    fn together(&self) -> Together {
        Together::Groups
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| Verdict::pass(&item.id, "").metric("shown", items.len() as f64)).collect()
    }
}

#[test]
fn a_verifier_of_groups_is_shown_the_whole_group_even_where_a_part_is_asked_about() {
    let open = |id: &str| if id == "a" { Verdict::undecided(id, "") } else { Verdict::pass(id, "") };
    let panel = Panel::new(vec![
        (Worth::of("math"), Box::new(Says(open)) as Box<dyn Verifier>),
        (Worth { decides: Some("math".into()), ..Worth::of("second") }, Box::new(Grouped)),
    ]);
    let verdicts = panel.judge(&[item("b"), item("a"), item("c")]);
    assert_eq!(verdicts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
    let (label, verdict) = &verdicts[1][1];
    assert_eq!((label.as_str(), verdict.id.as_str(), verdict.metrics["shown"]), ("second", "a", 3.0));
}
