//! A command in a cell with tools: a compiler, a checker, or a program of another language than Python.
//!
//! The cell's child stays the first process of the namespace and starts the command as another, so that it can end what the command left,
//! and collect files when nobody can change them any more.

use std::{
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    SandboxError,
    cell::{Cell, Plan, Purpose},
    files::{nonce, sealed, sink, written},
    limits::Limits,
    outcome::over_time,
    zygote::Reply,
};

/// Nonce, index and kind in front of the answer; then status, two times and a size.
const HEAD: usize = 21;
const STATUS: usize = 28;
/// What the C library sets aside for a thread on most systems.
const THREAD_STACK: u64 = 8 << 20;

/// A file that a command finds in its directory.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub name: String,
    pub bytes: Arc<Vec<u8>>,
    pub executable: bool,
}

/// What to run.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub argv: Vec<String>,
    pub files: Vec<Given>,
    pub stdin: &'a [u8],
    pub fetch: Vec<String>,
    /// Bytes that a fetched file may have.
    pub fetch_limit: u64,
    pub limits: Limits,
    /// Addresses that a process may have are limited too, where no cgroup limits what it really uses.
    pub limit_addresses: bool,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Signal(i32),
    Late,
    TooLarge,
    TooLong,
}

/// What came of a command.
#[derive(Debug)]
pub(super) struct Finished {
    pub end: End,
    pub cpu_s: f64,
    pub wall_s: f64,
    pub peak_memory_mb: f64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub output_bytes: u64,
    /// For each of `fetch`; `None` where there was no such regular file, or it was too long.
    pub fetched: Vec<Option<Vec<u8>>>,
}

impl Command<'_> {
    /// Runs it. An error means that the sandbox failed.
    pub fn run(&self, cell: &mut Cell, plan: &Plan) -> Result<Finished, SandboxError> {
        let (stdin, stdout, stderr) = (sealed(self.stdin)?, sink()?, sink()?);
        let mut run = cell.start(Purpose::Tools, &self.limits, 1, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        let nonce = nonce();
        let order = self.order(plan, cell.group.is_some());
        let length = (order.len() as u32).to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![&nonce, b"X", &[0, 0], &length, order.as_bytes()];
        parts.extend(self.files.iter().map(|f| f.bytes.as_slice()));
        run.send(&parts);
        run.ready()?;
        // Until the command is there, the CPU time is that of the child that makes it ready.
        let mut clock = run.clock(&self.limits);
        let mut started = Instant::now();
        let max = HEAD + STATUS + self.fetch.len() * (5 + self.fetch_limit as usize);
        let mut reply = run.receive(&mut clock, max)?;
        if reply == Reply::Frame(b"P".to_vec()) {
            run.count_writer();
            clock = run.clock(&self.limits);
            started = Instant::now();
            // It waits for this, so that it has not begun when the clock does.
            run.send(&[b"go"]);
            reply = run.receive(&mut clock, max)?;
        }
        let wall: Duration = started.elapsed();
        let exit = cell.end(run, reply == Reply::Closed)?;
        let (output, output_bytes) = written(&stdout, self.limits.output())?;
        let (errors, error_bytes) = written(&stderr, self.limits.output())?;
        let mut finished = Finished {
            end: End::Late,
            cpu_s: exit.cpu_s,
            wall_s: wall.as_secs_f64(),
            peak_memory_mb: exit.peak_memory_mb,
            stdout: output,
            stderr: errors,
            output_bytes,
            fetched: vec![None; self.fetch.len()],
        };
        match reply {
            Reply::Frame(frame) => finished.read(&frame, &nonce).ok_or_else(lost)?,
            Reply::TooLarge => finished.end = End::TooLarge,
            Reply::Late => {}
            // The child that answers is not the program's to end; its group's limit of memory may have.
            Reply::Closed if exit.out_of_memory => {}
            Reply::Closed | Reply::TooLong => return Err(lost()),
        }
        if exit.out_of_memory || finished.says_out_of_memory() {
            finished.end = End::TooLarge;
        } else if matches!(finished.end, End::Exit(_) | End::Signal(_)) && over_time(exit.cpu_s, &self.limits) {
            finished.end = End::Late;
        }
        if finished.end != End::TooLarge && output_bytes.max(error_bytes) >= self.limits.output() {
            finished.end = End::TooLong;
        }
        Ok(finished)
    }

    fn order(&self, plan: &Plan, grouped: bool) -> String {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|f| json!([f.name, f.bytes.len(), if f.executable { 0o700 } else { 0o600 }]))
            .collect();
        let memory = if grouped || !self.limit_addresses { 0 } else { self.limits.memory_mb << 20 };
        // Where only what is used counts, the stack may grow as far as the memory goes. Threads set as much aside, each of them.
        let stack = if memory == 0 { self.limits.memory_mb << 20 } else { THREAD_STACK };
        let argv: Vec<String> = self.argv.iter().map(|a| self.filled(a)).collect();
        let env: serde_json::Map<String, serde_json::Value> = plan
            .environment()
            .filter(|entry| !entry.starts_with("PYTHON"))
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "argv": argv, "env": env, "files": files, "stdin": true, "fetch": self.fetch, "fetch_limit": self.fetch_limit,
            "memory": memory, "stack": stack, "file_size": self.limits.output(),
        })
        .to_string()
    }

    fn filled(&self, argument: &str) -> String {
        argument.replace("{memory_mb}", &self.limits.memory_mb.to_string())
    }
}

impl Finished {
    /// True for a program that ended itself because its runtime could get no more memory: V8 at its heap's limit, C++ without a handler.
    fn says_out_of_memory(&self) -> bool {
        let says = |words: &[u8]| self.stderr.windows(words.len()).any(|window| window == words);
        self.end == End::Signal(libc::SIGABRT) && (says(b"JavaScript heap out of memory") || says(b"std::bad_alloc"))
    }

    /// Reads the child's answer; `None` where it is none.
    fn read(&mut self, frame: &[u8], nonce: &[u8; 16]) -> Option<()> {
        let (head, body) = frame.split_at_checked(HEAD)?;
        let (about, mut files) = body.split_at_checked(STATUS)?;
        if head[..16] != *nonce || head[20] != b'W' {
            return None;
        }
        let seconds = |at: usize| Some(f64::from_be_bytes(about[at..at + 8].try_into().ok()?));
        let status = i32::from_be_bytes(about[..4].try_into().ok()?);
        self.cpu_s = seconds(4)? + seconds(12)?;
        self.end = if libc::WIFSIGNALED(status) {
            End::Signal(libc::WTERMSIG(status))
        } else {
            End::Exit(libc::WEXITSTATUS(status))
        };
        for fetched in &mut self.fetched {
            let (kind, rest) = files.split_first()?;
            files = rest;
            if *kind == b'+' {
                let (length, rest) = files.split_first_chunk::<4>()?;
                let (data, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                *fetched = Some(data.to_vec());
                files = rest;
            }
        }
        Some(())
    }
}

fn lost() -> SandboxError {
    SandboxError::Lost("the process that watches over a command did not answer".into())
}
