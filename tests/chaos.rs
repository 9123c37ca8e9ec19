//! A small recipe, killed with SIGKILL at random instants and resumed until it is done, again and again: weights, metrics and data order
//! are those of the run that nothing disturbed, byte for byte (INV-6).
//!
//! `make chaos` runs it `N` times (30 by default; `SEED` picks the instants, `AIM` one of the aims). A run that differs is kept, and what of
//! it differs is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use data::CounterRng;
use serde_json::Value;
use sha2::{Digest, Sha256};

mod common;

use common::{assert_ok, bytes, plain, run, temper, timeless};

/// A run that was struck this often is left in peace.
const MAX_STRIKES: usize = 4;
/// Longest wait between a sign and the blow.
const AFTER_SIGN: Duration = Duration::from_millis(40);

/// What the run is to be doing when it is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    Anything,
    Sampling,
    Learning,
    WritingCheckpoint,
    WritingReport,
    /// The sandbox's process is struck, and not the run.
    VerifierChild,
}

impl Aim {
    const ALL: [Self; 6] = [
        Self::Anything,
        Self::Sampling,
        Self::Learning,
        Self::WritingCheckpoint,
        Self::WritingReport,
        Self::VerifierChild,
    ];

    /// One by chance, or the one that is asked for.
    fn drawn(rng: &mut CounterRng) -> Self {
        let drawn = Self::ALL[rng.next_u64() as usize % Self::ALL.len()];
        let asked = std::env::var("AIM").ok();
        asked.map_or(drawn, |name| *Self::ALL.iter().find(|aim| format!("{aim:?}") == name).expect("AIM is an aim"))
    }

    /// A count that grows as the run comes to what is aimed at.
    fn signs(self, folder: &Path) -> usize {
        match self {
            Self::Anything | Self::VerifierChild => 0,
            Self::Sampling => checkpoints(folder, "step-"),
            Self::Learning => entries(&folder.join("log")).len(),
            Self::WritingCheckpoint => checkpoints(folder, ".step-"),
            Self::WritingReport => usize::from(folder.join("summary.json").exists()),
        }
    }

    fn has_signs(self) -> bool {
        !matches!(self, Self::Anything | Self::VerifierChild)
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(|_| Vec::new(), |all| all.filter_map(|e| Some(e.ok()?.path())).collect())
}

fn checkpoints(folder: &Path, prefix: &str) -> usize {
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let of_stage = |stage: PathBuf| entries(&stage.join("checkpoints")).iter().filter(|path| named(path)).count();
    entries(&folder.join("stages")).into_iter().map(of_stage).sum()
}

fn ended(child: &mut Child) -> bool {
    child.try_wait().expect("it can be asked").is_some()
}

/// Waits for the aim, strikes, and says whether something was struck before the run had ended by itself.
fn strike(aim: Aim, child: &mut Child, folder: &Path, whole: Duration, rng: &mut CounterRng) -> bool {
    let until = Instant::now() + whole.mul_f64(rng.uniform());
    // The report comes last, and whoever waits at random mostly comes too late for it.
    while aim != Aim::WritingReport && Instant::now() < until && !ended(child) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = aim.signs(folder);
    while aim.has_signs() && aim.signs(folder) <= before && !ended(child) {}
    if aim.has_signs() {
        std::thread::sleep(AFTER_SIGN.mul_f64(rng.uniform()));
    }
    let struck = !ended(child);
    if aim == Aim::VerifierChild {
        return struck && strike_descendant(child.id(), rng);
    }
    let _ = child.kill();
    child.wait().expect("it ends");
    struck
}

/// Kills one process below `root`; false where there is none.
fn strike_descendant(root: u32, rng: &mut CounterRng) -> bool {
    let parents: Vec<(u32, u32)> = entries(Path::new("/proc")).iter().filter_map(|path| parent(path)).collect();
    let mut below = vec![root];
    let mut at = 0;
    while at < below.len() {
        let found: Vec<u32> = parents.iter().filter(|(_, parent)| *parent == below[at]).map(|(pid, _)| *pid).collect();
        below.extend(found);
        at += 1;
    }
    let Some(victims) = below.get(1..).filter(|victims| !victims.is_empty()) else { return false };
    let victim = victims[(rng.next_u64() % victims.len() as u64) as usize];
    // SAFETY: kill has no memory effects; the process is a descendant of a run that this test started.
    unsafe { libc::kill(victim as i32, libc::SIGKILL) == 0 }
}

/// A process's id and its parent's, by `/proc/PID/stat`.
fn parent(process: &Path) -> Option<(u32, u32)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (id, rest) = stat.split_once(' ')?;
    // The name stands in brackets and may hold anything.
    let parent = rest.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    Some((id.parse().ok()?, parent.parse().ok()?))
}

/// Steps whose numbers stand in `metrics.jsonl` and whose weights are in no whole checkpoint: what a resumed run does again in full.
fn steps_to_repeat(folder: &Path) -> usize {
    let mut done: BTreeMap<String, u64> = BTreeMap::new();
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    for row in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let (Some(stage), Some(step)) = (row["stage"].as_str(), row["step"].as_u64()) {
            done.insert(stage.to_owned(), step);
        }
    }
    let of_stage = |stage: PathBuf| {
        let name = stage.file_name().map(|n| n.to_string_lossy()[3..].to_owned()).unwrap_or_default();
        let saved = entries(&stage.join("checkpoints")).iter().filter_map(|path| step_of(path)).max().unwrap_or(0);
        done.get(&name).map_or(0, |step| step.saturating_sub(saved) as usize)
    };
    entries(&folder.join("stages")).into_iter().map(of_stage).sum()
}

fn step_of(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_string_lossy().strip_prefix("step-")?.parse().ok()
}

fn start(folder: &Path) -> Child {
    let resume = ["resume", plain(folder)];
    let out = out(folder);
    let begin = ["run", "configs/chaos.toml", "--set", &out];
    let arguments: &[&str] = if folder.join("resolved.toml").exists() { &resume } else { &begin };
    temper(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// The setting that puts a run's folder where it is wanted. The runs have one name, which their summaries hold.
fn out(folder: &Path) -> String {
    format!("run.out={}", folder.parent().expect("a folder around it").display())
}

/// One run, struck and resumed until it is done. Counts the strikes by aim, and keeps the most steps that any of them cost.
fn disturbed(folder: &Path, whole: Duration, rng: &mut CounterRng, strikes: &mut BTreeMap<Aim, usize>) -> usize {
    let mut repeated = 0;
    for _ in 0..1 + rng.next_u64() as usize % MAX_STRIKES {
        let aim = Aim::drawn(rng);
        let mut child = start(folder);
        if strike(aim, &mut child, folder, whole, rng) {
            *strikes.entry(aim).or_default() += 1;
            repeated = repeated.max(steps_to_repeat(folder));
        }
        child.wait().expect("it ends");
    }
    let status = start(folder).wait().expect("it ends");
    assert!(status.success(), "the resumed run ends with {status}; {}", folder.display());
    repeated
}

/// What of a run is not as in the other: files, fields of the summary, rows of the metrics. What only one of them has is a difference.
fn differences(found: &Finals, expected: &Finals) -> Vec<String> {
    let (found, expected) = (by_name(found), by_name(expected));
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let shown = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
    let differ = names.into_iter().filter(|name| found.get(*name) != expected.get(*name));
    differ.map(|name| format!("{name}: {} for {}", shown(found.get(name)), shown(expected.get(name)))).collect()
}

fn by_name(finals: &Finals) -> BTreeMap<String, String> {
    let (files, (summary, rows)) = finals;
    let files = files.iter().map(|(path, bytes)| (path.display().to_string(), format!("{:x?}", Sha256::digest(bytes))));
    let fields = summary.as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| (format!("summary.{name}"), value.to_string()));
    let rows = rows.iter().enumerate().map(|(at, row)| (format!("metrics line {}", at + 1), row.to_string()));
    files.chain(fields).chain(rows).collect()
}

/// The final weights and logs, the summary and the metrics.
type Finals = (Vec<(PathBuf, Vec<u8>)>, (Value, Vec<Value>));

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

#[test]
#[ignore = "takes minutes: make chaos"]
fn inv_6_runs_killed_at_random_end_with_the_same_bytes() {
    let (runs, seed) = (number("N", 30), number("SEED", 1));
    let dir = tempfile::tempdir().expect("a folder");
    let peaceful = dir.path().join("whole/chaos");
    let began = Instant::now();
    assert_ok(&run(&["run", "configs/chaos.toml", "--set", &out(&peaceful)]));
    let whole = began.elapsed();
    let expected = (bytes(&peaceful), timeless(&peaceful));
    println!("undisturbed: {:.1} s; seed {seed}", whole.as_secs_f64());

    let (mut strikes, mut different, mut repeated) = (BTreeMap::new(), Vec::new(), 0);
    for n in 0..runs {
        let folder = dir.path().join(format!("{n}/chaos"));
        let mut rng = CounterRng::new(seed, &format!("run {n}"));
        repeated = repeated.max(disturbed(&folder, whole, &mut rng, &mut strikes));
        let found = (bytes(&folder), timeless(&folder));
        if found != expected {
            let kept = std::env::temp_dir().join(format!("temper-chaos-{seed}-{n}"));
            let _ = fs::remove_dir_all(&kept);
            fs::rename(&folder, &kept).expect("it is kept");
            println!(
                "run {n} differs in {}; it is kept as {}",
                differences(&found, &expected).join(", "),
                kept.display()
            );
            different.push(n);
        } else {
            fs::remove_dir_all(&folder).expect("it is removed");
        }
    }
    println!("{runs} runs, {} strikes: {strikes:?}", strikes.values().sum::<usize>());
    println!("runs that differ: {}; steps that a strike cost, at most: {repeated}", different.len());
    assert!(different.is_empty(), "seed {seed}, runs {different:?} differ");
    assert!(repeated <= 1, "a checkpoint stands after each step, so no strike can cost more than the one it fell in");
}
