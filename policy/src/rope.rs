//! Rotation angles by position: plain, or stretched by YaRN (Peng et al., 2023) as the released models do it.

use tch::{Device, Tensor};

use crate::config::{ModelConfig, Yarn};
use crate::kernels::rotary::Angles;

/// Cosines and sines of every position, `[max positions, rope width / 2]` each.
#[derive(Debug)]
pub struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    /// Computes the table in f64 and rounds once. Frequencies and angles are rounded to f32 first, since the released models
    /// computed them so.
    pub fn new(config: &ModelConfig, device: Device) -> Self {
        let half = config.qk_rope_head_dim as usize / 2;
        let frequencies = frequencies(config);
        let magnitude = config.yarn.as_ref().map_or(1.0, attention_magnitude);
        let positions = config.max_position_embeddings as usize;
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
        Self { cos: table(&cos), sin: table(&sin) }
    }

    /// Another handle to the same table.
    pub fn shallow_clone(&self) -> Self {
        Self { cos: self.cos.shallow_clone(), sin: self.sin.shallow_clone() }
    }

    /// The angles of rows at `positions [rows]` i64.
    pub fn angles(&self, positions: &Tensor) -> Angles {
        Angles { cos: self.cos.index_select(0, positions), sin: self.sin.index_select(0, positions) }
    }
}

/// `θ^(−2i/d)` for each pair, interpolated where YaRN says so.
fn frequencies(config: &ModelConfig) -> Vec<f32> {
    let d = config.qk_rope_head_dim as f64;
    (0..config.qk_rope_head_dim / 2)
        .map(|i| {
            let plain = 1.0 / config.rope_theta.powf(2.0 * i as f64 / d);
            let stretched = config.yarn.as_ref().map(|y| {
                let kept = 1.0 - ramp(y, config.rope_theta, d, i as f64);
                plain / y.factor * (1.0 - kept) + plain * kept
            });
            stretched.unwrap_or(plain) as f32
        })
        .collect()
}

/// 0 where pair `i` turns often enough to be kept, 1 where it is interpolated, linear between.
fn ramp(yarn: &Yarn, theta: f64, d: f64, i: f64) -> f64 {
    let pair_of =
        |turns: f64| d * (yarn.original_max_position / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
    let low = pair_of(yarn.beta_fast).floor().max(0.0);
    let mut high = pair_of(yarn.beta_slow).ceil().min(d - 1.0);
    if high == low {
        high += 0.001;
    }
    ((i - low) / (high - low)).clamp(0.0, 1.0)
}

/// The factor on cosines and sines.
fn attention_magnitude(yarn: &Yarn) -> f64 {
    if yarn.mscale != 0.0 && yarn.mscale_all_dim != 0.0 {
        return yarn.magnitude(yarn.mscale) / yarn.magnitude(yarn.mscale_all_dim);
    }
    yarn.magnitude(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of transformers 5.23 for θ = 10⁴, width 16, factor 40, original context 4096, β 32 and 1.
    #[test]
    fn yarn_frequencies_agree_with_transformers() {
        let yarn = Yarn {
            factor: 40.0,
            original_max_position: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: 1.0,
            mscale_all_dim: 1.0,
        };
        let expected =
            [1.0, 0.316_227_76, 0.1, 0.023_914_725, 0.005_124_999_7, 0.000_849_862_18, 2.5e-5, 7.905_694_5e-6];
        for (i, expected) in expected.into_iter().enumerate() {
            let plain = 1.0 / 1e4f64.powf(2.0 * i as f64 / 16.0);
            let r = ramp(&yarn, 1e4, 16.0, i as f64);
            let got = plain / yarn.factor * r + plain * (1.0 - r);
            assert!((got / expected - 1.0).abs() < 1e-6, "pair {i}: {got} is not {expected}");
        }
        assert_eq!(attention_magnitude(&yarn), 1.0);
    }
}
