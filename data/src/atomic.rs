//! Files that are whole or absent: written aside, made durable, then renamed into place.
//!
//! A reader sees the old file or the new one, whatever instant the writer dies at. What a killed writer leaves is a
//! hidden file that no reader lists; [`remove_leftovers`] clears it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const TEMPORARY_SUFFIX: &str = ".temper-tmp";

/// Tells apart the temporary files that one process writes for the same target.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Why a file could not be written. The target is as it was, unless the error is [`WriteError::Durability`].
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk, or the user's quota on it, is full.
    #[error(
        "no space left to write {}: nothing of it was kept and what was there is untouched; \
         free space on that disk and go on",
        path.display()
    )]
    DiskFull {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed for another reason.
    #[error(
        "cannot write {}: {source}; nothing of it was kept; \
         check that its folder exists and may be written",
        path.display()
    )]
    Io {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is in place and whole, but the folder could not be synced: after a power cut it may be missing.
    #[error(
        "{} was written, but its folder could not be synced: {source}; \
         it may be lost in a power cut",
        path.display()
    )]
    Durability {
        /// The file that was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WriteError {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// Puts what `write` writes at `path`, replacing what was there: all of it, or nothing.
///
/// The bytes go to a hidden file in the same folder, which is synced, renamed to `path`, and then the folder is synced.
/// When `write` or any later step fails, the hidden file is removed.
///
/// # Errors
/// [`WriteError::DiskFull`] if there is no space, [`WriteError::Io`] for any other failure, that of `write` included.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), WriteError> {
    let temporary = temporary_for(path).map_err(|e| WriteError::new(path, e))?;
    let written = fill(&temporary, write).and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = written {
        // The first failure is the one to report; a leftover that cannot be removed is hidden and harmless.
        let _ = fs::remove_file(&temporary);
        return Err(WriteError::new(path, source));
    }
    sync_folder(folder_of(path)).map_err(|source| WriteError::Durability { path: path.to_owned(), source })
}

/// Removes the hidden files that killed writers left in `folder`; returns how many there were.
///
/// Only for the folder's one writer, before it writes: it would take the file from under another writer's hands.
///
/// # Errors
/// If the folder cannot be listed or a leftover cannot be removed.
pub fn remove_leftovers(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn fill(temporary: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::options().write(true).read(true).create_new(true).open(temporary)?;
    write(&mut file)?;
    // Delayed allocation reports a full disk here at the latest, before the rename makes the file visible.
    file.sync_all()
}

/// `.NAME.PID-COUNT.temper-tmp`, beside the target: a rename is atomic only within one file system.
fn temporary_for(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let count = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{count}{TEMPORARY_SUFFIX}", std::process::id()));
    Ok(folder_of(path).join(temporary))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems do not sync folders; they order the rename themselves.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").file_name()).collect()
    }

    #[test]
    fn replaces_the_whole_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.txt");
        write_atomic(&path, |f| f.write_all(b"a long first text")).expect("first");
        write_atomic(&path, |f| f.write_all(b"second")).expect("second");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.txt");
        write_atomic(&path, |f| f.write_all(b"old")).expect("old");
        let failed = write_atomic(&path, |f| {
            f.write_all(b"half of the n")?;
            Err(io::Error::other("the writer gave up"))
        });
        assert!(matches!(failed, Err(WriteError::Io { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    /// `/dev/full` answers every write with the system's own "no space left on device".
    #[test]
    fn a_full_disk_is_named_as_such() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.txt");
        let error = write_atomic(&path, |f| {
            f.write_all(b"half")?;
            File::options().write(true).open("/dev/full")?.write_all(b"rest")
        })
        .expect_err("the disk is full");
        assert!(matches!(error, WriteError::DiskFull { .. }), "{error:?}");
        assert!(error.to_string().contains("no space left") && error.to_string().contains("a.txt"), "{error}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let error = write_atomic(&folder.path().join("no/a.txt"), |_| Ok(())).expect_err("no folder");
        assert!(error.to_string().contains("no/a.txt"), "{error}");
        assert!(write_atomic(Path::new("/"), |_| Ok(())).is_err());
    }

    #[test]
    fn leftovers_of_a_killed_writer_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let kept = folder.path().join("a.txt");
        write_atomic(&kept, |f| f.write_all(b"kept")).expect("kept");
        fs::write(temporary_for(&kept).expect("name"), b"half").expect("leftover");
        fs::write(folder.path().join(".hidden"), b"someone else's").expect("other");
        assert_eq!(remove_leftovers(folder.path()).expect("removed"), 1);
        assert_eq!(names(folder.path()).len(), 2);
    }
}
