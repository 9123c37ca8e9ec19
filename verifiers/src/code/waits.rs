//! How long the processes of a run were kept waiting for a processor, which is no time of the program's.
//!
//! The kernel tells of every thread how long it has run, and how long it was ready to run and did not (`/proc/PID/task/TID/schedstat`, in
//! nanoseconds: Documentation/scheduler/sched-stats.rst). A wait shows there when it ends; one that goes on is told by the thread's state.
//! What counts is time in which some thread waited and none ran: several that wait count once, and those that wait for each other's turn
//! not at all.
//!
//! Runs that are done within [`SLOW`] never cause a look. Where the kernel or `/proc` tells nothing, nothing was waited.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::watch::tree;

/// Runs that take no longer are not looked at.
pub(super) const SLOW: Duration = Duration::from_millis(250);
/// Between two looks, so that little is missed of a process that ends between them. One costs a tenth of a millisecond.
const INTERVAL: Duration = Duration::from_millis(100);

/// A thread as it was seen at one look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Thread {
    ran: Duration,
    /// With what it is waiting now, as far as that is known.
    waited: Duration,
    /// It ran, or was ready to.
    ready: bool,
}

/// The waits of one run.
#[derive(Debug)]
pub(super) struct Waits {
    /// The parent of the run's processes, and of no others.
    zygote: i32,
    threads: HashMap<i32, Thread>,
    born: Instant,
    looked: Instant,
    /// A wait that ended after the last look may have begun before it: what did not fit into one interval is for the next.
    carried: Duration,
    total: Duration,
}

impl Waits {
    pub fn new(zygote: i32) -> Self {
        let now = Instant::now();
        Self { zygote, threads: HashMap::new(), born: now, looked: now, carried: Duration::ZERO, total: Duration::ZERO }
    }

    /// What was waited until the last look.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Looks, where the run is slow and the last look was a while ago, or where it is `urgent`.
    pub fn look(&mut self, urgent: bool) {
        let now = Instant::now();
        let due = now - self.born >= SLOW && now - self.looked >= INTERVAL;
        if due || urgent {
            self.count(threads_below(self.zygote), now - self.looked);
            self.looked = now;
        }
    }

    /// Adds what is new since the last look, `interval` ago.
    fn count(&mut self, seen: Vec<(i32, Thread)>, interval: Duration) {
        let (mut ran, mut waited) = (Duration::ZERO, Duration::ZERO);
        for (number, mut thread) in seen {
            let before = self.threads.get(&number).copied().filter(|before| before.ran <= thread.ran);
            let known = before.unwrap_or_default();
            if before.is_some_and(|b| b.ready && thread.ready && b.ran == thread.ran) {
                thread.waited = thread.waited.max(known.waited + interval);
            }
            thread.waited = thread.waited.max(known.waited);
            ran += thread.ran - known.ran;
            waited += thread.waited - known.waited;
            self.threads.insert(number, thread);
        }
        let due = waited + self.carried;
        let counted = due.min(interval.saturating_sub(ran));
        self.carried = (due - counted).min(interval);
        self.total += counted;
    }
}

/// How long the calling thread itself has waited for a processor so far.
pub(super) fn own_wait() -> Duration {
    schedstat("/proc/thread-self").map_or(Duration::ZERO, |(_, waited)| waited)
}

/// Every thread of the processes below one.
fn threads_below(first: i32) -> Vec<(i32, Thread)> {
    let mut found = Vec::new();
    // Without these lists every process of the machine has to be asked for its parent.
    let listed = Path::new("/proc/thread-self/children").exists();
    let mut left = if listed { children(first) } else { tree(first).split_off(1) };
    while let Some(pid) = left.pop() {
        found.extend(numbers(&format!("/proc/{pid}/task")).filter_map(|tid| Some((tid, thread(pid, tid)?))));
        if listed {
            left.extend(children(pid));
        }
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let of_thread = |tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
    let lists = numbers(&format!("/proc/{pid}/task")).map(of_thread);
    lists.flat_map(|list| list.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The entries of a directory that are numbers.
fn numbers(directory: &str) -> impl Iterator<Item = i32> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

fn thread(pid: i32, tid: i32) -> Option<Thread> {
    let at = format!("/proc/{pid}/task/{tid}");
    let (ran, waited) = schedstat(&at)?;
    let stat = fs::read_to_string(format!("{at}/stat")).ok()?;
    let ready = stat.rsplit(')').next()?.split_whitespace().next()? == "R";
    Some(Thread { ran, waited, ready })
}

/// How long a thread has run, and how long it has waited.
fn schedstat(at: &str) -> Option<(Duration, Duration)> {
    let text = fs::read_to_string(format!("{at}/schedstat")).ok()?;
    let mut fields = text.split_whitespace().map_while(|n| n.parse().ok().map(Duration::from_nanos));
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn thread(ran: u64, waited: u64, ready: bool) -> Thread {
        Thread { ran: ms(ran), waited: ms(waited), ready }
    }

    /// What is counted after each look, 100 ms apart.
    fn totals<const N: usize>(looks: &[[Thread; N]]) -> Vec<u64> {
        let mut waits = Waits::new(0);
        let each = |threads: &[Thread; N]| {
            waits.count((1..).zip(*threads).collect(), ms(100));
            waits.total().as_millis() as u64
        };
        looks.iter().map(each).collect()
    }

    #[test]
    fn waiting_counts_and_running_and_sleeping_do_not() {
        assert_eq!(totals(&[[thread(30, 70, true)], [thread(60, 140, true)]]), [70, 140]);
        assert_eq!(totals(&[[thread(100, 0, true)], [thread(200, 0, true)]]), [0, 0]);
        assert_eq!(totals(&[[thread(5, 1, false)], [thread(5, 1, false)]]), [1, 1]);
    }

    #[test]
    fn a_wait_that_goes_on_is_seen_and_counted_once() {
        // It waits from the first look on; the kernel tells of it when it is over.
        let looks = [[thread(5, 0, true)], [thread(5, 0, true)], [thread(5, 0, true)], [thread(15, 290, false)]];
        assert_eq!(totals(&looks), [0, 100, 200, 290]);
    }

    #[test]
    fn a_wait_over_a_look_is_counted_whole() {
        // 80 ms before the second look and 60 after it, told after it, with 40 ms of running.
        let looks = [[thread(5, 0, false)], [thread(25, 0, true)], [thread(65, 140, true)], [thread(65, 140, false)]];
        assert_eq!(totals(&looks), [0, 0, 60, 140]);
    }

    #[test]
    fn threads_that_wait_together_count_once_and_for_each_other_not_at_all() {
        let machine = [[thread(0, 0, true); 3], [thread(0, 0, true); 3]];
        assert_eq!(totals(&machine), [0, 100]);
        // One core between three of them.
        let own = [[thread(33, 66, true); 3], [thread(66, 133, true); 3], [thread(100, 200, true); 3]];
        assert!(totals(&own)[2] <= 3, "{:?}", totals(&own));
        // And what they waited for each other is no loan for sleep.
        let sleep = [[thread(33, 66, true); 3], [thread(33, 66, false); 3], [thread(33, 66, false); 3]];
        assert!(totals(&sleep)[2] <= 101, "{:?}", totals(&sleep));
    }

    #[test]
    fn another_thread_with_a_known_number_is_a_new_one() {
        assert_eq!(totals(&[[thread(50, 50, true)], [thread(10, 20, false)]]), [50, 70]);
    }

    #[test]
    fn the_kernel_tells_of_the_threads_below_a_process() {
        let mut child =
            std::process::Command::new("/bin/sh").args(["-c", "sleep 30 & wait"]).spawn().expect("there is a shell");
        let first = child.id() as i32;
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut seen = threads_below(first);
        while seen.is_empty() && Instant::now() < deadline {
            std::thread::sleep(ms(5));
            seen = threads_below(first);
        }
        for (pid, _) in seen.iter().chain([&(first, Thread::default())]) {
            // SAFETY: no memory is handed over.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
        child.wait().expect("ended");
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}
