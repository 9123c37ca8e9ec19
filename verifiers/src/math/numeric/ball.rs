//! Real numbers in balls: a midpoint of some bits and a bound of its error. Every operation answers with a ball that
//! encloses the true result, or with `None` where it is undefined or its enclosure is unbounded.

use std::cell::RefCell;

use dashu::base::{Abs, Approximation, BitTest, Sign, Signed};
use dashu::float::round::mode::HalfEven;
use dashu::float::{ConstCache, Context, FBig, Repr};
use dashu::{Integer, Rational};

use super::magnitude::Magnitude;
use super::trigonometry;

type Float = FBig<HalfEven, 2>;

/// Arguments of exponentials over 2 to this power are not evaluated: the result has no use, and its exponent no room.
const MAX_EXPONENTIAL_LOG2: i64 = 40;

thread_local! {
    /// π and ln 2 to the bits that were needed so far: without it, they are computed again for every sine.
    static CONSTANTS: RefCell<ConstCache> = const { RefCell::new(ConstCache::new()) };
}

/// Calls a function with the constants of this thread.
fn with_constants<T>(function: impl FnOnce(&mut ConstCache) -> T) -> T {
    CONSTANTS.with_borrow_mut(function)
}

/// All numbers within `radius` of `middle`.
#[derive(Debug, Clone)]
pub struct Ball {
    middle: Float,
    radius: Magnitude,
    bits: usize,
}

impl Ball {
    /// The result of an operation that rounded, and the error that it inherits.
    fn rounded(result: Approximation<Float, dashu::float::round::Rounding>, inherited: Magnitude, bits: usize) -> Self {
        let (middle, radius) = match result {
            Approximation::Exact(middle) => (middle, inherited),
            Approximation::Inexact(middle, _) => {
                let radius = inherited.plus(unit_in_last_place(middle.repr(), bits));
                (middle, radius)
            }
        };
        Self { middle, radius, bits }
    }

    fn context(&self) -> Context<HalfEven> {
        Context::new(self.bits)
    }

    /// A rational number to `bits` bits.
    pub fn rational(value: &Rational, bits: usize) -> Self {
        let context = Context::<HalfEven>::new(bits);
        let over = Self::rounded(context.convert_int::<2>(value.numerator().clone()), Magnitude::ZERO, bits);
        if value.is_int() {
            return over;
        }
        let under = context.convert_int::<2>(Integer::from(value.denominator().clone()));
        over.divide(&Self::rounded(under, Magnitude::ZERO, bits)).expect("a denominator is not zero")
    }

    /// Bits of the midpoint.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// The same numbers, and at least those, at another precision.
    pub fn with_bits(&self, bits: usize) -> Self {
        Self::rounded(self.middle.clone().with_precision(bits), self.radius, bits)
    }

    /// The same numbers and all within `by` of them.
    pub fn widened(&self, by: Magnitude) -> Self {
        Self { radius: self.radius.plus(by), ..self.clone() }
    }

    /// `self / 2^times`, exactly.
    pub fn halved(&self, times: i64) -> Self {
        let repr = self.middle.repr();
        let halved = Repr::new(repr.significand().clone(), repr.exponent() - times as isize);
        let middle = Float::from_repr(halved, self.context());
        Self { middle, radius: self.radius.multiply(Magnitude::power_of_two(-times)), bits: self.bits }
    }

    /// The integer nearest to the midpoint.
    pub fn nearest(&self) -> Integer {
        self.middle.round().to_int().value()
    }

    /// A small integer.
    pub fn integer(value: i64, bits: usize) -> Self {
        Self::rational(&Rational::from(value), bits)
    }

    /// π
    pub fn pi(bits: usize) -> Self {
        Self::rounded(with_constants(|c| Context::<HalfEven>::new(bits).pi::<2>(Some(c))), Magnitude::ZERO, bits)
    }

    /// Which side of zero the whole ball is on; zero only for the exact zero, `None` where it is not known.
    pub fn sign(&self) -> Option<std::cmp::Ordering> {
        use std::cmp::Ordering;
        if self.radius.is_zero() && self.middle.repr().significand().is_zero() {
            return Some(Ordering::Equal);
        }
        self.distance_from_zero()?;
        Some(if self.middle.sign() == Sign::Negative { Ordering::Less } else { Ordering::Greater })
    }

    /// A lower bound of the absolute value, where the ball does not hold zero.
    fn distance_from_zero(&self) -> Option<Magnitude> {
        Magnitude::below(self.middle.repr()).exceeds_by(self.radius)
    }

    /// An upper bound of the absolute value.
    pub fn magnitude(&self) -> Magnitude {
        Magnitude::above(self.middle.repr()).plus(self.radius)
    }

    /// The midpoint, where the ball is no wider than 2^-80 of it and its exponent is no monster.
    pub fn approximate(&self) -> Option<Rational> {
        let repr = self.middle.repr();
        let exponent = i64::try_from(repr.exponent()).ok().filter(|exponent| exponent.abs() < 8_192)?;
        if self.radius.log2() > Magnitude::below(repr).log2().saturating_sub(80) {
            return None;
        }
        let power = Integer::ONE << exponent.unsigned_abs() as usize;
        let significand = Rational::from(repr.significand().clone());
        Some(if exponent < 0 { significand / Rational::from(power) } else { significand * Rational::from(power) })
    }

    /// The only integer in the ball, when the ball is that integer.
    pub fn as_integer(&self) -> Option<Integer> {
        if self.radius.is_zero() && self.middle.repr().is_int() && self.magnitude().log2() < 64 {
            return Some(self.middle.to_int().value());
        }
        None
    }

    /// The largest integer that no number of the ball is below, when it is the same for all of them.
    pub fn floor(&self) -> Option<Self> {
        let magnitude = self.magnitude().log2();
        if magnitude > 512 {
            return None;
        }
        let nearest = self.middle.to_int().value();
        let apart = Self { middle: &self.middle - Float::from(nearest.clone()), ..self.clone() };
        let floor = match apart.sign()? {
            std::cmp::Ordering::Less => nearest - 1,
            _ => nearest,
        };
        // The ball must not reach the next integer either.
        let floor = Self::rational(&Rational::from(floor), self.bits);
        let inside = self.add(&floor.negate());
        let below_next = inside.add(&Self::integer(-1, self.bits));
        (below_next.sign()? == std::cmp::Ordering::Less).then_some(floor)
    }

    /// `-self`
    pub fn negate(&self) -> Self {
        Self { middle: -self.middle.clone(), ..self.clone() }
    }

    /// `|self|`; a ball around zero keeps its middle.
    pub fn absolute(&self) -> Self {
        Self { middle: self.middle.clone().abs(), ..self.clone() }
    }

    /// `self + other`
    pub fn add(&self, other: &Self) -> Self {
        let sum = self.context().add(self.middle.repr(), other.middle.repr()).expect("finite");
        Self::rounded(sum, self.radius.plus(other.radius), self.bits)
    }

    /// `self · other`
    pub fn multiply(&self, other: &Self) -> Self {
        let product = self.context().mul(self.middle.repr(), other.middle.repr()).expect("finite");
        let (a, b) = (Magnitude::above(self.middle.repr()), Magnitude::above(other.middle.repr()));
        let crossed = a.multiply(other.radius).plus(b.multiply(self.radius));
        Self::rounded(product, crossed.plus(self.radius.multiply(other.radius)), self.bits)
    }

    /// `self / other`
    pub fn divide(&self, other: &Self) -> Option<Self> {
        let distance = other.distance_from_zero()?;
        let quotient = self.context().div(self.middle.repr(), other.middle.repr()).ok()?;
        // |a/b - a'/b'| <= (|a| rb + |b| ra) / (|b| (|b| - rb))
        let (a, b) = (Magnitude::above(self.middle.repr()), Magnitude::above(other.middle.repr()));
        let over = a.multiply(other.radius).plus(b.multiply(self.radius));
        let under = Magnitude::below(other.middle.repr());
        Some(Self::rounded(quotient, over.divide(under).divide(distance), self.bits))
    }

    /// `√self`
    pub fn square_root(&self) -> Option<Self> {
        if self.sign() == Some(std::cmp::Ordering::Equal) {
            return Some(self.clone());
        }
        let distance = self.positive_distance()?;
        let root = self.context().sqrt(self.middle.repr()).ok()?;
        // |√x - √y| <= |x - y| / √x, and x >= 2^(k-1) where the distance has the logarithm k.
        let least = Magnitude::power_of_two((distance.log2() - 1).div_euclid(2));
        Some(Self::rounded(root, self.radius.divide(least), self.bits))
    }

    fn positive_distance(&self) -> Option<Magnitude> {
        (self.middle.sign() == Sign::Positive).then(|| self.distance_from_zero()).flatten()
    }

    /// The natural logarithm.
    pub fn ln(&self) -> Option<Self> {
        let distance = self.positive_distance()?;
        if self.radius.is_zero() && self.middle.repr().is_one() {
            return Some(Self::integer(0, self.bits));
        }
        let logarithm = with_constants(|c| self.context().ln(self.middle.repr(), Some(c))).ok()?;
        Some(Self::rounded(logarithm, self.radius.divide(distance), self.bits))
    }

    /// `e^self`
    pub fn exp(&self) -> Option<Self> {
        if self.sign() == Some(std::cmp::Ordering::Equal) {
            return Some(Self::integer(1, self.bits));
        }
        if self.magnitude().log2() > MAX_EXPONENTIAL_LOG2 || self.radius.log2() > 0 {
            return None;
        }
        let power = with_constants(|c| self.context().exp(self.middle.repr(), Some(c))).ok()?;
        // e^r - 1 <= 2r for r <= 1.
        let spread = self.radius.multiply(Magnitude::power_of_two(1));
        let inherited = Magnitude::above(power.clone().value().repr()).multiply(spread);
        Some(Self::rounded(power, inherited, self.bits))
    }

    /// The sine and the cosine.
    pub fn sine_and_cosine(&self) -> Option<(Self, Self)> {
        if self.sign() == Some(std::cmp::Ordering::Equal) {
            return Some((Self::integer(0, self.bits), Self::integer(1, self.bits)));
        }
        trigonometry::sine_and_cosine(self)
    }

    /// The arc tangent.
    pub fn arc_tangent(&self) -> Option<Self> {
        trigonometry::arc_tangent(self)
    }

    /// The arc sine, from `atan(x / √(1 - x²))`.
    pub fn arc_sine(&self) -> Option<Self> {
        let one = Self::integer(1, self.bits);
        let rest = one.add(&self.multiply(self).negate());
        if rest.sign() == Some(std::cmp::Ordering::Equal) {
            let right_angle =
                Self::pi(self.bits).multiply(&Self::rational(&(Rational::ONE / Rational::from(2)), self.bits));
            return Some(if self.middle.is_negative() { right_angle.negate() } else { right_angle });
        }
        self.divide(&rest.square_root()?)?.arc_tangent()
    }

    /// `self^exponent` for a whole exponent.
    pub fn whole_power(&self, exponent: i64) -> Option<Self> {
        let (mut square, mut power) = (self.clone(), Self::integer(1, self.bits));
        let mut left = exponent.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                power = power.multiply(&square);
            }
            left >>= 1;
            if left > 0 {
                square = square.multiply(&square);
            }
            // Without this, the exponents of the floats would overflow in some sixty rounds.
            if square.magnitude().log2() > 1 << 40 {
                return None;
            }
        }
        if exponent < 0 { Self::integer(1, self.bits).divide(&power) } else { Some(power) }
    }

    /// `self^exponent` for a positive base.
    pub fn power(&self, exponent: &Self) -> Option<Self> {
        self.ln()?.multiply(exponent).exp()
    }
}

/// A bound of what rounding to `bits` bits may have cut from a number of this size.
fn unit_in_last_place(value: &Repr<2>, bits: usize) -> Magnitude {
    let top = value.exponent() as i64 + value.significand().bit_len() as i64;
    Magnitude::power_of_two(top - bits as i64)
}
