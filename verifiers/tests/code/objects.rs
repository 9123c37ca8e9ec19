//! What is no plain value, between a program and tests that are code: objects, functions, exceptions, iterators, and what was printed. Each
//! table is an honest program with the tests that it passes, and one that is wrong with the word that it earns on the first of them.

use serde_json::{Value, json};

use crate::support::{fails_for_memory, fails_on, passes};

fn each(tests: &[&str]) -> Value {
    json!({ "asserts": tests })
}

#[track_caller]
fn judged(program: &str, (right, wrong): (&str, &str), tests: &[&str]) {
    passes(program, each(tests));
    assert!(program.contains(right), "{right} stands in the program");
    fails_on(&program.replace(right, wrong), each(tests), "WA");
}

#[test]
fn objects_that_a_test_makes_answer_for_themselves() {
    let stack = "class Stack:
    def __init__(self): self.a = []
    def push(self, x): self.a.append(x); return self
    def pop(self): return self.a.pop()
    def __len__(self): return len(self.a)
    def __contains__(self, x): return x in self.a
    def __getitem__(self, i): return self.a[i]
    def __iter__(self): return iter(self.a)
    def __enter__(self): return self
    def __exit__(self, *e): self.a.append('end')
";
    judged(
        stack,
        ("self.a.pop()", "self.a.pop(0)"),
        &[
            "s = Stack()\ns.push(1).push(2)\nassert 2 in s and 7 not in s\nassert s.pop() == 2\nassert len(s) == 1 and s",
            "s = Stack()\nassert not s and s.push(5) is s\nassert s[0] == 5 and list(s) == [5] and s.a == [5]",
            "with Stack() as s:\n    s.push(1)\nassert s.a == [1, 'end'] and isinstance(s, Stack)",
            "import copy\na = Stack()\nb = copy.deepcopy(a)\nb.push(1)\nassert len(a) == 0 and len(b) == 1",
        ],
    );
    let point = "class P:
    def __init__(s, x): s.x = x
    def __eq__(s, o): return s.x == o.x
    def __add__(s, o): return P(s.x + o.x)
    def __mul__(s, k): return P(s.x * k)
    def __neg__(s): return P(-s.x)
    def __lt__(s, o): return s.x < o.x
    def __hash__(s): return hash(s.x)
    def __repr__(s): return f'P({s.x})'
";
    judged(
        point,
        ("P(s.x + o.x)", "P(s.x - o.x)"),
        &[
            "assert P(1) + P(2) == P(3)",
            "assert P(1) == P(1) and P(1) != P(2) and P(2) * 3 == P(6) and -P(1) == P(-1)",
            "assert repr(P(3)) == 'P(3)' and f'{P(3)}' == 'P(3)' and len({P(1), P(1)}) == 1",
            "assert [p.x for p in sorted([P(3), P(1)])] == [1, 3]",
        ],
    );
}

#[test]
fn objects_go_in_and_out_of_functions() {
    let list = "class Node:\n    def __init__(s, v, n=None): s.val, s.next = v, n\ndef rev(h):\n    p = None\n    while h: h.next, p, h = p, h, h.next\n    return p\n";
    judged(
        list,
        ("return p", "return h or Node(0)"),
        &[
            "h = rev(Node(1, Node(2, Node(3))))\nout = []\nwhile h:\n    out.append(h.val)\n    h = h.next\nassert out == [3, 2, 1]",
            "a = Node(1)\nb = Node(2, a)\nassert b.next is a and a is not b and a.next is None\nassert rev(b) is a",
        ],
    );
    judged(
        "def make():\n    c = 0\n    def inc():\n        nonlocal c\n        c += 1\n        return c\n    return inc\nLIMIT = 5\nX = {'a': 3}",
        ("c += 1", "c += 2"),
        &["c = make()\nassert c() == 1 and c() == 2", "assert LIMIT < 6 and X['a'] == 3", "assert LIMIT == 5"],
    );
    // Objects of the tests' own classes stay with the tests.
    let tree = json!({
        "asserts": ["assert inorder(Node(2, Node(1), Node(3))) == [1, 2, 3]", "n = Node(1)\nassert mark(n) is n and n.v == 9", "assert made(3).v == 3"],
        "setup": "class Node:\n    def __init__(self, v, l=None, r=None):\n        self.v, self.l, self.r = v, l, r",
    });
    let inorder = "def inorder(t):\n    return [] if t is None else inorder(t.l) + [t.v] + inorder(t.r)\ndef mark(t):\n    assert isinstance(t, Node)\n    t.v = 9\n    return t\ndef made(v): return Node(v)";
    passes(inorder, tree.clone());
    fails_on(&inorder.replace("inorder(t.l) + [t.v]", "[t.v] + inorder(t.l)"), tree, "WA");
}

#[test]
fn functions_that_a_test_hands_over_are_called_back() {
    judged(
        "def ap(g, x): return g(x)\ndef mp(g, xs): return [g(x) for x in xs]\ndef comp(f, g): return lambda x: f(g(x))\ndef by(xs, key): return sorted(xs, key=key)\ndef deco(fn):\n    def w(*a): return fn(*a) * 2\n    return w\ndef double(x): return 2 * x\n",
        ("f(g(x))", "g(f(x))"),
        &[
            "assert comp(lambda x: x + 1, lambda x: x * 2)(5) == 11",
            "assert ap(lambda v: v + 1, 2) == 3 and mp(str, [1, 2]) == ['1', '2'] and by(['bb', 'a'], key=len) == ['a', 'bb']",
            "seen = []\nap(seen.append, 3)\nassert seen == [3]",
            "@deco\ndef g(x): return x + 1\nassert g(2) == 6",
            // The program's own function, and a test's that calls the program.
            "assert ap(double, 4) == 8 and ap(lambda x: double(x) + 1, 4) == 9",
            "import threading\nassert mp(lambda x: x * x, range(3)) == [0, 1, 4]",
        ],
    );
    // The program's threads take turns.
    passes(
        "from concurrent.futures import ThreadPoolExecutor\ndef mp(g, xs):\n    with ThreadPoolExecutor(4) as e: return list(e.map(g, xs))",
        each(&["assert mp(lambda x: x * x, list(range(20))) == [x * x for x in range(20)]"]),
    );
}

#[test]
fn what_a_program_does_to_its_arguments_is_seen() {
    judged(
        "def order(xs):\n    xs.sort()\ndef put(d, k, *, s): d[k] = 1; s.add(k)\n",
        ("xs.sort()", "sorted(xs)"),
        &[
            "xs = [3, 1, 2]\norder(xs)\nassert xs == [1, 2, 3]",
            "rows = [[2, 1]]\norder(rows[0])\nassert rows == [[1, 2]]",
            "d, s = {}, set()\nput(d, 'a', s=s)\nassert d == {'a': 1} and s == {'a'}",
        ],
    );
}

#[test]
fn exceptions_cross_by_type_and_arguments() {
    judged(
        "class Empty(Exception):\n    def __init__(s, m, code=3):\n        super().__init__(m); s.code = code\nclass Missing(KeyError): pass\ndef f(): raise Empty('none')\ndef g(): raise Missing('k')\ndef h(): raise ValueError('neg', 3)\n",
        ("'none'", "'some'"),
        &[
            "try:\n    f()\n    assert False\nexcept Empty as e:\n    assert str(e) == 'none' and e.code == 3",
            "try:\n    g()\n    assert False\nexcept KeyError:\n    pass",
            "try:\n    h()\n    assert False\nexcept ValueError as e:\n    assert e.args == ('neg', 3)",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertRaises(Empty): f()\n        self.assertRaises(ValueError, h)\nr = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert r.wasSuccessful()",
        ],
    );
    fails_on("def f(): raise TypeError", each(&["try:\n    f()\nexcept ValueError:\n    assert True"]), "RE");
    fails_on("def f(): return 1", each(&["try:\n    f()\n    assert False\nexcept ValueError:\n    pass"]), "WA");
}

#[test]
fn generators_and_other_iterators_are_read_as_far_as_the_test_reads() {
    judged(
        "def up(n):\n    for i in range(n): yield i\ndef all_of():\n    i = 0\n    while True:\n        yield i\n        i += 1\ndef rng(n): return range(n)\ndef texts(xs): return map(str, xs)\n",
        ("range(n): yield i", "range(n): yield i + 1"),
        &[
            "assert list(up(3)) == [0, 1, 2]",
            "g = all_of()\nassert next(g) == 0 and next(g) == 1",
            "from itertools import islice\nassert list(islice(all_of(), 3)) == [0, 1, 2]",
            "assert sum(up(4)) == 6 and sorted(up(3), reverse=True) == [2, 1, 0] and tuple(up(1)) == (0,)",
            "assert len(rng(3)) == 3 and list(texts([1])) == ['1']",
        ],
    );
}

#[test]
fn what_a_program_prints_is_handed_to_a_test_that_wants_it() {
    let held = "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    hello(1)\nassert out.getvalue() == 'hi 1\\n'";
    judged("def hello(x): print('hi', x)", ("'hi'", "'ho'"), &[held]);
}

#[test]
fn a_test_imports_the_program_as_its_solution() {
    judged(
        "def f(x): return x + 1\nclass Solution:\n    def two(self, a, b): return a + b",
        ("x + 1", "x"),
        &["from solution import f\ndef test_f():\n    assert f(1) == 2\ntest_f()", "assert Solution().two(1, 2) == 3"],
    );
}

#[test]
fn the_limits_of_a_test_are_those_of_all_its_calls() {
    let tests = each(&["for i in range(6):\n    assert f(i) == i"]);
    let slow = |s: f64| {
        format!(
            "import time\ndef f(x):\n    end = time.process_time() + {s}\n    while time.process_time() < end: pass\n    return x"
        )
    };
    fails_on(&slow(0.2), tests.clone(), "TLE");
    passes(&slow(0.01), tests.clone());
    fails_on("def f(x):\n    while True: pass", tests.clone(), "TLE");
    fails_for_memory("def f(x): return bytearray(1 << 30)", tests.clone());
    fails_on("def f(x): return 'x' * (4 << 20)", tests.clone(), "OLE");
    fails_on("import os\ndef f(x): os._exit(0)", tests.clone(), "RE");
    fails_on("def f(x): raise SystemExit(0)", tests.clone(), "RE");
    fails_on("def f(x): return range(x", tests, "CE");
    // What the program hands over must not hang the test, nor bring it down.
    fails_on("def f(x): return 10 ** 12", each(&["n = 0\nfor i in range(f(1)): n += 1\nassert n == 5"]), "TLE");
    fails_on("def f(g, n): return g(g, n)", each(&["assert f(lambda h, n: f(h, n), 3) == 3"]), "RE");
}
