//! Tests that call a program's functions, and tests that are code: one child for the program, and where tests are code another one for them.

use super::{
    SandboxError,
    cell::{Cell, Purpose},
    clock::Clock,
    examiner::Examiner,
    files::nonce,
    judge::{HEAD, Program, of_frame, send_program, undefined},
    limits::Limits,
    outcome::{Answer, Tally, Word, over_time},
    tests_spec::{Input, Test},
    zygote::{Reply, Run},
};

/// A child that holds the program, and how many frames it has sent.
pub(super) struct Subject<'a> {
    run: Run,
    pub nonce: [u8; 16],
    pub frames: u32,
    fresh: bool,
    pub program: &'a Program<'a>,
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
            _ => subject.test(test, tally).map(|answer| (answer, true)),
        };
        let (answer, whole) = match answer {
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
        let alive = answer.leaves_child() && whole;
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
        Ok(Self { run, nonce, frames: 0, fresh: true, program })
    }

    /// Sends a frame.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), SandboxError> {
        self.run.send(parts);
        if std::mem::take(&mut self.fresh) {
            self.run.ready()?;
        }
        Ok(())
    }

    /// The budget of a test, from now on.
    pub fn clock(&mut self) -> Clock {
        self.run.clock(&self.program.limits)
    }

    pub fn answer(&mut self, clock: &mut Clock) -> Result<Reply, SandboxError> {
        let reply = self.run.receive(clock, HEAD + 1024 + self.program.limits.output() as usize)?;
        self.frames += 1;
        Ok(reply)
    }

    fn test(&mut self, test: &Test, tally: &mut Tally) -> Result<Answer, SandboxError> {
        let (kind, body): (&[u8], &[u8]) = match &test.input {
            Input::Arguments(encoded) => (b"A", encoded),
            Input::Expression(source) => (b"E", source.as_bytes()),
            Input::Statement(source) | Input::Stdin(source) | Input::Code(source) => (b"S", source.as_bytes()),
        };
        self.send(&[kind, body])?;
        let mut clock = self.clock();
        let reply = self.answer(&mut clock)?;
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
                of_frame(&frame, &self.nonce, self.frames - 1, test, max, self.program.settings)
            }
            other => unanswered(&other, limits),
        }
    }
}

/// An error where a test uses a name that nobody defines.
pub(super) fn no_such_name(program: &Program<'_>, source: &str, said: &str) -> Result<(), SandboxError> {
    match undefined(program, source, said) {
        None => Ok(()),
        Some(name) => {
            Err(SandboxError::Untestable(format!("the test uses `{name}`, which neither it nor the program defines")))
        }
    }
}

/// What a test is when its child did not answer.
pub(super) fn unanswered(reply: &Reply, limits: &Limits) -> Answer {
    match reply {
        Reply::Late => Answer::late(limits),
        Reply::TooLong => Answer::too_long(limits),
        Reply::TooLarge => Answer::too_large(limits),
        Reply::Closed | Reply::Frame(_) => Answer::Ended,
    }
}
