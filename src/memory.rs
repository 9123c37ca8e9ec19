//! Memory that is not there: said before a run begins where it can be known, and named where it happens.
//!
//! Rust ends a process whose allocation fails with an abort, and C++ often does; here both print what was asked for, where it is known, and
//! end with [`Code::Memory`]. Checkpoints are whole or absent at every instant (INV-6), so nothing is lost either way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use policy::{ModelConfig, lora, params};

use crate::exit::{self, Code, Failure};

/// Bytes a parameter takes while it learns: weight, gradient and AdamW's two moments, in f32.
const LEARNING: u128 = 16;
/// Bytes a parameter takes while it only answers.
const ANSWERING: u128 = 4;

/// What to do about it, once a run has begun.
pub const HINT: &str = "lower batch.unit_tokens, sampling.batch or sampling.max_new_tokens; what was saved is intact, and `temper resume RUN` goes on";

/// The system's allocator; where it has nothing left, the process ends with a message.
pub struct OrExit;

// SAFETY: every call goes to the system's allocator unchanged, and what it answers is passed on unless it is null.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout`.
        or_exit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout`.
        or_exit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise about `block`, `layout` and `size`.
        or_exit(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `block` and `layout`.
        unsafe { System.dealloc(block, layout) }
    }
}

fn or_exit(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        refused(size);
    }
    block
}

/// Set once the program itself is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Has named what libraries lack: memory that C++ does not find, and a thread that libgomp cannot start, for which it prints a line and
/// calls `exit`.
pub fn name_what_libraries_lack() {
    extern "C" fn refused() {
        out_of_memory(&[], HINT)
    }
    extern "C" fn ended() {
        // Nothing else calls `exit` before the program is done.
        if !ENDING.load(Ordering::Relaxed) {
            out_of_memory(&[b" for a thread (above)"], HINT);
        }
    }
    native::on_out_of_memory(refused);
    // SAFETY: the handler is a function without arguments that lives as long as the program. Where it cannot be kept, a message is lost.
    unsafe { libc::atexit(ended) };
}

/// Has named, until [`name_what_libraries_lack`], the memory that C++ does not find while the libraries are set up.
pub extern "C" fn name_what_loading_lacks() {
    extern "C" fn refused() {
        let hint = "raise the limit (`ulimit -v`, or the job's memory)";
        out_of_memory(&[b": libtorch's libraries could not be loaded"], hint)
    }
    native::on_out_of_memory(refused);
}

/// The program is done, and ends with its own code.
pub fn is_ending() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Ends the process, since so many bytes were not there.
#[cold]
fn refused(size: usize) -> ! {
    let mut text = [0u8; 20];
    let mut rest = size;
    let mut at = text.len();
    while at == text.len() || rest > 0 {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out_of_memory(&[b": ", &text[at..], b" bytes more were asked for"], HINT)
}

/// Says it without allocating, and ends the process.
#[cold]
fn out_of_memory(more: &[&[u8]], hint: &str) -> ! {
    let (begin, hint) = ([b"error: out of memory".as_slice()], [b"\nhint: ".as_slice(), hint.as_bytes(), b"\n"]);
    for part in begin.iter().chain(more).chain(&hint) {
        // SAFETY: the bytes are valid for their length; a short or failed write loses only words.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    exit::at_once(Code::Memory)
}

/// True where the words of a panic or an error say that libtorch found no memory, on the CPU or on a GPU, or that there was none for a thread.
pub fn is_out_of_memory(words: &str) -> bool {
    ["can't allocate memory", "CUDA out of memory", "failed to spawn thread", "not enough memory"]
        .iter()
        .any(|known| words.contains(known))
}

/// Bytes of the process in the machine's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// At most since it began.
    pub most: u64,
}

/// What the process takes of the machine's memory; nothing where `/proc` does not tell.
pub fn resident() -> Resident {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok())
    };
    let bytes = |name| kib(name).map_or(0, |kib: u64| kib * 1024);
    Resident { now: bytes("VmRSS:"), most: bytes("VmHWM:") }
}

/// What becomes of a model's parameters.
#[derive(Debug, Clone, Copy)]
pub enum Use {
    /// They are only read.
    Answer,
    /// All learn.
    Learn,
    /// Adapters of this size learn beside them.
    Adapt(lora::Size),
}

impl Use {
    fn bytes(self, parameters: u128) -> u128 {
        match self {
            Self::Answer => parameters.saturating_mul(ANSWERING),
            Self::Learn => parameters.saturating_mul(LEARNING),
            Self::Adapt(lora::Size { beside, own }) => {
                let read = parameters.saturating_add(u128::from(beside)).saturating_mul(ANSWERING);
                read.saturating_add(u128::from(own).saturating_mul(LEARNING))
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Answer => "(4 bytes each)",
            Self::Learn => "to learn (16 bytes each)",
            Self::Adapt(_) => "with adapters beside them",
        }
    }
}

/// Refuses a model whose parameters alone take more than the machine has, in the use that takes the most.
///
/// # Errors
/// [`Code::Memory`], with both numbers.
pub fn check(config: &ModelConfig, uses: impl Iterator<Item = Use>) -> Result<(), Failure> {
    let Some(there) = total() else { return Ok(()) };
    let parameters = parameters(config);
    let needed = uses.chain([Use::Answer]).map(|of| (of.bytes(parameters), of)).max_by_key(|(bytes, _)| *bytes);
    let Some((needed, of)) = needed.filter(|(bytes, _)| *bytes > u128::from(there)) else { return Ok(()) };
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let message = format!(
        "the model's parameters need {:.1} GiB {}, and this machine has {:.1} GiB",
        gib(needed as f64),
        of.words(),
        gib(there as f64)
    );
    Err(Failure::new(Code::Memory, message).hint("check hidden_size, vocab_size and num_hidden_layers of config.json"))
}

fn parameters(config: &ModelConfig) -> u128 {
    let count = |shape: &Vec<i64>| shape.iter().map(|n| u128::from(n.unsigned_abs())).product::<u128>();
    params::shapes(config).values().map(count).sum()
}

/// The machine's memory in bytes, or the control group's limit where that is less. `None` where `/proc` does not tell.
fn total() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = |path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    limit_files(&groups).into_iter().filter_map(limit).chain([kib * 1024]).min()
}

/// Where the limits of a process's control groups stand, by its `/proc/self/cgroup`: of each the group itself and all above it. The root's is
/// looked for in any case: within a container the names may lead to nothing.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let of_hierarchy = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?.trim_start_matches('/')) {
            ("", group) => Some(("/sys/fs/cgroup", "memory.max", group.to_owned())),
            ("memory", group) => Some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group.to_owned())),
            _ => None,
        }
    };
    let roots = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
    let roots = roots.into_iter().map(|(mount, file)| (mount, file, String::new()));
    let upwards = |(mount, file, group): (&str, &str, String)| {
        let groups = Path::new(&group).ancestors().map(|group| Path::new(mount).join(group).join(file));
        groups.collect::<Vec<_>>()
    };
    groups.lines().filter_map(of_hierarchy).chain(roots).flat_map(upwards).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_larger_than_the_machine_is_refused_with_both_numbers() {
        let small = ModelConfig::read("configs/smoke-model.json".as_ref()).expect("a config");
        check(&small, [Use::Learn].into_iter()).expect("the smoke model fits");
        let large = ModelConfig { vocab_size: 1 << 40, ..small };
        let failure = check(&large, [Use::Learn].into_iter()).expect_err("no machine has this");
        assert_eq!(failure.code, Code::Memory);
        assert!(failure.message.contains("GiB to learn"), "{failure}");
    }

    #[test]
    fn limits_are_looked_for_in_every_group_above() {
        let files = limit_files("4:cpu:/a\n3:memory:/slurm/job\n0::/user.slice/s\n");
        for wanted in [
            "/sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes",
            "/sys/fs/cgroup/user.slice/s/memory.max",
            "/sys/fs/cgroup/user.slice/memory.max",
            "/sys/fs/cgroup/memory.max",
        ] {
            assert!(files.contains(&PathBuf::from(wanted)), "{wanted} is not in {files:?}");
        }
        assert!(limit_files("").contains(&PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes")));
    }

    #[test]
    fn the_process_knows_what_it_takes() {
        let Resident { now, most } = resident();
        assert!(now > 1 << 20 && now <= most && most < 1 << 40, "{now} {most}");
    }

    #[test]
    fn adapters_take_less_than_learning_and_more_than_answering() {
        let small = ModelConfig::read("configs/smoke-model.json".as_ref()).expect("a config");
        let lora = policy::LoraConfig { rank: 2, alpha: 4.0, targets: Vec::new() };
        let adapt = Use::Adapt(lora.size(&small).expect("it has targets"));
        let bytes = [Use::Answer, adapt, Use::Learn].map(|of| of.bytes(parameters(&small)));
        assert!(bytes.is_sorted() && bytes[0] < bytes[1] && bytes[1] < bytes[2], "{bytes:?}");
    }

    #[test]
    fn libtorch_says_in_these_words_that_memory_is_short() {
        let asked = std::panic::catch_unwind(|| tch::Tensor::zeros([1 << 46], (tch::Kind::Float, tch::Device::Cpu)));
        let panic = asked.expect_err("256 TiB");
        assert!(is_out_of_memory(panic.downcast_ref::<String>().expect("a panic with words")));
    }
}
