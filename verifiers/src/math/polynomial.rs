//! Generalised polynomials over Q: sums of `coefficient · atom^exponent · …` with rational exponents.
//!
//! Roots of integers are atoms too: a prime to an exponent in [0, 1). Distinct products of such powers are linearly
//! independent over Q (Besicovitch 1940), so two sums of radicals are equal exactly when they have the same terms.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use dashu::{Natural, Rational};

use super::budget::{Budget, Unread};
use super::number::{self, is_proved_prime};
use super::quotient::Quotient;

/// What a term is a product of powers of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Atom {
    /// The imaginary unit, to the power 1 only: higher ones are folded into the coefficient.
    Imaginary,
    /// A prime under a root. A cofactor that could not be split counts as one.
    Prime(Natural),
    /// Euler's number.
    Euler,
    /// The circle's.
    Pi,
    /// Unbounded; only ever compared for being the same.
    Infinity,
    /// A variable.
    Symbol(Rc<str>),
    /// A sub-expression that stays symbolic.
    Opaque(Rc<Opaque>),
}

/// A function of forms that has no polynomial form itself. Its canonical text names it: equal texts are equal values.
#[derive(Debug, Clone)]
pub struct Opaque {
    /// The function: `sin`, `power`, or a name that no rule knows.
    pub function: Rc<str>,
    /// What it is applied to.
    pub arguments: Vec<Quotient>,
    /// How deep such functions are nested in it, itself counted.
    pub depth: usize,
    /// The canonical text.
    pub text: String,
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Opaque {}

impl PartialOrd for Opaque {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Opaque {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

/// Atoms with their exponents: ascending by atom, no exponent zero.
pub type Monomial = Vec<(Atom, Rational)>;

/// Terms by monomial; no coefficient is zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Polynomial {
    terms: BTreeMap<Monomial, Rational>,
}

impl Polynomial {
    /// The single term `coefficient · monomial`.
    pub fn term(coefficient: Rational, monomial: Monomial) -> Self {
        let mut terms = BTreeMap::new();
        if !coefficient.is_zero() {
            terms.insert(monomial, coefficient);
        }
        Self { terms }
    }

    /// A rational number.
    pub fn constant(value: Rational) -> Self {
        Self::term(value, Monomial::new())
    }

    /// True for the number one.
    pub fn is_one(&self) -> bool {
        self.as_term().is_some_and(|(monomial, coefficient)| monomial.is_empty() && coefficient.is_one())
    }

    /// True for the empty sum.
    pub fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value, when no atom occurs.
    pub fn as_constant(&self) -> Option<Rational> {
        match self.terms.len() {
            0 => Some(Rational::ZERO),
            1 => self.terms.get(&Monomial::new()).cloned(),
            _ => None,
        }
    }

    /// The only term, when there is exactly one.
    pub fn as_term(&self) -> Option<(&Monomial, &Rational)> {
        if self.terms.len() == 1 { self.terms.first_key_value() } else { None }
    }

    /// The coefficient of the last term; zero for the empty sum.
    pub fn leading(&self) -> Rational {
        self.terms.last_key_value().map_or(Rational::ZERO, |(_, coefficient)| coefficient.clone())
    }

    /// The term without atoms; zero where there is none.
    pub fn constant_term(&self) -> Rational {
        self.terms.get(&Monomial::new()).cloned().unwrap_or(Rational::ZERO)
    }

    /// The terms, each once.
    pub fn terms(&self) -> impl Iterator<Item = (&Monomial, &Rational)> {
        self.terms.iter()
    }

    /// Every atom that occurs.
    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.terms.keys().flatten().map(|(atom, _)| atom)
    }

    /// True when two different polynomials that hold these atoms could still be the same number.
    pub fn is_unresolved(&self) -> bool {
        self.atoms().any(|atom| match atom {
            Atom::Opaque(_) => true,
            Atom::Prime(p) => !is_proved_prime(p),
            _ => false,
        })
    }

    /// The sum.
    pub fn add(&self, other: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        let mut sum = self.clone();
        budget.spend(self.terms.len() as u64)?;
        for (monomial, coefficient) in &other.terms {
            sum.add_term(monomial.clone(), coefficient.clone(), budget)?;
        }
        Ok(sum)
    }

    /// The product with a rational number.
    pub fn scale(&self, factor: &Rational, budget: &mut Budget) -> Result<Self, Unread> {
        if factor.is_zero() {
            return Ok(Self::default());
        }
        let mut terms = BTreeMap::new();
        for (monomial, coefficient) in &self.terms {
            number::spend_bits(budget, number::bits(coefficient) + number::bits(factor))?;
            terms.insert(monomial.clone(), coefficient * factor);
        }
        Ok(Self { terms })
    }

    /// The product.
    pub fn multiply(&self, other: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        if let Some(same) = [(self, other), (other, self)].into_iter().find_map(|(a, b)| b.is_one().then_some(a)) {
            same.spend_product_with_one(budget)?;
            return Ok(same.clone());
        }
        let mut product = Self::default();
        for (left, a) in &self.terms {
            for (right, b) in &other.terms {
                number::spend_bits(budget, number::bits(a) + number::bits(b))?;
                // Each atom may be a name on the heap, and the sum is searched for the product's monomial.
                budget.spend(40 + (left.len() + right.len()) as u64 * 16)?;
                let (monomial, factor) = multiply_monomials(left, right, budget)?;
                product.add_term(monomial, a * b * factor, budget)?;
            }
        }
        Ok(product)
    }

    /// Spends what the product with one would cost as any other: what an answer may be does not depend on how it is computed.
    pub fn spend_product_with_one(&self, budget: &mut Budget) -> Result<(), Unread> {
        self.terms.keys().try_for_each(|monomial| budget.spend(40 + monomial.len() as u64 * 16))
    }

    /// Multiplies by the smallest monomial that leaves no negative exponent.
    pub fn clear_negative_powers(&self, budget: &mut Budget) -> Result<Self, Unread> {
        let mut lowest: BTreeMap<Atom, Rational> = BTreeMap::new();
        for (atom, exponent) in self.terms.keys().flatten() {
            budget.spend(8)?;
            let least = lowest.entry(atom.clone()).or_insert(Rational::ZERO);
            if exponent < least {
                *least = exponent.clone();
            }
        }
        let shift: Monomial = lowest.into_iter().filter(|(_, e)| !e.is_zero()).map(|(atom, e)| (atom, -e)).collect();
        self.multiply(&Self::term(Rational::ONE, shift), budget)
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: Rational, budget: &mut Budget) -> Result<(), Unread> {
        use std::collections::btree_map::Entry;
        if coefficient.is_zero() {
            return Ok(());
        }
        match self.terms.entry(monomial) {
            Entry::Vacant(entry) => {
                entry.insert(coefficient);
            }
            Entry::Occupied(mut entry) => {
                number::spend_bits(budget, number::bits(entry.get()) + number::bits(&coefficient))?;
                let sum = entry.get() + coefficient;
                if sum.is_zero() {
                    entry.remove();
                } else {
                    entry.insert(sum);
                }
            }
        }
        Ok(())
    }
}

/// The product of two monomials and the rational factor that falls out of it: whole powers of primes, i² = −1.
fn multiply_monomials(left: &Monomial, right: &Monomial, budget: &mut Budget) -> Result<(Monomial, Rational), Unread> {
    let (mut product, mut factor) = (Monomial::with_capacity(left.len() + right.len()), Rational::ONE);
    let (mut a, mut b) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let (atom, exponent) = match (a.peek(), b.peek()) {
            (None, None) => return Ok((product, factor)),
            (Some(x), Some(y)) if x.0 == y.0 => {
                let merged = (x.0.clone(), &x.1 + &y.1);
                a.next();
                b.next();
                merged
            }
            (Some(x), Some(y)) if x.0 < y.0 => {
                let taken = (*x).clone();
                a.next();
                taken
            }
            (Some(x), None) => {
                let taken = (*x).clone();
                a.next();
                taken
            }
            (_, Some(y)) => {
                let taken = (*y).clone();
                b.next();
                taken
            }
        };
        let (whole, rest) = settle(&atom, exponent, budget)?;
        factor *= whole;
        if !rest.is_zero() {
            product.push((atom, rest));
        }
    }
}

/// Splits `atom ^ exponent` into a rational factor and the exponent that stays.
pub fn settle(atom: &Atom, exponent: Rational, budget: &mut Budget) -> Result<(Rational, Rational), Unread> {
    match atom {
        Atom::Prime(prime) => {
            let whole = Rational::from(exponent.floor());
            let base = Rational::from(dashu::Integer::from(prime.clone()));
            let factor = number::power(&base, &whole, budget)?.ok_or(Unread::Limit("digits"))?;
            Ok((factor, exponent - whole))
        }
        Atom::Imaginary => {
            let quarter = (exponent.floor() % dashu::Integer::from(4) + 4) % dashu::Integer::from(4);
            let sign = if quarter >= dashu::Integer::from(2) { -1 } else { 1 };
            Ok((Rational::from(sign), Rational::from(quarter % dashu::Integer::from(2))))
        }
        _ => Ok((Rational::ONE, exponent)),
    }
}

impl fmt::Display for Polynomial {
    /// The canonical text: the same for the same terms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        for (i, (monomial, coefficient)) in self.terms.iter().enumerate() {
            write!(f, "{}{coefficient}", if i > 0 { "+" } else { "" })?;
            for (atom, exponent) in monomial {
                match atom {
                    Atom::Imaginary => f.write_str("*i")?,
                    Atom::Prime(p) => write!(f, "*{p}")?,
                    Atom::Euler => f.write_str("*e")?,
                    Atom::Pi => f.write_str("*pi")?,
                    Atom::Infinity => f.write_str("*inf")?,
                    Atom::Symbol(name) => write!(f, "*{name}")?,
                    Atom::Opaque(opaque) => write!(f, "*<{}>", opaque.text)?,
                }
                if !exponent.is_one() {
                    write!(f, "^({exponent})")?;
                }
            }
        }
        Ok(())
    }
}
