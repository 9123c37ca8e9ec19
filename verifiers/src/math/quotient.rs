//! Quotients of generalised polynomials: the canonical form in which values are computed and compared.
//!
//! Equality is exact, by cross-multiplication. What has no such form (a sine, a power over the size limit) becomes an
//! opaque atom named by its canonical text: equal texts are equal values, and unequal ones prove nothing
//! ([`Quotient::is_unresolved`]).

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use dashu::{Integer, Natural, Rational};

use super::budget::{Budget, Unread};
use super::number;
use super::polynomial::{Atom, Monomial, Opaque, Polynomial, settle};

mod absolute;
mod calculus;
mod perfect;
mod substitution;
mod symbolic_power;

/// Characters that the canonical text of an opaque atom may have.
const MAX_OPAQUE_CHARS: usize = 24_000;

/// How deep opaque atoms may be nested in each other; whoever walks them may recurse.
const MAX_OPAQUE_DEPTH: usize = 220;

/// A sum with more than one term is only multiplied out up to this exponent.
const MAX_EXPANDED_POWER: i64 = 64;

/// `numerator / denominator`; a denominator of one term is always folded into the numerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotient {
    numerator: Polynomial,
    denominator: Polynomial,
}

impl Quotient {
    /// A rational number.
    pub fn rational(value: Rational) -> Self {
        Self::whole(Polynomial::constant(value))
    }

    /// A single atom.
    pub fn atom(atom: Atom) -> Self {
        Self::whole(Polynomial::term(Rational::ONE, vec![(atom, Rational::ONE)]))
    }

    /// `name(arguments)`, kept symbolic.
    ///
    /// # Errors
    /// [`Unread::Limit`] when its text is too long.
    pub fn opaque(name: &str, arguments: &[&Self], budget: &mut Budget) -> Result<Self, Unread> {
        let mut text = name.to_owned();
        let mut depth = 1;
        for argument in arguments {
            use std::fmt::Write;
            write!(text, "({argument})").expect("writing to a string");
            budget.spend(text.len() as u64)?;
            if text.len() > MAX_OPAQUE_CHARS {
                return Err(Unread::Limit("a symbolic term's size"));
            }
            let inner = argument.atoms().filter_map(|atom| match atom {
                Atom::Opaque(opaque) => Some(opaque.depth + 1),
                _ => None,
            });
            depth = inner.fold(depth, usize::max);
        }
        if depth > MAX_OPAQUE_DEPTH {
            return Err(Unread::Limit("a symbolic term's depth"));
        }
        let arguments = arguments.iter().map(|argument| (*argument).clone()).collect();
        Ok(Self::atom(Atom::Opaque(Rc::new(Opaque { function: name.into(), arguments, depth, text }))))
    }

    /// `name(of)`, kept symbolic: of an odd or an even function that of the argument whose leading coefficient is positive, since
    /// sin(−x) = −sin x and cos(−x) = cos x.
    ///
    /// # Errors
    /// As [`Self::opaque`].
    pub fn function(name: &str, of: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        let is_odd = matches!(name, "sin" | "arcsin" | "arctan" | "sinh" | "tanh");
        let is_even = matches!(name, "cos" | "cosh");
        if !(is_odd || is_even) || !number::is_negative(&of.numerator.leading()) {
            return Self::opaque(name, &[of], budget);
        }
        let turned = Self::opaque(name, &[&of.negate(budget)?], budget)?;
        if is_odd { turned.negate(budget) } else { Ok(turned) }
    }

    /// The function and its arguments, when the form is one opaque atom.
    pub fn as_opaque(&self) -> Option<&Opaque> {
        match self.numerator.as_term() {
            Some((monomial, coefficient)) if self.is_whole() && coefficient.is_one() => match monomial.as_slice() {
                [(Atom::Opaque(opaque), power)] if power.is_one() => Some(opaque),
                _ => None,
            },
            _ => None,
        }
    }

    /// Every atom of the numerator and the denominator.
    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.numerator.atoms().chain(self.denominator.atoms())
    }

    /// Adds the names of the variables, those inside of functions included.
    pub fn collect_variables<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        for atom in self.atoms() {
            match atom {
                Atom::Symbol(name) => {
                    names.insert(name);
                }
                Atom::Opaque(opaque) => opaque.arguments.iter().for_each(|argument| argument.collect_variables(names)),
                _ => {}
            }
        }
    }

    /// The polynomial under the numerator.
    pub fn denominator(&self) -> &Polynomial {
        &self.denominator
    }

    /// A polynomial over 1.
    pub fn from_polynomial(numerator: Polynomial) -> Self {
        Self::whole(numerator)
    }

    fn whole(numerator: Polynomial) -> Self {
        Self { numerator, denominator: Polynomial::constant(Rational::ONE) }
    }

    /// The value, when it is a rational number.
    pub fn as_rational(&self) -> Option<Rational> {
        self.is_whole().then(|| self.numerator.as_constant()).flatten()
    }

    /// The polynomial over the denominator.
    pub fn numerator(&self) -> &Polynomial {
        &self.numerator
    }

    /// True when the denominator is 1.
    pub fn is_whole(&self) -> bool {
        self.denominator.is_one()
    }

    /// True when two different forms that hold these atoms could still be the same value.
    pub fn is_unresolved(&self) -> bool {
        self.numerator.is_unresolved() || self.denominator.is_unresolved()
    }

    /// The sum.
    pub fn add(&self, other: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        if self.denominator == other.denominator {
            return Self::reduced(self.numerator.add(&other.numerator, budget)?, self.denominator.clone(), budget);
        }
        let left = self.numerator.multiply(&other.denominator, budget)?;
        let right = other.numerator.multiply(&self.denominator, budget)?;
        let denominator = self.denominator.multiply(&other.denominator, budget)?;
        Self::reduced(left.add(&right, budget)?, denominator, budget)
    }

    /// The negative.
    pub fn negate(&self, budget: &mut Budget) -> Result<Self, Unread> {
        let numerator = self.numerator.scale(&Rational::from(-1), budget)?;
        Ok(Self { numerator, denominator: self.denominator.clone() })
    }

    /// The difference.
    pub fn subtract(&self, other: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        self.add(&other.negate(budget)?, budget)
    }

    /// The product.
    pub fn multiply(&self, other: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        let numerator = self.numerator.multiply(&other.numerator, budget)?;
        if self.is_whole() && other.is_whole() {
            return Ok(Self::whole(numerator));
        }
        let denominator = self.denominator.multiply(&other.denominator, budget)?;
        Self::reduced(numerator, denominator, budget)
    }

    /// `1 / self`.
    ///
    /// # Errors
    /// [`Unread::Malformed`] for zero.
    pub fn invert(&self, budget: &mut Budget) -> Result<Self, Unread> {
        if self.numerator.is_zero() {
            return Err(Unread::Malformed("a division by zero"));
        }
        Self::reduced(self.denominator.clone(), self.numerator.clone(), budget)
    }

    /// Exact equality of the forms; see [`Self::is_unresolved`] for what inequality proves.
    pub fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, Unread> {
        if self.denominator == other.denominator {
            return Ok(self.numerator == other.numerator);
        }
        let left = self.numerator.multiply(&other.denominator, budget)?;
        Ok(left == other.numerator.multiply(&self.denominator, budget)?)
    }

    /// Folds a one-term denominator into the numerator, and makes the last coefficient of any other denominator 1.
    fn reduced(numerator: Polynomial, denominator: Polynomial, budget: &mut Budget) -> Result<Self, Unread> {
        if numerator.is_zero() || numerator == denominator {
            return Ok(Self::rational(if numerator.is_zero() { Rational::ZERO } else { Rational::ONE }));
        }
        if denominator.is_one() {
            numerator.spend_product_with_one(budget)?;
            return Ok(Self::whole(numerator));
        }
        if let Some((monomial, coefficient)) = denominator.as_term() {
            let inverse =
                power_of_term(monomial, coefficient, &Rational::from(-1), budget)?.ok_or(Unread::Limit("digits"))?;
            return Ok(Self::whole(numerator.multiply(&inverse, budget)?));
        }
        let scale = denominator.leading();
        number::spend_bits(budget, number::bits(&scale))?;
        let scale = Rational::ONE / scale;
        Ok(Self { numerator: numerator.scale(&scale, budget)?, denominator: denominator.scale(&scale, budget)? })
    }

    /// `self ^ exponent`. What is over a limit or has no exact form stays symbolic.
    pub fn power(&self, exponent: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        if let Some(value) = self.of_logarithm(exponent, budget)? {
            return Ok(value);
        }
        let Some(e) = exponent.as_rational() else {
            return self.symbolic_power(exponent, budget);
        };
        if e.is_one() {
            return Ok(self.clone());
        }
        if self.numerator.is_zero() {
            return if number::is_negative(&e) || e.is_zero() {
                Err(Unread::Malformed("zero to a power that is not positive"))
            } else {
                Ok(self.clone())
            };
        }
        if e.is_zero() {
            return Ok(Self::rational(Rational::ONE));
        }
        if let (true, Some((monomial, coefficient))) = (self.is_whole(), self.numerator.as_term()) {
            if let Some(form) = power_of_term(monomial, coefficient, &e, budget)? {
                return Ok(Self::whole(form));
            }
            if let Some(root) = self.perfect_power(&e, budget)? {
                return Ok(root);
            }
            return Self::opaque("power", &[self, exponent], budget);
        }
        if !e.is_int()
            && let Some(root) = self.perfect_power(&e, budget)?
        {
            return Ok(root);
        }
        match number::small_integer(&e) {
            Some(n) if n.abs() <= MAX_EXPANDED_POWER => {
                let base = if n < 0 { self.invert(budget)? } else { self.clone() };
                base.repeated_product(n.unsigned_abs(), budget)
            }
            _ => Self::opaque("power", &[self, exponent], budget),
        }
    }

    /// `e^{c ln u} = u^c`
    fn of_logarithm(&self, exponent: &Self, budget: &mut Budget) -> Result<Option<Self>, Unread> {
        let Some((monomial, factor)) = exponent.numerator.as_term().filter(|_| exponent.is_whole()) else {
            return Ok(None);
        };
        match monomial.as_slice() {
            [(Atom::Opaque(opaque), power)]
                if power.is_one() && *opaque.function == *"ln" && *self == Self::atom(Atom::Euler) =>
            {
                opaque.arguments[0].power(&Self::rational(factor.clone()), budget).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Square and multiply.
    fn repeated_product(&self, mut n: u64, budget: &mut Budget) -> Result<Self, Unread> {
        let (mut square, mut product) = (self.clone(), Self::rational(Rational::ONE));
        while n > 0 {
            if n & 1 == 1 {
                product = product.multiply(&square, budget)?;
            }
            n >>= 1;
            if n > 0 {
                square = square.multiply(&square, budget)?;
            }
        }
        Ok(product)
    }

    /// The real `index`-th root where the value is rational, the principal one otherwise.
    pub fn root(&self, index: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        if let (Some(value), Some(n)) =
            (self.as_rational(), index.as_rational().as_ref().and_then(number::small_integer))
            && number::is_negative(&value)
            && n % 2 != 0
        {
            // An odd root of a negative number is real by convention; a fractional power is not.
            return self.negate(budget)?.root(index, budget)?.negate(budget);
        }
        self.power(&index.invert(budget)?, budget)
    }
}

impl fmt::Display for Quotient {
    /// The canonical text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            write!(f, "{}", self.numerator)
        } else {
            write!(f, "({})/({})", self.numerator, self.denominator)
        }
    }
}

/// `(coefficient · monomial) ^ exponent` as one term; `None` when there is no such form within the limits.
fn power_of_term(
    monomial: &Monomial,
    coefficient: &Rational,
    exponent: &Rational,
    budget: &mut Budget,
) -> Result<Option<Polynomial>, Unread> {
    let scalar = if exponent.is_int() {
        number::power(coefficient, exponent, budget)?.map(Polynomial::constant)
    } else {
        fractional_power(coefficient, exponent, budget)?
    };
    let Some(mut product) = scalar else { return Ok(None) };
    let signed = monomial.iter().filter(|(atom, _)| !is_positive(atom)).count();
    for (atom, power) in monomial {
        // Two factors below zero have a product above it: √(xy) is not √x √y.
        if !(exponent.is_int() || is_positive(atom) || signed == 1 && splits_under_root(atom, power)) {
            return Ok(None);
        }
        let (factor, rest) = settle(atom, power * exponent, budget)?;
        let monomial = if rest.is_zero() { Monomial::new() } else { vec![(atom.clone(), rest)] };
        product = product.multiply(&Polynomial::term(factor, monomial), budget)?;
    }
    Ok(Some(product))
}

fn is_positive(atom: &Atom) -> bool {
    match atom {
        Atom::Prime(_) | Atom::Euler | Atom::Pi => true,
        Atom::Opaque(opaque) => *opaque.function == *"abs",
        _ => false,
    }
}

/// Whether a fractional power of `atom ^ power` is the atom to the product of both. A variable to an odd power is taken
/// to be positive, because its root is real nowhere else; (x²)^½ is |x| and is not.
fn splits_under_root(atom: &Atom, power: &Rational) -> bool {
    matches!(atom, Atom::Symbol(_)) && power.is_int() && power.numerator() % Integer::from(2) != Integer::ZERO
}

/// A rational number to a fractional power, as a product of prime roots; √−c is i√c.
fn fractional_power(value: &Rational, exponent: &Rational, budget: &mut Budget) -> Result<Option<Polynomial>, Unread> {
    if number::is_negative(value) {
        if *exponent != Rational::from_parts(Integer::ONE, Natural::from(2u8)) {
            return Ok(None);
        }
        let Some(root) = fractional_power(&number::magnitude(value), exponent, budget)? else { return Ok(None) };
        let unit = Polynomial::term(Rational::ONE, vec![(Atom::Imaginary, Rational::ONE)]);
        return root.multiply(&unit, budget).map(Some);
    }
    let (numerator, denominator) = value.clone().into_parts();
    let numerator: Natural = numerator.try_into().expect("a negative value was handled above");
    let Some(over) = natural_to_power(&numerator, exponent, budget)? else { return Ok(None) };
    let Some(under) = natural_to_power(&denominator, &-exponent.clone(), budget)? else { return Ok(None) };
    over.multiply(&under, budget).map(Some)
}

/// A natural number to a fractional power.
fn natural_to_power(value: &Natural, exponent: &Rational, budget: &mut Budget) -> Result<Option<Polynomial>, Unread> {
    let index = usize::try_from(exponent.denominator().clone()).unwrap_or(usize::MAX);
    if let Some(root) = number::exact_root(value, index, budget)? {
        let whole = Rational::from(exponent.numerator().clone());
        return Ok(number::power(&Rational::from(Integer::from(root)), &whole, budget)?.map(Polynomial::constant));
    }
    let Some(factors) = number::factor(value, budget)? else { return Ok(None) };
    let mut product = Polynomial::constant(Rational::ONE);
    for (prime, times) in factors {
        let atom = Atom::Prime(prime);
        let power = exponent * Rational::from(times);
        let (factor, rest) = settle(&atom, power, budget)?;
        let monomial = if rest.is_zero() { Monomial::new() } else { vec![(atom, rest)] };
        product = product.multiply(&Polynomial::term(factor, monomial), budget)?;
    }
    Ok(Some(product))
}
