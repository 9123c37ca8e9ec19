//! What a step says that it held is what it held.

use learner::language::{LanguageTask, language_step};
use learner::memory::StepMemory;
use learner::optimizer::AdamWConfig;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::params::tensor_bytes;
use policy::testing::tiny_config;
use policy::{Compute, checkpoint};
use tch::Device;

const VOCABULARY: i64 = 3001;

/// A step of four units of 256 rows through so many layers, and the bytes of a parameter set.
fn step(layers: i64, recompute: bool) -> (StepMemory, u64) {
    let mut config = tiny_config(None);
    (config.num_hidden_layers, config.max_position_embeddings, config.vocab_size) = (layers, 1024, VOCABULARY);
    let compute = Compute { recompute, ..Device::Cpu.into() };
    let model = checkpoint::fresh(config, 0.3, 11, compute).expect("small products are row-invariant");
    let settings = TrainerSettings {
        learning: Learning::Backbone,
        adamw: AdamWConfig::default(),
        clip_norm: None,
        indexer_clip_norm: None,
        indexer_rate_scale: 1.0,
    };
    let mut trainer = Trainer::new(&model, &settings).expect("sound settings");
    let sequences: Vec<Sequence> =
        (0..4u32).map(|s| Sequence::text((0..257).map(|i| (i * 7 + s) % 64).collect())).collect();
    let task = LanguageTask { sparse: false, language: true, indexer: None, balance: 0.0, unit_tokens: 256 };
    let memory = language_step(&model, &mut trainer, &sequences, &task, 1e-3).expect("a finite step").memory;
    let parameters: u64 = model.params.values().map(tensor_bytes).sum();
    assert_eq!(trainer.bytes(), 2 * parameters, "two moments of each");
    (memory, parameters)
}

#[test]
fn the_parts_of_a_step_are_those_of_its_tensors() {
    native::count_tensors();
    let (kept, parameters) = step(4, false);
    // Four units: at most two sums and the unit that is just brought.
    assert_eq!(kept.gradients, 3 * parameters);
    assert_eq!(kept.head, 2 * 256 * VOCABULARY as u64 * 4, "a chunk of logits and its gradient");
    assert!(kept.activations > kept.head && kept.device > kept.activations + kept.gradients, "{kept:?}");

    let (again, _) = step(4, true);
    assert_eq!((again.gradients, again.head), (kept.gradients, kept.head));
    // Four layers more cost what their activations take, or what goes into them.
    let grown = |recompute| step(8, recompute).0.activations - step(4, recompute).0.activations;
    let (hidden, own) = (256 * 32 * 4, step(8, true).1 - parameters);
    let (kept, again) = (grown(false), grown(true));
    assert!(kept > 4 * 10 * hidden, "{kept} bytes for four layers");
    assert!(
        (4 * hidden..4 * 2 * hidden + own).contains(&again),
        "{again} bytes for four layers; {hidden} go into each, and {own} are their gradients"
    );
}
