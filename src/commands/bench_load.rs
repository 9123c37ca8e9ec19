//! `temper bench --load DIR`: how fast a checkpoint is read and how much memory that takes, beside a plain read of the same files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use policy::{Compute, checkpoint};

use crate::cli::BenchArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Device;
use crate::run::device;
use crate::say::tell;

/// Bytes of one plain read.
const BLOCK: usize = 8 << 20;
/// Each is measured as often, in turns; the best counts, since other work only slows it.
const REPEATS: usize = 3;

/// Prints GB/s of plain reading and of loading, both after the system was told to forget the files, and what loading held at most.
///
/// # Errors
/// [`Code::Checkpoint`] for a folder that is none, [`Code::Disk`] for files that cannot be read.
pub fn bench(args: &BenchArgs, folder: &Path) -> Result<(), Failure> {
    let device = device::open(args.machine.device.unwrap_or(Device::Auto), args.machine.threads.unwrap_or(0))?;
    let compute = Compute { device, precision: args.precision, recompute: false, exact: true };
    let config = checkpoint::check(folder).or_fail(Code::Checkpoint)?;
    let files = checkpoint::files(folder).or_fail(Code::Checkpoint)?;
    let size: u64 =
        files.iter().map(|file| fs::metadata(file).map(|m| m.len())).sum::<io::Result<u64>>().or_fail(Code::Disk)?;
    let weights = 4 * config.parameters() as u64;
    let (mut read, mut load, mut held) = (0f64, 0f64, 0);
    let mut cold = true;
    for _ in 0..REPEATS {
        cold &= forget(&files).or_fail(Code::Disk)?;
        read = read.max(rate(size, || read_all(&files).or_fail(Code::Disk))?);
        cold &= forget(&files).or_fail(Code::Disk)?;
        forget_peak();
        let before = status("VmRSS");
        load = load.max(rate(size, || checkpoint::load(folder, compute).or_fail(Code::Checkpoint).map(drop))?);
        held = held.max(status("VmHWM").saturating_sub(before));
    }
    let from = if cold { "from the disk" } else { "partly from the page cache, which did not forget all" };
    tell(format_args!("files      {:.3} GB in {}; {:.3} GB as f32", gb(size), files.len(), gb(weights)))?;
    tell(format_args!("read       {read:.2} GB/s, {from}"))?;
    tell(format_args!("load       {load:.2} GB/s, {:.0} % of reading", 100.0 * load / read))?;
    let share = 100.0 * held as f64 / weights as f64;
    tell(format_args!("memory     {:.3} GB held at most, {share:.0} % of the weights as f32", gb(held)))?;
    Ok(())
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
fn forget_peak() {
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
        assert_eq!(cached_share(&File::open(&path).expect("it opens")).expect("it is asked"), 1.0);
        forget_peak();
        let before = status("VmRSS");
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(status("VmHWM") >= before + held.len() as u64 / 2);
    }
}
