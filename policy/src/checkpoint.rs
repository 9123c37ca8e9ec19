//! Checkpoints in Hugging Face's layout: `config.json` and `model.safetensors`, with HF's parameter names.
//!
//! What is read is checked against the config: every parameter that the model needs, by name and shape. What is written is the same
//! bytes for the same weights (parameters in name order, no time or host in the file).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView, View};
use tch::{Device, Kind, Tensor};

use crate::config::{ConfigError, IndexerConfig, ModelConfig};
use crate::model::Model;
use crate::params::{Params, initial, is_indexer, shapes};
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
    #[error("{path}: {name:?} is {kind:?}; F32, BF16 and F16 are read")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Its kind in the file.
        kind: Dtype,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] data::atomic::WriteError),
    /// The weights could not be laid out.
    #[error("{path}: {source}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SafeTensorError,
    },
    /// The model cannot be exact on this device.
    #[error(transparent)]
    NoSafeRows(#[from] NoSafeRows),
}

/// The weights file of a checkpoint folder.
pub const WEIGHTS: &str = "model.safetensors";

/// Reads a checkpoint folder.
///
/// # Errors
/// [`CheckpointError`], naming file and parameter.
pub fn load(folder: &Path, device: Device) -> Result<Model, CheckpointError> {
    let config = ModelConfig::read(folder)?;
    let params = load_params(folder, &config)?;
    Ok(Model::new(config, params, device)?)
}

/// Reads a checkpoint without its indexer, if it has one: the dense model.
///
/// # Errors
/// As [`load`].
pub fn load_dense(folder: &Path, device: Device) -> Result<Model, CheckpointError> {
    let mut config = ModelConfig::read(folder)?;
    config.indexer = None;
    let params = load_params(folder, &config)?;
    Ok(Model::new(config, params, device)?)
}

/// Reads a checkpoint that shall have this indexer: a fresh one where it has none, its own weights otherwise.
///
/// # Errors
/// As [`load`]; an indexer of another shape than the checkpoint's is a [`CheckpointError::Shape`].
pub fn load_with_indexer(
    folder: &Path,
    indexer: Option<&IndexerConfig>,
    std: f64,
    seed: u64,
    device: Device,
) -> Result<Model, CheckpointError> {
    let mut config = ModelConfig::read(folder)?;
    let fresh = config.indexer.is_none() && indexer.is_some();
    if !fresh {
        config.indexer = indexer.cloned().or(config.indexer);
    }
    let mut params = load_params(folder, &config)?;
    if fresh {
        config.indexer = indexer.cloned();
        for (name, shape) in shapes(&config).into_iter().filter(|(name, _)| is_indexer(name)) {
            let value = initial(&name, &shape, std, seed);
            params.insert(name, value);
        }
    }
    Ok(Model::new(config, params, device)?)
}

/// A fresh model.
///
/// # Errors
/// [`CheckpointError::NoSafeRows`].
pub fn fresh(config: ModelConfig, std: f64, seed: u64, device: Device) -> Result<Model, CheckpointError> {
    let params =
        shapes(&config).into_iter().map(|(name, shape)| (name.clone(), initial(&name, &shape, std, seed))).collect();
    Ok(Model::new(config, params, device)?)
}

/// Writes `config.json` and `model.safetensors` into `folder`, which must exist.
///
/// # Errors
/// [`CheckpointError::Write`]; what was there stays until the new file is whole.
pub fn save(model: &Model, folder: &Path) -> Result<(), CheckpointError> {
    let config = serde_json::to_string_pretty(&model.config.to_json("float32")).expect("a config is plain JSON") + "\n";
    data::atomic::write_atomic(&folder.join("config.json"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
    save_tensors(&model.params, &folder.join(WEIGHTS))
}

/// Writes named f32 tensors as safetensors.
///
/// # Errors
/// As [`save`].
pub fn save_tensors(tensors: &Params, path: &Path) -> Result<(), CheckpointError> {
    let bytes: BTreeMap<&str, Plain> = tensors.iter().map(|(name, t)| (name.as_str(), Plain::new(t))).collect();
    let metadata = Some(std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]));
    let whole = safetensors::serialize(bytes, metadata)
        .map_err(|source| CheckpointError::Layout { path: path.to_owned(), source })?;
    data::atomic::write_atomic(path, |file| std::io::Write::write_all(file, &whole))?;
    Ok(())
}

/// Reads all tensors of a safetensors file as f32.
///
/// # Errors
/// As [`load`].
pub fn load_tensors(path: &Path) -> Result<Params, CheckpointError> {
    let map = open(path)?;
    let file = parse(path, &map)?;
    file.iter().map(|(name, view)| Ok((name.to_owned(), tensor(path, name, &view)?))).collect()
}

/// Whether a folder holds what its config asks for: every parameter with its shape and kind. The weights themselves are not read.
///
/// # Errors
/// As [`load`].
pub fn check(folder: &Path) -> Result<ModelConfig, CheckpointError> {
    let config = ModelConfig::read(folder)?;
    let path = folder.join(WEIGHTS);
    let map = open(&path)?;
    let file = parse(&path, &map)?;
    for (name, expected) in shapes(&config) {
        kind(&path, &name, &parameter(&path, &file, &name, &expected)?)?;
    }
    Ok(config)
}

fn load_params(folder: &Path, config: &ModelConfig) -> Result<Params, CheckpointError> {
    let path = folder.join(WEIGHTS);
    let map = open(&path)?;
    let file = parse(&path, &map)?;
    let load = |(name, expected): (String, Vec<i64>)| {
        let value = tensor(&path, &name, &parameter(&path, &file, &name, &expected)?)?;
        Ok((name, value))
    };
    shapes(config).into_iter().map(load).collect()
}

/// A parameter as it lies in the file, of the shape that the config asks for.
fn parameter<'a>(
    path: &Path,
    file: &SafeTensors<'a>,
    name: &str,
    expected: &[i64],
) -> Result<TensorView<'a>, CheckpointError> {
    let (path, name) = (path.to_owned(), name.to_owned());
    let Ok(view) = file.tensor(&name) else { return Err(CheckpointError::Missing { path, name }) };
    if view.shape().iter().map(|&n| n as i64).eq(expected.iter().copied()) {
        return Ok(view);
    }
    Err(CheckpointError::Shape { path, name, found: view.shape().to_vec(), expected: expected.to_vec() })
}

fn open(path: &Path) -> Result<Mmap, CheckpointError> {
    let failed = |source| CheckpointError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: the map is read-only and private to this call; weights files are replaced by renaming, never written in place.
    unsafe { Mmap::map(&file) }.map_err(failed)
}

fn parse<'a>(path: &Path, map: &'a Mmap) -> Result<SafeTensors<'a>, CheckpointError> {
    SafeTensors::deserialize(map).map_err(|source| CheckpointError::Damaged { path: path.to_owned(), source })
}

fn kind(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Kind, CheckpointError> {
    Ok(match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F16 => Kind::Half,
        kind => return Err(CheckpointError::Kind { path: path.to_owned(), name: name.to_owned(), kind }),
    })
}

fn tensor(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Tensor, CheckpointError> {
    let kind = kind(path, name, view)?;
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Ok(Tensor::from_data_size(view.data(), &shape, kind).to_kind(Kind::Float))
}

/// A tensor's bytes on the CPU.
struct Plain {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Plain {
    fn new(tensor: &Tensor) -> Self {
        let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let mut bytes = vec![0u8; tensor.numel() * 4];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Self { shape: tensor.size().iter().map(|&n| n as usize).collect(), bytes }
    }
}

impl View for Plain {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
