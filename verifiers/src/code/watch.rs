//! The watch over the memory of a tree of processes where there is no cgroup to limit it.
//!
//! Each process is bounded by its address space. Together they could hold as many times that as there may be processes; the watch adds up
//! their proportional shares, and the run is ended when the sum is over the limit. What is taken and given back between two looks is missed.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Between two looks. One costs a millisecond or two: every process of the machine is asked for its parent.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at one run.
#[derive(Debug)]
pub(super) struct Watch {
    limit: u64,
    next: Instant,
}

impl Watch {
    pub fn new(limit: u64) -> Self {
        Self { limit, next: Instant::now() + INTERVAL }
    }

    /// True when the processes from `first` down hold more than the limit. Looks only now and then.
    pub fn too_large(&mut self, first: Option<i32>) -> bool {
        let Some(first) = first.filter(|_| Instant::now() >= self.next) else { return false };
        let sum: u64 = of_run(first).into_iter().map(share).sum();
        self.next = Instant::now() + INTERVAL;
        sum > self.limit
    }
}

/// The processes of a run: a program and all below it, and its orphans, which the first process of their namespace inherits. That is the
/// program's neighbour, and shares the memory of the interpreter that started both, which is no part of the run.
fn of_run(program: i32) -> Vec<i32> {
    let Some(zygote) = parent(program) else { return Vec::new() };
    let outside = |pid: &i32| *pid == zygote || (*pid != program && parent(*pid) == Some(zygote));
    tree(zygote).into_iter().filter(|pid| !outside(pid)).collect()
}

/// A process and all below it.
pub(super) fn tree(first: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let pairs: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![first];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(pairs.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Proportional share of a process in bytes; 0 where it is gone.
fn share(pid: i32) -> u64 {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { return 0 };
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_a_process_and_what_it_started() {
        let mut child =
            std::process::Command::new("/bin/sh").args(["-c", "sleep 30 & wait"]).spawn().expect("there is a shell");
        let first = child.id() as i32;
        let deadline = Instant::now() + Duration::from_secs(5);
        while tree(first).len() < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let family = tree(first);
        let held: u64 = family.iter().copied().map(share).sum();
        for pid in &family {
            // SAFETY: no memory is handed over.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
        child.wait().expect("ended");
        assert_eq!(family.len(), 2, "{family:?}");
        assert!((10 << 10..100 << 20).contains(&held), "{held}");
    }
}
