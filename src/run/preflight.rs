//! What can be known to be wrong before a run has a folder. A mistake in what the last stage reads must not cost the stages before it,
//! and a run that never began must leave nothing that its next start would trip over.

use std::collections::BTreeMap;
use std::path::Path;

use data::tasks::Split;
use data::{Prompt, Tokenizer};
use policy::{ModelConfig, checkpoint, params};

use super::data_files::DataFiles;
use super::models::check_vocabulary;
use super::prompts::Pool;
use crate::exit::{Code, Failure, OrFail};
use crate::memory::{self, Use};
use crate::recipe::{Kind, ModelSource, Recipe, Stage};
use crate::say;

/// Checks the model's config and weights, the tokenizer against them, and every file of prompts. Gives the files.
///
/// # Errors
/// [`Code::Checkpoint`]; [`Code::Usage`] for adapters beside weights that the model has not; [`Code::Memory`]; [`Code::Data`], naming file, row and field, or the prompt that is too long.
pub fn check(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<DataFiles, Failure> {
    let config = match &recipe.model {
        ModelSource::Checkpoint { path } => checkpoint::check(Path::new(path)).or_fail(Code::Checkpoint)?,
        ModelSource::Fresh { config, .. } => ModelConfig::read(Path::new(config)).or_fail(Code::Checkpoint)?,
    };
    tell_unknown(recipe)?;
    check_vocabulary(tokenizer, &config)?;
    let training = recipe.stages.iter().filter(|stage| stage.kind.trains());
    memory::check(&config, training.map(|stage| use_of(stage, &config)).collect::<Result<Vec<_>, _>>()?.into_iter())?;
    let mut files = DataFiles::default();
    for ((domain, is_eval), sampled) in used(recipe) {
        let pool = Pool::open(recipe, &domain, if is_eval { Split::Eval } else { Split::Train })?;
        if sampled {
            pool.for_each_loaded(|prompt| fits(tokenizer, prompt, config.max_position_embeddings as usize))?;
        }
        files.0.extend(pool.files());
    }
    files.tell();
    Ok(files)
}

/// Says which fields of the model's config nobody knows.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn tell_unknown(recipe: &Recipe) -> Result<(), Failure> {
    let (ModelSource::Checkpoint { path: config } | ModelSource::Fresh { config, .. }) = &recipe.model;
    tell_unknown_fields(Path::new(config))
}

/// Says which fields of a checkpoint's config have no effect: the model may be another than its makers meant.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn tell_unknown_fields(config: &Path) -> Result<(), Failure> {
    let (_, unknown) = ModelConfig::read_with_unknown(config).or_fail(Code::Checkpoint)?;
    if !unknown.is_empty() {
        let fields = unknown.join(", ");
        say!("warning: {}: fields that are not known have no effect: {fields}", config.display());
    }
    Ok(())
}

/// What a stage that trains does with the model's parameters.
fn use_of(stage: &Stage, config: &ModelConfig) -> Result<Use, Failure> {
    let Some(lora) = &stage.lora else { return Ok(Use::Learn) };
    let size = lora.config().size(&params::shapes(config)).or_fail(Code::Usage);
    Ok(Use::Adapt(size.map_err(|failure| failure.context(format!("stage {}", stage.name)))?))
}

/// The prompts that some stage reads, by domain and whether they are held out; true where completions of them are sampled.
fn used(recipe: &Recipe) -> BTreeMap<(String, bool), bool> {
    let mut used = BTreeMap::new();
    for stage in &recipe.stages {
        let evaluated = match stage.kind {
            Kind::Eval => stage.domains.as_slice(),
            _ if stage.evaluates() => recipe.eval.domains.as_slice(),
            _ => &[],
        };
        used.extend(evaluated.iter().map(|domain| ((domain.clone(), true), true)));
        if stage.evaluates() {
            for domain in &recipe.eval.texts {
                used.entry((domain.clone(), true)).or_insert(false);
            }
        }
        for domain in stage.mix.keys() {
            *used.entry((domain.clone(), false)).or_default() |= !stage.kind.reads_tokens() || stage.kind.distils();
        }
    }
    used
}

fn fits(tokenizer: &Tokenizer, prompt: &Prompt, context: usize) -> Result<(), Failure> {
    let tokens = tokenizer.encode_asked(prompt).or_fail(Code::Data).map_err(|f| f.context(&prompt.id))?;
    if tokens.len() < context {
        return Ok(());
    }
    let message = format!("prompt {}: {} tokens leave no room in a context of {context}", prompt.id, tokens.len());
    Err(Failure::new(Code::Data, message).hint("drop such prompts, or use a model with a longer context"))
}
