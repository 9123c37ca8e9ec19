//! Every kind of attention and feed-forward: a row has the same bits alone and in a batch (INV-1, INV-2), and what was recorded of a
//! forward is what a replay computes (INV-5).

use policy::config::Attention;
use policy::params::Params;
use policy::testing::{decode, every_kind, model_of};
use policy::{Attend, Compute, Forward, Keys, Model, ModelConfig, Precision, Rows, Task};
use tch::{Device, Kind, Tensor};

const LENGTHS: [u32; 4] = [3, 40, 1, 21];

fn sequences() -> Vec<Vec<u32>> {
    LENGTHS.iter().map(|&n| (0..n).map(|i| (i * i * 7 + n) % 64).collect()).collect()
}

fn batched(model: &Model, task: &Task) -> (Tensor, Forward) {
    let sequences = sequences();
    let rows = Rows::packed(&sequences.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let forward = model.forward(&rows, Keys::Fresh, task);
    (model.logits(&forward.hidden), forward)
}

fn recording(model: &Model) -> Task {
    Task { record: model.config.indexer.is_some(), record_experts: true, ..Task::plain(model) }
}

#[test]
fn inv_1_and_inv_2_a_row_has_the_same_bits_in_a_batch_and_one_by_one() {
    let _guard = tch::no_grad_guard();
    for (kind, config) in every_kind() {
        let model = model_of(config);
        let (logits, forward) = batched(&model, &recording(&model));
        let mut first = 0;
        for sequence in sequences() {
            let prompt = sequence.len().div_ceil(3);
            let mut rest = sequence[prompt..].iter().copied();
            let decoded = decode(&model, &sequence[..prompt], |_| rest.next());
            let length = sequence.len() as i64;
            assert!(decoded.logits.equal(&logits.narrow(0, first, length)), "{kind}: sequence of {length}");
            for (step, position) in (prompt as i64 - 1..length).enumerate() {
                let row = first + position;
                let same = |one: &[Tensor], all: &[Tensor]| {
                    one.len() == all.len() && one.iter().zip(all).all(|(one, all)| one.equal(&all.get(row)))
                };
                assert!(same(&decoded.selections[step], &forward.selections), "{kind}: selection of row {row}");
                assert!(same(&decoded.experts[step], &forward.experts), "{kind}: experts of row {row}");
            }
            first += length;
        }
    }
}

/// A model that does not learn holds the bf16 of its file, and computes what one that was widened computes.
#[test]
fn inv_1_frozen_weights_of_bf16_give_the_bits_of_widened_ones() {
    let _guard = tch::no_grad_guard();
    for (kind, config) in every_kind() {
        let trained = model_of(config.clone());
        let half = |p: &Tensor| if p.dim() == 2 { p.to_kind(Kind::BFloat16) } else { p.copy() };
        let half: Params = trained.params.iter().map(|(name, p)| (name.clone(), half(p))).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let compute = Compute { precision, ..Compute::from(Device::Cpu) };
            let of = |as_held: fn(&Tensor) -> Tensor| {
                let params = half.iter().map(|(name, p)| (name.clone(), as_held(p))).collect();
                Model::new(config.clone(), params, compute).expect("exact")
            };
            let (widened, frozen) = (of(|p| p.to_kind(Kind::Float)), of(Tensor::shallow_clone));
            assert!(frozen.bytes() < widened.bytes() * 6 / 10, "{kind}: {} bytes", frozen.bytes());
            let (logits, forward) = batched(&frozen, &recording(&frozen));
            let (wanted, wanted_forward) = batched(&widened, &recording(&widened));
            assert!(logits.equal(&wanted), "{kind}, {precision}");
            let same = |a: &[Tensor], b: &[Tensor]| a.iter().zip(b).all(|(a, b)| a.equal(b));
            assert!(same(&forward.selections, &wanted_forward.selections), "{kind}, {precision}");
            assert!(same(&forward.experts, &wanted_forward.experts), "{kind}, {precision}");
        }
    }
}

#[test]
fn inv_5_a_replayed_forward_has_the_bits_of_the_recorded_one() {
    let _guard = tch::no_grad_guard();
    for (kind, config) in every_kind() {
        let model = model_of(config);
        let (logits, forward) = batched(&model, &recording(&model));
        let sparse = model.config.indexer.is_some();
        let layers = model.config.num_hidden_layers as usize;
        assert_eq!(forward.selections.len(), if sparse { layers } else { 0 });
        assert_eq!(forward.experts.len(), usize::from(model.config.experts.is_some()));
        let attend = if sparse { Attend::Replay(forward.selections) } else { Attend::Dense };
        let task = Task { attend, experts: Some(forward.experts), ..Task::dense() };
        assert!(batched(&model, &task).0.equal(&logits), "{kind}");
    }
}

/// Keep Routing: the choice is the recorded one, the weights are the gate's own.
#[test]
fn inv_5_given_experts_are_taken_and_weighted_by_the_own_logits() {
    let _guard = tch::no_grad_guard();
    for (kind, config) in every_kind().into_iter().filter(|(_, config)| config.experts.is_some()) {
        let model = model_of(config);
        let (logits, forward) = batched(&model, &recording(&model));
        let others =
            forward.experts.iter().map(|e| (e + 1).remainder(8).sort(-1, false).0.to_kind(Kind::Int)).collect();
        let moved = |experts| batched(&model, &Task { experts: Some(experts), ..recording(&model) });
        let (other, recorded) = moved(others);
        assert!(
            !recorded.experts[0].equal(&forward.experts[0]) && !other.equal(&logits),
            "{kind}: another choice shows"
        );
        // A gate that moved chooses otherwise, and is held to the recorded choice with its own weights.
        let mut gate = model.params["model.layers.1.mlp.gate.weight"].shallow_clone();
        let kept = gate.copy();
        gate.copy_(&(&kept * -1.0));
        let free = batched(&model, &recording(&model)).1;
        let (held_logits, held) = moved(forward.experts.iter().map(Tensor::shallow_clone).collect());
        gate.copy_(&kept);
        assert!(!free.experts[0].equal(&forward.experts[0]), "{kind}: the gate moved");
        assert!(held.experts[0].equal(&forward.experts[0]), "{kind}: the choice was held");
        assert!(!held_logits.equal(&logits), "{kind}: the weights follow the gate");
    }
}

/// Widths that are no multiples of a vector, in every part that a config sizes freely.
fn odd(mut config: ModelConfig) -> ModelConfig {
    (config.vocab_size, config.intermediate_size) = (65, 72);
    if let Attention::Mla(mla) = &mut config.attention {
        (mla.q_lora_rank, mla.kv_lora_rank, mla.qk_nope_head_dim, mla.v_head_dim) = (Some(24), 20, 12, 20);
    }
    if let Some(experts) = &mut config.experts {
        experts.width = 24;
    }
    config
}

/// Gradients of a whole step. There are enough rows that libtorch would cut sums over them, and the widths are such that a BLAS which is
/// given three threads cuts them where its kernels round otherwise.
#[test]
fn inv_7_the_number_of_threads_does_not_change_a_gradient() {
    let sequences: Vec<Vec<u32>> =
        (0..12).map(|s| (0..100 + s).map(|i| (i * i * 7 + s * i + s) % 64).collect()).collect();
    let rows = Rows::packed(&sequences.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for (kind, config) in every_kind().into_iter().flat_map(|(kind, c)| [(kind, c.clone()), (kind, odd(c))]) {
        let model = model_of(config);
        let parameters: Vec<&Tensor> = model.params.values().collect();
        parameters.iter().for_each(|p| drop(p.set_requires_grad(true)));
        let step = |threads: i32| {
            tch::set_num_threads(threads);
            let forward = model.forward(&rows, Keys::Fresh, &Task::plain(&model));
            let logits = model.logits(&forward.hidden);
            let loss = logits.sin().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).narrow(0, 0, 1200);
            (logits.detach(), Tensor::run_backward(&[loss.sum(Kind::Float)], &parameters, false, false))
        };
        let (logits, one) = step(1);
        for threads in 2..=4 {
            let (found, gradients) = step(threads);
            assert!(found.equal(&logits), "{kind}: logits with {threads} threads");
            for ((name, one), other) in model.params.keys().zip(&one).zip(&gradients) {
                let same = one.defined() == other.defined() && (!one.defined() || one.equal(other));
                assert!(same, "{kind}: gradient of {name} with {threads} threads");
            }
        }
    }
}
