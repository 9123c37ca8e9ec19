//! Shards and micro-batches: the same bits however a batch is spread (INV-7), and the same failure.

use learner::balance::Unevenness;
use learner::language::{LanguageTask, language_step};
use learner::optimizer::AdamWConfig;
use learner::shards::Parallel;
use learner::trainer::{Learning, StepError, Trainer, TrainerSettings};
use learner::unit::Sequence;
use policy::Model;
use policy::config::Scores;
use policy::params::{is_selection_bias, selection_bias};
use policy::testing::{model_of, tiny_config, tiny_model, with_experts};
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

const TASK: LanguageTask =
    LanguageTask { sparse: true, language: true, indexer: Some(1.0), balance: 0.0, unit_tokens: 12 };

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = Vec::<f32>::try_from(tensor.detach().flatten(0, -1)).expect("f32");
    values.into_iter().map(f32::to_bits).collect()
}

/// Loss, counters and weights after two steps.
fn two_steps(parallel: Parallel) -> (Vec<u64>, Vec<(String, Vec<u32>)>) {
    steps_of(&tiny_model(Some(4)), &TASK, parallel)
}

fn steps_of(model: &Model, task: &LanguageTask, parallel: Parallel) -> (Vec<u64>, Vec<(String, Vec<u32>)>) {
    let mut trainer = trainer(model, parallel);
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let report = language_step(model, &mut trainer, &sequences(), task, 1e-2).expect("a finite step");
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

/// The selection bias moves by its rate alone, toward the experts below the mean load, and the same however the batch is spread.
#[test]
fn inv_7_experts_are_balanced_the_same_however_a_batch_is_spread() {
    let model = || model_of(with_experts(tiny_config(Some(4)), Scores::BiasedSigmoid));
    let task = LanguageTask { balance: 0.001, ..TASK };
    let one = steps_of(&model(), &task, Parallel::default());
    for (shards, micro_batch) in [(2, 1), (3, 2), (4, 16)] {
        let spread = steps_of(&model(), &task, Parallel { shards, micro_batch });
        assert!(spread == one, "{shards} shards, micro-batches of {micro_batch}");
    }
    let (name, moved) = one.1.iter().find(|(name, _)| is_selection_bias(name)).expect("a gate has one");
    assert_eq!(*name, selection_bias(1));
    let moved: Vec<f32> = moved.iter().map(|&bits| f32::from_bits(bits)).collect();
    assert!(moved.iter().all(|b| [-0.002f32, -0.001, 0.0, 0.001, 0.002].contains(b)), "{moved:?}");
    assert!(moved.iter().any(|b| *b > 0.0) && moved.iter().any(|b| *b < 0.0), "{moved:?}");
    let still = steps_of(&model(), &TASK, Parallel::default());
    assert!(still.1.iter().filter(|(name, _)| is_selection_bias(name)).all(|(_, b)| b.iter().all(|&b| b == 0)));
}

/// Rows that all go one way are spread: after some steps no expert has more than twice its share.
#[test]
fn balancing_spreads_rows_over_experts() {
    let uneven = |rate: f64| {
        let model = model_of(with_experts(tiny_config(Some(4)), Scores::BiasedSigmoid));
        let mut trainer = trainer(&model, Parallel::default());
        let task = LanguageTask { balance: rate, ..TASK };
        let violations = (0..40).map(|_| {
            let report = language_step(&model, &mut trainer, &sequences(), &task, 0.0).expect("a finite step");
            Unevenness::of(&report.load[0], 2).violation
        });
        violations.last().expect("there are steps")
    };
    let (left, balanced) = (uneven(0.0), uneven(0.02));
    assert!(balanced < 0.5 * left && balanced < 0.5, "{left} left alone, {balanced} balanced");
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
