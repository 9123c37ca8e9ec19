//! The forward against Hugging Face transformers: logits, selected positions and greedy tokens of small random checkpoints that
//! `scripts/dev/make_hf_fixtures.py` made.

mod fixture;

use std::path::Path;

use fixture::{assert_close, expected, fixture, logits, sequences};
use policy::{Attend, Task, checkpoint};
use tch::Device;

fn check(name: &str) {
    let folder = fixture(name);
    let expected = expected(&folder);
    let model = checkpoint::load(&folder, Device::Cpu).expect("the fixture loads");
    let _guard = tch::no_grad_guard();
    let inputs = sequences(&expected("input_ids"));
    let sparse = model.config.indexer.is_some();
    let task = Task { record: sparse, ..Task::plain(&model) };
    let (got, forward) = logits(&model, &inputs, &task);
    let selections = forward.selections;
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
        assert_eq!(want.len(), 64, "{name}");
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
