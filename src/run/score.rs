//! From verdicts to rewards, and from rewards to advantages.
//!
//! How verdicts add up is `verifiers::compose`'s matter. A verifier that could not run leaves the sample without a reward, and a sample
//! without a reward is masked: it is in no mean and in no loss (INV-9).

use data::{Finish, Mask};
use learner::advantage::{Normalisation, group_advantages};
use verifiers::compose::{Composed, Verdicts};

use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Domain;

/// Keeps the quotient bounded where a group's rewards nearly agree.
const DEVIATION_EPSILON: f64 = 1e-4;

/// A sample's reward and why it has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reward {
    /// The reward.
    pub value: Option<f64>,
    /// Why the sample leaves the loss.
    pub mask: Mask,
}

/// Composes the rewards of a group of a domain, each sample with what was said of it and why it ended.
pub fn rewards(domain: &Domain, group: &[Verdicts], finishes: &[Finish], overlong_filter: bool) -> Vec<Reward> {
    let composed = domain.rules().compose(group);
    let reward = |(composed, finish): (Composed, &Finish)| match composed {
        Composed::Error => Reward { value: None, mask: Mask::VerifierError },
        Composed::Undecided => Reward { value: None, mask: Mask::Undecided },
        Composed::Reward(value) => {
            let overlong = overlong_filter && *finish == Finish::Length;
            Reward { value: Some(value), mask: if overlong { Mask::Overlong } else { Mask::None } }
        }
    };
    composed.into_iter().zip(finishes).map(reward).collect()
}

/// True where the sample counts as right in an evaluation: the domain's first verifier that judged it passes it, and so does every gate.
/// `None` where a verifier could not run.
pub fn passes(domain: &Domain, verdicts: &Verdicts) -> Option<bool> {
    domain.rules().passes(verdicts)
}

/// Advantages of a group; masked samples get 0 and are in no mean.
///
/// # Errors
/// [`Code::Verifier`] for a reward that is not finite.
pub fn advantages(rewards: &[Reward], normalize_std: bool) -> Result<Vec<f32>, Failure> {
    let normalisation =
        if normalize_std { Normalisation::Deviation { epsilon: DEVIATION_EPSILON } } else { Normalisation::None };
    let unmasked: Vec<Option<f64>> = rewards.iter().map(|r| r.value.filter(|_| r.mask == Mask::None)).collect();
    let advantages = group_advantages(&unmasked, normalisation).or_fail(Code::Verifier)?;
    Ok(advantages.into_iter().map(|a| a as f32).collect())
}

#[cfg(test)]
mod tests {
    use data::Verdict;
    use verifiers::compose::Undecided;

    use super::*;
    use crate::recipe::Recipe;

    fn domain(verifiers: &str) -> Domain {
        let text = format!(
            "[model]\ncheckpoint = 'x'\n[domains.d]\ntrain = [{{ generator = 'arithmetic' }}]\nverifiers = [{verifiers}]\n\
             [[stages]]\nname = 's'\nkind = 'rl'\nsteps = 1\noptimizer.lr = 1.0"
        );
        Recipe::parse(&text, "r.toml", &[]).expect("it is sound").domains["d"].clone()
    }

    fn of(math: Verdict, format: Verdict) -> Verdicts {
        vec![("math".into(), math), ("format".into(), format)]
    }

    fn pass() -> Verdict {
        Verdict::pass("a", "")
    }

    #[test]
    fn inv_9_an_error_is_never_a_reward() {
        let domain = domain("{ name = 'math' }, { name = 'format', weight = 0.5 }");
        let broken = of(pass(), Verdict::error("a", ""));
        let group = [of(pass(), pass()), of(Verdict::fail("a", ""), pass()), broken.clone()];
        let got = rewards(&domain, &group, &[Finish::Stop; 3], false);
        assert_eq!(got[2], Reward { value: None, mask: Mask::VerifierError });
        assert_eq!(passes(&domain, &broken), None);
        assert_eq!(advantages(&got, false).expect("finite"), [0.5, -0.5, 0.0]);
    }

    #[test]
    fn a_recipe_says_what_verdicts_are_worth() {
        let mut domain = domain("{ name = 'math' }, { name = 'format', weight = 0.5, gate = true }");
        let undecided = of(Verdict::undecided("a", ""), pass());
        let group = [of(pass(), pass()), of(pass(), Verdict::fail("a", "")), undecided, of(pass(), pass())];
        let finishes = [Finish::Stop, Finish::Stop, Finish::Stop, Finish::Length];
        let values = |domain: &Domain, filter| {
            let rewards = rewards(domain, &group, &finishes, filter);
            rewards.into_iter().map(|r| (r.value, r.mask)).collect::<Vec<_>>()
        };
        let mut expected =
            vec![(Some(1.5), Mask::None), (Some(0.0), Mask::None), (Some(0.5), Mask::None), (Some(1.5), Mask::None)];
        assert_eq!(values(&domain, false), expected);
        domain.undecided = Undecided::Mask;
        expected[2] = (None, Mask::Undecided);
        expected[3].1 = Mask::Overlong;
        assert_eq!(values(&domain, true), expected);
    }
}
