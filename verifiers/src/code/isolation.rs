//! What stands between a program and the machine, said so that it can be printed.

use std::fmt;

use super::{
    cell::{Kind, Plan},
    cgroup::Version,
};

/// The layers in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// User, pid, mount, net, ipc and uts namespaces: a minimal read-only root, no network, a process tree that dies with its first process.
    pub namespaces: bool,
    /// The kernel's Landlock ABI; `None` where it has no Landlock.
    pub landlock_abi: Option<i32>,
    /// The interface by which memory and processes of the whole tree are limited; `None` where address space for each process, their number
    /// and a watch over their sum have to do.
    pub cgroup: Option<Version>,
    /// Programs run under another user id than Temper.
    pub other_user: bool,
    /// Why a better kind of cell was not to be had.
    pub missing: Vec<String>,
    /// The interpreter's version.
    pub python: String,
}

impl Isolation {
    pub(super) fn of(plan: &Plan, missing: Vec<String>) -> Self {
        Self {
            namespaces: plan.kind.namespaces(),
            landlock_abi: plan.landlock.as_ref().map(|l| l.abi),
            cgroup: plan.hierarchy.as_ref().map(|h| h.version),
            other_user: matches!(plan.kind, Kind::Root | Kind::ThinOther),
            missing,
            python: plan.python.version.clone(),
        }
    }

    /// Everything that this version knows is in force.
    pub fn is_full(&self) -> bool {
        self.namespaces && self.landlock_abi.is_some() && self.cgroup.is_some()
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", if self.is_full() { "full" } else { "reduced" })?;
        if self.namespaces {
            f.write_str("user, pid, mount, net, ipc and uts namespaces; ")?;
        }
        f.write_str("seccomp; ")?;
        if let Some(abi) = self.landlock_abi {
            write!(f, "Landlock ABI {abi}; ")?;
        }
        f.write_str("rlimits; no_new_privs; no capabilities; ")?;
        if self.other_user {
            f.write_str("own user id; ")?;
        }
        f.write_str(match self.cgroup {
            Some(Version::V2) => "memory and processes of the tree limited by cgroup v2",
            Some(Version::V1) => "memory and processes of the tree limited by cgroup v1",
            None => {
                "memory limited for each process and watched for the tree, processes by their user's limit, no cgroup"
            }
        })?;
        write!(f, "; Python {}", self.python)?;
        if !self.missing.is_empty() {
            write!(f, " (missing: {})", self.missing.join("; "))?;
        }
        Ok(())
    }
}
