//! Rotation angles by position: plain, or changed for a longer context as the released models and transformers do it.

use std::f64::consts::TAU;

use tch::{Device, Tensor};

use crate::config::{Llama3, ModelConfig, Rope, Scaling, Yarn};
use crate::kernels::rotary::Angles;

/// Cosines and sines of every position, `[context, rope width / 2]` each.
#[derive(Debug)]
pub struct RopeTable {
    cos: Tensor,
    sin: Tensor,
    /// `[context]`, where queries are scaled by their position.
    query_scale: Option<Tensor>,
}

impl RopeTable {
    /// Computes the table in f64 and rounds once. Frequencies and angles are rounded to f32 first, since the released models
    /// computed them so. No position reaches `context`.
    pub fn new(config: &ModelConfig, context: i64, device: Device) -> Self {
        let half = config.rope_width() as usize / 2;
        let frequencies = frequencies(&config.rope, config.rope_width(), context);
        let magnitude = magnitude(&config.rope.scaling, config.max_position_embeddings);
        let positions = context as usize;
        let (mut cos, mut sin) = (Vec::with_capacity(positions * half), Vec::with_capacity(positions * half));
        for position in 0..positions {
            for &frequency in &frequencies {
                let angle = f64::from(position as f32 * frequency);
                cos.push((angle.cos() * magnitude) as f32);
                sin.push((angle.sin() * magnitude) as f32);
            }
        }
        let shape = [positions as i64, half as i64];
        let table = |values: &[f32]| Tensor::from_slice(values).view(shape).to_device(device);
        let query_scale =
            query_scale(&config.rope.scaling, positions).map(|s| Tensor::from_slice(&s).to_device(device));
        Self { cos: table(&cos), sin: table(&sin), query_scale }
    }

    /// Another handle to the same table.
    pub fn shallow_clone(&self) -> Self {
        let query_scale = self.query_scale.as_ref().map(Tensor::shallow_clone);
        Self { cos: self.cos.shallow_clone(), sin: self.sin.shallow_clone(), query_scale }
    }

    /// What the queries of rows at `positions [rows]` i64 are multiplied by, `[rows]`; `None` where they are not.
    pub fn query_scale(&self, positions: &Tensor) -> Option<Tensor> {
        self.query_scale.as_ref().map(|table| table.index_select(0, positions))
    }

    /// The angles of rows at `positions [rows]` i64.
    pub fn angles(&self, positions: &Tensor) -> Angles {
        Angles { cos: self.cos.index_select(0, positions), sin: self.sin.index_select(0, positions) }
    }
}

/// `θ^(−2i/d)` for each pair, changed as the scaling says.
fn frequencies(rope: &Rope, width: i64, context: i64) -> Vec<f32> {
    let d = width as f64;
    let of_pair = |i: i64| {
        let number = i as usize;
        let i = i as f64;
        let plain = 1.0 / rope.theta.powf(2.0 * i / d);
        let frequency = match &rope.scaling {
            Scaling::None | Scaling::Dynamic { .. } => plain,
            Scaling::Linear(factor) => plain / factor,
            Scaling::Llama3(l) => llama3(l, plain),
            Scaling::LongRope(l) => plain / l.factors(context)[number],
            Scaling::Yarn(y) => {
                let kept = 1.0 - ramp(y, rope.theta, d, i);
                plain / y.factor * (1.0 - kept) + plain * kept
            }
        };
        frequency as f32
    };
    (0..width / 2).map(of_pair).collect()
}

/// A frequency under Llama 3.1's rule: kept where it turns often in the original context, divided where it turns seldom, mixed between.
fn llama3(l: &Llama3, plain: f64) -> f64 {
    let turns = l.original_max_position * plain / TAU;
    let kept = ((turns - l.low_freq_factor) / (l.high_freq_factor - l.low_freq_factor)).clamp(0.0, 1.0);
    plain / l.factor * (1.0 - kept) + plain * kept
}

/// 0 where pair `i` turns often enough to be kept, 1 where it is interpolated, linear between.
fn ramp(yarn: &Yarn, theta: f64, d: f64, i: f64) -> f64 {
    let pair_of = |turns: f64| d * (yarn.original_max_position / (turns * TAU)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (pair_of(yarn.beta_fast), pair_of(yarn.beta_slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(d - 1.0));
    if high == low {
        high += 0.001;
    }
    ((i - low) / (high - low)).clamp(0.0, 1.0)
}

/// `1 + β ln(1 + ⌊p / original⌋)` for each position, where there is a `β`.
fn query_scale(scaling: &Scaling, positions: usize) -> Option<Vec<f32>> {
    let Scaling::Yarn(yarn) = scaling else { return None };
    let scale =
        |p: usize| (1.0 + yarn.query_beta * (1.0 + (p as f64 / yarn.original_max_position).floor()).ln()) as f32;
    (yarn.query_beta != 0.0).then(|| (0..positions).map(scale).collect())
}

/// The factor on cosines and sines.
fn magnitude(scaling: &Scaling, max_position: i64) -> f64 {
    let yarn = match scaling {
        Scaling::Yarn(yarn) => yarn,
        Scaling::LongRope(longrope) => return longrope.magnitude(max_position),
        _ => return 1.0,
    };
    match yarn.attention_factor {
        Some(factor) => factor,
        None if yarn.mscale != 0.0 && yarn.mscale_all_dim != 0.0 => {
            yarn.magnitude(yarn.mscale) / yarn.magnitude(yarn.mscale_all_dim)
        }
        None => yarn.magnitude(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(scaling: Scaling, theta: f64, expected: &[f64]) {
        agree_within(scaling, theta, 4096, expected);
    }

    fn agree_within(scaling: Scaling, theta: f64, context: i64, expected: &[f64]) {
        let found = frequencies(&Rope { theta, scaling }, 2 * expected.len() as i64, context);
        for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            assert!((f64::from(found) / expected - 1.0).abs() < 1e-6, "pair {i}: {found} is not {expected}");
        }
    }

    fn yarn() -> Yarn {
        Yarn {
            factor: 40.0,
            original_max_position: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: 1.0,
            mscale_all_dim: 1.0,
            attention_factor: None,
            truncate: true,
            query_beta: 0.0,
        }
    }

    /// By hand: β = 0.1 and an original context of 4: ln 1 = 0, ln 2, ln 3.
    #[test]
    fn queries_grow_with_the_position() {
        let yarn = Yarn { query_beta: 0.1, original_max_position: 4.0, ..yarn() };
        let found = query_scale(&Scaling::Yarn(yarn), 9).expect("there is a β");
        assert_eq!(&found[..4], [1.0; 4]);
        assert_eq!((found[4], found[7], found[8]), (1.069_314_7, 1.069_314_7, 1.109_861_3));
    }

    /// Values of transformers 5.23 for θ = 10⁴, width 16, factor 40, original context 4096, β 32 and 1.
    #[test]
    fn yarn_frequencies_agree_with_transformers() {
        let expected =
            [1.0, 0.316_227_76, 0.1, 0.023_914_725, 0.005_124_999_7, 0.000_849_862_18, 2.5e-5, 7.905_694_5e-6];
        agree(Scaling::Yarn(yarn()), 1e4, &expected);
        assert_eq!(magnitude(&Scaling::Yarn(yarn()), 4096), 1.0);
        assert_eq!(magnitude(&Scaling::Yarn(Yarn { attention_factor: Some(0.7), ..yarn() }), 4096), 0.7);
    }

    /// Values of transformers 5.23 at width 16.
    #[test]
    fn the_other_scalings_agree_with_transformers() {
        let llama3 = Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position: 8192.0 };
        let expected = [
            1.0,
            0.193_922_758,
            0.037_606_030_7,
            0.007_292_665_08,
            0.000_524_846_022,
            3.428_102_35e-5,
            6.647_869_67e-6,
            1.289_173_16e-6,
        ];
        agree(Scaling::Llama3(llama3), 5e5, &expected);
        let expected =
            [0.25, 0.079_056_941, 0.025, 0.007_905_694_66, 0.002_5, 0.000_790_569_466, 2.5e-4, 7.905_694_66e-5];
        agree(Scaling::Linear(4.0), 1e4, &expected);
        agree(
            Scaling::Dynamic { factor: 4.0, original_max_position: None },
            1e4,
            &expected.map(|frequency| 4.0 * frequency),
        );
        let untruncated = Yarn {
            factor: 4.0,
            original_max_position: 32_768.0,
            mscale: 0.0,
            mscale_all_dim: 0.0,
            truncate: false,
            ..yarn()
        };
        let expected = [
            1.0,
            0.177_827_939,
            0.031_622_778_6,
            0.005_517_270_42,
            0.000_607_408_001,
            4.445_698_51e-5,
            7.905_693_56e-6,
            1.405_853_37e-6,
        ];
        assert!((magnitude(&Scaling::Yarn(untruncated.clone()), 4096) - 1.138_629_436).abs() < 1e-9);
        agree(Scaling::Yarn(untruncated), 1e6, &expected);
    }
}
