//! INV-8: memory grows with the context as L, and never as L×L.
//!
//! Each measurement is a process of its own, because the most that a process has held at once (`VmHWM`) never falls: the test starts
//! this test binary anew for one step over one context.

use std::process::Command;

use data::Author;
use learner::language::{LanguageTask, language_step};
use learner::optimizer::AdamWConfig;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::testing::tiny_config;
use policy::{Model, checkpoint};
use rollout::{Engine, EngineSettings, Request, Sampling};
use tch::{Device, Kind, Tensor};

/// What a child process is to do: `WHAT L`.
const JOB: &str = "TEMPER_INV_8";
const SHORT: usize = 4096;
const LONG: usize = 2 * SHORT;
/// One matrix of f32 over all pairs of the longer context, less one over those of the shorter: what a single L×L tensor would add.
const SQUARE_KIB: usize = (LONG * LONG - SHORT * SHORT) * 4 / 1024;

fn model() -> Model {
    let mut config = tiny_config(Some(16));
    config.max_position_embeddings = 2 * LONG as i64;
    checkpoint::fresh(config, 0.3, 11, Device::Cpu).expect("small products are row-invariant")
}

/// A learner's step over one sequence of `length` tokens.
fn learn(length: usize, sparse: bool) {
    let model = model();
    let settings = TrainerSettings {
        learning: if sparse { Learning::Both } else { Learning::Indexer },
        adamw: AdamWConfig { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
        clip_norm: None,
        indexer_clip_norm: None,
        indexer_rate_scale: 1.0,
    };
    let mut trainer = Trainer::new(&model, &settings).expect("sound settings");
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

/// The child's part: does its job and prints the most memory that it held at once. As a test of its own it does nothing.
#[test]
fn job() {
    let Ok(job) = std::env::var(JOB) else { return };
    let (what, length) = job.split_once(' ').expect("WHAT L");
    let length = length.parse().expect("a number");
    match what {
        "sparse" => learn(length, true),
        "warmup" => learn(length, false),
        "sample" => sample(length),
        "square" => drop(Tensor::ones([length as i64; 2], (Kind::Float, Device::Cpu))),
        other => panic!("unknown job {other}"),
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
    println!("peak {}", peak.trim().trim_end_matches(" kB"));
}

fn peak_kib(what: &str, length: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    // One thread, so that the work's own buffers are all that differs.
    let child =
        child.args(["job", "--exact", "--nocapture"]).env(JOB, format!("{what} {length}")).env("OMP_NUM_THREADS", "1");
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
