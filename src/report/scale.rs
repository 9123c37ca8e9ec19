//! The vertical axis of a chart: its range, its round ticks, and where a value stands on it.

use super::chart::{BOTTOM, TOP};

/// A positive series that spans more than this is drawn on a logarithmic axis, unless zero belongs on it.
const LOG_SPAN: f64 = 200.0;

/// The vertical axis.
#[derive(Debug, PartialEq)]
pub(super) struct Scale {
    /// The value at the foot.
    pub low: f64,
    /// The value at the top.
    pub high: f64,
    /// True for a logarithmic axis.
    pub log: bool,
    /// Where the grid lines are.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// An axis that holds `low..=high`, and zero where `from_zero` asks for it.
    pub fn new(mut low: f64, mut high: f64, from_zero: bool) -> Self {
        if !from_zero && low > 0.0 && high / low > LOG_SPAN {
            return Self::logarithmic(low, high);
        }
        if from_zero && low > 0.0 {
            low = 0.0;
        }
        if low == high {
            if low == 0.0 {
                return Self { low: 0.0, high: 1.0, log: false, ticks: vec![0.0] };
            }
            let margin = low.abs() * 0.1;
            (low, high) = (low - margin, high + margin);
        }
        let ticks = nice_ticks(low, high, 4);
        let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
        Self { low: first.min(low), high: last.max(high), log: false, ticks }
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        // 10^−307 is the last power above the subnormal numbers, 10^308 the last that is finite; what lies beyond stands on the edge.
        let (first, last) = ((low.log10().floor() as i32).max(-307), (high.log10().ceil() as i32).min(308));
        let stride = ((last - first) as usize).div_ceil(4).max(1);
        let ticks = (first..=last).step_by(stride).map(|e| 10f64.powi(e)).collect();
        Self { low: 10f64.powi(first), high: 10f64.powi(last), log: true, ticks }
    }

    /// Where on the drawing a value stands; what is beyond the axis stands on its edge.
    pub fn y(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            // Halves first: the span of two finite numbers may overflow.
            (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
        };
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }
}

/// Multiples of 1, 2 or 5 times a power of ten that enclose `low..high` in about `count` steps.
fn nice_ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let rough = high / f64::from(count) - low / f64::from(count);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power);
    if !(step.is_finite() && step > 0.0) || low / step == low / step + 1.0 {
        // The span is below the resolution of the numbers, or beyond them: the two ends say all that can be said.
        return vec![low, high];
    }
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    let ticks: Vec<f64> = (0..=(last - first) as u32).map(|i| (first + f64::from(i)) * step).collect();
    if ticks.iter().all(|tick| tick.is_finite()) { ticks } else { vec![low, high] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let scale = Scale::new(0.13, 0.88, false);
        assert_eq!(
            scale.ticks.iter().map(|t| format!("{t:.1}")).collect::<Vec<_>>(),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(Scale::new(0.0, 0.0, true).ticks, [0.0]);
        assert_eq!(Scale::new(3.0, 90.0, true).low, 0.0);
        assert!(Scale::new(1e-3, 10.0, false).log && !Scale::new(1e-3, 10.0, true).log);
        assert_eq!(Scale::new(1e-3, 10.0, false).ticks.len(), 5);
        assert_eq!((scale.y(0.0), scale.y(1.0)), (BOTTOM, TOP));
    }
}
