//! The weights files of a checkpoint folder, memory-mapped: `model.safetensors`, or the shards that `model.safetensors.index.json`
//! lists, or else the same two of Mistral's own layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, UncheckedAdvice};
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use tch::Tensor;

use super::{CheckpointError, WEIGHTS, mistral};
use crate::config::{Attention, ModelConfig};

/// The list of shards of a checkpoint folder.
pub const INDEX: &str = "model.safetensors.index.json";

/// The files, and which of them holds what.
pub(super) struct Shards {
    files: Vec<Shard>,
    /// For each parameter its file and its name there.
    place: BTreeMap<String, (usize, String)>,
    /// What is named when a parameter is in no file.
    list: PathBuf,
    layout: Layout,
    /// Width of the heads whose rows lie in pairs in these files; see [`View::in_file_order`].
    paired: Option<usize>,
}

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Transformers,
    Mistral,
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
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    at: usize,
    length: usize,
    paired: Option<usize>,
}

impl Shards {
    /// Opens all files of a folder, to read this model from them.
    pub(super) fn of_model(folder: &Path, config: &ModelConfig) -> Result<Self, CheckpointError> {
        let mut shards = Self::open(folder)?;
        if let (Layout::Mistral, Attention::Gqa(gqa)) = (shards.layout, &config.attention) {
            shards.paired = Some(gqa.head_width as usize);
        }
        Ok(shards)
    }

    /// Opens all files of a folder. One file wins over shards where both are there, as in transformers, and its layout over Mistral's own.
    pub(super) fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let layout = Layout::of(folder);
        let (whole, list) = layout.files();
        let (whole, list) = (folder.join(whole), folder.join(list));
        if whole.exists() || !list.exists() {
            return Self::of_one(&whole, layout);
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
            add(&mut place, layout, (number, name), &list)?;
        }
        Ok(Self { files, place, list, layout, paired: None })
    }

    /// Opens one file, with names as transformers has them.
    pub(super) fn of_file(path: &Path) -> Result<Self, CheckpointError> {
        Self::of_one(path, Layout::Transformers)
    }

    fn of_one(path: &Path, layout: Layout) -> Result<Self, CheckpointError> {
        let shard = Shard::open(path)?;
        let mut place = BTreeMap::new();
        let names: BTreeSet<String> = shard.metadata.tensors().into_keys().collect();
        names.into_iter().try_for_each(|name| add(&mut place, layout, (0, name), path))?;
        Ok(Self { files: vec![shard], place, list: path.to_owned(), layout, paired: None })
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|shard| shard.path.as_path())
    }

    /// Names of all parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// A parameter; `None` where no file has it.
    pub(super) fn find(&self, name: &str) -> Option<View<'_>> {
        self.whole(name).or_else(|| self.part(name))
    }

    fn whole(&self, name: &str) -> Option<View<'_>> {
        let (number, own_name) = self.place.get(name)?;
        let shard = &self.files[*number];
        let info = shard.metadata.info(own_name)?;
        let (from, to) = info.data_offsets;
        let (name, shape, at) = (name.to_owned(), info.shape.clone(), shard.data_at + from);
        let is_turned = name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight");
        let paired = self.paired.filter(|_| is_turned);
        Some(View { shard, name, dtype: info.dtype, shape, at, length: to - from, paired })
    }

    /// A matrix of one expert, where those of a layer lie in one tensor.
    fn part(&self, name: &str) -> Option<View<'_>> {
        let place = Fused::of(name)?;
        let fused = self.whole(&place.tensor)?;
        let &[experts, rows, columns] = fused.shape.as_slice() else { return None };
        let rows = rows / place.parts;
        if place.expert >= experts {
            return None;
        }
        let length = fused.length / (experts * place.parts);
        let at = fused.at + (place.expert * place.parts + place.part) * length;
        Some(View { name: name.to_owned(), shape: vec![rows, columns], at, length, ..fused })
    }

    /// A parameter that must be there.
    pub(super) fn get(&self, name: &str) -> Result<View<'_>, CheckpointError> {
        self.find(name).ok_or_else(|| CheckpointError::Missing { path: self.list.clone(), name: self.name_there(name) })
    }

    /// The number of the layer that a parameter belongs to, be its name one that is known or not.
    pub(super) fn layer(&self, name: &str) -> Option<i64> {
        let own = name.strip_prefix("layers.").filter(|_| self.layout == Layout::Mistral);
        name.strip_prefix("model.layers.").or(own)?.split('.').next()?.parse().ok()
    }

    /// A parameter's name as these files have it.
    pub(super) fn name_there(&self, name: &str) -> String {
        let own = (self.layout == Layout::Mistral).then(|| mistral::own(name)).flatten();
        own.unwrap_or_else(|| name.to_owned())
    }
}

/// Puts a parameter of a file among the others.
fn add(
    place: &mut BTreeMap<String, (usize, String)>,
    layout: Layout,
    (number, name): (usize, String),
    list: &Path,
) -> Result<(), CheckpointError> {
    match place.insert(layout.plain_name(&name), (number, name.clone())) {
        Some(_) => Err(CheckpointError::Twice { path: list.to_owned(), name }),
        None => Ok(()),
    }
}

impl Layout {
    /// The layout of a folder's weights; where there are none that of what is missing.
    fn of(folder: &Path) -> Self {
        let has = |layout: Self| {
            let (whole, list) = layout.files();
            folder.join(whole).exists() || folder.join(list).exists()
        };
        let own = has(Self::Mistral) || ModelConfig::is_mistrals_own(folder);
        if !has(Self::Transformers) && own { Self::Mistral } else { Self::Transformers }
    }

    /// The file of all weights, and the list of shards.
    fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Transformers => (WEIGHTS, INDEX),
            Self::Mistral => (mistral::WEIGHTS, mistral::INDEX),
        }
    }

    fn plain_name(self, name: &str) -> String {
        match self {
            Self::Transformers => plain_name(name),
            Self::Mistral => mistral::theirs(name).unwrap_or_else(|| name.to_owned()),
        }
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

    /// Its shape, as libtorch wants it.
    pub(super) fn dimensions(&self) -> Vec<i64> {
        self.shape.iter().map(|&n| n as i64).collect()
    }

    /// A tensor of the parameter's shape with its rows in the order of the file. Mistral's files have the rows of a query or key head so that
    /// the two numbers that are rotated together are neighbours, `[heads, width/2, 2]`; here, as in transformers, the second of each pair
    /// lies half a head further, `[heads, 2, width/2]`.
    pub(super) fn in_file_order(&self, tensor: &Tensor) -> Tensor {
        match (self.paired, self.shape.as_slice()) {
            (Some(width), &[_, columns]) => tensor.view([-1, 2, width as i64 / 2, columns as i64]).transpose(1, 2),
            _ => tensor.shallow_clone(),
        }
    }

    /// Whether its rows lie in another order in the file.
    pub(super) fn is_reordered(&self) -> bool {
        self.paired.is_some()
    }

    /// Asks the system to read a part of the parameter while something else is done. It may not, and then it is read when it is needed.
    pub(super) fn ask(&self, part: Range<usize>) {
        let _ = self.shard.map.advise_range(Advice::WillNeed, self.at + part.start, part.len());
    }

    /// Tells the system that these pages of the map are not needed any more, so that reading a checkpoint does not hold the file beside
    /// the model.
    pub(super) fn release(&self, part: Range<usize>) {
        let (at, length) = (self.at + part.start, part.len());
        // SAFETY: the map is of a file and read-only, so a page that is touched again is read again with the same contents. An error
        // changes nothing but memory.
        let _ = unsafe { self.shard.map.unchecked_advise_range(UncheckedAdvice::DontNeed, at, length) };
    }
}

/// Where a matrix of one expert lies in a tensor of all of a layer's: `gate_up_proj [experts, 2 width, hidden]`, `down_proj [experts, hidden,
/// width]`, as transformers 5 keeps some families.
pub(super) struct Fused {
    /// The tensor of all.
    pub(super) tensor: String,
    expert: usize,
    /// How many matrices an expert has there.
    pub(super) parts: usize,
    /// Which of them this is.
    part: usize,
}

impl Fused {
    /// Of a parameter's name; `None` where it is no expert's matrix.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (layer, rest) = name.split_once(".mlp.experts.")?;
        let (expert, kind) = rest.split_once('.')?;
        let (tensor, parts, part) = match kind {
            "gate_proj.weight" => ("gate_up_proj", 2, 0),
            "up_proj.weight" => ("gate_up_proj", 2, 1),
            "down_proj.weight" => ("down_proj", 1, 0),
            _ => return None,
        };
        Some(Self { tensor: format!("{layer}.mlp.experts.{tensor}"), expert: expert.parse().ok()?, parts, part })
    }

    /// Its place among the matrices of the tensor.
    pub(super) fn order(&self) -> usize {
        self.expert * self.parts + self.part
    }
}

/// A parameter's name without what a model with eyes puts before those of its language model.
fn plain_name(name: &str) -> String {
    match (name.strip_prefix("language_model."), name.strip_prefix("model.language_model.")) {
        (Some(plain), _) => plain.to_owned(),
        (None, Some(plain)) => format!("model.{plain}"),
        (None, None) => name.to_owned(),
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
