//! Memory and process limits of a whole tree of processes, by cgroup v2 where its controllers are to be had, else by v1.
//!
//! A cell has one group, and each run's first process puts itself there before it runs a line of the program; the descriptors that it
//! does so with are the supervisor's, whose rights the kernel checks. Between two runs the group is empty.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

/// Names of our groups begin so; the lock on the directory says whether its owner still lives.
const PREFIX: &str = "temper-cell-";

/// A group this near to its limit is full: memory is charged in batches.
const FULL_SLACK: u64 = 1 << 20;

/// Groups of the machine that are looked at for what was left behind.
const MAX_LOOKS: usize = 20_000;

/// How often a group is asked whether it is empty, 200 µs apart, before its cell is given up.
const EMPTY_LOOKS: u32 = 10_000;

/// Which interface the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One tree, `memory.max` and `pids.max`.
    V2,
    /// A tree each for memory and pids.
    V1,
}

/// The groups below which cells make theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub version: Version,
    memory: PathBuf,
    pids: PathBuf,
    /// Where the trees of both are mounted.
    mounts: Vec<PathBuf>,
}

/// The group of one cell. Dropped after the cell's processes, it removes itself.
#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    memory: PathBuf,
    pids: PathBuf,
    /// What was last set: bytes, processes.
    limits: Option<(u64, u64)>,
    kills_before: u64,
    any_kills_before: u64,
    /// Locked directories, so that another supervisor's clean-up leaves them alone.
    _locks: Vec<File>,
}

impl Hierarchy {
    /// Finds groups that can be written, v2 first, or says why there are none.
    pub fn find() -> Result<Self, String> {
        let read = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
        let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        let v2 = Self::v2(&mounts, &own);
        let found = match v2 {
            Ok(found) => Ok(found),
            Err(why_not_2) => Self::v1(&mounts, &own).map_err(|why_not_1| format!("{why_not_2}; {why_not_1}")),
        }?;
        found.remove_stale();
        Ok(found)
    }

    fn v2(mounts: &str, own: &str) -> Result<Self, String> {
        let (mount, root) = mounted(mounts, |kind, _| kind == "cgroup2").ok_or("no cgroup v2 is mounted")?;
        let group = own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("this process is in no v2 group")?;
        let mut why = String::new();
        // Our own group is seldom free to have groups below it, since we are in it; one above may be.
        for parent in up_to(&mount, &below(&mount, &root, group)) {
            match usable_v2(&parent) {
                Ok(()) => {
                    let (memory, mounts) = (parent.clone(), vec![mount]);
                    return Ok(Self { version: Version::V2, memory, pids: parent, mounts });
                }
                Err(e) if why.is_empty() => why = format!("cgroup v2 at {}: {e}", parent.display()),
                Err(_) => {}
            }
        }
        Err(why)
    }

    fn v1(mounts: &str, own: &str) -> Result<Self, String> {
        let parent = |controller: &str| {
            let has = |options: &str| options.split(',').any(|o| o == controller);
            let (mount, root) = mounted(mounts, |kind, options| kind == "cgroup" && has(options))
                .ok_or_else(|| format!("no cgroup v1 with {controller} is mounted"))?;
            let group = own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                has(controllers).then_some(path)
            });
            let parent = below(&mount, &root, group.unwrap_or("/"));
            try_group(&parent).map_err(|e| format!("cgroup v1 at {}: {e}", parent.display()))?;
            Ok::<_, String>((parent, mount))
        };
        let ((memory, in_memory), (pids, in_pids)) = (parent("memory")?, parent("pids")?);
        Ok(Self { version: Version::V1, memory, pids, mounts: vec![in_memory, in_pids] })
    }

    /// Removes what supervisors that were killed left behind, wherever in the trees they were: a service manager gives every start a group
    /// of its own. A live one holds the locks of its groups.
    fn remove_stale(&self) {
        let mut left: Vec<PathBuf> = self.mounts.clone();
        let mut looks = 0;
        while let Some(parent) = left.pop() {
            looks += 1;
            if looks > MAX_LOOKS {
                return;
            }
            let Ok(entries) = std::fs::read_dir(&parent) else { continue };
            let directories = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
            let is_cell =
                |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(PREFIX));
            let (cells, others): (Vec<_>, Vec<_>) = directories.map(|e| e.path()).partition(is_cell);
            left.extend(others);
            if cells.is_empty() {
                continue;
            }
            let Ok(_alone) = alone(&parent) else { continue };
            for path in cells {
                if lock(&path).is_ok() {
                    // It may have gone meanwhile, or hold a process that is about to end; the next start tries again.
                    let _ = std::fs::remove_dir(&path);
                }
            }
        }
    }
}

impl Group {
    pub fn create(hierarchy: &Hierarchy) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (memory, pids) = (hierarchy.memory.join(&name), hierarchy.pids.join(&name));
        let mut group = Self {
            version: hierarchy.version,
            memory,
            pids,
            limits: None,
            kills_before: 0,
            any_kills_before: 0,
            _locks: Vec::new(),
        };
        let mut locks = Vec::new();
        for (parent, path) in [&hierarchy.memory, &hierarchy.pids].into_iter().zip(group.directories()) {
            let _alone = alone(parent)?;
            std::fs::create_dir(path)?;
            locks.push(lock(path)?);
        }
        group._locks = locks;
        if group.version == Version::V2 {
            // Absent where there is no swap, or on old kernels.
            let _ = set(&group.memory, "memory.swap.max", 0);
            let _ = set(&group.memory, "memory.oom.group", 1);
        }
        Ok(group)
    }

    fn directories(&self) -> Vec<&Path> {
        match self.version {
            Version::V2 => vec![&self.memory],
            Version::V1 => vec![&self.memory, &self.pids],
        }
    }

    /// Descriptors by which a process can put itself into the group.
    pub fn doors(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |path: &Path| OpenOptions::new().write(true).open(path.join("cgroup.procs")).map(OwnedFd::from);
        self.directories().into_iter().map(open).collect()
    }

    /// Sets the limits of the next run, and forgets the last one.
    pub fn begin(&mut self, memory: u64, processes: u64) -> io::Result<()> {
        self.wait_until_empty()?;
        if self.limits != Some((memory, processes)) {
            self.set_limits(memory, processes)?;
            self.limits = Some((memory, processes));
        }
        match self.version {
            Version::V1 => set(&self.memory, "memory.max_usage_in_bytes", 0)?,
            // Only since Linux 6.12; without it the peak is that of all runs so far, and is not told.
            Version::V2 => drop(set(&self.memory, "memory.peak", 0)),
        }
        self.kills_before = self.kills()?;
        self.any_kills_before = match self.version {
            Version::V1 => self.kills_before,
            Version::V2 => self.any_kills()?,
        };
        Ok(())
    }

    /// The processes of the last run have been waited for, but the kernel takes them from their group an instant later, and until then they
    /// would count against the next.
    fn wait_until_empty(&self) -> io::Result<()> {
        for _ in 0..EMPTY_LOOKS {
            if read(&self.pids, "pids.current")?.trim() == "0" {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err(io::Error::other("processes of the last run are left in the cgroup"))
    }

    fn set_limits(&self, memory: u64, processes: u64) -> io::Result<()> {
        set(&self.pids, "pids.max", processes)?;
        match self.version {
            Version::V2 => set(&self.memory, "memory.max", memory),
            Version::V1 => {
                // Memory with swap may never be below memory alone, so which goes first depends on the direction. Neither exists where
                // swap is not accounted.
                let both = || set(&self.memory, "memory.memsw.limit_in_bytes", memory);
                let early = both();
                set(&self.memory, "memory.limit_in_bytes", memory)?;
                match early.or_else(|_| both()) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                    _ => Ok(()),
                }
            }
        }
    }

    /// True when the kernel killed a process of the last run for want of memory, the group's own or the machine's.
    pub fn machine_killed(&self) -> bool {
        self.any_kills().is_ok_and(|kills| kills > self.any_kills_before)
    }

    /// Processes of the group that the kernel killed for want of any memory.
    fn any_kills(&self) -> io::Result<u64> {
        match self.version {
            Version::V2 => field(&self.memory, "memory.events", "oom_kill"),
            Version::V1 => self.kills(),
        }
    }

    /// True when a process of the last run was killed because this group, not the machine, was out of memory.
    pub fn out_of_memory(&self) -> bool {
        let killed = self.kills().is_ok_and(|kills| kills > self.kills_before);
        // v1 also counts those whom the machine's want of memory killed, when the group itself was not full.
        let full = || match (self.peak(), self.limits) {
            (Some(peak), Some((limit, _))) => peak + FULL_SLACK >= limit,
            _ => false,
        };
        killed && (self.version == Version::V2 || full())
    }

    fn kills(&self) -> io::Result<u64> {
        match self.version {
            Version::V2 => field(&self.memory, "memory.events", "oom"),
            Version::V1 => field(&self.memory, "memory.oom_control", "oom_kill"),
        }
    }

    /// Largest memory of the last run, in MiB, files of the scratch directory included.
    pub fn peak_mb(&self) -> Option<f64> {
        Some(self.peak()? as f64 / f64::from(1 << 20))
    }

    fn peak(&self) -> Option<u64> {
        let name = match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        read(&self.memory, name).ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in self.directories() {
            for _ in 0..100 {
                match std::fs::remove_dir(path) {
                    // The last process has been waited for, and may still be counted for an instant.
                    Err(e) if e.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(2)),
                    _ => break,
                }
            }
        }
    }
}

/// Held while groups below `parent` are made or cleaned up: a group that is made but not yet locked looks like one that was left behind.
fn alone(parent: &Path) -> io::Result<File> {
    let file = File::open(parent)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn set(group: &Path, file: &str, value: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(group.join(file))?.write_all(value.to_string().as_bytes())
}

fn read(group: &Path, file: &str) -> io::Result<String> {
    std::fs::read_to_string(group.join(file))
}

fn field(group: &Path, file: &str, name: &str) -> io::Result<u64> {
    let text = read(group, file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.ok_or_else(|| io::Error::other(format!("{file} has no `{name}`")))
}

/// Mount point and root of the first mount whose type and super-block options satisfy `wanted`.
fn mounted(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let (mut front, mut back) = (front.split(' ').skip(3), back.split(' '));
        let (root, mount) = (front.next()?, front.next()?);
        let (kind, options) = (back.next()?, back.nth(1)?);
        wanted(kind, options).then(|| (mount.into(), root.into()))
    })
}

/// Where `group` is, given that `root` is shown at `mount`.
fn below(mount: &Path, root: &Path, group: &str) -> PathBuf {
    let group = Path::new(group);
    let inner = group.strip_prefix(root).or_else(|_| group.strip_prefix("/")).unwrap_or(Path::new(""));
    let path = mount.join(inner);
    if path.is_dir() { path } else { mount.to_owned() }
}

/// `group` and its parents up to `mount`.
fn up_to(mount: &Path, group: &Path) -> Vec<PathBuf> {
    group.ancestors().take_while(|a| a.starts_with(mount)).map(Path::to_owned).collect()
}

/// Makes memory and pids available to the groups below `parent`, and one group to see that it works.
fn usable_v2(parent: &Path) -> Result<(), String> {
    let has = |file: &str| {
        let words = read(parent, file).unwrap_or_default();
        ["memory", "pids"].iter().all(|c| words.split_whitespace().any(|w| w == *c))
    };
    if !has("cgroup.controllers") {
        return Err("no memory and pids controllers".into());
    }
    if !has("cgroup.subtree_control") {
        let enable = OpenOptions::new().write(true).open(parent.join("cgroup.subtree_control"));
        enable.and_then(|mut f| f.write_all(b"+memory +pids")).map_err(|e| format!("cgroup.subtree_control: {e}"))?;
    }
    try_group(parent).map_err(|e| e.to_string())
}

fn try_group(parent: &Path) -> io::Result<()> {
    let path = parent.join(format!("{PREFIX}try-{}", std::process::id()));
    match std::fs::create_dir(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Another thread may have tried, and removed, the same.
    let _ = std::fs::remove_dir(&path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of plain files that looks like cgroup v2 to whoever reads and writes names.
    fn fake_v2(controllers: &str, enabled: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("groups");
        for (group, enabled) in [("", enabled), ("a", enabled), ("a/b", "")] {
            std::fs::write(dir.path().join(group).join("cgroup.controllers"), controllers).expect("file");
            std::fs::write(dir.path().join(group).join("cgroup.subtree_control"), enabled).expect("file");
        }
        let mounts = format!("30 1 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate", dir.path().display());
        (dir, mounts)
    }

    #[test]
    fn v2_is_used_where_memory_and_pids_can_be_had() {
        let (dir, mounts) = fake_v2("cpu memory pids", "");
        let found = Hierarchy::v2(&mounts, "0::/a/b\n").expect("usable");
        assert_eq!((found.version, found.memory.clone()), (Version::V2, dir.path().join("a/b")));
        let enabled = std::fs::read_to_string(found.memory.join("cgroup.subtree_control")).expect("file");
        assert_eq!(enabled, "+memory +pids");
        let (_dir, mounts) = fake_v2("hugetlb", "");
        let why = Hierarchy::v2(&mounts, "0::/a/b\n").expect_err("no controllers");
        assert!(why.contains("no memory and pids controllers"), "{why}");
    }

    #[test]
    fn v2_counts_only_kills_at_its_own_limit_and_writes_both_limits() {
        let (dir, _) = fake_v2("memory pids", "memory pids");
        let path = dir.path().join("a/b");
        for file in ["memory.max", "pids.max", "memory.peak"] {
            std::fs::write(path.join(file), "").expect("file");
        }
        let events = |oom: u64| format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill 7\n");
        std::fs::write(path.join("memory.events"), events(2)).expect("file");
        std::fs::write(path.join("pids.current"), "0\n").expect("file");
        let (memory, pids) = (path.clone(), path.clone());
        let mut group = Group {
            version: Version::V2,
            memory,
            pids,
            limits: None,
            kills_before: 0,
            any_kills_before: 0,
            _locks: Vec::new(),
        };
        group.begin(1 << 20, 5).expect("begins");
        assert!(!group.out_of_memory());
        std::fs::write(path.join("memory.events"), events(3)).expect("file");
        assert!(group.out_of_memory());
        let text = |file: &str| std::fs::read_to_string(path.join(file)).expect("file");
        assert_eq!((text("memory.max"), text("pids.max")), ("1048576".into(), "5".into()));
    }

    #[test]
    fn d03_what_a_dead_supervisor_left_is_removed_wherever_it_was() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name);
        for group in ["one/deep/temper-cell-1-0", "temper-cell-2-0", "two/temper-cell-3-0", "two/another"] {
            std::fs::create_dir_all(at(group)).expect("groups");
        }
        let held = lock(&at("two/temper-cell-3-0")).expect("a live supervisor's");
        let (memory, pids) = (at("two"), at("two"));
        let hierarchy = Hierarchy { version: Version::V1, memory, pids, mounts: vec![dir.path().to_owned()] };
        hierarchy.remove_stale();
        assert!(!at("one/deep/temper-cell-1-0").exists() && !at("temper-cell-2-0").exists());
        assert!(at("two/temper-cell-3-0").exists() && at("two/another").exists() && at("one/deep").exists());
        drop(held);
        hierarchy.remove_stale();
        assert!(!at("two/temper-cell-3-0").exists());
    }

    #[test]
    fn v1_is_found_by_its_controllers() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("memory/job")).expect("groups");
        std::fs::create_dir_all(at("pids")).expect("groups");
        let line = |name: &str| format!("30 1 0:26 / {} rw - cgroup cgroup rw,{name}\n", at(name).display());
        let mounts = line("memory") + &line("pids");
        let found = Hierarchy::v1(&mounts, "8:pids:/\n4:memory:/job\n").expect("usable");
        assert_eq!((found.version, found.memory, found.pids), (Version::V1, at("memory/job"), at("pids")));
        assert!(Hierarchy::v1(&line("pids"), "8:pids:/\n").is_err());
    }
}
