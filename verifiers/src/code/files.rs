//! Files in memory that stand for a program's standard streams, and nonces for its answers.

use std::{
    fs::File,
    io::{Seek, Write},
    os::unix::fs::FileExt,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::SandboxError;

fn failed(e: std::io::Error) -> SandboxError {
    SandboxError::Lost(format!("a file in memory: {e}"))
}

/// A file that nobody can change any more, its offset at the start.
pub(super) fn sealed(bytes: &[u8]) -> Result<File, SandboxError> {
    let make = || {
        let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.write_all(bytes)?;
        file.rewind()?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(file)
    };
    make().map_err(failed)
}

/// A file to write to. Not a pipe: nothing has to be drained while the program runs, and nothing can be held open after it.
pub(super) fn sink() -> Result<File, SandboxError> {
    memfd_create("stdout", MemfdFlags::CLOEXEC).map(File::from).map_err(|e| failed(e.into()))
}

/// What was written, at most `limit` bytes of it, and how long it is. To be read when all who could write are dead.
pub(super) fn written(file: &File, limit: u64) -> Result<(Vec<u8>, u64), SandboxError> {
    let length = file.metadata().map_err(failed)?.len();
    let mut bytes = vec![0; length.min(limit) as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok((bytes, length))
}

/// Sixteen bytes that a program of another run cannot know.
pub(super) fn nonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is as long as is said. Up to 256 bytes are never cut, and a kernel without the call leaves zeros, which only
    // weakens a second line of defence: a forger would still need the expected value.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    bytes
}
