//! Tests that call a program's functions, and tests that are code: one child for the program, and where tests are code another one for them.

use super::{
    SandboxError,
    cell::{Cell, Purpose},
    files::nonce,
    judge::{HEAD, Program, body, of_frame, send_program, undefined},
    limits::Limits,
    outcome::{Answer, Tally, Word, over_time},
    tests_spec::{Input, Test},
    value::Value,
    zygote::{Clock, Reply, Run},
};

/// Tests that are code may take as long as the program, several times over: they call it, and compute what they expect.
const TEST_TIME: f64 = 4.0;
/// Bytes of a test's call that are passed on.
const CALL_BYTES: usize = 32 << 20;

/// A child that holds the program, and how many requests it has answered.
struct Subject<'a> {
    run: Run,
    nonce: [u8; 16],
    requests: u32,
    fresh: bool,
    program: &'a Program<'a>,
}

/// The child that holds the tests.
struct Examiner {
    run: Run,
    nonce: [u8; 16],
    tests: u32,
}

/// Runs calls in one child, from test `first` on, until it ends or all are done. Returns where to go on, and whether.
pub(super) fn calls(
    cell: &mut Cell,
    mut examiner_cell: Option<&mut Cell>,
    program: &Program<'_>,
    first: usize,
    tally: &mut Tally,
) -> Result<(usize, bool), SandboxError> {
    let tests = &program.spec.tests[first..];
    let mut subject = Subject::start(cell, program, tests.len())?;
    let mut examiner = match &mut examiner_cell {
        Some(cell) => Some(Examiner::start(cell, program, tests.len())?),
        None => None,
    };
    let (mut next, mut go_on, mut ended) = (first, true, None);
    let (clean, mut failed) = (tally.outcome.word == Word::Accepted, None);
    for test in tests {
        let answer = match (&test.input, &mut examiner) {
            (Input::Code(source), Some(examiner)) => examiner.examine(&mut subject, test, source),
            _ => subject.test(test, tally),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                failed = Some(e);
                break;
            }
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
    if let (Some(cell), Some(examiner)) = (examiner_cell, examiner) {
        cell.end(examiner.run, false)?;
    }
    let exit = cell.end(subject.run, ended.is_some())?;
    if let Some(e) = failed {
        return Err(e);
    }
    tally.add(&exit);
    if let Some(index) = ended {
        let answer = tally.of_end(&exit, &program.limits)?;
        go_on = tally.count(index, answer, program.settings.partial);
    }
    let whole = Limits { time_s: program.limits.time_s * (next - first) as f64, ..program.limits };
    if clean && exit.out_of_memory {
        // A process of the program was killed; whatever the program made of that, it is the first thing that went wrong.
        tally.blame(next - 1, Answer::too_large(&program.limits));
        go_on = false;
    } else if tally.outcome.word == Word::Accepted && over_time(exit.cpu_s, &whole) {
        // Processes that the program started used the time that its own first process did not.
        tally.blame(next - 1, Answer::late(&program.limits));
        go_on = false;
    }
    Ok((next, go_on))
}

impl<'a> Subject<'a> {
    fn start(cell: &mut Cell, program: &'a Program<'a>, tests: usize) -> Result<Self, SandboxError> {
        let nonce = nonce();
        let mut run = cell.start(Purpose::Warm, &program.limits, tests, &[])?;
        send_program(&mut run, &nonce, b"F", program);
        Ok(Self { run, nonce, requests: 0, fresh: true, program })
    }

    /// Sends a request; the clock of the answer begins.
    fn ask(&mut self, parts: &[&[u8]]) -> Result<Clock, SandboxError> {
        self.run.send(parts);
        if std::mem::take(&mut self.fresh) {
            self.run.ready()?;
        }
        Ok(self.run.clock(&self.program.limits))
    }

    fn answer(&mut self, clock: &Clock) -> Reply {
        let reply = self.run.receive(clock, HEAD + 1024 + self.program.limits.output() as usize);
        self.requests += 1;
        reply
    }

    fn test(&mut self, test: &Test, tally: &mut Tally) -> Result<Answer, SandboxError> {
        let (kind, body): (&[u8], &[u8]) = match &test.input {
            Input::Arguments(encoded) => (b"A", encoded),
            Input::Expression(source) => (b"E", source.as_bytes()),
            Input::Statement(source) | Input::Stdin(source) | Input::Code(source) => (b"S", source.as_bytes()),
        };
        let clock = self.ask(&[kind, body])?;
        let reply = self.answer(&clock);
        let answer = self.judged(reply, test, tally);
        if let (Input::Expression(source) | Input::Statement(source), Answer::Wrong(_, said)) = (&test.input, &answer) {
            no_such_name(self.program, source, said)?;
        }
        Ok(answer)
    }

    fn judged(&self, reply: Reply, test: &Test, tally: &mut Tally) -> Answer {
        let limits = &self.program.limits;
        let max = limits.output() as usize;
        match reply {
            Reply::Frame(frame) => {
                tally.outcome.output_bytes += frame.len().saturating_sub(HEAD) as u64;
                of_frame(&frame, &self.nonce, self.requests - 1, test, max, self.program.settings)
            }
            other => unanswered(&other, limits),
        }
    }
}

/// An error where a test uses a name that nobody defines.
fn no_such_name(program: &Program<'_>, source: &str, said: &str) -> Result<(), SandboxError> {
    match undefined(program, source, said) {
        None => Ok(()),
        Some(name) => {
            Err(SandboxError::Untestable(format!("the test uses `{name}`, which neither it nor the program defines")))
        }
    }
}

/// Runs what the tests share where the program is not; what it says if it fails there.
pub(super) fn shared_fault(cell: &mut Cell, program: &Program<'_>) -> Result<Option<String>, SandboxError> {
    let mut examiner = Examiner::start(cell, program, 1)?;
    examiner.run.send(&[b"pass"]);
    let clock = examiner.run.clock(&program.limits);
    let reply = examiner.run.receive(&clock, HEAD + CALL_BYTES);
    let fault = match &reply {
        Reply::Frame(frame) => match body(frame, &examiner.nonce, 0) {
            Some((b'L', text)) => Some(String::from_utf8_lossy(text).into_owned()),
            Some(_) => None,
            None => return Err(SandboxError::Lost("the process of the tests answered nonsense".into())),
        },
        other => Some(format!("{other:?}")),
    };
    cell.end(examiner.run, reply == Reply::Closed)?;
    // A name that the program should have defined is no fault of the tests.
    Ok(fault.filter(|text| !text.starts_with("NameError: ") || undefined(program, &program.spec.setup, text).is_some()))
}

/// What a test is when its child did not answer.
fn unanswered(reply: &Reply, limits: &Limits) -> Answer {
    match reply {
        Reply::Late => Answer::late(limits),
        Reply::TooLong => Answer::too_long(limits),
        Reply::TooLarge => Answer::too_large(limits),
        Reply::Closed | Reply::Frame(_) => Answer::Ended,
    }
}

impl Examiner {
    fn start(cell: &mut Cell, program: &Program<'_>, tests: usize) -> Result<Self, SandboxError> {
        let nonce = nonce();
        let limits = Limits { time_s: program.limits.time_s * TEST_TIME, ..program.limits };
        let mut run = cell.start(Purpose::Warm, &limits, tests, &[])?;
        let name = program.spec.fn_name.as_deref().unwrap_or("");
        let setup = program.spec.setup.as_bytes();
        run.send(&[&nonce, b"T", &(name.len() as u16).to_be_bytes(), name.as_bytes(), setup]);
        run.ready()?;
        Ok(Self { run, nonce, tests: 0 })
    }

    /// Runs one test, passing its calls to the program and the values back. The program sees arguments, the test sees plain values.
    fn examine(&mut self, subject: &mut Subject<'_>, test: &Test, source: &str) -> Result<Answer, SandboxError> {
        let limits = subject.program.limits;
        self.run.send(&[source.as_bytes()]);
        let clock = self.run.clock(&Limits { time_s: limits.time_s * TEST_TIME, ..limits });
        loop {
            let reply = self.run.receive(&clock, HEAD + CALL_BYTES);
            let Reply::Frame(frame) = reply else {
                return match unanswered(&reply, &limits) {
                    Answer::Ended => Err(SandboxError::Lost("the process of the tests ended".into())),
                    other => Ok(other),
                };
            };
            let broken = || SandboxError::Lost("the process of the tests answered nonsense".into());
            let (kind, call) = body(&frame, &self.nonce, self.tests).ok_or_else(broken)?;
            if kind != b'Q' {
                self.tests += 1;
                if kind == b'X' {
                    no_such_name(subject.program, source, &String::from_utf8_lossy(call))?;
                }
                return verdict(kind, call);
            }
            if let Some(answer) = self.pass_on(subject, test, call)? {
                // The test is left where it is: its answer is known, and its process is ended with the program's.
                return Ok(answer);
            }
        }
    }

    /// Has the program answer a call; `Some` when that ends the test.
    fn pass_on(&mut self, subject: &mut Subject<'_>, test: &Test, call: &[u8]) -> Result<Option<Answer>, SandboxError> {
        let clock = subject.ask(&[b"C", call])?;
        let reply = subject.answer(&clock);
        let Reply::Frame(frame) = &reply else { return Ok(Some(unanswered(&reply, &subject.program.limits))) };
        match body(frame, &subject.nonce, subject.requests - 1) {
            Some((b'V', value)) if Value::decode(value).is_some() => self.run.send(&[b"V", value]),
            // A test may want this exception.
            Some((b'X', text)) => self.run.send(&[b"X", text]),
            _ => {
                let max = subject.program.limits.output() as usize;
                let settings = subject.program.settings;
                return Ok(Some(of_frame(frame, &subject.nonce, subject.requests - 1, test, max, settings)));
            }
        }
        Ok(None)
    }
}

/// What the test said at its end.
fn verdict(kind: u8, text: &[u8]) -> Result<Answer, SandboxError> {
    let text = || String::from_utf8_lossy(text).into_owned();
    match kind {
        b'D' => Ok(Answer::Right),
        b'X' if text().starts_with("AssertionError") => {
            Ok(Answer::Wrong(Word::WrongAnswer, "the assert does not hold".into()))
        }
        b'X' => Ok(Answer::Wrong(Word::RuntimeError, text())),
        b'R' => Ok(Answer::Wrong(
            Word::WrongAnswer,
            format!("where a plain Python value is wanted the program has {}", text()),
        )),
        b'U' => Err(SandboxError::Untestable(format!("{}; code.raw_asserts runs it beside the program", text()))),
        b'L' => Err(SandboxError::Untestable(format!("what the tests share does not run: {}", text()))),
        _ => Err(SandboxError::Lost("the process of the tests answered nonsense".into())),
    }
}
