//! Gradients of the whole model: the kernels' backward in f32 against finite differences of the plain-tensor forward in f64, and the
//! two losses of the sparse stage, which share no parameter.

use std::collections::BTreeMap;

use policy::params::is_indexer;
use policy::testing::tiny_model;
use policy::{Attend, Forward, Keys, Model, Rows, Task};
use tch::{Device, Kind, Tensor};

const TOP_K: i64 = 4;

/// Seeded normal numbers, in f64.
fn normal(name: &str, shape: &[i64]) -> Tensor {
    let mut rng = data::CounterRng::new(5, name);
    let values: Vec<f64> = (0..shape.iter().product::<i64>()).map(|_| rng.normal()).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Three sequences, two of them longer than the top-k.
fn rows() -> Rows {
    let sequence = |n: u32| (0..n).map(|i| (i * i * 7 + n) % 64).collect::<Vec<u32>>();
    let sequences = [sequence(3), sequence(17), sequence(9)];
    Rows::packed(&sequences.each_ref().map(Vec::as_slice))
}

fn run(model: &Model, task: &Task) -> Forward {
    model.forward(&rows(), Keys::Fresh, task)
}

/// A scalar of the logits: a fixed projection.
fn projected(model: &Model, forward: &Forward) -> Tensor {
    let logits = model.logits(&forward.hidden);
    (&logits * normal("projection", &logits.size()).to_kind(logits.kind())).sum(logits.kind())
}

/// The model with its parameters in f64, one of them moved by `step` along a fixed direction: everything takes the plain-tensor form.
fn moved(model: &Model, name: &str, step: f64) -> Model {
    let params = model.params.iter().map(|(own, p)| {
        let p = p.detach().to_kind(Kind::Double);
        let p = if own == name { &p + normal(name, &p.size()) * step } else { p };
        (own.clone(), p)
    });
    Model::new(model.config.clone(), params.collect(), Device::Cpu).expect("small products are row-invariant")
}

/// Gradients of `loss` in f32 by name; a parameter that it does not reach has none.
fn gradients(model: &Model, loss: &Tensor) -> BTreeMap<String, Tensor> {
    let parameters: Vec<&Tensor> = model.params.values().collect();
    let found = Tensor::run_backward(&[loss], &parameters, false, false);
    model.params.keys().cloned().zip(found).filter(|(_, gradient)| gradient.defined()).collect()
}

fn learning(top_k: Option<i64>) -> Model {
    let model = tiny_model(top_k);
    model.params.values().for_each(|p| drop(p.set_requires_grad(true)));
    model
}

/// Holds the slope of `loss` along one direction of each parameter to central differences.
fn check(model: &Model, gradients: &BTreeMap<String, Tensor>, loss: impl Fn(&Model) -> Tensor) {
    let step = 1e-5;
    for (name, gradient) in gradients {
        let at = |step: f64| tch::no_grad(|| loss(&moved(model, name, step)).double_value(&[]));
        let numeric = (at(step) - at(-step)) / (2.0 * step);
        let slope = gradient.to_kind(Kind::Double) * normal(name, &gradient.size());
        let analytic = slope.sum(Kind::Double).double_value(&[]);
        let size = slope.abs().sum(Kind::Double).double_value(&[]);
        assert!(
            (numeric - analytic).abs() < 1e-4 * size.max(1e-3),
            "{name}: {analytic}, and differences give {numeric}"
        );
    }
}

#[test]
fn the_dense_model_has_the_gradient_of_its_forward() {
    let model = learning(None);
    let loss = |model: &Model| projected(model, &run(model, &Task::dense()));
    let gradients = gradients(&model, &loss(&model));
    assert_eq!(gradients.len(), model.params.len(), "every parameter takes part");
    check(&model, &gradients, loss);
}

/// The selection is held fixed, since it is no differentiable function of the parameters.
#[test]
fn the_sparse_model_has_the_gradient_of_its_forward_and_its_indexer_that_of_its_loss() {
    let model = learning(Some(TOP_K));
    let selections = tch::no_grad(|| run(&model, &Task { record: true, ..Task::plain(&model) })).selections;
    let task = |kind: Kind| Task {
        attend: Attend::Replay(selections.iter().map(Tensor::shallow_clone).collect()),
        indexer_weight: Some(normal("weight", &[29]).abs().to_kind(kind)),
        record: false,
        ..Task::dense()
    };
    let language = |model: &Model| projected(model, &run(model, &task(model.params["model.norm.weight"].kind())));
    let divergence = |model: &Model| {
        run(model, &task(model.params["model.norm.weight"].kind())).indexer_loss.expect("it was asked for")
    };
    check(&model, &gradients(&model, &language(&model)), language);
    check(&model, &gradients(&model, &divergence(&model)), divergence);
}

#[test]
fn the_two_losses_reach_disjoint_parameters() {
    let model = learning(Some(TOP_K));
    let reached = |attend: Attend, divergence: bool| -> Vec<String> {
        let weight = Tensor::ones([29], (Kind::Float, Device::Cpu));
        let forward = run(&model, &Task { attend, indexer_weight: Some(weight), record: false, ..Task::dense() });
        let loss = if divergence { forward.indexer_loss.expect("asked for") } else { projected(&model, &forward) };
        gradients(&model, &loss).into_keys().collect()
    };
    let (indexer, backbone): (Vec<String>, Vec<String>) =
        model.params.keys().cloned().partition(|name| is_indexer(name));
    for attend in [|| Attend::Sparse, || Attend::Dense] {
        assert_eq!(reached(attend(), true), indexer);
        assert_eq!(reached(attend(), false), backbone);
    }
}
