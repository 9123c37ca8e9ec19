//! Several verifiers on one completion, and what their verdicts come to.
//!
//! Weights, gates, clipping, routing by data source, group-relative rewards and second opinions are the recipe's matter and
//! not a verifier's. Verifiers say what they see; this says what it is worth.

use data::{Item, Status, Verdict};
use serde::{Deserialize, Serialize};

use crate::{Together, Verifier};

/// What a verdict `undecided` means for the reward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undecided {
    /// It counts as wrong.
    #[default]
    Zero,
    /// The sample leaves the loss.
    Mask,
}

/// How a verifier's rewards depend on those of the other samples of the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relative {
    /// They do not.
    #[default]
    None,
    /// The share of the other samples that the sample beats; a tie is half a win. In [0, 1].
    Rank,
    /// 1 for the best samples, 0 for the others.
    Best,
    /// The reward minus the mean of the group.
    Mean,
}

/// What the verdicts of one verifier are worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Worth {
    /// Names the verdicts; no other entry has it.
    pub label: String,
    /// Factor of the reward in the sum.
    pub weight: f64,
    /// Whether a verdict other than pass takes the whole reward to 0.
    pub gate: bool,
    /// Bounds of the reward before it is weighted.
    pub clip: Option<[f64; 2]>,
    /// Only samples of these sources are judged, `*` at the end standing for any rest; empty: all.
    pub data_sources: Vec<String>,
    /// Whether the reward is taken relative to the group, after clipping.
    pub relative: Relative,
    /// Its verdict takes the place of the undecided ones of this label, and it is asked about no others.
    pub decides: Option<String>,
}

impl Worth {
    /// Weight 1 and nothing else.
    pub fn of(label: &str) -> Self {
        Self {
            label: label.into(),
            weight: 1.0,
            gate: false,
            clip: None,
            data_sources: Vec::new(),
            relative: Relative::None,
            decides: None,
        }
    }

    /// Whether samples of this source are judged.
    fn takes(&self, source: Option<&str>) -> bool {
        let source = source.unwrap_or_default();
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => source.starts_with(start),
            None => source == pattern,
        };
        self.data_sources.is_empty() || self.data_sources.iter().any(matches)
    }
}

/// How verdicts become a reward.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What each verifier's verdicts are worth, in the recipe's order.
    pub worth: Vec<Worth>,
    /// What a verdict `undecided` means.
    pub undecided: Undecided,
    /// Bounds of the reward as a whole.
    pub clip: Option<[f64; 2]>,
}

/// What the verifiers said of one sample: label and verdict. A verifier that was not asked is not there.
pub type Verdicts = Vec<(String, Verdict)>;

/// What the verdicts on a sample come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Composed {
    /// A reward.
    Reward(f64),
    /// None, because a verifier could not tell and such samples are masked.
    Undecided,
    /// None, because a verifier could not run (INV-9).
    Error,
}

impl Rules {
    /// The rewards of a group, which are all samples of one prompt:
    ///
    /// R = clip(Σ w · relative(clip(r))) over the verifiers that were asked, or 0 where a gate did not pass.
    ///
    /// A sample that gets no reward is no member of the group: what one verifier said of it does not move the rank, the best or the
    /// mean of the others.
    pub fn compose(&self, group: &[Verdicts]) -> Vec<Composed> {
        let counted: Vec<bool> =
            group.iter().map(|verdicts| matches!(self.one(verdicts, 0.0), Composed::Reward(_))).collect();
        let mut sums = vec![0.0; group.len()];
        for worth in &self.worth {
            let of = |(verdicts, counted): (&Verdicts, &bool)| {
                self.verdict(worth, verdicts).filter(|_| *counted).and_then(|v| reward(worth, v))
            };
            let rewards: Vec<Option<f64>> = group.iter().zip(&counted).map(of).collect();
            for (sum, reward) in sums.iter_mut().zip(relative(worth.relative, &rewards)) {
                *sum += worth.weight * reward.unwrap_or(0.0);
            }
        }
        group.iter().zip(sums).map(|(verdicts, sum)| self.one(verdicts, sum)).collect()
    }

    /// What the verdicts on one sample come to, where its rewards add up to `sum`.
    fn one(&self, verdicts: &Verdicts, sum: f64) -> Composed {
        // A domain that is only distilled or read has no verifiers, and its samples are none the worse for it.
        if self.worth.is_empty() {
            return Composed::Reward(0.0);
        }
        let asked: Vec<(&Worth, &Verdict)> =
            self.worth.iter().filter_map(|worth| Some((worth, self.verdict(worth, verdicts)?))).collect();
        if asked.is_empty() || verdicts.iter().any(|(_, verdict)| verdict.status == Status::Error) {
            return Composed::Error;
        }
        if self.undecided == Undecided::Mask && asked.iter().any(|(_, verdict)| verdict.status == Status::Undecided) {
            return Composed::Undecided;
        }
        let gated = asked.iter().any(|(worth, verdict)| worth.gate && verdict.status != Status::Pass);
        Composed::Reward(clip(self.clip, if gated { 0.0 } else { sum }))
    }

    /// Whether the sample counts as right: the first verifier that was asked passes it, and so does every gate. `None`
    /// where a verifier could not run.
    pub fn passes(&self, verdicts: &Verdicts) -> Option<bool> {
        if verdicts.iter().any(|(_, verdict)| verdict.status == Status::Error) {
            return None;
        }
        let mut asked = self.worth.iter().filter_map(|worth| Some((worth, self.verdict(worth, verdicts)?)));
        let (_, first) = asked.next()?;
        let mut gates = asked.filter(|(worth, _)| worth.gate);
        Some(first.status == Status::Pass && gates.all(|(_, verdict)| verdict.status == Status::Pass))
    }

    /// The verdict that counts for an entry: its own, or the second opinion that took its place. `None` where it was not
    /// asked, and for second opinions themselves: they count where they decide.
    fn verdict<'a>(&self, worth: &Worth, verdicts: &'a Verdicts) -> Option<&'a Verdict> {
        if worth.decides.is_some() {
            return None;
        }
        let find = |label: &str| verdicts.iter().find(|(name, _)| name == label).map(|(_, verdict)| verdict);
        let own = find(&worth.label)?;
        if own.status != Status::Undecided {
            return Some(own);
        }
        let opinions = self.worth.iter().filter(|other| other.decides.as_deref() == Some(&worth.label));
        opinions.filter_map(|other| find(&other.label)).find(|v| v.status != Status::Undecided).or(Some(own))
    }
}

fn reward(worth: &Worth, verdict: &Verdict) -> Option<f64> {
    verdict.reward.map(|reward| clip(worth.clip, reward))
}

fn clip(bounds: Option<[f64; 2]>, value: f64) -> f64 {
    // Not `clamp`, which panics where the bounds are the wrong way round.
    bounds.map_or(value, |[low, high]| value.max(low).min(high))
}

/// Rewards relative to the others of the group that have one.
fn relative(how: Relative, rewards: &[Option<f64>]) -> Vec<Option<f64>> {
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    let best = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let rank = |reward: f64| {
        let below = known.iter().filter(|other| **other < reward).count() as f64;
        let ties = known.iter().filter(|other| **other == reward).count() as f64 - 1.0;
        // Alone there is no one to beat.
        (below + 0.5 * ties) / (known.len() as f64 - 1.0).max(1.0)
    };
    let of = |reward: f64| match how {
        Relative::None => reward,
        Relative::Rank => rank(reward),
        Relative::Best => f64::from(u8::from(reward == best)),
        Relative::Mean => reward - mean,
    };
    rewards.iter().map(|reward| reward.map(of)).collect()
}

/// The verifiers of a domain, each with what its verdicts are worth.
pub struct Panel {
    members: Vec<(Worth, Box<dyn Verifier>)>,
}

impl Panel {
    /// A panel of these.
    pub fn new(members: Vec<(Worth, Box<dyn Verifier>)>) -> Self {
        Self { members }
    }

    /// Every label, in order.
    pub fn labels(&self) -> Vec<String> {
        self.members.iter().map(|(worth, _)| worth.label.clone()).collect()
    }

    /// What each verifier that is for an item says of it. An item that none is for gets an error.
    pub fn judge(&self, items: &[Item]) -> Vec<Verdicts> {
        let mut all: Vec<Verdicts> = vec![Vec::with_capacity(self.members.len()); items.len()];
        for (worth, verifier) in &self.members {
            let asked: Vec<usize> = (0..items.len()).filter(|&i| is_asked(worth, &items[i], &all[i])).collect();
            if asked.is_empty() {
                continue;
            }
            // One that looks at groups is shown the whole group, whatever part of it is asked about.
            let shown: Vec<usize> = match verifier.together() {
                Together::Groups => {
                    (0..items.len()).filter(|&i| worth.takes(items[i].data_source.as_deref())).collect()
                }
                _ => asked.clone(),
            };
            let verdicts = match shown.len() == items.len() {
                true => verifier.verify(items),
                false => verifier.verify(&shown.iter().map(|&i| items[i].clone()).collect::<Vec<_>>()),
            };
            for (i, verdict) in shown.into_iter().zip(verdicts).filter(|(i, _)| asked.contains(i)) {
                all[i].push((worth.label.clone(), verdict));
            }
        }
        if self.members.is_empty() {
            return all;
        }
        for (verdicts, item) in all.iter_mut().zip(items).filter(|(verdicts, _)| verdicts.is_empty()) {
            let label = self.members.first().map_or_else(String::new, |(worth, _)| worth.label.clone());
            let source = item.data_source.as_deref().unwrap_or_default();
            let reason = format!("no verifier of the domain is for the data source `{source}`");
            verdicts.push((label, Verdict::error(&item.id, reason)));
        }
        all
    }
}

fn is_asked(worth: &Worth, item: &Item, so_far: &Verdicts) -> bool {
    let open = |label: &String| so_far.iter().any(|(name, v)| name == label && v.status == Status::Undecided);
    worth.takes(item.data_source.as_deref()) && worth.decides.as_ref().is_none_or(open)
}

#[cfg(test)]
mod tests;
