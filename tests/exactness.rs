//! The sampler against the learner (INV-1, INV-2, INV-4, INV-5): equal to the bit whatever the batch, and the check can fail.

use data::Trajectory;
use learner::replay::{Exactness, check, recorded, unit_log_probs};
use learner::unit::Unit;
use policy::testing::{every_kind, model_of, tiny_config, tiny_model};
use policy::{Attend, Compute, Keys, Model, Precision, Task, checkpoint};
use rollout::{Engine, EngineSettings, Request, Sampling};
use tch::{Device, Kind, Tensor};

const GROUPS: usize = 6;

fn sampling(temperature: f64, top_p: f64) -> Sampling {
    Sampling { temperature, top_p, top_k: 0, max_new_tokens: 20, stop_tokens: vec![3] }
}

fn requests() -> Vec<Request> {
    let request = |id: usize| {
        let tokens = (0..3 + 7 * id as u32).map(|i| (i * 11 + id as u32) % 64).collect();
        let (key, prompt_id) = (format!("g{id}"), format!("p{id}"));
        Request { id, key, prompt_id, tokens, samples: 1 + id % 3, begun: Vec::new() }
    };
    (0..GROUPS).map(request).collect()
}

fn settings(batch: usize, open: usize, record: bool) -> EngineSettings {
    let (record_selections, record_experts) = (record, record);
    EngineSettings { batch, open, page: 4, cache_positions: 4096, record_selections, record_experts, seed: 5 }
}

/// Samples groups of prompts of different lengths, some beyond the top-k, with at most `batch` sequences at once.
fn sample(model: &Model, sampling: &Sampling, batch: usize, record: bool) -> Vec<Trajectory> {
    let settings = settings(batch, batch, record);
    let mut engine = Engine::new(model, settings, sampling.clone());
    requests().into_iter().for_each(|request| engine.submit(request).expect("it fits"));
    let mut done = Vec::new();
    while !engine.idle() {
        done.extend(engine.step(model, 0));
    }
    done.sort_by_key(|g| g.id);
    done.into_iter().flat_map(|g| g.trajectories).collect()
}

/// The groups that each step ends, with up to ten sequences open.
fn ended(model: &Model, sampling: &Sampling, batch: usize) -> Vec<Vec<(usize, Vec<Trajectory>)>> {
    let settings = settings(batch, 10, true);
    let mut engine = Engine::new(model, settings, sampling.clone());
    requests().into_iter().for_each(|request| engine.submit(request).expect("it fits"));
    let mut steps = Vec::new();
    while !engine.idle() {
        steps.push(engine.step(model, 0).into_iter().map(|g| (g.id, g.trajectories)).collect());
    }
    steps
}

/// As [`sample`], with every group taken out and submitted again, to another engine, before each step that `interrupt` names.
fn interrupted(model: &Model, sampling: &Sampling, batch: usize, interrupt: impl Fn(u64) -> bool) -> Vec<Trajectory> {
    let settings = settings(batch, batch, true);
    let mut engine = Engine::new(model, settings.clone(), sampling.clone());
    requests().into_iter().for_each(|request| engine.submit(request).expect("it fits"));
    let mut done = Vec::new();
    for step in 0.. {
        if engine.idle() {
            break;
        }
        if interrupt(step) {
            let requests = engine.drain();
            engine = Engine::new(model, settings.clone(), sampling.clone());
            requests.into_iter().for_each(|request| engine.submit(request).expect("it fits"));
        }
        done.extend(engine.step(model, 0));
    }
    done.sort_by_key(|g| g.id);
    done.into_iter().flat_map(|g| g.trajectories).collect()
}

fn difference(model: &Model, trajectories: &[Trajectory], sampling: &Sampling, unit_tokens: usize) -> f64 {
    let all: Vec<&Trajectory> = trajectories.iter().collect();
    check(model, 0, &all, sampling.inverse_temperature(), unit_tokens).max_abs_logprob_diff
}

#[test]
fn inv_1_learner_and_sampler_agree_to_the_bit() {
    for (kind, config) in every_kind() {
        let model = model_of(config);
        for sampling in [sampling(1.0, 1.0), sampling(0.8, 0.9)] {
            let trajectories = sample(&model, &sampling, 64, false);
            for unit_tokens in [16, 100, 4096] {
                assert_eq!(difference(&model, &trajectories, &sampling, unit_tokens), 0.0, "{kind}");
            }
        }
    }
}

#[test]
fn inv_2_and_inv_4_the_batch_does_not_show() {
    let (model, sampling) = (tiny_model(Some(8)), sampling(1.0, 0.95));
    let alone = sample(&model, &sampling, 1, true);
    for batch in [2, 7, 64] {
        assert_eq!(sample(&model, &sampling, batch, true), alone, "batch {batch}");
    }
    // Nor does it show in which step a group ends, where more sequences are open than a forward takes.
    let together = ended(&model, &sampling, 64);
    for batch in [1, 2, 5] {
        assert_eq!(ended(&model, &sampling, batch), together, "batch {batch}");
    }
    assert!(alone.iter().all(|t| t.selections.as_ref().is_some_and(|s| s.layers.len() == 2)));
}

#[test]
fn inv_4_and_inv_5_an_interrupted_sample_goes_on_as_if_it_had_not_been() {
    let (model, sampling) = (tiny_model(Some(8)), sampling(0.8, 0.9));
    let whole = sample(&model, &sampling, 64, true);
    assert_eq!(interrupted(&model, &sampling, 64, |_| true), whole, "before every step");
    for batch in [3, 64] {
        for every in [2, 5] {
            assert_eq!(interrupted(&model, &sampling, batch, |step| step % every == 1), whole, "{batch}, {every}");
        }
    }
}

#[test]
fn inv_5_weights_swapped_in_flight_are_exact_token_by_token() {
    let (old, new) = (tiny_model(Some(8)), other_model());
    let sampling = sampling(0.8, 0.9);
    for recompute in [true, false] {
        let trajectories = swapped(&old, &new, &sampling, recompute);
        let mixed = trajectories.iter().filter(|t| t.versions.first() != t.versions.last()).count();
        assert!(mixed >= 3, "{mixed} samples crossed the swap");
        let all: Vec<&Trajectory> = trajectories.iter().collect();
        let compare = |model, version| check(model, version, &all, sampling.inverse_temperature(), 4096);
        let (before, after) = (compare(&old, 0), compare(&new, 1));
        assert_eq!(before.max_abs_logprob_diff, 0.0);
        assert!(before.tokens_compared > 0 && after.tokens_compared > 0);
        assert_eq!(after.max_abs_logprob_diff == 0.0, recompute, "keys of the old weights are seen");
    }
}

/// Samples with weights that change after five steps.
fn swapped(old: &Model, new: &Model, sampling: &Sampling, recompute: bool) -> Vec<Trajectory> {
    let settings = settings(64, 64, true);
    let mut engine = Engine::new(old, settings, sampling.clone());
    requests().into_iter().for_each(|request| engine.submit(request).expect("it fits"));
    let mut done = Vec::new();
    for step in 0.. {
        if engine.idle() {
            break;
        }
        if step == 5 && recompute {
            engine.recompute();
        }
        done.extend(if step < 5 { engine.step(old, 0) } else { engine.step(new, 1) });
    }
    done.sort_by_key(|g| g.id);
    done.into_iter().flat_map(|g| g.trajectories).collect()
}

/// The tiny model after a change of its weights as a step of training makes.
fn other_model() -> Model {
    let model = tiny_model(Some(8));
    let other = copy(&model);
    tch::no_grad(|| {
        let mut weight = other.params["model.layers.0.mlp.up_proj.weight"].shallow_clone();
        let _ = weight.g_mul_scalar_(1.01);
    });
    other
}

fn copy(model: &Model) -> Model {
    model.frozen_copy().expect("small products are row-invariant")
}

#[test]
fn inv_1_one_bit_of_one_weight_is_seen() {
    let (model, sampling) = (tiny_model(Some(8)), sampling(1.0, 1.0));
    let trajectories = sample(&model, &sampling, 64, false);
    let other = copy(&model);
    assert_eq!(difference(&other, &trajectories, &sampling, 4096), 0.0);
    tch::no_grad(|| {
        let mut weight = other.params["model.layers.0.mlp.up_proj.weight"].get(0).get(0);
        let value = weight.double_value(&[]) as f32;
        // Bit 12 of 23: a change of 5e-4, as a bit that flipped in memory would make.
        weight.copy_(&Tensor::from(f32::from_bits(value.to_bits() ^ (1 << 12))));
    });
    assert!(difference(&other, &trajectories, &sampling, 4096) > 0.0);
}

#[test]
fn inv_2_products_in_bf16_are_exact_too() {
    let compute = Compute { precision: Precision::Bf16, ..Device::Cpu.into() };
    let model = checkpoint::fresh(tiny_config(Some(8)), 0.3, 11, compute).expect("our own products are exact");
    let sampling = sampling(0.8, 0.9);
    let trajectories = sample(&model, &sampling, 64, true);
    assert_eq!(difference(&model, &trajectories, &sampling, 4096), 0.0);
    let alone = sample(&model, &sampling, 1, true);
    assert!(trajectories.iter().zip(&alone).all(|(a, b)| a.tokens == b.tokens && a.logprobs == b.logprobs));
    // And they are another precision: the f32 model has the same weights and other probabilities.
    assert!(difference(&tiny_model(Some(8)), &trajectories, &sampling, 4096) > 1e-4);
}

#[test]
fn inv_2_too_few_rows_are_seen() {
    let (mut model, sampling) = (tiny_model(Some(8)), sampling(1.0, 1.0));
    let shapes = policy::model::product_shapes(&model.config);
    let shows = |s: &policy::doctor::ProductShape| {
        let wave = |rows: i64, columns: i64| {
            Tensor::arange(rows * columns, (Kind::Float, Device::Cpu)).sin().view([rows, columns])
        };
        let (x, w) = (wave(64, s.k), wave(s.k, s.n));
        !x.narrow(0, 0, 1).matmul(&w).equal(&x.matmul(&w).narrow(0, 0, 1))
    };
    if !shapes.iter().any(shows) {
        eprintln!("skipped: on this machine every number of rows gives the same bits in the library's products");
        return;
    }
    model.products.own = false;
    let trajectories = sample(&model, &sampling, 1, false);
    assert!(difference(&model, &trajectories, &sampling, 4096) > 0.0, "decoding single rows must show");
}

/// The learner's log-probabilities where it replays the recorded keys and experts.
fn replayed(model: &Model, trajectories: &[Trajectory], sampling: &Sampling) -> Vec<f32> {
    let all: Vec<&Trajectory> = trajectories.iter().collect();
    let unit = Unit::of_trajectories(&all, sampling.inverse_temperature());
    let attend = unit.replay(&all, model.device()).unwrap_or(Attend::Dense);
    let task = Task { attend, experts: unit.replay_experts(&all, model.device()), ..Task::plain(model) };
    Vec::<f32>::try_from(tch::no_grad(|| unit_log_probs(model, &unit, &task))).expect("a vector")
}

#[test]
fn inv_5_replayed_keys_and_experts_give_the_recorded_log_probabilities() {
    for (kind, config) in every_kind() {
        let (model, sampling) = (model_of(config), sampling(0.9, 0.9));
        let trajectories = sample(&model, &sampling, 64, true);
        let all: Vec<&Trajectory> = trajectories.iter().collect();
        assert!(all.iter().all(|t| t.selections.is_some() == model.config.indexer.is_some()), "{kind}");
        assert!(all.iter().all(|t| t.routing.is_some() == model.config.experts.is_some()), "{kind}");
        assert_eq!(replayed(&model, &trajectories, &sampling), recorded(&all), "{kind}");
    }
}

/// Keep Routing with weights that change in flight: what is recorded of a sample is what its last weights chose, so that they, replaying
/// it, give their own tokens to the bit; and the gate that has moved would choose otherwise.
#[test]
fn inv_5_experts_replay_to_the_bit_where_weights_are_swapped_in_flight() {
    let mut ended_before = 0;
    for (kind, config) in every_kind().into_iter().filter(|(_, config)| config.experts.is_some()) {
        let (old, sampling) = (model_of(config), sampling(0.8, 0.9));
        let new = copy(&old);
        tch::no_grad(|| {
            let gate = &new.params["model.layers.1.mlp.gate.weight"];
            let _ = gate.narrow(0, 0, 4).g_mul_scalar_(-1.0);
        });
        let trajectories = swapped(&old, &new, &sampling, true);
        let all: Vec<&Trajectory> = trajectories.iter().collect();
        let mixed = all.iter().filter(|t| t.versions.first() != t.versions.last()).count();
        assert!(mixed >= 3, "{kind}: {mixed} samples crossed the swap");
        let now = Exactness::of_version(1, &all, &replayed(&new, &trajectories, &sampling));
        assert!(now.tokens_compared > 0 && now.max_abs_logprob_diff == 0.0, "{kind}: {now:?}");
        // The old gate would send these rows elsewhere; samples that ended before the swap went where it sends them, and replay under it.
        let after: Vec<&Trajectory> = all.iter().copied().filter(|t| t.versions.last() == Some(&1)).collect();
        assert!(changed_rows(&old, &after) > 0 && changed_rows(&new, &after) == 0, "{kind}");
        let ended: Vec<Trajectory> = trajectories.iter().filter(|t| !t.versions.contains(&1)).cloned().collect();
        let of_ended: Vec<&Trajectory> = ended.iter().collect();
        if !ended.is_empty() {
            assert_eq!(replayed(&old, &ended, &sampling), recorded(&of_ended), "{kind}");
            assert_eq!(changed_rows(&old, &of_ended), 0, "{kind}");
        }
        ended_before += ended.len();
    }
    assert!(ended_before > 0, "some samples ended under the old weights");
}

/// Rows whose recorded experts are not those that the model would choose.
fn changed_rows(model: &Model, trajectories: &[&Trajectory]) -> u64 {
    let unit = Unit::of_trajectories(trajectories, 1.0);
    let task = Task { experts: unit.replay_experts(trajectories, model.device()), ..Task::plain(model) };
    let forward = tch::no_grad(|| model.forward(&unit.rows, Keys::Fresh, &task));
    forward.load.iter().map(|load| load.changed).sum()
}
