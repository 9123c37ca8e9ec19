//! Complex numbers as pairs of balls. Most are real and carry no imaginary part at all.

use dashu::{Natural, Rational};

use super::ball::Ball;
use super::magnitude::Magnitude;
use crate::math::number;

/// A complex number.
#[derive(Debug, Clone)]
pub struct Complex {
    /// The real part.
    pub real: Ball,
    /// The imaginary part, unless it is exactly zero.
    pub imaginary: Option<Ball>,
}

impl Complex {
    /// A real number.
    pub fn real(real: Ball) -> Self {
        Self { real, imaginary: None }
    }

    /// The imaginary unit.
    pub fn unit(bits: usize) -> Self {
        Self { real: Ball::integer(0, bits), imaginary: Some(Ball::integer(1, bits)) }
    }

    /// The number, when it is real.
    pub fn as_real(&self) -> Option<&Ball> {
        self.imaginary.is_none().then_some(&self.real)
    }

    /// `self + other`
    pub fn add(&self, other: &Self) -> Self {
        let imaginary = match (&self.imaginary, &other.imaginary) {
            (Some(a), Some(b)) => Some(a.add(b)),
            (Some(a), None) | (None, Some(a)) => Some(a.clone()),
            (None, None) => None,
        };
        Self { real: self.real.add(&other.real), imaginary }
    }

    /// `-self`
    pub fn negate(&self) -> Self {
        Self { real: self.real.negate(), imaginary: self.imaginary.as_ref().map(Ball::negate) }
    }

    /// `self · other`
    pub fn multiply(&self, other: &Self) -> Self {
        let real = self.real.multiply(&other.real);
        match (&self.imaginary, &other.imaginary) {
            (None, None) => Self::real(real),
            (Some(a), None) => Self { real, imaginary: Some(a.multiply(&other.real)) },
            (None, Some(b)) => Self { real, imaginary: Some(self.real.multiply(b)) },
            (Some(a), Some(b)) => {
                let crossed = self.real.multiply(b).add(&a.multiply(&other.real));
                Self { real: real.add(&a.multiply(b).negate()), imaginary: Some(crossed) }
            }
        }
    }

    /// `self / other`
    pub fn divide(&self, other: &Self) -> Option<Self> {
        let Some(imaginary) = &other.imaginary else {
            let part = |part: &Ball| part.divide(&other.real);
            let imaginary = match &self.imaginary {
                Some(imaginary) => Some(part(imaginary)?),
                None => None,
            };
            return Some(Self { real: part(&self.real)?, imaginary });
        };
        let conjugate = Self { real: other.real.clone(), imaginary: Some(imaginary.negate()) };
        let norm = other.real.multiply(&other.real).add(&imaginary.multiply(imaginary));
        self.multiply(&conjugate).divide(&Self::real(norm))
    }

    /// `|self|`
    pub fn absolute(&self) -> Option<Ball> {
        match &self.imaginary {
            None => Some(self.real.absolute()),
            Some(imaginary) => self.real.multiply(&self.real).add(&imaginary.multiply(imaginary)).square_root(),
        }
    }

    /// `self^exponent` for a rational exponent.
    ///
    /// Odd roots of negative numbers are real, as answers mean them; a square root of one is imaginary.
    pub fn rational_power(&self, exponent: &Rational, bits: usize) -> Option<Self> {
        if exponent.is_int() {
            return self.whole_power(number::small_integer(exponent)?, bits);
        }
        let base = self.as_real()?;
        let over = number::small_integer(&Rational::from(exponent.numerator().clone()))?;
        let positive = match base.sign()? {
            std::cmp::Ordering::Equal => return (over > 0).then(|| self.clone()),
            std::cmp::Ordering::Greater => return positive_power(base, exponent, bits).map(Self::real),
            std::cmp::Ordering::Less => positive_power(&base.negate(), exponent, bits)?,
        };
        if exponent.denominator().bit_is_odd() {
            return Some(Self::real(if over % 2 == 0 { positive } else { positive.negate() }));
        }
        if *exponent.denominator() != Natural::from(2u8) {
            return None;
        }
        // (−c)^{n/2} = iⁿ c^{n/2} for odd n.
        let imaginary = if over.rem_euclid(4) == 1 { positive } else { positive.negate() };
        Some(Self { real: Ball::integer(0, bits), imaginary: Some(imaginary) })
    }

    fn whole_power(&self, exponent: i64, bits: usize) -> Option<Self> {
        if let Some(real) = self.as_real() {
            return real.whole_power(exponent).map(Self::real);
        }
        if exponent.abs() > 64 {
            return None;
        }
        let one = Self::real(Ball::integer(1, bits));
        let power = (0..exponent.abs()).fold(one.clone(), |power, _| power.multiply(self));
        if exponent < 0 { one.divide(&power) } else { Some(power) }
    }

    /// `self^exponent` for a positive base and any exponent: `e^{exponent · ln self}`.
    pub fn power(&self, exponent: &Self) -> Option<Self> {
        let logarithm = self.as_real()?.ln()?;
        Self::real(logarithm).multiply(exponent).exp()
    }

    /// `e^{a+bi} = e^a (cos b + i sin b)`
    pub fn exp(&self) -> Option<Self> {
        let size = self.real.exp()?;
        let Some(imaginary) = &self.imaginary else { return Some(Self::real(size)) };
        let (sine, cosine) = imaginary.sine_and_cosine()?;
        Some(Self { real: size.multiply(&cosine), imaginary: Some(size.multiply(&sine)) })
    }

    /// An upper bound of the absolute value.
    pub fn magnitude(&self) -> Magnitude {
        let real = self.real.magnitude();
        self.imaginary.as_ref().map_or(real, |imaginary| real.plus(imaginary.magnitude()))
    }

    /// True when zero is not among the enclosed numbers.
    pub fn is_apart_from_zero(&self) -> bool {
        let apart = |part: &Ball| matches!(part.sign(), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Greater));
        apart(&self.real) || self.imaginary.as_ref().is_some_and(apart)
    }
}

fn positive_power(base: &Ball, exponent: &Rational, bits: usize) -> Option<Ball> {
    if *exponent.denominator() == Natural::from(2u8) {
        let over = number::small_integer(&Rational::from(exponent.numerator().clone()))?;
        return base.square_root()?.whole_power(over);
    }
    base.power(&Ball::rational(exponent, bits))
}

/// Whether a natural number is odd.
trait Parity {
    fn bit_is_odd(&self) -> bool;
}

impl Parity for Natural {
    fn bit_is_odd(&self) -> bool {
        dashu::base::BitTest::bit(self, 0)
    }
}
