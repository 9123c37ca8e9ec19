//! Roots of squares: `(q²)^(m/2) = |q|^m`, where `q` may have many terms.

use std::collections::BTreeMap;

use dashu::{Integer, Natural, Rational};

use super::Quotient;
use crate::math::budget::{Budget, Unread};
use crate::math::number;
use crate::math::polynomial::{Atom, Monomial, Polynomial};

/// Terms of a sum whose root is looked for.
const MAX_TERMS: usize = 40;

impl Quotient {
    /// `self ^ exponent` for a fractional exponent with an even denominator, where `self` is a square.
    pub(super) fn perfect_power(&self, exponent: &Rational, budget: &mut Budget) -> Result<Option<Self>, Unread> {
        if exponent.denominator() % Natural::from(2u8) != Natural::ZERO {
            return Ok(None);
        }
        let Some(over) = square_root(&self.numerator, budget)? else { return Ok(None) };
        let Some(under) = square_root(&self.denominator, budget)? else { return Ok(None) };
        let root = Self::whole(over).multiply(&Self::whole(under).invert(budget)?, budget)?;
        let doubled = Self::rational(exponent * Rational::from(2));
        root.magnitude(budget)?.power(&doubled, budget).map(Some)
    }
}

/// The polynomial whose square this is, with rational coefficients and integer exponents.
///
/// Terms are ordered by their exponents, which products respect: the first term of the root is the root of the first
/// term, and each next one is the first term of what is missing over twice that.
fn square_root(sum: &Polynomial, budget: &mut Budget) -> Result<Option<Polynomial>, Unread> {
    let count = sum.terms().count();
    let real = |(atom, power): &(Atom, Rational)| {
        let real = match atom {
            Atom::Symbol(_) | Atom::Pi | Atom::Euler => true,
            Atom::Opaque(opaque) => !matches!(opaque.function.as_ref(), "power" | "ln"),
            _ => false,
        };
        real && power.is_int()
    };
    if count == 0 || count > MAX_TERMS || !sum.terms().all(|(monomial, _)| monomial.iter().all(real)) {
        return Ok(None);
    }
    let mut atoms: Vec<&Atom> = sum.atoms().collect();
    atoms.sort();
    atoms.dedup();
    let Some((monomial, coefficient)) = first(sum, &atoms) else { return Ok(None) };
    let Some(lead) = root_of_term(monomial, coefficient, budget)? else { return Ok(None) };
    let twice = Quotient::whole(lead.scale(&Rational::from(2), budget)?).invert(budget)?;
    let mut root = lead;
    let mut missing = subtract(sum, &root.multiply(&root, budget)?, budget)?;
    for _ in 0..count {
        let Some((monomial, coefficient)) = first(&missing, &atoms) else { return Ok(Some(root)) };
        let term = Quotient::whole(Polynomial::term(coefficient.clone(), monomial.clone())).multiply(&twice, budget)?;
        if term.numerator.atoms().count() > 0
            && term.numerator.terms().any(|(m, _)| m.iter().any(|(_, power)| number::is_negative(power)))
        {
            return Ok(None);
        }
        root = root.add(&term.numerator, budget)?;
        missing = subtract(sum, &root.multiply(&root, budget)?, budget)?;
    }
    Ok(missing.is_zero().then_some(root))
}

fn subtract(a: &Polynomial, b: &Polynomial, budget: &mut Budget) -> Result<Polynomial, Unread> {
    a.add(&b.scale(&Rational::from(-1), budget)?, budget)
}

/// The term with the largest exponents, the first atom's counting most.
fn first<'a>(sum: &'a Polynomial, atoms: &[&Atom]) -> Option<(&'a Monomial, &'a Rational)> {
    let key = |monomial: &Monomial| -> Vec<Rational> {
        let powers: BTreeMap<&Atom, &Rational> = monomial.iter().map(|(atom, power)| (atom, power)).collect();
        atoms.iter().map(|atom| powers.get(atom).map_or(Rational::ZERO, |power| (*power).clone())).collect()
    };
    sum.terms().max_by_key(|(monomial, _)| key(monomial))
}

fn root_of_term(
    monomial: &Monomial,
    coefficient: &Rational,
    budget: &mut Budget,
) -> Result<Option<Polynomial>, Unread> {
    if number::is_negative(coefficient) {
        return Ok(None);
    }
    let over = Natural::try_from(coefficient.numerator().clone()).expect("checked not to be negative");
    let (Some(over), Some(under)) =
        (number::exact_root(&over, 2, budget)?, number::exact_root(coefficient.denominator(), 2, budget)?)
    else {
        return Ok(None);
    };
    let two = Integer::from(2);
    if monomial.iter().any(|(_, power)| power.numerator() % &two != Integer::ZERO) {
        return Ok(None);
    }
    let halves = monomial.iter().map(|(atom, power)| (atom.clone(), power / Rational::from(2))).collect();
    Ok(Some(Polynomial::term(Rational::from_parts(over.into(), under), halves)))
}
