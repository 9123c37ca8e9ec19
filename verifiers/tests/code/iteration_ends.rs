//! A03 where tests are code: an exception of the program's is a failure of the test, also where Python's own machinery would take it for the
//! end of something. `zip(map(f, inputs), expected)` compares nothing when `f` raises StopIteration, and what compares nothing passes.

use serde_json::{Value, json};

use crate::support::{fails_on, passes};

fn one(assert: &str) -> Value {
    json!({"asserts": [assert]})
}

/// Every exception that an interpreter treats in a way of its own, as an expression.
const RAISED: [&str; 9] = [
    "StopIteration",
    "StopIteration([10, 20])",
    "StopAsyncIteration",
    "type('Done', (StopIteration,), {})",
    "GeneratorExit",
    "SystemExit(0)",
    "KeyboardInterrupt",
    "type('Odd', (BaseException,), {'__str__': lambda s: 1 / 0})",
    "RecursionError",
];

#[test]
fn a03_no_exception_ends_an_iteration_of_the_tests() {
    for assert in [
        "assert list(map(f, [1, 2])) == [10, 20]",
        "assert all(got == want for got, want in zip(map(f, [1, 2]), [10, 20]))",
        "assert not any(map(lambda x: f(x) != 10 * x, [1, 2]))",
        "for got, want in zip(map(f, [1, 2]), [10, 20]):\n    assert got == want",
        "def check(candidate):\n    for got, want in zip(map(candidate, [1, 2]), [10, 20]):\n        assert got == want\ncheck(f)",
        "assert sum(got != want for got, want in zip(map(f, [1, 2]), [10, 20])) == 0",
        "assert [w for g, w in zip(map(f, [1, 2]), [10, 20]) if g != w] == []",
        "import itertools\nassert all(itertools.starmap(lambda g, w: g == w, zip(map(f, [1, 2]), [10, 20])))",
        "assert sorted(map(f, [2, 1])) == [10, 20]",
        "assert {*map(f, [1, 2])} <= {10, 20}",
        "assert max(map(f, [1, 2]), default=20) == 20",
    ] {
        passes("def f(x): return 10 * x", one(assert));
        for raised in RAISED {
            fails_on(&format!("def f(x): raise {raised}"), one(assert), "RE");
        }
    }
}

#[test]
fn a03_no_exception_cuts_a_list_to_what_is_wanted() {
    let first_alone = |raised: &str| format!("def f(x):\n    if x == 1: return 10\n    raise {raised}");
    for assert in [
        "assert list(map(f, [1, 2])) == [10]",
        "assert sum(map(f, [1, 2])) == 10",
        "assert dict(zip([1, 2], map(f, [1, 2]))) == {1: 10}",
        "assert tuple(filter(f, [1, 2])) == (1,)",
        "it = map(f, [1, 2])\nassert next(it) == 10 and next(it, None) is None",
        "a, = map(f, [1, 2])\nassert a == 10",
        "assert ''.join(map(str, map(f, [1, 2]))) == '10'",
    ] {
        for raised in RAISED {
            fails_on(&first_alone(raised), one(assert), "RE");
        }
    }
}

#[test]
fn a_test_that_waits_for_an_end_of_iteration_gets_the_programs() {
    let program = "import itertools\ndef take(xs): return next(iter(xs))\nclass Done(StopIteration): pass\ndef done(): raise Done('x')\nclass Down:\n    def __init__(s, n): s.n = n\n    def __iter__(s): return s\n    def __next__(s):\n        if s.n == 0: raise StopIteration\n        s.n -= 1\n        return s.n + 1\n";
    for test in [
        "try:\n    take([])\n    assert False\nexcept StopIteration:\n    pass",
        "try:\n    take([])\n    assert False\nexcept (KeyError, StopIteration) as e:\n    assert e.args == ()",
        "try:\n    done()\n    assert False\nexcept Done as e:\n    assert str(e) == 'x'",
        "try:\n    done()\n    assert False\nexcept StopIteration as e:\n    assert e.args == ('x',)",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertRaises(StopIteration, take, [])\n        with self.assertRaises(StopIteration): take([])\nr = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert r.wasSuccessful()",
        "import contextlib\nwith contextlib.suppress(StopIteration):\n    take([])\nassert take([3]) == 3",
        "d = Down(1)\nassert next(d) == 1\ntry:\n    next(d)\n    assert False\nexcept StopIteration:\n    pass",
        "assert list(Down(3)) == [3, 2, 1] and next(Down(0), 'none') == 'none'",
    ] {
        passes(program, one(test));
    }
    let shared = json!({
        "setup": "def ends(f, x):\n    try:\n        f(x)\n    except StopIteration:\n        return True\n    return False",
        "asserts": ["assert ends(take, []) and not ends(take, [1])"],
    });
    passes(program, shared.clone());
    fails_on("def take(xs): return next(iter(xs), None)", shared, "WA");
}
