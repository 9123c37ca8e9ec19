//! Advantages of a group: each sample's reward against its group's.

/// Whether advantages are divided by the group's deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalisation {
    /// `A_i = R_i − mean(R)`: DeepSeek-V3.2 and Dr. GRPO.
    None,
    /// `A_i = (R_i − mean(R)) / (std(R) + epsilon)`, with the deviation of a sample (`n − 1`): GRPO as first published
    /// (arXiv 2402.03300).
    Deviation {
        /// Keeps the quotient bounded where the rewards nearly agree.
        epsilon: f64,
    },
}

/// A reward that is not a number.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "sample {sample} of the group has the reward {reward}: a reward must be finite; a verifier that cannot tell must \
     answer with an error or undecided verdict, which masks the sample"
)]
pub struct RewardError {
    /// Which sample of the group, from 0.
    pub sample: usize,
    /// What it had.
    pub reward: f64,
}

/// The advantage of each sample. `None` is a sample without a reward (masked): it is neither in the mean nor in the
/// deviation, and its advantage is 0 (INV-9).
///
/// A group whose rewards all agree gives exactly 0, which a rounded mean would not (three times 0.1 over 3 is not 0.1).
///
/// # Errors
/// [`RewardError`] for a reward that is NaN or infinite.
pub fn group_advantages(rewards: &[Option<f64>], normalisation: Normalisation) -> Result<Vec<f64>, RewardError> {
    for (sample, reward) in rewards.iter().enumerate() {
        if let Some(reward) = *reward
            && !reward.is_finite()
        {
            return Err(RewardError { sample, reward });
        }
    }
    if !has_signal(rewards) {
        return Ok(vec![0.0; rewards.len()]);
    }
    let present: Vec<f64> = rewards.iter().flatten().copied().collect();
    let mean = present.iter().sum::<f64>() / present.len() as f64;
    let divisor = match normalisation {
        Normalisation::None => 1.0,
        Normalisation::Deviation { epsilon } => {
            let squares: f64 = present.iter().map(|reward| (reward - mean).powi(2)).sum();
            (squares / (present.len() - 1) as f64).sqrt() + epsilon
        }
    };
    Ok(rewards.iter().map(|reward| reward.map_or(0.0, |reward| (reward - mean) / divisor)).collect())
}

/// Dynamic sampling's test (DAPO, arXiv 2503.14476): true if two rewards of the group differ. A group without that has
/// only zero advantages; it is put aside and another prompt takes its place.
pub fn has_signal(rewards: &[Option<f64>]) -> bool {
    let mut present = rewards.iter().flatten();
    present.next().is_some_and(|first| present.any(|reward| reward != first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BY_DEVIATION: Normalisation = Normalisation::Deviation { epsilon: 0.0 };

    #[test]
    fn subtracts_the_mean_of_the_samples_that_count() {
        let rewards = [Some(1.0), None, Some(0.0), Some(0.5), Some(0.5)];
        let plain = group_advantages(&rewards, Normalisation::None).expect("finite");
        assert_eq!(plain, [0.5, 0.0, -0.5, 0.0, 0.0]);
        // By hand: squares 0.25 + 0.25 over n − 1 = 3.
        let scaled = group_advantages(&rewards, BY_DEVIATION).expect("finite");
        let deviation = (0.5f64 / 3.0).sqrt();
        assert_eq!(scaled, [0.5 / deviation, 0.0, -0.5 / deviation, 0.0, 0.0]);
    }

    #[test]
    fn inv_9_an_error_is_never_a_reward() {
        let with = group_advantages(&[Some(1.0), Some(0.0), None], Normalisation::None).expect("finite");
        let without = group_advantages(&[Some(1.0), Some(0.0)], Normalisation::None).expect("finite");
        assert_eq!(with[..2], without);
        assert_eq!(with[2], 0.0);
        let error = group_advantages(&[Some(1.0), Some(f64::NAN)], Normalisation::None).expect_err("NaN");
        assert_eq!(error.sample, 1);
    }

    #[test]
    fn agreement_gives_exactly_zero() {
        let rewards = [Some(0.1); 3];
        assert_ne!((0.1 + 0.1 + 0.1) / 3.0, 0.1, "the case is one where a rounded mean would not cancel");
        for normalisation in [Normalisation::None, Normalisation::Deviation { epsilon: 1e-6 }] {
            assert_eq!(group_advantages(&rewards, normalisation), Ok(vec![0.0; 3]));
        }
        assert_eq!(group_advantages(&[None, Some(1.0), None], BY_DEVIATION), Ok(vec![0.0; 3]));
        assert_eq!(group_advantages(&[], Normalisation::None), Ok(vec![]));
    }

    #[test]
    fn dynamic_sampling_wants_two_rewards_that_differ() {
        assert!(has_signal(&[None, Some(0.0), Some(0.0), Some(0.2)]));
        assert!(!has_signal(&[None, Some(0.3), Some(0.3)]));
        assert!(!has_signal(&[Some(1.0), None]));
        assert!(!has_signal(&[None]));
    }

    proptest! {
        /// The mean of all pairwise differences is another way to subtract the mean.
        #[test]
        fn equals_the_mean_pairwise_difference(
            rewards in prop::collection::vec(prop::option::of(-3.0f64..3.0), 0..12),
        ) {
            let found = group_advantages(&rewards, Normalisation::None).expect("finite");
            let present: Vec<f64> = rewards.iter().flatten().copied().collect();
            for (advantage, reward) in found.iter().zip(&rewards) {
                let expected = reward.map_or(0.0, |own| {
                    present.iter().map(|other| own - other).sum::<f64>() / present.len() as f64
                });
                prop_assert!((advantage - expected).abs() < 1e-12);
            }
        }
    }
}
