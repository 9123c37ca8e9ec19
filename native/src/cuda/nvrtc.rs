//! Compiling CUDA C++ with NVRTC, NVIDIA's compiler as a library.
//!
//! It comes with PyTorch's pip packages, in a folder beside libtorch's that the dynamic linker does not search, so it is opened by its
//! path first; whoever asks for it by name gets that one then.

use std::ffi::{CString, c_char};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::nvrtc::{result, sys};

use super::launch::Source;
use super::{CudaError, open};

/// A product and a sum are rounded each by itself unless the source says `fmaf`, as in Rust. Quotients, roots and subnormal numbers are
/// IEEE 754's by default.
const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// What every source begins with.
const PRELUDE: &str = include_str!("prelude.cuh");

/// Where the pip packages put NVRTC, seen from `torch/lib`; the file with its built-in functions comes first, since it looks for that one.
const PLACES: [(&str, [&str; 2]); 2] = [
    ("../../nvidia/cu13/lib", ["libnvrtc-builtins.so.13.0", "libnvrtc.so.13"]),
    ("../../nvidia/cuda_nvrtc/lib", ["libnvrtc-builtins.so.12.8", "libnvrtc.so.12"]),
];

/// Opens the compiler once.
///
/// # Errors
/// [`CudaError::NoCompiler`].
pub(super) fn find() -> Result<(), CudaError> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if let Some(folder) = libtorch_folder() {
            PLACES.iter().for_each(|(place, names)| open_all(&folder.join(place), names));
        }
        // SAFETY: it opens the library by its usual names.
        unsafe { sys::is_culib_present() }
    });
    if *found { Ok(()) } else { Err(CudaError::NoCompiler("libnvrtc.so")) }
}

/// Opens what is there; whether that was enough is seen afterwards.
fn open_all(folder: &Path, names: &[&str]) {
    for path in names.iter().map(|name| folder.join(name)).filter(|path| path.exists()) {
        if let Ok(path) = CString::new(path.into_os_string().into_encoded_bytes()) {
            let _ = open(&path, libc::RTLD_NOW | libc::RTLD_GLOBAL);
        }
    }
}

/// The folder that `libtorch_cpu.so` was loaded from.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .find_map(|line| line.find('/').map(|at| &line[at..]).filter(|p| p.ends_with("/libtorch_cpu.so")))?;
    Some(std::fs::canonicalize(path).ok()?.parent()?.to_path_buf())
}

/// `source` as machine code for `architecture`, such as `sm_90`, from the cache where it was compiled before.
///
/// # Errors
/// As [`compile`].
pub(super) fn compiled(source: &Source, architecture: &str) -> Result<Vec<u8>, CudaError> {
    find()?;
    let mut hasher = DefaultHasher::new();
    (PRELUDE, source.text, architecture, OPTIONS, compiler_version()).hash(&mut hasher);
    let path = cache().map(|folder| folder.join(format!("{}-{:016x}.cubin", source.name, hasher.finish())));
    if let Some(code) = path.as_ref().and_then(|path| std::fs::read(path).ok()).and_then(unsealed) {
        return Ok(code);
    }
    let code = compile(source, architecture)?;
    if let Some(path) = path {
        // Without a cache the next process compiles again, which is all that a failure costs.
        let _ = keep(&path, &code);
    }
    Ok(code)
}

/// Writes code and its checksum, whole or not at all.
fn keep(path: &Path, code: &[u8]) -> io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let own = path.with_extension(format!("{}-{number}", std::process::id()));
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    std::fs::write(&own, [code, &checksum(code)].concat())?;
    std::fs::rename(&own, path)
}

/// The code of a kept file, if it is what was written: a machine that crashes can leave less, and the driver, which is told no length, would
/// read on past the end.
fn unsealed(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let code = file.len().checked_sub(size_of::<u64>())?;
    let sound = file[code..] == checksum(&file[..code]);
    file.truncate(code);
    sound.then_some(file)
}

fn checksum(code: &[u8]) -> [u8; size_of::<u64>()] {
    let mut hasher = DefaultHasher::new();
    code.hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

/// `$XDG_CACHE_HOME/temper`, or `~/.cache/temper`.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("temper"))
}

fn compiler_version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the compiler was found; it writes two numbers.
    let _ = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    (major, minor)
}

/// `source` as machine code for `architecture`, such as `sm_90`.
///
/// # Errors
/// [`CudaError::NoCompiler`], or [`CudaError::Compile`] with the compiler's log.
pub fn compile(source: &Source, architecture: &str) -> Result<Vec<u8>, CudaError> {
    find()?;
    let text = CString::new(format!("{PRELUDE}\n{}", source.text.concat())).expect("a source holds no NUL");
    let name = CString::new(source.name).expect("a name holds no NUL");
    let failed = |log: String| CudaError::Compile { source_name: source.name, log };
    let program = result::create_program(&text, Some(&name)).map_err(|error| failed(error.to_string()))?;
    let architecture = format!("--gpu-architecture={architecture}");
    let options: Vec<&str> = OPTIONS.iter().copied().chain([architecture.as_str()]).collect();
    // SAFETY: `program` was created above and is destroyed below, once.
    unsafe {
        let code = match result::compile_program(program, &options) {
            Ok(()) => machine_code(program).map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(format!("{error}\n{}", log(program)))),
        };
        let _ = result::destroy_program(program);
        code
    }
}

/// # Safety
/// `program` is live.
unsafe fn log(program: sys::nvrtcProgram) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { result::get_program_log(program) }.unwrap_or_default();
    let bytes: Vec<u8> = bytes.into_iter().map(|c| c as u8).take_while(|&c| c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// # Safety
/// `program` is live, and has been compiled.
unsafe fn machine_code(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    let mut size = 0;
    // SAFETY: the caller's promise; the second call writes as many bytes as the first one said.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &mut size).result()?;
        let mut code = vec![0u8; size];
        sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast::<c_char>()).result()?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_of_a_kept_file_is_no_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below/a.cubin");
        keep(&path, b"code").expect("it writes");
        let file = std::fs::read(&path).expect("it is there");
        assert_eq!(unsealed(file.clone()), Some(b"code".to_vec()));
        for length in 0..file.len() {
            assert_eq!(unsealed(file[..length].to_vec()), None, "{length} bytes");
        }
        assert_eq!(unsealed([b"c0de", &file[4..]].concat()), None);
    }
}
