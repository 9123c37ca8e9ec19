//! A stage's checkpoints: folders that are whole or absent, sealed with the hash of every file, and read only where the hashes hold.
//!
//! ```text
//! .step-000004.partial/   filled, each file synced
//!     └─ checksums.json   written last ──rename──> step-000004/
//!                                        damaged ─> damaged-step-000004/   set aside; the one before it is used
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data::atomic;
use sha2::{Digest, Sha256};

use super::folder::partial;
use super::sealed::hex;
use crate::exit::{Code, Failure, OrFail};
use crate::say;

/// The file that holds the SHA-256 of every other file of a checkpoint.
const CHECKSUMS: &str = "checksums.json";
/// What a checkpoint's name begins with; the step follows.
const PREFIX: &str = "step-";

/// Why a checkpoint is not what was written.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not what was written: its SHA-256 differs", path.display())]
    Differs { path: PathBuf },
    #[error("{} is not a list of checksums", path.display())]
    Malformed { path: PathBuf },
}

/// Writes the checkpoint of a step: `fill` writes its files into the folder that it is given. One that is there already holds the same
/// bytes and stays.
///
/// # Errors
/// [`Code::Disk`], or as `fill`; what was there is untouched.
pub fn write(stage: &Path, step: u64, fill: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let parent = stage.join("checkpoints");
    let name = format!("{PREFIX}{step:06}");
    let target = parent.join(&name);
    if target.exists() {
        return Ok(());
    }
    let aside = partial(&parent, &name);
    let _ = fs::remove_dir_all(&aside);
    let filled = fs::create_dir_all(&aside).or_fail(Code::Disk).and_then(|()| fill(&aside)).and_then(|()| seal(&aside));
    // Where the disk is full, half a checkpoint must not keep it full.
    filled.inspect_err(|_| drop(fs::remove_dir_all(&aside)))?;
    fs::rename(&aside, &target).or_fail(Code::Disk)?;
    File::open(&parent).and_then(|folder| folder.sync_all()).or_fail(Code::Disk)
}

/// A stage's checkpoints, oldest first, unread.
///
/// # Errors
/// [`Code::Disk`] where the folder cannot be listed.
pub fn all(stage: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = stage.join("checkpoints");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).or_fail(Code::Disk)? {
        let path = entry.or_fail(Code::Disk)?.path();
        found.extend(step_of(&path).map(|step| (step, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The last checkpoint whose hashes hold. One that is damaged is set aside with a word to the user.
///
/// # Errors
/// [`Code::Disk`].
pub fn last_sound(stage: &Path) -> Result<Option<PathBuf>, Failure> {
    for checkpoint in all(stage)?.into_iter().rev() {
        let Err(damage) = verify(&checkpoint) else { return Ok(Some(checkpoint)) };
        let aside = set_aside(&checkpoint)?;
        say!("warning: {damage}; it is kept as {}, and the run goes on from the one before", aside.display());
    }
    Ok(None)
}

/// The newest checkpoint at or before `step` whose hashes hold. One that is damaged is passed over with a word to the user, and stays.
///
/// # Errors
/// [`Code::Disk`].
pub fn sound_up_to(stage: &Path, step: u64) -> Result<Option<PathBuf>, Failure> {
    for checkpoint in all(stage)?.into_iter().rev().filter(|path| step_of(path).is_some_and(|at| at <= step)) {
        let Err(damage) = verify(&checkpoint) else { return Ok(Some(checkpoint)) };
        say!("warning: {damage}; the checkpoint before it is used");
    }
    Ok(None)
}

/// The step of a checkpoint, by its folder's name.
pub fn step_of(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok()
}

/// Refuses a checkpoint whose hashes do not hold.
///
/// # Errors
/// [`Code::Checkpoint`], naming the file.
pub fn check(checkpoint: &Path) -> Result<(), Failure> {
    verify(checkpoint).or_fail(Code::Checkpoint).map_err(|failure| {
        failure.hint(
            "delete the stage's stage.json: `temper resume` then redoes what was lost, from the checkpoint before",
        )
    })
}

/// Keeps the last `keep` checkpoints.
///
/// # Errors
/// [`Code::Disk`].
pub fn retire(stage: &Path, keep: usize) -> Result<(), Failure> {
    let found = all(stage)?;
    let old = found.len().saturating_sub(keep.max(1));
    found[..old].iter().try_for_each(fs::remove_dir_all).or_fail(Code::Disk)
}

fn set_aside(checkpoint: &Path) -> Result<PathBuf, Failure> {
    let name = checkpoint.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aside = checkpoint.with_file_name(format!("damaged-{name}"));
    let _ = fs::remove_dir_all(&aside);
    fs::rename(checkpoint, &aside).or_fail(Code::Disk)?;
    Ok(aside)
}

fn seal(folder: &Path) -> Result<(), Failure> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder).or_fail(Code::Disk)? {
        let path = entry.or_fail(Code::Disk)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        sums.insert(name, sha256(&path).or_fail(Code::Disk)?);
    }
    let text = serde_json::to_vec_pretty(&sums).or_fail(Code::Internal)?;
    atomic::write_atomic(&folder.join(CHECKSUMS), |file| file.write_all(&text)).or_fail(Code::Disk)
}

fn verify(checkpoint: &Path) -> Result<(), Damage> {
    let path = checkpoint.join(CHECKSUMS);
    let text = fs::read(&path).map_err(|source| Damage::Unreadable { path: path.clone(), source })?;
    let sums: BTreeMap<String, String> =
        serde_json::from_slice(&text).map_err(|_| Damage::Malformed { path: path.clone() })?;
    for (name, sum) in sums {
        let path = checkpoint.join(name);
        match sha256(&path) {
            Ok(found) if found == sum => {}
            Ok(_) => return Err(Damage::Differs { path }),
            Err(source) => return Err(Damage::Unreadable { path, source }),
        }
    }
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Where it cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut block = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
    }
    Ok(hex(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage_of_three() -> tempfile::TempDir {
        let stage = tempfile::tempdir().expect("a folder");
        for step in 1..=3u64 {
            let fill = |folder: &Path| fs::write(folder.join("model"), [step as u8; 1000]).or_fail(Code::Disk);
            write(stage.path(), step, fill).expect("it writes");
        }
        stage
    }

    fn step(checkpoint: Option<PathBuf>) -> Option<String> {
        checkpoint.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
    }

    #[test]
    fn inv_6_a_torn_checkpoint_is_set_aside_and_the_one_before_it_used() {
        let stage = stage_of_three();
        let file = |step| stage.path().join(format!("checkpoints/step-00000{step}/model"));
        assert_eq!(step(last_sound(stage.path()).expect("it lists")).as_deref(), Some("step-000003"));
        // Cut in half, and one bit of the other: both are seen, and neither is lost.
        fs::write(file(3), [3; 500]).expect("it writes");
        let mut flipped = [2; 1000];
        flipped[777] ^= 1;
        fs::write(file(2), flipped).expect("it writes");
        check(file(2).parent().expect("a folder")).expect_err("a bit differs");
        assert_eq!(step(last_sound(stage.path()).expect("it lists")).as_deref(), Some("step-000001"));
        assert!(stage.path().join("checkpoints/damaged-step-000003/model").exists());
        // The step is done again, and its checkpoint can be written where the damaged one stood.
        let fill = |folder: &Path| fs::write(folder.join("model"), [2; 1000]).or_fail(Code::Disk);
        write(stage.path(), 2, fill).expect("the place is free");
        assert_eq!(step(last_sound(stage.path()).expect("it lists")).as_deref(), Some("step-000002"));
    }

    #[test]
    fn a_checkpoint_that_cannot_be_filled_leaves_nothing_and_old_ones_are_retired() {
        let stage = stage_of_three();
        let full = |_: &Path| Err(Failure::new(Code::Disk, "full"));
        assert_eq!(write(stage.path(), 4, full).expect_err("it fails").code, Code::Disk);
        assert_eq!(fs::read_dir(stage.path().join("checkpoints")).expect("it lists").count(), 3);
        retire(stage.path(), 2).expect("it removes");
        assert_eq!(all(stage.path()).expect("it lists").len(), 2);
    }
}
