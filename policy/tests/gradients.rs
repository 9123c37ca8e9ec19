//! Gradients of the whole model: the kernels' backward in f32 against finite differences of the plain-tensor forward in f64, and the
//! two losses of the sparse stage, which share no parameter.

use std::collections::BTreeMap;

use policy::params::{Params, is_adapter, is_indexer};
use policy::testing::{adapted, every_kind, model_of, tiny_config, tiny_grouped};
use policy::{Attend, Forward, Keys, Model, ModelConfig, Rows, Task};
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
    let params = merged(model, params.collect());
    Model::new(model.config.clone(), params, Device::Cpu).expect("small products are row-invariant")
}

/// The parameters without adapters: each weight that has one is `W₀ + (α/r) B A`.
fn merged(model: &Model, mut params: Params) -> Params {
    let Some(adapters) = &model.adapters else { return params };
    let scale = adapters.config.alpha / adapters.config.rank as f64;
    let base = model.without_adapters().expect("it was made once").params;
    let adapters: Params = params.extract_if(.., |name, _| is_adapter(name)).collect();
    for (name, a) in adapters.iter().filter(|(name, _)| name.ends_with("lora_A.weight")) {
        let b = &adapters[&name.replace("lora_A", "lora_B")];
        let weight = name.replace("lora_A.", "");
        params.insert(weight.clone(), base[&weight].to_kind(Kind::Double) + b.matmul(a) * scale);
    }
    params
}

/// Gradients of `loss` in f32 by name; a parameter that it does not reach has none.
fn gradients(model: &Model, loss: &Tensor) -> BTreeMap<String, Tensor> {
    let parameters: Vec<&Tensor> = model.params.values().collect();
    let found = Tensor::run_backward(&[loss], &parameters, false, false);
    model.params.keys().cloned().zip(found).filter(|(_, gradient)| gradient.defined()).collect()
}

fn learning(config: ModelConfig) -> Model {
    let model = model_of(config);
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

/// A task that holds the choices of selections and experts fixed, since they are no differentiable functions of the parameters.
fn held(model: &Model) -> impl Fn(Kind) -> Task + use<> {
    let sparse = model.config.indexer.is_some();
    let task = Task { record: sparse, record_experts: true, ..Task::plain(model) };
    let Forward { selections, experts, .. } = tch::no_grad(|| run(model, &task));
    move |kind| Task {
        attend: match sparse {
            true => Attend::Replay(selections.iter().map(Tensor::shallow_clone).collect()),
            false => Attend::Dense,
        },
        indexer_weight: sparse.then(|| normal("weight", &[29]).abs().to_kind(kind)),
        experts: Some(experts.iter().map(Tensor::shallow_clone).collect()),
        ..Task::dense()
    }
}

/// Every kind of attention and feed-forward: the language loss, and the indexer's where there is one.
#[test]
fn every_kind_has_the_gradient_of_its_forward_and_an_indexer_that_of_its_loss() {
    for (kind, mut config) in every_kind() {
        config.indexer.iter_mut().for_each(|indexer| indexer.top_k = TOP_K);
        eprintln!("{kind}");
        let model = learning(config);
        let task = held(&model);
        let run = |model: &Model| run(model, &task(model.params["model.norm.weight"].kind()));
        let language = |model: &Model| projected(model, &run(model));
        let found = gradients(&model, &language(&model));
        let learns = |name: &&String| !is_indexer(name) && !name.ends_with("e_score_correction_bias");
        let expected: Vec<&String> = model.params.keys().filter(learns).collect();
        assert!(found.keys().eq(expected), "{kind}: every parameter but the indexer's takes part");
        check(&model, &found, language);
        if model.config.indexer.is_some() {
            let divergence = |model: &Model| run(model).indexer_loss.expect("it was asked for");
            check(&model, &gradients(&model, &divergence(&model)), divergence);
        }
    }
}

/// Adapters beside all that take one: their gradients are those of the merged weights' forward, and nothing else has any.
#[test]
fn adapters_have_the_gradient_of_the_merged_weights() {
    for (kind, mut config) in every_kind() {
        config.indexer.iter_mut().for_each(|indexer| indexer.top_k = TOP_K);
        eprintln!("{kind}");
        let model = adapted(config);
        model.params.iter().for_each(|(name, p)| drop(p.set_requires_grad(is_adapter(name))));
        let task = held(&model);
        let language = |model: &Model| projected(model, &run(model, &task(model.params["model.norm.weight"].kind())));
        let learning: Vec<&Tensor> = model.params.values().filter(|p| p.requires_grad()).collect();
        let found = Tensor::run_backward(&[language(&model)], &learning, false, false);
        let names = model.params.keys().filter(|name| is_adapter(name)).cloned();
        let found: BTreeMap<String, Tensor> = names.zip(found).filter(|(_, gradient)| gradient.defined()).collect();
        assert_eq!(found.len(), learning.len(), "{kind}: every adapter takes part");
        check(&model, &found, language);
    }
}

#[test]
fn the_two_losses_reach_disjoint_parameters() {
    for config in [tiny_config(Some(TOP_K)), tiny_grouped(Some(TOP_K))] {
        disjoint(&learning(config));
    }
}

fn disjoint(model: &Model) {
    let reached = |attend: Attend, divergence: bool| -> Vec<String> {
        let weight = Tensor::ones([29], (Kind::Float, Device::Cpu));
        let forward = run(model, &Task { attend, indexer_weight: Some(weight), record: false, ..Task::dense() });
        let loss = if divergence { forward.indexer_loss.expect("asked for") } else { projected(model, &forward) };
        gradients(model, &loss).into_keys().collect()
    };
    let (indexer, backbone): (Vec<String>, Vec<String>) =
        model.params.keys().cloned().partition(|name| is_indexer(name));
    for attend in [|| Attend::Sparse, || Attend::Dense] {
        assert_eq!(reached(attend(), true), indexer);
        assert_eq!(reached(attend(), false), backbone);
    }
}
