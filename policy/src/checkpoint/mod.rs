//! Checkpoints in Hugging Face's layout: `config.json` and `model.safetensors` (or its shards), with HF's parameter names. Mistral's own
//! layout is read too, and becomes this one where it is written.
//!
//! What is read is checked against the config: every parameter that the model needs, by name and shape. What is written is the same
//! bytes for the same weights (parameters in name order, no time or host in the file).

mod fp8;
mod kinds;
mod mistral;
mod peft;
mod reading;
mod shards;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensorError};
use tch::Device;

pub(crate) use self::fp8::{is_matrix_of_layer, quantised};
pub use self::peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdaptedBase, PeftError, load_adapters, save_adapters};
use self::reading::{Held, read_all};
pub use self::shards::INDEX;
use self::shards::{Fused, Shards, View};
use self::write::{Piece, Source, fused, pieces, write_file, write_folder};
pub use self::write::{Storage, Writing};
use crate::compute::Compute;
use crate::config::{ConfigError, IndexerConfig, ModelConfig};
use crate::model::{Model, is_precise};
use crate::params::{Params, initial, is_adapter, is_indexer, is_selection_bias, shapes};
use crate::products::NoSafeRows;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// `config.json` is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights file could not be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The weights file is cut or not safetensors.
    #[error("{path} is cut or damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: SafeTensorError,
    },
    /// The list of shards is not what it should be.
    #[error("{path}: {reason}")]
    Index {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A shard is missing.
    #[error("{shard} is missing, in which {list} says {name:?} is; was the download complete?")]
    MissingShard {
        /// The list.
        list: PathBuf,
        /// The shard.
        shard: PathBuf,
        /// A parameter that should be in it.
        name: String,
    },
    /// A parameter is there twice, under two names for one.
    #[error("{path} has {name:?} under another name too")]
    Twice {
        /// The file, or the list of files.
        path: PathBuf,
        /// One of its names.
        name: String,
    },
    /// A parameter is missing.
    #[error("{path} has no {name:?}, which its config asks for")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
    },
    /// A parameter has another shape than the config says.
    #[error("{path}: {name:?} is {found:?}, and the config asks for {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape by the config.
        expected: Vec<i64>,
    },
    /// A parameter has a kind that is not read.
    #[error("{path}: {name:?} is {kind:?}; F32, BF16, F16 and blocks of F8_E4M3 are read")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Its kind in the file.
        kind: Dtype,
    },
    /// The family's files have no form for it.
    #[error("{path}: FP8 is not written for {family}, whose experts lie in one tensor: write bf16")]
    NoFp8 {
        /// The folder.
        path: PathBuf,
        /// The family.
        family: &'static str,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] data::atomic::WriteError),
    /// The model cannot be exact on this device.
    #[error(transparent)]
    NoSafeRows(#[from] NoSafeRows),
}

/// The weights file of a checkpoint folder.
pub const WEIGHTS: &str = "model.safetensors";

/// A folder's config. Where it says that the head is the embedding, and the weights hold a head that is another, they are believed, as by
/// transformers.
fn config_of(folder: &Path) -> Result<ModelConfig, CheckpointError> {
    let config = ModelConfig::read(folder)?;
    if !config.tie_word_embeddings {
        return Ok(config);
    }
    let shards = Shards::open(folder)?;
    let own = match (shards.find("lm_head.weight"), shards.find("model.embed_tokens.weight")) {
        (Some(head), Some(embedding)) => head.dtype != embedding.dtype || head.bytes() != embedding.bytes(),
        _ => false,
    };
    Ok(ModelConfig { tie_word_embeddings: !own, ..config })
}

/// Reads a checkpoint folder.
///
/// # Errors
/// [`CheckpointError`], naming file and parameter.
pub fn load(folder: &Path, compute: impl Into<Compute>) -> Result<Model, CheckpointError> {
    let config = config_of(folder)?;
    let params = load_params(folder, &config)?;
    Ok(Model::new(config, params, compute)?)
}

/// Reads a checkpoint folder for a model that will not learn. On the CPU its matrices of bf16 stay bf16 and are widened, which is exact,
/// where they are multiplied: it computes the bits of [`load`]'s and holds its file's size, not twice that. (A product lays a matrix out
/// once more, as f32, when it first multiplies with it.)
///
/// # Errors
/// As [`load`].
pub fn load_frozen(folder: &Path, compute: impl Into<Compute>) -> Result<Model, CheckpointError> {
    let (config, compute) = (config_of(folder)?, compute.into());
    let held = if compute.device == Device::Cpu { Held::AsStored } else { Held::F32 };
    let params = read_params(folder, &config, held)?;
    Ok(Model::new(config, params, compute)?)
}

/// Reads a checkpoint without its indexer, if it has one: the dense model.
///
/// # Errors
/// As [`load`].
pub fn load_dense(folder: &Path, compute: impl Into<Compute>) -> Result<Model, CheckpointError> {
    let mut config = config_of(folder)?;
    config.indexer = None;
    let params = load_params(folder, &config)?;
    Ok(Model::new(config, params, compute)?)
}

/// Reads a checkpoint that shall have this indexer: a fresh one where it has none, its own weights otherwise.
///
/// # Errors
/// As [`load`]; an indexer of another shape than the checkpoint's is a [`CheckpointError::Shape`], and a fresh one that does not fit the model
/// a [`CheckpointError::Config`].
pub fn load_with_indexer(
    folder: &Path,
    indexer: Option<&IndexerConfig>,
    std: f64,
    seed: u64,
    compute: impl Into<Compute>,
) -> Result<Model, CheckpointError> {
    let mut config = config_of(folder)?;
    if let (None, Some(fresh)) = (&config.indexer, indexer) {
        let mut params = load_params(folder, &config)?;
        let config = with_fresh(config, fresh, folder)?;
        add_fresh_indexer(&config, &mut params, std, seed);
        return Ok(Model::new(config, params, compute)?);
    }
    config.indexer = indexer.cloned().or(config.indexer);
    let params = load_params(folder, &config)?;
    Ok(Model::new(config, params, compute)?)
}

/// The dense model's config with an indexer, where the two fit: what is written must be read back.
fn with_fresh(dense: ModelConfig, indexer: &IndexerConfig, folder: &Path) -> Result<ModelConfig, CheckpointError> {
    let config = ModelConfig { indexer: Some(indexer.clone()), ..dense };
    ModelConfig::from_json(&config.to_json(Storage::F32), &folder.display().to_string())?;
    Ok(config)
}

/// Writes a dense checkpoint's weights into `target` with a fresh indexer beside them, as f32, or as bf16 where that is how all of the
/// source's are kept. Answers with the config that it wrote.
///
/// # Errors
/// As [`load`] and [`save`]; an indexer that does not fit the model is a [`CheckpointError::Config`]. An indexer that the source has is
/// replaced: ask its config first.
pub fn add_indexer(
    source: &Path,
    target: &Path,
    indexer: &IndexerConfig,
    std: f64,
    seed: u64,
) -> Result<ModelConfig, CheckpointError> {
    let mut config = config_of(source)?;
    config.indexer = None;
    let shards = Shards::of_model(source, &config)?;
    let half = shards.names().map(|name| shards.get(name)).try_fold(true, |half, view| {
        let view = view?;
        Ok::<_, CheckpointError>(half && (view.dtype == Dtype::BF16 || is_selection_bias(&view.name)))
    })?;
    let mut params = load_params(source, &config)?;
    let config = with_fresh(config, indexer, source)?;
    let storage = if half { Storage::Bf16 } else { Storage::F32 };
    add_fresh_indexer(&config, &mut params, std, seed);
    write_params(&config, &params, target, &Writing::whole(storage))?;
    Ok(config)
}

fn add_fresh_indexer(config: &ModelConfig, params: &mut Params, std: f64, seed: u64) {
    for (name, shape) in shapes(config).into_iter().filter(|(name, _)| is_indexer(name)) {
        let value = initial(&name, &shape, std, seed);
        params.insert(name, value);
    }
}

/// A fresh model.
///
/// # Errors
/// [`CheckpointError::NoSafeRows`].
pub fn fresh(config: ModelConfig, std: f64, seed: u64, compute: impl Into<Compute>) -> Result<Model, CheckpointError> {
    let params =
        shapes(&config).into_iter().map(|(name, shape)| (name.clone(), initial(&name, &shape, std, seed))).collect();
    Ok(Model::new(config, params, compute)?)
}

/// Writes `config.json` and `model.safetensors` into `folder`, which must exist.
///
/// # Errors
/// [`CheckpointError::Write`]; what was there stays until the new file is whole.
pub fn save(model: &Model, folder: &Path) -> Result<(), CheckpointError> {
    save_as(model, folder, Storage::F32)
}

/// As [`save`], in other numbers.
///
/// # Errors
/// As [`save`].
pub fn save_as(model: &Model, folder: &Path, storage: Storage) -> Result<(), CheckpointError> {
    save_with(model, folder, &Writing::whole(storage))
}

/// As [`save`], in other numbers and in shards.
///
/// # Errors
/// As [`save`].
pub fn save_with(model: &Model, folder: &Path, writing: &Writing) -> Result<(), CheckpointError> {
    write_params(&model.config, &model.params, folder, writing)
}

fn write_params(
    config: &ModelConfig,
    params: &Params,
    folder: &Path,
    writing: &Writing,
) -> Result<(), CheckpointError> {
    can_be_written(config, folder, writing.storage)?;
    write_config(config, folder, writing.storage)?;
    let mut held = held(params);
    held.retain(|(name, ..)| !is_adapter(name));
    write_folder(of_family(config, all_pieces(&held, writing.storage)), folder, writing.shard_bytes)
}

fn held(params: &Params) -> Vec<(&str, Source<'_>, Vec<i64>)> {
    params.iter().map(|(name, t)| (name.as_str(), Source::Held(t.shallow_clone()), t.size())).collect()
}

/// The pieces as the family's files have them.
fn of_family<'a>(config: &ModelConfig, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    if config.family.fuses_experts() { fused(pieces) } else { pieces }
}

/// Nobody reads FP8 blocks of experts that lie in one tensor.
fn can_be_written(config: &ModelConfig, folder: &Path, storage: Storage) -> Result<(), CheckpointError> {
    if storage == Storage::Fp8 && config.family.fuses_experts() && config.experts.is_some() {
        return Err(CheckpointError::NoFp8 { path: folder.to_owned(), family: config.family.model_type() });
    }
    Ok(())
}

/// Writes the checkpoint of one folder into another, tensor by tensor: never more than one is held. Parameters that the config does not
/// ask for stay behind.
///
/// # Errors
/// As [`load`] and [`save`].
pub fn convert(from: &Path, to: &Path, writing: &Writing) -> Result<ModelConfig, CheckpointError> {
    let config = check(from)?;
    let shards = Shards::of_model(from, &config)?;
    can_be_written(&config, to, writing.storage)?;
    write_config(&config, to, writing.storage)?;
    let shapes = shapes(&config);
    let kept: Vec<(&str, Source<'_>, Vec<i64>)> =
        shapes.iter().map(|(name, shape)| (name.as_str(), Source::File(&shards), shape.clone())).collect();
    write_folder(of_family(&config, all_pieces(&kept, writing.storage)), to, writing.shard_bytes)?;
    Ok(config)
}

fn all_pieces<'a>(weights: &'a [(&'a str, Source<'a>, Vec<i64>)], storage: Storage) -> Vec<Piece<'a>> {
    let quantised = match storage {
        Storage::Fp8 => {
            quantised(&weights.iter().map(|(name, _, shape)| ((*name).to_owned(), shape.clone())).collect())
        }
        Storage::F32 | Storage::Bf16 => BTreeSet::new(),
    };
    let of = |(name, source, shape): &'a (&'a str, Source<'a>, Vec<i64>)| {
        pieces(name, source, shape, storage, quantised.contains(*name))
    };
    weights.iter().flat_map(of).collect()
}

fn write_config(config: &ModelConfig, folder: &Path, storage: Storage) -> Result<(), CheckpointError> {
    let config = serde_json::to_string_pretty(&config.to_json(storage)).expect("a config is plain JSON") + "\n";
    let write = |file: &mut std::fs::File| std::io::Write::write_all(file, config.as_bytes());
    Ok(data::atomic::write_atomic(&folder.join("config.json"), write)?)
}

/// Writes named f32 tensors as safetensors.
///
/// # Errors
/// As [`save`].
pub fn save_tensors(tensors: &Params, path: &Path) -> Result<(), CheckpointError> {
    write_file(&all_pieces(&held(tensors), Storage::F32), path)
}

/// Reads all tensors of a safetensors file as f32.
///
/// # Errors
/// As [`load`].
pub fn load_tensors(path: &Path) -> Result<Params, CheckpointError> {
    let shards = Shards::of_file(path)?;
    let names: Vec<&str> = shards.names().collect();
    let views = names.iter().map(|name| shards.get(name)).collect::<Result<Vec<_>, _>>()?;
    let tensors = read_all(&shards, &views, Held::F32)?;
    Ok(names.into_iter().map(str::to_owned).zip(tensors).collect())
}

/// How many matrices of a model's layers stay bf16 where FP8 is written, because their blocks are not whole or their partners' are not; and how
/// many there are that could be FP8.
pub fn kept_from_fp8(config: &ModelConfig) -> (usize, usize) {
    let shapes = shapes(config);
    let matrices = shapes.iter().filter(|(name, shape)| is_matrix_of_layer(name, shape) && !is_precise(name)).count();
    (matrices - quantised(&shapes).len(), matrices)
}

/// The weights files of a checkpoint folder.
///
/// # Errors
/// [`CheckpointError`] where they cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    Ok(Shards::open(folder)?.paths().map(Path::to_owned).collect())
}

/// Whether a folder holds what its config asks for: every parameter with its shape and kind. The weights themselves are not read, but for a
/// head beside an embedding that is said to be the same.
///
/// # Errors
/// As [`load`].
pub fn check(folder: &Path) -> Result<ModelConfig, CheckpointError> {
    let config = config_of(folder)?;
    let shards = Shards::of_model(folder, &config)?;
    for (name, expected) in shapes(&config) {
        kinds::check(&shards, &parameter(&shards, &name, &expected)?)?;
    }
    Ok(config)
}

/// Parameters of a folder that its config, as [`check`] has it, does not ask for, and that therefore have no effect, such as biases where it says that there are
/// none. What predicts several tokens at once, eyes, scales, and a head that repeats the embedding are not counted.
///
/// # Errors
/// As [`load`].
pub fn unused(folder: &Path, config: &ModelConfig) -> Result<Vec<String>, CheckpointError> {
    let shards = Shards::of_model(folder, config)?;
    let wanted = shapes(config);
    let fused: BTreeSet<String> = wanted.keys().filter_map(|name| Fused::of(name)).map(|fused| fused.tensor).collect();
    let is_known = |name: &str| {
        let what = name.rsplit('.').next().unwrap_or(name);
        wanted.contains_key(name) || fused.contains(name) || what.contains("scale") || what == "inv_freq"
    };
    // Layers behind the last predict several tokens at once, in the families that have them.
    let is_models = |name: &str| match shards.layer(name) {
        Some(layer) => layer < config.num_hidden_layers || !config.family.is_deepseek(),
        None => {
            let repeats = config.tie_word_embeddings && name.starts_with("lm_head.");
            !repeats
                && !["vision", "multi_modal", "mm_projector", "patch_merger"].iter().any(|eyes| name.contains(eyes))
        }
    };
    let left = shards.names().filter(|name| is_models(name) && !is_known(name));
    Ok(left.map(|name| shards.name_there(name)).collect())
}

fn load_params(folder: &Path, config: &ModelConfig) -> Result<Params, CheckpointError> {
    read_params(folder, config, Held::F32)
}

fn read_params(folder: &Path, config: &ModelConfig, held: Held) -> Result<Params, CheckpointError> {
    let shards = Shards::of_model(folder, config)?;
    let wanted = shapes(config);
    let view = |(name, shape): (&String, &Vec<i64>)| parameter(&shards, name, shape);
    let views = wanted.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    let tensors = read_all(&shards, &views, held)?;
    Ok(wanted.into_keys().zip(tensors).collect())
}

/// A parameter as it lies in its file, of the shape that the config asks for.
fn parameter<'a>(shards: &'a Shards, name: &str, expected: &[i64]) -> Result<View<'a>, CheckpointError> {
    let view = shards.get(name)?;
    if view.shape.iter().map(|&n| n as i64).eq(expected.iter().copied()) {
        return Ok(view);
    }
    let (path, found) = (view.path().to_owned(), view.shape.to_vec());
    Err(CheckpointError::Shape { path, name: shards.name_there(name), found, expected: expected.to_vec() })
}
