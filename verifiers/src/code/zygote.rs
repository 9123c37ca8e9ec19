//! The supervisor's side of a run: starts a child of the zygote, talks to it under a clock, and ends it.
//!
//! A child's bytes are never trusted: frames are bounded, and a clock runs while they are awaited.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    SandboxError,
    cell::{Cell, Purpose},
    cgroup::Group,
    clock::{Clock, Left},
    limits::Limits,
    waits::{Waits, own_wait},
    watch::Watch,
};

/// A child that has not given up its privileges by then never will.
const SETUP_LIMIT: Duration = Duration::from_secs(20);
/// How often a waiting supervisor looks whether its caller is still there, and at the memory of the tree where no cgroup does.
const LOOK: Duration = Duration::from_millis(25);

/// A child of the zygote, from its start to [`Cell::end`].
#[derive(Debug)]
pub(super) struct Run {
    channel: UnixStream,
    /// The child's number on this side; the kernel attached it to the first bytes.
    pid: Option<i32>,
    /// Who wrote the bytes that were read last.
    writer: Option<i32>,
    /// The process whose CPU time counts: the child, or the command that it started.
    counted: Option<i32>,
    watch: Option<Watch>,
    waits: Waits,
    cancel: Arc<AtomicBool>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

/// What came of waiting for a frame.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Frame(Vec<u8>),
    /// The child ended.
    Closed,
    /// The CPU budget or the time by the clock is used up.
    Late,
    /// The child announced more than it may send.
    TooLong,
    /// All processes together hold more memory than they may.
    TooLarge,
}

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    /// `Err` holds the signal.
    pub code: Result<i32, i32>,
    /// It had not ended by itself.
    pub killed: bool,
    /// Of all its processes that were waited for.
    pub cpu_s: f64,
    /// Of the tree where there is a cgroup, else of its largest process.
    pub peak_memory_mb: f64,
    /// The kernel killed a process because the tree was over its limit of memory.
    pub out_of_memory: bool,
    /// The kernel killed one for want of memory on the machine.
    pub machine_killed: bool,
}

impl Cell {
    /// Forks a child. `stdio` replaces its standard input, output and error, as far as it goes.
    pub fn start(
        &mut self,
        purpose: Purpose,
        limits: &Limits,
        tests: usize,
        stdio: &[BorrowedFd<'_>],
    ) -> Result<Run, SandboxError> {
        let lost = |e: std::io::Error| SandboxError::Lost(format!("a run could not be started: {e}"));
        let (channel, inner) = UnixStream::pair().map_err(lost)?;
        channel.set_nonblocking(true).map_err(lost)?;
        pass_credentials(&channel).map_err(lost)?;
        let mut fds = vec![inner.as_raw_fd()];
        fds.extend(stdio.iter().map(AsRawFd::as_raw_fd));
        // The limit that counts is the clock's; this one stops what the clock does not see, the CPU time of grandchildren.
        let cpu = (limits.time_s.ceil() as u64).saturating_mul(tests as u64).saturating_add(2);
        let executes = purpose == Purpose::Tools;
        let processes = limits.processes + u64::from(executes);
        let watch = match &mut self.group {
            Some(group) => {
                group.begin(limits.tree(), processes).map_err(lost)?;
                None
            }
            None => Some(Watch::new(limits.tree())),
        };
        // The zygote is one of its user's processes.
        let words = [limits.addresses(), limits.output(), processes + 1, cpu, u64::from(executes)];
        send_fds(&self.control, &command(b'R', words), &fds).map_err(lost)?;
        Ok(Run {
            channel,
            pid: None,
            writer: None,
            counted: None,
            watch,
            waits: Waits::new(self.pid),
            cancel: Arc::clone(&self.cancel),
            inbox: Vec::new(),
            outbox: Vec::new(),
        })
    }

    /// Kills the child and all that it started, and says how it had ended. One that is `closed` is given a moment to end by itself.
    pub fn end(&mut self, run: Run, closed: bool) -> Result<Exit, SandboxError> {
        drop(run);
        let lost = |e: std::io::Error| SandboxError::Lost(format!("the interpreter of a cell is gone: {e}"));
        self.control.write_all(&command(if closed { b'W' } else { b'E' }, [0; 5])).map_err(lost)?;
        let mut answer = [0; 32];
        self.control.read_exact(&mut answer).map_err(lost)?;
        let word = |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().expect("four bytes"));
        let status = short(0) as i32;
        if status == -1 {
            let mut text = vec![0; short(28).min(4096) as usize];
            self.control.read_exact(&mut text).map_err(lost)?;
            return Err(SandboxError::Lost(format!("the zygote could not fork: {}", String::from_utf8_lossy(&text))));
        }
        let peak = self.group.as_ref().and_then(Group::peak_mb);
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        Ok(Exit {
            machine_killed: killed && self.group.as_ref().map_or_else(machine_kills_more, Group::machine_killed),
            code: if libc::WIFSIGNALED(status) { Err(libc::WTERMSIG(status)) } else { Ok(libc::WEXITSTATUS(status)) },
            killed: short(28) != 0,
            cpu_s: f64::from_bits(word(4)) + f64::from_bits(word(12)),
            peak_memory_mb: peak.unwrap_or(word(20) as f64 / 1024.0),
            out_of_memory: self.group.as_ref().is_some_and(Group::out_of_memory),
        })
    }
}

/// True where the kernel, since the last time that this was asked, killed some process of this machine for want of memory. Whose it was is
/// not known; asked again for the same program in a new cell, the answer is about that.
pub(super) fn machine_kills_more() -> bool {
    static LAST: AtomicU64 = AtomicU64::new(u64::MAX);
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0);
    LAST.swap(count, Ordering::Relaxed) != count
}

impl Run {
    /// Queues a frame; it is written while a reply is awaited, so that a child that does not read cannot hold up its supervisor.
    pub fn send(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        self.outbox.extend_from_slice(&(len as u32).to_be_bytes());
        parts.iter().for_each(|p| self.outbox.extend_from_slice(p));
        self.flush();
    }

    /// Waits until the child has given up its privileges. Whatever goes wrong before that is not the program's fault.
    pub fn ready(&mut self) -> Result<(), SandboxError> {
        match self.receive(&mut Clock::of_setup(SETUP_LIMIT), 4096)? {
            Reply::Frame(frame) if frame == b"H" => Ok(()),
            Reply::Frame(frame) if frame.first() == Some(&b'E') => Err(SandboxError::Lost(format!(
                "a child could not be confined: {}",
                String::from_utf8_lossy(&frame[1..])
            ))),
            other => Err(SandboxError::Lost(format!("a child did not start ({other:?})"))),
        }
    }

    /// A budget that starts now.
    pub fn clock(&mut self, limits: &Limits) -> Clock {
        self.waits.look(false);
        Clock::new(limits.time_s, limits.wall_s, self.cpu(), self.waits.total())
    }

    /// The next frame, of at most `max` bytes. An error where the machine kept the run waiting for too long; the run is then lost.
    pub fn receive(&mut self, clock: &mut Clock, max: usize) -> Result<Reply, SandboxError> {
        loop {
            if let Some(head) = self.inbox.first_chunk::<4>() {
                let len = u32::from_be_bytes(*head) as usize;
                if len > max {
                    return Ok(Reply::TooLong);
                }
                if self.inbox.len() >= 4 + len {
                    let rest = self.inbox.split_off(4 + len);
                    let frame = std::mem::replace(&mut self.inbox, rest);
                    return Ok(Reply::Frame(frame[4..].to_vec()));
                }
            }
            let mut part = [0; 65536];
            match receive_with_pid(&self.channel, &mut part) {
                Ok((0, _)) => return Ok(Reply::Closed),
                Ok((n, pid)) => {
                    self.inbox.extend_from_slice(&part[..n]);
                    self.writer = pid;
                    self.pid = self.pid.or(pid);
                    self.counted = self.counted.or(pid);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    let Some(wait) = self.left(clock)? else { return Ok(Reply::Late) };
                    if self.cancel.load(Ordering::Relaxed) {
                        return Ok(Reply::Late);
                    }
                    if self.watch.as_mut().is_some_and(|watch| watch.too_large(self.pid)) {
                        return Ok(Reply::TooLarge);
                    }
                    self.wait(clock, wait.min(LOOK));
                    self.flush();
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Reply::Closed),
            }
        }
    }

    /// How long to wait before the next look; `None` when the budget is used up.
    fn left(&mut self, clock: &Clock) -> Result<Option<Duration>, SandboxError> {
        let cpu = self.cpu();
        // Only a budget that looks used up is worth a look out of turn.
        self.waits.look(!matches!(clock.left(cpu, self.waits.total()), Left::For(_)));
        match clock.left(cpu, self.waits.total()) {
            Left::For(wait) => Ok(Some(wait)),
            Left::Nothing => Ok(None),
            Left::Patience(waited) => Err(SandboxError::Busy { waited_s: waited.as_secs_f64() }),
        }
    }

    fn wait(&mut self, clock: &mut Clock, wait: Duration) {
        let (waited, own) = (self.waits.total(), clock.is_slow().then(own_wait));
        let start = Instant::now();
        let writing = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        // An error or a signal only means to look again; the clock bounds the loop.
        let events = poll(&mut [PollFd::new(&self.channel, PollFlags::IN | writing)], Some(&timeout));
        let slept = start.elapsed();
        let lag = match own {
            // Without an event it was nobody's time but the program's.
            Some(before) if events == Ok(1) => own_wait().saturating_sub(before),
            _ => Duration::ZERO,
        };
        if slept > wait + LOOK {
            self.waits.look(false);
        }
        clock.slept(wait, slept, self.waits.total() - waited, lag);
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match (&self.channel).write(&self.outbox) {
                Ok(n) if n > 0 => drop(self.outbox.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                // A child that no longer reads is no error of ours; reading will tell how it ended.
                _ => self.outbox.clear(),
            }
        }
    }

    /// From now on the CPU time counts of the process that wrote last: the command that the child has started.
    pub fn count_writer(&mut self) {
        self.counted = self.writer;
    }

    /// CPU time of the counted process so far; zero before its first bytes and after its end.
    fn cpu(&self) -> Duration {
        let Some(pid) = self.counted else { return Duration::ZERO };
        // The kernel's number of "the CPU clock of process pid", scheduler's precision: include/linux/posix-timers_types.h.
        let clock = (!pid << 3) | 2;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a live timespec; a wrong clock is an error, not a fault.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return Duration::ZERO;
        }
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// `struct.Struct("<cQQQQQ")` of the runner.
fn command(kind: u8, words: [u64; 5]) -> Vec<u8> {
    [kind].into_iter().chain(words.into_iter().flat_map(u64::to_le_bytes)).collect()
}

fn pass_credentials(socket: &UnixStream) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is a live int of the length that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Room for one control message, aligned as the kernel's header wants it.
#[repr(align(8))]
struct Ancillary([u8; 64]);

pub(super) fn send_fds(socket: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> std::io::Result<()> {
    let mut ancillary = Ancillary([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the header points at live buffers; one message of at most four descriptors (32 bytes) fits the 64 of `ancillary`; the
    // kernel only reads.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if !fds.is_empty() {
            header.msg_control = ancillary.0.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(size_of_val(fds) as u32) as _;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = libc::SOL_SOCKET;
            (*message).cmsg_type = libc::SCM_RIGHTS;
            (*message).cmsg_len = libc::CMSG_LEN(size_of_val(fds) as u32) as _;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(message), size_of_val(fds));
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    };
    match sent {
        n if n == bytes.len() as isize => Ok(()),
        n if n < 0 => Err(std::io::Error::last_os_error()),
        _ => Err(std::io::Error::other("a command was cut")),
    }
}

/// Reads, and says who wrote.
fn receive_with_pid(socket: &UnixStream, buffer: &mut [u8]) -> std::io::Result<(usize, Option<i32>)> {
    let mut ancillary = Ancillary([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the header points at live buffers of the lengths given; a message is read only where the kernel says that there is one.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = ancillary.0.as_mut_ptr().cast();
        header.msg_controllen = ancillary.0.len() as _;
        let n = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC);
        if n < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        let credentials = !message.is_null()
            && (*message).cmsg_level == libc::SOL_SOCKET
            && (*message).cmsg_type == libc::SCM_CREDENTIALS
            && (*message).cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize;
        let pid = credentials.then(|| std::ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::ucred>()).pid);
        Ok((n as usize, pid))
    }
}
