//! What TRL computed, read from the fixture, and its batch in the form of Temper's run log.

use std::path::{Path, PathBuf};

use data::{Author, Finish, KeptSets, Mask, Prompt, ScoredGroup, ScoredSample, Trajectory};
use policy::{Model, checkpoint};
use serde::Deserialize;
use tch::Device;

#[derive(Deserialize)]
pub struct Fixture {
    pub parameters: Vec<String>,
    pub batch: Vec<Sequence>,
    pub old_log_probs: Vec<OldLogProbs>,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
pub struct Sequence {
    pub group: usize,
    pub prompt: Vec<u32>,
    pub completion: Vec<u32>,
    pub tool: Vec<bool>,
    pub stopped: bool,
}

#[derive(Deserialize)]
pub struct OldLogProbs {
    pub sparse: bool,
    pub temperature: f32,
    pub rows: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub settings: TrlSettings,
    pub sparse: bool,
    pub rewards: Vec<Option<f64>>,
    pub advantages: Vec<f64>,
    pub moved: Vec<f64>,
    pub mini_steps: Vec<MiniStep>,
}

/// The fields of TRL's `GRPOConfig`, by its names.
#[derive(Deserialize)]
pub struct TrlSettings {
    pub loss_type: String,
    pub scale_rewards: String,
    pub beta: f64,
    pub use_bias_correction_kl: bool,
    pub epsilon: f64,
    pub epsilon_high: f64,
    pub delta: Option<f64>,
    pub off_policy_mask_threshold: Option<f64>,
    pub temperature: f32,
    pub mask_truncated_completions: bool,
    pub gradient_accumulation_steps: usize,
    pub max_completion_length: usize,
    pub learning_rate: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    pub weight_decay: f64,
    pub max_grad_norm: f64,
}

/// What TRL computed before one of its optimiser's steps. `parameters` are the norms of gradients, in the order of the fixture's names.
#[derive(Deserialize)]
pub struct MiniStep {
    pub loss: f64,
    pub gradient_norm: f64,
    pub parameters: Vec<f64>,
    pub clip_low: f64,
    pub clip_high: f64,
    pub kl: f64,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trl_grpo")
}

/// Reads it.
pub fn fixture() -> Fixture {
    let text = std::fs::read_to_string(folder().join("cases.json")).expect("the fixture is committed");
    serde_json::from_str(&text).expect("well-formed")
}

/// Reads `policy` or `reference`, with the indexer or without.
pub fn model(name: &str, sparse: bool) -> Model {
    let folder = folder().join(name);
    let loaded = if sparse { checkpoint::load } else { checkpoint::load_dense };
    loaded(&folder, Device::Cpu).expect("the fixture loads")
}

fn trajectory(sequence: &Sequence, sample: usize, old_log_probs: &[f32]) -> Trajectory {
    let author = |&tool: &bool| if tool { Author::Tool } else { Author::Policy };
    Trajectory {
        prompt_id: sequence.group.to_string(),
        sample: sample as u32,
        tokens: [sequence.prompt.as_slice(), &sequence.completion].concat(),
        authors: sequence.prompt.iter().map(|_| Author::Prompt).chain(sequence.tool.iter().map(author)).collect(),
        prompt_len: sequence.prompt.len(),
        logprobs: old_log_probs.to_vec(),
        versions: vec![0; sequence.completion.len()],
        kept: KeptSets::default(),
        selections: None,
        routing: None,
        finish: if sequence.stopped { Finish::Stop } else { Finish::Length },
    }
}

/// Why Temper would leave the sample out of the loss.
fn mask(case: &Case, sequence: &Sequence, reward: Option<f64>) -> Mask {
    match reward {
        None => Mask::VerifierError,
        Some(_) if case.settings.mask_truncated_completions && !sequence.stopped => Mask::Overlong,
        Some(_) => Mask::None,
    }
}

/// The batch as the run log would hold it, with TRL's advantages.
pub fn groups(fixture: &Fixture, case: &Case) -> Vec<ScoredGroup> {
    let same_run = |old: &&OldLogProbs| old.sparse == case.sparse && old.temperature == case.settings.temperature;
    let old = fixture.old_log_probs.iter().find(same_run).expect("recorded for every model and temperature");
    let mut groups: Vec<ScoredGroup> = Vec::new();
    for (row, sequence) in fixture.batch.iter().enumerate() {
        if sequence.group == groups.len() {
            let prompt = Prompt {
                id: sequence.group.to_string(),
                domain: "math".into(),
                data_source: "math".into(),
                messages: Vec::new(),
                ground_truth: serde_json::Value::Null,
                answer: None,
                extra_info: serde_json::Value::Null,
            };
            groups.push(ScoredGroup { prompt, version: 0, samples: Vec::new() });
        }
        let samples = &mut groups[sequence.group].samples;
        samples.push(ScoredSample {
            trajectory: trajectory(sequence, samples.len(), &old.rows[row]),
            text: String::new(),
            verdicts: Vec::new(),
            reward: case.rewards[row],
            advantage: case.advantages[row] as f32,
            mask: mask(case, sequence, case.rewards[row]),
        });
    }
    groups
}
