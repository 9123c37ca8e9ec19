//! The weights files of a checkpoint folder, memory-mapped: `model.safetensors`, or the shards that `model.safetensors.index.json`
//! lists.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};
use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use super::{CheckpointError, WEIGHTS};

/// The list of shards of a checkpoint folder.
pub const INDEX: &str = "model.safetensors.index.json";

/// The files, and which of them holds what.
pub(super) struct Shards {
    files: Vec<Shard>,
    place: BTreeMap<String, usize>,
    /// What is named when a parameter is in no file.
    list: PathBuf,
}

struct Shard {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where the data begins, after the header.
    data_at: usize,
}

/// A parameter as it lies in a file.
pub(super) struct View<'a> {
    shard: &'a Shard,
    pub(super) name: &'a str,
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    at: usize,
    length: usize,
}

impl Shards {
    /// Opens all files of a folder. `model.safetensors` wins where both are there, as in transformers.
    pub(super) fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let (whole, list) = (folder.join(WEIGHTS), folder.join(INDEX));
        if whole.exists() || !list.exists() {
            return Self::of_file(&whole);
        }
        let names = read_index(&list)?;
        let mut files: Vec<Shard> = Vec::new();
        let mut place = BTreeMap::new();
        for (name, file) in names {
            let path = folder.join(&file);
            let known = files.iter().position(|shard| shard.path == path);
            let number = match known {
                Some(number) => number,
                None if !path.exists() => return Err(CheckpointError::MissingShard { list, shard: path, name }),
                None => {
                    files.push(Shard::open(&path)?);
                    files.len() - 1
                }
            };
            place.insert(name, number);
        }
        Ok(Self { files, place, list })
    }

    /// Opens one file.
    pub(super) fn of_file(path: &Path) -> Result<Self, CheckpointError> {
        let shard = Shard::open(path)?;
        let place = shard.metadata.tensors().into_keys().map(|name| (name, 0)).collect();
        Ok(Self { files: vec![shard], place, list: path.to_owned() })
    }

    /// Names of all parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// A parameter; `None` where no file has it.
    pub(super) fn find(&self, name: &str) -> Option<View<'_>> {
        let (name, &number) = self.place.get_key_value(name)?;
        let shard = &self.files[number];
        let info = shard.metadata.info(name)?;
        let (from, to) = info.data_offsets;
        let at = shard.data_at + from;
        Some(View { shard, name, dtype: info.dtype, shape: &info.shape, at, length: to - from })
    }

    /// A parameter that must be there.
    pub(super) fn get(&self, name: &str) -> Result<View<'_>, CheckpointError> {
        self.find(name).ok_or_else(|| CheckpointError::Missing { path: self.list.clone(), name: name.to_owned() })
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the map is read-only and private to this call; weights files are replaced by renaming, never written in place.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let damaged = |source| CheckpointError::Damaged { path: path.to_owned(), source };
        // This also checks that the file is as long as its header says.
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), map, metadata, data_at: 8 + header })
    }
}

impl View<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.shard.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.shard.map[self.at..self.at + self.length]
    }

    /// Tells the system that the parameter's pages of the map are not needed any more, so that reading a checkpoint does not hold the
    /// file beside the model.
    pub(super) fn release(&self) {
        // SAFETY: the map is of a file and read-only, so a page that is touched again is read again with the same contents. An error
        // changes nothing but memory.
        let _ = unsafe { self.shard.map.unchecked_advise_range(UncheckedAdvice::DontNeed, self.at, self.length) };
    }
}

/// Which file holds each parameter.
fn read_index(list: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    let wrong = |reason: String| CheckpointError::Index { path: list.to_owned(), reason };
    let text = std::fs::read_to_string(list).map_err(|e| wrong(e.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let names = value.get("weight_map").and_then(|map| map.as_object());
    let names = names.ok_or_else(|| wrong("it has no object `weight_map`".to_owned()))?;
    let file = |(name, file): (&String, &serde_json::Value)| match file.as_str() {
        // A name that leads out of the folder is no shard of it.
        Some(file) if Path::new(file).components().count() == 1 && !file.starts_with('.') => {
            Ok((name.clone(), file.to_owned()))
        }
        _ => Err(wrong(format!("{name:?} is in {file}, which is no file name"))),
    };
    names.iter().map(file).collect()
}
