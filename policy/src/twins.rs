//! Whether the kernels on a GPU give the CPU's bits (INV-2), at the sizes of a model: `temper doctor` asks it of the GPU at hand, tests ask
//! it of the emulated one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data::CounterRng;
use tch::{Device, Kind, Tensor};

use crate::compute::Precision;
use crate::config::{ModelConfig, Scores};
use crate::doctor::ProductShape;
use crate::kernels::attention::attention;
use crate::kernels::experts::{Plan, combine, dispatch};
use crate::kernels::indexer::{IndexerQuery, select};
use crate::kernels::indexer_loss::{Target, indexer_loss};
use crate::kernels::log_prob::{Targets, log_prob};
use crate::kernels::norm::{layer_norm, rms_norm};
use crate::kernels::rotary::{Angles, Layout, rotate};
use crate::kernels::routing::route;
use crate::kernels::swiglu::swiglu;
use crate::model::product_shapes;
use crate::products::Products;
use crate::rows::KeyIndex;

/// A kernel at one size, with its backward.
pub struct Twin {
    /// Which, and what it is given.
    pub name: String,
    /// Whether the bits must be the CPU's. Where the tensor cores round, they are only near.
    pub same_bits: bool,
    inputs: Vec<Tensor>,
    kernel: Kernel,
}

/// Results of the inputs; those of the first have gradients.
type Kernel = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;

/// What a comparison found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Every bit of every result and gradient is the CPU's.
    pub same: bool,
    /// The largest difference, as a share of the largest number.
    pub apart: f64,
    /// One forward and backward on the device, the fastest of a few.
    pub time: Duration,
}

/// Every kernel that a model of this config has, for so many rows.
pub fn twins(config: &ModelConfig, precision: Precision, rows: i64) -> Vec<Twin> {
    let mut all = row_kernels(config, rows);
    all.extend(attention_kernels(config, rows));
    all.extend(product_shapes(config).into_iter().map(|shape| product(shape, precision, rows)));
    all.extend(expert_kernels(config, rows));
    all
}

/// Repeats of a timing.
const REPEATS: usize = 5;

impl Twin {
    fn new(name: impl Into<String>, inputs: Vec<Tensor>, kernel: impl Fn(&[Tensor]) -> Vec<Tensor> + 'static) -> Self {
        Self { name: name.into(), same_bits: true, inputs, kernel: Box::new(kernel) }
    }

    /// Holds the kernel on `device` to the CPU's.
    pub fn compare(&self, device: Device) -> Found {
        self.hold(&self.run(&self.inputs_on(Device::Cpu)), device)
    }

    fn hold(&self, wanted: &[Tensor], device: Device) -> Found {
        let inputs = self.inputs_on(device);
        let found: Vec<Tensor> = self.run(&inputs).iter().map(|t| t.to_device(Device::Cpu)).collect();
        let same = found.iter().zip(wanted).all(|(found, wanted)| found.equal(wanted));
        let apart = found.iter().zip(wanted).map(|(found, wanted)| apart(found, wanted)).fold(0.0, f64::max);
        let time = (0..REPEATS).map(|_| self.time(&inputs, device)).min().unwrap_or_default();
        Found { same, apart, time }
    }

    fn inputs_on(&self, device: Device) -> Vec<Tensor> {
        let leaf = |t: &Tensor| t.to_device(device).detach().set_requires_grad(t.kind() == Kind::Float);
        self.inputs.iter().map(leaf).collect()
    }

    /// Results and gradients.
    fn run(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let mut results = (self.kernel)(inputs);
        if results[0].requires_grad() {
            let device = results[0].device();
            let loss = (&results[0] * normal("projection", &results[0].size()).to_device(device)).sum(Kind::Float);
            let learn: Vec<&Tensor> = inputs.iter().filter(|t| t.requires_grad()).collect();
            results.extend(Tensor::run_backward(&[loss], &learn, false, false));
        }
        results.iter().map(Tensor::detach).collect()
    }

    fn time(&self, inputs: &[Tensor], device: Device) -> Duration {
        let wait = || {
            if let Device::Cuda(ordinal) = device {
                tch::Cuda::synchronize(ordinal as i64);
            }
        };
        wait();
        let began = Instant::now();
        drop(self.run(inputs));
        wait();
        began.elapsed()
    }
}

fn apart(found: &Tensor, wanted: &Tensor) -> f64 {
    if wanted.numel() == 0 {
        return 0.0;
    }
    let (found, wanted) = (found.to_kind(Kind::Double), wanted.to_kind(Kind::Double));
    (found - &wanted).abs().max().double_value(&[]) / wanted.abs().max().double_value(&[]).max(f64::MIN_POSITIVE)
}

/// Seeded normal numbers.
fn normal(name: &str, shape: &[i64]) -> Tensor {
    let mut rng = CounterRng::new(5, name);
    // Few different ones: drawing millions would take longer than what is measured.
    let values: Vec<f32> = (0..4093).map(|_| rng.normal() as f32).collect();
    let count: i64 = shape.iter().product();
    Tensor::from_slice(&values).repeat([count / 4093 + 1]).narrow(0, 0, count).view(shape)
}

fn product(shape: ProductShape, precision: Precision, rows: i64) -> Twin {
    let ProductShape { batch, k, n, precise } = shape;
    let rounds = precision == Precision::Bf16 && !precise;
    let products = Products::own(precision);
    let name = format!("product    {batch} x [{rows}, {k}] x [{k}, {n}]{}", if rounds { ", bf16" } else { "" });
    let twin = if batch > 1 {
        Twin::new(name, vec![normal("x", &[rows, batch, k]), normal("w", &[batch, k, n])], move |t| {
            vec![products.per_head(&t[0], &t[1])]
        })
    } else {
        Twin::new(name, vec![normal("x", &[rows, k]), normal("w", &[n, k])], move |t| {
            vec![if precise { products.precise(&t[0], &t[1]) } else { products.linear(&t[0], &t[1]) }]
        })
    };
    Twin { same_bits: !rounds, ..twin }
}

fn row_kernels(config: &ModelConfig, rows: i64) -> Vec<Twin> {
    let (hidden, inner, vocabulary) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let (heads, half) = (config.num_attention_heads, config.rope_width() / 2);
    let tokens: Vec<u32> = (0..rows).map(|row| (row * 7919 % vocabulary) as u32).collect();
    let targets = Arc::new(Targets { inverse_temperature: 1.25, ..Targets::plain(tokens) });
    let x = || normal("x", &[rows, hidden]);
    vec![
        Twin::new("rms norm", vec![x(), normal("w", &[hidden])], |t| vec![rms_norm(&t[0], &t[1], 1e-6)]),
        Twin::new("layer norm", vec![x(), normal("w", &[hidden]), normal("b", &[hidden])], |t| {
            vec![layer_norm(&t[0], &t[1], &t[2], 1e-6)]
        }),
        Twin::new("swiglu", vec![normal("a", &[rows, inner]), normal("b", &[rows, inner])], |t| {
            vec![swiglu(&t[0], &t[1])]
        }),
        Twin::new("rotary", vec![normal("q", &[rows, heads, 2 * half]), normal("angle", &[rows, half])], |t| {
            // Cosine and sine are looked up in tables that the CPU made, so the angles are no part of the kernel.
            let (cos, sin) = (t[1].detach(), t[1].detach() * 0.5);
            vec![rotate(&t[0], &Angles { cos, sin }, Layout::Halves) + t[1].sum(Kind::Float) * 0.0]
        }),
        Twin::new("log-probability", vec![normal("logits", &[rows, vocabulary])], move |t| {
            let (log_probs, entropies) = log_prob(&t[0], &targets, 0);
            vec![log_probs, entropies]
        }),
    ]
}

/// Attention over all keys, the indexer's selection, attention over that, and the indexer's loss.
fn attention_kernels(config: &ModelConfig, rows: i64) -> Vec<Twin> {
    let (heads, geometry, scale) = (config.num_attention_heads, config.geometry(0), config.softmax_scale());
    let index = || Arc::new(KeyIndex::packed(&[rows as usize / 3, rows as usize - rows as usize / 3]));
    let tensors =
        || vec![normal("q", &[rows, heads, geometry.key as i64]), normal("keys", &[rows, geometry.row as i64])];
    let over = |name: &str, selection: Option<Tensor>| {
        let index = index();
        Twin::new(name, tensors(), move |t| {
            let attended = attention(&t[0], &t[1], geometry, &index, &selection, scale);
            vec![attended.out, attended.lse]
        })
    };
    let mut all = vec![over("attention", None)];
    let Some(indexer) = &config.indexer else { return all };
    let k = (indexer.top_k.min(rows / 4).max(1)) as usize;
    let indexing = || {
        let (heads, width) = (indexer.heads, indexer.width);
        vec![normal("iq", &[rows, heads, width]), normal("iw", &[rows, heads]), normal("ik", &[rows, width])]
    };
    let query = |t: &[Tensor]| IndexerQuery { q: t[0].shallow_clone(), w: t[1].shallow_clone() };
    let (of_selection, of_loss) = (index(), index());
    let chosen = tch::no_grad(|| select(&query(&indexing()), &indexing()[2], &of_selection, geometry.window, k));
    all.push(Twin::new("indexer's selection", indexing(), move |t| {
        vec![tch::no_grad(|| select(&query(t), &t[2].detach(), &of_selection, geometry.window, k))]
    }));
    all.push(over("attention, sparse", Some(chosen)));
    all.push(Twin::new("indexer's loss", indexing().into_iter().chain(tensors()).collect(), move |t| {
        let (q, keys) = (t[3].detach(), t[4].detach());
        let lse = attention(&q, &keys, geometry, &of_loss, &None, scale).lse;
        let weight = t[1].detach().select(1, 0).abs();
        let target = Target { q, keys, geometry, lse, scale };
        let (loss, coverage) = indexer_loss(&query(t), &t[2], &target, &of_loss, &None, &weight, k);
        let unused = (t[3].sum(Kind::Float) + t[4].sum(Kind::Float)) * 0.0;
        vec![loss + unused, Tensor::from_slice(&[coverage.recall, coverage.mass])]
    }));
    all
}

fn expert_kernels(config: &ModelConfig, rows: i64) -> Vec<Twin> {
    let Some(experts) = &config.experts else { return Vec::new() };
    let (gate, count, hidden) = (experts.gate.clone(), experts.count, config.hidden_size);
    let k = gate.top_k;
    let chosen: Vec<i32> = (0..rows).flat_map(|row| (0..k).map(move |j| ((row * 31 + j) % count) as i32)).collect();
    let plan = Plan::new(&chosen, k as usize, count as usize);
    let biased = gate.scores == Scores::BiasedSigmoid;
    let other = plan.clone();
    vec![
        Twin::new("routing", vec![normal("gate", &[rows, count])], move |t| {
            let bias = biased.then(|| normal("bias", &[count]).to_device(t[0].device()));
            let routed = route(&t[0], bias.as_ref(), &gate, None);
            vec![routed.weights, Tensor::from_slice(&routed.chosen)]
        }),
        Twin::new("to experts", vec![normal("x", &[rows, hidden])], move |t| vec![dispatch(&t[0], &plan)]),
        Twin::new("from experts", vec![normal("y", &[rows * k, hidden]), normal("w", &[rows, k])], move |t| {
            vec![combine(&t[0], &t[1], &other)]
        }),
    ]
}

#[cfg(test)]
mod tests {
    use native::cuda::{Emulated, emulated};

    use super::*;
    use crate::testing::every_kind;

    #[test]
    fn inv_2_every_kernel_of_every_kind_of_model_has_the_cpus_bits() {
        // One of each name: kinds share most of their kernels.
        let mut seen = std::collections::BTreeSet::new();
        for precision in [Precision::F32, Precision::Bf16] {
            for (_, config) in every_kind() {
                for twin in twins(&config, precision, 70).into_iter().filter(|twin| seen.insert(twin.name.clone())) {
                    let on_cpu = twin.run(&twin.inputs_on(Device::Cpu));
                    let found = emulated(Emulated::Ascending, || twin.hold(&on_cpu, Device::Cpu));
                    let wanted = if twin.same_bits { found.same } else { found.apart < 1.0 / 64.0 };
                    assert!(wanted, "{}: {found:?}", twin.name);
                }
            }
        }
    }
}
