//! `inputs.json` of a run: the model and the tokenizer that it reads, as they were when it began. A run that goes on with others would end with
//! other weights, and nothing else would say so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use data::tokenizer::{FILES, FORMS};
use sha2::{Digest, Sha256};

use super::checkpoints::sha256;
use super::sealed::{self, hex};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{ModelSource, Recipe};

/// The file's name inside a run's folder.
pub const FILE_NAME: &str = "inputs.json";

/// A larger file is known by its length and by blocks of it, so that a checkpoint of hundreds of gigabytes is known in a moment. Weights that
/// were trained on, or converted, differ in every block.
const WHOLE: u64 = 64 << 20;
/// Blocks that are read of such a file, and bytes of each.
const BLOCKS: u64 = 256;
const BLOCK: u64 = 64 << 10;

/// Fingerprints of files, by path.
#[derive(Debug, PartialEq, Eq)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Those of a recipe whose paths are absolute.
    ///
    /// # Errors
    /// [`Code::Checkpoint`] where one cannot be read.
    pub fn of(recipe: &Recipe) -> Result<Self, Failure> {
        let paths = match &recipe.model {
            ModelSource::Checkpoint { path } => vec![path],
            ModelSource::Fresh { config, tokenizer, .. } => vec![config, tokenizer],
        };
        let mut found = BTreeMap::new();
        for path in paths {
            let read = files(Path::new(path)).and_then(|files| {
                files.into_iter().try_for_each(|file| {
                    found.insert(file.display().to_string(), fingerprint(&file)?);
                    Ok(())
                })
            });
            read.or_fail(Code::Checkpoint).map_err(|failure| failure.context(path))?;
        }
        Ok(Self(found))
    }

    /// Writes them into a run's folder.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn write(&self, root: &Path) -> Result<(), Failure> {
        sealed::write(&root.join(FILE_NAME), &self.0)
    }

    /// Refuses to go on with others than those that a run began with. What is not there any more is missed where it is read, if it is.
    ///
    /// # Errors
    /// [`Code::Checkpoint`], naming the file.
    pub fn check(root: &Path) -> Result<(), Failure> {
        let path = root.join(FILE_NAME);
        if !path.exists() {
            return Ok(());
        }
        let began: BTreeMap<String, String> = sealed::read(&path)?;
        for (file, before) in began {
            let same = match fingerprint(Path::new(&file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.or_fail(Code::Checkpoint).map_err(|failure| failure.context(&file))? == before,
            };
            if !same {
                let message = format!("{file} is not what it was when the run began: its SHA-256 differs");
                return Err(Failure::new(Code::Checkpoint, message).hint(
                    "restore the file, or begin a new run: with another model or tokenizer this one would end with other weights",
                ));
            }
        }
        Ok(())
    }
}

/// The file, or the files of a checkpoint's folder that decide what it is.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let tokenizers = |folder: &Path| FILES.map(|name| folder.join(name)).into_iter().filter(|path| path.is_file());
    if path.is_file() {
        let is_tokenizer = FORMS.iter().any(|form| path.ends_with(form));
        let beside = path.parent().filter(|_| is_tokenizer).map(|folder| tokenizers(folder).collect());
        return Ok(beside.unwrap_or_else(|| vec![path.to_owned()]));
    }
    let decides = |path: &PathBuf| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        path.is_file() && matches!(kind, Some("json" | "safetensors" | "jinja"))
    };
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let found: BTreeSet<PathBuf> = entries.into_iter().filter(decides).chain(tokenizers(path)).collect();
    Ok(found.into_iter().collect())
}

fn fingerprint(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length <= WHOLE {
        return sha256(path);
    }
    let mut hash = Sha256::new();
    hash.update(length.to_le_bytes());
    let mut block = vec![0; BLOCK as usize];
    for number in 0..BLOCKS {
        // The first block begins with the file, and the last one ends with it.
        file.read_exact_at(&mut block, (length - BLOCK) * number / (BLOCKS - 1))?;
        hash.update(&block);
    }
    Ok(hex(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_known_by_its_blocks_and_its_length() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        let file = File::create(&path).expect("it is made");
        file.set_len(WHOLE + 5).expect("a hole");
        let known = || fingerprint(&path).expect("it reads");
        let empty = known();
        assert_eq!(known(), empty);
        file.set_len(WHOLE + 6).expect("a hole");
        assert_ne!(known(), empty);
        file.set_len(WHOLE + 5).expect("a hole");
        for at in [0, BLOCK - 1, WHOLE / 255, WHOLE + 4] {
            file.write_all_at(&[1], at).expect("it writes");
            assert_ne!(known(), empty, "{at}");
            file.write_all_at(&[0], at).expect("it writes");
            assert_eq!(known(), empty, "{at}");
        }
    }
}
