//! Launches a cell: namespaces, a minimal read-only root, and the warm interpreter inside.
//!
//! As root the tree is built before the user id is given up, because the interpreter may lie where only root can look; an ordinary user
//! builds it inside its own user namespace. Where namespaces are refused, the thin cell has seccomp, Landlock and limits alone.
//!
//! Between the fork and the exec only system calls on memory that was made ready before are used: another thread may hold any lock.

use std::{
    ffi::CString,
    io::{Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::Path,
    ptr::null,
    time::Duration,
};

use super::{
    SandboxError,
    filter::{self, Filters, Landlock},
    python::Python,
    settings::CodeSettings,
};

const RUNNER: &str = include_str!("runner.py");
/// Descriptors of the zygote beside its control socket, 3: the ruleset for its children, and the report of the launch.
const LANDLOCK_FD: RawFd = 4;
const STATUS_FD: RawFd = 5;
/// An interpreter that has said nothing for this long is not going to.
const START_LIMIT: Duration = Duration::from_secs(30);
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;
const CAP_SYS_ADMIN: u32 = 21;

/// How a cell is set apart. In order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All namespaces; the root is built by root, which then becomes another user.
    Root,
    /// All namespaces, begun as an ordinary user.
    User,
    /// No namespaces; root becomes another user.
    ThinOther,
    /// No namespaces, the same user.
    Thin,
}

impl Kind {
    /// The kinds worth trying for who we are. Root without another user and without Landlock could write where it likes, so that is left out.
    pub fn ladder(root: bool, landlock: bool) -> Vec<Self> {
        match (root, landlock) {
            (true, true) => vec![Self::Root, Self::User, Self::ThinOther, Self::Thin],
            (true, false) => vec![Self::Root, Self::ThinOther],
            (false, _) => vec![Self::User, Self::Thin],
        }
    }

    pub fn namespaces(self) -> bool {
        matches!(self, Self::Root | Self::User)
    }
}

/// Everything that a launch needs, made ready once.
#[derive(Debug)]
pub(super) struct Plan {
    pub kind: Kind,
    pub python: Python,
    pub landlock: Option<Landlock>,
    filters: Filters,
    steps: Vec<Step>,
    argv: Vec<CString>,
    envp: Vec<CString>,
    uid: u32,
    uid_map: CString,
    gid_map: CString,
    scratch_mb: u32,
    output_bytes: u32,
}

/// One step of building the root, its paths as seen after the pivot (the host's tree is under `/old`).
#[derive(Debug)]
enum Step {
    Directory(CString),
    /// An empty file to bind on.
    File(CString),
    Bind {
        from: CString,
        to: CString,
        flags: u64,
    },
    Link {
        target: CString,
        at: CString,
    },
}

/// A running zygote.
#[derive(Debug)]
pub(super) struct Cell {
    pub control: UnixStream,
    pid: i32,
}

impl Plan {
    pub fn new(kind: Kind, python: Python, settings: &CodeSettings) -> Result<Self, SandboxError> {
        let ids = if kind == Kind::Root || kind == Kind::ThinOther {
            (settings.uid, settings.uid)
        } else {
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        };
        let landlock = filter::landlock(&python.readable)?;
        let argv = [python.executable.as_os_str().as_bytes(), b"-s", b"-S", b"-B", b"-c", RUNNER.as_bytes()];
        // `-I` would ignore the hash seed, and the order of a set would differ from cell to cell; with this environment it is `-I`.
        let scratch = if kind.namespaces() { "/box/tmp" } else { "/" };
        let envp = [
            "PATH=/usr/bin:/bin".to_owned(),
            "LANG=C.UTF-8".into(),
            "PYTHONHASHSEED=0".into(),
            "PYTHONSAFEPATH=1".into(),
            format!("HOME={scratch}"),
            format!("TMPDIR={scratch}"),
        ];
        Ok(Self {
            kind,
            filters: filter::seccomp(kind.namespaces())?,
            steps: if kind.namespaces() { root_steps(&python)? } else { Vec::new() },
            argv: argv.into_iter().map(c_string).collect::<Result<_, _>>()?,
            envp: envp.iter().map(|s| c_string(s.as_bytes())).collect::<Result<_, _>>()?,
            uid: settings.uid,
            uid_map: c_string(format!("1000 {} 1", ids.0).as_bytes())?,
            gid_map: c_string(format!("1000 {} 1", ids.1).as_bytes())?,
            scratch_mb: settings.scratch_mb,
            output_bytes: (settings.output_kb * 1024) as u32,
            landlock,
            python,
        })
    }

    /// Starts a cell and waits until its interpreter is warm.
    pub fn launch(&self) -> Result<Cell, SandboxError> {
        let io = |what: &'static str| move |e: std::io::Error| SandboxError::Launch { step: what, why: e.to_string() };
        let (control, inner) = UnixStream::pair().map_err(io("socketpair"))?;
        let (mut status, status_inner) = std::io::pipe().map_err(io("pipe"))?;
        let quiet = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(io("open /dev/null"))?;
        let log = rustix::fs::memfd_create("cell-log", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(|e| io("memfd_create")(e.into()))?;
        let argv: Vec<*const libc::c_char> = self.argv.iter().map(|s| s.as_ptr()).chain([null()]).collect();
        let envp: Vec<*const libc::c_char> = self.envp.iter().map(|s| s.as_ptr()).chain([null()]).collect();
        let landlock = self.landlock.as_ref().map_or(quiet.as_raw_fd(), |l| l.ruleset.as_raw_fd());
        let child = Child {
            plan: self,
            argv: &argv,
            envp: &envp,
            // Standard input, output and error, then control, ruleset and status.
            fds: [
                quiet.as_raw_fd(),
                quiet.as_raw_fd(),
                log.as_raw_fd(),
                inner.as_raw_fd(),
                landlock,
                status_inner.as_raw_fd(),
            ],
        };
        // SAFETY: the child uses only what `child` borrows, by system calls, and ends in exec or exit.
        let first = unsafe { clone(if self.kind == Kind::User { NAMESPACES } else { 0 }) };
        if first == 0 {
            child.run()
        }
        if first < 0 {
            return Err(io("clone")(std::io::Error::last_os_error()));
        }
        drop((inner, status_inner));
        let mut report = Vec::new();
        // The pipe ends at exec, or with the processes that hold it.
        status.read_to_end(&mut report).map_err(io("read the report of the launch"))?;
        let (pid, failure) = read_report(first, &report);
        if pid != first {
            reap(first);
        }
        // From here on `cell` owns the process, and its drop ends it.
        let mut cell = Cell { control, pid };
        if let Some((step, errno)) = failure {
            return Err(SandboxError::Launch { step, why: std::io::Error::from_raw_os_error(errno).to_string() });
        }
        cell.warm_up(self, log)?;
        Ok(cell)
    }
}

impl Cell {
    fn warm_up(&mut self, plan: &Plan, log: OwnedFd) -> Result<(), SandboxError> {
        let flags = u32::from(plan.kind.namespaces()) | (u32::from(plan.landlock.is_some()) << 1);
        let Filters { zygote, child } = &plan.filters;
        let words = [flags, plan.scratch_mb, plan.output_bytes, zygote.len() as u32, child.len() as u32];
        let mut config: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        config.extend_from_slice(zygote);
        config.extend_from_slice(child);
        let mut answer = [0; 5];
        let started = self
            .control
            .set_read_timeout(Some(START_LIMIT))
            .and_then(|()| self.control.write_all(&config))
            .and_then(|()| self.control.read_exact(&mut answer));
        match started {
            Ok(()) if answer == *b"ready" => Ok(()),
            Ok(()) => {
                Err(SandboxError::Launch { step: "start of the interpreter", why: "it answered nonsense".into() })
            }
            Err(e) => {
                let mut text = String::new();
                let mut log = std::fs::File::from(log);
                // The log is a help, no more: without it the error itself is told.
                let _ = log.rewind().and_then(|()| log.read_to_string(&mut text));
                let why = text.trim().lines().last().map_or_else(|| e.to_string(), str::to_owned);
                Err(SandboxError::Launch { step: "start of the interpreter", why })
            }
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // SAFETY: the process is ours and not yet reaped, so the number cannot be another's.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        reap(self.pid);
    }
}

fn reap(pid: i32) {
    // SAFETY: no memory is handed over; EINTR is the only error that is worth another try.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0 {
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Records of the launch: `P` and a pid (the zygote's, when the first process was only its builder), or a step's number and an errno.
fn read_report(first: i32, report: &[u8]) -> (i32, Option<(&'static str, i32)>) {
    let (mut pid, mut failure) = (first, None);
    for record in report.chunks_exact(5) {
        let number = i32::from_ne_bytes([record[1], record[2], record[3], record[4]]);
        match record[0] {
            b'P' => pid = number,
            step => failure = Some((STEPS.get(step as usize).copied().unwrap_or("launch"), number)),
        }
    }
    (pid, failure)
}

fn c_string(bytes: &[u8]) -> Result<CString, SandboxError> {
    CString::new(bytes).map_err(|e| SandboxError::Launch { step: "paths", why: e.to_string() })
}

/// The root: what the interpreter reads, five device nodes, and a place for the scratch directory.
fn root_steps(python: &Python) -> Result<Vec<Step>, SandboxError> {
    let mut steps = Vec::new();
    let mut made: Vec<std::path::PathBuf> = Vec::new();
    let mut parents = |path: &Path, steps: &mut Vec<Step>| -> Result<(), SandboxError> {
        let ancestors: Vec<&Path> = path.ancestors().skip(1).filter(|a| *a != Path::new("/")).collect();
        for ancestor in ancestors.into_iter().rev() {
            if !made.iter().any(|m| m == ancestor) {
                made.push(ancestor.to_owned());
                steps.push(Step::Directory(c_string(ancestor.as_os_str().as_bytes())?));
            }
        }
        Ok(())
    };
    let devices = ["null", "zero", "full", "random", "urandom"].map(|name| Path::new("/dev").join(name));
    let read_only = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let shown = python.readable.iter().map(|p| (p, read_only));
    let nodes = devices.iter().map(|p| (p, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID));
    for (path, flags) in shown.chain(nodes) {
        // `/lib` may be a link; what it names is bound where the link was.
        let real = path
            .canonicalize()
            .map_err(|e| SandboxError::Launch { step: "paths", why: format!("{}: {e}", path.display()) })?;
        parents(path, &mut steps)?;
        let to = c_string(path.as_os_str().as_bytes())?;
        steps.push(if real.is_dir() { Step::Directory(to.clone()) } else { Step::File(to.clone()) });
        let from = c_string(&[b"/old", real.as_os_str().as_bytes()].concat())?;
        steps.push(Step::Bind { from, to, flags });
    }
    for directory in ["/box", "/box/tmp"] {
        steps.push(Step::Directory(c_string(directory.as_bytes())?));
    }
    if !python.readable.iter().any(|p| p.starts_with("/tmp")) {
        steps.push(Step::Link { target: c_string(b"/box/tmp")?, at: c_string(b"/tmp")? });
    }
    Ok(steps)
}

/// The raw call: no handlers of the C library run, and the child goes on here with a copy of the stack.
///
/// # Safety
/// The child may use nothing but system calls.
unsafe fn clone(flags: i32) -> i32 {
    // SAFETY: without CLONE_VM and with no new stack this is a fork.
    unsafe { libc::syscall(libc::SYS_clone, (flags | libc::SIGCHLD) as libc::c_ulong, 0, 0, 0, 0) as i32 }
}

/// What can go wrong between fork and exec, by the number that the child reports.
const STEPS: [&str; 17] = [
    "",
    "descriptors",
    "change of user",
    "fork into the namespaces",
    "map of user ids",
    "private mounts",
    "tmpfs for the root",
    "pivot_root",
    "directory of the root",
    "bind mount",
    "read-only mount",
    "removal of the old root",
    "Landlock rule",
    "no_new_privs",
    "capabilities",
    "working directory",
    "exec of the interpreter",
];

/// The child's side of a launch, from fork to exec.
struct Child<'a> {
    plan: &'a Plan,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    fds: [RawFd; 6],
}

// SAFETY (of every block in this impl): each pointer handed to the kernel is to a live, NUL-terminated string of the plan, to a local,
// or null where the call allows it; the process has one thread and ends in exec or exit.
impl Child<'_> {
    fn run(&self) -> ! {
        self.descriptors();
        // SAFETY: see above.
        let proc_fd = unsafe { libc::open(c"/proc".as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) };
        match self.plan.kind {
            Kind::Root => {
                // SAFETY: see above.
                self.must(5, unsafe { libc::unshare(libc::CLONE_NEWNS) });
                self.build_root();
                self.change_user();
                // SAFETY: see above; the new process is the supervisor's child, not this one's, which ends.
                let pid = unsafe { clone(NAMESPACES | libc::CLONE_PARENT) };
                self.must(3, pid);
                if pid > 0 {
                    self.report(b'P', pid);
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(0) }
                }
                self.map_ids(proc_fd);
            }
            Kind::User => {
                self.map_ids(proc_fd);
                self.build_root();
            }
            Kind::ThinOther => self.change_user(),
            Kind::Thin => {}
        }
        self.finish()
    }

    fn report(&self, tag: u8, number: i32) {
        let [a, b, c, d] = number.to_ne_bytes();
        // SAFETY: see above.
        unsafe { libc::write(STATUS_FD, [tag, a, b, c, d].as_ptr().cast(), 5) };
    }

    /// Goes on if `result` is no error; else reports the step and ends.
    fn must(&self, step: u8, result: i32) {
        if result < 0 {
            // SAFETY: the C library's own errno.
            let errno = unsafe { *libc::__errno_location() };
            self.report(step, errno);
            // SAFETY: ends the process.
            unsafe { libc::_exit(70) }
        }
    }

    /// Moves the six descriptors to 0 … 5 and closes all others.
    fn descriptors(&self) {
        let mut high = [0; 6];
        for (high, fd) in high.iter_mut().zip(self.fds) {
            // SAFETY: see above. Above all targets, so that no move overwrites a source.
            *high = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 64) };
        }
        for (to, from) in high.into_iter().enumerate() {
            // SAFETY: see above.
            let moved = unsafe { libc::dup2(from, to as RawFd) };
            if moved == STATUS_FD {
                // SAFETY: see above.
                unsafe { libc::fcntl(STATUS_FD, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
            self.must(1, moved);
        }
        // SAFETY: see above.
        self.must(1, unsafe { libc::syscall(libc::SYS_close_range, STATUS_FD + 1, u32::MAX, 0) as i32 });
    }

    fn change_user(&self) {
        let id = self.plan.uid;
        // SAFETY: see above. Groups first: afterwards there is no right to drop them.
        unsafe {
            self.must(2, libc::syscall(libc::SYS_setgroups, 0, null::<libc::gid_t>()) as i32);
            self.must(2, libc::syscall(libc::SYS_setresgid, id, id, id) as i32);
            self.must(2, libc::syscall(libc::SYS_setresuid, id, id, id) as i32);
            // The change made the process undumpable, and its files in /proc root's.
            self.must(2, libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0));
        }
    }

    fn map_ids(&self, proc_fd: RawFd) {
        let deny = c"deny";
        for (file, text) in
            [(c"self/setgroups", deny), (c"self/uid_map", &*self.plan.uid_map), (c"self/gid_map", &*self.plan.gid_map)]
        {
            // SAFETY: see above.
            unsafe {
                let fd = libc::openat(proc_fd, file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                self.must(4, fd);
                self.must(4, libc::write(fd, text.as_ptr().cast(), text.count_bytes()) as i32);
                libc::close(fd);
            }
        }
    }

    fn build_root(&self) {
        let none = null::<libc::c_char>();
        // SAFETY: see above.
        unsafe {
            self.must(5, libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, null()));
            let options = c"size=1m,nr_inodes=1024,mode=755";
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            // Covers /tmp for an instant: after the pivot the host's own is at /old/tmp again.
            self.must(
                6,
                libc::mount(c"tmpfs".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast()),
            );
            self.must(7, libc::chdir(c"/tmp".as_ptr()));
            self.must(7, libc::mkdir(c"old".as_ptr(), 0o755));
            self.must(7, libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c"old".as_ptr()) as i32);
            self.must(7, libc::chdir(c"/".as_ptr()));
            libc::umask(0o022);
        }
        for step in &self.plan.steps {
            self.build(step);
        }
        // SAFETY: see above.
        unsafe {
            self.must(11, libc::umount2(c"/old".as_ptr(), libc::MNT_DETACH));
            self.must(11, libc::rmdir(c"/old".as_ptr()));
        }
        self.set_attributes(c"/", libc::MOUNT_ATTR_RDONLY, 0);
    }

    fn build(&self, step: &Step) {
        let none = null::<libc::c_char>();
        // SAFETY: see above.
        unsafe {
            match step {
                Step::Directory(path) => {
                    if libc::mkdir(path.as_ptr(), 0o755) < 0 && *libc::__errno_location() != libc::EEXIST {
                        self.must(8, -1);
                    }
                }
                Step::File(path) => {
                    let fd = libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o644);
                    self.must(8, fd);
                    libc::close(fd);
                }
                Step::Link { target, at } => self.must(8, libc::symlink(target.as_ptr(), at.as_ptr())),
                Step::Bind { from, to, flags } => {
                    // Recursive: a mount inside cannot be left out in a user namespace.
                    self.must(9, libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND | libc::MS_REC, null()));
                    self.set_attributes(to, *flags, libc::AT_RECURSIVE);
                }
            }
        }
    }

    fn set_attributes(&self, path: &std::ffi::CStr, flags: u64, at_flags: i32) {
        let attributes = libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: 0, userns_fd: 0 };
        // SAFETY: see above.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                path.as_ptr(),
                at_flags,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        self.must(10, result as i32);
    }

    fn finish(&self) -> ! {
        let plan = self.plan;
        // SAFETY: see above.
        unsafe {
            libc::setsid();
            if plan.kind.namespaces() {
                libc::sethostname(c"cell".as_ptr(), 4);
                if let Some(landlock) = &plan.landlock {
                    self.allow_beneath(c"/box", landlock.scratch);
                    self.allow_beneath(c"/dev", landlock.devices);
                }
                self.must(15, libc::chdir(c"/box/tmp".as_ptr()));
            } else {
                self.must(15, libc::chdir(c"/".as_ptr()));
            }
            let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            self.must(13, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
            self.capabilities();
            // After the last change of user and capabilities, which would clear it. The control socket ends a cell whose supervisor died before this.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            let signals: libc::sigset_t = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_SETMASK, &raw const signals, std::ptr::null_mut());
            libc::execve(plan.argv[0].as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
        }
        self.must(16, -1);
        unreachable!("a failed exec ends the process")
    }

    fn allow_beneath(&self, path: &std::ffi::CStr, rights: u64) {
        /// `struct landlock_path_beneath_attr`
        #[repr(C, packed)]
        struct Beneath {
            rights: u64,
            parent: i32,
        }
        const PATH_BENEATH: i32 = 1;
        // SAFETY: see above.
        unsafe {
            let parent = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            self.must(12, parent);
            let rule = Beneath { rights, parent };
            let added = libc::syscall(libc::SYS_landlock_add_rule, LANDLOCK_FD, PATH_BENEATH, &raw const rule, 0);
            self.must(12, added as i32);
            libc::close(parent);
        }
    }

    /// Leaves the zygote the one capability, within its own user namespace, that it needs to make its children's namespaces; they drop it.
    fn capabilities(&self) {
        let kept: u32 = if self.plan.kind.namespaces() { 1 << CAP_SYS_ADMIN } else { 0 };
        for capability in 0..64 {
            if capability != CAP_SYS_ADMIN || kept == 0 {
                // SAFETY: see above. Beyond the kernel's last capability, or without the right to drop, there is nothing to lose.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            }
        }
        // Version 3, this process; effective, permitted, inheritable, and the upper halves.
        let header: [u32; 2] = [0x2008_0522, 0];
        let sets: [u32; 6] = [kept, kept, kept, 0, 0, 0];
        // SAFETY: see above.
        unsafe {
            self.must(14, libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) as i32);
            if kept != 0 {
                self.must(14, libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
            }
        }
    }
}
