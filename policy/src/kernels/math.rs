//! Scalar arithmetic shared by the kernels, written so that the compiler vectorises it and the order of every sum stays fixed.
//!
//! A sum over a row runs in [`LANES`] partial sums, element `i` into lane `i % LANES`, and the lanes are added as a balanced tree.
//! `mul_add` rounds once whether the processor has the instruction or not, so the bits do not depend on the vector width chosen at
//! run time.

/// Partial sums of a reduction: one AVX-512 register, two of AVX2.
pub const LANES: usize = 16;

/// Adds the lanes as a balanced tree.
#[inline(always)]
pub fn add_lanes(lanes: [f32; LANES]) -> f32 {
    let mut l = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            l[i] += l[i + width];
        }
        width /= 2;
    }
    l[0]
}

/// Asks for `a` to be brought near, which changes nothing but when it is there.
#[inline(always)]
pub fn fetch(a: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in a.chunks(64 / size_of::<f32>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the processor may forget it, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = a;
}

/// As [`fetch`], into the second cache.
#[inline(always)]
pub fn fetch_far(a: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in a.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = a;
}

/// `Σ a_i b_i`.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0.0f32; LANES];
    let (a_full, a_rest) = a.as_chunks::<LANES>();
    let (b_full, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_full.iter().zip(b_full) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = a.mul_add(*b, lanes[i]);
    }
    add_lanes(lanes)
}

/// `Σ a_i`.
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (full, rest) = a.as_chunks::<LANES>();
    for a in full {
        for i in 0..LANES {
            lanes[i] += a[i];
        }
    }
    for (i, a) in rest.iter().enumerate() {
        lanes[i] += a;
    }
    add_lanes(lanes)
}

/// `out += scale · a`.
#[inline(always)]
pub fn add_scaled(out: &mut [f32], scale: f32, a: &[f32]) {
    debug_assert_eq!(out.len(), a.len());
    for (o, a) in out.iter_mut().zip(a) {
        *o = scale.mul_add(*a, *o);
    }
}

/// The largest element; −∞ for none.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (full, rest) = a.as_chunks::<LANES>();
    for a in full {
        for i in 0..LANES {
            lanes[i] = if a[i] > lanes[i] { a[i] } else { lanes[i] };
        }
    }
    for (i, a) in rest.iter().enumerate() {
        lanes[i] = if *a > lanes[i] { *a } else { lanes[i] };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// `e^x` within 2 units in the last place for `x` in `[−87, 88]`; below, 0; above, clamped.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `|r| ≤ ln 2 / 2`; `ln 2` is split in two so that `r` is exact (Cody and Waite),
/// and `e^r` is its Taylor polynomial of degree 7. Branch-free, so that it vectorises.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// 1.5 · 2²³: adding and taking it away rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let n = clamped.mul_add(LOG2_E, ROUND) - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, clamped));
    let mut p = 1.0 / 5040.0f32;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0f32] {
        p = p.mul_add(r, c);
    }
    let scaled = p * f32::from_bits((((n as i32) + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { scaled }
}

/// `ln x`, rounded once from a value that is right to 12 digits; of 0, −∞, and of what is below, NaN.
///
/// `ln x = n ln 2 + 2 artanh s` with `x = 2^n m`, `m` in `(√½, √2]` and `s = (m − 1) / (m + 1)`, by seven terms of artanh's series, in f64.
/// A library's logarithm is another one on every machine; this one is the same on a GPU.
pub fn ln(x: f32) -> f32 {
    if x.is_nan() || x <= 0.0 || x == f32::INFINITY {
        return if x == 0.0 {
            f32::NEG_INFINITY
        } else if x > 0.0 {
            x
        } else {
            f32::NAN
        };
    }
    let bits = f64::from(x).to_bits();
    let mut n = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        n += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut p = 1.0 / 13.0f64;
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = p.mul_add(square, 1.0 / odd);
    }
    (n as f64).mul_add(std::f64::consts::LN_2, 2.0 * s * p) as f32
}

/// `x_i ← e^(x_i − shift)` in place.
#[inline(always)]
pub fn exp_shifted(x: &mut [f32], shift: f32) {
    for x in x.iter_mut() {
        *x = exp(*x - shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulps_and_vanishes_far_below() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 / 10_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "relative error {worst}");
        assert_eq!((exp(f32::NEG_INFINITY), exp(-100.0), exp(0.0)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn ln_is_the_nearest_number_almost_always_and_total() {
        let mut off = 0;
        for i in 0..2_000_000u32 {
            let x = f32::from_bits(1 + i * 1069);
            let nearest = f64::from(x).ln() as f32;
            assert!((ln(x) - nearest).abs() <= f32::EPSILON * nearest.abs(), "{x}: {}", ln(x));
            off += u32::from(ln(x) != nearest);
        }
        assert!(off < 20, "{off} of 2,000,000");
        assert_eq!((ln(1.0), ln(0.0), ln(f32::INFINITY)), (0.0, f32::NEG_INFINITY, f32::INFINITY));
        assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan());
    }

    #[test]
    fn inv_2_a_sum_has_one_order() {
        let a: Vec<f32> = (0..77).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..77).map(|i| (i as f32 * 0.73).cos()).collect();
        let mut lanes = [0.0f32; LANES];
        for i in 0..77 {
            lanes[i % LANES] = a[i].mul_add(b[i], lanes[i % LANES]);
        }
        let tree = |l: [f32; 16]| {
            let pairs8: Vec<f32> = (0..8).map(|i| l[i] + l[i + 8]).collect();
            let pairs4: Vec<f32> = (0..4).map(|i| pairs8[i] + pairs8[i + 4]).collect();
            (pairs4[0] + pairs4[2]) + (pairs4[1] + pairs4[3])
        };
        assert_eq!(dot(&a, &b).to_bits(), tree(lanes).to_bits());
        assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    }
}
