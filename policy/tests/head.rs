//! The head in chunks: what it says of a row and what it gives a weight are, to the bit, those of all logits at once (INV-1, INV-7).

use std::sync::Arc;

use policy::Model;
use policy::kernels::log_prob::{Targets, log_prob};
use policy::model::Columns;
use policy::model::head::CHUNK;
use policy::testing::{model_of, tiny_config};
use tch::{Device, Kind, Tensor};

/// Two whole chunks and a part of one; none at all; and one row.
const ROWS: [usize; 3] = [2 * CHUNK + 77, 0, 1];

fn wave(sizes: &[i64], step: f64, kind: Kind) -> Tensor {
    let n: i64 = sizes.iter().product();
    (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step).sin().to_kind(kind).view(sizes)
}

fn model() -> Model {
    let mut config = tiny_config(None);
    config.vocab_size = 67;
    let model = model_of(config);
    model.params.values().for_each(|p| drop(p.set_requires_grad(true)));
    model
}

/// Targets of which every third row is cut to a kept set.
fn targets(rows: usize) -> Arc<Targets> {
    let mut targets = Targets { inverse_temperature: 1.25, ..Targets::default() };
    for row in 0..rows as u32 {
        let token = row * 5 % 67;
        let kept: Vec<u32> = (0..67).filter(|&v| v == token || (v + row).is_multiple_of(4)).collect();
        targets.tokens.push(token);
        targets.push_kept(row.is_multiple_of(3).then_some(kept.as_slice()));
    }
    Arc::new(targets)
}

/// Values, and gradients of hidden states and head of a weighted sum of the columns that learn.
fn all(model: &Model, hidden: &Tensor, of: impl Fn(&Tensor) -> (Vec<Tensor>, Tensor)) -> Vec<Tensor> {
    let hidden = hidden.detach().set_requires_grad(true);
    let (learned, seen) = of(&hidden);
    assert!(!seen.requires_grad(), "an entropy has no gradient to give");
    let rows = hidden.size()[0];
    let term =
        |(i, column): (usize, &Tensor)| (column * wave(&[rows], 0.31 + i as f64, column.kind())).sum(column.kind());
    let loss = learned.iter().enumerate().map(term).reduce(|sum, term| sum + term).expect("a column");
    let mut found = Tensor::run_backward(&[loss], &[&hidden, &model.params["lm_head.weight"]], false, false);
    found.extend(learned.iter().map(Tensor::detach));
    found.push(seen);
    found
}

#[test]
fn inv_1_and_inv_7_chunks_and_threads_do_not_change_a_bit() {
    let model = model();
    let before = tch::get_num_threads();
    for rows in ROWS {
        let (hidden, targets) = (wave(&[rows as i64, 32], 0.73, Kind::Float), targets(rows));
        tch::set_num_threads(1);
        let at_once = all(&model, &hidden, |hidden| {
            let (log_probs, entropies) = log_prob(&model.logits(hidden), &targets, 0);
            (vec![log_probs], entropies)
        });
        for threads in 1..=3 {
            tch::set_num_threads(threads);
            let in_chunks = all(&model, &hidden, |hidden| {
                let (log_probs, entropies) = model.log_probs(hidden, &targets);
                (vec![log_probs], entropies)
            });
            let same = at_once.iter().zip(&in_chunks).all(|(a, b)| a.equal(b));
            assert!(same && in_chunks.len() == 4, "{rows} rows with {threads} threads");
        }
    }
    tch::set_num_threads(before);
}

/// Two columns of libtorch's own operations, both of which learn, against f64 over all rows at once.
#[test]
fn any_function_of_a_row_has_its_value_and_gradient() {
    let model = model();
    let columns = |logits: &Tensor| {
        let log = logits.log_softmax(-1, None);
        let entropy = -(log.exp() * &log).sum_dim_intlist(-1, false, None::<Kind>);
        (vec![log.select(1, 3), entropy], logits.select(1, 0).detach())
    };
    let hidden = wave(&[ROWS[0] as i64, 32], 0.73, Kind::Float);
    let found = all(&model, &hidden, |hidden| {
        let in_chunks = model.head().rows(hidden, move |logits, _| {
            let (learned, seen) = columns(logits);
            Columns { learned, seen: vec![seen] }
        });
        (in_chunks.learned, in_chunks.seen.into_iter().next().expect("one"))
    });
    let double = |p: &Tensor| p.detach().to_kind(Kind::Double).set_requires_grad(true);
    let params = model.params.iter().map(|(name, p)| (name.clone(), double(p))).collect();
    let exact = Model::new(model.config.clone(), params, Device::Cpu).expect("small products");
    let wanted = all(&exact, &hidden.to_kind(Kind::Double), |hidden| columns(&exact.logits(hidden)));
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let size = wanted.abs().max().double_value(&[]);
        let error = (found.to_kind(Kind::Double) - wanted).abs().max().double_value(&[]);
        assert!(error <= 2e-5 * size.max(1.0), "{i}: {error} of {size}");
    }
}

/// A frozen head costs no gradient, and frozen hidden states and head leave no history.
#[test]
fn only_what_learns_is_asked_for() {
    let model = model();
    let (hidden, targets) = (wave(&[CHUNK as i64 + 3, 32], 0.73, Kind::Float), targets(CHUNK + 3));
    let head = model.params["lm_head.weight"].set_requires_grad(false);
    assert!(!model.log_probs(&hidden, &targets).0.requires_grad());
    let learning = hidden.set_requires_grad(true);
    let loss = model.log_probs(&learning, &targets).0.sum(Kind::Float);
    let found = Tensor::run_backward(&[loss], &[&learning], false, false);
    assert!(found[0].abs().sum(Kind::Float).double_value(&[]) > 0.0 && !head.grad().defined());
}
