//! Recipes: a run as a TOML file, typed. `docs/recipes.md` lists every setting.
//!
//! A recipe is read in four steps, each of which can refuse it: the text becomes the tables of this module (unknown
//! keys are errors), the `--set` overrides are applied, defaults that depend on other settings are filled in, and
//! what is impossible is refused. What comes out is what runs, and what `resolved.toml` of the run holds: reading
//! that file gives the same recipe.

mod batch;
mod chat;
mod distill;
mod domain;
mod error;
mod eval;
mod export;
mod findings;
mod indexer;
mod lora;
mod model;
mod optimizer;
pub(crate) mod overrides;
mod place;
mod read;
mod resolve;
mod rl;
mod routing;
mod run_settings;
mod sampling;
mod settle;
mod source;
mod stage;
mod validate;
mod validate_stage;
mod validate_verifiers;
pub(crate) mod words;

#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use batch::Batch;
pub use chat::{ChatEncoding, ChatSettings};
pub use distill::{Distill, DistillLoss};
pub use domain::{Domain, VerifierEntry, VerifierName};
pub use error::{Place, Problem, RecipeError};
pub use eval::EvalSettings;
pub use export::{ExportKind, ExportSettings};
pub use indexer::{IndexerMode, IndexerSettings};
pub use lora::LoraSettings;
pub use model::ModelSource;
pub use optimizer::{Optimizer, Schedule};
pub use rl::{Aggregation, KlEstimator, OnSwap, Rl, RlSchedule};
pub use routing::RoutingSettings;
pub use run_settings::{Device, RunSettings};
pub use sampling::Sampling;
pub use source::Source;
pub use stage::{Kind, MODEL, Stage};

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `[run]`.
    #[serde(default)]
    pub run: RunSettings,
    /// `[model]`.
    pub model: ModelSource,
    /// `[chat]`.
    #[serde(default)]
    pub chat: ChatSettings,
    /// `[sampling]`.
    #[serde(default)]
    pub sampling: Sampling,
    /// `[eval]`.
    #[serde(default)]
    pub eval: EvalSettings,
    /// `[domains.NAME]`, by name.
    #[serde(default)]
    pub domains: BTreeMap<String, Domain>,
    /// `[[stages]]`, in the order in which they run.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

impl Recipe {
    /// The stage with this name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Every setting, defaults included, as TOML. [`Recipe::parse`] of it gives the same recipe.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe holds nothing that TOML cannot say")
    }
}
