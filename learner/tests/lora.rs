//! Training low-rank adapters: they alone move and have a state, the weights follow them, and neither shards nor a stop in between show.

use std::collections::BTreeMap;

use learner::language::{LanguageTask, language_step};
use learner::optimizer::AdamWConfig;
use learner::shards::Parallel;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::params::{Params, is_adapter};
use policy::testing::{model_of, tiny_config, tiny_grouped};
use policy::{LoraConfig, Model, ModelConfig};
use tch::{Kind, Tensor};

const TASK: LanguageTask = LanguageTask { sparse: false, language: true, indexer: None, balance: 0.0, unit_tokens: 12 };

fn sequences() -> Vec<Sequence> {
    (0..17u32).map(|s| Sequence::text((0..5 + s % 7).map(|t| (s * 31 + t * 7) % 50).collect())).collect()
}

fn adapted(config: ModelConfig) -> Model {
    let lora = LoraConfig { rank: 4, alpha: 8.0, targets: Vec::new() };
    model_of(config).with_adapters(lora, 3).expect("it has targets")
}

fn trainer(model: &Model, parallel: Parallel) -> Trainer {
    let settings = TrainerSettings {
        learning: Learning::Backbone,
        adamw: AdamWConfig::default(),
        clip_norm: Some(1.0),
        indexer_clip_norm: Some(1.0),
        indexer_rate_scale: 1.0,
    };
    Trainer::new(model, &settings).expect("numbers in range").spread(parallel)
}

fn steps(model: &Model, trainer: &mut Trainer, steps: usize) -> f64 {
    (0..steps)
        .map(|_| language_step(model, trainer, &sequences(), &TASK, 1e-2).expect("a finite step").loss)
        .last()
        .expect("a step")
}

fn bits(params: &Params) -> BTreeMap<String, Vec<u32>> {
    let of = |p: &Tensor| Vec::<f32>::try_from(p.detach().flatten(0, -1)).expect("f32");
    params.iter().map(|(name, p)| (name.clone(), of(p).into_iter().map(f32::to_bits).collect())).collect()
}

#[test]
fn adapters_alone_learn_and_the_weights_follow_them() {
    for config in [tiny_config(None), tiny_grouped(None)] {
        let model = adapted(config);
        let (before, base) = (bits(&model.params), bits(&model.without_adapters().expect("small products").params));
        let mut trainer = trainer(&model, Parallel::default());
        let first = steps(&model, &mut trainer, 1);
        let last = steps(&model, &mut trainer, 30);
        assert!(last < first - 0.3, "{first} fell to {last}");
        assert_eq!(
            bits(&model.without_adapters().expect("small products").params),
            base,
            "what they stand beside stays"
        );
        let after = bits(&model.params);
        for (name, was) in &before {
            let module = name.trim_end_matches(".weight");
            let follows = is_adapter(name) || before.contains_key(&format!("{module}.lora_A.weight"));
            assert_eq!(after[name] != *was, follows, "{name}");
        }
        // What is merged is what the adapters say, and the optimiser knows of nothing else.
        let values = model.adapter_params();
        model.set_adapters(&values).expect("its own");
        assert_eq!(bits(&model.params), after);
        let file = tempfile::NamedTempFile::new().expect("a file");
        trainer.save(file.path()).expect("written");
        let own: usize = values.values().map(|p| p.numel()).sum();
        let held = std::fs::metadata(file.path()).expect("it is there").len() as usize;
        assert!((8 * own..8 * own + (1 << 16)).contains(&held), "{held} bytes for {own} numbers that learn");
    }
}

#[test]
fn inv_7_shards_and_micro_batches_do_not_change_a_bit() {
    let run = |parallel| {
        let model = adapted(tiny_grouped(None));
        let mut trainer = trainer(&model, parallel);
        (steps(&model, &mut trainer, 3).to_bits(), bits(&model.params))
    };
    let one = run(Parallel::default());
    for (shards, micro_batch) in [(2, 1), (3, 2), (1, 16)] {
        assert!(run(Parallel { shards, micro_batch }) == one, "{shards} shards, micro-batches of {micro_batch}");
    }
}

#[test]
fn inv_6_a_resumed_run_has_the_bits_of_the_one_that_was_not_stopped() {
    let whole = adapted(tiny_config(None));
    let mut unstopped = trainer(&whole, Parallel::default());
    steps(&whole, &mut unstopped, 2);
    let (adapters, state) = (whole.adapter_params(), tempfile::NamedTempFile::new().expect("a file"));
    let adapters: Params = adapters.into_iter().map(|(name, p)| (name, p.to_kind(Kind::Float).copy())).collect();
    unstopped.save(state.path()).expect("written");
    steps(&whole, &mut unstopped, 3);

    let resumed = adapted(tiny_config(None));
    resumed.set_adapters(&adapters).expect("its own");
    let mut again = trainer(&resumed, Parallel::default());
    again.load(state.path()).expect("its own");
    steps(&resumed, &mut again, 3);
    assert_eq!(bits(&resumed.params), bits(&whole.params));
}
