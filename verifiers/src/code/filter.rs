//! What a program may ask of the kernel: a seccomp allow-list, and a Landlock ruleset.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule,
};

use super::SandboxError;

/// `CLONE_NEWTIME | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`: a new user namespace would give capabilities back.
const CLONE_NAMESPACES: u64 = 0x7e02_0080;
const TCGETS: u64 = 0x5401;
const FIONREAD: u64 = 0x541b;
const FIONBIO: u64 = 0x5421;
const FIOCLEX: u64 = 0x5451;
const FIONCLEX: u64 = 0x5450;

/// System calls that need no look at their arguments, with or without namespaces around the program.
#[rustfmt::skip]
const COMMON: &[i64] = &[
    // files that are open, and reading the tree
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_lseek,
    libc::SYS_close, libc::SYS_close_range, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir,
    libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_ftruncate, libc::SYS_fsync,
    libc::SYS_fdatasync, libc::SYS_umask, libc::SYS_eventfd2, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_sendfile, libc::SYS_copy_file_range,
    // memory
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_msync, libc::SYS_brk,
    libc::SYS_membarrier,
    // threads, time, identity
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_set_tid_address, libc::SYS_rseq, libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity, libc::SYS_getcpu, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime,
    libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getrandom, libc::SYS_getpid, libc::SYS_getppid,
    libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid,
    libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_uname, libc::SYS_sysinfo,
    libc::SYS_getrusage, libc::SYS_getitimer, libc::SYS_setitimer,
    // signals to oneself, and the end
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend, libc::SYS_sigaltstack, libc::SYS_restart_syscall, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_shutdown, libc::SYS_getsockname,
];

/// The same, for calls that newer architectures no longer have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const COMMON_OLD: &[i64] = &[
    libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_getdents, libc::SYS_dup2, libc::SYS_pipe,
    libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_epoll_create, libc::SYS_time, libc::SYS_pause, libc::SYS_alarm,
    libc::SYS_getpgrp, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const COMMON_OLD: &[i64] = &[];

/// Allowed only where the program has its own process and mount namespaces: signals, and changes to its scratch directory.
#[rustfmt::skip]
const CONTAINED: &[i64] = &[
    libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_setsid, libc::SYS_setpgid, libc::SYS_openat, libc::SYS_mkdirat,
    libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_symlinkat, libc::SYS_linkat, libc::SYS_fchmod,
    libc::SYS_fchmodat, libc::SYS_utimensat, libc::SYS_truncate, libc::SYS_fallocate,
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const CONTAINED_OLD: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_symlink,
    libc::SYS_link, libc::SYS_chmod, libc::SYS_fork, libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const CONTAINED_OLD: &[i64] = &[];

/// What compilers, checkers and programs of other languages need besides.
#[rustfmt::skip]
const TOOLS: &[i64] = &[
    libc::SYS_execve, libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_fadvise64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_capget,
    libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_getpriority, libc::SYS_mincore, libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime, libc::SYS_timer_create, libc::SYS_timer_settime, libc::SYS_timer_delete,
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const TOOLS_OLD: &[i64] = &[libc::SYS_getrlimit, libc::SYS_utime, libc::SYS_utimes];
#[cfg(not(target_arch = "x86_64"))]
const TOOLS_OLD: &[i64] = &[];

/// What the zygote needs besides, to make its children's namespaces, start and end them; and they, to give up their rights.
#[rustfmt::skip]
const ZYGOTE: &[i64] = &[
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_setns, libc::SYS_unshare, libc::SYS_recvmsg, libc::SYS_capset,
    libc::SYS_landlock_restrict_self,
];

/// Options of `prctl` for the same.
const ZYGOTE_PRCTL: [u64; 2] = [libc::PR_SET_SECCOMP as u64, libc::PR_SET_PDEATHSIG as u64];

/// The same where a program may not have these itself.
const ZYGOTE_THIN: &[i64] = &[libc::SYS_kill, libc::SYS_setsid];

/// Two filters, each as the bytes of `struct sock_filter`s. The kernel works through a filter's whole table when it is installed, which
/// for the long one takes longer than the fork: the zygote installs it once, and each child adds the short one.
#[derive(Debug)]
pub(super) struct Filters {
    /// The allow-list, with what the zygote needs.
    pub zygote: Vec<u8>,
    /// Takes from a child what only the zygote needs.
    pub child: Vec<u8>,
}

type Rules = std::collections::BTreeMap<i64, Vec<Rule>>;

fn when(argument: u8, len: Len, op: Op, value: u64) -> Result<Rule, seccompiler::BackendError> {
    Rule::new(vec![Condition::new(argument, len, op, value)?])
}

/// Calls that are allowed for some arguments only.
fn conditional(contained: bool) -> Result<Vec<(i64, Vec<Rule>)>, seccompiler::BackendError> {
    let each = |argument, values: &[u64]| {
        values.iter().map(|v| when(argument, Len::Dword, Op::Eq, *v)).collect::<Result<Vec<_>, _>>()
    };
    let harmless = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA].map(|option| option as u64);
    let options = [&harmless[..], &ZYGOTE_PRCTL].concat();
    let mut rules = vec![
        // Terminals can be typed into by ioctl (TIOCSTI); these only ask, or set a flag of the descriptor.
        (libc::SYS_ioctl, each(1, &[TCGETS, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX])?),
        // Its own limits only: those of another process of the same user would be in reach.
        (libc::SYS_prlimit64, each(0, &[0])?),
        // Event loops wake themselves over a pair; nothing else can be reached through one while no address is given.
        (libc::SYS_socketpair, each(0, &[libc::AF_UNIX as u64])?),
        (libc::SYS_sendto, vec![when(4, Len::Qword, Op::Eq, 0)?]),
        (libc::SYS_recvfrom, vec![when(4, Len::Qword, Op::Eq, 0)?]),
        (libc::SYS_prctl, each(0, &options)?),
        (libc::SYS_clone, vec![when(0, Len::Qword, Op::MaskedEq(CLONE_NAMESPACES), 0)?]),
    ];
    if !contained {
        let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;
        rules.push((libc::SYS_openat, vec![when(2, Len::Dword, Op::MaskedEq(writing), 0)?]));
        #[cfg(target_arch = "x86_64")]
        rules.push((libc::SYS_open, vec![when(1, Len::Dword, Op::MaskedEq(writing), 0)?]));
    }
    Ok(rules)
}

/// What the child's filter refuses of what the zygote's allows.
fn refused(contained: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ZYGOTE.iter().map(|number| (*number, Vec::new())).collect();
    // A program that makes the kernel kill it would look like one that the machine had no memory for.
    let lowers = vec![
        Condition::new(1, Len::Dword, Op::Eq, u64::from(libc::RLIMIT_CPU))?,
        Condition::new(2, Len::Qword, Op::Ne, 0)?,
    ];
    rules.insert(libc::SYS_prlimit64, vec![Rule::new(lowers)?]);
    let options = ZYGOTE_PRCTL.iter().map(|option| when(0, Len::Dword, Op::Eq, *option));
    rules.insert(libc::SYS_prctl, options.collect::<Result<_, _>>()?);
    if !contained {
        rules.extend(ZYGOTE_THIN.iter().map(|number| (*number, Vec::new())));
        // Without a process namespace nothing would end a process that the program left behind, so it gets threads only.
        rules.insert(libc::SYS_clone, vec![when(0, Len::Qword, Op::MaskedEq(libc::CLONE_THREAD as u64), 0)?]);
    }
    Ok(rules)
}

/// The filters for a cell with namespaces (`contained`) or without, and with the machine's `tools` or without.
///
/// Everything that is not allowed answers ENOSYS, not EPERM: the C library has another way for a call that is not there (`clone3`,
/// `openat2`, …) and none for one that is forbidden. Another architecture's calls end the process; x32 numbers match nothing.
pub(super) fn seccomp(contained: bool, tools: bool) -> Result<Filters, SandboxError> {
    let failed = |e: seccompiler::BackendError| SandboxError::Filter(e.to_string());
    let more = if contained { [CONTAINED, CONTAINED_OLD].concat() } else { ZYGOTE_THIN.to_vec() };
    let executing = if tools { [TOOLS, TOOLS_OLD].concat() } else { Vec::new() };
    let plain = [COMMON, COMMON_OLD, ZYGOTE, &more, &executing].concat();
    let mut allowed: Rules = plain.into_iter().map(|number| (number, Vec::new())).collect();
    allowed.extend(conditional(contained).map_err(failed)?);
    let no = SeccompAction::Errno(libc::ENOSYS as u32);
    Ok(Filters {
        zygote: compiled(allowed, no.clone(), SeccompAction::Allow).map_err(failed)?,
        child: compiled(refused(contained).map_err(failed)?, SeccompAction::Allow, no).map_err(failed)?,
    })
}

fn compiled(rules: Rules, others: SeccompAction, listed: SeccompAction) -> Result<Vec<u8>, seccompiler::BackendError> {
    let program: BpfProgram =
        SeccompFilter::new(rules, others, listed, std::env::consts::ARCH.try_into()?)?.try_into()?;
    let bytes = program.iter().flat_map(|i| {
        let [c0, c1] = i.code.to_ne_bytes();
        let [k0, k1, k2, k3] = i.k.to_ne_bytes();
        [c0, c1, i.jt, i.jf, k0, k1, k2, k3]
    });
    Ok(bytes.collect())
}

/// A ruleset that grants reading beneath `readable`, with `tools` executing too, and nothing else; the cell adds its own directories.
#[derive(Debug)]
pub(super) struct Landlock {
    pub ruleset: OwnedFd,
    /// The kernel's ABI version.
    pub abi: i32,
    /// Rights for a scratch directory.
    pub scratch: u64,
    /// Rights for the directory of device nodes.
    pub devices: u64,
}

/// `None` where the kernel has no Landlock.
pub(super) fn landlock(readable: &[std::path::PathBuf], tools: bool) -> Result<Option<Landlock>, SandboxError> {
    let failed = |e: landlock::RulesetError| SandboxError::Filter(e.to_string());
    let version = abi_version();
    // Beyond the seventh version there are rights that this cell has no use for, and no test here.
    let abi = ABI::from(version.min(7));
    if version < 1 {
        return Ok(None);
    }
    let all = AccessFs::from_all(abi);
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all).map_err(failed)?;
    if version >= 4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(failed)?;
    }
    if version >= 6 {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(failed)?;
    }
    let mut created = ruleset.create().map_err(failed)?;
    for path in readable {
        let Ok(fd) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        let rights = if tools { rights | AccessFs::Execute } else { rights };
        created = created.add_rule(PathBeneath::new(fd, rights)).map_err(failed)?;
    }
    let mut withheld = AccessFs::MakeChar | AccessFs::MakeBlock;
    if !tools {
        withheld |= AccessFs::Execute;
    }
    let scratch = (all & !withheld).bits();
    let devices = (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir).bits();
    let ruleset: Option<OwnedFd> = created.into();
    Ok(ruleset.map(|ruleset| Landlock { ruleset, abi: version, scratch, devices }))
}

fn abi_version() -> i32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call reads no memory; it answers a version or an error.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, CREATE_RULESET_VERSION) as i32
    }
}
