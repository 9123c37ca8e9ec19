//! Limits by settings and by item.

use data::{Item, Status};
use serde_json::json;
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier},
};

use crate::support::{HONEST, add_tests, fenced, item, stdio, unhurried, verifier};

#[test]
fn an_item_sets_its_own_limits() {
    let word = |program: &str, truth: &serde_json::Value, code: serde_json::Value| {
        verifier().verify(&[fenced("python", program, truth.clone(), code)]).remove(0).tags["verdict"].clone()
    };
    let one = json!({"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"});
    let slow = "import time\nend = time.process_time() + 0.7\nwhile time.process_time() < end: pass\ndef add(a, b):\n    return a + b";
    assert_eq!(word(slow, &one, json!(null)), "TLE");
    assert_eq!(word(slow, &one, json!({"time_limit_s": 2.0, "wall_limit_s": 60})), "AC");
    let mut with_more = unhurried();
    with_more["memory_mb"] = json!(512);
    let large = "x = bytearray(300 << 20)\ndef add(a, b):\n    return a + b";
    assert_eq!(word(large, &one, unhurried()), "MLE");
    assert_eq!(word(large, &one, with_more), "AC");
    let short = stdio("", "x");
    assert_eq!(word("print('x' * (2 << 20))", &short, json!(null)), "OLE");
    assert_eq!(word("print('x' * (2 << 20))", &short, json!({"output_kb": 4096})), "WA");
    // What is expected may always be printed or handed back, and the limit is beyond it.
    let long = stdio("", &"x".repeat(2 << 20));
    assert_eq!(word("print('x' * (2 << 20))", &long, json!(null)), "AC");
    assert_eq!(word("print('x' * (4 << 20))", &long, json!(null)), "OLE");
    let value = json!({"inputs": [[]], "outputs": ["x".repeat(2 << 20)], "fn_name": "f"});
    assert_eq!(word("def f():\n    return 'x' * (2 << 20)", &value, json!(null)), "AC");
    assert_eq!(word("def f():\n    return 'x' * (4 << 20)", &value, json!(null)), "OLE");
    let sleeps = "import time\ntime.sleep(1)\ndef add(a, b):\n    return a + b";
    assert_eq!(word(sleeps, &one, json!({"wall_limit_s": 0.5})), "TLE");
    assert_eq!(word(sleeps, &one, json!(null)), "AC");
}

#[test]
fn inv_9_limits_that_make_no_sense_are_errors() {
    for code in [json!({"time_limit_s": -1.0}), json!({"uid": 0}), json!({"memory_mb": 1}), json!("x")] {
        let wrong = Item { extra_info: json!({ "code": code }), ..item(HONEST, add_tests()) };
        let verdict = verifier().verify(&[wrong]).remove(0);
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
    }
    for settings in [
        CodeSettings { uid: 0, ..CodeSettings::default() },
        CodeSettings { time_limit_s: f64::NAN, ..CodeSettings::default() },
        CodeSettings { output_kb: 0, ..CodeSettings::default() },
        CodeSettings { memory_mb: u64::MAX, ..CodeSettings::default() },
    ] {
        assert!(CodeVerifier::new(settings).is_err());
    }
}
