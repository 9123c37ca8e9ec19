//! What the tests share: one verifier for a process, and the ways in which a program may be tried.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::OnceLock,
};

use data::{Item, Status, Verdict};
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier, RunCode, RunCodeResult, Sandbox},
};

pub const HONEST: &str = "def add(a, b):\n    return a + b\n";

/// One sandbox serves every test of this process.
pub fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let settings = CodeSettings { time_limit_s: 0.5, wall_limit_s: 4.0, workers: 2, ..CodeSettings::default() };
        Sandbox::new(settings).expect("the sandbox starts here")
    })
}

pub fn verifier() -> CodeVerifier {
    CodeVerifier::on(sandbox().clone())
}

pub fn item(program: &str, ground_truth: Value) -> Item {
    fenced("python", program, ground_truth, Value::Null)
}

pub fn fenced(language: &str, program: &str, ground_truth: Value, code: Value) -> Item {
    let completion = format!("Here it is:\n```{language}\n{program}\n```\n");
    serde_json::from_value(json!({
        "id": "item", "completion": completion, "ground_truth": ground_truth, "extra_info": {"code": code},
    }))
    .expect("an item")
}

/// Six hidden tests of `add`.
pub fn add_tests() -> Value {
    json!({"inputs": [[1, 2], [0, 0], [-5, 3], [10, 20], [7, 8], [100, -1]], "outputs": [3, 0, -2, 30, 15, 99], "fn_name": "add"})
}

/// One test on stdin and stdout.
pub fn stdio(input: &str, output: &str) -> Value {
    json!({"inputs": [input], "outputs": [output]})
}

pub fn judge(program: &str, ground_truth: Value) -> Verdict {
    verifier().verify(&[item(program, ground_truth)]).remove(0)
}

/// The attack fails with the given word, and an honest program in the same cells still passes.
#[track_caller]
pub fn fails(program: &str, word: &str) -> Verdict {
    fails_on(program, add_tests(), word)
}

#[track_caller]
pub fn fails_on(program: &str, ground_truth: Value, word: &str) -> Verdict {
    fails_within(program, ground_truth, Value::Null, word)
}

/// Limits of time for what is to meet those of memory: a machine that first has to find the memory takes many times as long to fill it.
pub fn unhurried() -> Value {
    json!({"time_limit_s": 20.0, "wall_limit_s": 60.0})
}

/// As [`fails_on`] with the word of memory, however long filling it takes.
#[track_caller]
pub fn fails_for_memory(program: &str, ground_truth: Value) -> Verdict {
    fails_within(program, ground_truth, unhurried(), "MLE")
}

#[track_caller]
fn fails_within(program: &str, ground_truth: Value, limits: Value, word: &str) -> Verdict {
    let verdict = verifier().verify(&[fenced("python", program, ground_truth, limits)]).remove(0);
    assert_eq!((verdict.status, verdict.reward), (Status::Fail, Some(0.0)), "{program}\n{verdict:?}");
    assert_eq!(verdict.tags["verdict"], word, "{program}\n{verdict:?}");
    passes(HONEST, add_tests());
    verdict
}

#[track_caller]
pub fn passes(program: &str, ground_truth: Value) -> Verdict {
    let verdict = judge(program, ground_truth);
    assert_eq!((verdict.status, verdict.reward), (Status::Pass, Some(1.0)), "{program}\n{verdict:?}");
    verdict
}

/// A test that is code, alone in its item: the right program passes it, and the wrong one fails.
#[track_caller]
pub fn tells_apart(right: &str, wrong: &str, test: &str) {
    let tests = json!({"asserts": [test]});
    passes(right, tests.clone());
    let verdict = judge(wrong, tests);
    assert_eq!((verdict.status, verdict.reward), (Status::Fail, Some(0.0)), "{wrong}\n{test}\n{verdict:?}");
}

/// A test that says nothing of any program: an error, and no reward.
#[track_caller]
pub fn cannot_tell(program: &str, test: &str) {
    let verdict = judge(program, json!({"asserts": [test]}));
    assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{program}\n{test}\n{verdict:?}");
}

fn as_function(body: &str) -> String {
    format!("def probe():\n{}", body.lines().map(|l| format!("    {l}\n")).collect::<String>())
}

/// What a function body returns inside the sandbox is the expected text.
#[track_caller]
pub fn probe(body: &str, expected: &str) {
    passes(&as_function(body), json!({"inputs": [[]], "outputs": [expected], "fn_name": "probe"}));
}

/// What the same function body returns outside: the control that shows what the sandbox takes away.
pub fn outside(body: &str) -> String {
    run_python(&format!("{}\nprint(probe(), end='')", as_function(body)), "")
}

fn run_python(program: &str, stdin: &str) -> String {
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3");
    child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("python reads it");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The control for reward hacks: a harness of the usual kind, with program, tests and comparison in one process. True when it lets the
/// program pass.
pub fn naive_harness_is_fooled_by(program: &str) -> bool {
    let harness = r#"
import sys
program = sys.stdin.read()
inputs, expected = [[1, 2], [0, 0], [-5, 3]], [3, 0, -2]
details = [False] * len(inputs)
space = {"__name__": "solution"}
def check():
    for index, (arguments, wanted) in enumerate(zip(inputs, expected)):
        details[index] = space["add"](*arguments) == wanted
exec(program, space)
check()
sys.exit(0 if all(details) else 1)
"#;
    let mut child = Command::new("python3")
        .args(["-c", harness])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3");
    child.stdin.take().expect("piped").write_all(program.as_bytes()).expect("python reads it");
    child.wait().expect("it ends").success()
}

/// A hack that fools the usual harness fails here with the given word.
#[track_caller]
pub fn hack_fails(program: &str, word: &str) -> Verdict {
    assert!(naive_harness_is_fooled_by(program), "the control: a harness in one process is fooled\n{program}");
    fails(program, word)
}

/// False, with the reason printed, where this machine gives the sandbox no namespaces.
pub fn namespaces() -> bool {
    let isolation = sandbox().isolation();
    if !isolation.namespaces {
        eprintln!("skipped: {isolation}");
    }
    isolation.namespaces
}

/// False, with the reason printed, where no cgroup limits the tree.
pub fn cgroup() -> bool {
    let isolation = sandbox().isolation();
    if isolation.cgroup.is_none() {
        eprintln!("skipped: {isolation}");
    }
    isolation.cgroup.is_some()
}

/// False, with the reason printed, where a tool is not installed.
pub fn installed(tool: &str) -> bool {
    let found = namespaces() && std::path::Path::new(tool).exists();
    if !found {
        eprintln!("skipped: no {tool}");
    }
    found
}

pub fn request(language: &str, code: &str) -> RunCode {
    serde_json::from_value(json!({"code": code, "language": language})).expect("a request")
}

pub fn run(language: &str, code: &str) -> RunCodeResult {
    sandbox().run_code(&request(language, code)).expect("a sound request")
}
