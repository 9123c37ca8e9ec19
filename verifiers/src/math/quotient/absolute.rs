//! Absolute values: `|ab| = |a||b|`, and even powers of them are powers of what stands between the bars. Variables are
//! real.

use dashu::{Integer, Rational};

use super::Quotient;
use crate::math::budget::{Budget, Unread};
use crate::math::number;
use crate::math::polynomial::{Atom, Monomial, Polynomial};

impl Quotient {
    /// The absolute value: factor by factor for a term, and for a sum with its leading coefficient outside.
    pub fn magnitude(&self, budget: &mut Budget) -> Result<Self, Unread> {
        if self.atoms().any(|atom| matches!(atom, Atom::Imaginary | Atom::Infinity)) {
            return Self::opaque("abs", &[self], budget);
        }
        let over = magnitude_of(&self.numerator, budget)?;
        if self.is_whole() {
            return Ok(over);
        }
        over.multiply(&magnitude_of(&self.denominator, budget)?.invert(budget)?, budget)
    }

    /// The form without any power of an absolute value but the first: `|x|³ = x² |x|`, `1/|x| = |x| / x²`.
    pub fn settled_magnitudes(&self, budget: &mut Budget) -> Result<Self, Unread> {
        let settled =
            |(atom, power): &(Atom, Rational)| as_magnitude(atom).is_none() || power.is_one() || !power.is_int();
        let all = |sum: &Polynomial| sum.terms().all(|(monomial, _)| monomial.iter().all(settled));
        if all(&self.numerator) && all(&self.denominator) {
            return Ok(self.clone());
        }
        let over = settled_sum(&self.numerator, budget)?;
        if self.is_whole() {
            return Ok(over);
        }
        over.multiply(&settled_sum(&self.denominator, budget)?.invert(budget)?, budget)
    }
}

/// What stands between the bars, when the atom is an absolute value.
fn as_magnitude(atom: &Atom) -> Option<&Quotient> {
    match atom {
        Atom::Opaque(opaque) if *opaque.function == *"abs" => opaque.arguments.first(),
        _ => None,
    }
}

fn magnitude_of(sum: &Polynomial, budget: &mut Budget) -> Result<Quotient, Unread> {
    let Some((monomial, coefficient)) = sum.as_term() else {
        let lead = number::magnitude(&sum.leading());
        let inner = Quotient::whole(sum.scale(&(Rational::ONE / sum.leading()), budget)?);
        return Quotient::opaque("abs", &[&inner], budget)?.multiply(&Quotient::rational(lead), budget);
    };
    let mut product = Quotient::rational(number::magnitude(coefficient));
    for (atom, power) in monomial {
        let base = Quotient::atom(atom.clone());
        let even = power.is_int() && power.numerator() % Integer::from(2) == Integer::ZERO;
        let real = match atom {
            Atom::Opaque(opaque) => !matches!(opaque.function.as_ref(), "power" | "ln"),
            _ => true,
        };
        let base =
            if super::is_positive(atom) || even && real { base } else { Quotient::opaque("abs", &[&base], budget)? };
        product = product.multiply(&base.power(&Quotient::rational(power.clone()), budget)?, budget)?;
    }
    Ok(product)
}

fn settled_sum(sum: &Polynomial, budget: &mut Budget) -> Result<Quotient, Unread> {
    let mut total = Quotient::rational(Rational::ZERO);
    for (monomial, coefficient) in sum.terms() {
        let mut kept = Monomial::new();
        let mut product = Quotient::rational(Rational::ONE);
        for (atom, power) in monomial {
            let Some(inner) = as_magnitude(atom).filter(|_| power.is_int()) else {
                kept.push((atom.clone(), power.clone()));
                continue;
            };
            let half = Rational::from((power / Rational::from(2)).floor());
            let rest = power - &half * Rational::from(2);
            if !rest.is_zero() {
                kept.push((atom.clone(), rest));
            }
            if !half.is_zero() {
                let outside = inner.power(&Quotient::rational(half * Rational::from(2)), budget)?;
                product = product.multiply(&outside, budget)?;
            }
        }
        let term = Quotient::whole(Polynomial::term(coefficient.clone(), kept));
        total = total.add(&term.multiply(&product, budget)?, budget)?;
    }
    Ok(total)
}
