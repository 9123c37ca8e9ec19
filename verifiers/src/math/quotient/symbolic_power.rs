//! Powers whose exponent is no number: `2^(n+1)` is `2 · 2^n` and `4^n` is `(2^n)²`, so that equal powers have the same
//! terms. What is left are opaque powers of a prime, e, π, a variable or a sum, to a product of variables.

use dashu::{Integer, Natural, Rational};

use super::{MAX_EXPANDED_POWER, Quotient};
use crate::math::budget::{Budget, Unread};
use crate::math::number;
use crate::math::polynomial::{Atom, Monomial, Polynomial};

/// Terms of an exponent that are taken apart.
const MAX_TERMS: usize = 16;

impl Quotient {
    /// `self ^ exponent` for an exponent that is no rational number.
    pub(super) fn symbolic_power(&self, exponent: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        let plain = exponent.is_whole() && exponent.numerator.terms().count() <= MAX_TERMS;
        if !plain || exponent.atoms().any(|atom| matches!(atom, Atom::Infinity | Atom::Imaginary)) {
            return Self::opaque("power", &[self, exponent], budget);
        }
        let term = if self.is_whole() { self.numerator.as_term() } else { None };
        let Some((monomial, coefficient)) = term else { return self.shared_out(exponent, false, budget) };
        let Some(mut product) = power_of_coefficient(coefficient, exponent, budget)? else {
            return Self::opaque("power", &[self, exponent], budget);
        };
        for (atom, power) in monomial {
            let positive = matches!(atom, Atom::Prime(_) | Atom::Euler | Atom::Pi);
            let (base, scaled) = if positive || power.is_int() {
                (Self::atom(atom.clone()), exponent.multiply(&Self::rational(power.clone()), budget)?)
            } else {
                let base: Monomial = vec![(atom.clone(), power.clone())];
                (Self::whole(Polynomial::term(Rational::ONE, base)), exponent.clone())
            };
            product = product.multiply(&base.shared_out(&scaled, positive, budget)?, budget)?;
        }
        Ok(product)
    }

    /// `self ^ (c₀ + c₁ M₁ + …) = self^c₀ · (self^M₁)^c₁ · …`, which for a base that may be negative needs integers.
    fn shared_out(&self, exponent: &Self, positive: bool, budget: &mut Budget) -> Result<Self, Unread> {
        let mut product = Self::rational(Rational::ONE);
        for (monomial, factor) in exponent.numerator.terms() {
            let small = number::small_integer(factor).is_some_and(|factor| factor.abs() <= MAX_EXPANDED_POWER);
            let outside = small || positive;
            let part = if monomial.is_empty() {
                self.power(&Self::rational(factor.clone()), budget)?
            } else {
                let inside = if outside { Rational::ONE } else { factor.clone() };
                let inner = Self::whole(Polynomial::term(inside, monomial.clone()));
                let opaque = Self::opaque("power", &[self, &inner], budget)?;
                if outside { opaque.power(&Self::rational(factor.clone()), budget)? } else { opaque }
            };
            product = product.multiply(&part, budget)?;
        }
        Ok(product)
    }
}

/// A rational number to a symbolic exponent, prime by prime; `None` when it is too large to factor.
fn power_of_coefficient(
    value: &Rational,
    exponent: &Quotient,
    budget: &mut Budget,
) -> Result<Option<Quotient>, Unread> {
    let mut product = Quotient::rational(Rational::ONE);
    if number::is_negative(value) {
        product = Quotient::rational(Rational::from(-1)).shared_out(exponent, false, budget)?;
    }
    let (numerator, denominator) = number::magnitude(value).into_parts();
    let numerator = Natural::try_from(numerator).expect("a magnitude is not negative");
    for (part, sign) in [(numerator, 1), (denominator, -1)] {
        let Some(factors) = number::factor(&part, budget)? else { return Ok(None) };
        for (prime, times) in factors {
            if prime.is_one() {
                continue;
            }
            let base = Quotient::rational(Rational::from(Integer::from(prime)));
            let scale = Quotient::rational(Rational::from(sign * i64::from(times)));
            let scaled = exponent.multiply(&scale, budget)?;
            product = product.multiply(&base.shared_out(&scaled, true, budget)?, budget)?;
        }
    }
    Ok(Some(product))
}
