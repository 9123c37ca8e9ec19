//! Runs the tests of one program and says what came of them.

use std::collections::HashSet;

use super::{
    SandboxError,
    calls::calls,
    command::Given,
    compile::{Made, Ready, complaint, make},
    examiner::shared_fault,
    languages::Language,
    limits::Limits,
    outcome::{Answer, Outcome, Tally, Word},
    settings::CodeSettings,
    shop::Shop,
    stdio::{self, Runner},
    tests_spec::{Checker, Expect, Input, Spec, Test},
    value::Value,
    zygote::Run,
};

/// Nonce and index in front of every answer.
pub(super) const HEAD: usize = 20;
/// The language that is run in the warm interpreter.
const WARM: &str = "python";

/// One program with its tests.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub code: &'a str,
    pub language: &'a str,
    pub spec: &'a Spec,
    pub limits: Limits,
    pub settings: &'a CodeSettings,
}

/// Judges a program. An error means that the sandbox failed or that the tests cannot be run, and says nothing of the program (INV-9).
pub(super) fn judge(shop: &mut Shop, program: &Program<'_>) -> Result<Outcome, SandboxError> {
    let tests = &program.spec.tests;
    let mut tally = Tally::new(tests.len());
    let (mut next, mut go_on) = (0, true);
    if matches!(tests[0].input, Input::Stdin(_)) || program.language != WARM {
        let checker = program.spec.checker.as_ref().map(|c| checker(shop, program, c)).transpose()?;
        let ready = match ready(shop, program)? {
            Ok(ready) => ready,
            Err(refused) => {
                tally.count(0, refused, program.settings.partial);
                return Ok(tally.finish());
            }
        };
        let runner = ready.as_ref().map_or(Runner::Warm, Runner::Command);
        while go_on && next < tests.len() {
            go_on = stdio::test(shop, program, &runner, checker.as_ref(), next, &mut tally)?;
            next += 1;
        }
        return Ok(tally.finish());
    }
    let examined = tests.iter().any(|test| matches!(test.input, Input::Code(_)));
    while go_on && next < tests.len() {
        (next, go_on) = if examined {
            let (cell, examiner) = shop.pair()?;
            calls(cell, Some(examiner), program, next, &mut tally)?
        } else {
            calls(shop.warm()?, None, program, next, &mut tally)?
        };
    }
    // The program's process cannot be believed about the tests; what they share is run without it.
    if let Some(failed) = tally.shared_failed.take() {
        let (_, examiner) = shop.pair()?;
        if let Some(fault) = shared_fault(examiner, program)? {
            return Err(SandboxError::Untestable(format!("what the tests share does not run: {fault} ({failed})")));
        }
    }
    Ok(tally.finish())
}

/// The name that a test uses and that neither it nor the program defines, where that is plain from the texts: it is not the function that
/// is asked for, the program's text has no such word, and the program defines something else that the test uses. What the program's process
/// says alone decides nothing.
pub(super) fn undefined(program: &Program<'_>, source: &str, said: &str) -> Option<String> {
    let name = said.strip_prefix("NameError: ")?.split('\'').nth(1).filter(|name| !name.is_empty())?;
    let words = |text: &str| -> HashSet<String> {
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_owned).collect()
    };
    let used = words(source);
    let defines = |word: &String| {
        [format!("def {word}("), format!("class {word}:"), format!("class {word}(")]
            .iter()
            .any(|d| program.code.contains(d))
    };
    let missing = used.contains(name) && !words(program.code).contains(name);
    let other = match program.spec.fn_name.as_deref() {
        Some(wanted) => wanted != name && name != "candidate",
        None => used.iter().any(defines),
    };
    (missing && other).then(|| name.to_owned())
}

/// The command of a program; `None` for warm Python, an answer where the compiler refuses it.
fn ready(shop: &mut Shop, program: &Program<'_>) -> Result<Result<Option<Ready>, Answer>, SandboxError> {
    if program.language == WARM {
        return Ok(Ok(None));
    }
    let language = language(shop, program.language)?;
    let limits = Limits::of_compiler(program.settings);
    Ok(match make(shop, &language, program.code, &[], &limits)? {
        Made::Ready(ready) => Ok(Some(ready)),
        Made::Refused(finished) => Err(Answer::Broken(Word::CompileError, complaint(&finished))),
    })
}

fn language(shop: &Shop, word: &str) -> Result<Language, SandboxError> {
    let languages = &shop.plans.languages;
    let unknown = || SandboxError::Untestable(format!("unknown language `{word}`; there are {}", languages.names()));
    languages.find(word).map(|(_, language)| language.clone()).ok_or_else(unknown)
}

fn checker(shop: &mut Shop, program: &Program<'_>, checker: &Checker) -> Result<Ready, SandboxError> {
    let language = language(shop, &checker.language)?;
    let mut extra: Vec<Given> = checker.files.clone();
    let testlib = &program.settings.testlib;
    if !testlib.as_os_str().is_empty() {
        let read = std::fs::read(testlib);
        let bytes = read.map_err(|e| SandboxError::Untestable(format!("code.testlib, {}: {e}", testlib.display())))?;
        extra.push(Given { name: "testlib.h".into(), bytes: bytes.into(), executable: false });
    }
    match make(shop, &language, &checker.source, &extra, &Limits::of_compiler(program.settings))? {
        Made::Ready(ready) => Ok(ready),
        Made::Refused(finished) => Err(SandboxError::Untestable(format!("the checker: {}", complaint(&finished)))),
    }
}

pub(super) fn send_program(run: &mut Run, nonce: &[u8; 16], mode: &[u8], program: &Program<'_>) {
    let name = program.spec.fn_name.as_deref().unwrap_or("");
    let (code, setup) = (program.code.as_bytes(), program.spec.setup_of_program.as_bytes());
    let size = (code.len() as u32).to_be_bytes();
    // A whole program has no tests beside it.
    let (size, setup): (&[u8], &[u8]) = if mode == b"F" { (&size, setup) } else { (b"", b"") };
    run.send(&[nonce, mode, &(name.len() as u16).to_be_bytes(), name.as_bytes(), size, code, setup]);
}

/// Kind and content of an answer; `None` where it is not the awaited one.
pub(super) fn body<'a>(frame: &'a [u8], nonce: &[u8; 16], index: u32) -> Option<(u8, &'a [u8])> {
    let (head, body) = frame.split_at_checked(HEAD)?;
    let (&kind, body) = body.split_first()?;
    (head[..16] == *nonce && head[16..] == index.to_be_bytes()).then_some((kind, body))
}

/// Reads an answer. Bytes that the runner would not send are a failure of the program, which alone can have sent them.
pub(super) fn of_frame(
    frame: &[u8],
    nonce: &[u8; 16],
    index: u32,
    test: &Test,
    max: usize,
    settings: &CodeSettings,
) -> Answer {
    let forged =
        || Answer::Broken(Word::RuntimeError, "no result: the program tampered with its result channel".into());
    let Some((kind, body)) = body(frame, nonce, index) else { return forged() };
    let text = || String::from_utf8_lossy(body).into_owned();
    match kind {
        b'V' => match Value::decode(body) {
            Some(value) if test.expect.met_by(&value, settings) => Answer::Right,
            Some(_) => Answer::Wrong(Word::WrongAnswer, "the value differs".into()),
            None => forged(),
        },
        b'D' if matches!(test.expect, Expect::Completed) => Answer::Right,
        b'X' if matches!(test.input, Input::Statement(_)) && body.starts_with(b"AssertionError") => {
            Answer::Wrong(Word::WrongAnswer, "the assert does not hold".into())
        }
        b'X' => Answer::Wrong(Word::RuntimeError, text()),
        b'R' => Answer::Wrong(Word::WrongAnswer, format!("the value holds what is no plain Python value: {}", text())),
        b'O' => Answer::Wrong(Word::OutputLimit, format!("the value is larger than {} KiB", max >> 10)),
        b'M' => Answer::Wrong(Word::MemoryLimit, "out of memory".into()),
        b'C' => Answer::Broken(Word::CompileError, text()),
        b'L' => Answer::Broken(Word::RuntimeError, format!("the program does not load: {}", text())),
        b'S' => Answer::Shared(text()),
        _ => forged(),
    }
}
