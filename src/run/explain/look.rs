//! What the log says of a step, and whether its parts follow from each other: rewards from verdicts, advantages from rewards, text from
//! tokens, log-probabilities from weights.

use data::{Author, Finish, Mask, ScoredGroup, ScoredSample, Status, Trajectory};
use learner::grpo::{GrpoReport, LiveIndexer, samples};
use learner::replay::{self, Exactness};

use super::found::{Explanation, Group, MiniStep, Number, Sample, Verdict, Weights};
use super::token;
use crate::exit::Failure;
use crate::recipe::Rl;
use crate::run::evaluate::CHECK_TOKENS;
use crate::run::rl_learner::{Learned, Learner, mini_step, useful_and_idle};
use crate::run::sample::text;
use crate::run::score::{advantages, rewards};
use crate::run::stage::Active;

/// What is known of a step before its weights move.
pub struct Looked {
    /// The weights' version.
    pub version: u64,
    /// The log-probabilities of every sample's own tokens under them, in the step's order.
    pub logp: Vec<Vec<f32>>,
}

impl Looked {
    /// Computes them.
    pub fn at(active: &Active<'_>, learner: &Learner, groups: &[ScoredGroup]) -> Self {
        let trajectories: Vec<&Trajectory> = groups.iter().flat_map(|g| &g.samples).map(|s| &s.trajectory).collect();
        let inverse_temperature = learner.settings.inverse_temperature;
        let logp = replay::log_probs(&active.model, &trajectories, inverse_temperature, CHECK_TOKENS);
        Self { version: active.version(), logp }
    }
}

/// The explanation but for what is compared with other files.
///
/// # Errors
/// [`crate::exit::Code::Verifier`] for rewards that have no advantage.
pub fn describe(
    active: &Active<'_>,
    learner: &Learner,
    groups: &[ScoredGroup],
    looked: &Looked,
    learned: &Learned,
) -> Result<Explanation, Failure> {
    let rl = active.stage.rl();
    let roles = roles(rl, groups);
    let mut number = 0;
    let described = groups.iter().zip(&roles).enumerate().map(|(at, (group, mini_step))| Group {
        number: at,
        prompt: group.prompt.id.clone(),
        domain: group.prompt.domain.clone(),
        version: group.version,
        mini_step: *mini_step,
        samples: group.samples.iter().map(|s| sample(s, &mut number, looked.version)).collect(),
    });
    Ok(Explanation {
        run: active.run.recipe.run.name.clone(),
        stage: active.stage.name.clone(),
        step: active.state.step + 1,
        last_step: 0,
        equal: false,
        weights: Weights { version: looked.version, ..Weights::default() },
        groups: described.collect(),
        mini_steps: mini_steps(active, learner, groups, learned),
        numbers: consistent(active, rl, groups, looked)?,
        tokens: Vec::new(),
    })
}

/// The mini-step that learns from each group.
pub fn roles(rl: &Rl, groups: &[ScoredGroup]) -> Vec<Option<usize>> {
    let (useful, _) = useful_and_idle(rl, groups);
    let size = mini_step(rl, useful.len());
    let mut at = 0;
    let role = |group: &ScoredGroup| {
        let learned = !useful_and_idle(rl, std::slice::from_ref(group)).0.is_empty();
        learned.then(|| {
            at += 1;
            (at - 1) / size
        })
    };
    groups.iter().map(role).collect()
}

fn sample(sample: &ScoredSample, number: &mut usize, version: u64) -> Sample {
    let trajectory = &sample.trajectory;
    let ages = trajectory.versions.iter().map(|v| version.saturating_sub(*v));
    *number += 1;
    Sample {
        number: *number - 1,
        reward: sample.reward,
        advantage: sample.advantage,
        mask: mask(sample.mask).into(),
        tokens: trajectory.completion_len(),
        finish: if trajectory.finish == Finish::Stop { "stop" } else { "length" }.into(),
        staleness: (ages.clone().min().unwrap_or(0), ages.max().unwrap_or(0)),
        verdicts: sample.verdicts.iter().map(|(name, v)| verdict(name, v)).collect(),
    }
}

fn verdict(verifier: &str, verdict: &data::Verdict) -> Verdict {
    let status = match verdict.status {
        Status::Pass => "pass",
        Status::Fail => "fail",
        Status::Undecided => "undecided",
        Status::Error => "error",
    };
    let (status, reason) = (status.into(), verdict.reason.clone());
    Verdict { verifier: verifier.into(), status, reward: verdict.reward, reason }
}

/// A mask by its name in the log.
pub fn mask(mask: Mask) -> &'static str {
    match mask {
        Mask::None => "none",
        Mask::VerifierError => "verifier_error",
        Mask::Undecided => "undecided",
        Mask::Overlong => "overlong",
    }
}

fn mini_steps(active: &Active<'_>, learner: &Learner, groups: &[ScoredGroup], learned: &Learned) -> Vec<MiniStep> {
    let rl = active.stage.rl();
    let (useful, _) = useful_and_idle(rl, groups);
    let parts =
        useful.chunks(mini_step(rl, useful.len())).map(|part| samples(part, |d| active.run.recipe.domains[d].kl_beta));
    let of = |(samples, report): (Vec<learner::grpo::Sample<'_>>, &GrpoReport)| {
        let coefficient = match learner.settings.indexer {
            LiveIndexer::Frozen => 0.0,
            LiveIndexer::Live(c) | LiveIndexer::Replay(c) => c,
        };
        let layers = active.model.config.num_hidden_layers as f64;
        let shares = token::shares(&samples, report, &learner.settings);
        MiniStep {
            samples: samples.len(),
            tokens: report.policy.tokens as usize,
            loss: report.loss,
            surrogate: report.surrogate,
            kl: report.penalty,
            indexer: coefficient * report.indexer_kl * layers,
            sum_over_tokens: shares.iter().map(|s| s.surrogate + s.kl).sum(),
            clipped_low: report.policy.clip_fraction_low(),
            clipped_high: report.policy.clip_fraction_high(),
            off_policy: report.policy.masked_fraction(),
            gradient_norms: report.groups.iter().map(|g| (g.name.clone(), g.gradient_norm)).collect(),
        }
    };
    parts.filter(|samples| !samples.is_empty()).zip(&learned.reports).map(of).collect()
}

/// Whether the parts of the log follow from each other.
fn consistent(active: &Active<'_>, rl: &Rl, groups: &[ScoredGroup], looked: &Looked) -> Result<Vec<Number>, Failure> {
    let (run, all) = (active.run, groups.iter().map(|g| g.samples.len()).sum());
    let (mut texts, mut composed, mut masks, mut advantaged) = (0, 0, 0, 0);
    for group in groups {
        let verdicts: Vec<_> = group.samples.iter().map(|s| s.verdicts.clone()).collect();
        let finishes: Vec<Finish> = group.samples.iter().map(|s| s.trajectory.finish).collect();
        let rewards = rewards(&run.recipe.domains[&group.prompt.domain], &verdicts, &finishes, rl.overlong_filter);
        let advantages = advantages(&rewards, rl.normalize_std)?;
        for ((sample, reward), advantage) in group.samples.iter().zip(&rewards).zip(advantages) {
            texts += usize::from(text(&run.tokenizer, &sample.trajectory).is_ok_and(|t| t == sample.text));
            composed += usize::from(sample.reward.map(f64::to_bits) == reward.value.map(f64::to_bits));
            masks += usize::from(sample.mask == reward.mask);
            advantaged += usize::from(sample.advantage.to_bits() == advantage.to_bits());
        }
    }
    let mut numbers = vec![
        Number::counted("text, from tokens", texts, all, "samples"),
        Number::counted("rewards, from verdicts", composed, all, "samples"),
        Number::counted("masks, from verdicts", masks, all, "samples"),
        Number::counted("advantages, from rewards", advantaged, all, "samples"),
        bounded(rl, groups, looked.version),
    ];
    // With caches that outlive a swap, a token's log-probability is no function of one version's weights.
    if run.recipe.run.exact {
        numbers.push(sampled_again(groups, looked));
    }
    Ok(numbers)
}

fn bounded(rl: &Rl, groups: &[ScoredGroup], version: u64) -> Number {
    let versions = groups.iter().flat_map(|g| &g.samples).flat_map(|s| &s.trajectory.versions);
    let within = |v: &&u64| **v <= version && version - **v <= rl.max_staleness;
    let (all, fit) = (versions.clone().count(), versions.filter(within).count());
    Number::counted("staleness within its bound", fit, all, "tokens")
}

/// The sampler's log-probabilities of what the weights before the step sampled, beside the learner's.
fn sampled_again(groups: &[ScoredGroup], looked: &Looked) -> Number {
    let (mut all, mut equal) = (0, 0);
    for (sample, learner) in groups.iter().flat_map(|g| &g.samples).zip(&looked.logp) {
        let found = Exactness::of_version(looked.version, &[&sample.trajectory], learner);
        all += found.tokens_compared as usize;
        let t = &sample.trajectory;
        let own = (0..t.completion_len()).filter(|i| t.authors[t.prompt_len + i] == Author::Policy);
        let same = own
            .zip(learner)
            .filter(|(i, l)| t.versions[*i] == looked.version && t.logprobs[*i].to_bits() == l.to_bits());
        equal += same.count();
    }
    Number::counted("log-probabilities of this version", equal, all, "tokens")
}

/// How old the tokens were that a step of weights of `version` learned from: mean, largest, and tokens of each age.
pub fn staleness(groups: &[ScoredGroup], version: u64, bound: u64) -> Vec<(String, f64)> {
    let versions = groups.iter().flat_map(|g| &g.samples).flat_map(|s| &s.trajectory.versions);
    let ages: Vec<u64> = versions.map(|v| version.saturating_sub(*v)).collect();
    let sum: u64 = ages.iter().sum();
    let mut found = vec![
        ("training/staleness_mean".to_owned(), sum as f64 / ages.len().max(1) as f64),
        ("training/staleness_max".into(), ages.iter().copied().max().unwrap_or(0) as f64),
    ];
    let of_age = |age: u64| ages.iter().filter(|a| **a == age).count() as f64;
    found.extend((0..=bound).map(|age| (format!("training/staleness_tokens/{age}"), of_age(age))));
    found
}
