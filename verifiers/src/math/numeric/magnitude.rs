//! Upper bounds of errors: a non-negative number as mantissa and binary exponent, rounded up by every operation.

use dashu::base::BitTest;
use dashu::float::Repr;

/// Every operation multiplies by this, which is more than its own rounding of some 2^-52.
const UP: f64 = 1.0 + 1.0 / (1u64 << 48) as f64;

/// `mantissa · 2^exponent`, or zero; the mantissa is in [0.5, 1).
#[derive(Debug, Clone, Copy)]
pub struct Magnitude {
    mantissa: f64,
    exponent: i64,
}

impl Magnitude {
    /// Nothing at all.
    pub const ZERO: Self = Self { mantissa: 0.0, exponent: 0 };

    /// `2^exponent`.
    pub fn power_of_two(exponent: i64) -> Self {
        Self { mantissa: 0.5, exponent: exponent.saturating_add(1) }
    }

    /// A bound of the absolute value of `value`.
    pub fn above(value: &Repr<2>) -> Self {
        Self::of(value, UP)
    }

    /// A number that the absolute value of `value` is not below.
    pub fn below(value: &Repr<2>) -> Self {
        Self::of(value, 1.0 / UP / UP)
    }

    fn of(value: &Repr<2>, factor: f64) -> Self {
        let significand = value.significand();
        let bits = significand.bit_len();
        if bits == 0 {
            return Self::ZERO;
        }
        // The top 52 bits, cut: the factor makes up for the rest.
        let shift = bits.saturating_sub(52);
        let top = i64::try_from(significand >> shift).expect("52 bits fit").unsigned_abs() as f64;
        Self { mantissa: top, exponent: value.exponent() as i64 + shift as i64 }.scaled(factor)
    }

    fn scaled(self, factor: f64) -> Self {
        let mut mantissa = self.mantissa * factor;
        if mantissa == 0.0 {
            return Self::ZERO;
        }
        let mut exponent = self.exponent;
        let shift = mantissa.log2().floor() as i64 + 1;
        mantissa *= (-shift as f64).exp2();
        exponent = exponent.saturating_add(shift);
        Self { mantissa, exponent }
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0.0
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Self {
        if self.is_zero() {
            return other;
        }
        if other.is_zero() {
            return self;
        }
        let (large, small) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let gap = large.exponent.saturating_sub(small.exponent);
        let small = if gap > 60 { 1.0 / (1u64 << 50) as f64 } else { small.mantissa * (-gap as f64).exp2() };
        Self { mantissa: large.mantissa + small, exponent: large.exponent }.scaled(UP)
    }

    /// The product.
    pub fn multiply(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        let exponent = self.exponent.saturating_add(other.exponent);
        Self { mantissa: self.mantissa * other.mantissa, exponent }.scaled(UP)
    }

    /// The quotient; `other` must be a lower bound, and not zero.
    pub fn divide(self, other: Self) -> Self {
        if self.is_zero() {
            return Self::ZERO;
        }
        let exponent = self.exponent.saturating_sub(other.exponent);
        Self { mantissa: self.mantissa / other.mantissa, exponent }.scaled(UP)
    }

    /// A lower bound of `self - other`, when that is above zero; `self` must be a lower bound itself.
    pub fn exceeds_by(self, other: Self) -> Option<Self> {
        let gap = self.exponent.saturating_sub(other.exponent);
        let subtrahend = if other.is_zero() || gap > 60 {
            1.0 / (1u64 << 50) as f64
        } else if gap < -2 {
            return None;
        } else {
            other.mantissa * (-gap as f64).exp2() * UP
        };
        let mantissa = self.mantissa - subtrahend;
        (mantissa > 0.0).then(|| Self { mantissa, exponent: self.exponent }.scaled(1.0 / UP / UP))
    }

    /// The smallest integer `k` with `self <= 2^k`; `i64::MIN` for zero.
    pub fn log2(self) -> i64 {
        if self.is_zero() { i64::MIN } else { self.exponent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashu::Integer;

    fn repr(value: i64, exponent: isize) -> Repr<2> {
        Repr::new(Integer::from(value), exponent)
    }

    #[test]
    fn bounds_enclose_the_value() {
        for value in [1i64, 3, 7, 12_345, (1 << 60) + 1, -5] {
            for exponent in [-70, 0, 3] {
                let exact = value.unsigned_abs() as f64 * (exponent as f64).exp2();
                let number = |m: Magnitude| m.mantissa * (m.exponent as f64).exp2();
                let (below, above) =
                    (Magnitude::below(&repr(value, exponent)), Magnitude::above(&repr(value, exponent)));
                assert!(number(below) <= exact && exact <= number(above), "{value} {exponent}");
                assert!((0.5..1.0).contains(&above.mantissa), "{above:?}");
            }
        }
    }

    #[test]
    fn sums_and_differences_are_on_the_safe_side() {
        let one = Magnitude::power_of_two(0);
        let tiny = Magnitude::power_of_two(-200);
        assert_eq!(one.log2(), 1);
        assert!(one.plus(tiny).mantissa > one.mantissa);
        assert!(one.exceeds_by(one).is_none());
        assert!(tiny.exceeds_by(one).is_none());
        assert!(one.exceeds_by(tiny).is_some());
        assert!(Magnitude::ZERO.exceeds_by(tiny).is_none());
        assert!(Magnitude::ZERO.multiply(one).is_zero());
    }
}
