//! Low-rank adapters: fresh ones change nothing, merged ones are the same weights for sampler and learner (INV-1), and files of them hold
//! all that there is.

use policy::checkpoint::AdaptedBase;
use policy::config::Scores;
use policy::lora::LoraError;
use policy::params::{is_adapter, is_indexer};
use policy::testing::{adapted, decode, every_kind, model_of, tiny_config, tiny_grouped, with_experts};
use policy::{Keys, LoraConfig, Model, Rows, Task, checkpoint};
use tch::{Device, Kind, Tensor};

fn sequence() -> Vec<u32> {
    (0..40).map(|i| (i * i * 7 + 3) % 64).collect()
}

fn logits(model: &Model) -> Tensor {
    let forward = model.forward(&Rows::packed(&[&sequence()]), Keys::Fresh, &Task::plain(model));
    model.logits(&forward.hidden)
}

fn lora(targets: &[&str]) -> LoraConfig {
    LoraConfig { rank: 3, alpha: 4.5, targets: targets.iter().map(|&target| target.to_owned()).collect() }
}

#[test]
fn fresh_adapters_change_nothing_and_stand_beside_every_target() {
    let _guard = tch::no_grad_guard();
    for (kind, config) in every_kind() {
        let plain = logits(&model_of(config.clone()));
        let model = model_of(config).with_adapters(lora(&[]), 5).expect("it has targets");
        assert!(logits(&model).equal(&plain), "{kind}");
        for (name, p) in model.adapter_params() {
            let (weight, up) = (name.replace("lora_A.", "").replace("lora_B.", ""), name.contains("lora_B"));
            let size = model.params[&weight].size();
            assert_eq!(p.size(), if up { [size[0], 3] } else { [3, size[1]] }, "{name}");
            let (largest, bound) = (p.abs().max().double_value(&[]), (size[1] as f64).powf(-0.5));
            assert!(if up { largest == 0.0 } else { largest <= bound && largest > 0.5 * bound }, "{name}: {largest}");
        }
        let attention = model.config.experts.is_some() || !model.config.family.peft_adapts_networks();
        let beside = |name: &&String| {
            !(is_indexer(name) || attention && name.contains(".mlp."))
                && name.contains("_proj")
                && name.ends_with(".weight")
                && !is_adapter(name)
        };
        let expected = model.params.keys().filter(beside).count();
        assert_eq!(model.adapter_params().len(), 2 * expected, "{kind}");
    }
}

/// The sampler's cached, row-by-row forward and the learner's with its ways to the adapters; and both see the next version.
#[test]
fn inv_1_sampler_and_learner_multiply_by_the_same_weights_version_after_version() {
    for (kind, config) in every_kind() {
        let model = adapted(config);
        model.params.iter().for_each(|(name, p)| drop(p.set_requires_grad(is_adapter(name))));
        for version in 0..3 {
            if version > 0 {
                let values = model.adapter_params().into_iter().map(|(name, p)| (name, p * 1.5)).collect();
                model.set_adapters(&values).expect("its own");
            }
            let learner = logits(&model);
            assert!(learner.requires_grad(), "{kind}");
            let all = sequence();
            let mut rest = all[13..].iter().copied();
            let sampler = tch::no_grad(|| decode(&model, &all[..13], |_| rest.next()).logits);
            assert!(sampler.equal(&learner), "{kind}, version {version}");
            // The same weights in a model that knows of no adapters.
            let copy = model.frozen_copy().expect("small products");
            assert!(copy.adapters.is_none() && logits(&copy).equal(&learner), "{kind}, version {version}");
        }
    }
}

#[test]
fn merged_weights_are_the_formula_and_the_base_is_kept() {
    let fresh = model_of(tiny_grouped(None));
    let model = adapted(tiny_grouped(None));
    let base = model.without_adapters().expect("small products");
    let values = model.adapter_params();
    let mut changed = 0;
    for (name, weight) in &fresh.params {
        assert!(base.params[name].equal(weight), "{name} of the base");
        let pair = ["lora_A", "lora_B"].map(|part| values.get(&name.replace(".weight", &format!(".{part}.weight"))));
        let [Some(a), Some(b)] = pair else {
            assert!(model.params[name].equal(weight), "{name} has no adapter");
            continue;
        };
        let exact = weight.to_kind(Kind::Double) + b.to_kind(Kind::Double).matmul(&a.to_kind(Kind::Double)) * 1.5;
        let error = (model.params[name].to_kind(Kind::Double) - &exact).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{name}: {error}");
        changed += usize::from(!model.params[name].equal(weight));
    }
    assert_eq!(changed, 14, "seven matrices in each of two layers");
}

#[test]
fn targets_are_those_of_the_model() {
    let with = |config, targets: &[&str]| model_of(config).with_adapters(lora(targets), 5);
    let names = |model: &Model| model.adapters.as_ref().expect("it has some").config.targets.clone();
    let attention = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"];
    let some = with(tiny_config(Some(8)), &["o_proj", "kv_b_proj"]).expect("it has both");
    assert_eq!(names(&some), ["o_proj", "kv_b_proj"]);
    let all = names(&with(tiny_config(Some(8)), &[]).expect("it has targets"));
    assert!(attention.iter().all(|name| all.iter().any(|own| own == name)) && all.len() == 5, "{all:?}");
    let grouped = names(&with(tiny_grouped(None), &[]).expect("it has targets"));
    assert_eq!(grouped, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]);
    let error = with(tiny_config(None), &["k_proj"]).expect_err("latent attention has no k_proj").to_string();
    assert!(error.contains("`k_proj`") && error.contains("kv_b_proj"), "{error}");
    assert!(matches!(
        model_of(tiny_config(None)).with_adapters(LoraConfig { rank: 0, ..lora(&[]) }, 5),
        Err(LoraError::Rank(0))
    ));
    // In a model with experts attention alone, and by default in a dense one of a family that has them.
    let mixture = || with_experts(tiny_config(None), Scores::BiasedSigmoid);
    assert_eq!(names(&with(mixture(), &[]).expect("it has targets")).len(), attention.len());
    assert!(with(mixture(), &["up_proj"]).is_err() && with(tiny_config(None), &["up_proj"]).is_ok());
}

#[test]
fn files_in_pefts_layout_hold_the_adapters_and_the_checkpoint_the_merged_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = adapted(tiny_config(Some(8)));
    let base = AdaptedBase { name: "somewhere/base".to_owned(), revision: Some("abc".to_owned()) };
    checkpoint::save(&model, folder.path()).expect("written");
    checkpoint::save_adapters(&model, folder.path(), Some(&base)).expect("written");
    let merged = checkpoint::load(folder.path(), Device::Cpu).expect("a plain checkpoint");
    assert!(logits(&merged).equal(&logits(&model)));

    let (config, values) = checkpoint::load_adapters(folder.path()).expect("read");
    assert_eq!(config, model.adapters.as_ref().expect("it has some").config);
    let again = model_of(tiny_config(Some(8))).with_adapters(config, 99).expect("they fit");
    again.set_adapters(&values).expect("they fit");
    assert!(model.params.iter().all(|(name, p)| p.equal(&again.params[name])));

    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("it is there");
    let json: serde_json::Value = serde_json::from_slice(&read(checkpoint::ADAPTER_CONFIG)).expect("JSON");
    assert_eq!((&json["r"], &json["lora_alpha"]), (&3.into(), &4.5.into()));
    assert_eq!((&json["peft_type"], &json["base_model_name_or_path"]), (&"LORA".into(), &"somewhere/base".into()));
    assert_eq!(json["revision"], "abc");
    let tensors = checkpoint::load_tensors(&folder.path().join(checkpoint::ADAPTER_WEIGHTS)).expect("read");
    assert!(tensors.contains_key("base_model.model.model.layers.0.self_attn.q_a_proj.lora_A.weight"));

    let mut fewer = values;
    let (name, value) = fewer.pop_first().expect("there are some");
    assert!(matches!(again.set_adapters(&fewer), Err(LoraError::Missing(missing)) if missing == name));
    fewer.insert(name, value.tr());
    assert!(matches!(again.set_adapters(&fewer), Err(LoraError::Shape { .. })));
}
