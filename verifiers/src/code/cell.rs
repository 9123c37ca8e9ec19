//! Launches a cell: namespaces, a minimal read-only root, and the warm interpreter inside.
//!
//! As root the tree is built before the user id is given up, because the interpreter may lie where only root can look; an ordinary user
//! builds it inside its own user namespace. Where namespaces are refused, the thin cell has seccomp, Landlock and limits alone.
//!
//! What happens between the fork and the exec is in `child.rs`.

use std::{
    ffi::CString,
    io::{Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    ptr::null,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use super::{
    SandboxError,
    cgroup::{Group, Hierarchy},
    child::{Child, NAMESPACES, STEPS, clone},
    filter::{self, Filters, Landlock},
    python::Python,
    settings::CodeSettings,
    zygote::send_fds,
};

/// The runner's parts in one text, as the interpreter is given it.
const RUNNER: &str = concat!(
    include_str!("runner/zygote.py"),
    "\n\n",
    include_str!("runner/shared.py"),
    "\n\n",
    include_str!("runner/calls.py"),
    "\n\n",
    include_str!("runner/awaited.py"),
    "\n\n",
    include_str!("runner/objects.py"),
    "\n\n",
    include_str!("runner/scripts.py"),
    "\n\n",
    include_str!("runner/execute.py"),
    "\n\n",
    include_str!("runner/examine.py"),
    "\n\n",
    include_str!("runner/suites.py"),
    "\n\n",
    include_str!("runner/texts.py"),
    "\n\n",
    include_str!("runner/handles.py"),
    "\n\n",
    include_str!("runner/meanings.py"),
    "\n\n",
    "main()\n"
);
/// An interpreter that has said nothing for this long is not going to.
const START_LIMIT: Duration = Duration::from_secs(30);

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

/// What a cell is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Programs for the warm interpreter: nothing can be executed.
    Warm,
    /// Compilers, checkers and programs of other languages: the machine's tools are there, and can be executed.
    Tools,
}

/// Everything that a launch needs, made ready once.
#[derive(Debug)]
pub(super) struct Plan {
    pub kind: Kind,
    pub hierarchy: Option<Hierarchy>,
    pub python: Python,
    pub landlock: Option<Landlock>,
    filters: Filters,
    pub steps: Vec<Step>,
    pub argv: Vec<CString>,
    envp: Vec<CString>,
    pub uid: u32,
    pub uid_map: CString,
    pub gid_map: CString,
    scratch_mb: u32,
}

/// One step of building the root, its paths as seen after the pivot (the host's tree is under `/old`).
#[derive(Debug)]
pub(super) enum Step {
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
    pub pid: i32,
    /// After the process in the order of dropping: a group is removed when it is empty.
    pub group: Option<Group>,
    /// The caller of the run in hand no longer wants it when this is set.
    pub cancel: Arc<AtomicBool>,
}

impl Plan {
    /// `shown`: paths beside the interpreter's own that must be readable, and executable for [`Purpose::Tools`].
    pub fn new(
        kind: Kind,
        purpose: Purpose,
        mut python: Python,
        shown: &[PathBuf],
        hierarchy: Option<Hierarchy>,
        settings: &CodeSettings,
    ) -> Result<Self, SandboxError> {
        python.show(shown);
        let ids = if kind == Kind::Root || kind == Kind::ThinOther {
            (settings.uid, settings.uid)
        } else {
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        };
        let tools = purpose == Purpose::Tools;
        let landlock = filter::landlock(&python.readable, tools)?;
        let argv = [python.executable.as_os_str().as_bytes(), b"-s", b"-S", b"-B", b"-c", RUNNER.as_bytes()];
        // `-I` would ignore the hash seed, and the order of a set would differ from cell to cell; with this environment it is `-I`.
        let scratch = if kind.namespaces() { "/box/tmp" } else { "/" };
        let packages = settings.packages.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(":");
        let mut envp = vec![
            "PATH=/usr/bin:/bin".to_owned(),
            "LANG=C.UTF-8".into(),
            "PYTHONHASHSEED=0".into(),
            "PYTHONSAFEPATH=1".into(),
            format!("HOME={scratch}"),
            format!("TMPDIR={scratch}"),
        ];
        if !packages.is_empty() {
            envp.push(format!("PYTHONPATH={packages}"));
        }
        Ok(Self {
            kind,
            hierarchy,
            filters: filter::seccomp(kind.namespaces(), tools)?,
            steps: if kind.namespaces() { root_steps(&python)? } else { Vec::new() },
            argv: argv.into_iter().map(c_string).collect::<Result<_, _>>()?,
            envp: envp.iter().map(|s| c_string(s.as_bytes())).collect::<Result<_, _>>()?,
            uid: settings.uid,
            uid_map: c_string(format!("1000 {} 1", ids.0).as_bytes())?,
            gid_map: c_string(format!("1000 {} 1", ids.1).as_bytes())?,
            scratch_mb: settings.scratch_mb,
            landlock,
            python,
        })
    }

    /// The environment of a run, for commands.
    pub fn environment(&self) -> impl Iterator<Item = &str> {
        self.envp.iter().map(|entry| entry.to_str().expect("made of strings"))
    }

    /// Starts a cell, on one core if so wanted, and waits until its interpreter is warm.
    pub fn launch(&self, core: Option<usize>) -> Result<Cell, SandboxError> {
        let io = |what: &'static str| move |e: std::io::Error| SandboxError::Launch { step: what, why: e.to_string() };
        let group = self.hierarchy.as_ref().map(Group::create).transpose().map_err(io("cgroup"))?;
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
            core,
            argv: &argv,
            envp: &envp,
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
        let mut cell = Cell { control, pid, group, cancel: Arc::default() };
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
        let words = [flags, plan.scratch_mb, zygote.len() as u32, child.len() as u32];
        let mut config: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        config.extend_from_slice(zygote);
        config.extend_from_slice(child);
        let doors = self.group.as_ref().map_or(Ok(Vec::new()), Group::doors);
        let doors = doors.map_err(|e| SandboxError::Launch { step: "cgroup", why: e.to_string() })?;
        let door_fds: Vec<i32> = doors.iter().map(AsRawFd::as_raw_fd).collect();
        let mut answer = [0; 5];
        let started = self
            .control
            .set_read_timeout(Some(START_LIMIT))
            .and_then(|()| send_fds(&self.control, b"D", &door_fds))
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
    steps.push(Step::Link { target: c_string(b"/box/tmp/.stdin")?, at: c_string(b"/dev/stdin")? });
    if !python.readable.iter().any(|p| p.starts_with("/tmp")) {
        steps.push(Step::Link { target: c_string(b"/box/tmp")?, at: c_string(b"/tmp")? });
    }
    Ok(steps)
}
