//! What can be known to be wrong before a run has a folder. A mistake in what the last stage reads must not cost the stages before it,
//! and a run that never began must leave nothing that its next start would trip over.

use std::collections::BTreeMap;
use std::path::Path;

use data::load::Format;
use data::tasks::Split;
use data::{Prompt, Tokenizer};
use policy::{ModelConfig, checkpoint};

use super::data_files::DataFiles;
use super::models::check_vocabulary;
use super::prompts::Pool;
use crate::exit::{Code, Failure, OrFail};
use crate::memory::{self, Use};
use crate::recipe::{Kind, ModelSource, Recipe, Stage};
use crate::say;

/// Weights without effect that are named; more are counted.
const NAMED: usize = 4;

/// Checks the model's config and weights, the tokenizer against them, and every file of prompts, whose rows that some stage could not use
/// are bad rows: they are noted in the recipe's sources, which leave them out from then on. Gives the files.
///
/// # Errors
/// [`Code::Checkpoint`]; [`Code::Usage`] for adapters beside weights that the model has not; [`Code::Memory`]; [`Code::Data`], naming file,
/// row and field.
pub fn check(recipe: &mut Recipe, tokenizer: &Tokenizer) -> Result<DataFiles, Failure> {
    let config = config(recipe)?;
    check_vocabulary(tokenizer, &config)?;
    let training = recipe.stages.iter().filter(|stage| stage.kind.trains());
    memory::check(&config, training.map(|stage| use_of(stage, &config)).collect::<Result<Vec<_>, _>>()?.into_iter())?;
    note_short_sequences(recipe, context(recipe, &config)?);
    check_files(recipe, tokenizer, &config, used(recipe))
}

/// Says where an indexer would be measured on longer contexts than it learned from: what it selects there can be anything.
fn note_short_sequences(recipe: &Recipe, context: usize) {
    let Some(longest) = recipe.eval.contexts.iter().max().map(|&longest| longest.min(context)) else { return };
    let learns_keys = |stage: &&Stage| matches!(stage.kind, Kind::IndexerWarmup | Kind::Sparse);
    for stage in recipe.stages.iter().filter(learns_keys) {
        let (name, sequence) = (&stage.name, stage.batch.clone().unwrap_or_default().sequence);
        if sequence >= longest {
            continue;
        }
        say!(
            "warning: the indexer learns from sequences of {sequence} tokens in stage `{name}`, and `eval.contexts` goes to {longest}: raise \
             `batch.sequence`"
        );
    }
}

/// [`check`] of the held-out files that an evaluation without stages reads.
///
/// # Errors
/// [`Code::Checkpoint`]; [`Code::Data`], naming file, row and field.
pub fn check_held_out(recipe: &mut Recipe, tokenizer: &Tokenizer) -> Result<(), Failure> {
    let config = config(recipe)?;
    let mut used = BTreeMap::new();
    held_out(recipe, &recipe.eval.domains, true, &mut used);
    check_files(recipe, tokenizer, &config, used).map(|_| ())
}

fn config(recipe: &Recipe) -> Result<ModelConfig, Failure> {
    match &recipe.model {
        ModelSource::Checkpoint { path } => known_checkpoint(Path::new(path)),
        ModelSource::Fresh { config, .. } => known_config(Path::new(config)),
    }
}

fn check_files(
    recipe: &mut Recipe,
    tokenizer: &Tokenizer,
    config: &ModelConfig,
    used: Used,
) -> Result<DataFiles, Failure> {
    let mut files = DataFiles::default();
    let context = context(recipe, config)?;
    for ((domain, is_eval), uses) in used {
        let pool = Pool::open(recipe, &domain, if is_eval { Split::Eval } else { Split::Train })?;
        files.add(pool.checked(|format| uses.can_refuse(format), |prompt| uses.problem(tokenizer, prompt, context))?);
    }
    files.note_refused(recipe);
    files.tell();
    Ok(files)
}

/// Positions that no sequence of the run passes.
fn context(recipe: &Recipe, config: &ModelConfig) -> Result<usize, Failure> {
    context_within(config, recipe.run.context).map_err(|failure| failure.context("run.context"))
}

/// The context that was asked for, where the model has as much; all of it for 0.
///
/// # Errors
/// [`Code::Usage`].
pub fn context_within(config: &ModelConfig, asked: usize) -> Result<usize, Failure> {
    let most = config.max_position_embeddings as usize;
    if asked > most {
        let message = format!("a context of {asked} was asked for, and the model has {most} positions");
        return Err(Failure::new(Code::Usage, message).hint("leave it out for all of them"));
    }
    Ok(if asked == 0 { most } else { asked })
}

/// A checkpoint's config, by which its weights are whole. Says which of its fields and which of its weights have no effect.
///
/// # Errors
/// [`Code::Checkpoint`].
pub fn known_checkpoint(folder: &Path) -> Result<ModelConfig, Failure> {
    let config = checkpoint::check(folder).or_fail(Code::Checkpoint)?;
    known_config(folder)?;
    let unused = checkpoint::unused(folder, &config).or_fail(Code::Checkpoint)?;
    if !unused.is_empty() {
        let (named, rest) = unused.split_at(unused.len().min(NAMED));
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more of its weights", rest.len()) };
        let (folder, named) = (folder.display(), named.join(", "));
        say!("warning: {folder}: its config does not ask for {named}{more}: without effect");
    }
    Ok(config)
}

/// A model's config. Says which of its fields have no effect: the model may be another than its makers meant.
///
/// # Errors
/// [`Code::Checkpoint`].
fn known_config(path: &Path) -> Result<ModelConfig, Failure> {
    let (config, unknown) = ModelConfig::read_with_unknown(path).or_fail(Code::Checkpoint)?;
    if !unknown.is_empty() {
        let fields = unknown.join(", ");
        say!("warning: {}: fields that are not known have no effect: {fields}", path.display());
    }
    Ok(config)
}

/// What a stage that trains does with the model's parameters.
fn use_of(stage: &Stage, config: &ModelConfig) -> Result<Use, Failure> {
    let Some(lora) = &stage.lora else { return Ok(Use::Learn) };
    let size = lora.config().size(config).or_fail(Code::Usage);
    Ok(Use::Adapt(size.map_err(|failure| failure.context(format!("stage {}", stage.name)))?))
}

/// Prompts by domain and whether they are held out.
type Used = BTreeMap<(String, bool), Uses>;

/// The prompts that some stage reads.
fn used(recipe: &Recipe) -> Used {
    let mut used = Used::new();
    for stage in &recipe.stages {
        let evaluated = match stage.kind {
            Kind::Eval => stage.domains.as_slice(),
            _ if stage.evaluates() => recipe.eval.domains.as_slice(),
            _ => &[],
        };
        held_out(recipe, evaluated, stage.evaluates(), &mut used);
        for domain in stage.mix.keys() {
            let uses = used.entry((domain.clone(), false)).or_default();
            uses.sampled |= !stage.kind.reads_tokens() || stage.kind.distils();
            uses.read |= stage.kind.reads_tokens() && !stage.kind.distils();
            uses.learned_whole |= stage.kind == Kind::Sft;
        }
    }
    used
}

/// Adds the prompts of an evaluation: those to be answered, and those to be predicted.
fn held_out(recipe: &Recipe, answered: &[String], predicts: bool, used: &mut Used) {
    for domain in answered {
        used.entry((domain.clone(), true)).or_default().sampled = true;
    }
    for domain in recipe.eval.texts.iter().filter(|_| predicts) {
        used.entry((domain.clone(), true)).or_default().read |= !recipe.eval.contexts.is_empty();
    }
}

/// What a run does with prompts.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    /// Completions of them are sampled.
    sampled: bool,
    /// They are read with their answers.
    read: bool,
    /// They are read with their answers, and in one piece.
    learned_whole: bool,
}

impl Uses {
    /// Why a prompt is of no use for this.
    fn problem(self, tokenizer: &Tokenizer, prompt: &Prompt, context: usize) -> Option<String> {
        let asked = || match tokenizer.encode_asked(prompt) {
            Ok(tokens) if tokens.len() < context => None,
            Ok(tokens) => Some(format!("{} tokens leave no room in a context of {context}", tokens.len())),
            Err(error) => Some(error.to_string()),
        };
        self.sampled
            .then(asked)
            .flatten()
            .or_else(|| self.read.then(|| self.unread(tokenizer, prompt, context)).flatten())
    }

    /// Whether a file of this format may hold such prompts. Plain text that is cut to fit may not, and is too much to be read twice.
    fn can_refuse(self, format: Format) -> bool {
        self.sampled || self.learned_whole || (self.read && format != Format::Text)
    }

    /// Why what a prompt holds cannot be learned.
    fn unread(self, tokenizer: &Tokenizer, prompt: &Prompt, context: usize) -> Option<String> {
        // Cut to fit, plain text can be read whatever it is.
        if prompt.messages.is_empty() && prompt.answer.is_some() && !self.learned_whole {
            return None;
        }
        let learned = match tokenizer.encode_to_learn(prompt) {
            Ok(learned) => learned,
            Err(error) => return Some(error.to_string()),
        };
        let Some(longest) = learned.iter().map(|sequence| sequence.tokens.len()).max() else {
            return Some("no answer to learn from; name the column that holds it in `columns.answer`".to_owned());
        };
        // The last token is only predicted.
        (self.learned_whole && longest > context + 1)
            .then(|| format!("with its answer it is {longest} tokens; the model's context is {context}"))
    }
}
