//! `temper sparsify`: gives a dense checkpoint an indexer. It selects nothing of use until `indexer-warmup` and `sparse` have trained it.

use std::fs;
use std::path::Path;

use policy::config::Family;
use policy::{IndexerConfig, ModelConfig, checkpoint};

use crate::cli::SparsifyArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::hub;
use crate::run::INDEXER_STD;
use crate::say;

/// Width of an index key where the model rotates fewer dimensions.
const LEAST_WIDTH: i64 = 32;

/// What goes along beside config, weights and the tokenizer's files, where it is there: another form of the chat template, and what the base
/// has cost.
const COMPANIONS: [&str; 2] = ["chat_template.json", "ledger.json"];

/// Writes the checkpoint, whole or not at all.
///
/// # Errors
/// [`Code::Usage`] where the model cannot have such an indexer, or has one; [`Code::Checkpoint`]; [`Code::Disk`].
pub fn sparsify(args: &SparsifyArgs) -> Result<(), Failure> {
    let args = &SparsifyArgs { source: hub::local(&args.source)?, ..args.clone() };
    let (config, unknown) = ModelConfig::read_with_unknown(&args.source).or_fail(Code::Checkpoint)?;
    let indexer = indexer(args, &config)?;
    if args.out.exists() {
        let message = format!("{} is there already", args.out.display());
        return Err(Failure::new(Code::Usage, message).hint("name a folder that is not, or move this one away"));
    }
    let name = args.out.file_name().ok_or_else(|| Failure::new(Code::Usage, "OUT must name a folder"))?;
    let aside = args.out.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    let _ = fs::remove_dir_all(&aside);
    let written = fill(args, &indexer, &aside)
        .and_then(|written| fs::rename(&aside, &args.out).or_fail(Code::Disk).map(|()| written));
    // Where it failed, half a checkpoint must not stay.
    let written = written.inspect_err(|_| drop(fs::remove_dir_all(&aside)))?;
    tell(args, &written, &indexer, &unknown);
    Ok(())
}

/// Fills the folder, and answers with the config in it.
fn fill(args: &SparsifyArgs, indexer: &IndexerConfig, folder: &Path) -> Result<ModelConfig, Failure> {
    fs::create_dir_all(folder).or_fail(Code::Disk)?;
    let written = checkpoint::add_indexer(&args.source, folder, indexer, INDEXER_STD, args.seed);
    let written = written.or_fail(Code::Checkpoint)?;
    for name in data::tokenizer::FILES.into_iter().chain(COMPANIONS) {
        let from = args.source.join(name);
        if from.is_file() {
            let to = folder.join(name);
            fs::create_dir_all(to.parent().expect("it is in the folder")).or_fail(Code::Disk)?;
            fs::copy(&from, to).or_fail(Code::Disk).map_err(|f| f.context(from.display()))?;
        }
    }
    Ok(written)
}

/// The indexer that was asked for, where the model can have it.
fn indexer(args: &SparsifyArgs, config: &ModelConfig) -> Result<IndexerConfig, Failure> {
    let refuse = |message: String, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint));
    let source = args.source.display();
    if let Some(own) = &config.indexer {
        let message = format!("{source} has an indexer: {} heads of {}, k = {}", own.heads, own.width, own.top_k);
        return refuse(message, "train it as it is; `indexer.top_k` of a stage sets another k");
    }
    let (rotated, layers) = (config.rope_width(), config.num_hidden_layers);
    let width = args.head_dim.map_or(rotated.max(LEAST_WIDTH), |width| width as i64);
    if width < rotated {
        let message = format!("--head-dim is {width}, and {rotated} dimensions of the model's keys are rotated");
        return refuse(message, &format!("say --head-dim {rotated} or more, or leave it out"));
    }
    let every = args.share_every as i64;
    if every > layers {
        let message = format!("--share-every is {every}, and {source} has {layers} layers");
        return refuse(message, &format!("say at most {layers}, which is one indexer for all"));
    }
    if config.first_apart(every).is_some() {
        let message =
            format!("--share-every is {every}, and layers of {source} that would share an indexer have other windows");
        return refuse(message, "say --share-every 1: an indexer selects within its own layer's sliding window");
    }
    Ok(IndexerConfig { heads: args.heads as i64, width, top_k: args.topk as i64, every })
}

fn tell(args: &SparsifyArgs, config: &ModelConfig, indexer: &IndexerConfig, unknown: &[String]) {
    let layers = config.num_hidden_layers;
    let owners = (0..layers).filter(|layer| layer % indexer.every == 0).count();
    let IndexerConfig { heads, width, top_k, .. } = indexer;
    say!("{}: {owners} indexers for {layers} layers, {heads} heads of {width}, k = {top_k}", args.out.display());
    let context = config.max_position_embeddings;
    let seen = |layer: i64| config.geometry(layer as usize).window.map_or(context, |window| context.min(window as i64));
    if (0..layers).all(|layer| *top_k >= seen(layer)) {
        let most = (0..layers).map(seen).max().unwrap_or(context);
        say!("note: k = {top_k} reaches all of the {most} positions that a layer sees: attention stays dense");
    }
    if !unknown.is_empty() {
        say!("note: nobody knows these fields of its config, and they are left out: {}", unknown.join(", "));
    }
    if config.written_family() == Family::DeepseekV32 && !has_template(&args.source) {
        say!(
            "note: there is no chat template, and a `deepseek_v32` without one is given that family's own encoding; \
             `chat.encoding = \"none\"` in the recipe keeps prompts as they were"
        );
    }
    say!(
        "next: `indexer-warmup`, then `sparse`, in a recipe with `model.checkpoint` = {:?}",
        args.out.display().to_string()
    );
}

fn has_template(folder: &Path) -> bool {
    data::Tokenizer::load(folder).is_ok_and(|tokenizer| tokenizer.chat_template().is_some())
}
