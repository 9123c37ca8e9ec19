//! The recurrence against three others: numbers of a script, a scalar loop, and libtorch's own AdamW.

use std::collections::BTreeMap;

use data::CounterRng;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Tensor, no_grad};

use super::*;

const RATES: [f64; 5] = [0.01, 0.02, 0.005, 0.0, 0.01];

fn leaf(values: &[f32], shape: &[i64]) -> Tensor {
    Tensor::from_slice(values).reshape(shape).set_requires_grad(true)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().reshape([-1])).expect("f32")
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

fn named<const N: usize>(tensors: [(&str, &Tensor); N]) -> BTreeMap<String, Tensor> {
    tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect()
}

fn everything() -> Vec<ParameterGroup> {
    vec![ParameterGroup::new("all", |_| true)]
}

fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = CounterRng::new(seed, "optimizer-test");
    (0..n).map(|_| (rng.normal() * 10f64.powi(rng.range(-2, 2) as i32)) as f32).collect()
}

fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * expected.abs().max(0.1), "element {i}: {found} against {expected}");
    }
}

/// Numbers from `scripts/dev/adamw_reference.py`, which has the same gradients.
#[test]
fn matches_the_reference_numbers() {
    let matrix = leaf(&[0.5, -1.0, 2.0, 0.0, -0.25, 1.5], &[2, 3]);
    let vector = leaf(&[1.0, -3.0], &[2]);
    let parameters = named([("matrix", &matrix), ("vector", &vector)]);
    let mut optimizer = AdamW::new(AdamWConfig::default(), everything(), &parameters).expect("valid");
    for (step, rate) in RATES.into_iter().enumerate() {
        let gradient = |index: usize| {
            let digit = ((step + 1) * 7 + index * 5) % 11;
            ((digit as f64 - 5.5) * 10f64.powi((index % 3) as i32 - 1)) as f32
        };
        let all: Vec<f32> = (0..8).map(gradient).collect();
        let gradients = named([("matrix", &leaf(&all[..6], &[2, 3])), ("vector", &leaf(&all[6..], &[2]))]);
        optimizer.step(rate, &gradients).expect("finite");
    }
    let expected_matrix = [
        0.49179111689333715,
        -0.9752204190471975,
        1.9967050874943404,
        0.021974949286233066,
        -0.21578543510094558,
        1.4652502653092894,
    ];
    assert_close(&values(&matrix), &expected_matrix, 5e-7);
    assert_close(&values(&vector), &[1.031283736814168, -3.0192980352968184], 5e-7);
    assert!(matrix.requires_grad(), "the leaf is still the one that the model reads");
}

#[test]
fn matches_libtorchs_own_adamw() {
    let start = random(1, 6 * 50);
    let var_store = nn::VarStore::new(Device::Cpu);
    let theirs = var_store.root().zeros("matrix", &[6, 50]);
    no_grad(|| theirs.shallow_clone().copy_(&Tensor::from_slice(&start).reshape([6, 50])));
    let config = AdamWConfig { weight_decay: 0.3, ..AdamWConfig::default() };
    let AdamWConfig { beta1, beta2, epsilon, weight_decay } = config;
    let mut torch = nn::AdamW { beta1, beta2, wd: weight_decay, eps: epsilon, amsgrad: false }
        .build(&var_store, 0.02)
        .expect("libtorch's optimiser");

    let ours = leaf(&start, &[6, 50]);
    let mut optimizer = AdamW::new(config, everything(), &named([("matrix", &ours)])).expect("valid");
    for step in 0..20 {
        let gradient = Tensor::from_slice(&random(100 + step, 6 * 50)).reshape([6, 50]);
        torch.backward_step(&(&theirs * &gradient).sum(tch::Kind::Float));
        optimizer.step(0.02, &named([("matrix", &gradient)])).expect("finite");
    }
    let expected: Vec<f64> = values(&theirs).into_iter().map(f64::from).collect();
    assert_close(&values(&ours), &expected, 2e-6);
}

/// Parts that divide a parameter and parts that do not.
#[test]
fn inv_7_the_parts_of_an_update_do_not_show() {
    let run = |part: i64| {
        let matrix = leaf(&random(1, 6 * 50), &[6, 50]);
        let mut optimizer =
            AdamW::new(AdamWConfig::default(), everything(), &named([("matrix", &matrix)])).expect("valid");
        optimizer.part = part;
        for step in 0..5 {
            let gradient = Tensor::from_slice(&random(100 + step, 6 * 50)).reshape([6, 50]);
            optimizer.step(0.02, &named([("matrix", &gradient)])).expect("finite");
        }
        (bits(&matrix), bits(&optimizer.slots[0].exp_avg), bits(&optimizer.slots[0].exp_avg_sq))
    };
    let whole = run(PART);
    for part in [1, 7, 50, 299] {
        assert!(run(part) == whole, "parts of {part}");
    }
}

/// On the CPU the moments are where an offload would put them.
#[test]
fn an_offload_on_the_cpu_changes_nothing() {
    let run = |offload: bool| {
        let matrix = leaf(&random(1, 300), &[6, 50]);
        let make = if offload { AdamW::offloaded } else { AdamW::new };
        let mut optimizer = make(AdamWConfig::default(), everything(), &named([("matrix", &matrix)])).expect("valid");
        optimizer.step(0.02, &named([("matrix", &leaf(&random(2, 300), &[6, 50]))])).expect("finite");
        assert_eq!(optimizer.bytes(), Bytes { host: 2 * 300 * 4, device: 0 });
        bits(&matrix)
    };
    assert!(run(false) == run(true));
}

/// One parameter by plain f64 arithmetic, with clipping.
struct Scalar {
    p: f64,
    m: f64,
    v: f64,
}

impl Scalar {
    fn step(&mut self, n: i32, rate: f64, gradient: f64, clip: f64, decay: f64, config: &AdamWConfig) {
        let g = gradient * clip;
        self.m += (1.0 - config.beta1) * (g - self.m);
        self.v += (1.0 - config.beta2) * (g * g - self.v);
        let (m, v) = (self.m / (1.0 - config.beta1.powi(n)), self.v / (1.0 - config.beta2.powi(n)));
        self.p -= rate * (decay * self.p + m / (v.sqrt() + config.epsilon));
    }
}

/// Backbone clipped to 1, indexer at ten times the rate and clipped by itself.
fn two_groups() -> Vec<ParameterGroup> {
    vec![
        ParameterGroup {
            learning_rate_scale: 10.0,
            max_norm: Some(0.5),
            ..ParameterGroup::new("indexer", |name| name.contains("indexer"))
        },
        ParameterGroup { max_norm: Some(1.0), ..ParameterGroup::new("backbone", |_| true) },
    ]
}

#[test]
fn groups_clip_and_scale_by_themselves() {
    let config = AdamWConfig::default();
    let names = ["0.indexer.w", "0.mlp.w", "1.norm"];
    let shapes: [&[i64]; 3] = [&[2, 2], &[3, 2], &[3]];
    let starts = [random(1, 4), random(2, 6), random(3, 3)];
    let tensors: Vec<Tensor> = (0..3).map(|i| leaf(&starts[i], shapes[i])).collect();
    let parameters: BTreeMap<String, Tensor> =
        (0..3).map(|i| (names[i].to_owned(), tensors[i].shallow_clone())).collect();
    let mut optimizer = AdamW::new(config, two_groups(), &parameters).expect("valid");
    let scalar = |&p: &f32| Scalar { p: f64::from(p), m: 0.0, v: 0.0 };
    let mut expected: Vec<Vec<Scalar>> = starts.iter().map(|start| start.iter().map(scalar).collect()).collect();
    for n in 1..=6 {
        let drawn: Vec<Vec<f32>> = (0..3).map(|i| random(50 * n + i as u64, starts[i].len())).collect();
        let gradients = (0..3).map(|i| (names[i].to_owned(), leaf(&drawn[i], shapes[i]))).collect();
        let reports = optimizer.step(1e-3, &gradients).expect("finite");
        let norm = |of: &[usize]| of.iter().flat_map(|&i| &drawn[i]).map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        for (report, (norm, bound)) in reports.iter().zip([(norm(&[0]), 0.5), (norm(&[1, 2]), 1.0)]) {
            assert!((report.gradient_norm - norm).abs() < 1e-12 * norm, "{report:?}");
            assert!((report.clip - (bound / (norm + 1e-6)).min(1.0)).abs() < 1e-12, "{report:?}");
        }
        for (i, scalars) in expected.iter_mut().enumerate() {
            let (group, rate, decay) = [(0, 1e-2, 0.1), (1, 1e-3, 0.1), (1, 1e-3, 0.0)][i];
            for (scalar, &g) in scalars.iter_mut().zip(&drawn[i]) {
                scalar.step(n as i32, rate, f64::from(g), reports[group].clip, decay, &config);
            }
        }
    }
    for (tensor, scalars) in tensors.iter().zip(&expected) {
        assert_close(&values(tensor), &scalars.iter().map(|scalar| scalar.p).collect::<Vec<_>>(), 2e-6);
    }
}

#[test]
fn a_groups_gradient_never_touches_another_group() {
    let outcome = |indexer_gradient: f32| {
        let (indexer, backbone) = (leaf(&[1.0, 2.0], &[1, 2]), leaf(&[3.0, 4.0], &[1, 2]));
        let parameters = named([("indexer", &indexer), ("mlp", &backbone)]);
        let mut optimizer = AdamW::new(AdamWConfig::default(), two_groups(), &parameters).expect("valid");
        let gradients =
            named([("indexer", &leaf(&[indexer_gradient; 2], &[1, 2])), ("mlp", &leaf(&[5.0, -7.0], &[1, 2]))]);
        optimizer.step(0.1, &gradients).expect("finite");
        optimizer.step(0.1, &gradients).expect("finite");
        bits(&backbone)
    };
    assert_eq!(outcome(1e-3), outcome(1e9));
}

#[test]
fn a_frozen_group_neither_moves_nor_decays() {
    let (frozen, learning) = (leaf(&[1.0, 2.0], &[1, 2]), leaf(&[3.0, 4.0], &[1, 2]));
    let mut groups = two_groups();
    groups[0].frozen = true;
    let parameters = named([("indexer", &frozen), ("mlp", &learning)]);
    let mut optimizer = AdamW::new(AdamWConfig::default(), groups, &parameters).expect("valid");
    assert_eq!(optimizer.trained_names().collect::<Vec<_>>(), ["mlp"]);
    let gradient = leaf(&[0.5, 0.5], &[1, 2]);
    optimizer.step(0.1, &named([("indexer", &gradient), ("mlp", &gradient)])).expect("a frozen gradient is ignored");
    assert_eq!(values(&frozen), [1.0, 2.0]);
    assert_ne!(values(&learning), [3.0, 4.0]);
}

#[test]
fn a_refused_step_applies_nothing() {
    let (a, b) = (leaf(&[1.0, 2.0], &[2]), leaf(&[3.0, 4.0], &[1, 2]));
    let mut optimizer =
        AdamW::new(AdamWConfig::default(), everything(), &named([("a", &a), ("b", &b)])).expect("valid");
    let (good, row) = (leaf(&[0.1, 0.2], &[2]), leaf(&[0.1, 0.2], &[1, 2]));
    optimizer.step(0.1, &named([("a", &good), ("b", &row)])).expect("finite");
    let before = (bits(&a), bits(&b), bits(&optimizer.slots[0].exp_avg), bits(&optimizer.slots[1].exp_avg_sq));

    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let gradients = named([("a", &good), ("b", &leaf(&[0.1, poison], &[1, 2]))]);
        let error = optimizer.step(0.1, &gradients).expect_err("not finite");
        assert!(matches!(&error, OptimizerError::NonFinite { name, step: 2 } if name == "b"), "{error}");
    }
    let missing = optimizer.step(0.1, &named([("a", &good)])).expect_err("b has none");
    assert!(matches!(missing, OptimizerError::MissingGradient { name, .. } if name == "b"));
    let unknown = optimizer.step(0.1, &named([("a", &good), ("b", &row), ("c", &row)])).expect_err("no c");
    assert!(matches!(unknown, OptimizerError::UnknownGradient { name } if name == "c"));
    let shape = optimizer.step(0.1, &named([("a", &good), ("b", &good)])).expect_err("misshapen");
    assert!(matches!(shape, OptimizerError::Shape { name, .. } if name == "b"));
    let rate = optimizer.step(f64::NAN, &named([("a", &good), ("b", &row)])).expect_err("no rate");
    assert!(matches!(rate, OptimizerError::Config { what: "the learning rate", .. }));

    let after = (bits(&a), bits(&b), bits(&optimizer.slots[0].exp_avg), bits(&optimizer.slots[1].exp_avg_sq));
    assert_eq!((before, 1), (after, optimizer.steps()));
    // The largest finite gradient is not mistaken for an infinite one.
    optimizer.step(0.1, &named([("a", &leaf(&[f32::MAX; 2], &[2])), ("b", &row)])).expect("finite");
}

#[test]
fn refuses_parameters_that_nobody_owns_or_that_are_not_f32() {
    let parameter = leaf(&[1.0], &[1]);
    let groups = vec![ParameterGroup::new("indexer", |name| name.contains("indexer"))];
    let unowned = AdamW::new(AdamWConfig::default(), groups, &named([("mlp", &parameter)])).err().expect("unowned");
    assert!(matches!(unowned, OptimizerError::Unowned { name } if name == "mlp"));
    let double = parameter.to_kind(tch::Kind::Double);
    let kind = AdamW::new(AdamWConfig::default(), everything(), &named([("mlp", &double)])).err().expect("f64");
    assert!(matches!(kind, OptimizerError::Kind { found: tch::Kind::Double, .. }));
    let config = AdamWConfig { beta2: 1.0, ..AdamWConfig::default() };
    let range = AdamW::new(config, everything(), &named([("mlp", &parameter)])).err().expect("beta2");
    assert_eq!(range.to_string(), "beta2 is 1, which must be in [0, 1)");
}

/// Sizes with odd tails, past the size at which libtorch starts to share work among threads.
#[test]
fn inv_2_threads_do_not_show_in_a_step() {
    let run = |threads| {
        tch::set_num_threads(threads);
        let n = 3 * 70_001;
        let (matrix, vector) = (leaf(&random(1, n), &[3, 70_001]), leaf(&random(2, 33), &[33]));
        let parameters = named([("matrix", &matrix), ("vector", &vector)]);
        let mut optimizer = AdamW::new(AdamWConfig::default(), two_groups(), &parameters).expect("valid");
        let mut norms = Vec::new();
        for step in 0..3 {
            let gradients = named([
                ("matrix", &leaf(&random(10 + step, n), &[3, 70_001])),
                ("vector", &leaf(&random(20 + step, 33), &[33])),
            ]);
            norms.push(optimizer.step(1e-3, &gradients).expect("finite")[1].gradient_norm.to_bits());
        }
        (norms, bits(&matrix), bits(&vector), bits(&optimizer.slots[0].exp_avg_sq))
    };
    let (one, two, three) = (run(1), run(2), run(3));
    assert!(one == two && one == three, "norms {:x?} {:x?} {:x?}", one.0, two.0, three.0);
}

mod state {
    //! The state's file.

    use super::*;
    use tempfile::tempdir;

    fn gradients(seed: u64) -> BTreeMap<String, Tensor> {
        named([("a", &leaf(&random(seed, 5), &[5])), ("b", &leaf(&random(seed + 1, 6), &[2, 3]))])
    }

    fn fresh(seed: u64) -> (BTreeMap<String, Tensor>, AdamW) {
        let parameters = gradients(seed);
        let optimizer = AdamW::new(AdamWConfig::default(), everything(), &parameters).expect("valid");
        (parameters, optimizer)
    }

    #[test]
    fn a_resumed_run_has_the_bits_of_the_one_that_was_not_stopped() {
        let folder = tempdir().expect("a temporary folder");
        let (path, again) = (folder.path().join("optimizer.safetensors"), folder.path().join("again.safetensors"));
        let (parameters, mut optimizer) = fresh(1);
        (0..3).for_each(|step| drop(optimizer.step(0.01, &gradients(10 + step)).expect("finite")));
        optimizer.save(&path).expect("saved");

        let copy: BTreeMap<String, Tensor> =
            parameters.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect();
        let mut resumed = AdamW::new(AdamWConfig::default(), everything(), &copy).expect("valid");
        resumed.load(&path).expect("loaded");
        resumed.save(&again).expect("saved");
        assert_eq!(std::fs::read(&path).expect("first"), std::fs::read(&again).expect("second"));
        assert_eq!(resumed.steps(), 3);

        for step in 3..6 {
            optimizer.step(0.01, &gradients(10 + step)).expect("finite");
            resumed.step(0.01, &gradients(10 + step)).expect("finite");
        }
        for (name, tensor) in &parameters {
            assert_eq!(bits(tensor), bits(&copy[name]), "{name}");
        }
    }

    #[test]
    fn a_state_that_does_not_fit_changes_nothing() {
        let folder = tempdir().expect("a temporary folder");
        let path = folder.path().join("optimizer.safetensors");
        let (_, mut optimizer) = fresh(1);
        optimizer.step(0.01, &gradients(7)).expect("finite");
        optimizer.save(&path).expect("saved");
        let moments = bits(&optimizer.slots[1].exp_avg);

        let other = |parameters: &BTreeMap<String, Tensor>| {
            AdamW::new(AdamWConfig::default(), everything(), parameters).expect("valid").load(&path).expect_err("other")
        };
        let (row, vector) = (leaf(&[0.0; 6], &[3, 2]), leaf(&[0.0; 5], &[5]));
        let misshapen = other(&named([("a", &vector), ("b", &row)]));
        assert!(matches!(misshapen, StateError::Shape { name, .. } if name == "exp_avg.b"));
        assert!(matches!(other(&named([("a", &vector)])), StateError::Unexpected { name, .. } if name.ends_with(".b")));
        let more = named([("a", &vector), ("b", &leaf(&[0.0; 6], &[2, 3])), ("c", &vector)]);
        assert!(matches!(other(&more), StateError::Missing { name, .. } if name == "exp_avg.c"));

        let whole = std::fs::read(&path).expect("saved above");
        std::fs::write(&path, &whole[..whole.len() - 3]).expect("cut");
        assert!(matches!(optimizer.load(&path), Err(StateError::Format { .. })));
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(optimizer.load(&path), Err(StateError::Io { .. })));
        assert_eq!((bits(&optimizer.slots[1].exp_avg), optimizer.steps()), (moments, 1));
    }

    #[test]
    fn a_failed_save_leaves_what_was_there() {
        let folder = tempdir().expect("a temporary folder");
        let (_, optimizer) = fresh(1);
        let nowhere = folder.path().join("missing").join("optimizer.safetensors");
        assert!(matches!(optimizer.save(&nowhere), Err(StateError::Io { .. })));
        // The partial file's name is taken by a folder, so writing cannot begin.
        let path = folder.path().join("optimizer.safetensors");
        std::fs::write(&path, "what was there").expect("written");
        std::fs::create_dir(folder.path().join("optimizer.safetensors.partial")).expect("created");
        assert!(optimizer.save(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("still there"), b"what was there");
    }
}
