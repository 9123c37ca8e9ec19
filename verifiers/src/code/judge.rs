//! Runs the tests of one program in a cell and says what came of them.

use std::{fs::File, io::Write, os::fd::AsFd, time::Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{
    SandboxError,
    cell::Cell,
    compare::Rules,
    settings::{CodeSettings, Limits},
    tests_spec::{Expect, Input, Spec, Test},
    value::Value,
    zygote::{Exit, Reply, Run},
};

/// Nonce and index in front of every answer.
const HEAD: usize = 20;

/// The words of a judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Accepted,
    WrongAnswer,
    TimeLimit,
    MemoryLimit,
    OutputLimit,
    RuntimeError,
    CompileError,
}

impl Word {
    pub fn tag(self) -> &'static str {
        match self {
            Self::Accepted => "AC",
            Self::WrongAnswer => "WA",
            Self::TimeLimit => "TLE",
            Self::MemoryLimit => "MLE",
            Self::OutputLimit => "OLE",
            Self::RuntimeError => "RE",
            Self::CompileError => "CE",
        }
    }
}

/// What came of a program. The word and the reason are those of the first test that failed.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub word: Word,
    pub reason: String,
    pub signal: Option<i32>,
    pub passed: usize,
    pub cpu_s: f64,
    pub wall_s: f64,
    pub peak_memory_mb: f64,
}

/// One program with its tests.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub code: &'a str,
    pub spec: &'a Spec,
    pub limits: Limits,
    pub settings: &'a CodeSettings,
}

/// What came of one test.
enum Answer {
    Right,
    Wrong(Word, String),
    /// The program could not be loaded, so no other test can fare better.
    Broken(Word, String),
    /// The child ended before it answered; how, only its end will tell.
    Ended,
}

impl Answer {
    /// True when the child may be given another test.
    fn leaves_child(&self) -> bool {
        match self {
            Self::Right => true,
            Self::Wrong(word, _) => !matches!(word, Word::TimeLimit | Word::OutputLimit),
            Self::Broken(..) | Self::Ended => false,
        }
    }
}

/// Sums over the children of a program.
struct Tally {
    outcome: Outcome,
    started: Instant,
}

/// Judges a program. An error means that the sandbox failed, and says nothing of the program (INV-9).
pub(super) fn judge(cell: &mut Cell, program: &Program<'_>) -> Result<Outcome, SandboxError> {
    let outcome = Outcome {
        word: Word::Accepted,
        reason: String::new(),
        signal: None,
        passed: 0,
        cpu_s: 0.0,
        wall_s: 0.0,
        peak_memory_mb: 0.0,
    };
    let mut tally = Tally { outcome, started: Instant::now() };
    let scripts = matches!(program.spec.tests[0].input, Input::Stdin(_));
    let mut next = 0;
    let mut go_on = true;
    while go_on && next < program.spec.tests.len() {
        (next, go_on) =
            if scripts { script(cell, program, next, &mut tally)? } else { calls(cell, program, next, &mut tally)? };
    }
    let mut outcome = tally.outcome;
    outcome.wall_s = tally.started.elapsed().as_secs_f64();
    if outcome.word == Word::Accepted {
        outcome.reason = format!("all {} tests passed", outcome.passed);
    }
    Ok(outcome)
}

impl Tally {
    /// Counts a test; false when no further test need be run.
    fn count(&mut self, index: usize, answer: Answer, partial: bool) -> bool {
        let (word, text, go_on) = match answer {
            Answer::Right => {
                self.outcome.passed += 1;
                return true;
            }
            Answer::Wrong(word, text) => (word, text, partial),
            Answer::Broken(word, text) => (word, text, false),
            Answer::Ended => (Word::RuntimeError, "no result".into(), partial),
        };
        if self.outcome.word == Word::Accepted {
            self.outcome.word = word;
            self.outcome.reason = format!("test {}: {text}", index + 1);
        }
        go_on
    }

    fn add(&mut self, exit: &Exit) {
        self.outcome.cpu_s += exit.cpu_s;
        self.outcome.peak_memory_mb = self.outcome.peak_memory_mb.max(exit.peak_memory_mb);
    }

    /// What a child's end says of the test that it did not answer.
    fn of_end(&mut self, exit: &Exit, program: &Program<'_>) -> Result<Answer, SandboxError> {
        match exit.code {
            _ if exit.killed => {
                Ok(Answer::Wrong(Word::RuntimeError, "no result: the program closed its result channel".into()))
            }
            Ok(code) => Ok(Answer::Wrong(
                Word::RuntimeError,
                format!("no result: the program ended itself with exit code {code}"),
            )),
            Err(signal @ (libc::SIGKILL | libc::SIGXCPU)) if exit.cpu_s >= program.limits.time_s => {
                self.outcome.signal.get_or_insert(signal);
                Ok(Answer::Wrong(Word::TimeLimit, format!("over {} s of CPU time", program.limits.time_s)))
            }
            // Nobody inside can send this one to the init of its namespace, nor lower the limit of CPU time that ends in it: the kernel did,
            // for want of memory on the host.
            Err(libc::SIGKILL) => Err(SandboxError::Lost(
                "the kernel killed a program, most likely for want of memory on this machine".into(),
            )),
            Err(signal) => {
                self.outcome.signal.get_or_insert(signal);
                Ok(Answer::Wrong(Word::RuntimeError, format!("no result: killed by {}", signal_name(signal))))
            }
        }
    }
}

/// Runs calls in one child, from test `first` on, until it ends or all are done.
fn calls(
    cell: &mut Cell,
    program: &Program<'_>,
    first: usize,
    tally: &mut Tally,
) -> Result<(usize, bool), SandboxError> {
    let tests = &program.spec.tests[first..];
    let nonce = nonce();
    let mut run = cell.start(&program.limits, tests.len(), None)?;
    send_program(&mut run, &nonce, b"F", program);
    let mut next = first;
    let mut go_on = true;
    let mut ended = None;
    for (index, test) in tests.iter().enumerate() {
        let (kind, body): (&[u8], &str) = match &test.input {
            Input::Arguments(json) => (b"A", json),
            Input::Expression(source) => (b"E", source),
            Input::Statement(source) | Input::Stdin(source) => (b"S", source),
        };
        let clock = run.clock(&program.limits);
        run.send(&[kind, body.as_bytes()]);
        if index == 0 {
            run.ready()?;
        }
        let max = (program.limits.output_kb << 10) as usize;
        let answer = match run.receive(&clock, HEAD + 1024 + max) {
            Reply::Frame(frame) => of_frame(&frame, &nonce, index as u32, test, max, program.settings),
            Reply::Closed => Answer::Ended,
            Reply::Late => late(&program.limits),
            Reply::TooLong => too_long(&program.limits),
        };
        next += 1;
        if matches!(answer, Answer::Ended) {
            ended = Some(next - 1);
            break;
        }
        let alive = answer.leaves_child();
        go_on = tally.count(next - 1, answer, program.settings.partial);
        if !alive || !go_on {
            break;
        }
    }
    let exit = cell.end(run, ended.is_some())?;
    tally.add(&exit);
    if let Some(index) = ended {
        let answer = tally.of_end(&exit, program)?;
        go_on = tally.count(index, answer, program.settings.partial);
    }
    Ok((next, go_on))
}

/// Runs one test on stdin and stdout in a child of its own.
fn script(
    cell: &mut Cell,
    program: &Program<'_>,
    index: usize,
    tally: &mut Tally,
) -> Result<(usize, bool), SandboxError> {
    let test = &program.spec.tests[index];
    let (Input::Stdin(input), Expect::Stdout(expected)) = (&test.input, &test.expect) else {
        return Err(SandboxError::Lost("a test without stdin among tests with stdin".into()));
    };
    let failed = |e: std::io::Error| SandboxError::Lost(format!("a file in memory: {e}"));
    let stdin = sealed(input.as_bytes()).map_err(failed)?;
    let stdout = memfd_create("stdout", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let nonce = nonce();
    let mut run = cell.start(&program.limits, 1, Some([stdin.as_fd(), stdout.as_fd()]))?;
    let clock = run.clock(&program.limits);
    send_program(&mut run, &nonce, b"S", program);
    run.ready()?;
    let reply = run.receive(&clock, HEAD + 1024);
    let exit = cell.end(run, reply == Reply::Closed)?;
    tally.add(&exit);
    let limit = program.limits.output_kb << 10;
    // Everything that could write is dead, so the length is final.
    let written = rustix::fs::fstat(&stdout).map_err(|e| failed(e.into()))?.st_size as u64;
    let done = match reply {
        _ if written >= limit => too_long(&program.limits),
        Reply::Frame(frame) => of_frame(&frame, &nonce, 0, &COMPLETED, 0, program.settings),
        Reply::Late => late(&program.limits),
        Reply::TooLong => too_long(&program.limits),
        // `os._exit(0)` after the last line is an honest end; the output is judged.
        Reply::Closed if exit.code == Ok(0) => Answer::Right,
        Reply::Closed => tally.of_end(&exit, program)?,
    };
    let answer = match done {
        Answer::Right => {
            let mut output = vec![0; written as usize];
            std::os::unix::fs::FileExt::read_exact_at(&File::from(stdout), &mut output, 0).map_err(failed)?;
            let right = Rules::new(program.settings, true).output(expected, &output);
            if right { Answer::Right } else { Answer::Wrong(Word::WrongAnswer, "the output differs".into()) }
        }
        other => other,
    };
    Ok((index + 1, tally.count(index, answer, program.settings.partial)))
}

/// What a script is asked for over its channel: only that it came to its end.
const COMPLETED: Test = Test { input: Input::Stdin(String::new()), expect: Expect::Completed };

fn send_program(run: &mut Run, nonce: &[u8; 16], mode: &[u8], program: &Program<'_>) {
    let name = program.spec.fn_name.as_deref().unwrap_or("");
    run.send(&[nonce, mode, &(name.len() as u16).to_be_bytes(), name.as_bytes(), program.code.as_bytes()]);
}

/// Reads an answer. Bytes that the runner would not send are a failure of the program, which alone can have sent them.
fn of_frame(frame: &[u8], nonce: &[u8; 16], index: u32, test: &Test, max: usize, settings: &CodeSettings) -> Answer {
    let forged =
        || Answer::Broken(Word::RuntimeError, "no result: the program tampered with its result channel".into());
    let Some((head, body)) = frame.split_at_checked(HEAD) else { return forged() };
    let Some((&kind, body)) = body.split_first() else { return forged() };
    if head[..16] != *nonce || head[16..] != index.to_be_bytes() {
        return forged();
    }
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
        _ => forged(),
    }
}

fn late(limits: &Limits) -> Answer {
    Answer::Wrong(Word::TimeLimit, format!("over {} s of CPU time or {} s by the clock", limits.time_s, limits.wall_s))
}

fn too_long(limits: &Limits) -> Answer {
    Answer::Wrong(Word::OutputLimit, format!("more than {} KiB of output", limits.output_kb))
}

/// A file in memory that nobody can change any more, its offset at the start.
fn sealed(bytes: &[u8]) -> std::io::Result<File> {
    let fd = memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    std::io::Seek::rewind(&mut file)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

/// Sixteen bytes that a program of another run cannot know.
fn nonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is as long as is said. Up to 256 bytes are never cut, and a kernel without the call leaves zeros, which only
    // weakens a second line of defence: a forger would still need the expected value.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    bytes
}

/// The name of a signal, as people know it.
pub(super) fn signal_name(signal: i32) -> String {
    let known = [
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    known
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
