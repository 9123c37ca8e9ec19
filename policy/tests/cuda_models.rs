//! Whole models on an emulated GPU give the CPU's bits: hidden states, losses and every gradient of every kind of model, and what a
//! sampler decodes through a cache.

use std::sync::Arc;

use native::cuda::{Emulated, emulated};
use policy::kernels::attention::{Geometry, attention};
use policy::kernels::cuda::left_to_cpu;
use policy::testing::{Decoded, decode, every_kind, model_of, tiny_config};
use policy::{IndexerConfig, KeyIndex, Keys, Model, ModelConfig, Rows, Task};
use tch::{Device, Kind, Tensor};

/// Three sequences, two of them longer than the top-k.
fn rows() -> Rows {
    let sequence = |n: u32| (0..n).map(|i| (i * i * 7 + n) % 64).collect::<Vec<u32>>();
    let sequences = [sequence(3), sequence(23), sequence(9)];
    Rows::packed(&sequences.each_ref().map(Vec::as_slice))
}

/// Logits, the indexer's loss, and the gradient of each parameter by both.
fn learned(model: &Model) -> Vec<(String, Tensor)> {
    let rows = rows();
    let sparse = model.config.indexer.is_some();
    let weight = sparse.then(|| Tensor::ones([rows.tokens.len() as i64], (Kind::Float, model.device())) * 0.1);
    let forward = model.forward(&rows, Keys::Fresh, &Task { indexer_weight: weight, ..Task::plain(model) });
    let logits = model.logits(&forward.hidden);
    let mut loss = logits.sin().sum(Kind::Float);
    if let Some(of_indexer) = &forward.indexer_loss {
        loss += of_indexer;
    }
    let learn = model.params.iter().filter(|(_, p)| p.requires_grad());
    let (names, params): (Vec<_>, Vec<_>) = learn.map(|(name, p)| (name.clone(), p)).unzip();
    let gradients = Tensor::run_backward(&[&loss], &params, false, false);
    let mut found = vec![("logits".to_owned(), logits.detach()), ("loss".to_owned(), loss.detach())];
    found.extend(names.into_iter().zip(gradients).filter(|(_, gradient)| gradient.defined()));
    found
}

#[test]
fn inv_2_a_model_learns_with_the_cpus_bits() {
    for (kind, config) in every_kind() {
        let model = model_of(config);
        for (name, p) in &model.params {
            let _ = p.set_requires_grad(!name.ends_with("e_score_correction_bias"));
        }
        let on_cpu = learned(&model);
        let on_gpu = emulated(Emulated::Ascending, || learned(&model));
        assert_eq!(on_cpu.len(), on_gpu.len(), "{kind}");
        for ((name, wanted), (_, found)) in on_cpu.iter().zip(&on_gpu) {
            assert!(found.equal(wanted), "{kind}: {name}");
        }
    }
}

#[test]
fn inv_1_a_sampler_decodes_with_the_cpus_bits() {
    let prompt: Vec<u32> = (0..13).map(|i| i * 5 % 64).collect();
    let sample = |model: &Model| {
        let mut left = 6;
        decode(model, &prompt, |logits| {
            left -= 1;
            (left > 0).then(|| logits.argmax(-1, false).int64_value(&[]) as u32)
        })
    };
    for (kind, config) in every_kind() {
        let model = model_of(config);
        let (on_cpu, on_gpu): (Decoded, Decoded) =
            tch::no_grad(|| (sample(&model), emulated(Emulated::Descending, || sample(&model))));
        assert!(on_gpu.logits.equal(&on_cpu.logits), "{kind}");
        let all = |decoded: &Decoded| decoded.selections.iter().flatten().map(Tensor::copy).collect::<Vec<_>>();
        assert!(all(&on_gpu).iter().zip(&all(&on_cpu)).all(|(a, b)| a.equal(b)), "{kind}: selections");
    }
}

#[test]
fn vectors_too_wide_for_shared_memory_stay_on_the_cpu() {
    const WIDE: i64 = 2000;
    let index = Arc::new(KeyIndex::packed(&[5]));
    let wave = |shape: &[i64], step: f64| {
        let n = shape.iter().product::<i64>();
        (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step).sin().to_kind(Kind::Float).view(shape)
    };
    let attend = || {
        let leaf = |t: Tensor| t.set_requires_grad(true);
        let (q, keys) = (leaf(wave(&[5, 2, WIDE], 0.7)), leaf(wave(&[5, WIDE], 1.3)));
        let out = attention(&q, &keys, Geometry::latent(WIDE, WIDE), &index, &None, 0.05).out;
        let mut found = Tensor::run_backward(&[out.sin().sum(Kind::Float)], &[&q, &keys], false, false);
        found.push(out.detach());
        found
    };
    let (on_cpu, on_gpu) = (attend(), emulated(Emulated::Ascending, attend));
    assert!(on_cpu.iter().zip(&on_gpu).all(|(a, b)| a.equal(b)));
}

#[test]
fn what_is_left_to_the_cpu_is_said() {
    let mut config = tiny_config(Some(16));
    let said = |config: &ModelConfig| emulated(Emulated::Ascending, || left_to_cpu(config, Device::Cpu));
    assert_eq!(said(&config), None);
    config.indexer = Some(IndexerConfig { heads: 2, width: 2000, top_k: 16, every: 1 });
    assert!(said(&config).is_some_and(|words| words.contains("2000")));
}
