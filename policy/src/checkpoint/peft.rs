//! Adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` puts beside the base
//! model that they were trained on.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{CheckpointError, load_tensors, save_tensors};
use crate::lora::{Adapters, LoraConfig};
use crate::model::Model;
use crate::params::Params;

/// What the adapters are.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Their tensors.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT wraps around a model that it adapts.
const WRAPPED: &str = "base_model.model.";

/// A folder that holds no adapters that can be read.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// The config could not be read.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The config is not that of such adapters.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tensors could not be read.
    #[error(transparent)]
    Tensors(#[from] CheckpointError),
}

/// The model that adapters stand beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptedBase {
    /// Where it lies: a folder, or its name on the Hugging Face hub.
    pub name: String,
    /// Its commit there.
    pub revision: Option<String>,
}

/// Writes the adapters of a model, if it has some, into `folder`, which must exist. `base` is the model that they stand beside, where it lies
/// anywhere.
///
/// # Errors
/// [`CheckpointError::Write`]; what was there stays until the new file is whole.
pub fn save_adapters(model: &Model, folder: &Path, base: Option<&AdaptedBase>) -> Result<(), CheckpointError> {
    let Some(Adapters { config, .. }) = &model.adapters else { return Ok(()) };
    let wrapped = model.adapter_params().into_iter().map(|(name, p)| (format!("{WRAPPED}{name}"), p)).collect();
    save_tensors(&wrapped, &folder.join(ADAPTER_WEIGHTS))?;
    let text = serde_json::to_string_pretty(&to_json(config, base)).expect("a config is plain JSON") + "\n";
    Ok(data::atomic::write_atomic(&folder.join(ADAPTER_CONFIG), |file| file.write_all(text.as_bytes()))?)
}

/// Reads the adapters that [`save_adapters`] wrote.
///
/// # Errors
/// [`PeftError`], naming the file.
pub fn load_adapters(folder: &Path) -> Result<(LoraConfig, Params), PeftError> {
    let path = folder.join(ADAPTER_CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|source| PeftError::Open { path: path.clone(), source })?;
    let config = of_json(&text).map_err(|reason| PeftError::Config { path, reason })?;
    let plain = |(name, p): (String, tch::Tensor)| (name.strip_prefix(WRAPPED).unwrap_or(&name).to_owned(), p);
    let tensors = load_tensors(&folder.join(ADAPTER_WEIGHTS))?.into_iter().map(plain).collect();
    Ok((config, tensors))
}

fn to_json(config: &LoraConfig, base: Option<&AdaptedBase>) -> Value {
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.map(|base| &base.name),
        "revision": base.and_then(|base| base.revision.as_ref()),
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": config.targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "inference_mode": true,
    })
}

fn of_json(text: &str) -> Result<LoraConfig, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let plain = |name: &str| value.get(name).is_none_or(|v| v.is_null() || v == false || v == "none" || v == 0.0);
    if value["peft_type"] != "LORA" {
        return Err("`peft_type` is not `LORA`".into());
    }
    if let Some(name) =
        ["use_rslora", "use_dora", "bias", "modules_to_save", "lora_dropout"].into_iter().find(|n| !plain(n))
    {
        return Err(format!("`{name}` is {}, which adapters here have not", value[name]));
    }
    let targets = value["target_modules"].as_array().map(|all| all.iter().map(|t| t.as_str().map(str::to_owned)));
    let targets: Option<Vec<String>> = targets.and_then(|names| names.collect());
    match (value["r"].as_i64(), value["lora_alpha"].as_f64(), targets) {
        (Some(rank), Some(alpha), Some(targets)) => Ok(LoraConfig { rank, alpha, targets }),
        _ => Err("`r`, `lora_alpha` and the list `target_modules` are needed".into()),
    }
}
