//! A04, A05, A08, A22 where tests are code: what is expected, and what compares, is never in the program's process, and an object of the
//! program's is not believed where a plain value is wanted. Beside each forgery an honest program passes the same test.

use serde_json::{Value, json};

use data::Status;

use crate::support::{fails_on, judge, passes};

/// An object that says what every test wants to hear.
const FORGED: &str = "class E:
    def __eq__(s, o): return True
    def __ne__(s, o): return False
    def __hash__(s): return 0
    def __sub__(s, o): return 0
    def __rsub__(s, o): return 0
    def __abs__(s): return 0
    def __lt__(s, o): return True
    def __gt__(s, o): return True
    def __le__(s, o): return True
    def __contains__(s, o): return True
    def __float__(s): return 1.0
    def __int__(s): return 12
    def __len__(s): return 2
    def __round__(s, n=0): return 3.14
";
const SAME: &str = "def same(a, b):\n    return type(a) is int and a == b";

fn one(assert: &str) -> Value {
    json!({"asserts": [assert]})
}

#[test]
fn a04_an_object_in_place_of_a_functions_value_is_wrong_in_every_assert() {
    let forged = format!("{FORGED}def f(x): return E()");
    for (honest, asserts) in [
        (
            "return 8461",
            &[
                "assert f(3) == 8461",
                "assert (f(3) == 8461) == True",
                "assert (f(3) == 8461) == True, 'x'",
                "assert True == (f(3) == 8461)",
                "assert (f(3) == 8461, 1) == (True, 1)",
                "assert (f(3) in [8461, 2]) == True",
                "assert (f(3) == 8461) is True",
                "assert (abs(f(3) - 8461) < 1e-6) == True",
                "assert any([f(3) == 8461]) == True",
                "assert (1 if f(3) == 8461 else 0) == 1",
                "assert bool(f(3) == 8461) == True",
                "assert (f(3) < 8462) == True",
                "assert (f(3) == 8461 and f(4) == 8461) == True",
                "assert sum([f(3) == 8461]) == 1",
                "assert isinstance(f(3), int) == True",
                "assert f(3) - 8461 == 0",
                "assert round(abs(f(3) - 8461.25), 2) == 0.25",
                "def check(x):\n    assert x == 8461\ncheck(f(3))",
            ][..],
        ),
        ("return 7", &["assert (f(3) != 8461) == True", "assert 12 > f(3) > 5"]),
        ("return x * 1000 + 5", &["assert all(f(i) == i * 1000 + 5 for i in range(3)) == True"]),
        ("return x * 7", &["assert [f(i) == i * 7 for i in (1, 2)] == [True, True]"]),
        ("return [5, 6]", &["assert (5 in f(3)) == True", "assert len(f(3)) == 2"]),
    ] {
        for assert in asserts {
            fails_on(&forged, one(assert), "WA");
            passes(&format!("def f(x):\n    {honest}"), one(assert));
        }
    }
    let check =
        json!({"asserts": ["def check(candidate):\n    assert (candidate(3) == 8461) == True"], "entry_point": "f"});
    fails_on(&forged, check.clone(), "WA");
    passes("def f(x): return 8461", check);
}

#[test]
fn a17_what_the_tests_share_is_not_the_programs_to_replace() {
    let tests = json!({"asserts": ["assert same(f(3), 8461) == True"], "setup": SAME});
    for forged in [
        format!("{FORGED}def f(x): return E()"),
        format!("{FORGED}def f(x): return E()\ndef same(a, b): return True"),
        "def f(x): return 0\ndef same(a, b): return True".into(),
        // The name is looked for when the test asks, long after what the tests share was run.
        "def f(x):\n    globals()['same'] = lambda a, b: True\n    return 0".into(),
    ] {
        fails_on(&forged, tests.clone(), "WA");
    }
    passes("def f(x): return 8461\ndef same(a, b): return False", tests);
    // Nor to ask what is expected of.
    let reference =
        json!({"asserts": ["assert f(3) == expected(3)"], "setup": "def expected(x):\n    return x * 1000 + 5"});
    fails_on("def f(x): return expected(x)", reference.clone(), "RE");
    passes("def f(x): return x * 1000 + 5", reference);
}

#[test]
fn a22_patched_builtins_and_modules_compare_nothing() {
    for (forged, honest, assert) in [
        (
            "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 0",
            "8461",
            "assert math.isclose(f(3), 8461) == True",
        ),
        (
            "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(x): return 0",
            "8461",
            "assert math.isclose(f(3), 8461) == True",
        ),
        (
            "import builtins\nbuiltins.all = lambda *a: True\ndef f(x): return [0, 0]",
            "[8461, 2]",
            "assert all(a == b for a, b in zip(f(3), [8461, 2])) == True",
        ),
        ("def abs(x): return 0\ndef f(x): return 1", "8461", "assert abs(f(3) - 8461) == 0"),
        ("def sorted(x): return [2]\ndef f(x): return [1]", "[2]", "assert sorted(f(3)) == [2]"),
        ("def set(x): return 0\ndef f(x): return [1]", "[2]", "assert set(f(3)) == set([2])"),
        ("def len(x): return 2\ndef f(x): return [1]", "[1, 2]", "assert len(f(3)) == 2"),
    ] {
        for setup in ["", "import math"] {
            let tests = json!({"asserts": [assert], "setup": setup});
            fails_on(forged, tests.clone(), "WA");
            passes(&format!("def f(x): return {honest}"), tests);
        }
    }
}

#[test]
fn a08_a_walk_over_frames_and_heap_finds_no_constant_of_a_test() {
    let walk = "import sys, gc
def numbers(x, deep=0):
    if type(x) in (int, float): yield x
    elif type(x) in (list, tuple, set, frozenset) and deep < 3:
        for y in x: yield from numbers(y, deep + 1)
def f(x):
    frame, found = sys._getframe(1), []
    while frame:
        found += list(frame.f_code.co_consts) + list(frame.f_locals.values())
        frame = frame.f_back
    for code in gc.get_objects():
        if type(code) is type(f): found += list(code.__code__.co_consts)
    for n in (n for y in found for n in numbers(y)):
        if 8460 < n < 8463: return n
    return 0
";
    for assert in [
        "assert (f(3) == 8461) == True",
        "assert (f(3) in (8461, 8462)) == True",
        "assert math.isclose(f(3), 8461.5, rel_tol=0.001) == True",
        "assert round(abs(f(3) - 8461.25), 2) == 0.25",
        "assert f(3) - 8461 == 0",
        "def check(candidate):\n    for wanted in (8461,):\n        assert candidate(3) == wanted\ncheck(f)",
    ] {
        fails_on(walk, json!({"asserts": [assert], "setup": "import math"}), "WA");
        passes("def f(x): return 8461", json!({"asserts": [assert], "setup": "import math"}));
    }
}

#[test]
fn a04_an_object_in_place_of_a_methods_value_is_wrong() {
    let circle = "class Circle(BASE):\n    def __init__(s, r=0): s.r = r\n    def area(s): return VALUE\n    def items(s): return VALUE\n";
    let forged = |base: &str, value: &str| format!("{FORGED}{}", circle.replace("BASE", base).replace("VALUE", value));
    let honest = "class Circle:\n    def __init__(s, r): s.r = r\n    def area(s): return 12.56\n    def items(s): return [3, 4]\n";
    for assert in [
        "c = Circle(2)\nassert abs(c.area() - 12.56) < 1e-2",
        "c = Circle(2)\nassert c.area() == 12.56",
        "c = Circle(2)\nassert c.area() != 13",
        "c = Circle(2)\nassert c.area() < 13",
        "c = Circle(2)\nassert round(c.area(), 2) == 12.56",
        "c = Circle(2)\nassert 3 in c.items()",
        "import math\nc = Circle(2)\nassert math.isclose(c.area(), 12.566, rel_tol=1e-2)",
        "assert Circle(2).area() - 12.56 == 0",
        "assert 12 < Circle(2).area() < 13",
        "c = Circle(2)\nx = c.area()\nassert x > 12 and x < 13",
        "c = Circle(2)\nassert int(c.area()) == 12",
    ] {
        passes(honest, one(assert));
        // An object of another class, of the same class, and the object that the test made itself.
        for (base, value) in [("object", "E()"), ("E", "Circle(0)"), ("E", "s")] {
            fails_on(&forged(base, value), one(assert), "WA");
        }
    }
    let truth = "c = Circle(2)\nassert c.area()";
    fails_on(&format!("{}    __bool__ = lambda s: True\n", forged("E", "s")), one(truth), "WA");
    for assert in ["c = Circle(2)\nassert len(c.items()) == 2", truth] {
        passes(honest, one(assert));
        fails_on(&forged("object", "E()"), one(assert), "WA");
    }
    // A function with a capital letter is no class, whatever the program makes of it.
    for assert in [
        "assert Diff([3, 5]) == sorted([2])",
        "assert 2 in Diff([3, 5])",
        "x = Diff([3, 5])\nx.sort()\nassert x == [2]",
    ] {
        let class = format!("{FORGED}class Diff(E):\n    def __init__(s, x): pass\n    def sort(s): pass");
        fails_on(&class, one(assert), "WA");
        passes("def Diff(x): return [x[1] - x[0]]", one(assert));
    }
}

#[test]
fn what_a_program_is_lent_tells_it_nothing_more() {
    let tests = one(
        "wanted = [739151]\nassert apply(lambda x: x + 1, 2) == 3\nassert apply(lambda x: wanted[0] - x, 1) == wanted[0] - 1",
    );
    passes("def apply(g, x): return g(x)", tests.clone());
    let dig = "def apply(g, x):\n    for name in ['__globals__', '__closure__', '__code__', '__defaults__', '__self__']:\n        found = getattr(g, name, None)\n        text = repr(found) + repr(getattr(found, 'co_consts', ''))\n        if '739151' in text: return 739150\n    return 3";
    fails_on(dig, tests, "WA");
    // An assert inside of what is lent holds or it does not, whatever the program makes of it.
    let inside = one("def seen(x):\n    assert x == 5\neach(seen)\nassert each(lambda x: x) is None");
    fails_on("def each(g):\n    try: g(1)\n    except BaseException: pass", inside.clone(), "WA");
    passes("def each(g): g(5)", inside);
    let forged = "import os, struct, sys\ndef apply(g, x):\n    frame = sys._getframe()\n    while 'talk' not in frame.f_locals: frame = frame.f_back\n    talk = frame.f_locals['talk']\n    for number in (99, -1, 'x', None):\n        try: talk.ask(number, 'get', ['__globals__'], {})\n        except Exception: pass\n    return 3";
    fails_on(forged, one("assert apply(lambda x: x, 2) == 2"), "WA");
}

#[test]
fn a_test_cannot_catch_that_an_object_is_wrong() {
    let forged = format!("{FORGED}def f(x): return E()");
    for assert in [
        "try:\n    assert f(3) == 8461\nexcept:\n    pass",
        "import unittest\nclass T(unittest.TestCase):\n    @unittest.expectedFailure\n    def test(self):\n        self.assertEqual(f(3), 1)\nr = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert not r.errors",
    ] {
        fails_on(&forged, one(assert), "WA");
        passes("def f(x): return 8461", one(assert));
    }
}

/// Where the test names no class, what is compared should be plain values: an error would be a way not to be judged.
#[test]
fn a04_objects_that_are_compared_with_one_another_are_wrong_where_no_class_is_named() {
    let forged = format!("{FORGED}def f(x): return [E(), E()]\nclass Solution:\n    def f(s, x): return [E(), E()]");
    let honest = "def f(x): return [2, 1]\nclass Solution:\n    def f(s, x): return [2, 1]";
    for assert in [
        "assert sorted(f(3)) == [1, 2]",
        "assert max(f(3)) == 2",
        "assert f(3) == sorted(f(4))[::-1]",
        "assert len(set(f(3))) == 2 and f(3) == f(4)",
        "assert sorted(Solution().f(3)) == [1, 2]",
    ] {
        fails_on(&forged, one(assert), "WA");
        passes(honest, one(assert));
    }
}

#[test]
fn a22_a_method_of_the_tests_own_object_is_not_the_programs_to_replace() {
    let test = one("class P:\n    def norm(self): return 5\np = P()\nassert dist(p) == p.norm() and p.seen == 1");
    passes("def dist(p):\n    p.seen = 1\n    return p.norm()", test.clone());
    fails_on("def dist(p):\n    p.seen = 1\n    p.norm = lambda: 7\n    return 7", test, "RE");
}

#[test]
fn a23_no_exit_of_the_programs_hides_what_fails_in_a_with() {
    let forged = "class Database:\n    def __init__(s, *a): pass\n    def __enter__(s): return s\n    def __exit__(s, *a): return True\ndef lock(): return Database()";
    let asserts = "db.insert(1, 'a')\n    assert db.get(1) == 'a'";
    for test in [
        format!("with Database() as db:\n    {asserts}"),
        "with lock():\n    assert 1 == 2".to_owned(),
        "with Database():\n    assert 1 == 2\nassert not 1 == 2".to_owned(),
        "import contextlib\nwith contextlib.ExitStack() as stack:\n    db = stack.enter_context(Database())\n    assert db.get(1) == 1".to_owned(),
    ] {
        let verdict = judge(forged, one(&test));
        assert_eq!(verdict.status, Status::Fail, "{test}: {}", verdict.reason);
    }
    let honest = "class Database:\n    def __init__(s): s.rows = {}\n    def __enter__(s): return s\n    def __exit__(s, *a): s.rows['closed'] = 1\n    def insert(s, k, v): s.rows[k] = v\n    def get(s, k): return s.rows[k]";
    passes(honest, one(&format!("with Database() as db:\n    {asserts}\nassert db.get('closed') == 1")));
    // The program does not see an exception of the test's, so it cannot be judged by what it makes of it.
    let test = one("with Database() as db:\n    db.insert(1, 2)\n    raise ValueError('of the test')");
    assert_eq!(judge(honest, test).status, Status::Error);
}
