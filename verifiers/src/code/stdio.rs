//! Tests on standard input and output: a new process for each, and a comparer or a checker outside it.

use std::os::fd::AsFd;

use super::{
    SandboxError,
    cell::Purpose,
    command::{Command, End, Given},
    compare::Rules,
    compile::Ready,
    files::{nonce, sealed, sink, written},
    judge::{Program, of_frame, send_program},
    limits::Limits,
    outcome::{Answer, Tally, Word, over_time},
    shop::Shop,
    tests_spec::{Expect, Input, Test},
    zygote::Reply,
};

/// testlib's exit codes.
const CHECKER_OK: i32 = 0;
const CHECKER_WRONG: i32 = 1;
const CHECKER_PRESENTATION: i32 = 2;
const CHECKER_POINTS: i32 = 7;

/// What a script is asked for over its channel: only that it came to its end.
const COMPLETED: Test = Test { input: Input::Stdin(String::new()), expect: Expect::Completed };

/// How the program of a test runs.
pub(super) enum Runner<'a> {
    /// In the warm interpreter.
    Warm,
    Command(&'a Ready),
}

/// Runs one test. False when no further test need be run.
pub(super) fn test(
    shop: &mut Shop,
    program: &Program<'_>,
    runner: &Runner<'_>,
    checker: Option<&Ready>,
    index: usize,
    tally: &mut Tally,
) -> Result<bool, SandboxError> {
    let test = &program.spec.tests[index];
    let (Input::Stdin(input), Expect::Stdout(expected)) = (&test.input, &test.expect) else {
        return Err(SandboxError::Untestable("calls and asserts are for Python programs".into()));
    };
    let (done, output) = match runner {
        Runner::Warm => warm(shop, program, input, tally)?,
        Runner::Command(ready) => command(shop, program, ready, input, tally)?,
    };
    let answer = match (done, checker) {
        (Answer::Right, Some(checker)) => check(shop, program, checker, [input, expected], output)?,
        (Answer::Right, None) if Rules::new(program.settings, true).output(expected, &output) => Answer::Right,
        (Answer::Right, None) => Answer::Wrong(Word::WrongAnswer, "the output differs".into()),
        (other, _) => other,
    };
    Ok(tally.count(index, answer, program.settings.partial))
}

fn warm(
    shop: &mut Shop,
    program: &Program<'_>,
    input: &str,
    tally: &mut Tally,
) -> Result<(Answer, Vec<u8>), SandboxError> {
    let limits = &program.limits;
    let (stdin, stdout) = (sealed(input.as_bytes())?, sink()?);
    let nonce = nonce();
    let cell = shop.warm()?;
    let mut run = cell.start(Purpose::Warm, limits, 1, &[stdin.as_fd(), stdout.as_fd()])?;
    send_program(&mut run, &nonce, b"S", program);
    run.ready()?;
    let mut clock = run.clock(limits);
    let reply = run.receive(&mut clock, 20 + 1024)?;
    let exit = cell.end(run, reply == Reply::Closed)?;
    tally.add(&exit);
    // Everything that could write is dead, so the length is final.
    let (output, length) = written(&stdout, limits.output())?;
    tally.outcome.output_bytes += length;
    let done = match reply {
        _ if exit.out_of_memory => Answer::too_large(limits),
        Reply::TooLarge => Answer::too_large(limits),
        _ if length >= limits.output() => Answer::too_long(limits),
        Reply::Late => Answer::late(limits),
        _ if over_time(exit.cpu_s, limits) => Answer::late(limits),
        Reply::Frame(frame) => of_frame(&frame, &nonce, 0, &COMPLETED, 0, program.settings),
        Reply::TooLong => Answer::Broken(Word::RuntimeError, "the program tampered with its result channel".into()),
        // `os._exit(0)` after the last line is an honest end; the output is judged.
        Reply::Closed if exit.code == Ok(0) && !exit.killed => Answer::Right,
        Reply::Closed => tally.of_end(&exit, limits)?,
    };
    Ok((done, output))
}

fn command(
    shop: &mut Shop,
    program: &Program<'_>,
    ready: &Ready,
    input: &str,
    tally: &mut Tally,
) -> Result<(Answer, Vec<u8>), SandboxError> {
    let limits = ready.limits(program.limits);
    let finished = shop.command(&Command {
        argv: ready.run.clone(),
        files: ready.files.clone(),
        stdin: input.as_bytes(),
        fetch: Vec::new(),
        fetch_limit: 0,
        limits,
        limit_addresses: !ready.reserves_memory,
    })?;
    tally.outcome.cpu_s += finished.cpu_s;
    tally.outcome.peak_memory_mb = tally.outcome.peak_memory_mb.max(finished.peak_memory_mb);
    tally.outcome.output_bytes += finished.output_bytes;
    let wrong = |text: String| Answer::Wrong(Word::RuntimeError, text);
    let done = match finished.end {
        End::Exit(0) => Answer::Right,
        End::Exit(code) => {
            let errors = String::from_utf8_lossy(&finished.stderr);
            let last = errors.trim().lines().last().unwrap_or("").chars().take(200).collect::<String>();
            wrong(format!("exit code {code}: {last}"))
        }
        End::Signal(signal) => {
            tally.outcome.signal.get_or_insert(signal);
            wrong(format!("killed by {}", super::outcome::signal_name(signal)))
        }
        End::Late => Answer::late(&limits),
        End::TooLarge => Answer::too_large(&limits),
        End::TooLong => Answer::too_long(&limits),
    };
    Ok((done, finished.stdout))
}

/// Asks a testlib checker: it is given the names of the input, of the output and of the jury's answer, and its exit code is its word.
fn check(
    shop: &mut Shop,
    program: &Program<'_>,
    checker: &Ready,
    [input, answer]: [&String; 2],
    output: Vec<u8>,
) -> Result<Answer, SandboxError> {
    let file = |name: &str, bytes: Vec<u8>| Given { name: name.into(), bytes: bytes.into(), executable: false };
    let files = [
        file("input.txt", input.clone().into_bytes()),
        file("output.txt", output),
        file("answer.txt", answer.clone().into_bytes()),
    ];
    let names = files.iter().map(|f| f.name.clone());
    let finished = shop.command(&Command {
        argv: checker.run.iter().cloned().chain(names).collect(),
        files: checker.files.iter().cloned().chain(files.iter().cloned()).collect(),
        stdin: b"",
        fetch: Vec::new(),
        fetch_limit: 0,
        limits: Limits::of_compiler(program.settings),
        limit_addresses: !checker.reserves_memory,
    })?;
    let said = String::from_utf8_lossy(&finished.stderr).trim().chars().take(200).collect::<String>();
    match finished.end {
        End::Exit(CHECKER_OK) => Ok(Answer::Right),
        End::Exit(CHECKER_WRONG | CHECKER_PRESENTATION) => Ok(Answer::Wrong(Word::WrongAnswer, said)),
        End::Exit(CHECKER_POINTS) if points(&said).is_some_and(|points| points >= 1.0) => Ok(Answer::Right),
        End::Exit(CHECKER_POINTS) => Ok(Answer::Wrong(Word::WrongAnswer, said)),
        other => Err(SandboxError::Untestable(format!("the checker failed ({other:?}): {said}"))),
    }
}

/// The number in `points 0.5 …`.
fn points(said: &str) -> Option<f64> {
    said.strip_prefix("points ")?.split_whitespace().next()?.parse().ok()
}
