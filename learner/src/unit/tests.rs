//! What units hold, and that sharing a prompt's rows changes nothing of what is learned.

use data::{Finish, KeptSets, Selections};
use native::cuda::{Emulated, emulated};
use policy::testing::{model_of, tiny_config, tiny_grouped};
use policy::{Keys, Model, Task};
use tch::Kind;

use super::*;
use crate::replay::picked_log_probs;

#[test]
fn a_row_predicts_the_token_after_it() {
    let unit = Unit::of_sequences(&[Sequence::answered(&[5, 6], &[7, 8]), Sequence::text(vec![1, 2, 3])]);
    assert_eq!(unit.rows.tokens, [5, 6, 7, 1, 2]);
    assert_eq!(
        (unit.picked.as_slice(), unit.targets.tokens.as_slice()),
        ([1, 2, 3, 4].as_slice(), [7, 8, 2, 3].as_slice())
    );
    assert_eq!(unit.layout.trained_counts(), [2, 2]);
}

fn trajectory(prompt: &[u32], completion: &[u32]) -> Trajectory {
    Trajectory {
        prompt_id: "p".into(),
        sample: 0,
        tokens: [prompt, completion].concat(),
        authors: [vec![Author::Prompt; prompt.len()], vec![Author::Policy; completion.len()]].concat(),
        prompt_len: prompt.len(),
        logprobs: vec![0.0; completion.len()],
        versions: (0..completion.len() as u64).collect(),
        kept: KeptSets::default(),
        selections: None,
        routing: None,
        finish: Finish::Stop,
    }
}

/// The same, with one selected position a row in one layer.
fn selecting(prompt: &[u32], completion: &[u32], selected: &[i32]) -> Trajectory {
    let selections = Some(Selections { top_k: 1, layers: vec![selected.to_vec()] });
    Trajectory { selections, ..trajectory(prompt, completion) }
}

#[test]
fn what_is_learned_of_one_prompt_shares_its_rows_but_the_last() {
    let all = [trajectory(&[1, 2, 3], &[4, 5]), trajectory(&[1, 2, 3], &[6]), trajectory(&[1, 9, 3], &[7])];
    let unit = Unit::of_trajectories(&all.iter().collect::<Vec<_>>(), 1.0);
    assert_eq!(unit.rows.tokens, [1, 2, 3, 4, 3, 1, 9, 3]);
    assert_eq!(unit.rows.index.slots, [vec![0, 1, 2, 3], vec![0, 1, 4], vec![5, 6, 7]]);
    assert_eq!(unit.rows.index.position, [0, 1, 2, 3, 2, 0, 1, 2]);
    assert_eq!(
        (unit.picked.as_slice(), unit.targets.tokens.as_slice()),
        ([2, 3, 4, 7].as_slice(), [4, 5, 6, 7].as_slice())
    );
    assert_eq!((unit.layout.trained_counts(), unit.rows_of_sequences()), (vec![2, 1, 1], 10));
    let weights = Vec::<f32>::try_from(unit.row_weights(10, Device::Cpu)).expect("a weight a row");
    assert_eq!(weights, [0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
}

#[test]
fn rows_are_shared_where_the_same_was_recorded_of_them() {
    let all =
        [selecting(&[1, 2], &[3, 4], &[0, 1, 2]), selecting(&[1, 2], &[5], &[0, 0]), selecting(&[1, 2], &[6], &[7, 1])];
    let all: Vec<&Trajectory> = all.iter().collect();
    let unit = Unit::of_trajectories(&all, 1.0);
    assert_eq!(unit.rows.tokens, [1, 2, 3, 2, 1, 2], "the third was sampled after another selection");
    let Some(Attend::Replay(layers)) = unit.replay(&all, Device::Cpu) else { panic!("all were recorded") };
    assert_eq!(Vec::<i32>::try_from(layers[0].flatten(0, 1)).expect("positions"), [0, 1, 2, 0, 7, 1]);
}

#[test]
fn samples_of_one_prompt_share_its_rows() {
    let all = [
        trajectory(&[1, 2], &[3, 4, 5]),
        trajectory(&[1, 2], &[6]),
        trajectory(&[1, 2], &[7, 8]),
        trajectory(&[9], &[3]),
    ];
    let all: Vec<&Trajectory> = all.iter().collect();
    let unit = Unit::sharing_prompts(&all, 1.0, |t, i| t.versions[i] < 2);
    assert_eq!(unit.rows.tokens, [1, 2, 3, 7, 9], "5 was not asked for, and the last tokens are not fed");
    assert_eq!(unit.rows.index.slots, [vec![0, 1, 2], vec![0, 1], vec![0, 1, 3], vec![4]]);
    assert_eq!(
        (unit.rows.index.sequence.as_slice(), unit.rows.index.position.as_slice()),
        ([0, 0, 0, 2, 3].as_slice(), [0, 1, 2, 2, 0].as_slice())
    );
    assert_eq!(unit.picked, [1, 2, 1, 1, 3, 4]);
    assert_eq!(unit.targets.tokens, [3, 4, 6, 7, 8, 3]);
}

/// What these units, which are one batch of `all_rows` rows, give each parameter: by the tokens' log-probabilities, each with a weight of its
/// own, and by the indexer.
fn gradients(model: &Model, units: &[Unit], all_rows: usize) -> Vec<Tensor> {
    let mut at = 0;
    let of_unit = |unit: &Unit| {
        let task = Task { indexer_weight: Some(unit.row_weights(all_rows, model.device())), ..Task::plain(model) };
        let forward = model.forward(&unit.rows, Keys::Fresh, &task);
        let (logp, _) = picked_log_probs(model, unit, &forward);
        let weights: Vec<f32> = (at..at + unit.picked.len()).map(|i| (i as f32 * 1.7).cos()).collect();
        at += unit.picked.len();
        (logp * Tensor::from_slice(&weights)).sum(Kind::Float) + forward.indexer_loss.expect("it was asked for")
    };
    let loss = units.iter().map(of_unit).reduce(|a, b| a + b).expect("there are units");
    Tensor::run_backward(&[loss], &model.params.values().collect::<Vec<_>>(), false, false)
}

#[test]
fn samples_learn_the_same_with_their_prompts_rows_shared_and_apart() {
    let prompt: Vec<u32> = (0..91).map(|i| i * 11 % 60).collect();
    let all = [trajectory(&prompt, &[3, 50, 6]), trajectory(&prompt, &[7]), trajectory(&prompt, &[9, 1, 30, 2, 44])];
    for config in [tiny_config(Some(4)), tiny_grouped(Some(4)), tiny_config(Some(128))] {
        let model = model_of(config);
        model.params.values().for_each(|p| drop(p.set_requires_grad(true)));
        let apart: Vec<Unit> = all.iter().map(|t| Unit::of_trajectories(&[t], 1.0)).collect();
        let together = [Unit::of_trajectories(&all.iter().collect::<Vec<_>>(), 1.0)];
        let rows = together[0].rows_of_sequences();
        assert_eq!(apart.iter().map(Unit::len).sum::<usize>(), rows);
        assert_eq!(together[0].len(), rows - 2 * 90);
        let (apart, shared) = (gradients(&model, &apart, rows), gradients(&model, &together, rows));
        for ((name, _), (apart, shared)) in model.params.iter().zip(apart.iter().zip(&shared)) {
            let [far, most] = [&(apart - shared), apart].map(|t| t.abs().max().double_value(&[]));
            assert!(far <= 1e-5 * most.max(1e-3), "{name}: {far} of {most}");
            assert!(most > 0.0, "{name} learns nothing");
        }
        let on_gpu = emulated(Emulated::Ascending, || gradients(&model, &together, rows));
        assert!(on_gpu.iter().zip(&shared).all(|(a, b)| a.equal(b)), "the GPU's bits");
    }
}
