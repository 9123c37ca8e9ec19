//! `temper bench`: rollout and training speed of a model on this machine.

use std::time::Instant;

use data::CounterRng;
use learner::language::{LanguageTask, language_step};
use learner::optimizer::AdamWConfig;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::{Compute, Model, checkpoint, testing};
use rollout::{Engine, EngineSettings, Request, Sampling};

use crate::cli::BenchArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Device;
use crate::run::device;

const PROMPTS: usize = 16;
const GROUP: usize = 8;
const PROMPT: usize = 32;
const COMPLETION: usize = 64;
const REPEATS: usize = 3;
/// Deviation of fresh weights.
const INIT_STD: f64 = 0.3;

/// Prints tokens a second of sampling and of training: the best of three, and all three.
///
/// # Errors
/// The first failure.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let device = device::open(args.machine.device.unwrap_or(Device::Auto), args.machine.threads.unwrap_or(0))?;
    let compute = Compute { device, precision: args.precision, exact: true };
    let model = match &args.checkpoint {
        Some(folder) => checkpoint::load(folder, compute).or_fail(Code::Checkpoint)?,
        None => checkpoint::fresh(testing::tiny_config(Some(32)), INIT_STD, 1, compute).or_fail(Code::Device)?,
    };
    println!(
        "model      {} parameters, {device:?}, {}, {} threads",
        model.config.parameters(),
        args.precision,
        tch::get_num_threads()
    );
    report("rollout", (0..REPEATS).map(|_| rollout_rate(&model)).collect::<Result<_, _>>()?);
    let settings = TrainerSettings {
        learning: Learning::Backbone,
        adamw: AdamWConfig::default(),
        clip_norm: Some(1.0),
        indexer_clip_norm: None,
        indexer_rate_scale: 1.0,
    };
    let mut trainer = Trainer::new(&model, &settings).or_fail(Code::Internal)?;
    report("training", (0..REPEATS).map(|_| training_rate(&model, &mut trainer)).collect::<Result<_, _>>()?);
    Ok(())
}

fn report(what: &str, rates: Vec<f64>) {
    let best = rates.iter().copied().fold(0.0, f64::max);
    let all: Vec<String> = rates.iter().map(|r| format!("{r:.0}")).collect();
    println!("{what:<10} {best:.0} tokens/s (of {})", all.join(", "));
}

fn tokens(model: &Model, name: &str, n: usize) -> Vec<u32> {
    let mut rng = CounterRng::new(1, name);
    (0..n).map(|_| rng.range(0, model.config.vocab_size - 1) as u32).collect()
}

fn rollout_rate(model: &Model) -> Result<f64, Failure> {
    let settings = EngineSettings {
        batch: PROMPTS * GROUP,
        open: PROMPTS * GROUP,
        page: 16,
        cache_positions: PROMPTS * (GROUP + 1) * (PROMPT + COMPLETION + 32),
        record_selections: false,
        seed: 1,
    };
    let sampling =
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: COMPLETION, stop_tokens: Vec::new() };
    let mut engine = Engine::new(model, settings, sampling);
    for id in 0..PROMPTS {
        let name = format!("prompt {id}");
        let tokens = tokens(model, &name, PROMPT);
        let request = Request { id, key: name.clone(), prompt_id: name, tokens, samples: GROUP, begun: Vec::new() };
        engine.submit(request).or_fail(Code::Internal)?;
    }
    let began = Instant::now();
    while !engine.idle() {
        engine.step(model, 0);
    }
    Ok(engine.tokens_sampled as f64 / began.elapsed().as_secs_f64())
}

fn training_rate(model: &Model, trainer: &mut Trainer) -> Result<f64, Failure> {
    let sequences: Vec<Sequence> =
        (0..128).map(|i| Sequence::text(tokens(model, &format!("text {i}"), PROMPT + COMPLETION + 1))).collect();
    let task =
        LanguageTask { sparse: model.config.indexer.is_some(), language: true, indexer: None, unit_tokens: 2048 };
    let began = Instant::now();
    let report = language_step(model, trainer, &sequences, &task, 0.0).or_fail(Code::Numeric)?;
    Ok(report.rows as f64 / began.elapsed().as_secs_f64())
}
