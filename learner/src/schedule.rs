//! Learning-rate schedules: a linear warm-up, then constant, linear or cosine.

use std::f64::consts::PI;

/// What follows the warm-up. Decays end at `final_fraction` of the peak, and stay there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// The peak, to the end.
    Constant,
    /// A straight line.
    Linear {
        /// What is left at the end, as a fraction of the peak.
        final_fraction: f64,
    },
    /// Half a cosine (SGDR, arXiv 1608.03983, without restarts).
    Cosine {
        /// What is left at the end, as a fraction of the peak.
        final_fraction: f64,
    },
}

/// A learning rate for every step of a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The rate that the warm-up reaches.
    pub peak: f64,
    /// Steps of warm-up; 0 starts at the peak.
    pub warmup_steps: u64,
    /// Steps of the stage, warm-up included.
    pub total_steps: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of `step`, counted from 0.
    ///
    /// Warm-up: `peak · (step + 1) / warmup_steps`, so that the first step already learns and the last of the warm-up
    /// is at the peak. Then, with `p = (step − warmup_steps) / (total_steps − warmup_steps)` held to `[0, 1]` and `f`
    /// the final fraction: linear `peak · (1 − (1 − f) p)`, cosine `peak · (f + (1 − f) (1 + cos πp) / 2)`.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Linear { final_fraction } => self.peak * (1.0 - (1.0 - final_fraction) * progress),
            Decay::Cosine { final_fraction } => {
                self.peak * (final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + (PI * progress).cos()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(decay: Decay, steps: &[u64]) -> Vec<f64> {
        let schedule = Schedule { peak: 8.0, warmup_steps: 4, total_steps: 12, decay };
        steps.iter().map(|&step| schedule.at(step)).collect()
    }

    #[test]
    fn warms_up_then_decays() {
        let steps = [0, 1, 3, 4, 6, 8, 12, 99];
        assert_eq!(rates(Decay::Constant, &steps), [2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
        assert_eq!(rates(Decay::Linear { final_fraction: 0.25 }, &steps), [2.0, 4.0, 8.0, 8.0, 6.5, 5.0, 2.0, 2.0]);
        // cos(π/4) = √½ and cos(π/2) = 0.
        let quarter = 8.0 * (0.5 + 0.5 * 0.5f64.sqrt());
        let expected = [2.0, 4.0, 8.0, 8.0, quarter, 4.0, 0.0, 0.0];
        for (found, expected) in rates(Decay::Cosine { final_fraction: 0.0 }, &steps).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        }
    }

    #[test]
    fn degenerate_lengths_are_defined() {
        let decay = Decay::Linear { final_fraction: 0.0 };
        let no_warmup = Schedule { peak: 1.0, warmup_steps: 0, total_steps: 2, decay };
        assert_eq!([0, 1, 2].map(|step| no_warmup.at(step)), [1.0, 0.5, 0.0]);
        let all_warmup = Schedule { peak: 1.0, warmup_steps: 4, total_steps: 4, decay };
        assert_eq!([3, 4, 5].map(|step| all_warmup.at(step)), [1.0, 1.0, 0.0]);
    }
}
