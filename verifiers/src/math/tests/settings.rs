//! Settings of a run and of an item, and what a verdict says.

use data::Item;
use data::Status::{Error, Fail, Pass};
use serde_json::{Value, json};

use super::item;
use crate::Verifier;
use crate::math::MathVerifier;

#[test]
fn inv_9_a_missing_gold_answer_or_a_bad_setting_is_an_error_without_a_reward() {
    let verifier = MathVerifier::default();
    for gold in [Value::Null, json!(""), json!({"a": 1}), json!(["1", "2"])] {
        let verdict = verifier.verify(&[item(gold, r"\boxed{1}")]).remove(0);
        assert_eq!((verdict.status, verdict.reward), (Error, None));
    }
    // 2^64 + 1, as a reader of JSON has it: 2^64.
    let read: Value = serde_json::from_str("18446744073709551617").expect("a number");
    for gold in [read.clone(), json!([read])] {
        let verdict = verifier.verify(&[item(gold, r"\boxed{18446744073709551616}")]).remove(0);
        assert_eq!((verdict.status, verdict.reward), (Error, None));
        assert!(verdict.reason.contains("give it as a string"), "{}", verdict.reason);
    }
    let odd = Item { extra_info: json!({"math": {"mood": "good"}}), ..item(json!("1"), r"\boxed{1}") };
    let verdict = verifier.verify(&[odd]).remove(0);
    assert_eq!((verdict.status, verdict.reward), (Error, None));
    assert!(verdict.reason.contains("mood"), "{}", verdict.reason);
}

#[test]
fn an_item_overrides_the_settings() {
    let lenient = Item { extra_info: json!({"math": {"mode": "lenient"}}), ..item(json!(4), "answer: 4") };
    assert_eq!(MathVerifier::default().verify(&[lenient]).remove(0).status, Pass);
    let rounded = Item { extra_info: json!({"math": {"decimal_places": 2}}), ..item(json!("0.333"), r"\boxed{1/3}") };
    assert_eq!(MathVerifier::default().verify(&[rounded]).remove(0).status, Pass);
}

#[test]
fn verdicts_keep_order_and_say_what_was_extracted() {
    let items = [item(json!("1"), r"\boxed{1}"), item(json!("1"), r"\boxed{2}")];
    let verdicts = MathVerifier::default().verify(&items);
    assert_eq!(verdicts.iter().map(|v| v.status).collect::<Vec<_>>(), [Pass, Fail]);
    assert_eq!(verdicts[1].tags["extracted"], "2");
    assert_eq!(verdicts[1].reason, "box: different values");
}
