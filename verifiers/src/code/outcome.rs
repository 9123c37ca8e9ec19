//! What came of a program: the words of a judge, and the sums over its tests.

use std::time::Instant;

use super::{SandboxError, limits::Limits, zygote::Exit};

/// CPU seconds that a child needs before and after the program; they are nobody's fault.
const SETUP_CPU_S: f64 = 0.05;

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
    /// Written to standard output, or handed back as values.
    pub output_bytes: u64,
}

/// What came of one test.
pub(super) enum Answer {
    Right,
    Wrong(Word, String),
    /// The program could not be loaded, so no other test can fare better.
    Broken(Word, String),
    /// What the tests share did not run beside the program; whose fault that is must be found out.
    Shared(String),
    /// The child ended before it answered; how, only its end will tell.
    Ended,
}

impl Answer {
    /// True when the child may be given another test.
    pub fn leaves_child(&self) -> bool {
        match self {
            Self::Right => true,
            Self::Wrong(word, _) => !matches!(word, Word::TimeLimit | Word::OutputLimit | Word::MemoryLimit),
            Self::Broken(..) | Self::Shared(_) | Self::Ended => false,
        }
    }

    pub fn late(limits: &Limits) -> Self {
        let text = format!("over {} s of CPU time or {} s by the clock", limits.time_s, limits.wall_s);
        Self::Wrong(Word::TimeLimit, text)
    }

    pub fn too_long(limits: &Limits) -> Self {
        Self::Wrong(Word::OutputLimit, format!("more than {} KiB of output", limits.output_kb))
    }

    pub fn too_large(limits: &Limits) -> Self {
        Self::Wrong(Word::MemoryLimit, format!("over {} MiB of memory", limits.memory_mb))
    }
}

/// Sums over the children of a program.
pub(super) struct Tally {
    pub outcome: Outcome,
    /// What was said where the tests' shared code did not run beside the program.
    pub shared_failed: Option<String>,
    started: Instant,
    total: usize,
}

impl Tally {
    pub fn new(total: usize) -> Self {
        let outcome = Outcome {
            word: Word::Accepted,
            reason: String::new(),
            signal: None,
            passed: 0,
            cpu_s: 0.0,
            wall_s: 0.0,
            peak_memory_mb: 0.0,
            output_bytes: 0,
        };
        Self { outcome, shared_failed: None, started: Instant::now(), total }
    }

    /// The sums as they are now.
    pub fn finish(self) -> Outcome {
        let mut outcome = self.outcome;
        outcome.wall_s = self.started.elapsed().as_secs_f64();
        if outcome.word == Word::Accepted {
            debug_assert_eq!(outcome.passed, self.total, "only a program that passed every test is accepted");
            outcome.reason = format!("all {} tests passed", outcome.passed);
        }
        outcome
    }

    /// Counts a test; false when no further test need be run.
    pub fn count(&mut self, index: usize, answer: Answer, partial: bool) -> bool {
        let (word, text, go_on) = match answer {
            Answer::Right => {
                self.outcome.passed += 1;
                return true;
            }
            Answer::Wrong(word, text) => (word, text, partial),
            Answer::Broken(word, text) => (word, text, false),
            Answer::Shared(text) => {
                let reason = format!("what the tests share does not run beside the program: {text}");
                self.shared_failed = Some(text);
                (Word::RuntimeError, reason, false)
            }
            Answer::Ended => (Word::RuntimeError, "no result".into(), partial),
        };
        if self.outcome.word == Word::Accepted {
            self.outcome.word = word;
            self.outcome.reason = format!("test {}: {text}", index + 1);
        }
        go_on
    }

    pub fn add(&mut self, exit: &Exit) {
        self.outcome.cpu_s += exit.cpu_s;
        self.outcome.peak_memory_mb = self.outcome.peak_memory_mb.max(exit.peak_memory_mb);
    }

    /// Puts another word in place of the last test's: what the end of its child says weighs more.
    pub fn blame(&mut self, index: usize, answer: Answer) {
        if self.outcome.word == Word::Accepted {
            self.outcome.passed -= 1;
        }
        self.outcome.word = Word::Accepted;
        self.count(index, answer, false);
    }

    /// What a child's end says of the test that it did not answer.
    pub fn of_end(&mut self, exit: &Exit, limits: &Limits) -> Result<Answer, SandboxError> {
        let ran_out = |text: String| Ok(Answer::Wrong(Word::RuntimeError, format!("no result: {text}")));
        match exit.code {
            _ if exit.out_of_memory => Ok(Answer::too_large(limits)),
            _ if exit.killed => ran_out("the program closed its result channel".into()),
            Ok(code) => ran_out(format!("the program ended itself with exit code {code}")),
            Err(signal @ (libc::SIGKILL | libc::SIGXCPU)) if exit.cpu_s >= limits.time_s => {
                self.outcome.signal.get_or_insert(signal);
                Ok(Answer::Wrong(Word::TimeLimit, format!("over {} s of CPU time", limits.time_s)))
            }
            Err(libc::SIGKILL) if exit.machine_killed => Err(SandboxError::Lost(
                "the kernel killed a program, most likely for want of memory on this machine".into(),
            )),
            Err(signal) => {
                self.outcome.signal.get_or_insert(signal);
                ran_out(format!("killed by {}", signal_name(signal)))
            }
        }
    }
}

/// True when a test's processes together used more CPU time than it may, whatever a look at the first of them said.
pub(super) fn over_time(cpu_s: f64, limits: &Limits) -> bool {
    cpu_s > limits.time_s + SETUP_CPU_S
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
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGUSR2, "SIGUSR2"),
    ];
    known
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
