//! `temper bench`: rollout and training speed of a model on this machine.

use std::time::Instant;

use data::{CounterRng, Trajectory};
use learner::grpo::{GrpoSettings, LiveIndexer, Routing, Sample, grpo_step};
use learner::losses::aggregate::Aggregation;
use learner::losses::kl::KlEstimator;
use learner::losses::policy_gradient::Clip;
use learner::optimizer::AdamWConfig;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use policy::{Compute, Model, ModelConfig, checkpoint, testing};
use rollout::{Engine, EngineSettings, Request, Sampling};

use crate::cli::BenchArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Device;
use crate::run::device;
use crate::say::tell;

const REPEATS: usize = 3;
const PAGE: usize = 16;
const UNIT_TOKENS: usize = 4096;
/// Deviation of fresh weights.
const INIT_STD: f64 = 0.02;

/// Prints tokens a second of sampling, and of a GRPO step over what was sampled: the best of three, and all three.
///
/// # Errors
/// The first failure.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    if let Some(folder) = &args.load {
        return super::bench_load::bench(args, folder);
    }
    let device = device::open(args.machine.device.unwrap_or(Device::Auto), args.machine.threads.unwrap_or(0))?;
    let compute = Compute { precision: args.precision, ..Compute::from(device) };
    let model = match (&args.checkpoint, &args.config) {
        (Some(folder), _) => checkpoint::load(folder, compute).or_fail(Code::Checkpoint)?,
        (None, Some(path)) => fresh(ModelConfig::read(path).or_fail(Code::Checkpoint)?, compute)?,
        (None, None) => fresh(testing::tiny_config(Some(32)), compute)?,
    };
    let (parameters, threads) = (model.config.parameters(), tch::get_num_threads());
    tell(format_args!("model      {parameters} parameters, {device:?}, {}, {threads} threads", args.precision))?;
    let mut rates = [Vec::new(), Vec::new()];
    let mut trainer = Trainer::new(&model, &settings()).or_fail(Code::Internal)?;
    for _ in 0..REPEATS {
        let (trajectories, rollout) = sample(&model, args)?;
        rates[0].push(rollout);
        rates[1].push(learn(&model, &mut trainer, &trajectories)?);
    }
    let [rollout, training] = rates;
    report("rollout", &rollout)?;
    report("training", &training)
}

fn fresh(config: ModelConfig, compute: Compute) -> Result<Model, Failure> {
    checkpoint::fresh(config, INIT_STD, 1, compute).or_fail(Code::Checkpoint)
}

fn report(what: &str, rates: &[f64]) -> Result<(), Failure> {
    let best = rates.iter().copied().fold(0.0, f64::max);
    let all: Vec<String> = rates.iter().map(|r| format!("{r:.0}")).collect();
    tell(format_args!("{what:<10} {best:.0} tokens/s (of {})", all.join(", ")))
}

/// Groups of completions, and the completions' tokens a second.
fn sample(model: &Model, args: &BenchArgs) -> Result<(Vec<Trajectory>, f64), Failure> {
    let length = args.prompt_tokens + args.completion_tokens + 2 * PAGE;
    let settings = EngineSettings {
        batch: args.prompts * args.samples,
        open: args.prompts * args.samples,
        page: PAGE,
        cache_positions: args.prompts * (args.samples + 1) * length,
        record_selections: false,
        record_experts: false,
        seed: 1,
    };
    let sampling = Sampling {
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        max_new_tokens: args.completion_tokens,
        stop_tokens: Vec::new(),
    };
    let mut engine = Engine::new(model, settings, sampling);
    let mut rng = CounterRng::new(1, "bench");
    for id in 0..args.prompts {
        let tokens = (0..args.prompt_tokens).map(|_| rng.range(0, model.config.vocab_size - 1) as u32).collect();
        let (key, prompt_id) = (format!("prompt {id}"), id.to_string());
        let request = Request { id, key, prompt_id, tokens, samples: args.samples, begun: Vec::new() };
        engine.submit(request).or_fail(Code::Usage)?;
    }
    let began = Instant::now();
    let mut done = Vec::new();
    while !engine.idle() {
        done.extend(engine.step(model, 0));
    }
    let rate = engine.tokens_sampled as f64 / began.elapsed().as_secs_f64();
    Ok((done.into_iter().flat_map(|group| group.trajectories).collect(), rate))
}

fn settings() -> TrainerSettings {
    TrainerSettings {
        learning: Learning::Backbone,
        adamw: AdamWConfig::default(),
        clip_norm: Some(1.0),
        indexer_clip_norm: None,
        indexer_rate_scale: 1.0,
    }
}

/// One step of GRPO with advantages of both signs: tokens a second, prompts included. The rate is 0, so that every repeat is alike.
fn learn(model: &Model, trainer: &mut Trainer, trajectories: &[Trajectory]) -> Result<f64, Failure> {
    let advantage = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let sample = |(i, trajectory)| Sample { trajectory, advantage: advantage(i), beta: 0.0 };
    let samples: Vec<Sample<'_>> = trajectories.iter().enumerate().map(sample).collect();
    let settings = GrpoSettings {
        clip: Clip { low: 0.2, high: 0.2, dual: None },
        aggregation: Aggregation::TokenMean,
        off_policy_delta: None,
        kl: KlEstimator::K3,
        inverse_temperature: 1.0,
        indexer: LiveIndexer::Frozen,
        routing: Routing { replay: false, balance: 0.0 },
        unit_tokens: UNIT_TOKENS,
        version: 0,
    };
    let began = Instant::now();
    let report = grpo_step(model, None, trainer, &samples, &settings, 0.0).or_fail(Code::Numeric)?;
    Ok(report.rows as f64 / began.elapsed().as_secs_f64())
}
