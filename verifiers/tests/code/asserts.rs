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
    let forged = "import os, struct, sys\ndef add(a, b):\n    frame = sys._getframe()\n    while 'nonce' not in frame.f_locals: frame = frame.f_back\n    p = frame.f_locals['nonce'] + struct.pack('>I', frame.f_locals['talk'].sent) + b'D'\n    os.write(3, struct.pack('>I', len(p)) + p)\n    os._exit(0)";
    fails_on(forged, asserts(&["assert abs(add(1.5, 2.5) - 4.0) < 1e-9"]), "RE");
}

#[test]
fn inv_9_a_test_that_cannot_be_run_is_an_error() {
    for test in [
        "assert add.__code__ is not None",
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
fn inv_9_a_fault_of_the_test_is_no_fault_of_the_program() {
    let f = "def f(x):\n    return x";
    for tests in [
        json!({"asserts": ["assert f("]}),
        json!({"asserts": ["assert undefined_helper(f(1)) == 1"]}),
        json!({"asserts": ["assert undefined_helper(f(1)) in (1, 2)"]}),
        json!({"asserts": ["assert f(1) == 1"], "setup": "import no_such_module"}),
        json!({"asserts": ["assert f(1) in (1, 2)"], "setup": "import no_such_module"}),
        json!({"asserts": ["import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stderr(out):\n    f(1)\nassert out.getvalue() == ''"]}),
        json!({"asserts": ["import builtins\nbuiltins.input = lambda: '3'\nassert f(1) == 1"]}),
        json!({"asserts": ["while True: pass\nassert f(1) == 1"]}),
        json!({"asserts": ["assert f(1) == 1"], "setup": "x = no_such_name + 1"}),
    ] {
        let verdict = judge(f, tests.clone());
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{tests}: {verdict:?}");
    }
    // What the program should have defined is its fault, and so is what it does to the tests' own code.
    fails_on("def g(x):\n    return x", json!({"asserts": ["assert f(1) == 1"]}), "RE");
    fails_on("def g(x):\n    return x", json!({"asserts": ["assert f(1) in (1, 2)"]}), "RE");
    fails_on(
        "import sys\nsys.modules['decimal'] = None\ndef f(x):\n    return x",
        json!({"asserts": ["assert f(1) == 1"], "setup": "import decimal"}),
        "RE",
    );
    fails_on(
        "def g():\n    f\ndef f(x):\n    raise NameError(\"name 'undefined_helper' is not defined\")",
        json!({"asserts": ["assert f(1) == 1"]}),
        "RE",
    );
}

#[test]
fn asserts_use_objects_of_the_programs_classes() {
    let queue = "class Q:\n    def __init__(self):\n        self.s = []\n    def push(self, x):\n        self.s.append(x)\n    def pop(self):\n        return self.s.POP\n    def __len__(self):\n        return len(self.s)\n";
    let tests = json!({"asserts": [
        "q=Q()\nq.push(1)\nq.push(2)\nassert q.pop()==2\nassert q.s==[1]",
        "q = Q()\nassert len(q) == 0 and isinstance(q, Q)\nq.push('a')\nassert len(q) == 1 and q.s[0] == 'a'",
    ]});
    passes(&queue.replace("POP", "pop()"), tests.clone());
    fails_on(&queue.replace("POP", "pop(0)"), tests, "WA");
    let node = "class Node:\n    def __init__(self, x):\n        self.x, self.next = x, None\ndef append(node, x):\n    while node.next: node = node.next\n    node.next = Node(x)\n    return node.next\n";
    passes(
        node,
        json!({"asserts": ["n = Node(1)\nassert append(n, 5).x == 5\nassert n.next.x == 5 and n.next.next is None\nn.next = None\nassert n.next is None"]}),
    );
    // An object in place of a value is wrong; one that is compared as a whole cannot be judged.
    let any = "class Any:\n    __eq__ = __contains__ = lambda *a: True\n    def pop(self):\n        return Any()\n";
    fails_on(&format!("{any}def f(x):\n    return Any()"), json!({"asserts": ["assert f(1) in (1, 2)"]}), "WA");
    fails_on(
        &format!("{any}f = Any\nAny.__init__ = lambda *a: None"),
        json!({"asserts": ["assert f(1) in (1, 2)"]}),
        "WA",
    );
    fails_on(&format!("{any}Q = Any"), json!({"asserts": ["assert Q().pop() in (1, 2)"]}), "WA");
    // The test made both, and asks how their class compares them: that is the program's to say.
    passes(&format!("{any}Q = Any"), json!({"asserts": ["assert Q() == Q() and Q()"]}));
    let verdict = judge(&format!("{any}Q = Any"), json!({"asserts": ["assert Q().pop() == Q().pop()"]}));
    assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
}

#[test]
fn a02_what_the_tests_share_is_not_in_the_programs_process_where_it_is_data() {
    let walk = "import gc, sys\ndef f(x):\n    frame, names = sys._getframe(), {}\n    while frame:\n        names.update(frame.f_globals); names.update(frame.f_locals)\n        frame = frame.f_back\n    for module in list(sys.modules.values()): names.update(vars(module) if module else {})\n    for thing in gc.get_objects():\n        if type(thing) is dict and 'X' in thing: names.update(X=thing['X'])\n    return names.get('X', 0)";
    for test in ["assert f(1) == X", "assert f(1) in (X,)"] {
        let tests = json!({"asserts": [test], "setup": "import math\nX=739151"});
        fails_on(walk, tests.clone(), "WA");
        passes("def f(x):\n    return 739151 * math.floor(x)", tests);
    }
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
