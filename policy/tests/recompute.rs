//! Layers that compute their activations again: the same forward and, to the bit, the same gradients as layers that keep them.

use policy::params::{is_adapter, is_indexer};
use policy::testing::{adapted, every_kind, model_of};
use policy::{Attend, Compute, Forward, Keys, Model, Rows, Task};
use tch::{Device, Kind, Tensor};

const ROWS: i64 = 150;

fn rows() -> Rows {
    let sequence = |n: u32| (0..n).map(|i| (i * i * 7 + n) % 64).collect::<Vec<u32>>();
    let sequences = [sequence(3), sequence(117), sequence(30)];
    Rows::packed(&sequences.each_ref().map(Vec::as_slice))
}

/// The same weights twice, of which the second computes its layers again.
fn pair(model: Model, learns: impl Fn(&str) -> bool) -> [Model; 2] {
    let compute = Compute { recompute: true, ..Device::Cpu.into() };
    let base = model.without_adapters().expect("small products").params;
    let mut again = Model::new(model.config.clone(), base, compute).expect("small products");
    if let Some(adapters) = &model.adapters {
        // Fresh ones share no storage with those of the model, whose own weights they must not touch.
        again = again.frozen_copy().expect("small products");
        again = again.with_adapters(adapters.config.clone(), 0).expect("they fit the model");
        again.set_adapters(&model.adapter_params()).expect("the same adapters");
    }
    for (name, p) in model.params.iter().chain(&again.params) {
        let _ = p.set_requires_grad(learns(name));
    }
    [model, again]
}

/// Tasks of a learner: as the model selects and routes, with what was recorded, and over all keys.
fn tasks(model: &Model) -> Vec<Task> {
    let sparse = model.config.indexer.is_some();
    let weight = || sparse.then(|| Tensor::full([ROWS], 0.01, (Kind::Float, Device::Cpu)));
    let recording = Task { record: sparse, record_experts: true, ..Task::plain(model) };
    let Forward { selections, experts, .. } = tch::no_grad(|| model.forward(&rows(), Keys::Fresh, &recording));
    let replay = if sparse { Attend::Replay(selections) } else { Attend::Dense };
    vec![
        Task { indexer_weight: weight(), ..Task::plain(model) },
        Task { indexer_weight: weight(), attend: replay, experts: Some(experts), ..Task::dense() },
        Task { indexer_weight: weight(), ..Task::dense() },
        Task::plain(model),
    ]
}

/// A parameter's name and gradient.
type Gradient = (String, Option<Tensor>);

/// Loss, what was chosen and counted, and gradients by name; `None` where a loss reaches nothing that learns.
fn step(model: &Model, task: &Task) -> (Vec<Tensor>, String, Vec<Gradient>) {
    let forward = model.forward(&rows(), Keys::Fresh, task);
    let language = model.logits(&forward.hidden).sin().sum(Kind::Float);
    let loss = forward.indexer_loss.as_ref().map_or_else(|| language.shallow_clone(), |own| &language + own);
    let learning: Vec<(&String, &Tensor)> = model.params.iter().filter(|(_, p)| p.requires_grad()).collect();
    let parameters: Vec<&Tensor> = learning.iter().map(|(_, p)| *p).collect();
    let found = Tensor::run_backward(&[&loss], &parameters, false, false);
    let gradients = learning.iter().zip(found).map(|((name, _), g)| ((*name).clone(), g.defined().then_some(g)));
    let seen = format!("{:?} {:?}", forward.load, forward.coverage);
    (vec![forward.hidden.detach(), loss.detach()], seen, gradients.collect())
}

fn check(kind: &str, models: &[Model; 2]) {
    for (number, task) in tasks(&models[0]).iter().enumerate() {
        let [(kept, kept_seen, kept_gradients), (again, again_seen, again_gradients)] =
            models.each_ref().map(|model| step(model, task));
        assert!(kept.iter().zip(&again).all(|(a, b)| a.equal(b)) && kept_seen == again_seen, "{kind}, task {number}");
        for ((name, kept), (_, again)) in kept_gradients.iter().zip(&again_gradients) {
            let same = match (kept, again) {
                (Some(kept), Some(again)) => kept.equal(again),
                (None, None) => true,
                _ => false,
            };
            assert!(same, "{kind}, task {number}: gradient of {name}");
        }
        let reached = kept_gradients.iter().filter(|(_, gradient)| gradient.is_some()).count();
        assert!(reached > 0, "{kind}, task {number}: something learns");
    }
}

#[test]
fn inv_1_every_kind_has_the_same_gradients_to_the_bit() {
    for (kind, config) in every_kind() {
        check(kind, &pair(model_of(config), |_| true));
    }
}

/// A stage that trains one half: no gradient is computed for the other, and none is missing.
#[test]
fn inv_1_the_backbone_alone_and_the_indexer_alone_have_them_too() {
    for (kind, config) in every_kind() {
        check(kind, &pair(model_of(config.clone()), |name| !is_indexer(name)));
        if config.indexer.is_some() {
            let [kept, again] = pair(model_of(config), is_indexer);
            for task in tasks(&kept).into_iter().filter(|task| task.indexer_weight.is_some()) {
                let forward = again.forward(&rows(), Keys::Fresh, &task);
                assert!(!forward.hidden.requires_grad(), "{kind}: hidden states do not depend on the indexer");
                let [kept, again] = [&kept, &again].map(|model| step(model, &task).2);
                let same = |(a, b): (&Gradient, &Gradient)| match (&a.1, &b.1) {
                    (Some(a), Some(b)) => a.equal(b),
                    _ => false,
                };
                assert!(kept.iter().zip(&again).all(same) && !kept.is_empty(), "{kind}");
            }
        }
    }
}

#[test]
fn inv_1_adapters_have_the_same_gradients_to_the_bit() {
    for (kind, config) in every_kind() {
        check(kind, &pair(adapted(config), is_adapter));
    }
}

/// Without gradients there is nothing to compute again.
#[test]
fn a_forward_that_nobody_learns_from_is_the_plain_one() {
    let (_, config) = every_kind().remove(3);
    let [kept, again] = pair(model_of(config), |_| true);
    let hidden = |model: &Model| tch::no_grad(|| model.forward(&rows(), Keys::Fresh, &Task::plain(model)).hidden);
    assert!(hidden(&kept).equal(&hidden(&again)) && !hidden(&again).requires_grad());
}
