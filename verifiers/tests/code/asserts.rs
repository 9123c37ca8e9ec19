//! Tests that are code: MBPP's asserts and HumanEval's `check`, run apart from the program.

use data::Status;
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier},
};

use crate::support::{HONEST, add_tests, fails_on, item, judge, passes};

fn asserts(lines: &[&str]) -> Value {
    json!({ "asserts": lines })
}

#[test]
fn asserts_of_every_shape_pass_and_fail() {
    passes(
        HONEST,
        asserts(&[
            "assert add(1, 2) == 3",
            "assert add('a', 'b') == 'ab', 'strings'",
            "assert add((1,), (2,)) == (1, 2)",
        ]),
    );
    for assert in [
        "assert abs(add(0.1, 0.2) - 0.3) < 1e-9",
        "assert math.isclose(add(0.1, 0.2), 0.3)",
        "assert add(2, 3) == 2 ** 2 + 1",
        "assert add(1, 2) in (3, 4)",
        "assert sorted(add([2], [1])) == [1, 2] and add(1, 1) != 3",
        "for i in range(20):\n    assert add(i, i) == 2 * i",
        "assert add(add(1, 2), 3) == add(1, add(2, 3))",
        "try:\n    add(1, 'a')\n    assert False\nexcept TypeError:\n    pass",
    ] {
        passes(HONEST, asserts(&[assert]));
        let wrong = judge("def add(a, b):\n    return [a, b, 'wrong']", asserts(&[assert]));
        assert_eq!((wrong.status, wrong.reward), (Status::Fail, Some(0.0)), "{assert}: {wrong:?}");
    }
}

#[test]
fn tests_that_are_code_follow_one_another() {
    let many = asserts(&[
        "assert abs(add(0.1, 0.2) - 0.3) < 1e-9",
        "assert add(1, 2) in (3, 4)",
        "assert add(1, 2) == 3",
        "assert not add(1, 2) == 4",
        "assert not add(1, 2) is None",
        "assert isinstance(add(1, 2), int)",
        "total = sum(add(i, i) for i in range(5))\nassert total == 20",
    ]);
    passes(HONEST, many.clone());
    fails_on("def add(a, b):\n    return a + b if a < 2 else 0", many.clone(), "WA");
    fails_on("def add(a, b):\n    return 4", many, "WA");
}

#[test]
fn humaneval_hands_the_function_to_check() {
    let check = "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    for i in range(3):\n        assert abs(candidate(i, 0.5) - i - 0.5) < 1e-6\n";
    let tests = json!({"asserts": [check], "entry_point": "add"});
    passes(HONEST, tests.clone());
    fails_on("def add(a, b):\n    return a - b", tests.clone(), "WA");
    fails_on("def sub(a, b):\n    return a - b", tests, "RE");
    passes(HONEST, json!({"asserts": ["assert candidate(1, 2) == 3"], "fn_name": "add"}));
}

#[test]
fn what_asserts_share_is_run_for_them_and_for_the_program() {
    let tests = json!({"asserts": ["assert add(math.floor(1.5), ONE) == 2", "assert abs(add(ONE, 1) - 2) < 1e-9"], "setup": ["import math", "ONE = 1"]});
    passes(HONEST, tests);
}

#[test]
fn a_test_sees_what_became_of_its_lists() {
    let tests = asserts(&["items = [3, 1, 2]\norder(items)\nassert items == [1, 2, 3]"]);
    passes("def order(items):\n    items.sort()", tests.clone());
    fails_on("def order(items):\n    pass", tests, "WA");
}

#[test]
fn a22_no_assertion_is_trusted_in_the_programs_process() {
    for hack in [
        "import builtins\nbuiltins.AssertionError = KeyError\ndef add(a, b):\n    return 0",
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef add(a, b):\n    return 0",
        "class Any(float):\n    __eq__ = __lt__ = __le__ = __gt__ = lambda *a: True\n    __sub__ = __rsub__ = __abs__ = lambda *a: Any()\ndef add(a, b):\n    return Any()",
        "import math\nmath.isclose = lambda *a, **k: True\nabs = lambda x: 0\ndef add(a, b):\n    return 0",
    ] {
        fails_on(hack, asserts(&["assert abs(add(1.5, 2.5) - 4.0) < 1e-9"]), "WA");
        fails_on(hack, asserts(&["assert math.isclose(add(1.5, 2.5), 4.0)"]), "WA");
    }
    // The nonce is in the program's own process, and an answer still needs the value.
    let forged = "import os, struct, sys\ndef add(a, b):\n    frame = sys._getframe()\n    while 'nonce' not in frame.f_locals: frame = frame.f_back\n    p = frame.f_locals['nonce'] + struct.pack('>I', frame.f_locals['index']) + b'D'\n    os.write(3, struct.pack('>I', len(p)) + p)\n    os._exit(0)";
    fails_on(forged, asserts(&["assert abs(add(1.5, 2.5) - 4.0) < 1e-9"]), "RE");
}

#[test]
fn inv_9_a_test_that_cannot_be_run_is_an_error() {
    for test in [
        "assert add.__name__ in ('add',)",
        "assert add(object(), 1) in (1, 2)",
        "assert 1 + 1 == 2 and 2 < 3",
        "def check(candidate):\n    assert candidate(1, 2) == 3",
    ] {
        let verdict = judge(HONEST, asserts(&[test]));
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{test}: {verdict:?}");
    }
    // And does not cost the cell: the next item is judged.
    passes(HONEST, add_tests());
}

#[test]
fn raw_asserts_run_beside_the_program() {
    let settings = CodeSettings { raw_asserts: true, workers: 1, ..CodeSettings::default() };
    let raw = CodeVerifier::new(settings).expect("starts");
    let of = |program: &str| {
        raw.verify(&[item(program, asserts(&["assert add.__name__ == 'add' and add(1, 2) == 3"]))]).remove(0)
    };
    let honest = of(HONEST);
    assert_eq!((honest.status, honest.tags["asserts"].as_str()), (Status::Pass, "raw"));
    assert_eq!(of("def add(a, b):\n    return 0").tags["verdict"], "WA");
}
