//! Derivatives, integrals of polynomials, and coefficients by powers of one variable.

use dashu::Rational;

use super::Quotient;
use crate::math::budget::{Budget, Unread};
use crate::math::number;
use crate::math::polynomial::{Atom, Monomial, Opaque, Polynomial};

/// What may have no answer, within the budget.
type Found = Result<Option<Quotient>, Unread>;

impl Quotient {
    /// The derivative; `None` where a function in it has none that is known here.
    pub fn derivative(&self, variable: &str, budget: &mut Budget) -> Found {
        let Some(over) = derivative(&self.numerator, variable, budget)? else { return Ok(None) };
        if self.is_whole() {
            return Ok(Some(over));
        }
        let Some(under) = derivative(&self.denominator, variable, budget)? else { return Ok(None) };
        let (n, d) = (Self::whole(self.numerator.clone()), Self::whole(self.denominator.clone()));
        let top = over.multiply(&d, budget)?.subtract(&n.multiply(&under, budget)?, budget)?;
        top.multiply(&d.multiply(&d, budget)?.invert(budget)?, budget).map(Some)
    }

    /// A form whose derivative this is, when it is a polynomial in the variable.
    pub fn antiderivative(&self, variable: &str, budget: &mut Budget) -> Found {
        if !self.is_whole() {
            return Ok(None);
        }
        let mut total = Self::rational(Rational::ZERO);
        for (monomial, coefficient) in self.numerator.terms() {
            let Some((power, rest)) = split(monomial, variable) else { return Ok(None) };
            if !power.is_int() || number::is_negative(&power) {
                return Ok(None);
            }
            let raised = power + Rational::ONE;
            let mut term = Self::whole(Polynomial::term(coefficient / &raised, rest));
            let base = Self::atom(Atom::Symbol(variable.into()));
            term = term.multiply(&base.power(&Self::rational(raised), budget)?, budget)?;
            total = total.add(&term, budget)?;
        }
        Ok(Some(total))
    }

    /// The coefficients of the powers of a variable, from the 0th on; `None` where it occurs in another way or a power
    /// is over the limit.
    pub fn coefficients(&self, variable: &str, limit: usize, budget: &mut Budget) -> Result<Option<Vec<Self>>, Unread> {
        if !self.is_whole() {
            return Ok(None);
        }
        let mut all = vec![Self::rational(Rational::ZERO)];
        for (monomial, coefficient) in self.numerator.terms() {
            let Some((power, rest)) = split(monomial, variable) else { return Ok(None) };
            let Some(at) = number::small_integer(&power).and_then(|power| usize::try_from(power).ok()) else {
                return Ok(None);
            };
            if at > limit {
                return Ok(None);
            }
            while all.len() <= at {
                all.push(Self::rational(Rational::ZERO));
            }
            all[at] = all[at].add(&Self::whole(Polynomial::term(coefficient.clone(), rest)), budget)?;
        }
        Ok(Some(all))
    }
}

/// The power of a variable in a monomial and the rest; `None` where a function holds it.
fn split(monomial: &Monomial, variable: &str) -> Option<(Rational, Monomial)> {
    let (mut power, mut rest) = (Rational::ZERO, Monomial::new());
    for (atom, exponent) in monomial {
        match atom {
            Atom::Symbol(name) if **name == *variable => power = exponent.clone(),
            Atom::Opaque(opaque) if opaque.arguments.iter().any(|argument| argument.holds(variable)) => return None,
            _ => rest.push((atom.clone(), exponent.clone())),
        }
    }
    Some((power, rest))
}

fn derivative(sum: &Polynomial, variable: &str, budget: &mut Budget) -> Found {
    let mut total = Quotient::rational(Rational::ZERO);
    for (monomial, coefficient) in sum.terms() {
        for (at, (atom, power)) in monomial.iter().enumerate() {
            let inner = match atom {
                Atom::Symbol(name) if **name == *variable => Quotient::rational(Rational::ONE),
                Atom::Opaque(opaque) if opaque.arguments.iter().any(|argument| argument.holds(variable)) => {
                    match of_function(opaque, variable, budget)? {
                        Some(inner) => inner,
                        None => return Ok(None),
                    }
                }
                _ => continue,
            };
            let mut rest = monomial.clone();
            rest.remove(at);
            let rest = Quotient::whole(Polynomial::term(coefficient * power, rest));
            let lowered = Quotient::atom(atom.clone()).power(&Quotient::rational(power - Rational::ONE), budget)?;
            let term = rest.multiply(&lowered, budget)?.multiply(&inner, budget)?;
            total = total.add(&term, budget)?;
        }
    }
    Ok(Some(total))
}

/// The derivative of a function, by the chain rule.
fn of_function(opaque: &Opaque, variable: &str, budget: &mut Budget) -> Found {
    let one = Quotient::rational(Rational::ONE);
    let itself =
        |budget: &mut Budget| Quotient::opaque(&opaque.function, &opaque.arguments.iter().collect::<Vec<_>>(), budget);
    let (argument, outer) = match (opaque.function.as_ref(), opaque.arguments.as_slice()) {
        ("power", [base, exponent]) if !base.holds(variable) && *base == Quotient::atom(Atom::Euler) => {
            (exponent, itself(budget)?)
        }
        ("power", [base, exponent]) if !base.holds(variable) => {
            (exponent, itself(budget)?.multiply(&Quotient::opaque("ln", &[base], budget)?, budget)?)
        }
        ("power", [base, exponent]) if !exponent.holds(variable) => {
            let lowered = exponent.subtract(&one, budget)?;
            (base, exponent.multiply(&base.power(&lowered, budget)?, budget)?)
        }
        ("sin", [x]) => (x, Quotient::opaque("cos", &[x], budget)?),
        ("cos", [x]) => (x, Quotient::opaque("sin", &[x], budget)?.negate(budget)?),
        ("tan", [x]) => {
            let cosine = Quotient::opaque("cos", &[x], budget)?;
            (x, cosine.multiply(&cosine, budget)?.invert(budget)?)
        }
        ("ln", [x]) => (x, x.invert(budget)?),
        ("arctan", [x]) => (x, one.add(&x.multiply(x, budget)?, budget)?.invert(budget)?),
        _ => return Ok(None),
    };
    let Some(inner) = argument.derivative(variable, budget)? else { return Ok(None) };
    outer.multiply(&inner, budget).map(Some)
}
