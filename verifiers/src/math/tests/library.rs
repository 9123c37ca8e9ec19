//! The mode that follows Math-Verify: its extraction, its asymmetry, and where it is stricter on purpose.

use data::{Item, Status};
use serde_json::{Value, json};

use super::item;
use crate::Verifier;
use crate::math::MathVerifier;

fn status(gold: &str, completion: &str, own: Value) -> (Status, String) {
    let mut math = json!({ "mode": "math_verify", "boxed_match_priority": 0 });
    math.as_object_mut().expect("an object").extend(own.as_object().expect("settings are an object").clone());
    let item = Item { extra_info: json!({ "math": math }), ..item(json!(gold), completion) };
    let verdict = MathVerifier::default().verify(&[item]).remove(0);
    (verdict.status, verdict.reason)
}

/// Checks a table of gold, completion and whether it passes.
fn check(table: &[(&str, &str, bool)]) {
    let mut wrong = Vec::new();
    for (gold, completion, passes) in table {
        let (status, reason) = status(gold, completion, json!({}));
        if (status == Status::Pass) != *passes {
            wrong.push(format!("{gold} | {completion}: {status:?} ({reason})"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn answers_are_found_by_rank_and_then_from_the_right() {
    check(&[
        ("4", "The answer is 4.", true),
        ("4", "Therefore x = 4.", true),
        ("4", "So we get x=4", true),
        ("1/2", r"The final answer is $\frac{1}{2}$. I hope it is correct.", true),
        ("18", "9 * 2 = <<9*2=18>>18\n#### 18", true),
        ("1234", "I count 1,234 of them.", true),
        ("x+1", "The answer is x+1.", true),
        ("x+1", r"answer: \(x + 1\)", true),
        (r"\sqrt{2}", r"The answer is \sqrt{2}.", true),
        ("B", "The answer is (B).", true),
        ("5", "**Answer:** 5", true),
        ("5", "**Final Answer:** $5$", true),
        ("5", "Answer: **5**", true),
        ("5", "The answer is 5 because 2+3=5", true),
        ("5", "The answer is: 5\n\nNote that 7 is wrong.", true),
        ("5", "The answer is 6.\nWait, the answer is 5.", true),
        ("42", "$x^2 = 1764$, so $x = 42$.", true),
        ("12.5", "It costs $12.50.", true),
        ("0.5", "The probability is 1/2.", true),
        ("3", r"$$x=\boxed{3}$$", true),
        ("3", r"\boxed{3}. So the answer is 3, not 4.", true),
        ("3", r"$\boxed{3}$. Check: $3+1=4$.", true),
        ("Friday", "The answer is Friday.", true),
        ("99", "it is 2^{-99}", false),
        ("4", "no idea", false),
        ("4", r"\boxed{4", false),
    ]);
}

#[test]
fn a_part_is_never_taken_for_the_whole() {
    check(&[
        ("3x-y+13=0", "3x+4y+14=0", false),
        ("1", r"1 - \sqrt2", false),
        (r"1-\sqrt{2}", r"1 - \sqrt2", true),
        ("5", "5 5", false),
        ("12", r"The answer is $12\text{ is wrong}$.", false),
        ("0", "So the line is 3x-y+13=0.", false),
    ]);
}

#[test]
fn hedged_answers_do_not_pass_here_either() {
    check(&[
        ("4", "The answer is 3 or 4.", false),
        ("7", "The answer is either 7 or 8.", false),
        ("7", "answer: 7 or 8", false),
        ("4", r"\boxed{3} or \boxed{4}", false),
        ("2", r"\boxed{1} and then, after a long remark about it, \boxed{2}", false),
        ("4", "The answer is $3$ or $4$.", false),
        ("2", "$x=2$ or $x=3$", false),
        ("2,3", "$x=2$ or $x=3$", true),
        (r"\{1,2\}", r"\boxed{1} and \boxed{2}", true),
        ("72", "the answer is $72$, or maybe $71$", false),
        ("72", "the answer is $71$, or maybe $72$", false),
        ("72", r"the answer is \(72\) or perhaps \(71\)", false),
        ("72", "The answer is 72. Or 71.", false),
        ("72", "The answer is $72$ ($71$ is also possible).", false),
        ("72", "Answer: 72; if not, 71", false),
        ("72", "The answer is 72 but it might be 71", false),
        ("72", "The final answer is $72$, or maybe $71$. I hope it is correct.", false),
        ("72", "It is $71$, or possibly $72$.", false),
        ("72", "The answer is 72 or more.", false),
        ("2,3", r"\boxed{2,3} or maybe 4", false),
        ("B", "The answer is (B), or maybe (C).", false),
        ("2,3", "The answers are 2 and 3.", true),
        ("72", "The answer is 71\nThe answer is 72", false),
        ("72", "#### 71\n#### 72", false),
        ("72", "<answer>71</answer><answer>72</answer>", false),
        ("72", "The answer is 71. Wait, I forgot one. The answer is 72.", true),
        ("72", "If n were even the answer is 71: \\boxed{72}", true),
        ("72", "The answer is $72$, or $8 \\cdot 9$.", true),
        ("1728", r"\boxed{1331 \text{ and } 1728}", false),
    ]);
}

#[test]
fn the_asymmetry_between_gold_and_answer_is_kept() {
    let relation = (r"$-2 \le x \le 7$", r"$x \in [-2,7]$");
    assert_eq!(status(relation.0, relation.1, json!({})).0, Status::Pass);
    assert_eq!(status(relation.1, relation.0, json!({})).0, Status::Fail);
    assert_eq!(status(relation.1, relation.0, json!({"allow_set_relation_comp": true})).0, Status::Pass);
    check(&[("$k=1$", "$1$", true), ("$1$", "$k=1$", true), ("$2x+z=1$", "$1$", false), ("$x=1$", "$y=1$", false)]);
}

#[test]
fn the_settings_of_an_item_are_followed() {
    assert_eq!(status("$f(x)$", "$f(y)$", json!({})).0, Status::Undecided);
    assert_eq!(status("$f(x)$", "$f(y)$", json!({"strict": false})).0, Status::Pass);
    assert_eq!(status(r"$\frac13$", "0.33", json!({})).0, Status::Fail);
    assert_eq!(status(r"$\frac13$", "0.33", json!({"float_rounding": 2})).0, Status::Pass);
    assert_ne!(status("$9$", "so it is 9", json!({"targets": ["latex"]})).0, Status::Pass);
    assert_eq!(status("$9$", "so it is 9", json!({"targets": ["latex", "expr"]})).0, Status::Pass);
    let boxed = r"the final answer is $9$ where one is asked for \boxed{1}";
    assert_eq!(status("9", boxed, json!({"boxed_match_priority": 100})).0, Status::Pass);
    assert_eq!(status("1", boxed, json!({"boxed_match_priority": 0})).0, Status::Pass);
    assert_eq!(status("9", boxed, json!({"boxed_match_priority": -1})).0, Status::Pass);
}

#[test]
fn decimals_round_only_here_and_never_to_nothing() {
    check(&[
        (r"$\frac{1}{12}$", "$0.0833333333333333$", true),
        (r"$\frac{1}{12}$", "$0.08$", false),
        ("0.0000001", "0.0000002", false),
        ("1000.99", "1000,99", true),
        ("$1,2$", "1,2", true),
        ("$2,1$", "1,2", true),
    ]);
}
