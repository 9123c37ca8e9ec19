//! The forward against Hugging Face transformers: logits, selected positions and greedy tokens of small random checkpoints that
//! `scripts/dev/make_hf_fixtures.py` made.

use std::path::{Path, PathBuf};

use policy::{Attend, Keys, Model, Rows, Task, checkpoint};
use safetensors::SafeTensors;
use tch::{Device, Kind, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected(folder: &Path) -> impl Fn(&str) -> Tensor {
    let bytes = std::fs::read(folder.join("expected.safetensors")).expect("the fixture is committed");
    move |name| {
        let file = SafeTensors::deserialize(&bytes).expect("well-formed");
        let view = file.tensor(name).unwrap_or_else(|_| panic!("{name} is in the fixture"));
        let kind = match view.dtype() {
            safetensors::Dtype::F32 => Kind::Float,
            safetensors::Dtype::I64 => Kind::Int64,
            safetensors::Dtype::I32 => Kind::Int,
            other => panic!("{name}: unexpected {other:?}"),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        Tensor::from_data_size(view.data(), &shape, kind)
    }
}

fn sequences(ids: &Tensor) -> Vec<Vec<u32>> {
    let rows = Vec::<Vec<i64>>::try_from(ids).expect("a matrix");
    rows.into_iter().map(|row| row.into_iter().map(|t| t as u32).collect()).collect()
}

fn logits(model: &Model, sequences: &[Vec<u32>], task: &Task) -> (Tensor, Vec<Tensor>) {
    let rows = Rows::packed(&sequences.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let forward = model.forward(&rows, Keys::Fresh, task);
    (model.logits(&forward.hidden), forward.selections)
}

fn assert_close(got: &Tensor, want: &Tensor) {
    let want = want.reshape_as(got);
    let error = (got - &want).abs().max().double_value(&[]);
    assert!(error < 1e-4 * want.abs().max().double_value(&[]), "logits differ by {error}");
}

fn check(name: &str) {
    let folder = fixture(name);
    let expected = expected(&folder);
    let model = checkpoint::load(&folder, Device::Cpu).expect("the fixture loads");
    let _guard = tch::no_grad_guard();
    let inputs = sequences(&expected("input_ids"));
    let sparse = model.config.indexer.is_some();
    let task = Task { record: sparse, ..Task::plain(&model) };
    let (got, selections) = logits(&model, &inputs, &task);
    assert_close(&got, &expected("logits"));
    if sparse {
        let selected = expected("selected");
        for (layer, got) in selections.iter().enumerate() {
            assert!(got.equal(&selected.get(layer as i64).reshape_as(got)), "layer {layer} selects other positions");
        }
        assert_close(&logits(&model, &inputs, &Task::dense()).0, &expected("logits_dense"));
        let replay = Task { attend: Attend::Replay(selections), ..Task::plain(&model) };
        assert!(logits(&model, &inputs, &replay).0.equal(&got), "replaying the selection gives the same bits");
    }
    for (input, want) in inputs.iter().zip(sequences(&expected("greedy"))) {
        let mut tokens = input.clone();
        for _ in &want {
            let (l, _) = logits(&model, std::slice::from_ref(&tokens), &Task::plain(&model));
            tokens.push(l.get(tokens.len() as i64 - 1).argmax(-1, false).int64_value(&[]) as u32);
        }
        assert_eq!(tokens[input.len()..], want);
    }
}

#[test]
fn deepseek_v3_agrees() {
    check("deepseek_v3");
}

#[test]
fn deepseek_v32_agrees() {
    check("deepseek_v32");
}

#[test]
fn deepseek_v32_with_yarn_agrees() {
    check("deepseek_v32_yarn");
}

#[test]
fn a_saved_checkpoint_is_the_same_model_and_the_same_bytes() {
    let model = checkpoint::load(&fixture("deepseek_v32"), Device::Cpu).expect("the fixture loads");
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    checkpoint::save(&model, first.path()).expect("it saves");
    let again = checkpoint::load(first.path(), Device::Cpu).expect("it loads back");
    checkpoint::save(&again, second.path()).expect("it saves");
    assert_eq!(again.config, model.config);
    let bytes = |folder: &Path| std::fs::read(folder.join(checkpoint::WEIGHTS)).expect("written");
    assert_eq!(bytes(first.path()), bytes(second.path()));
}
