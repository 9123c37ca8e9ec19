//! Shards and micro-batches: the same bits however a batch is spread (INV-7), and the same failure.

use learner::language::{LanguageTask, language_step};
use learner::optimizer::AdamWConfig;
use learner::shards::Parallel;
use learner::trainer::{Learning, StepError, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::Model;
use policy::testing::tiny_model;
use tch::Tensor;

/// Sequences of unequal lengths; cut into units of 12 rows they make units enough for every shard to have several.
fn sequences() -> Vec<Sequence> {
    (0..17u32).map(|s| Sequence::text((0..5 + s % 7).map(|t| (s * 31 + t * 7) % 50).collect())).collect()
}

fn trainer(model: &Model, parallel: Parallel) -> Trainer {
    let settings = TrainerSettings {
        learning: Learning::Both,
        adamw: AdamWConfig::default(),
        clip_norm: Some(1.0),
        indexer_clip_norm: Some(1.0),
        indexer_rate_scale: 1.0,
    };
    Trainer::new(model, &settings).expect("numbers in range").spread(parallel)
}

const TASK: LanguageTask = LanguageTask { sparse: true, language: true, indexer: Some(1.0), unit_tokens: 12 };

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = Vec::<f32>::try_from(tensor.detach().flatten(0, -1)).expect("f32");
    values.into_iter().map(f32::to_bits).collect()
}

/// Loss, counters and weights after two steps.
fn two_steps(parallel: Parallel) -> (Vec<u64>, Vec<(String, Vec<u32>)>) {
    let model = tiny_model(Some(4));
    let mut trainer = trainer(&model, parallel);
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let report = language_step(&model, &mut trainer, &sequences(), &TASK, 1e-2).expect("a finite step");
        numbers.extend([report.loss, report.indexer_kl, report.groups[1].gradient_norm].map(f64::to_bits));
    }
    (numbers, model.params.iter().map(|(name, p)| (name.clone(), bits(p))).collect())
}

#[test]
fn inv_7_shards_and_micro_batches_do_not_change_a_bit() {
    let one = two_steps(Parallel::default());
    for shards in [1, 2, 3, 4] {
        for micro_batch in [1, 2, 4, 16] {
            assert!(
                two_steps(Parallel { shards, micro_batch }) == one,
                "{shards} shards, micro-batches of {micro_batch}"
            );
        }
    }
}

#[test]
fn the_first_unit_that_fails_is_the_one_that_is_named_and_nothing_is_applied() {
    for parallel in [Parallel::default(), Parallel { shards: 3, micro_batch: 2 }] {
        let model = tiny_model(Some(4));
        let mut trainer = trainer(&model, parallel);
        let before: Vec<_> = model.params.values().map(bits).collect();
        // The embedding of a token that the sequences from the seventh on hold.
        let broken: Vec<Sequence> = (0..12u32).map(|s| Sequence::text(vec![if s < 6 { 1 } else { 2 }; 12])).collect();
        let poison = model.params["model.embed_tokens.weight"].detach().get(2);
        let healthy = poison.copy();
        let _ = poison.shallow_clone().fill_(f64::NAN);
        let error = language_step(&model, &mut trainer, &broken, &TASK, 1e-2).expect_err("NaN");
        assert!(matches!(error, StepError::NonFiniteLoss { unit: 6, .. }), "{parallel:?}: {error}");
        poison.shallow_clone().copy_(&healthy);
        assert_eq!(model.params.values().map(bits).collect::<Vec<_>>(), before);
    }
}
