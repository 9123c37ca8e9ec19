//! From verdicts to rewards, and from rewards to advantages.
//!
//! The reward is the weighted sum of the verifiers' rewards, and 0 where a gate does not pass. A verifier that could not run leaves the
//! sample without a reward, and a sample without a reward is masked: it is in no mean and in no loss (INV-9).

use data::{Finish, Mask, Status, Verdict};
use learner::advantage::{Normalisation, group_advantages};

use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Domain, Undecided};

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

/// Composes the reward of one sample of a domain.
pub fn reward(domain: &Domain, verdicts: &[(String, Verdict)], finish: Finish, overlong_filter: bool) -> Reward {
    if verdicts.iter().any(|(_, v)| v.status == Status::Error) {
        return Reward { value: None, mask: Mask::VerifierError };
    }
    if domain.undecided == Undecided::Mask && verdicts.iter().any(|(_, v)| v.status == Status::Undecided) {
        return Reward { value: None, mask: Mask::Undecided };
    }
    let gated = domain.verifiers.iter().zip(verdicts).any(|(entry, (_, v))| entry.gate && v.status != Status::Pass);
    let sum = domain.verifiers.iter().zip(verdicts).map(|(entry, (_, v))| entry.weight * v.reward.unwrap_or(0.0)).sum();
    let mask = if overlong_filter && finish == Finish::Length { Mask::Overlong } else { Mask::None };
    Reward { value: Some(if gated { 0.0 } else { sum }), mask }
}

/// True where the sample counts as right in an evaluation: the domain's first verifier passes it, and so does every gate. `None` where a
/// verifier could not run.
pub fn passes(domain: &Domain, verdicts: &[(String, Verdict)]) -> Option<bool> {
    if verdicts.is_empty() || verdicts.iter().any(|(_, v)| v.status == Status::Error) {
        return None;
    }
    let needed = domain.verifiers.iter().zip(verdicts).enumerate().filter(|(i, (entry, _))| *i == 0 || entry.gate);
    Some(needed.map(|(_, (_, (_, v)))| v.status).all(|status| status == Status::Pass))
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
    use super::*;
    use crate::recipe::{VerifierEntry, VerifierName};

    fn domain(entries: &[(VerifierName, f64, bool)], undecided: Undecided) -> Domain {
        let entry = |&(name, weight, gate): &(VerifierName, f64, bool)| VerifierEntry {
            name,
            weight,
            gate,
            settings: toml::Table::new(),
        };
        Domain { verifiers: entries.iter().map(entry).collect(), undecided, ..Domain::default() }
    }

    fn named(verdicts: Vec<Verdict>) -> Vec<(String, Verdict)> {
        verdicts.into_iter().map(|v| ("x".to_owned(), v)).collect()
    }

    #[test]
    fn inv_9_an_error_is_never_a_reward() {
        let domain = domain(&[(VerifierName::Math, 1.0, false), (VerifierName::Format, 0.5, false)], Undecided::Zero);
        let verdicts = named(vec![Verdict::pass("a", ""), Verdict::error("a", "")]);
        let got = reward(&domain, &verdicts, Finish::Stop, false);
        assert_eq!(got, Reward { value: None, mask: Mask::VerifierError });
        assert_eq!(passes(&domain, &verdicts), None);
        let others =
            [Reward { value: Some(1.0), mask: Mask::None }, Reward { value: Some(0.0), mask: Mask::None }, got];
        assert_eq!(advantages(&others, false).expect("finite"), [0.5, -0.5, 0.0]);
    }

    #[test]
    fn weights_gates_and_undecided() {
        let entries = [(VerifierName::Math, 1.0, false), (VerifierName::Format, 0.5, true)];
        let value = |undecided, math, format| {
            reward(&domain(&entries, undecided), &named(vec![math, format]), Finish::Stop, false)
        };
        let (pass, fail) = (|| Verdict::pass("a", ""), || Verdict::fail("a", ""));
        assert_eq!(value(Undecided::Zero, pass(), pass()).value, Some(1.5));
        assert_eq!(value(Undecided::Zero, pass(), fail()).value, Some(0.0));
        assert_eq!(value(Undecided::Zero, Verdict::undecided("a", ""), pass()).value, Some(0.5));
        assert_eq!(value(Undecided::Mask, Verdict::undecided("a", ""), pass()).mask, Mask::Undecided);
        let overlong = reward(&domain(&entries, Undecided::Zero), &named(vec![pass(), pass()]), Finish::Length, true);
        assert_eq!(overlong.mask, Mask::Overlong);
    }
}
