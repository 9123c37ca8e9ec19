//! Our CUDA kernels on the CPU, for tests: g++ compiles them with `emulated.h`, which runs a block's threads as fibers.
//!
//! Slow, and the same arithmetic but for the tensor cores' own rounding. It shows that a kernel computes what it should and waits where it
//! must; how fast it is, only a GPU can say.

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use super::launch::{Grid, Source};
use super::{last_dl_error, open};

const HEADER: &str = include_str!("emulated.h");

/// As many as make small cases take the ways of large ones, and the other way round.
pub(super) const PROCESSORS: usize = 4;

/// Bytes of shared memory of a block, as a Hopper GPU has them.
pub(super) const SHARED: usize = 227 << 10;

/// The order in which the threads of a block start. A kernel whose result depends on it has a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulated {
    /// From the first thread on.
    Ascending,
    /// From the last one on.
    Descending,
}

thread_local! {
    static ON: Cell<Option<Emulated>> = const { Cell::new(None) };
}

/// Runs `body` with tensors of the CPU taken for a GPU's on this thread: [`super::ready`] says so, and [`super::launch()`] emulates.
pub fn emulated<T>(order: Emulated, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Emulated>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
    let _restore = Restore(ON.replace(Some(order)));
    body()
}

pub(super) fn is_on() -> bool {
    ON.get().is_some()
}

type Entry = extern "C" fn(*const u32, i32, usize, bool, *mut *mut c_void);

/// One kernel at a time: the fibers' scheduler is one a library.
static RUNNING: Mutex<()> = Mutex::new(());

pub(super) fn launch(source: &'static Source, kernel: &'static str, grid: Grid, args: &mut [*mut c_void]) {
    assert!(grid.shared <= SHARED, "{kernel} of {} asks for {} bytes of shared memory", source.name, grid.shared);
    let order = ON.get().expect("the CPU is no GPU but inside `emulated`");
    let _running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let entry = entry(source, kernel);
    let blocks = grid.blocks.map(|n| n as u32);
    entry(blocks.as_ptr(), grid.threads as i32, grid.shared, order == Emulated::Descending, args.as_mut_ptr());
}

/// The kernel's entry in the source's library, which is compiled where no earlier test has.
fn entry(source: &Source, kernel: &str) -> Entry {
    let library = library(source);
    let path = CString::new(library.into_os_string().into_encoded_bytes()).expect("a path holds no NUL");
    open(&path, libc::RTLD_NOW).unwrap_or_else(|error| panic!("{}: {error}", source.name));
    let name = CString::new(format!("launch_{kernel}")).expect("a name holds no NUL");
    // SAFETY: both strings end with a NUL; the library is open already, and stays so.
    let found = unsafe { libc::dlsym(libc::dlopen(path.as_ptr(), libc::RTLD_NOW), name.as_ptr()) };
    assert!(!found.is_null(), "{} exports no {kernel}: {}", source.name, last_dl_error());
    // SAFETY: `EXPORT` in the header gives every `launch_` function this type.
    unsafe { std::mem::transmute::<*mut c_void, Entry>(found) }
}

/// The compiled library, named by what it was made of, so that tests share it.
fn library(source: &Source) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (HEADER, source.text, FLAGS, machine()).hash(&mut hasher);
    let path = std::env::temp_dir().join(format!("temper-emulated-{}-{:016x}.so", source.name, hasher.finish()));
    if !path.exists() {
        compile(source, &path);
    }
    path
}

/// No contraction: as with NVRTC, a product and a sum are rounded each by itself. No fortified longjmp: fibers leave their stacks.
const FLAGS: &str = "-std=c++17 -O2 -march=native -ffp-contract=off -U_FORTIFY_SOURCE -w -fPIC -shared";

/// What else decides how a library comes out: the compiler, and the processor that is `native` to it.
fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let compiler = Command::new("g++").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = processor.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        String::from_utf8_lossy(&compiler).into_owned() + flags.unwrap_or_default()
    })
}

fn compile(source: &Source, to: &Path) {
    let own = to.with_extension(format!("{}.d", std::process::id()));
    std::fs::create_dir_all(&own).expect("a folder for the compiler");
    let (program, built) = (own.join(format!("{}.cpp", source.name)), own.join("built.so"));
    let text = format!("{HEADER}\n#line 1 \"{}.cu\"\n{}", source.name, source.text.concat());
    std::fs::write(&program, text).expect("the program");
    let run = Command::new("g++").args(FLAGS.split(' ')).arg(&program).arg("-o").arg(&built).output();
    let run = run.expect("g++ is there: scripts/setup asks for it");
    assert!(run.status.success(), "{} does not compile:\n{}", source.name, String::from_utf8_lossy(&run.stderr));
    // Whole or absent: another test may look at the same time.
    std::fs::rename(&built, to).expect("the library");
    let _ = std::fs::remove_dir_all(&own);
}
