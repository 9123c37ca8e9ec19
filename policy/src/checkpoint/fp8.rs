//! DeepSeek's FP8: a matrix `[n, k]` in e4m3 and beside it `NAME_scale_inv [⌈n/128⌉, ⌈k/128⌉]` in f32. An element is its FP8 value times
//! the number of its block (DeepSeek-V3, §3.3.2).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::is_precise;

/// Rows and columns of a block that shares a scale.
pub(super) const BLOCK: usize = 128;

/// The largest finite value of the format.
const LARGEST: f32 = 448.0;

/// Matrices that some programs put together: both are FP8, or none is.
const TOGETHER: [&[&str]; 3] =
    [&["q_proj", "k_proj", "v_proj"], &["q_a_proj", "kv_a_proj_with_mqa"], &["gate_proj", "up_proj"]];

/// A matrix of a layer, by its name and shape.
pub(crate) fn is_matrix_of_layer(name: &str, shape: &[i64]) -> bool {
    name.starts_with("model.layers.") && shape.len() == 2
}

/// Of a model's parameters those that are FP8 where it is written so: the layers' matrices, but for what decides a choice, and for what is cut
/// into blocks of which the last is not whole. DeepSeek's scales allow such, and transformers 5.23 takes them for other blocks.
pub(crate) fn quantised(shapes: &BTreeMap<String, Vec<i64>>) -> BTreeSet<String> {
    let block = BLOCK as i64;
    let fits = |shape: &[i64]| shape.iter().all(|&n| n <= block || n % block == 0);
    let partner_fits = |name: &str| {
        let Some((module, own)) = name.strip_suffix(".weight").and_then(|module| module.rsplit_once('.')) else {
            return true;
        };
        let partners = TOGETHER.iter().filter(|names| names.contains(&own)).flat_map(|names| names.iter());
        partners.filter_map(|partner| shapes.get(&format!("{module}.{partner}.weight"))).all(|shape| fits(shape))
    };
    let is = |name: &str, shape: &[i64]| {
        is_matrix_of_layer(name, shape) && !is_precise(name) && fits(shape) && partner_fits(name)
    };
    shapes.iter().filter(|(name, shape)| is(name, shape)).map(|(name, _)| name.clone()).collect()
}

/// The name of the scales that belong to a weight.
pub(super) fn scale_name(name: &str) -> String {
    format!("{name}_scale_inv")
}

/// Rows and columns of the scales of a matrix.
pub(super) fn scale_shape(shape: &[usize]) -> Vec<usize> {
    shape.iter().map(|n| n.div_ceil(BLOCK)).collect()
}

/// FP8 values times the scales of their blocks; a row has `columns`.
pub(super) fn dequantise(bytes: &[u8], scales: &[f32], columns: usize) -> Vec<f32> {
    let table: [f32; 256] = std::array::from_fn(|byte| value(byte as u8));
    let blocks = columns.div_ceil(BLOCK);
    let mut out = Vec::with_capacity(bytes.len());
    for (row, bytes) in bytes.chunks_exact(columns.max(1)).enumerate() {
        let scales = &scales[row / BLOCK * blocks..][..blocks];
        for (bytes, scale) in bytes.chunks(BLOCK).zip(scales) {
            out.extend(bytes.iter().map(|&byte| table[usize::from(byte)] * scale));
        }
    }
    out
}

/// The scale of each block: its largest magnitude becomes the format's largest value. 1 for a block of zeros.
pub(super) fn scales(values: &[f32], columns: usize) -> Vec<f32> {
    let blocks = columns.div_ceil(BLOCK);
    let mut largest = vec![0f32; blocks * (values.len() / columns.max(1)).div_ceil(BLOCK)];
    for (row, values) in values.chunks_exact(columns.max(1)).enumerate() {
        let largest = &mut largest[row / BLOCK * blocks..][..blocks];
        for (values, largest) in values.chunks(BLOCK).zip(largest) {
            *largest = values.iter().fold(*largest, |most, v| most.max(v.abs()));
        }
    }
    largest.into_iter().map(|most| if most > 0.0 { most / LARGEST } else { 1.0 }).collect()
}

/// Values over the scales of their blocks, each to the nearest FP8 value.
pub(super) fn quantise(values: &[f32], scales: &[f32], columns: usize) -> Vec<u8> {
    let blocks = columns.div_ceil(BLOCK);
    let mut out = Vec::with_capacity(values.len());
    for (row, values) in values.chunks_exact(columns.max(1)).enumerate() {
        let scales = &scales[row / BLOCK * blocks..][..blocks];
        for (values, scale) in values.chunks(BLOCK).zip(scales) {
            out.extend(values.iter().map(|v| nearest(v / scale)));
        }
    }
    out
}

/// The value of an e4m3 byte: sign, 4 bits of exponent with bias 7, 3 bits of fraction; no infinities, and all ones is not a number.
fn value(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction / 8.0 * 2f32.powi(-6),
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte >> 7 == 1 { -size } else { size }
}

/// The byte nearest to a number, of two as near the even one; beyond the largest value that one.
fn nearest(x: f32) -> u8 {
    let (sign, size) = ((x.to_bits() >> 31) as u8 * 0x80, x.abs());
    if size.is_nan() {
        return sign | 0x7f;
    }
    if size >= LARGEST {
        return sign | 0x7e;
    }
    // Below 2⁻⁶ the values are multiples of 2⁻⁹, and the eighth of them is the first with an exponent.
    if size < 2f32.powi(-6) {
        return sign | (size * 512.0).round_ties_even() as u8;
    }
    // Above, f32 has 20 bits of fraction too many and an exponent whose bias is 120 more.
    let bits = size.to_bits();
    let rounded = (bits + 0x7_ffff + (bits >> 20 & 1)) >> 20;
    sign | ((rounded - (120 << 3)) as u8).min(0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A last block that is not whole stays out, and so does what some programs put together with it.
    #[test]
    fn matrices_of_whole_blocks_are_quantised() {
        let shapes = |list: &[(&str, [i64; 2])]| -> BTreeMap<String, Vec<i64>> {
            let name = |name: &str| format!("model.layers.0.{name}.weight");
            list.iter().map(|(module, shape)| (name(module), shape.to_vec())).collect()
        };
        let all = shapes(&[
            ("self_attn.q_a_proj", [1536, 7168]),
            ("self_attn.kv_a_proj_with_mqa", [576, 7168]),
            ("self_attn.q_b_proj", [24_576, 1536]),
            ("mlp.gate_proj", [64, 256]),
            ("mlp.up_proj", [64, 256]),
            ("mlp.gate", [256, 7168]),
            ("mlp.down_proj", [256, 200]),
        ]);
        let found: Vec<String> = quantised(&all).into_iter().collect();
        let wanted = ["mlp.gate_proj", "mlp.up_proj", "self_attn.q_b_proj"];
        assert_eq!(found, wanted.map(|name| format!("model.layers.0.{name}.weight")));
    }

    /// The ends of the format, by its definition (Micikevicius et al., 2022).
    #[test]
    fn e4m3_values() {
        let values = [(0x00, 0.0), (0x01, 0.001_953_125), (0x38, 1.0), (0x3c, 1.5), (0x7e, 448.0), (0xb8, -1.0)];
        values.into_iter().for_each(|(byte, expected)| assert_eq!(value(byte), expected, "{byte:#x}"));
        assert!(value(0x7f).is_nan() && value(0xff).is_nan());
        let positive: Vec<f32> = (0..0x7f).map(value).collect();
        assert!(positive.is_sorted());
    }

    /// 130 × 200 is two blocks by two, the last ones cut.
    #[test]
    fn every_block_has_its_own_scale() {
        let ones = vec![0x38u8; 130 * 200];
        let out = dequantise(&ones, &[1.0, 2.0, 3.0, 4.0], 200);
        let at = |row: usize, column: usize| out[row * 200 + column];
        assert_eq!([at(0, 0), at(127, 127), at(0, 128), at(127, 199)], [1.0, 1.0, 2.0, 2.0]);
        assert_eq!([at(128, 0), at(129, 127), at(128, 128), at(129, 199)], [3.0, 3.0, 4.0, 4.0]);
        // What is quantised again is as it was: the largest of each block has the format's largest value.
        let scales = scales(&out, 200);
        assert_eq!(scales, [1.0, 2.0, 3.0, 4.0].map(|s| s / LARGEST));
        assert_eq!(quantise(&out, &scales, 200), vec![0x7e; 130 * 200]);
    }

    /// Against the definition: of all 127 values the nearest, of two the one with an even last bit.
    #[test]
    fn rounding_finds_the_nearest_value() {
        let all: Vec<f32> = (0..0x7f).map(value).collect();
        let by_search = |x: f32| {
            let far = |i: &usize| (f64::from(all[*i]) - f64::from(x)).abs();
            (0..all.len()).min_by(|a, b| far(a).total_cmp(&far(b)).then((a % 2).cmp(&(b % 2)))).expect("values") as u8
        };
        let between = all.windows(2).flat_map(|pair| [0.25f32, 0.5, 0.75].map(|t| pair[0] + t * (pair[1] - pair[0])));
        let more = (0..4000).map(|i| (i as f32 * 0.731).sin().abs() * 10f32.powi(i % 8 - 5));
        for x in all.iter().copied().chain(between).chain(more).filter(|x| *x <= LARGEST) {
            assert_eq!(nearest(x), by_search(x), "{x}");
            assert_eq!(nearest(-x), by_search(x) | 0x80, "-{x}");
        }
        assert_eq!([nearest(500.0), nearest(f32::INFINITY), nearest(-1e9)], [0x7e, 0x7e, 0xfe]);
        assert!(value(nearest(f32::NAN)).is_nan());
    }
}
