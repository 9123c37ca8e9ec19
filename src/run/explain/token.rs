//! One token of a step: what the sampler and the learner had of it, and what it did to the loss.

use data::{Author, Mask, ScoredGroup, ScoredSample, Trajectory};
use learner::grpo::{GrpoReport, GrpoSettings, Sample, samples};
use learner::losses::kl::KlEstimator;
use serde::Serialize;

use super::look::{Looked, mask, roles};
use crate::exit::{Code, Failure};
use crate::run::rl_learner::{Learned, Learner};
use crate::run::stage::Active;

/// A token, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// Its sample's number in the step.
    pub sample: usize,
    /// Its place in the completion, from 0.
    pub position: usize,
    /// Its id.
    pub id: u32,
    /// What it stands for.
    pub text: String,
    /// True where the policy wrote it.
    pub own: bool,
    /// The weights version that sampled it.
    pub version: u64,
    /// The natural log-probability that the sampler recorded.
    pub sampler: f32,
    /// The learner's, under the weights before the step.
    pub learner: Option<f32>,
    /// Whether the two are the same bits, where the weights before the step sampled it.
    pub equal: Option<bool>,
    /// Tokens that the sampler kept here; none where nothing was cut.
    pub kept: Option<usize>,
    /// Its sample's advantage.
    pub advantage: f32,
    /// Why its sample is left out of the loss; `none` where it is not.
    pub mask: String,
    /// What it did in the loss; none where it is in none.
    pub share: Option<Share>,
    /// The keys that the indexer selected, by layer, as positions in the sequence; none where they were not recorded.
    pub selected: Option<Vec<Vec<i32>>>,
    /// The experts that the token before this one went through, whose row predicts this one, by layer that has any; none where they were not
    /// recorded.
    pub experts: Option<Vec<Vec<u16>>>,
}

/// What a token did in its mini-step's loss, from the formulas in f64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Share {
    /// The mini-step, from 0. After the first the weights have moved.
    pub mini_step: usize,
    /// The learner's log-probability in that mini-step.
    pub logp: f64,
    /// That of the reference, where there is one.
    pub ref_logp: Option<f64>,
    /// `π_θ / π_old`.
    pub ratio: f64,
    /// True where a bound on the ratio stops its gradient.
    pub clipped: bool,
    /// True where the off-policy mask dropped its sequence.
    pub off_policy: bool,
    /// Its weight in the loss.
    pub weight: f64,
    /// Its part of the surrogate.
    pub surrogate: f64,
    /// Its part of the KL penalty.
    pub kl: f64,
}

/// Where a token is: its group, its sample in that, the sample's number in the step, and its place in the completion.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    group: usize,
    sample: usize,
    number: usize,
    position: usize,
}

/// Finds the tokens that were asked for.
///
/// # Errors
/// [`Code::Usage`] for one that is not there.
pub fn places(groups: &[ScoredGroup], asked: &[(usize, usize)]) -> Result<Vec<Place>, Failure> {
    let numbered = |g: (usize, &ScoredGroup)| (0..g.1.samples.len()).map(move |s| (g.0, s)).collect::<Vec<_>>();
    let all: Vec<(usize, usize)> = groups.iter().enumerate().flat_map(numbered).collect();
    let find = |&(number, position): &(usize, usize)| {
        let usage = |message: String| Failure::new(Code::Usage, format!("--token {number}:{position}: {message}"));
        let (group, sample) =
            *all.get(number).ok_or_else(|| usage(format!("the step has {} samples, from 0", all.len())))?;
        let tokens = groups[group].samples[sample].trajectory.completion_len();
        if position >= tokens {
            return Err(usage(format!("the sample's completion has {tokens} tokens, from 0")));
        }
        Ok(Place { group, sample, number, position })
    };
    asked.iter().map(find).collect()
}

/// Explains a token.
pub fn explain(
    active: &Active<'_>,
    learner: &Learner,
    groups: &[ScoredGroup],
    looked: &Looked,
    learned: &Learned,
    at: Place,
) -> Token {
    let sample = &groups[at.group].samples[at.sample];
    let t = &sample.trajectory;
    let (i, row) = (at.position, t.prompt_len + at.position);
    let id = t.tokens[row];
    let own = own_before(t, i + 1) - own_before(t, i) == 1;
    let learner_logp = own.then(|| looked.logp[at.number][own_before(t, i)]);
    let ours = t.versions[i] == looked.version;
    Token {
        sample: at.number,
        position: i,
        id,
        text: active.run.tokenizer.decode(&[id], false).unwrap_or_default(),
        own,
        version: t.versions[i],
        sampler: t.logprobs[i],
        learner: learner_logp,
        equal: learner_logp.filter(|_| ours).map(|l| l.to_bits() == t.logprobs[i].to_bits()),
        kept: t.kept.row(i).map(<[u32]>::len),
        advantage: sample.advantage,
        mask: mask(sample.mask).into(),
        share: own.then(|| share(active, learner, groups, learned, at, sample)).flatten(),
        selected: t.selections.as_ref().map(|s| {
            // The row that is fed the token before predicts this one.
            let of_row = |layer: &Vec<i32>| layer[(row - 1) * s.top_k..row * s.top_k].to_vec();
            s.layers.iter().map(of_row).map(|keys| keys.into_iter().filter(|k| *k >= 0).collect()).collect()
        }),
        experts: t.routing.as_ref().map(|r| {
            let of_row = |layer: &Vec<u16>| layer[(row - 1) * r.top_k..row * r.top_k].to_vec();
            r.layers.iter().map(of_row).collect()
        }),
    }
}

/// The policy's own tokens among the first `end` of a completion.
fn own_before(t: &Trajectory, end: usize) -> usize {
    t.authors[t.prompt_len..t.prompt_len + end].iter().filter(|a| **a == Author::Policy).count()
}

/// A token's part in its mini-step.
fn share(
    active: &Active<'_>,
    learner: &Learner,
    groups: &[ScoredGroup],
    learned: &Learned,
    at: Place,
    sample: &ScoredSample,
) -> Option<Share> {
    let roles = roles(active.stage.rl(), groups);
    let mini = roles[at.group].filter(|_| sample.mask == Mask::None)?;
    let part: Vec<ScoredGroup> =
        groups.iter().zip(&roles).filter(|(_, role)| **role == Some(mini)).map(|(g, _)| g.clone()).collect();
    let all = samples(&part, |domain| active.run.recipe.domains[domain].kl_beta);
    let before: usize = groups[..at.group]
        .iter()
        .zip(&roles)
        .filter(|(_, role)| **role == Some(mini))
        .flat_map(|(g, _)| &g.samples)
        .chain(&groups[at.group].samples[..at.sample])
        .filter(|s| s.mask == Mask::None)
        .map(|s| own_before(&s.trajectory, s.trajectory.completion_len()))
        .sum();
    // A mini-step whose samples are all masked is left out, and has no report.
    let skipped = (0..mini).filter(|m| {
        let of = groups.iter().zip(&roles).filter(|(_, role)| **role == Some(*m)).flat_map(|(g, _)| &g.samples);
        of.into_iter().all(|s| s.mask != Mask::None)
    });
    let report = learned.reports.get(mini - skipped.count())?;
    let shares = shares(&all, report, &learner.settings);
    let found = shares.get(before + own_before(&sample.trajectory, at.position))?;
    Some(Share { mini_step: mini, ..*found })
}

/// What every trained token of a mini-step did to its loss.
pub fn shares(samples: &[Sample<'_>], report: &GrpoReport, settings: &GrpoSettings) -> Vec<Share> {
    let own = samples.iter().flat_map(|s| {
        let t = s.trajectory;
        let of_policy = move |i: &usize| t.authors[t.prompt_len + i] == Author::Policy;
        (0..t.completion_len()).filter(of_policy).map(move |i| (s, f64::from(t.logprobs[i])))
    });
    own.zip(0..).map(|((sample, old), at)| of_token(sample, old, report, settings, at)).collect()
}

fn of_token(sample: &Sample<'_>, old: f64, report: &GrpoReport, settings: &GrpoSettings, at: usize) -> Share {
    let (terms, clip) = (&report.tokens, &settings.clip);
    let logp = f64::from(terms.logp[at]);
    let (weight, kept) = (f64::from(terms.weight[at]), terms.kept[at] != 0.0);
    let (ratio, a) = ((logp - old).exp(), sample.advantage);
    let mut objective = (ratio * a).min(ratio.clamp(1.0 - clip.low, 1.0 + clip.high) * a);
    let mut clipped = a < 0.0 && ratio < 1.0 - clip.low || a > 0.0 && ratio > 1.0 + clip.high;
    if let Some(c) = clip.dual.filter(|c| a < 0.0 && ratio > *c) {
        (objective, clipped) = (c * a, true);
    }
    let ref_logp = terms.ref_logp.get(at).filter(|l| !l.is_nan()).map(|l| f64::from(*l));
    let kl = ref_logp.map_or(0.0, |r| {
        let log_x = r - logp;
        match settings.kl {
            KlEstimator::Unbiased => ratio * (log_x.exp_m1() - log_x),
            KlEstimator::K1 => -log_x,
            KlEstimator::K2 => 0.5 * log_x * log_x,
            KlEstimator::K3 => log_x.exp_m1() - log_x,
        }
    });
    Share {
        mini_step: 0,
        logp,
        ref_logp,
        ratio,
        clipped,
        off_policy: !kept,
        weight,
        surrogate: if kept { -weight * objective } else { 0.0 },
        kl: weight * sample.beta * kl,
    }
}
