//! `[[stages]]`: one step of the pipeline, from a checkpoint to a checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Batch, Distill, ExportSettings, IndexerMode, IndexerSettings, LoraSettings, Optimizer, Rl, RoutingSettings,
};

/// The name by which `from` means `[model]` itself.
pub const MODEL: &str = "model";

/// `[[stages]]`.
///
/// The tables that a kind of stage does not use are `None` after [`super::Recipe::load`], and those that it uses are
/// there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Names the stage's folder, and the stage in `from`, `teachers` and `--set`.
    pub name: String,
    /// What is done.
    pub kind: Kind,
    /// The stage whose checkpoint it starts from, or [`MODEL`]. Empty: the last stage before it that leaves a
    /// checkpoint.
    #[serde(default)]
    pub from: String,
    /// Domains whose prompts it uses. Empty: all, or those of `mix`.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Optimizer steps.
    #[serde(default)]
    pub steps: u64,
    /// In place of `steps`: the share in (0, 1) of the FLOPs of this and all earlier stages that this stage takes.
    #[serde(default)]
    pub budget_share: f64,
    /// Whether it is evaluated at its end. `None` until resolved: `eval.after`, and only where the stage leaves a
    /// checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<bool>,
    /// Steps between checkpoints; 0: only at the end.
    #[serde(default)]
    pub checkpoint_every: u64,
    /// Checkpoints kept before the last is written.
    #[serde(default = "two")]
    pub keep: usize,
    /// Relative number of prompts (or tokens) drawn from each domain.
    #[serde(default)]
    pub mix: BTreeMap<String, f64>,
    /// How weights move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    /// How much a step reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Adapters that it trains, in place of all weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
    /// What becomes of the indexer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexer: Option<IndexerSettings>,
    /// What becomes of the experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingSettings>,
    /// The policy gradient of an `rl` stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rl: Option<Rl>,
    /// The teachers of a `distill` or `distill-sft` stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// What an `export` stage writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportSettings>,
}

fn two() -> usize {
    2
}

impl Stage {
    /// Whether it ends with an evaluation.
    pub fn evaluates(&self) -> bool {
        self.eval.unwrap_or(false)
    }

    /// The optimizer's settings.
    ///
    /// # Panics
    /// If the kind does not train ([`Kind::trains`]); the other accessors likewise. A loaded recipe has what its kind
    /// needs.
    pub fn optimizer(&self) -> &Optimizer {
        self.optimizer.as_ref().expect("a loaded stage that trains has an optimizer")
    }

    /// How much a step reads.
    ///
    /// # Panics
    /// If the kind does not train.
    pub fn batch(&self) -> &Batch {
        self.batch.as_ref().expect("a loaded stage that trains has a batch")
    }

    /// What becomes of the indexer.
    ///
    /// # Panics
    /// If the kind does not train.
    pub fn indexer(&self) -> &IndexerSettings {
        self.indexer.as_ref().expect("a loaded stage that trains has indexer settings")
    }

    /// What becomes of the indexer, once it is known whether the checkpoint has one: [`IndexerMode::settle`], and frozen where adapters are
    /// all that learns.
    ///
    /// # Panics
    /// If the kind does not train.
    pub fn indexer_mode(&self, checkpoint_has_indexer: bool) -> IndexerMode {
        match self.indexer().mode.settle(self.kind, checkpoint_has_indexer) {
            IndexerMode::Live | IndexerMode::LiveReplay if self.lora.is_some() => IndexerMode::Frozen,
            mode => mode,
        }
    }

    /// What becomes of the experts.
    ///
    /// # Panics
    /// If the kind does not train.
    pub fn routing(&self) -> &RoutingSettings {
        self.routing.as_ref().expect("a loaded stage that trains has routing settings")
    }

    /// The policy gradient's settings.
    ///
    /// # Panics
    /// If the kind is not `rl`.
    pub fn rl(&self) -> &Rl {
        self.rl.as_ref().expect("a loaded rl stage has rl settings")
    }

    /// What is exported.
    ///
    /// # Panics
    /// If the kind is not `export`.
    pub fn export(&self) -> &ExportSettings {
        self.export.as_ref().expect("a loaded export stage has export settings")
    }

    /// The distillation's settings.
    ///
    /// # Panics
    /// If the kind is neither `distill` nor `distill-sft`.
    pub fn distill(&self) -> &Distill {
        self.distill.as_ref().expect("a loaded distillation stage has distill settings")
    }
}

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Language modelling over packed prompts and answers, all tokens trained.
    Pretrain,
    /// Language modelling of the answers only.
    Sft,
    /// Dense attention, all frozen but the indexer.
    IndexerWarmup,
    /// Top-k attention; the indexer learns from its KL, the rest from the language-model loss.
    Sparse,
    /// GRPO against verifiers.
    Rl,
    /// SFT on the teachers' verified samples.
    DistillSft,
    /// On-policy distillation with the exact KL over the vocabulary.
    Distill,
    /// Evaluation alone.
    Eval,
    /// Writes the checkpoint to `export/` of the run.
    Export,
}

impl Kind {
    /// All kinds, in the order of a full pipeline.
    pub const ALL: [Self; 9] = [
        Self::Pretrain,
        Self::Sft,
        Self::IndexerWarmup,
        Self::Sparse,
        Self::Rl,
        Self::DistillSft,
        Self::Distill,
        Self::Eval,
        Self::Export,
    ];

    /// The name as recipes write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Sft => "sft",
            Self::IndexerWarmup => "indexer-warmup",
            Self::Sparse => "sparse",
            Self::Rl => "rl",
            Self::DistillSft => "distill-sft",
            Self::Distill => "distill",
            Self::Eval => "eval",
            Self::Export => "export",
        }
    }

    /// Whether it changes weights, and so leaves a checkpoint.
    pub fn trains(self) -> bool {
        !matches!(self, Self::Eval | Self::Export)
    }

    /// Whether low-rank adapters may be all that it trains: not where the indexer is what it is for.
    pub fn adapts(self) -> bool {
        self.trains() && !matches!(self, Self::IndexerWarmup | Self::Sparse)
    }

    /// Whether the policy itself is sampled in it for training.
    pub fn samples_policy(self) -> bool {
        matches!(self, Self::Rl | Self::Distill)
    }

    /// Whether a step is counted in tokens read (`batch.tokens`) and not in prompts sampled.
    pub fn reads_tokens(self) -> bool {
        self.trains() && !self.samples_policy()
    }

    /// Whether it has teachers.
    pub fn distils(self) -> bool {
        matches!(self, Self::DistillSft | Self::Distill)
    }
}
