//! Answers as they should be, as they should not be, and at random.

use data::{CounterRng, Item, Status};
use serde_json::{Value, json};

use super::*;

fn scores(results: &Value) -> Result<Vec<Score>, NoScores> {
    let line = json!({"id": 7, "results": results}).to_string();
    read_scores(line.as_bytes(), 7, results.as_array().map_or(0, Vec::len))
}

fn verdict(result: Value) -> data::Verdict {
    let score = scores(&json!([result])).expect("a sound answer").pop().expect("one result");
    score.into_verdict("a", 0.5)
}

#[test]
fn rewards_become_verdicts() {
    let full = json!({"reward": 1.0, "reason": "equal", "metrics": {"acc": 1}, "tags": {"extracted": "42"}});
    let verdict_of_full = verdict(full);
    assert_eq!((verdict_of_full.status, verdict_of_full.reward), (Status::Pass, Some(1.0)));
    assert_eq!(verdict_of_full.metrics["acc"], 1.0);
    assert_eq!((verdict_of_full.tags["extracted"].as_str(), verdict_of_full.reason.as_str()), ("42", "equal"));
    let brief = |result| (verdict(result).status, verdict(json!({"reward": 0.2})).reward);
    assert_eq!(brief(json!({"reward": 0.2})), (Status::Fail, Some(0.2)));
    assert_eq!(verdict(json!({"reward": -1, "status": "pass"})).status, Status::Pass);
    assert_eq!(verdict(json!({"reward": null, "status": "undecided"})).status, Status::Undecided);
}

#[test]
fn inv_9_no_reward_is_an_error_with_its_kind() {
    let timeout = verdict(json!({"reward": null, "error": {"kind": "timeout", "message": "2 s"}}));
    assert_eq!((timeout.status, timeout.reward, timeout.reason.as_str()), (Status::Error, None, "2 s"));
    assert_eq!(timeout.tags["error"], "timeout");
    assert_eq!(verdict(json!({"reward": null})).tags["error"], "unknown");
}

#[test]
fn nonsense_is_refused_as_a_whole() {
    let cases = [
        (json!([{}]), "its answer cannot be read: missing field `reward`"),
        (json!([{"reward": "1"}]), "its answer cannot be read: invalid type: string \"1\", expected f64"),
        (json!([{"reward": true}]), "its answer cannot be read: invalid type: boolean `true`, expected f64"),
        (json!([{"reward": 1, "error": {"kind": "crash"}}]), "its result 0 has a reward and an error"),
        (json!([{"reward": 1}, {"reward": null, "status": "pass"}]), "its result 1 has a verdict and no reward"),
        (json!([{"reward": 1, "metrics": {"a": "b"}}]), "its answer cannot be read: invalid type: string"),
    ];
    for (results, message) in cases {
        let NoScores::Nonsense(Nonsense(said)) = scores(&results).expect_err(message) else { panic!("{message}") };
        assert!(said.starts_with(message), "{said}");
    }
    for (line, message) in [
        (r#"{"id":8,"results":[{"reward":1}]}"#, "it answered another request than it was asked"),
        (r#"{"id":7,"results":[]}"#, "it gave 0 results for 1 items"),
        (r#"{"id":7}"#, "its answer has no results"),
        (r#"{"id":7,"results":[{"reward":1}],"error":{"kind":"crash"}}"#, "it gave results and an error"),
        (r#"{"id":7,"results":[{"reward":1e999}]}"#, "its answer cannot be read: number out of range"),
        ("", "its answer cannot be read: EOF"),
        ("[]", "its answer cannot be read: invalid length 0"),
        ("loading model...", "its answer cannot be read: expected value"),
    ] {
        let said = read_scores(line.as_bytes(), 7, 1).expect_err(message);
        let NoScores::Nonsense(Nonsense(said)) = said else { panic!("{message}") };
        assert!(said.starts_with(message), "{said}");
    }
}

#[test]
fn a_request_may_be_refused_as_a_whole() {
    let line = br#"{"id":7,"error":{"kind":"crash","message":"KeyError: 'a'"}}"#;
    let expected = ScoreError { kind: "crash".into(), message: "KeyError: 'a'".into() };
    assert_eq!(read_scores(line, 7, 3), Err(NoScores::Refused(expected)));
}

#[test]
fn a_hello_of_another_version_is_refused() {
    let hello = read_hello(br#"{"v":1,"name":"mine"}"#).expect("sound");
    assert_eq!((hello.batch, hello.group, hello.max_inflight), (true, false, 1));
    for bad in [r#"{"v":2}"#, r#"{"name":"x"}"#, r#"{"v":1,"max_inflight":0}"#, "{"] {
        assert!(read_hello(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn an_item_survives_the_wire() {
    let item = Item {
        id: "gsm8k/7#3".into(),
        prompt: Some("1+1?".into()),
        completion: "2\n".into(),
        ground_truth: json!({"inputs": ["1"]}),
        data_source: Some("gsm8k".into()),
        extra_info: json!({"level": 2}),
        token_count: Some(3),
        truncated: true,
    };
    let wire = serde_json::to_value(WireItem::new(&item)).expect("JSON");
    assert_eq!((wire["group_id"].as_str(), wire["finish_reason"].as_str()), (Some("gsm8k/7"), Some("length")));
    let back: WireItem<'_> = serde_json::from_value(wire).expect("an item");
    assert_eq!(back.into_item(), item);
}

/// The function that `fuzz/fuzz_targets/plugin.rs` calls, on a million bytes that are the same every time.
#[test]
fn inv_9_no_answer_panics_or_gives_a_reward_that_is_not_finite() {
    let sound = [
        r#"{"id":1,"results":[{"reward":0.5,"status":"fail","reason":"x","metrics":{"a":1},"tags":{"b":"c"}}]}"#,
        r#"{"id":1,"results":[{"reward":null,"error":{"kind":"timeout","message":"é"}}]}"#,
        r#"{"v":1,"name":"n","version":"2","batch":false,"group":true,"max_inflight":8}"#,
    ];
    let mut rng = CounterRng::new(1, "plugin-protocol");
    let mut next = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
    for _ in 0..20_000 {
        let mut bytes = sound[next(3)].as_bytes().to_vec();
        for _ in 0..next(6) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 if bytes.len() > 1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, b"{}[]\",:0-9eEnulltrue\\"[next(21)]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        read_anything(&bytes);
    }
}
