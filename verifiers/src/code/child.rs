//! The child's side of a cell's launch, from fork to exec.
//!
//! Only system calls on memory that was made ready before are used here: another thread may have held any lock when the process forked.

use std::{os::fd::RawFd, ptr::null};

use super::cell::{Kind, Plan, Step};

/// Descriptors of the zygote beside its control socket, 3: the ruleset for its children, and the report of the launch.
const LANDLOCK_FD: RawFd = 4;
const STATUS_FD: RawFd = 5;
const CAP_SYS_ADMIN: u32 = 21;
/// Addresses below the interpreter's stack that nothing else is put into. How far the stack may grow is set for each run.
const STACK_ROOM: libc::rlim_t = 1 << 30;
pub(super) const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// The raw call: no handlers of the C library run, and the child goes on here with a copy of the stack.
///
/// # Safety
/// The child may use nothing but system calls.
pub(super) unsafe fn clone(flags: i32) -> i32 {
    // SAFETY: without CLONE_VM and with no new stack this is a fork.
    unsafe { libc::syscall(libc::SYS_clone, (flags | libc::SIGCHLD) as libc::c_ulong, 0, 0, 0, 0) as i32 }
}

/// What can go wrong between fork and exec, by the number that the child reports.
pub(super) const STEPS: [&str; 17] = [
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
pub(super) struct Child<'a> {
    pub plan: &'a Plan,
    /// The core that the cell stays on.
    pub core: Option<usize>,
    pub argv: &'a [*const libc::c_char],
    pub envp: &'a [*const libc::c_char],
    /// Standard input, output and error, then control, ruleset and status.
    pub fds: [RawFd; 6],
}

// SAFETY (of every block in this impl): each pointer handed to the kernel is to a live, NUL-terminated string of the plan, to a local,
// or null where the call allows it; the process has one thread and ends in exec or exit.
impl Child<'_> {
    pub fn run(&self) -> ! {
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
            if let Some(core) = self.core {
                // A core that has gone meanwhile is no reason not to start.
                let mut cores: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(core, &mut cores);
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const cores);
            }
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
            self.memory_layout();
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

    /// Room below the interpreter's stack for a deep recursion, as much in every cell: with addresses at random it would differ.
    fn memory_layout(&self) {
        // SAFETY: see above. Where either is refused, programs lose no more than that.
        unsafe {
            libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            let mut stack = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            if libc::getrlimit(libc::RLIMIT_STACK, &raw mut stack) == 0 {
                stack.rlim_cur = stack.rlim_max.min(STACK_ROOM);
                libc::setrlimit(libc::RLIMIT_STACK, &raw const stack);
            }
        }
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
