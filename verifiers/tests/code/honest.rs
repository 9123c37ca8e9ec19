//! Programs that solve their task pass, in every form of test; wrong ones fail with the right word.

use data::{Item, Status};
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier},
};

use crate::support::{HONEST, add_tests, fails, fails_on, item, judge, namespaces, passes, probe, stdio, verifier};

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
