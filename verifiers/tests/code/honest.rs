//! Programs that solve their task pass, in every form of test; wrong ones fail with the right word.

use data::{Item, Status};
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier},
};

use crate::support::{
    HONEST, add_tests, fails, fails_for_memory, fails_on, item, judge, namespaces, passes, probe, stdio, verifier,
};

#[test]
fn honest_programs_pass_in_every_form_of_test() {
    passes(HONEST, add_tests());
    passes(HONEST, Value::String(add_tests().to_string()));
    passes("class Solution:\n    def add(self, a, b):\n        return a + b", add_tests());
    passes(
        "a, b = map(int, input().split())\nprint(a + b)",
        json!({"inputs": ["1 2\n", "3 4"], "outputs": ["3\n", "7"]}),
    );
    passes("import sys\nprint(sys.stdin.read())\nsys.exit(0)", stdio("x\ny", "x\ny\n"));
    passes("import os\nprint(open(0).read(), flush=True)\nos._exit(0)", stdio("x", "x"));
    passes("if __name__ == '__main__':\n    print(2)", stdio("", "2"));
    if namespaces() {
        passes("print(open('/dev/stdin').read())", stdio("x", "x"));
    }
}

#[test]
fn programs_have_what_the_graders_of_data_sets_put_before_them() {
    passes("n = int(input())\nif n == 1:\n    print('YES')\n    exit()\nprint('NO')", stdio("1", "YES"));
    passes("print(__file__)\nquit(0)", stdio("", "solution.py"));
    let calls = json!({"inputs": ["[2,7]\n9"], "outputs": ["[0,1]"], "fn_name": "twoSum"});
    passes(
        "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> Optional[List[int]]:\n        h = [1, 0]\n        heapq.heapify(h)\n        assert deque(h) and math.inf and Counter(nums) and inf > gcd(4, 6) == 2\n        return h",
        calls,
    );
    passes("@lru_cache(None)\ndef f(x):\n    return bisect_left([1, 2], x)", json!({"asserts": ["assert f(2) == 1"]}));
    // What is at hand is none of the program's own, and hides nothing of it.
    passes(
        "def gcd(a, b):\n    return 'own'\ndef f():\n    return gcd(1, 2)",
        json!({"asserts": ["assert f() == 'own'"]}),
    );
    fails_on("x = 1", json!({"asserts": ["assert gcd(4, 6) == 2"]}), "RE");
    fails_on("x = 1", json!({"asserts": ["assert gcd(4, 6) in (2, 3)"]}), "RE");
    fails_on("x = 1", json!({"inputs": [[4, 6]], "outputs": [2], "fn_name": "gcd"}), "RE");
}

#[test]
fn values_of_the_standard_librarys_types_cross() {
    for (value, literal) in [
        ("collections.Counter('aab')", "{'a': 2, 'b': 1}"),
        ("collections.Counter('aab')", "Counter({'a': 2, 'b': 1})"),
        ("collections.OrderedDict([(1, 2)])", "{1: 2}"),
        ("collections.defaultdict(int, {1: 2})", "{1: 2}"),
        ("collections.namedtuple('P', 'x y')(1, 2)", "(1, 2)"),
        ("collections.deque([1, 2])", "deque([1, 2])"),
        ("fractions.Fraction(2, 4)", "Fraction(1, 2)"),
        ("fractions.Fraction(2, 4)", "0.5"),
        ("decimal.Decimal('1.50')", "Decimal('1.5')"),
        ("1j ** 2", "-1+0j"),
    ] {
        let program = format!("import collections, fractions, decimal\ndef f():\n    return {value}");
        passes(&program, json!({"asserts": [format!("assert f() == {literal}")]}));
        passes(
            &program,
            json!({"asserts": [format!("assert f() in ({literal}, 'x')")], "setup": "from collections import *\nfrom fractions import *\nfrom decimal import *"}),
        );
        fails_on(&program, json!({"asserts": ["assert f() == {'a': 3}"]}), "WA");
    }
    fails_on(
        "import collections\ndef f():\n    return collections.deque([1])",
        json!({"asserts": ["assert f() == [1]"]}),
        "WA",
    );
    // A04: what only says that it is equal is no value, whatever it is made of.
    for base in
        ["collections.Counter", "collections.OrderedDict", "fractions.Fraction", "collections.namedtuple('P', 'x')"]
    {
        let forged = format!(
            "import collections, fractions\nclass Any({base}):\n    __eq__ = lambda *a: True\n    __ne__ = lambda *a: False\n    __hash__ = None\ndef f():\n    return Any(1) if not issubclass(Any, dict) else Any()"
        );
        fails_on(&forged, json!({"asserts": ["assert f() == {1: 2}"]}), "WA");
        fails_on(&forged, json!({"asserts": ["assert f() in ({1: 2}, 7)"]}), "WA");
    }
}

#[test]
fn inputs_and_outputs_are_read_as_the_graders_of_data_sets_read_them() {
    let of = |input: Value, output: Value| json!({"fn_name": "f", "inputs": [input], "outputs": [output]});
    passes("def f(d):\n    return d[1]", of(json!([{"1": 2}]), json!(2)));
    passes("def f(d):\n    return d['a']", of(json!([{"1": 3, "a": 2}]), json!(2)));
    passes("def f():\n    return None", of(Value::Null, Value::Null));
    passes("print(2 * int(input()))", json!([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]));
    passes("print(sum([0.1] * 3), 2.5)", stdio("", "0.3 2.50"));
    fails_on("print(0.3001, 2.5)", stdio("", "0.3 2.50"), "WA");
    fails_on("print(100001)", stdio("", "100000"), "WA");
    let exact =
        Item { extra_info: json!({"code": {"output_tolerance": 0.0}}), ..item("print(2.5)", stdio("", "2.50")) };
    assert_eq!(verifier().verify(&[exact])[0].tags["verdict"], "WA");
    let partial = Item {
        extra_info: json!({"code": {"partial": true}}),
        ..item("print(1)", json!({"inputs": ["", ""], "outputs": ["1", "2"]}))
    };
    assert_eq!(verifier().verify(&[partial])[0].reward, Some(0.5));
    let listed = "1. The program:\n\n   ```python\n   if 1:\n       print(2)\n   ```\n";
    let listed = Item { completion: listed.into(), ..item("", stdio("", "2")) };
    assert_eq!(verifier().verify(&[listed])[0].status, Status::Pass);
}

#[test]
fn a_signal_ends_the_program_that_sends_it_to_itself() {
    if !namespaces() {
        return;
    }
    for (line, signal) in [
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("signal.raise_signal(signal.SIGTERM)", "SIGTERM"),
        ("signal.alarm(1); time.sleep(3)", "SIGALRM"),
        ("os.abort()", "SIGABRT"),
    ] {
        let program = format!("import os, signal, time\nprint(1, flush=True)\n{line}\n");
        let verdict = fails_on(&program, stdio("", "1"), "RE");
        assert_eq!(verdict.tags["signal"], signal, "{verdict:?}");
    }
    passes(
        "import signal\nsignal.signal(signal.SIGTERM, lambda *a: print(1))\nsignal.raise_signal(signal.SIGTERM)",
        stdio("", "1"),
    );
}

#[test]
fn values_cross_with_their_exact_types() {
    passes("def f(n):\n    return 2 ** n", json!({"asserts": ["assert f(100) == 1267650600228229401496703205376"]}));
    passes(
        "def f(n):\n    return n + 1",
        json!(r#"{"inputs": [[99999999999999999999]], "outputs": [100000000000000000000], "fn_name": "f"}"#),
    );
    for (value, literal) in [
        ("None", "None"),
        ("True", "True"),
        ("-7", "-7"),
        ("0.1", "0.1"),
        ("'é\\n\\0'", "'é\\n\\0'"),
        ("b'\\x00\\xff'", "b'\\x00\\xff'"),
        ("(1, [2, (3,)])", "(1, [2, (3,)])"),
        ("{3, 1}", "{1, 3}"),
        ("frozenset([1])", "frozenset({1})"),
        ("{'a': [1, {2: None}]}", "{'a': [1, {2: None}]}"),
        ("float('inf')", "float('inf')"),
    ] {
        passes(&format!("def f():\n    return {value}"), json!({"asserts": [format!("assert f() == {literal}")]}));
    }
    for (value, literal) in [
        ("True", "1"),
        ("1", "True"),
        ("(1, 2)", "[1, 2]"),
        ("'1'", "1"),
        ("b'a'", "'a'"),
        ("[1]", "{1}"),
        ("0.30000000000000004", "0.3"),
        ("9007199254740993", "9007199254740992.0"),
    ] {
        let tests = json!({"asserts": [format!("assert f() == {literal}")]});
        fails_on(&format!("def f():\n    return {value}"), tests, "WA");
    }
    // JSON has no tuples, so a tuple is a list there.
    passes("def f():\n    return (1, (2, 3))", json!({"inputs": [[]], "outputs": [[1, [2, 3]]], "fn_name": "f"}));
}

#[test]
fn a07_nan_equals_nothing_unless_the_settings_say_so() {
    let tests = json!({"asserts": ["assert f() == float('nan')"]});
    let nan = "def f():\n    return float('nan')";
    fails_on(nan, tests.clone(), "WA");
    fails_on(nan, json!({"asserts": ["assert f() == 1.0"]}), "WA");
    let settings = CodeSettings { nan_equals_nan: true, workers: 1, ..CodeSettings::default() };
    let lenient = CodeVerifier::new(settings).expect("starts");
    assert_eq!(lenient.verify(&[item(nan, tests)])[0].status, Status::Pass);
    assert_eq!(lenient.verify(&[item(nan, json!({"asserts": ["assert f() == 1.0"]}))])[0].status, Status::Fail);
}

#[test]
fn honest_programs_may_use_threads_files_and_event_loops() {
    if !namespaces() {
        return;
    }
    for body in [
        "import threading\nout = []\nt = threading.Thread(target=lambda: out.append('ran'))\nt.start()\nt.join()\nreturn out[0]",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 'ran'\nreturn asyncio.run(f())",
        "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write('ran')\n    f.seek(0)\n    return f.read()",
        "import os\npid = os.fork()\nif pid == 0:\n    os._exit(7)\nreturn 'ran' if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7 else ''",
        "import numbers, decimal, fractions, collections, itertools, heapq, bisect, re, datetime\nreturn 'ran'",
    ] {
        probe(body, "ran");
    }
}

#[test]
fn deep_recursions_have_the_stack_that_they_set_aside_under_the_limit_of_memory() {
    // As solutions of APPS and TACO write it. A cached function takes stack of the C library's kind with each call.
    let program = |size: &str| {
        format!(
            "import sys, threading\nfrom functools import lru_cache\nsys.setrecursionlimit(10 ** 6)\nthreading.stack_size({size})\ndef main():\n    @lru_cache(None)\n    def depth(n):\n        return n and depth(n - 1) + 1\n    print(depth(int(input())))\nt = threading.Thread(target=main)\nt.start()\nt.join()"
        )
    };
    let deep = stdio("60000", "60000");
    for size in ["2 ** 27", "2 ** 28", "2 ** 29", "512 * 1024 * 1024", "2 ** 30"] {
        passes(&program(size), deep.clone());
    }
    // Two at once, and in the main thread.
    let two = "import sys, threading\nthreading.stack_size(2 ** 29)\ndone = []\nts = [threading.Thread(target=lambda: done.append(1)) for _ in range(2)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nprint(len(done))";
    passes(two, stdio("", "2"));
    let main = "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10 ** 6)\n@lru_cache(None)\ndef depth(n):\n    return n and depth(n - 1) + 1\nprint(depth(int(input())))";
    passes(main, deep.clone());
    // What is set aside is no memory: what is used is.
    let greedy = "import threading\nthreading.stack_size(2 ** 28)\nx = bytearray(b'x' * (600 << 20))\nprint(len(x))";
    fails_for_memory(greedy, stdio("", "629145600"));
}

#[test]
fn wrong_programs_fail_with_the_right_word() {
    let verdict = fails("def add(a, b):\n    return a - b", "WA");
    assert_eq!((verdict.metrics["tests_passed"], verdict.metrics["tests_total"]), (0.0, 6.0));
    for name in ["cpu_s", "wall_s", "peak_memory_mb", "output_bytes"] {
        assert!(verdict.metrics[name] >= 0.0, "{verdict:?}");
    }
    fails("def add(a, b):\n    return str(a + b)", "WA");
    fails("def add(a, b):\n    return True if a + b == 1 else bool(a + b)", "WA");
    fails("def sub(a, b):\n    return a - b", "RE");
    fails("def add(a, b):\n    return a +", "CE");
    fails_on("print(1", stdio("", "1"), "CE");
    fails_on("exec('print(1')", stdio("", "1"), "RE");
    fails_on("print(3)", json!({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]}), "WA");
    let no_block = Item { completion: "I do not know.".into(), ..item("", add_tests()) };
    assert_eq!(verifier().verify(&[no_block])[0].tags["verdict"], "CE");
}

#[test]
fn partial_gives_the_share_and_goes_on_after_a_crash() {
    let settings = CodeSettings { partial: true, workers: 1, time_limit_s: 0.3, ..CodeSettings::default() };
    let verifier = CodeVerifier::new(settings).expect("starts");
    let program = "import os\ndef add(a, b):\n    if a == 0: os._exit(0)\n    if a == 10:\n        while True: pass\n    return a + b";
    let verdict = verifier.verify(&[item(program, add_tests())]).remove(0);
    assert_eq!((verdict.status, verdict.reward), (Status::Fail, Some(4.0 / 6.0)), "{verdict:?}");
    assert_eq!(verdict.tags["verdict"], "RE", "the word is the first failure's");
}

#[test]
fn d08_bytes_are_kept_and_compared_by_lines() {
    passes("import sys\nsys.stdout.buffer.write(b'a\\r\\nb \\r\\n\\n')", stdio("", "a\nb"));
    passes("import sys\nsys.stdout.buffer.write(b'a\\0b')", stdio("", "a\0b"));
    passes("print('\\x1b[1mé')", stdio("", "\u{1b}[1mé"));
    fails_on("import sys\nsys.stdout.buffer.write(b'\\xff')", stdio("", "\u{fffd}"), "WA");
    fails_on("print('\\ud800')", stdio("", "?"), "RE");
}

#[test]
fn apps_wraps_its_outputs_in_a_list_of_one() {
    let wrapped = |outputs: Value| json!({"inputs": [[1, 2], [3, 4]], "outputs": outputs, "fn_name": "add"});
    passes(HONEST, wrapped(json!([[3], [7]])));
    let one_is_longer = judge(HONEST, wrapped(json!([[3], [7, 8]])));
    assert_eq!(one_is_longer.status, Status::Fail);
}
