//! DeepSeek's FP8: a matrix `[n, k]` in e4m3 and beside it `NAME_scale_inv [⌈n/128⌉, ⌈k/128⌉]` in f32. An element is its FP8 value times
//! the number of its block (DeepSeek-V3, §3.3.2).

/// Rows and columns of a block that shares a scale.
pub(super) const BLOCK: usize = 128;

/// The largest finite value of the format.
const LARGEST: f32 = 448.0;

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
