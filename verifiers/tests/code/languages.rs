//! Programs of other languages, their compilers, and checkers.

use data::{Status, Verdict};
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier, Language, RunStatus},
};

use crate::support::{cgroup, fenced, installed, run, stdio, unhurried, verifier};

fn judge_in(language: &str, program: &str, truth: Value) -> Verdict {
    verifier().verify(&[fenced(language, program, truth, json!({"language": language}))]).remove(0)
}

#[track_caller]
fn word_is(language: &str, program: &str, truth: Value, word: &str) -> Verdict {
    is_judged(judge_in(language, program, truth), program, word)
}

/// As [`word_is`], however long a program that fills its memory takes for it.
#[track_caller]
fn word_is_unhurried(language: &str, program: &str, truth: Value, word: &str) -> Verdict {
    let mut code = unhurried();
    code["language"] = language.into();
    is_judged(verifier().verify(&[fenced(language, program, truth, code)]).remove(0), program, word)
}

#[track_caller]
fn is_judged(verdict: Verdict, program: &str, word: &str) -> Verdict {
    assert_eq!(verdict.tags.get("verdict").map(String::as_str), Some(word), "{program}\n{verdict:?}");
    assert_eq!(verdict.status == Status::Pass, word == "AC", "{verdict:?}");
    verdict
}

fn sums() -> Value {
    json!({"inputs": ["1 2\n", "30 -4\n"], "outputs": ["3\n", "26\n"]})
}

const C_SUM: &str = "#include <stdio.h>\nint main() { int a, b; scanf(\"%d %d\", &a, &b); printf(\"%d\\n\", a + b); }";

#[test]
fn c_and_cpp_programs_are_judged() {
    if !installed("/usr/bin/g++") {
        return;
    }
    word_is("c", C_SUM, sums(), "AC");
    word_is(
        "cpp",
        "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }",
        sums(),
        "AC",
    );
    word_is("c", "int main() { return 0; }", sums(), "WA");
    word_is("c", "int main() { return 3; }", sums(), "RE");
    word_is("c", "int main( {", sums(), "CE");
    word_is("c", "int main() { for (;;); }", sums(), "TLE");
    word_is(
        "c",
        "#include <stdio.h>\nint main() { for (;;) puts(\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"); }",
        sums(),
        "OLE",
    );
    let verdict = word_is("c", "int main() { *(volatile int *)0 = 1; }", sums(), "RE");
    assert_eq!(verdict.tags["signal"], "SIGSEGV");
    if verifier().isolation().cgroup.is_some() {
        word_is_unhurried(
            "c",
            "#include <stdlib.h>\n#include <string.h>\nint main() { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }",
            sums(),
            "MLE",
        );
    }
}

#[test]
fn javascript_and_bash_programs_are_judged() {
    if installed("/bin/bash") {
        word_is("bash", "read a b\necho $((a + b))", sums(), "AC");
        word_is("bash", "cat /dev/stdin | tr ' ' '+' | while read x; do echo $((x)); done", sums(), "AC");
        word_is("bash", "while :; do :; done", sums(), "TLE");
        word_is("bash", "exit 4", sums(), "RE");
    }
    if installed("/usr/bin/node") {
        let code = json!({"language": "javascript", "time_limit_s": 3});
        let sum = "const [a, b] = require('fs').readFileSync('/dev/stdin', 'utf8').split(' ').map(Number);\nconsole.log(a + b);";
        for (program, word) in
            [(sum, "AC"), ("console.log(0)", "WA"), ("throw new Error('x')", "RE"), ("for (;;);", "TLE")]
        {
            let verdict = verifier().verify(&[fenced("js", program, sums(), code.clone())]).remove(0);
            assert_eq!(verdict.tags["verdict"], word, "{program}: {verdict:?}");
        }
    }
}

#[test]
fn what_ends_itself_for_want_of_memory_is_over_its_memory() {
    if installed("/usr/bin/node") {
        let code = json!({"language": "javascript", "time_limit_s": 20, "wall_limit_s": 60});
        let program = "const a = [];\nfor (;;) a.push(new Array(1000).fill({}).map(() => ({})));";
        let verdict = verifier().verify(&[fenced("js", program, sums(), code)]).remove(0);
        assert_eq!(verdict.tags["verdict"], "MLE", "{verdict:?}");
    }
    if installed("/usr/bin/g++") {
        let code = json!({"language": "cpp", "time_limit_s": 3});
        let of = |body: &str| {
            let program = format!("#include <cstdlib>\n#include <new>\nint main() {{ {body} }}");
            verifier().verify(&[fenced("cpp", &program, sums(), code.clone())]).remove(0)
        };
        assert_eq!(of("throw std::bad_alloc();").tags["verdict"], "MLE");
        let aborted = of("abort();");
        assert_eq!((aborted.tags["verdict"].as_str(), aborted.tags["signal"].as_str()), ("RE", "SIGABRT"));
    }
}

#[test]
fn compiled_programs_recurse_as_deep_as_their_memory_goes() {
    if !installed("/usr/bin/g++") || !cgroup() {
        return;
    }
    let deep = "#include <cstdio>\n#include <thread>\nint depth(int n) { volatile char b[64]; b[0] = n; return n ? depth(n - 1) + 1 + (b[0] - (char)n) : 0; }\nint main() { int n; scanf(\"%d\", &n); int m = 0; std::thread t([&] { m = depth(1000); }); t.join(); printf(\"%d\\n\", depth(n) + m); }";
    let tests = |n: u32| json!({"inputs": [format!("{n}\n")], "outputs": [format!("{}\n", n + 1000)]});
    word_is_unhurried("cpp", deep, tests(1_000_000), "AC");
    word_is_unhurried("cpp", deep, tests(100_000_000), "RE");
}

#[test]
fn a_table_adds_languages() {
    if !installed("/usr/bin/awk") {
        return;
    }
    let awk = Language {
        source: "main.awk".into(),
        run: ["/usr/bin/awk", "-f", "main.awk"].map(String::from).to_vec(),
        ..Language::default()
    };
    let settings = CodeSettings {
        languages: [("awk".to_owned(), awk)].into(),
        language: "awk".into(),
        workers: 1,
        ..CodeSettings::default()
    };
    let verifier = CodeVerifier::new(settings).expect("starts");
    let verdict = verifier.verify(&[fenced("awk", "{ print $1 + $2 }", sums(), Value::Null)]).remove(0);
    assert_eq!(verdict.status, Status::Pass, "{verdict:?}");
    let bad = Language { source: "../x".into(), run: vec!["/bin/true".into()], ..Language::default() };
    assert!(
        CodeVerifier::new(CodeSettings { languages: [("x".to_owned(), bad)].into(), ..CodeSettings::default() })
            .is_err()
    );
}

#[test]
fn inv_9_a_language_that_is_not_there_is_an_error() {
    let missing = Language { source: "x".into(), run: vec!["/nonexistent/tool".into()], ..Language::default() };
    let settings =
        CodeSettings { languages: [("x".to_owned(), missing)].into(), workers: 1, ..CodeSettings::default() };
    let verifier = CodeVerifier::new(settings).expect("starts");
    for language in ["x", "cobol"] {
        let verdict = verifier.verify(&[fenced(language, "", sums(), json!({"language": language}))]).remove(0);
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
    }
}

#[test]
fn a25_only_the_output_of_a_compiled_program_counts() {
    if !installed("/usr/bin/g++") {
        return;
    }
    for hack in [
        "#include <unistd.h>\nstruct S { S() { _exit(0); } } s;\nint main() {}",
        "#include <string>\nnamespace std { bool operator==(const string &, const int &) { return true; } }\nint main() {}",
        "#define main other\nint main() {}\n#undef main\nint main() { return 0; }",
        "int main() { asm volatile(\"mov $60, %eax; xor %edi, %edi; syscall\"); }",
    ] {
        word_is("cpp", hack, sums(), "WA");
    }
}

#[test]
fn a26_a28_a_compiler_sees_no_more_than_the_program() {
    if !installed("/usr/bin/gcc") {
        return;
    }
    for include in ["/etc/passwd", "/proc/self/environ", "/etc/shadow", "/etc/hostname"] {
        let result = run("c", &format!("#include \"{include}\"\nint main() {{}}"));
        let step = result.compile_result.expect("it was compiled");
        assert!(step.return_code != Some(0) && step.stderr.contains("No such file"), "{step:?}");
        assert!(!step.stderr.contains("root:") && step.stderr.len() <= 4096);
        let result = run("c", &format!("asm(\".incbin \\\"{include}\\\"\");\nint main() {{}}"));
        assert_ne!(result.status, RunStatus::Success, "{include}");
    }
    // Standard input of a compiler is empty.
    let result = run("c", "#include \"/dev/stdin\"\nint main() { return 0; }");
    assert_ne!(result.status, RunStatus::SandboxError);
    // Code that runs at compile time runs in the same sandbox.
    let script = ["/bin/bash", "main.src"].map(String::from).to_vec();
    let builds =
        Language { source: "main.src".into(), compile: script, run: vec!["./main".into()], ..Language::default() };
    let settings =
        CodeSettings { languages: [("builds".to_owned(), builds)].into(), workers: 1, ..CodeSettings::default() };
    let sandbox = verifiers::code::Sandbox::new(settings).expect("starts");
    let peek = "if cat /etc/passwd || ls /proc/1 || (echo > /dev/tcp/127.0.0.1/22); then exit 1; fi 2> /dev/null\nprintf '#!/bin/bash\\necho closed' > main\n";
    let result = sandbox.run_code(&crate::support::request("builds", peek)).expect("sound");
    assert_eq!(result.run_result.expect("it was built").stdout, "closed\n");
}

#[test]
fn a27_compile_time_bombs_are_compile_errors() {
    if !installed("/usr/bin/g++") {
        return;
    }
    let settings =
        CodeSettings { compile_time_limit_s: 1.5, workers: 1, language: "cpp".into(), ..CodeSettings::default() };
    let verifier = CodeVerifier::new(settings).expect("starts");
    for bomb in [
        "template <int N> struct F { static const int v = F<N - 1>::v + F<N - 2>::v; F<N * 2> x; };\nint main() { F<1> f; }",
        "constexpr long f(long n) { long s = 0; for (long i = 0; i < n; i++) s += i % 7; return s; }\nstatic_assert(f(30000000) == 0);\nint main() {}",
        "char a[1 << 30] = {1};\nint main() { return a[5]; }",
        "#include \"main.cpp\"\nint main() {}",
        "#define A B B B B B B B B\n#define B C C C C C C C C\n#define C D D D D D D D D\n#define D E E E E E E E E\n#define E F F F F F F F F\n#define F G G G G G G G G\n#define G H H H H H H H H\n#define H x+\nint x = A 1;\nint main() {}",
    ] {
        let start = std::time::Instant::now();
        let verdict = verifier.verify(&[fenced("cpp", bomb, sums(), Value::Null)]).remove(0);
        assert_eq!(verdict.tags.get("verdict").map(String::as_str), Some("CE"), "{bomb}\n{verdict:?}");
        assert!(start.elapsed().as_secs_f64() < 15.0, "{bomb}: {:?}", start.elapsed());
    }
    assert_eq!(verifier.verify(&[fenced("cpp", C_SUM, sums(), Value::Null)])[0].status, Status::Pass);
}

#[test]
fn compiled_programs_are_kept_by_what_they_were_made_of() {
    if !installed("/usr/bin/g++") {
        return;
    }
    let settings = CodeSettings { workers: 1, language: "cpp".into(), ..CodeSettings::default() };
    let verifier = CodeVerifier::new(settings).expect("starts");
    let heavy = "#include <bits/stdc++.h>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }";
    let timed = |i: usize| {
        let start = std::time::Instant::now();
        // The id differs, so that the items are not one for the verifier.
        let verdict =
            verifier.verify(&[fenced("cpp", &format!("{heavy}{}", "\n".repeat(i)), sums(), Value::Null)]).remove(0);
        assert_eq!(verdict.status, Status::Pass, "{verdict:?}");
        start.elapsed().as_secs_f64()
    };
    let first = timed(0);
    let again = (0..5).map(|_| timed(0)).fold(f64::INFINITY, f64::min);
    assert!(again * 4.0 < first, "{first} {again}");
}

/// A checker by testlib's rules that needs no testlib: any two numbers that add up.
const CHECKER: &str = "#include <cstdio>\n#include <cstdlib>\nint main(int argc, char **argv) {\n  if (argc != 4) return 3;\n  FILE *in = fopen(argv[1], \"r\"), *out = fopen(argv[2], \"r\"), *answer = fopen(argv[3], \"r\");\n  int n, a, b;\n  if (!in || !out || !answer || fscanf(in, \"%d\", &n) != 1) return 3;\n  if (fscanf(out, \"%d %d\", &a, &b) != 2) { fprintf(stderr, \"wrong output format\"); return 2; }\n  if (a + b != n) { fprintf(stderr, \"wrong answer %d + %d\", a, b); return 1; }\n  return 0;\n}";

#[test]
fn a_testlib_checker_judges_the_output() {
    if !installed("/usr/bin/g++") {
        return;
    }
    let truth = |checker: Value| json!({"inputs": ["10", "7"], "outputs": ["", ""], "checker": checker});
    let python = |program: &str, checker: Value| {
        verifier().verify(&[fenced("python", program, truth(checker), Value::Null)]).remove(0)
    };
    let checker = json!(CHECKER);
    let word = |program: &str, checker: &Value| python(program, checker.clone()).tags.get("verdict").cloned();
    assert_eq!(word("n = int(input())\nprint(n - 2, 2)", &checker).as_deref(), Some("AC"));
    assert_eq!(word("n = int(input())\nprint(0, n)", &checker).as_deref(), Some("AC"));
    let verdict = python("print(5, 5)", checker.clone());
    assert_eq!(
        (verdict.tags["verdict"].as_str(), verdict.reason.contains("wrong answer 5 + 5")),
        ("WA", true),
        "{verdict:?}"
    );
    assert_eq!(word("print('x')", &checker).as_deref(), Some("WA"));
    let helper =
        json!({"source": format!("#include \"helper.h\"\n{CHECKER}"), "files": {"helper.h": "#define HELPED 1\n"}});
    assert_eq!(word("n = int(input())\nprint(n, 0)", &helper).as_deref(), Some("AC"));
    let in_python = json!({"language": "python", "source": "import sys\na = open(sys.argv[1]).read().split()\nb = open(sys.argv[2]).read().split()\nsys.exit(a[0] != b[0])"});
    assert_eq!(word("print(input())", &in_python).as_deref(), Some("AC"));
    assert_eq!(word("print(0)", &in_python).as_deref(), Some("WA"));
    // INV-9: a checker that fails, crashes or does not compile says nothing of the program.
    for broken in [json!("int main() { return 3; }"), json!("int main() { __builtin_trap(); }"), json!("int main( {")] {
        let verdict = python("print(1, 2)", broken);
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
    }
}

#[test]
fn calls_are_for_python() {
    if !installed("/usr/bin/gcc") {
        return;
    }
    let verdict = judge_in("c", C_SUM, json!({"inputs": [[1]], "outputs": [1], "fn_name": "f"}));
    assert_eq!((verdict.status, verdict.reward), (Status::Error, None), "{verdict:?}");
    word_is("c", C_SUM, stdio("1 2", "3"), "AC");
}
