//! `temper bench --load DIR`: how fast a checkpoint is read and how much memory that takes, beside a plain read of the same files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use policy::checkpoint::{self, CheckpointError};
use policy::{Compute, Model};

use crate::cli::BenchArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Device;
use crate::run::device;
use crate::say::tell;

/// Bytes of one plain read.
const BLOCK: usize = 8 << 20;
/// Rounds of all measurements, in turns: other work on the machine weighs on each alike.
const ROUNDS: usize = 5;

/// A way to load a checkpoint, with what was measured of it.
struct Way {
    name: &'static str,
    load: fn(&Path, Compute) -> Result<Model, CheckpointError>,
    /// GB/s, by round.
    rates: Vec<f64>,
    /// Bytes of its parameters.
    weights: u64,
    /// Most bytes that loading added to the process.
    held: u64,
}

/// Prints GB/s of plain reading and of loading, both after the system was told to forget the files, and what loading held at most: for a
/// model that learns, and for one that does not.
///
/// # Errors
/// [`Code::Checkpoint`] for a folder that is none, [`Code::Disk`] for files that cannot be read.
pub fn bench(args: &BenchArgs, folder: &Path) -> Result<(), Failure> {
    let device = device::open(args.machine.device.unwrap_or(Device::Auto), args.machine.threads.unwrap_or(0))?;
    let compute = Compute { precision: args.precision, ..Compute::from(device) };
    checkpoint::check(folder).or_fail(Code::Checkpoint)?;
    let files = checkpoint::files(folder).or_fail(Code::Checkpoint)?;
    let size: u64 =
        files.iter().map(|file| fs::metadata(file).map(|m| m.len())).sum::<io::Result<u64>>().or_fail(Code::Disk)?;
    let way = |name, load| Way { name, load, rates: Vec::new(), weights: 0, held: 0 };
    let mut ways = [way("to learn", checkpoint::load), way("frozen", checkpoint::load_frozen)];
    let mut reads = Vec::new();
    let mut cold = true;
    for _ in 0..ROUNDS {
        cold &= forget(&files).or_fail(Code::Disk)?;
        reads.push(rate(size, || read_all(&files).or_fail(Code::Disk))?);
        for way in &mut ways {
            cold &= forget(&files).or_fail(Code::Disk)?;
            way.measure(folder, compute, size)?;
        }
    }
    let from = if cold { "from the disk" } else { "partly from the page cache, which did not forget all" };
    tell(format_args!("files      {:.3} GB in {}", gb(size), files.len()))?;
    tell(format_args!("read       {}, {from}", spread(&reads, 1.0, " GB/s")))?;
    ways.iter().try_for_each(|way| way.report(&reads, size))
}

impl Way {
    fn measure(&mut self, folder: &Path, compute: Compute, size: u64) -> Result<(), Failure> {
        forget_peak();
        let before = status("VmRSS");
        let mut model = None;
        let rate = rate(size, || {
            model = Some((self.load)(folder, compute).or_fail(Code::Checkpoint)?);
            Ok(())
        })?;
        self.rates.push(rate);
        self.held = self.held.max(status("VmHWM").saturating_sub(before));
        self.weights = model.map_or(0, |model| model.bytes());
        Ok(())
    }

    fn report(&self, reads: &[f64], size: u64) -> Result<(), Failure> {
        let shares: Vec<f64> = self.rates.iter().zip(reads).map(|(load, read)| load / read).collect();
        let of = |whole: u64| 100.0 * self.held as f64 / whole as f64;
        tell(format_args!(
            "{:<10} {}, {} of the round's read; {:.3} GB held at most, {:.0} % of its {:.3} GB of weights, {:.0} % of the files",
            self.name,
            spread(&self.rates, 1.0, " GB/s"),
            spread(&shares, 100.0, " %"),
            gb(self.held),
            of(self.weights),
            gb(self.weights),
            of(size),
        ))
    }
}

/// The middle of some numbers, times `scale`, with the smallest and the largest.
fn spread(numbers: &[f64], scale: f64, unit: &str) -> String {
    let mut sorted: Vec<f64> = numbers.iter().map(|n| n * scale).collect();
    sorted.sort_by(f64::total_cmp);
    let digits = if scale == 1.0 { 2 } else { 0 };
    let (least, middle, most) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    format!("{middle:.digits$}{unit} ({least:.digits$} to {most:.digits$})")
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn rate(bytes: u64, work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let began = Instant::now();
    work()?;
    Ok(gb(bytes) / began.elapsed().as_secs_f64())
}

fn read_all(files: &[PathBuf]) -> io::Result<()> {
    let mut block = vec![0u8; BLOCK];
    for path in files {
        let mut file = File::open(path)?;
        while file.read(&mut block)? > 0 {}
    }
    Ok(())
}

/// Asks the system to drop the files from its page cache, and answers whether it did.
fn forget(files: &[PathBuf]) -> io::Result<bool> {
    let mut all = true;
    for path in files {
        let file = File::open(path)?;
        // Pages that are not written yet would stay.
        file.sync_all()?;
        // SAFETY: a call about an open file; it changes no contents.
        all &= unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } == 0;
        all &= cached_share(&file)? < 0.01;
    }
    Ok(all)
}

/// The share of a file's pages that the page cache holds.
fn cached_share(file: &File) -> io::Result<f64> {
    let length = file.metadata()?.len() as usize;
    if length == 0 {
        return Ok(0.0);
    }
    // SAFETY: `sysconf` reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let mut pages = vec![0u8; length.div_ceil(page)];
    // SAFETY: a fresh read-only map of the whole file, which nothing touches and which is unmapped below; `mincore` writes one byte a page.
    unsafe {
        let map = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let asked = libc::mincore(map, length, pages.as_mut_ptr());
        libc::munmap(map, length);
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(pages.iter().filter(|&&state| state & 1 == 1).count() as f64 / pages.len() as f64)
}

/// Lets the kernel count the most memory held anew. Where it refuses, an earlier peak counts too: the number is then too high, never too low.
/// What malloc kept of what was freed goes back first, since taking it again would not be seen.
fn forget_peak() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it gives free memory back and touches nothing else.
    unsafe {
        libc::malloc_trim(0);
    }
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A number of bytes that the kernel tells of this process; 0 where there is no `/proc`.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
    1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_in_the_page_cache_and_the_most_held_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        fs::write(&path, vec![7u8; 3 << 20]).expect("it writes");
        read_all(std::slice::from_ref(&path)).expect("it reads");
        assert!(cached_share(&File::open(&path).expect("it opens")).expect("it is asked") > 0.9);
        forget_peak();
        let before = status("VmRSS");
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(status("VmHWM") >= before + held.len() as u64 / 2);
    }
}
