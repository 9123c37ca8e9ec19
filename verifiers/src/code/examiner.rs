//! The child that holds tests that are code, and the talk between it and the program's.
//!
//! ```text
//! tester (setup, asserts, what is expected) ── Q: call, attribute, … ──> supervisor ── C ──> program
//!    ^                                                                      │
//!    └──── V value, Y exception, or Q of what the program was lent ─────────┘  (A value and Y answer such a Q)
//! ```
//!
//! The two take turns; a frame of the one is read as a value before the other gets it, and each has its clock, which stands while the
//! other has its turn.

use std::time::Instant;

use super::{
    SandboxError,
    calls::{Subject, no_such_name, unanswered},
    cell::{Cell, Purpose},
    clock::Clock,
    files::nonce,
    judge::{HEAD, Program, body, of_frame, undefined},
    limits::Limits,
    outcome::{Answer, Word},
    tests_spec::{Expect, Test},
    value::Value,
    zygote::{Reply, Run},
};

/// Tests that are code may take as long as the program, several times over: they call it, and compute what they expect.
const TEST_TIME: f64 = 4.0;
/// Bytes of a test's call that are passed on.
const CALL_BYTES: usize = 32 << 20;

/// The child that holds the tests.
pub(super) struct Examiner {
    pub run: Run,
    nonce: [u8; 16],
    tests: u32,
    limits: Limits,
}

/// Runs what the tests share where the program is not; what it says if it fails there.
pub(super) fn shared_fault(cell: &mut Cell, program: &Program<'_>) -> Result<Option<String>, SandboxError> {
    let mut examiner = Examiner::start(cell, program, 1)?;
    examiner.run.send(&[b"Spass"]);
    let mut clock = examiner.run.clock(&examiner.limits);
    let reply = examiner.run.receive(&mut clock, HEAD + CALL_BYTES)?;
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

impl Examiner {
    pub fn start(cell: &mut Cell, program: &Program<'_>, tests: usize) -> Result<Self, SandboxError> {
        let nonce = nonce();
        let limits = Limits { time_s: program.limits.time_s * TEST_TIME, ..program.limits };
        let mut run = cell.start(Purpose::Warm, &limits, tests, &[])?;
        let name = program.spec.fn_name.as_deref().unwrap_or("");
        let setup = program.spec.setup.as_bytes();
        run.send(&[&nonce, b"T", &(name.len() as u16).to_be_bytes(), name.as_bytes(), setup]);
        run.ready()?;
        Ok(Self { run, nonce, tests: 0, limits })
    }

    /// Runs one test, passing its calls to the program and the values back. The program sees arguments, the test sees values. With the
    /// answer comes whether the test came to its end; where not, its process is of no more use.
    pub fn examine(
        &mut self,
        subject: &mut Subject<'_>,
        test: &Test,
        source: &str,
    ) -> Result<(Answer, bool), SandboxError> {
        let kind: &[u8] = if matches!(test.expect, Expect::Examined) { b"S" } else { b"E" };
        self.run.send(&[kind, source.as_bytes()]);
        let mut clock = self.run.clock(&self.limits);
        let mut clock_of_program: Option<Clock> = None;
        let max = HEAD + CALL_BYTES.max(self.limits.output() as usize);
        loop {
            let turn = Instant::now();
            let reply = self.run.receive(&mut clock, max)?;
            if let Some(clock) = &mut clock_of_program {
                clock.stood_since(turn);
            }
            let Reply::Frame(frame) = reply else {
                return self.unanswered(&reply, clock_of_program.is_some());
            };
            let broken = || SandboxError::Lost("the process of the tests answered nonsense".into());
            let (kind, said) = body(&frame, &self.nonce, self.tests).ok_or_else(broken)?;
            let passed_on: &[u8] = match kind {
                b'Q' => b"C",
                b'A' => b"A",
                b'Y' => b"Y",
                _ => {
                    self.tests += 1;
                    if kind == b'X' {
                        let texts = format!("{}\n{source}", subject.program.spec.setup);
                        no_such_name(subject.program, &texts, &String::from_utf8_lossy(said))?;
                    }
                    return verdict(kind, said, test, subject).map(|answer| (answer, true));
                }
            };
            let turn = Instant::now();
            subject.send(&[passed_on, said])?;
            let clock_of_program = clock_of_program.get_or_insert_with(|| subject.clock());
            if let Some(answer) = self.pass_back(subject, test, clock_of_program)? {
                // The test is left where it is: its answer is known, and its process is ended with the program's.
                return Ok((answer, false));
            }
            clock.stood_since(turn);
        }
    }

    /// Waits for the program, and hands what it says to the test; `Some` when that ends the test.
    fn pass_back(
        &mut self,
        subject: &mut Subject<'_>,
        test: &Test,
        clock: &mut Clock,
    ) -> Result<Option<Answer>, SandboxError> {
        let reply = subject.answer(clock)?;
        let Reply::Frame(frame) = &reply else { return Ok(Some(unanswered(&reply, &subject.program.limits))) };
        Ok(match body(frame, &subject.nonce, subject.frames - 1) {
            // A value, an exception that the test may want, a question about what it lent.
            Some((kind @ (b'V' | b'Y' | b'Q'), said)) if Value::decode(said).is_some() => {
                self.run.send(&[&[kind], said]);
                None
            }
            _ => {
                let max = subject.program.limits.output() as usize;
                Some(of_frame(frame, &subject.nonce, subject.frames - 1, test, max, subject.program.settings))
            }
        })
    }

    /// A test that fails before it asks the program anything is broken; later, what it was answered may be why.
    fn unanswered(&self, reply: &Reply, asked: bool) -> Result<(Answer, bool), SandboxError> {
        match unanswered(reply, &self.limits) {
            Answer::Ended => Err(SandboxError::Lost("the process of the tests ended".into())),
            _ if !asked => Err(SandboxError::Untestable(format!(
                "the test is over its limits before it asks the program anything ({reply:?})"
            ))),
            other => Ok((other, false)),
        }
    }
}

/// What the test said at its end.
fn verdict(kind: u8, said: &[u8], test: &Test, subject: &Subject<'_>) -> Result<Answer, SandboxError> {
    let text = || String::from_utf8_lossy(said).into_owned();
    let wrong = |word, text: &str| Ok(Answer::Wrong(word, text.into()));
    match kind {
        b'D' => Ok(Answer::Right),
        b'V' => match Value::decode(said) {
            Some(value) if test.expect.met_by(&value, subject.program.settings) => Ok(Answer::Right),
            Some(_) => wrong(Word::WrongAnswer, "the value differs"),
            None => Err(SandboxError::Lost("the process of the tests answered nonsense".into())),
        },
        b'X' if said.starts_with(b"AssertionError") => wrong(Word::WrongAnswer, "the assert does not hold"),
        b'X' => wrong(Word::RuntimeError, &text()),
        b'R' => wrong(Word::WrongAnswer, &format!("where a plain Python value is wanted the program has {}", text())),
        b'U' => Err(SandboxError::Untestable(format!("{}; code.raw_asserts runs it beside the program", text()))),
        b'L' => Err(SandboxError::Untestable(format!("what the tests share does not run: {}", text()))),
        _ => Err(SandboxError::Lost("the process of the tests answered nonsense".into())),
    }
}
