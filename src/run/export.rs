//! The `export` stage: the checkpoint as others load it, with what it cost and what it reached beside it.

use std::fs;
use std::io::Write;
use std::path::Path;

use policy::ModelConfig;
use policy::checkpoint::{self, Storage, Writing};
use serde_json::{Map, Value, json};

use super::folder::partial;
use super::state::StageState;
use super::{Run, card, models};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{ExportKind, ExportSettings};
use crate::say;

/// Who reads it: transformers' `generate`, vLLM and SGLang.
const GENERATION: &str = "generation_config.json";

/// The folder of an export that holds adapters.
const ADAPTER: &str = "adapter";

/// Writes the weights of the stage's `from` to `export/` of the run: HF layout, nothing of the optimiser. Where that stage trained adapters, the weights are merged,
/// and the adapters lie in a folder of their own.
///
/// # Errors
/// [`Code::Checkpoint`] or [`Code::Disk`].
pub fn export(run: &Run, number: usize) -> Result<(), Failure> {
    let began = std::time::Instant::now();
    let stage = &run.recipe.stages[number];
    let from = models::folder_of(run, &stage.from)?;
    let target = run.folder.root().join("export");
    let aside = partial(run.folder.root(), "export");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).or_fail(Code::Disk)?;
    let config = checkpoint::convert(&from, &aside, &writing(stage.export())).or_fail(Code::Checkpoint)?;
    if stage.export().dtype == ExportKind::Fp8 {
        tell_kept(&config);
    }
    copy_adapters(run, &stage.from, &from, &aside)?;
    run.tokenizer.save(&aside).or_fail(Code::Disk)?;
    if !aside.join(GENERATION).exists() {
        write(&aside.join(GENERATION), &pretty(&generation(run)))?;
    }
    let card = card::card(&run.summarise()?, &run.recipe, &stage.from, &config, stage.export());
    write(&aside.join("README.md"), &card)?;
    let mut cost = run.base;
    for (_, state) in run.states()? {
        cost.tokens += state.ledger.tokens;
        cost.flops += state.ledger.flops;
        cost.elapsed_s += state.ledger.elapsed_s;
    }
    write(&aside.join("ledger.json"), &pretty(&json!(cost)))?;
    let _ = fs::remove_dir_all(&target);
    fs::rename(&aside, &target).or_fail(Code::Disk)?;
    say!("{:>16} {}", stage.name, target.display());
    let mut state = StageState::default();
    state.ledger.elapsed_s = began.elapsed().as_secs_f64();
    run.mark_done(number, &state)
}

/// Says how many matrices of the layers are not FP8 where FP8 was asked for.
fn tell_kept(config: &ModelConfig) {
    let (kept, matrices) = checkpoint::kept_from_fp8(config);
    if kept > 0 {
        say!(
            "note: {kept} of the layers' {matrices} matrices are bf16: they are not of whole blocks of 128, or read together with such"
        );
    }
}

/// The adapters that stage `name` trained, if it trained some, apart from the weights that they are merged into.
fn copy_adapters(run: &Run, name: &str, from: &Path, to: &Path) -> Result<(), Failure> {
    if run.recipe.stage(name).is_none_or(|stage| stage.lora.is_none()) {
        return Ok(());
    }
    let folder = to.join(ADAPTER);
    fs::create_dir(&folder).or_fail(Code::Disk)?;
    let copy = |file: &str| fs::copy(from.join(file), folder.join(file)).map(|_| ());
    [checkpoint::ADAPTER_CONFIG, checkpoint::ADAPTER_WEIGHTS].into_iter().try_for_each(copy).or_fail(Code::Disk)
}

fn writing(settings: &ExportSettings) -> Writing {
    let storage = match settings.dtype {
        ExportKind::F32 => Storage::F32,
        ExportKind::Bf16 => Storage::Bf16,
        ExportKind::Fp8 => Storage::Fp8,
    };
    // A float's conversion saturates: more than 2⁶⁴ bytes are no bound.
    Writing { storage, shard_bytes: (settings.shard_gb * 1e9) as u64 }
}

/// What ends, begins and pads a completion, where the tokenizer came without saying it.
fn generation(run: &Run) -> Value {
    let tokenizer = &run.tokenizer;
    let mut fields = Map::new();
    match tokenizer.eos_ids() {
        [] => {}
        [only] => drop(fields.insert("eos_token_id".into(), json!(only))),
        several => drop(fields.insert("eos_token_id".into(), json!(several))),
    }
    let ids = [("bos_token_id", tokenizer.bos_id()), ("pad_token_id", tokenizer.pad_id())];
    fields.extend(ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), json!(id?)))));
    Value::Object(fields)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("it is plain JSON") + "\n"
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    data::atomic::write_atomic(path, |file| file.write_all(text.as_bytes())).or_fail(Code::Disk)
}
