//! INV-2 on a GPU: every kernel's twin in CUDA, emulated, gives the bits of the CPU's kernel, values and gradients, in whichever order a
//! block's threads run.

use std::sync::Arc;

use native::cuda::{Emulated, emulated};
use policy::config::{Gate, Scores};
use policy::kernels::attention::{Geometry, attention};
use policy::kernels::experts::{Plan, combine, dispatch};
use policy::kernels::indexer::{IndexerQuery, select};
use policy::kernels::indexer_loss::{Target, indexer_loss};
use policy::kernels::log_prob::{Targets, log_prob};
use policy::kernels::norm::{layer_norm, rms_norm};
use policy::kernels::rotary::{Angles, Layout, rotate};
use policy::kernels::routing::route;
use policy::kernels::swiglu::swiglu;
use policy::rows::KeyIndex;
use tch::{Kind, Tensor};

/// Seeded normal numbers.
fn normal(name: &str, shape: &[i64]) -> Tensor {
    let mut rng = data::CounterRng::new(3, name);
    let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(|_| rng.normal() as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

/// What `kernel` makes of the inputs, and their gradients by a fixed projection of its first result.
fn run(inputs: &[Tensor], kernel: &dyn Fn(&[Tensor]) -> Vec<Tensor>) -> Vec<Tensor> {
    let leaves: Vec<Tensor> = inputs.iter().map(|t| t.detach().set_requires_grad(true)).collect();
    let mut results = kernel(&leaves);
    let loss = (&results[0] * normal("projection", &results[0].size())).sum(Kind::Float);
    results.extend(Tensor::run_backward(&[loss], &leaves.iter().collect::<Vec<_>>(), false, false));
    results.iter().map(Tensor::detach).collect()
}

#[track_caller]
fn same_bits(inputs: &[Tensor], kernel: impl Fn(&[Tensor]) -> Vec<Tensor>) {
    let on_cpu = run(inputs, &kernel);
    for order in [Emulated::Ascending, Emulated::Descending] {
        let on_gpu = emulated(order, || run(inputs, &kernel));
        for (i, (found, wanted)) in on_gpu.iter().zip(&on_cpu).enumerate() {
            let differing = || found.ne_tensor(wanted).sum(Kind::Int64).int64_value(&[]);
            assert!(found.equal(wanted), "result {i} of {}, {order:?}: {} elements differ", on_cpu.len(), differing());
        }
    }
}

#[test]
fn norms() {
    for (rows, d) in [(70, 48), (3, 1), (33, 17), (5, 3000), (0, 8)] {
        let inputs = [normal("x", &[rows, d]), normal("w", &[d]), normal("b", &[d])];
        same_bits(&inputs[..2], |t| vec![rms_norm(&t[0], &t[1], 1e-6)]);
        same_bits(&inputs, |t| vec![layer_norm(&t[0], &t[1], &t[2], 1e-6)]);
    }
}

#[test]
fn swiglu_gate() {
    // Wide enough for both ends of the exponential.
    same_bits(&[normal("a", &[301, 41]) * 40.0, normal("b", &[301, 41])], |t| vec![swiglu(&t[0], &t[1])]);
}

#[test]
fn rotary_layouts() {
    let angle = normal("angle", &[40, 4]);
    let angles = || Angles { cos: angle.cos(), sin: angle.sin() };
    for layout in [Layout::Interleaved, Layout::Halves] {
        same_bits(&[normal("x", &[40, 3, 11])], |t| vec![rotate(&t[0], &angles(), layout)]);
        same_bits(&[normal("x", &[40, 3, 8])], |t| vec![rotate(&t[0], &angles(), layout)]);
    }
}

#[test]
fn log_probs_over_the_vocabulary_and_over_kept_sets() {
    let logits = normal("logits", &[7, 2500]) * 4.0;
    let tokens: Vec<u32> = vec![0, 2499, 17, 1024, 5, 900, 77];
    let whole = Targets { inverse_temperature: 1.0 / 0.7, ..Targets::plain(tokens.clone()) };
    let mut cut = whole.clone();
    for (row, &token) in tokens.iter().enumerate() {
        let kept: Vec<u32> = (0..2500).filter(|v| v % 3 == 1 || *v == token).collect();
        cut.push_kept((row % 2 == 0).then_some(&kept[..if row == 0 { 1 } else { kept.len() }]));
    }
    for targets in [whole, cut] {
        let targets = Arc::new(targets);
        same_bits(std::slice::from_ref(&logits), |t| {
            let (log_probs, entropies) = log_prob(&t[0], &targets, 0);
            vec![log_probs, entropies]
        });
        same_bits(&[logits.narrow(0, 3, 2)], |t| vec![log_prob(&t[0], &targets, 3).0]);
    }
}

fn gates() -> [Gate; 4] {
    let gate = Gate { scores: Scores::BiasedSigmoid, top_k: 3, groups: 4, top_groups: 2, normalise: true, scale: 2.5 };
    [
        gate.clone(),
        Gate { groups: 1, top_groups: 1, normalise: false, ..gate.clone() },
        Gate { scores: Scores::Softmax, groups: 1, top_groups: 1, scale: 1.0, ..gate.clone() },
        Gate { scores: Scores::Softmax, top_k: 20, groups: 2, top_groups: 1, ..gate },
    ]
}

#[test]
fn routing() {
    let bias = normal("bias", &[40]);
    // Few values, so that equals are the rule.
    for logits in [normal("gate", &[70, 40]), normal("gate", &[70, 40]).round()] {
        for gate in gates() {
            let choice = Tensor::from_slice(&route(&logits, None, &gate, None).chosen).view([70, gate.top_k]);
            for (bias, replay) in [(Some(&bias), None), (None, None), (Some(&bias), Some(&choice))] {
                same_bits(std::slice::from_ref(&logits), |t| {
                    let routed = route(&t[0], bias, &gate, replay);
                    let changed = Tensor::from(routed.changed as i64);
                    vec![routed.weights, Tensor::from_slice(&routed.chosen), changed]
                });
            }
        }
    }
}

#[test]
fn rows_to_experts_and_back() {
    let chosen: Vec<i32> = (0..50).flat_map(|row| [row * row % 5, 5 + row % 3, 8]).collect();
    let plan = Plan::new(&chosen, 3, 9);
    same_bits(&[normal("x", &[50, 37])], |t| vec![dispatch(&t[0], &plan)]);
    same_bits(&[normal("y", &[150, 37]), normal("w", &[50, 3])], |t| vec![combine(&t[0], &t[1], &plan)]);
}

/// Sequences laid one after the other: short, longer than a chunk of the backward, and of one row.
fn packed() -> Arc<KeyIndex> {
    Arc::new(KeyIndex::packed(&[5, 75, 1, 9]))
}

/// The rows' lists: every third key and the row's own, at most `k`.
fn some_selection(index: &KeyIndex, k: usize) -> Tensor {
    let list = |row: usize| {
        let seen = index.visible(row).len() as i32;
        let mut list: Vec<i32> = (0..seen).filter(|p| (p + row as i32) % 3 == 0 || *p == seen - 1).collect();
        list.drain(..list.len().saturating_sub(k));
        list.resize(k, -1);
        list
    };
    Tensor::from_slice(&(0..index.rows()).flat_map(list).collect::<Vec<i32>>()).view([-1, k as i64])
}

/// Latent and grouped geometries, of few and many heads, odd widths, several parts of a key, and a window.
fn geometries() -> Vec<(i64, Geometry)> {
    let grouped = Geometry::grouped(2, 20);
    vec![
        (3, Geometry::latent(20, 16)),
        (40, Geometry::latent(21, 10)),
        (4, Geometry::latent(150, 130)),
        (6, grouped),
        (2, Geometry { window: Some(33), ..grouped }),
        (12, Geometry { window: Some(7), ..Geometry::grouped(4, 9) }),
    ]
}

#[test]
fn attention_over_all_keys_over_windows_and_over_selected_keys() {
    let index = packed();
    // The wide ones are left to the cache's few rows.
    for (heads, geometry) in geometries().into_iter().filter(|(heads, g)| g.row < 100 && *heads < 10) {
        let inputs = [normal("q", &[90, heads, geometry.key as i64]), normal("keys", &[90, geometry.row as i64])];
        for selection in [None, Some(some_selection(&index, 17))] {
            same_bits(&inputs, |t| {
                let attended = attention(&t[0], &t[1], geometry, &index, &selection, 0.3);
                vec![attended.out, attended.lse]
            });
        }
    }
}

/// Rows that do not begin their sequences, slots in disorder and shared by sequences: a cache's.
#[test]
fn attention_over_a_cache() {
    let slots = |from: u32, n: u32| (0..n).map(|i| if i < 40 { i * 3 } else { from + i * 7 % n }).collect::<Vec<u32>>();
    let index = KeyIndex::new(vec![0, 1, 1, 2], vec![69, 50, 51, 0], vec![slots(200, 70), slots(300, 52), vec![150]]);
    let index = Arc::new(index);
    for (heads, geometry) in geometries() {
        let inputs = [normal("q", &[4, heads, geometry.key as i64]), normal("keys", &[400, geometry.row as i64])];
        for selection in [None, Some(some_selection(&index, 9))] {
            same_bits(&inputs, |t| vec![attention(&t[0], &t[1], geometry, &index, &selection, 0.3).out]);
        }
    }
}

#[test]
fn inv_3_the_indexers_selection() {
    let index = packed();
    // Keys of whole numbers make ties and zeros of both signs the rule.
    for (heads, rounded) in [(2, false), (5, true)] {
        let round = |t: Tensor| if rounded { t.round() } else { t };
        let query = || IndexerQuery { q: round(normal("iq", &[90, heads, 12])), w: round(normal("iw", &[90, heads])) };
        let keys = round(normal("ik", &[90, 12]));
        for (k, window) in [1, 7, 64, 75, 100].into_iter().flat_map(|k| [None, Some(33), Some(6)].map(|w| (k, w))) {
            let on_cpu = select(&query(), &keys, &index, window, k);
            let on_gpu = emulated(Emulated::Descending, || select(&query(), &keys, &index, window, k));
            assert!(on_gpu.equal(&on_cpu), "{heads} heads, k = {k}, {window:?}");
        }
    }
}

#[test]
fn inv_3_the_indexers_selection_of_many() {
    // Longer than a block of threads, with scores that share their first digits.
    let index = Arc::new(KeyIndex::new(vec![0, 0], vec![899, 700], vec![(0..900).collect()]));
    let query = || IndexerQuery { q: normal("iq", &[2, 1, 4]), w: Tensor::from_slice(&[1e-3f32, -1e-3]).view([2, 1]) };
    let keys = (normal("ik", &[900, 4]) * 8.0).round() * 1e-2 + 5.0;
    for (k, window) in [(3, None), (300, None), (513, None), (300, Some(413))] {
        let on_cpu = select(&query(), &keys, &index, window, k);
        let on_gpu = emulated(Emulated::Ascending, || select(&query(), &keys, &index, window, k));
        assert!(on_gpu.equal(&on_cpu), "k = {k}, {window:?}");
    }
}

#[test]
fn indexer_losses() {
    let index = packed();
    let weight = normal("weight", &[90]).abs();
    let (q, keys) = (normal("q", &[90, 3, 20]), normal("k", &[90, 20]));
    let inputs = [normal("iq", &[90, 2, 12]), normal("iw", &[90, 2]), normal("ik", &[90, 12])];
    let cases = [(None, 7, None), (None, 7, Some(33)), (None, 7, Some(18)), (None, 0, None)];
    let selected = (Some(some_selection(&index, 17)), 7, None);
    for (selection, k, window) in cases.into_iter().chain([selected]) {
        let geometry = Geometry { window, ..Geometry::latent(20, 16) };
        let lse = attention(&q, &keys, geometry, &index, &selection, 0.3).lse;
        same_bits(&inputs, |t| {
            let query = IndexerQuery { q: t[0].shallow_clone(), w: t[1].shallow_clone() };
            let (q, keys, lse) = (q.shallow_clone(), keys.shallow_clone(), lse.shallow_clone());
            let target = Target { q, keys, geometry, lse, scale: 0.3 };
            let (loss, coverage) = indexer_loss(&query, &t[2], &target, &index, &selection, &weight, k);
            let numbers = [coverage.recall, coverage.mass, coverage.rows as f64];
            assert!(k == 0 || coverage.rows > 0, "some list is longer than k");
            vec![loss, Tensor::from_slice(&numbers)]
        });
    }
}
