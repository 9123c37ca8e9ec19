//! Every kernel against its plain-tensor reference: values and gradients in f32 against f64, and the reference's own gradient
//! against finite differences in f64.

use std::sync::Arc;

use policy::config::{Gate, Scores};
use policy::kernels::attention::{self, Geometry, Selection, attention};
use policy::kernels::experts::{Plan, combine, dispatch};
use policy::kernels::indexer::{IndexerQuery, reference_select, select};
use policy::kernels::indexer_loss::{self, Target, indexer_loss};
use policy::kernels::log_prob::{Targets, log_prob};
use policy::kernels::norm::{self, layer_norm, rms_norm};
use policy::kernels::rotary::{self, Angles, Layout, rotate};
use policy::kernels::routing::{self, route};
use policy::kernels::swiglu::{self, swiglu};
use policy::rows::KeyIndex;
use tch::{Device, Kind, Tensor};

/// Seeded normal numbers, in f64.
fn normal(name: &str, shape: &[i64]) -> Tensor {
    let mut rng = data::CounterRng::new(3, name);
    let values: Vec<f64> = (0..shape.iter().product::<i64>()).map(|_| rng.normal()).collect();
    Tensor::from_slice(&values).view(shape)
}

fn leaf(t: &Tensor, kind: Kind) -> Tensor {
    t.to_kind(kind).detach().copy().set_requires_grad(true)
}

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// Compares value and gradients of `kernel` in f32 with `reference` in f64, and the latter's gradients with finite differences.
fn check(inputs: &[Tensor], kernel: impl Fn(&[Tensor]) -> Tensor, reference: impl Fn(&[Tensor]) -> Tensor) {
    let run = |f: &dyn Fn(&[Tensor]) -> Tensor, kind: Kind| {
        let leaves: Vec<Tensor> = inputs.iter().map(|t| leaf(t, kind)).collect();
        let out = f(&leaves);
        // A fixed projection makes a scalar of the output.
        let projection = normal("projection", &out.size()).to_kind(kind);
        let scalar = (&out * projection).sum(kind);
        scalar.backward();
        let grads: Vec<Tensor> = leaves.iter().map(|l| l.grad().to_kind(Kind::Double)).collect();
        (out.detach().to_kind(Kind::Double), grads)
    };
    let (value, grads) = run(&kernel, Kind::Float);
    let (expected, expected_grads) = run(&reference, Kind::Double);
    assert!(largest(&(&value - &expected)) < 2e-5 * largest(&expected).max(1.0), "value differs");
    for (i, (got, want)) in grads.iter().zip(&expected_grads).enumerate() {
        let error = largest(&(got - want));
        assert!(error < 5e-5 * largest(want).max(1.0), "gradient {i} differs by {error}");
    }
    finite_differences(inputs, &reference, &expected_grads);
}

/// Central differences in f64 at a handful of elements of every input.
fn finite_differences(inputs: &[Tensor], f: &dyn Fn(&[Tensor]) -> Tensor, grads: &[Tensor]) {
    let step = 1e-6;
    for (i, input) in inputs.iter().enumerate() {
        let flat = input.flatten(0, -1);
        let n = flat.size()[0];
        for at in [0, n / 3, n / 2, n - 1] {
            let at_offset = |offset: f64| {
                let moved: Vec<Tensor> = inputs.iter().map(|t| t.copy()).collect();
                let _ = moved[i].view(-1).get(at).g_add_scalar_(offset);
                let out = f(&moved);
                (&out * normal("projection", &out.size())).sum(Kind::Double).double_value(&[])
            };
            let numeric = (at_offset(step) - at_offset(-step)) / (2.0 * step);
            let analytic = grads[i].flatten(0, -1).double_value(&[at]);
            assert!(
                (numeric - analytic).abs() < 1e-5 * analytic.abs().max(1.0),
                "input {i} at {at}: {numeric} {analytic}"
            );
        }
    }
}

#[test]
fn rms_and_layer_norm() {
    let inputs = [normal("x", &[70, 48]), normal("w", &[48]), normal("b", &[48])];
    check(&inputs[..2], |t| rms_norm(&t[0], &t[1], 1e-6), |t| norm::reference(&t[0], &t[1], None, 1e-6));
    check(&inputs, |t| layer_norm(&t[0], &t[1], &t[2], 1e-6), |t| norm::reference(&t[0], &t[1], Some(&t[2]), 1e-6));
}

#[test]
fn swiglu_gate() {
    let inputs = [normal("a", &[300, 41]), normal("b", &[300, 41])];
    check(&inputs, |t| swiglu(&t[0], &t[1]), |t| swiglu::reference(&t[0], &t[1]));
}

#[test]
fn rotary_layouts_differ_and_agree_with_their_references() {
    let x = normal("x", &[40, 3, 12]);
    let angle = normal("angle", &[40, 4]);
    for layout in [Layout::Interleaved, Layout::Halves] {
        check(
            &[x.copy()],
            |t| {
                rotate(
                    &t[0],
                    &Angles { cos: angle.cos().to_kind(Kind::Float), sin: angle.sin().to_kind(Kind::Float) },
                    layout,
                )
            },
            |t| rotary::reference(&t[0], &Angles { cos: angle.cos(), sin: angle.sin() }, layout),
        );
    }
    let angles = Angles { cos: angle.cos(), sin: angle.sin() };
    let apart = rotary::reference(&x, &angles, Layout::Halves) - rotary::reference(&x, &angles, Layout::Interleaved);
    assert!(largest(&apart) > 0.1);
}

/// Three sequences, one longer than a chunk of the backward.
fn index() -> Arc<KeyIndex> {
    Arc::new(KeyIndex::packed(&[5, 80, 1]))
}

fn some_selection(index: &KeyIndex, k: usize) -> Tensor {
    let query = IndexerQuery {
        q: normal("iq", &[86, 2, 8]).to_kind(Kind::Float),
        w: normal("iw", &[86, 2]).to_kind(Kind::Float),
    };
    select(&query, &normal("ik", &[86, 8]).to_kind(Kind::Float), index, None, k)
}

#[test]
fn attention_dense_and_sparse() {
    let index = index();
    let inputs = [normal("q", &[86, 3, 20]), normal("k", &[86, 20])];
    for selection in [None, Some(some_selection(&index, 7))] {
        check(
            &inputs,
            |t| attention(&t[0], &t[1], Geometry::latent(20, 16), &index, &selection, 0.3).out,
            |t| attention::reference(&t[0], &t[1], Geometry::latent(20, 16), &index, &selection, 0.3).out,
        );
    }
}

/// Six query heads on two key heads; dense, in a window, and sparse.
#[test]
fn grouped_attention_dense_windowed_and_sparse() {
    let index = index();
    let inputs = [normal("q", &[86, 6, 10]), normal("k", &[86, 40])];
    let whole = Geometry::grouped(2, 10);
    for (geometry, selection) in
        [(whole, None), (Geometry { window: Some(6), ..whole }, None), (whole, Some(some_selection(&index, 7)))]
    {
        check(
            &inputs,
            |t| attention(&t[0], &t[1], geometry, &index, &selection, 0.3).out,
            |t| attention::reference(&t[0], &t[1], geometry, &index, &selection, 0.3).out,
        );
    }
    // Each query head alone with its key head, as the geometry of one head: the same numbers.
    let (q, k) = (inputs[0].to_kind(Kind::Float), inputs[1].to_kind(Kind::Float));
    let grouped = attention(&q, &k, whole, &index, &None, 0.3).out;
    for head in 0..6 {
        let g = head / 3;
        let alone = Tensor::cat(&[k.narrow(1, 10 * g, 10), k.narrow(1, 20 + 10 * g, 10)], 1);
        let one = attention(&q.narrow(1, head, 1), &alone, Geometry::grouped(1, 10), &index, &None, 0.3).out;
        assert!(one.equal(&grouped.narrow(1, head, 1)), "head {head} reads key head {g}");
    }
    let windowed = attention(&q, &k, Geometry { window: Some(80), ..whole }, &index, &None, 0.3).out;
    assert!(windowed.equal(&grouped), "a window as long as the longest sequence bounds nothing");
}

#[test]
fn inv_3_sparse_is_dense_to_the_bit_when_k_covers_the_context() {
    let index = index();
    let (q, k) = (normal("q", &[86, 3, 20]).to_kind(Kind::Float), normal("k", &[86, 20]).to_kind(Kind::Float));
    let all: Selection = Some(some_selection(&index, 80));
    let (dense, sparse) = (
        attention(&q, &k, Geometry::latent(20, 16), &index, &None, 0.3),
        attention(&q, &k, Geometry::latent(20, 16), &index, &all, 0.3),
    );
    assert!(dense.out.equal(&sparse.out) && dense.lse.equal(&sparse.lse));
    let fewer: Selection = Some(some_selection(&index, 79));
    assert!(
        !dense.out.equal(&attention(&q, &k, Geometry::latent(20, 16), &index, &fewer, 0.3).out),
        "one key fewer must show"
    );
}

#[test]
fn inv_3_selection_agrees_with_the_stable_sort_and_respects_sequences() {
    let index = index();
    let float = |t: Tensor| t.to_kind(Kind::Float);
    // Weights of one sign and few distinct keys: ties and zeros are common.
    let query = IndexerQuery { q: float(normal("iq", &[86, 2, 8]).round()), w: float(normal("iw", &[86, 2]).round()) };
    let keys = float(normal("ik", &[86, 8]).round());
    for (k, window) in [1, 7, 100].into_iter().flat_map(|k| [None, Some(20), Some(3)].map(|window| (k, window))) {
        let got = select(&query, &keys, &index, window, k);
        let want = reference_select(&query, &keys, &index, window, k);
        assert!(got.equal(&want), "k = {k}, {window:?}");
        let rows = Vec::<Vec<i32>>::try_from(&got).expect("a matrix");
        for (row, positions) in rows.iter().enumerate() {
            let visible = index.visible(row).len() as i32;
            let first = window.map_or(0, |window| (visible - window as i32).max(0));
            let valid: Vec<i32> = positions.iter().copied().filter(|&p| p >= 0).collect();
            assert_eq!(valid.len(), ((visible - first) as usize).min(k));
            assert!(valid.iter().all(|p| (first..visible).contains(p)) && valid.is_sorted());
        }
    }
}

fn target(kind: Kind, index: &Arc<KeyIndex>, selection: &Selection, window: Option<usize>) -> Target {
    let (q, keys) = (normal("q", &[86, 3, 20]).to_kind(kind), normal("k", &[86, 20]).to_kind(kind));
    let geometry = Geometry { window, ..Geometry::latent(20, 16) };
    let lse = attention(&q, &keys, geometry, index, selection, 0.3).lse;
    Target { q, keys, geometry, lse, scale: 0.3 }
}

#[test]
fn indexer_loss_dense_windowed_and_sparse() {
    let index = index();
    let weight = normal("weight", &[86]).abs();
    let inputs = [normal("iq", &[86, 2, 8]), normal("iw", &[86, 2]), normal("ik", &[86, 8])];
    for (selection, window) in [(None, None), (None, Some(9)), (Some(some_selection(&index, 7)), None)] {
        let query = |t: &[Tensor]| IndexerQuery { q: t[0].shallow_clone(), w: t[1].shallow_clone() };
        let [single, double] = [Kind::Float, Kind::Double].map(|kind| target(kind, &index, &selection, window));
        check(
            &inputs,
            |t| indexer_loss(&query(t), &t[2], &single, &index, &selection, &weight.to_kind(Kind::Float), 7).0,
            |t| indexer_loss::reference(&query(t), &t[2], &double, &index, &selection, &weight),
        );
    }
}

fn gates() -> [Gate; 3] {
    let gate = Gate { scores: Scores::BiasedSigmoid, top_k: 3, groups: 4, top_groups: 2, normalise: true, scale: 2.5 };
    [
        gate.clone(),
        Gate { groups: 1, top_groups: 1, normalise: false, ..gate.clone() },
        Gate { scores: Scores::Softmax, groups: 1, top_groups: 1, scale: 1.0, ..gate },
    ]
}

#[test]
fn routing_weights() {
    let (logits, bias) = (normal("gate", &[70, 12]), normal("bias", &[12]).to_kind(Kind::Float));
    for gate in gates() {
        let chosen = route(&logits.to_kind(Kind::Float), Some(&bias), &gate, None).chosen;
        let replay = Tensor::from_slice(&chosen).view([70, 3]);
        check(
            &[logits.copy()],
            |t| route(&t[0], Some(&bias), &gate, Some(&replay)).weights,
            |t| routing::reference_weights(&t[0], &gate, &chosen),
        );
    }
}

/// The choice by plain tensors, as transformers makes it.
#[test]
fn routing_choice() {
    let (logits, bias) = (normal("gate", &[70, 12]).to_kind(Kind::Float), normal("bias", &[12]).to_kind(Kind::Float));
    for gate in gates() {
        let scores = match gate.scores {
            Scores::BiasedSigmoid => logits.sigmoid() + &bias,
            Scores::Softmax => logits.softmax(-1, Kind::Float),
        };
        let own_bias = (gate.scores == Scores::BiasedSigmoid).then_some(&bias);
        let groups = scores.view([70, gate.groups, -1]);
        let best = groups.topk(2, -1, true, true).0.sum_dim_intlist([-1i64].as_slice(), false, Kind::Float);
        let kept = best.topk(gate.top_groups, -1, true, true).1;
        let allowed = Tensor::zeros_like(&best).scatter_value(1, &kept, 1.0).to_kind(Kind::Bool).unsqueeze(-1);
        let allowed = groups.masked_fill(&allowed.logical_not(), f64::NEG_INFINITY).view([70, 12]);
        let (want, _) = allowed.topk(3, -1, true, true).1.sort(-1, false);
        let got = Tensor::from_slice(&route(&logits, own_bias, &gate, None).chosen).view([70, 3]);
        assert!(got.to_kind(Kind::Int64).equal(&want), "{gate:?}");
    }
    // Ties go to the lower number.
    let ties = route(&Tensor::zeros([1, 12], (Kind::Float, Device::Cpu)), None, &gates()[1], None);
    assert_eq!(ties.chosen, [0, 1, 2]);
}

#[test]
fn rows_to_experts_and_back() {
    // Expert 3 gets nothing.
    let chosen: Vec<i32> = (0..40).flat_map(|r| [[0, 1], [1, 4], [0, 2], [2, 4]][r % 4]).collect();
    let plan = Plan::new(&chosen, 2, 5);
    assert_eq!((plan.used().collect::<Vec<_>>(), plan.sizes()), (vec![0, 1, 2, 4], [20i64, 20, 20, 20].as_slice()));
    check(&[normal("x", &[40, 33])], |t| dispatch(&t[0], &plan), |t| dispatch(&t[0], &plan));
    let inputs = [normal("y", &[80, 33]), normal("w", &[40, 2])];
    check(&inputs, |t| combine(&t[0], &t[1], &plan), |t| combine(&t[0], &t[1], &plan));
    // What goes out comes back to its row: y = x for both experts, and the weights add up.
    let x = normal("x", &[40, 33]).to_kind(Kind::Float);
    let halves = Tensor::full([40, 2], 0.5, (Kind::Float, Device::Cpu));
    assert!(combine(&dispatch(&x, &plan), &halves, &plan).equal(&x));
}

#[test]
fn log_probability_over_kept_sets() {
    let logits = normal("logits", &[9, 50]);
    let tokens: Vec<u32> = (0..9).map(|i| i * 5).collect();
    for cut in [false, true] {
        let mut targets = Targets { tokens: tokens.clone(), inverse_temperature: 1.25, ..Targets::default() };
        let mask = Tensor::zeros([9, 50], (Kind::Double, Device::Cpu));
        if cut {
            for (row, &token) in tokens.iter().enumerate() {
                let kept: Vec<u32> = (0..50).filter(|&v| v == token || (v + row as u32).is_multiple_of(3)).collect();
                targets.push_kept(Some(&kept));
                for v in (0..50).filter(|v| !kept.contains(v)) {
                    let _ = mask.get(row as i64).get(i64::from(v)).fill_(f64::NEG_INFINITY);
                }
            }
        }
        let targets = Arc::new(targets);
        let picks = Tensor::from_slice(&tokens.iter().map(|&t| i64::from(t)).collect::<Vec<_>>()).unsqueeze(1);
        check(
            &[logits.copy()],
            |t| log_prob(&t[0], &targets, 0).0,
            |t| (&t[0] * 1.25 + &mask).log_softmax(-1, Kind::Double).gather(1, &picks, false).squeeze_dim(1),
        );
        let entropy = log_prob(&logits.to_kind(Kind::Float), &targets, 0).1.to_kind(Kind::Double);
        let p = (&logits * 1.25 + &mask).softmax(-1, Kind::Double);
        let want = -(&p * (&p + 1e-300).log()).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        assert!(largest(&(entropy - want)) < 1e-5);
    }
}

/// Bits of every kernel's output and gradient with one thread and with two.
#[test]
fn inv_7_threads_do_not_change_a_bit() {
    let run = || {
        let index = index();
        let selection = Some(some_selection(&index, 7));
        let (q, k) = (leaf(&normal("q", &[86, 3, 20]), Kind::Float), leaf(&normal("k", &[86, 20]), Kind::Float));
        let attended = attention(&q, &k, Geometry::latent(20, 16), &index, &selection, 0.3);
        let w = leaf(&normal("w", &[16]), Kind::Float);
        rms_norm(&attended.out, &w, 1e-6).square().sum(Kind::Float).backward();
        [q.grad(), k.grad(), w.grad(), attended.out.detach()]
    };
    tch::set_num_threads(1);
    let one = run();
    tch::set_num_threads(2);
    let two = run();
    assert!(one.iter().zip(&two).all(|(a, b)| a.equal(b)));
}
