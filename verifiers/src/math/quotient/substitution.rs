//! A variable's value in its place, inside of functions too.

use dashu::Rational;

use super::Quotient;
use crate::math::budget::{Budget, Unread};
use crate::math::polynomial::{Atom, Monomial, Polynomial};

impl Quotient {
    /// True when the variable occurs.
    pub fn holds(&self, variable: &str) -> bool {
        self.atoms().any(|atom| match atom {
            Atom::Symbol(name) => **name == *variable,
            Atom::Opaque(opaque) => opaque.arguments.iter().any(|argument| argument.holds(variable)),
            _ => false,
        })
    }

    /// The form with `value` for `variable`.
    ///
    /// # Errors
    /// [`Unread::Malformed`] where that divides by zero.
    pub fn substituted(&self, variable: &str, value: &Self, budget: &mut Budget) -> Result<Self, Unread> {
        if !self.holds(variable) {
            return Ok(self.clone());
        }
        let over = substituted(&self.numerator, variable, value, budget)?;
        if self.is_whole() {
            return Ok(over);
        }
        over.multiply(&substituted(&self.denominator, variable, value, budget)?.invert(budget)?, budget)
    }
}

fn substituted(sum: &Polynomial, variable: &str, value: &Quotient, budget: &mut Budget) -> Result<Quotient, Unread> {
    let mut total = Quotient::rational(Rational::ZERO);
    for (monomial, coefficient) in sum.terms() {
        let mut term = Quotient::rational(coefficient.clone());
        let mut kept = Monomial::new();
        for (atom, power) in monomial {
            budget.spend(20)?;
            let base = match atom {
                Atom::Symbol(name) if **name == *variable => value.clone(),
                Atom::Opaque(opaque) if opaque.arguments.iter().any(|argument| argument.holds(variable)) => {
                    let arguments = opaque
                        .arguments
                        .iter()
                        .map(|argument| argument.substituted(variable, value, budget))
                        .collect::<Result<Vec<_>, _>>()?;
                    rebuilt(&opaque.function, &arguments, budget)?
                }
                _ => {
                    kept.push((atom.clone(), power.clone()));
                    continue;
                }
            };
            term = term.multiply(&base.power(&Quotient::rational(power.clone()), budget)?, budget)?;
        }
        let rest = Quotient::whole(Polynomial::term(Rational::ONE, kept));
        total = total.add(&term.multiply(&rest, budget)?, budget)?;
    }
    Ok(total)
}

/// The function of other arguments, in its canonical form.
fn rebuilt(function: &str, arguments: &[Quotient], budget: &mut Budget) -> Result<Quotient, Unread> {
    match (function, arguments) {
        ("power", [base, exponent]) => base.power(exponent, budget),
        ("abs", [of]) => of.magnitude(budget),
        ("max" | "min" | "gcd" | "lcm", arguments) => {
            let mut sorted: Vec<&Quotient> = arguments.iter().collect();
            sorted.sort_by_cached_key(|form| form.to_string());
            Quotient::opaque(function, &sorted, budget)
        }
        (function, [of]) => Quotient::function(function, of, budget),
        _ => Quotient::opaque(function, &arguments.iter().collect::<Vec<_>>(), budget),
    }
}
