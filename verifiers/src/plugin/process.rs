//! A plugin as a child process that answers a line with a line.
//!
//! Nothing here waits without a deadline: one thread reads what the child writes, one writes what it is to read, one keeps
//! the end of what it says on stderr. A child that is given up is killed with its whole process group, and with what has left that.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::confine::{Confinement, Mark};
use super::protocol::NoScores;

/// Bytes of stderr that are kept for messages.
const STDERR_BYTES: usize = 4_096;

/// How long a child may take to end by itself when its stdin is closed.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why a plugin gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The first word of the command.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("no answer within {seconds:.1} s{stderr}")]
    Timeout {
        /// How long it had.
        seconds: f64,
        /// The last line of its stderr.
        stderr: String,
    },
    /// It ended.
    #[error("it ended {how}{stderr}")]
    Died {
        /// By an exit code or a signal.
        how: String,
        /// The last line of its stderr.
        stderr: String,
    },
    /// It wrote more than an answer may have.
    #[error("its answer is longer than {limit} bytes")]
    Flood {
        /// The limit.
        limit: usize,
    },
    /// It answered something else.
    #[error("{0}")]
    Nonsense(String),
    /// It cannot answer for these items together, and says why.
    #[error("{message}")]
    Refused {
        /// The kind of error, in its word.
        kind: String,
        /// What it says.
        message: String,
    },
    /// A remote plugin answered with a status that says that it failed on what it was asked.
    #[error("{0}")]
    Status(String),
    /// A remote plugin could not be asked.
    #[error("{0}")]
    Upstream(String),
}

impl Broken {
    /// The word for it in a verdict.
    pub fn kind(&self) -> &str {
        match self {
            Self::Refused { kind, .. } => kind,
            Self::Timeout { .. } => "timeout",
            Self::Start { .. } | Self::Died { .. } => "crash",
            Self::Flood { .. } => "flood",
            Self::Nonsense(_) => "nonsense",
            Self::Status(_) | Self::Upstream(_) => "upstream",
        }
    }
}

impl From<NoScores> for Broken {
    fn from(none: NoScores) -> Self {
        match none {
            NoScores::Nonsense(nonsense) => Self::Nonsense(nonsense.0),
            NoScores::Refused(error) => Self::Refused { kind: error.kind, message: error.message },
        }
    }
}

enum Heard {
    Line(Vec<u8>),
    TooLong,
}

/// A running plugin.
pub struct Process {
    child: Child,
    mark: Mark,
    /// `None` once it was told to end.
    requests: Option<SyncSender<Vec<u8>>>,
    answers: Receiver<Heard>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    stderr_reader: thread::JoinHandle<()>,
    limit: usize,
    killed: bool,
}

impl Process {
    /// Starts `command` in a process group of its own; a line of its answer has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Broken::Start`].
    pub fn start(command: &[String], confinement: &Confinement, limit: usize) -> Result<Self, Broken> {
        let program = command.first().cloned().unwrap_or_default();
        let start = || {
            let mut started = Command::new(&program);
            started.args(command.get(1..).unwrap_or_default());
            started.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let (mut child, mark) = confinement.spawn(started)?;
            let mut stdin = child.stdin.take().expect("it is piped");
            let stdout = child.stdout.take().expect("it is piped");
            let errors = child.stderr.take().expect("it is piped");
            let (requests, to_write) = sync_channel::<Vec<u8>>(1);
            let (heard, answers) = sync_channel(2);
            let stderr = Arc::new(Mutex::new(VecDeque::new()));
            let tail = Arc::clone(&stderr);
            // The threads end with the child: their pipes close.
            thread::spawn(move || {
                while let Ok(line) = to_write.recv() {
                    if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                        return;
                    }
                }
            });
            thread::spawn(move || read_lines(stdout, limit, &heard));
            let stderr_reader = thread::spawn(move || keep_tail(errors, &tail));
            Ok(Self { child, mark, requests: Some(requests), answers, stderr, stderr_reader, limit, killed: false })
        };
        start().map_err(|source| Broken::Start { program: program.clone(), source })
    }

    /// Sends a line and waits for one.
    ///
    /// # Errors
    /// [`Broken`]; the process is then of no more use.
    pub fn ask(&mut self, mut line: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let asked = Instant::now();
        line.push(b'\n');
        // There is room for one line, and none is on its way: this does not block. Where the writer is gone, so is the
        // child, and the reader says so.
        if let Some(requests) = &self.requests {
            let _ = requests.send(line);
        }
        self.hear(asked, deadline)
    }

    /// Waits for a line, and for another one where that was the answer to what was asked before.
    ///
    /// # Errors
    /// [`Broken`]; the process is then of no more use.
    pub fn hear(&mut self, asked: Instant, deadline: Instant) -> Result<Vec<u8>, Broken> {
        match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Heard::Line(line)) => Ok(line),
            Ok(Heard::TooLong) => Err(Broken::Flood { limit: self.limit }),
            Err(RecvTimeoutError::Timeout) => Err(Broken::Timeout {
                seconds: (deadline - asked).as_secs_f64(),
                stderr: self.last_words(Duration::ZERO),
            }),
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.how_it_ended();
                Err(Broken::Died { how, stderr: self.last_words(GOODBYE) })
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        use std::os::unix::process::ExitStatusExt;
        let until = Instant::now() + GOODBYE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    return match (status.code(), status.signal()) {
                        (Some(code), _) => format!("with exit code {code}"),
                        (None, signal) => format!("by signal {}", signal.unwrap_or(0)),
                    };
                }
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return "its output".into(),
            }
        }
    }

    /// The last line of stderr, as the end of a sentence.
    fn last_words(&self, patience: Duration) -> String {
        // What was written just before the end may still be on its way through the thread, which ends with the pipe unless
        // a grandchild holds that too.
        let until = Instant::now() + patience;
        while !self.stderr_reader.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        let mut tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(tail.make_contiguous()).into_owned();
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        last.map_or(String::new(), |line| format!("; its last words: {}", line.chars().take(300).collect::<String>()))
    }
}

impl Drop for Process {
    /// Lets an idle plugin end by itself, then kills what is left of its group.
    fn drop(&mut self) {
        self.requests = None;
        if self.killed {
            return;
        }
        let until = Instant::now() + GOODBYE;
        // A plugin that still owes an answer would not see the end of its input.
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(2));
        }
        self.kill();
    }
}

impl Process {
    /// Kills the whole group at once, and what has left it.
    pub fn kill(&mut self) {
        // Once it is reaped its number may become another's.
        if std::mem::replace(&mut self.killed, true) {
            return;
        }
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // The group may be gone, or the leader may have ended and left others behind.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.mark.kill_all();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout, limit: usize, heard: &SyncSender<Heard>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(limit as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.len() > limit => {
                // Nothing is read on, so the child blocks until it is killed.
                let _ = heard.send(Heard::TooLong);
                return;
            }
            Ok(_) => {}
        }
        if heard.send(Heard::Line(line)).is_err() {
            return;
        }
    }
}

fn keep_tail(mut stderr: ChildStderr, tail: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..n]);
        let over = tail.len().saturating_sub(STDERR_BYTES);
        tail.drain(..over);
    }
}
