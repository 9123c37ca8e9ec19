//! INV-8: memory grows with the context as L, and never as L×L; no loss holds the logits of all rows; and layers that compute their
//! activations again do not hold them.
//!
//! Each measurement is a process of its own, because the most that a process has held at once (`VmHWM`) never falls: the test starts
//! this test binary anew for one step over one context, or with one vocabulary.

use std::process::Command;

use data::{Author, Finish, KeptSets, Trajectory};
use learner::grpo::{GrpoSettings, LiveIndexer, Routing, Sample, grpo_step};
use learner::language::{LanguageTask, language_step};
use learner::losses::aggregate::Aggregation;
use learner::losses::distill::Divergence;
use learner::losses::kl::KlEstimator;
use learner::losses::policy_gradient::Clip;
use learner::on_policy::{DistillSettings, distill_step};
use learner::optimizer::AdamWConfig;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::testing::tiny_config;
use policy::{Compute, Keys, Model, Rows, Task, checkpoint};
use rollout::{Engine, EngineSettings, Request, Sampling};
use tch::{Device, Kind, Tensor};

/// What a child process is to do: `WHAT N`, for a context or a vocabulary of N, or N layers.
const JOB: &str = "TEMPER_INV_8";
const SHORT: usize = 4096;
const LONG: usize = 2 * SHORT;
/// One matrix of f32 over all pairs of the longer context, less one over those of the shorter: what a single L×L tensor would add.
const SQUARE_KIB: usize = (LONG * LONG - SHORT * SHORT) * 4 / 1024;

/// Sequences of a step over a vocabulary, and their rows.
const SEQUENCES: usize = 16;
const ROWS: usize = SEQUENCES * 512;
const SMALL: usize = 64;
const LARGE: usize = 8192;
/// The logits of all rows over the larger vocabulary.
const LOGITS_KIB: usize = ROWS * LARGE * 4 / 1024;

fn model() -> Model {
    let mut config = tiny_config(Some(16));
    config.max_position_embeddings = 2 * LONG as i64;
    checkpoint::fresh(config, 0.3, 11, Device::Cpu).expect("small products are row-invariant")
}

fn trainer(model: &Model, learning: Learning) -> Trainer {
    let settings = TrainerSettings {
        learning,
        adamw: AdamWConfig { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
        clip_norm: None,
        indexer_clip_norm: None,
        indexer_rate_scale: 1.0,
    };
    Trainer::new(model, &settings).expect("sound settings")
}

/// A learner's step over one sequence of `length` tokens.
fn learn(length: usize, sparse: bool) {
    let model = model();
    let mut trainer = trainer(&model, if sparse { Learning::Both } else { Learning::Indexer });
    let sequence = Sequence::text((0..=length as u32).map(|i| i * 7 % 64).collect());
    let task = LanguageTask { sparse, language: sparse, indexer: Some(1.0), balance: 0.0, unit_tokens: length };
    language_step(&model, &mut trainer, &[sequence], &task, 1e-3).expect("a finite step");
}

/// A prompt of `length` tokens and two samples, with the selections recorded.
fn sample(length: usize) {
    let model = model();
    let settings = EngineSettings {
        batch: 2,
        open: 2,
        page: 16,
        cache_positions: 2 * length,
        record_selections: true,
        record_experts: false,
        seed: 1,
    };
    let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: 4, stop_tokens: Vec::new() };
    let mut engine = Engine::new(&model, settings, sampling);
    let tokens = (0..length as u32).map(|i| i * 7 % 64).collect();
    engine
        .submit(Request { id: 0, key: "a".into(), prompt_id: "a".into(), tokens, samples: 2, begun: Vec::new() })
        .expect("it fits");
    while !engine.idle() {
        for trajectory in engine.step(&model, 0).into_iter().flat_map(|group| group.trajectories) {
            assert_eq!(trajectory.authors.iter().filter(|&&author| author == Author::Policy).count(), 4);
        }
    }
}

/// A dense model whose other dimensions are small beside its vocabulary.
fn model_with(vocabulary: usize) -> Model {
    let mut config = tiny_config(None);
    config.vocab_size = vocabulary as i64;
    config.max_position_embeddings = ROWS as i64;
    checkpoint::fresh(config, 0.3, 11, Device::Cpu).expect("small products are row-invariant")
}

fn tokens(sequence: usize) -> Vec<u32> {
    (0..=ROWS / SEQUENCES).map(|i| ((i * 7 + sequence) % SMALL) as u32).collect()
}

/// A sample all of whose tokens but the first were the policy's.
fn trajectory(sequence: usize) -> Trajectory {
    let tokens = tokens(sequence);
    let own = tokens.len() - 1;
    Trajectory {
        prompt_id: "a".into(),
        sample: sequence as u32,
        authors: [vec![Author::Prompt], vec![Author::Policy; own]].concat(),
        prompt_len: 1,
        logprobs: vec![-4.0; own],
        versions: vec![0; own],
        kept: KeptSets::default(),
        selections: None,
        routing: None,
        finish: Finish::Stop,
        tokens,
    }
}

fn grpo_settings() -> GrpoSettings {
    GrpoSettings {
        clip: Clip { low: 0.2, high: 0.2, dual: None },
        aggregation: Aggregation::SequenceMean,
        off_policy_delta: None,
        kl: KlEstimator::Unbiased,
        inverse_temperature: 1.0,
        indexer: LiveIndexer::Frozen,
        routing: Routing { replay: false, balance: 0.0 },
        unit_tokens: ROWS,
        version: 0,
    }
}

/// One step of each loss over all rows as one unit.
fn step(loss: &str, vocabulary: usize) {
    let model = model_with(vocabulary);
    let mut trainer = trainer(&model, Learning::Backbone);
    let trajectories: Vec<Trajectory> = (0..SEQUENCES).map(trajectory).collect();
    let samples: Vec<Sample<'_>> =
        trajectories.iter().map(|trajectory| Sample { trajectory, advantage: 1.0, beta: 0.1 }).collect();
    match loss {
        "language" => {
            let sequences: Vec<Sequence> = (0..SEQUENCES).map(|s| Sequence::text(tokens(s))).collect();
            let task = LanguageTask { sparse: false, language: true, indexer: None, balance: 0.0, unit_tokens: ROWS };
            language_step(&model, &mut trainer, &sequences, &task, 1e-3).expect("a finite step");
        }
        "grpo" => {
            let reference = model.frozen_copy().expect("it was made once");
            let found = grpo_step(&model, Some(&reference), &mut trainer, &samples, &grpo_settings(), 1e-3);
            assert!(found.expect("a finite step").entropy_sum > 0.0);
        }
        "distill" => {
            let teacher = model_with(vocabulary);
            let settings = DistillSettings {
                divergence: Divergence::GeneralizedJs { beta: 0.5 },
                reward_coefficient: 0.1,
                grpo: grpo_settings(),
                indexer: None,
            };
            distill_step(&model, &mut trainer, &[(&teacher, samples)], &settings, 1e-3).expect("a finite step");
        }
        other => panic!("no loss is called {other}"),
    }
}

/// A language-model step over all rows as one unit through so many layers.
fn step_through(layers: usize, recompute: bool) {
    let mut config = tiny_config(Some(16));
    config.num_hidden_layers = layers as i64;
    config.max_position_embeddings = ROWS as i64;
    let compute = Compute { recompute, ..Device::Cpu.into() };
    let model = checkpoint::fresh(config, 0.3, 11, compute).expect("small products are row-invariant");
    let mut trainer = trainer(&model, Learning::Both);
    let sequences: Vec<Sequence> = (0..SEQUENCES).map(|s| Sequence::text(tokens(s))).collect();
    let task = LanguageTask { sparse: true, language: true, indexer: Some(1.0), balance: 0.0, unit_tokens: ROWS };
    language_step(&model, &mut trainer, &sequences, &task, 1e-3).expect("a finite step");
}

/// What no loss does.
fn logits_at_once(vocabulary: usize) {
    let model = model_with(vocabulary);
    let sequences: Vec<Vec<u32>> = (0..SEQUENCES).map(|s| tokens(s)[1..].to_vec()).collect();
    let rows = Rows::packed(&sequences.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let _guard = tch::no_grad_guard();
    let hidden = model.forward(&rows, Keys::Fresh, &Task::plain(&model)).hidden;
    assert_eq!(model.logits(&hidden).size(), [ROWS as i64, vocabulary as i64]);
}

/// The child's part: does its job and prints the most memory that it held at once. As a test of its own it does nothing.
#[test]
fn job() {
    let Ok(job) = std::env::var(JOB) else { return };
    let (what, length) = job.split_once(' ').expect("WHAT N");
    let length = length.parse().expect("a number");
    match what {
        "sparse" => learn(length, true),
        "warmup" => learn(length, false),
        "sample" => sample(length),
        "square" => drop(Tensor::ones([length as i64; 2], (Kind::Float, Device::Cpu))),
        "logits" => logits_at_once(length),
        "kept" => step_through(length, false),
        "recomputed" => step_through(length, true),
        loss => step(loss, length),
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
    println!("peak {}", peak.trim().trim_end_matches(" kB"));
}

fn peak_kib(what: &str, length: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    // One thread, so that the work's own buffers are all that differs; and large blocks go back to the system, so that what is counted is
    // what is held and not holes in the allocator's heap.
    let child = child.args(["job", "--exact", "--nocapture"]).env(JOB, format!("{what} {length}"));
    let child = child.env("OMP_NUM_THREADS", "1").env("MALLOC_MMAP_THRESHOLD_", "524288");
    let output = child.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let found = text.split("peak ").nth(1).and_then(|rest| rest.split_whitespace().next());
    found.and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("no measurement in {text}"))
}

/// What doubling the context adds.
fn growth_kib(what: &str) -> usize {
    peak_kib(what, LONG).saturating_sub(peak_kib(what, SHORT))
}

#[test]
fn inv_8_the_sparse_step_holds_no_square_of_the_context() {
    let growth = growth_kib("sparse");
    assert!(growth < SQUARE_KIB / 2, "{growth} KiB more; one L×L matrix is {SQUARE_KIB}");
}

#[test]
fn inv_8_the_warm_up_over_dense_attention_holds_no_square_of_the_context() {
    let growth = growth_kib("warmup");
    assert!(growth < SQUARE_KIB / 2, "{growth} KiB more; one L×L matrix is {SQUARE_KIB}");
}

#[test]
fn inv_8_the_sampler_holds_no_square_of_the_context() {
    let growth = growth_kib("sample");
    assert!(growth < SQUARE_KIB / 2, "{growth} KiB more; one L×L matrix is {SQUARE_KIB}");
}

#[test]
fn inv_8_one_square_matrix_would_be_seen() {
    let growth = growth_kib("square");
    assert!(growth >= SQUARE_KIB / 10 * 9, "{growth} KiB more; one L×L matrix is {SQUARE_KIB}");
}

/// What the larger vocabulary adds.
fn growth_by_vocabulary_kib(what: &str) -> usize {
    peak_kib(what, LARGE).saturating_sub(peak_kib(what, SMALL))
}

#[test]
fn inv_8_no_loss_holds_the_logits_of_all_rows() {
    for loss in ["language", "grpo", "distill"] {
        let growth = growth_by_vocabulary_kib(loss);
        assert!(growth < LOGITS_KIB / 4 * 3, "{loss}: {growth} KiB more; all logits are {LOGITS_KIB}");
    }
}

#[test]
fn inv_8_the_logits_of_all_rows_would_be_seen() {
    let growth = growth_by_vocabulary_kib("logits");
    assert!(growth >= LOGITS_KIB / 10 * 9, "{growth} KiB more; all logits are {LOGITS_KIB}");
}

#[test]
fn inv_8_layers_that_are_computed_again_hold_no_activations() {
    let eight_more = |what: &str| peak_kib(what, 10).saturating_sub(peak_kib(what, 2));
    let (kept, recomputed) = (eight_more("kept"), eight_more("recomputed"));
    assert!(recomputed < kept / 8, "{recomputed} KiB for eight layers more; kept, they are {kept}");
}
