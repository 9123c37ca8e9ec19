//! Whole GRPO steps against TRL's GRPOTrainer: the same weights, sampled ids, rewards and old log-probabilities must give its advantages,
//! loss, gradient (of every parameter) and updates. `scripts/dev/trl_grpo_fixture.py` wrote what TRL computed; docs/gradient-truth.md
//! has the mapping of settings and the table that [`agrees_with_trl`] prints.

mod fixture;

use data::{Author, Mask, ScoredGroup, ScoredSample};
use fixture::{Case, Fixture, MiniStep, TrlSettings, fixture, groups, model};
use learner::advantage::{Normalisation, group_advantages};
use learner::grpo::{GrpoReport, GrpoSettings, LiveIndexer, Routing, grpo_step, samples};
use learner::losses::aggregate::Aggregation;
use learner::losses::kl::KlEstimator;
use learner::losses::policy_gradient::Clip;
use learner::optimizer::AdamWConfig;
use learner::trainer::{Learning, Trainer, TrainerSettings};
use policy::Model;
use safetensors::SafeTensors;
use tch::{Kind, Tensor};

/// Relative, of losses and of norms of gradients.
const TOLERANCE: f64 = 1e-5;
/// Relative, of how far a parameter moved. AdamW divides by the gradient's own size, so that elements near 0 amplify rounding errors.
const MOVED_TOLERANCE: f64 = 1e-4;
/// TRL's addition to the deviation, which is also that of Temper's recipes.
const DEVIATION_EPSILON: f64 = 1e-4;
/// Rows of a unit: the batch is cut into several, as TRL's is not.
const UNIT_TOKENS: usize = 40;

/// TRL's settings in the learner's terms: the mapping that docs/gradient-truth.md documents.
fn grpo_settings(trl: &TrlSettings) -> GrpoSettings {
    GrpoSettings {
        clip: Clip { low: trl.epsilon, high: trl.epsilon_high, dual: trl.delta },
        aggregation: match trl.loss_type.as_str() {
            "grpo" => Aggregation::SequenceMean,
            "bnpo" | "dapo" => Aggregation::TokenMean,
            "dr_grpo" => Aggregation::Constant { length: trl.max_completion_length as f64 },
            other => panic!("{other} has no counterpart"),
        },
        off_policy_delta: trl.off_policy_mask_threshold,
        kl: if trl.use_bias_correction_kl { KlEstimator::Unbiased } else { KlEstimator::K3 },
        inverse_temperature: 1.0 / trl.temperature,
        indexer: LiveIndexer::Frozen,
        routing: Routing { replay: false, balance: 0.0 },
        unit_tokens: UNIT_TOKENS,
        version: 0,
    }
}

fn trainer_settings(trl: &TrlSettings) -> TrainerSettings {
    TrainerSettings {
        learning: Learning::Backbone,
        adamw: AdamWConfig {
            beta1: trl.adam_beta1,
            beta2: trl.adam_beta2,
            epsilon: trl.adam_epsilon,
            weight_decay: trl.weight_decay,
        },
        clip_norm: (trl.max_grad_norm > 0.0).then_some(trl.max_grad_norm),
        indexer_clip_norm: None,
        indexer_rate_scale: 1.0,
    }
}

/// The models of the dense or of the sparse cases, read once: loading measures products, which costs more than a step.
struct Models {
    policy: Model,
    reference: Model,
    start: Vec<Tensor>,
}

impl Models {
    fn read(fixture: &Fixture, sparse: bool) -> Self {
        let policy = model("policy", sparse);
        let start = fixture.parameters.iter().map(|name| policy.params[name].copy()).collect();
        Self { policy, reference: model("reference", sparse), start }
    }

    /// Puts back the weights that every case starts from.
    fn reset(&self, names: &[String]) {
        tch::no_grad(|| {
            for (name, start) in names.iter().zip(&self.start) {
                self.policy.params[name].shallow_clone().copy_(start);
            }
        });
    }

    /// How far each parameter is from where it started.
    fn moved(&self, names: &[String]) -> Vec<f64> {
        names.iter().zip(&self.start).map(|(name, start)| norm(&(self.policy.params[name].detach() - start))).collect()
    }
}

/// A case's batch on its models.
struct Step<'a> {
    models: &'a Models,
    groups: Vec<ScoredGroup>,
    beta: f64,
}

impl<'a> Step<'a> {
    fn new(fixture: &Fixture, case: &Case, models: &'a Models) -> Self {
        models.reset(&fixture.parameters);
        Self { models, groups: groups(fixture, case), beta: case.settings.beta }
    }

    fn run(&self, trainer: &mut Trainer, settings: &GrpoSettings, rate: f64) -> GrpoReport {
        let reference = Some(&self.models.reference).filter(|_| self.beta != 0.0);
        let samples = samples(&self.groups, |_| self.beta);
        grpo_step(&self.models.policy, reference, trainer, &samples, settings, rate).expect("a finite step")
    }

    /// The norm of every parameter's gradient, and the report. The learner keeps no gradients, but with `β1 = 0` and without clipping
    /// the first moment of a fresh optimiser is the gradient; at a rate of 0 nothing moves.
    fn gradient(&self, names: &[String], settings: &GrpoSettings) -> (Vec<f64>, GrpoReport) {
        let probe = TrainerSettings {
            learning: Learning::Backbone,
            adamw: AdamWConfig { beta1: 0.0, ..AdamWConfig::default() },
            clip_norm: None,
            indexer_clip_norm: None,
            indexer_rate_scale: 1.0,
        };
        let mut trainer = Trainer::new(&self.models.policy, &probe).expect("numbers in range");
        let report = self.run(&mut trainer, settings, 0.0);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("optimizer.safetensors");
        trainer.save(&path).expect("room for some KB");
        let bytes = std::fs::read(&path).expect("just written");
        let state = SafeTensors::deserialize(&bytes).expect("well-formed");
        let moments: Vec<_> = state.names().into_iter().filter(|name| name.starts_with("exp_avg.")).collect();
        assert_eq!(moments.len(), names.len(), "TRL trains other parameters than {moments:?}");
        let of_parameter = |name: &String| {
            let moment = state.tensor(&format!("exp_avg.{name}")).expect("every parameter that learns has one");
            norm(&Tensor::from_data_size(moment.data(), &[moment.data().len() as i64 / 4], Kind::Float))
        };
        (names.iter().map(of_parameter).collect(), report)
    }
}

fn norm(x: &Tensor) -> f64 {
    x.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[])
}

fn relative(found: f64, expected: f64) -> f64 {
    if found == expected { 0.0 } else { (found - expected).abs() / expected.abs() }
}

fn worst(found: &[f64], expected: impl Iterator<Item = f64>) -> f64 {
    found.iter().zip(expected).map(|(&found, expected)| relative(found, expected)).fold(0.0, f64::max)
}

/// Largest relative differences over some mini-steps.
#[derive(Debug, Default)]
struct Differences {
    loss: f64,
    gradient: f64,
    parameter: f64,
    moved: f64,
}

impl Differences {
    /// Adds a mini-step. TRL's numbers are first multiplied by `factor`.
    fn add(&mut self, trl: &MiniStep, factor: f64, norms: &[f64], report: &GrpoReport) {
        let parts = report.surrogate + report.penalty + report.indexer_loss;
        assert!(
            (report.loss - parts).abs() <= 1e-6 * parts.abs().max(1e-3),
            "the loss {} is its parts {parts}",
            report.loss
        );
        let total = norms.iter().map(|n| n * n).sum::<f64>().sqrt();
        self.loss = self.loss.max(relative(report.loss, trl.loss * factor));
        self.gradient = self.gradient.max(relative(total, trl.gradient_norm * factor));
        self.parameter = self.parameter.max(worst(norms, trl.parameters.iter().map(|norm| norm * factor)));
    }

    fn agree(&self) -> bool {
        self.moved <= MOVED_TOLERANCE && [self.loss, self.gradient, self.parameter].into_iter().all(|d| d <= TOLERANCE)
    }
}

/// What the surrogate and the KL report beside the loss. TRL averages such numbers over micro-batches, each with a mean of its own, so
/// they can be compared only where there is one.
fn check_statistics(case: &Case, trl: &MiniStep, report: &GrpoReport) {
    let (policy, name) = (&report.policy, &case.name);
    assert!((policy.clip_fraction_low() - trl.clip_low).abs() < 1e-6, "{name}: {policy:?} for {}", trl.clip_low);
    assert!((policy.clip_fraction_high() - trl.clip_high).abs() < 1e-6, "{name}: {policy:?} for {}", trl.clip_high);
    assert!(policy.clipped_low > 0.0 && policy.clipped_high > 0.0, "{name} does not clip");
    assert!((report.kl.mean() - trl.kl).abs() <= TOLERANCE * trl.kl, "{name}: {} for {}", report.kl.mean(), trl.kl);
    match case.settings.off_policy_mask_threshold {
        Some(_) => assert!((0.01..0.99).contains(&policy.masked_fraction()), "{name} masks {policy:?}"),
        None => assert_eq!(policy.masked, 0.0),
    }
    assert_eq!(policy.clipped_dual > 0.0, case.settings.delta.is_some(), "{name}: {policy:?}");
}

/// Repeats the mini-steps of a case, each from the weights that those before it left.
fn repeat(fixture: &Fixture, case: &Case, models: &Models) -> Differences {
    let step = Step::new(fixture, case, models);
    let settings = grpo_settings(&case.settings);
    let mut trainer = Trainer::new(&models.policy, &trainer_settings(&case.settings)).expect("numbers in range");
    let mut differences = Differences::default();
    for trl in &case.mini_steps {
        let (norms, report) = step.gradient(&fixture.parameters, &settings);
        differences.add(trl, 1.0, &norms, &report);
        if case.settings.gradient_accumulation_steps == 1 {
            check_statistics(case, trl, &report);
        }
        step.run(&mut trainer, &settings, case.settings.learning_rate);
    }
    differences.moved = worst(&models.moved(&fixture.parameters), case.moved.iter().copied());
    differences
}

/// The first mini-step of a case, under settings that need not be the case's.
fn first(fixture: &Fixture, case: &Case, models: &Models, settings: &GrpoSettings, factor: f64) -> Differences {
    let (norms, report) = Step::new(fixture, case, models).gradient(&fixture.parameters, settings);
    let mut differences = Differences::default();
    differences.add(&case.mini_steps[0], factor, &norms, &report);
    differences
}

fn masks_a_sample(case: &Case) -> bool {
    case.settings.mask_truncated_completions || case.rewards.iter().any(Option::is_none)
}

#[test]
fn agrees_with_trl() {
    let fixture = fixture();
    let (dense, sparse) = (Models::read(&fixture, false), Models::read(&fixture, true));
    let mut far = Vec::new();
    println!("| case | loss | gradient | worst parameter | weights moved |");
    for case in fixture.cases.iter().filter(|case| !masks_a_sample(case)) {
        let d = repeat(&fixture, case, if case.sparse { &sparse } else { &dense });
        println!("| {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |", case.name, d.loss, d.gradient, d.parameter, d.moved);
        if !d.agree() {
            far.push(&case.name);
        }
    }
    assert!(far.is_empty(), "further than {TOLERANCE} from TRL: {far:?}");
}

/// TRL counts a masked sample in its denominators (and one without a reward with its tokens), Temper nowhere (INV-9). The gradient is
/// the same but for that factor.
#[test]
fn inv_9_masked_samples_differ_from_trl_by_the_denominator_alone() {
    let fixture = fixture();
    let dense = Models::read(&fixture, false);
    let masked: Vec<&Case> = fixture.cases.iter().filter(|case| masks_a_sample(case)).collect();
    assert_eq!(masked.len(), 8, "two kinds of mask for each of four losses");
    for case in masked {
        let groups = groups(&fixture, case);
        let all = || groups.iter().flat_map(|group| &group.samples);
        let own = |s: &ScoredSample| s.trajectory.authors.iter().filter(|&&a| a == Author::Policy).count() as f64;
        let kept = || all().filter(|s| s.mask == Mask::None);
        assert!(kept().count() < all().count(), "{} masks nothing", case.name);
        let factor = match grpo_settings(&case.settings).aggregation {
            Aggregation::TokenMean if case.settings.mask_truncated_completions => 1.0,
            Aggregation::TokenMean => all().map(own).sum::<f64>() / kept().map(own).sum::<f64>(),
            _ => all().count() as f64 / kept().count() as f64,
        };
        let d = first(&fixture, case, &dense, &grpo_settings(&case.settings), factor);
        println!("| {} | × {factor:.4} | {:.1e} | {:.1e} | {:.1e} |", case.name, d.loss, d.gradient, d.parameter);
        assert!(d.agree(), "{}: {d:?}", case.name);
    }
}

/// TRL computes advantages in f32 and divides by the deviation plus 1e-4, as Temper's recipes do.
#[test]
fn advantages_agree_with_trl() {
    for case in &fixture().cases {
        let normalisation = match case.settings.scale_rewards.as_str() {
            "group" => Normalisation::Deviation { epsilon: DEVIATION_EPSILON },
            _ => Normalisation::None,
        };
        let size = case.rewards.len() / 3;
        for (rewards, expected) in case.rewards.chunks(size).zip(case.advantages.chunks(size)) {
            let found = group_advantages(rewards, normalisation).expect("finite rewards");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-6, "{}: {found} for {expected}", case.name);
            }
        }
    }
}

/// A tolerance that another formula also met would say nothing.
#[test]
fn another_formula_is_seen() {
    let fixture = fixture();
    let dense = Models::read(&fixture, false);
    let check = |name: &str, settings: &dyn Fn(&mut GrpoSettings)| {
        let case = fixture.cases.iter().find(|case| case.name == name).expect("a case of that name");
        let mut other = grpo_settings(&case.settings);
        settings(&mut other);
        let d = first(&fixture, case, &dense, &other, 1.0);
        assert!(d.loss > 100.0 * TOLERANCE && d.gradient > 100.0 * TOLERANCE, "{name}: {d:?} for {other:?}");
    };
    check("grpo/k3/scale_none", &|s| s.kl = KlEstimator::Unbiased);
    check("grpo/unbiased/scale_none", &|s| s.kl = KlEstimator::K3);
    check("grpo/no_kl/scale_none", &|s| s.aggregation = Aggregation::TokenMean);
    check("dapo/no_kl/scale_none", &|s| s.aggregation = Aggregation::SequenceMean);
    check("dr_grpo/no_kl/scale_none", &|s| s.aggregation = Aggregation::Constant { length: 13.0 });
    check("grpo/no_kl/scale_none", &|s| s.clip.low = 0.5);
    check("grpo/no_kl/scale_none", &|s| s.clip.high = 1.0);
    check("dapo/two_sided", &|s| s.clip.dual = None);
    check("grpo/off_policy_mask", &|s| s.off_policy_delta = None);
    check("grpo/temperature", &|s| s.inverse_temperature = 1.0);
}
