//! Defaults that depend on other settings.

use super::batch::DEFAULT_TOKENS;
use super::{Batch, Distill, ExportSettings, IndexerSettings, Kind, MODEL, Recipe, Rl, RoutingSettings, Stage};

impl Recipe {
    /// Fills in what the recipe leaves open. Doing it twice changes nothing.
    pub(super) fn resolve(&mut self, name: &str) {
        if self.run.name.is_empty() {
            self.run.name = name.to_owned();
        }
        for verifier in self.domains.values_mut().flat_map(|domain| &mut domain.verifiers) {
            verifier.label = verifier.label().to_owned();
        }
        if self.eval.domains.is_empty() {
            let can_be_judged = |d: &&super::Domain| !d.eval.is_empty() && !d.verifiers.is_empty();
            self.eval.domains =
                self.domains.iter().filter(|(_, d)| can_be_judged(d)).map(|(name, _)| name.clone()).collect();
        }
        if self.eval.texts.is_empty() && !self.eval.contexts.is_empty() {
            let held_out = self.domains.iter().filter(|(_, d)| !d.eval.is_empty());
            self.eval.texts = held_out.map(|(name, _)| name.clone()).collect();
        }
        let trainable: Vec<String> =
            self.domains.iter().filter(|(_, d)| !d.train.is_empty()).map(|(name, _)| name.clone()).collect();
        let mut last_checkpoint = MODEL.to_owned();
        for stage in &mut self.stages {
            if stage.from.is_empty() {
                stage.from.clone_from(&last_checkpoint);
            }
            if stage.kind.trains() {
                last_checkpoint.clone_from(&stage.name);
                stage.eval.get_or_insert(self.eval.after && self.eval.measures_something());
                complete_training(stage, &trainable);
            } else {
                stage.eval.get_or_insert(stage.kind == Kind::Eval);
                if stage.kind == Kind::Export {
                    stage.export.get_or_insert_with(ExportSettings::default);
                }
                if stage.kind == Kind::Eval && stage.domains.is_empty() {
                    stage.domains.clone_from(&self.eval.domains);
                }
            }
        }
    }
}

fn complete_training(stage: &mut Stage, trainable: &[String]) {
    if stage.domains.is_empty() {
        stage.domains = if stage.mix.is_empty() { trainable.to_vec() } else { stage.mix.keys().cloned().collect() };
    }
    for domain in &stage.domains {
        stage.mix.entry(domain.clone()).or_insert(1.0);
    }
    if let Some(optimizer) = &mut stage.optimizer {
        optimizer.indexer_lr.get_or_insert(optimizer.lr);
    }
    let batch = stage.batch.get_or_insert_with(Batch::default);
    if stage.kind.reads_tokens() && batch.tokens == 0 {
        batch.tokens = DEFAULT_TOKENS;
    }
    stage.indexer.get_or_insert_with(IndexerSettings::default);
    let adapts = stage.lora.is_some();
    stage.routing.get_or_insert_with(RoutingSettings::default).complete(stage.kind, adapts);
    if stage.kind == Kind::Rl {
        stage.rl.get_or_insert_with(Rl::default);
    }
    if stage.kind.distils() {
        stage.distill.get_or_insert_with(Distill::default);
    }
}
