//! Functions of forms: exact where they have an exact value, opaque elsewhere.

use std::cmp::Ordering;
use std::rc::Rc;

use dashu::base::Gcd;
use dashu::{Integer, Natural, Rational};

use super::{Evaluator, LogBase, form_of};
use crate::math::answer::Answer;
use crate::math::budget::{Budget, Unread};
use crate::math::number;
use crate::math::numeric;
use crate::math::polynomial::{Atom, Monomial};
use crate::math::quotient::Quotient;

/// Binomials of a variable over so much are polynomials.
const MAX_FALLING: i64 = 12;

impl Evaluator<'_> {
    /// A function of a rational number that has an exact value, else the symbol of it.
    pub(super) fn exact_or_opaque(
        &mut self,
        name: &str,
        of: &Quotient,
        exact: impl Fn(&Rational, &mut Budget) -> Result<Option<Rational>, Unread>,
    ) -> Result<Quotient, Unread> {
        if let Some(argument) = of.as_rational()
            && let Some(value) = exact(&argument, self.budget)?
        {
            return Ok(Quotient::rational(value));
        }
        Quotient::opaque(name, &[of], self.budget)
    }

    pub(super) fn absolute(&mut self, of: Quotient) -> Result<Quotient, Unread> {
        if let Some(value) = of.as_rational() {
            return Ok(Quotient::rational(number::magnitude(&value)));
        }
        let constant = !of.atoms().any(|atom| matches!(atom, Atom::Symbol(_) | Atom::Infinity));
        match if constant { numeric::sign(&of, self.budget)? } else { None } {
            Some(Ordering::Less) => of.negate(self.budget),
            Some(_) => Ok(of),
            None => of.magnitude(self.budget),
        }
    }

    /// `n!`; of a sum with an integer, `(n + 2)! = n! (n + 1) (n + 2)`, so that neighbours have one form.
    pub(super) fn factorial(&mut self, of: &Quotient) -> Result<Quotient, Unread> {
        let shift = if of.is_whole() { of.numerator().constant_term() } else { Rational::ZERO };
        let shift = match number::small_integer(&shift) {
            Some(shift) if of.as_rational().is_none() && shift.abs() <= MAX_FALLING => shift,
            _ => return self.exact_or_opaque("factorial", of, number::factorial),
        };
        let base = of.add(&Quotient::rational(Rational::from(-shift)), self.budget)?;
        let mut product = Quotient::opaque("factorial", &[&base], self.budget)?;
        for i in shift.min(0) + 1..=shift.max(0) {
            let factor = base.add(&Quotient::rational(Rational::from(i)), self.budget)?;
            let factor = if shift < 0 { factor.invert(self.budget)? } else { factor };
            product = product.multiply(&factor, self.budget)?;
        }
        Ok(product)
    }

    /// `Γ(z) = (z - 1)!`
    pub(super) fn gamma(&mut self, of: &Quotient) -> Result<Quotient, Unread> {
        let below = of.add(&Quotient::rational(Rational::from(-1)), self.budget)?;
        self.factorial(&below)
    }

    pub(super) fn binomial(&mut self, n: &Quotient, k: &Quotient) -> Result<Quotient, Unread> {
        if let (Some(n), Some(k)) = (n.as_rational(), k.as_rational())
            && let Some(value) = number::binomial(&n, &k, self.budget)?
        {
            return Ok(Quotient::rational(value));
        }
        if let Some(k @ 0..=MAX_FALLING) = k.as_rational().as_ref().and_then(number::small_integer) {
            return self.falling(n, k);
        }
        // n over n − k is n over k, so a small difference is a product too.
        let rest = n.subtract(k, self.budget)?;
        if let Some(k @ 0..=MAX_FALLING) = rest.as_rational().as_ref().and_then(number::small_integer) {
            return self.falling(n, k);
        }
        let (over, one, other) = (self.factorial(n)?, self.factorial(k)?, self.factorial(&rest)?);
        over.multiply(&one.multiply(&other, self.budget)?.invert(self.budget)?, self.budget)
    }

    /// `n (n - 1) … (n - k + 1) / k!`
    fn falling(&mut self, n: &Quotient, k: i64) -> Result<Quotient, Unread> {
        let mut product = Quotient::rational(Rational::ONE);
        for i in 0..k {
            let factor = n.add(&Quotient::rational(Rational::from(-i)), self.budget)?;
            let share = Quotient::rational(Rational::ONE / Rational::from(i + 1));
            product = product.multiply(&factor, self.budget)?.multiply(&share, self.budget)?;
        }
        Ok(product)
    }

    /// `n! / (n - k)!`
    pub(super) fn arrangements(&mut self, n: &Quotient, k: &Quotient) -> Result<Quotient, Unread> {
        let chosen = self.binomial(n, k)?;
        let ways = self.factorial(k)?;
        chosen.multiply(&ways, self.budget)
    }

    pub(super) fn remainder(&mut self, a: &Quotient, b: &Quotient) -> Result<Quotient, Unread> {
        if let (Some(a), Some(b)) = (a.as_rational(), b.as_rational())
            && a.is_int()
            && b.is_int()
            && b > Rational::ZERO
        {
            number::spend_bits(self.budget, number::bits(&a) + number::bits(&b))?;
            let quotient = Rational::from((&a / &b).floor());
            return Ok(Quotient::rational(a - quotient * b));
        }
        Quotient::opaque("remainder", &[a, b], self.budget)
    }

    /// A named function of whatever stands behind it.
    pub(super) fn call(&mut self, name: &str, of: Answer) -> Result<Quotient, Unread> {
        let of = match (name, of) {
            ("gcd" | "lcm" | "max" | "min", Answer::Sequence(_, items, _)) => return self.of_several(name, items),
            ("det", Answer::Matrix { rows, cells }) => return self.determinant(rows, cells),
            // An angle in degrees is that of so many radians.
            (_, Answer::Value(value)) if value.unit.as_ref().is_some_and(|unit| unit.is_degree()) => {
                self.in_radians(&value.form)?
            }
            (_, of) => form_of(of)?,
        };
        let argument = of.as_rational();
        let zero = argument.as_ref().is_some_and(Rational::is_zero);
        match name {
            "gamma" => self.gamma(&of),
            // cos x + i sin x
            "cis" if zero => Ok(Quotient::rational(Rational::ONE)),
            "cis" => {
                let sine = Quotient::function("sin", &of, self.budget)?;
                let cosine = Quotient::function("cos", &of, self.budget)?;
                cosine.add(&sine.multiply(&Quotient::atom(Atom::Imaginary), self.budget)?, self.budget)
            }
            // One form for what is written in several.
            "sec" | "csc" | "cot" | "tan" => self.by_sine_and_cosine(name, &of),
            "exp" => Quotient::atom(Atom::Euler).power(&of, self.budget),
            "ln" => self.natural_logarithm(&of),
            "log" if self.reader.log_base == LogBase::Natural => self.natural_logarithm(&of),
            "log" | "lg" => self.logarithm(&Quotient::rational(Rational::from(10)), &of),
            "sin" | "arcsin" | "arctan" | "sinh" | "tanh" if zero => Ok(Quotient::rational(Rational::ZERO)),
            "cos" | "cosh" if zero => Ok(Quotient::rational(Rational::ONE)),
            _ => Quotient::function(name, &of, self.budget),
        }
    }

    fn by_sine_and_cosine(&mut self, name: &str, of: &Quotient) -> Result<Quotient, Unread> {
        let (sine, cosine) = if of.numerator().is_zero() {
            (Quotient::rational(Rational::ZERO), Quotient::rational(Rational::ONE))
        } else {
            (Quotient::function("sin", of, self.budget)?, Quotient::function("cos", of, self.budget)?)
        };
        let one = Quotient::rational(Rational::ONE);
        let (over, under) = match name {
            "sec" => (one, cosine),
            "csc" => (one, sine),
            "cot" => (cosine, sine),
            _ => (sine, cosine),
        };
        over.multiply(&under.invert(self.budget)?, self.budget)
    }

    /// So many degrees in radians.
    fn in_radians(&mut self, degrees: &Quotient) -> Result<Quotient, Unread> {
        let half_turn = Quotient::rational(Rational::from_parts(Integer::ONE, Natural::from(180u8)));
        degrees.multiply(&half_turn, self.budget)?.multiply(&Quotient::atom(Atom::Pi), self.budget)
    }

    fn of_several(&mut self, name: &str, items: Vec<Answer>) -> Result<Quotient, Unread> {
        let forms = items.into_iter().map(form_of).collect::<Result<Vec<_>, _>>()?;
        let rationals: Option<Vec<Rational>> = forms.iter().map(Quotient::as_rational).collect();
        if let Some(values) = rationals {
            self.budget.spend(values.iter().map(|value| number::bits(value) as u64 + 8).sum())?;
            let whole = values.iter().all(Rational::is_int);
            let value = match name {
                "max" => values.into_iter().max(),
                "min" => values.into_iter().min(),
                _ if whole => fold_integers(name, &values, self.budget)?,
                _ => None,
            };
            if let Some(value) = value {
                return Ok(Quotient::rational(value));
            }
        }
        let mut sorted: Vec<&Quotient> = forms.iter().collect();
        sorted.sort_by_cached_key(|form| form.to_string());
        Quotient::opaque(name, &sorted, self.budget)
    }

    /// `ln of / ln base`
    pub(super) fn logarithm(&mut self, base: &Quotient, of: &Quotient) -> Result<Quotient, Unread> {
        let over = self.natural_logarithm(of)?;
        let under = self.natural_logarithm(base)?.invert(self.budget)?;
        over.multiply(&under, self.budget)
    }

    /// The natural logarithm: of a product of powers of numbers, the sum over them, so that logarithms of integers are
    /// sums over their primes.
    pub(super) fn natural_logarithm(&mut self, of: &Quotient) -> Result<Quotient, Unread> {
        let term = if of.is_whole() { of.numerator().as_term() } else { None };
        let Some((monomial, coefficient)) = term else { return Quotient::opaque("ln", &[of], self.budget) };
        let monomial = &with_magnitudes(monomial, self.budget)?;
        let positive = |atom: &Atom| match atom {
            Atom::Prime(_) | Atom::Euler | Atom::Pi => true,
            Atom::Opaque(opaque) => *opaque.function == *"abs",
            _ => false,
        };
        let numbers = monomial.iter().all(|(atom, _)| positive(atom));
        if !numbers || *coefficient <= Rational::ZERO {
            return Quotient::opaque("ln", &[of], self.budget);
        }
        let mut sum = Quotient::rational(Rational::ZERO);
        let one = Rational::ONE;
        let parts = [
            (Integer::from(coefficient.numerator().clone()), one.clone()),
            (Integer::from(coefficient.denominator().clone()), -one),
        ];
        for (value, sign) in parts {
            let natural = Natural::try_from(value).expect("both are positive");
            let Some(factors) = number::factor(&natural, self.budget)? else {
                return Quotient::opaque("ln", &[of], self.budget);
            };
            for (prime, times) in factors {
                sum = self.plus_logarithm(sum, Atom::Prime(prime), &sign * Rational::from(times))?;
            }
        }
        for (atom, power) in monomial {
            sum = self.plus_logarithm(sum, atom.clone(), power.clone())?;
        }
        Ok(sum)
    }

    /// `sum + times · ln atom`
    fn plus_logarithm(&mut self, sum: Quotient, atom: Atom, times: Rational) -> Result<Quotient, Unread> {
        let logarithm = match &atom {
            Atom::Euler => Quotient::rational(Rational::ONE),
            Atom::Prime(prime) if prime.is_one() => return Ok(sum),
            Atom::Prime(prime) => {
                let prime = Quotient::rational(Rational::from(Integer::from(prime.clone())));
                Quotient::opaque("ln", &[&prime], self.budget)?
            }
            _ => Quotient::opaque("ln", &[&Quotient::atom(atom)], self.budget)?,
        };
        let term = logarithm.multiply(&Quotient::rational(times), self.budget)?;
        sum.add(&term, self.budget)
    }
}

/// A monomial with `|x|²` for `x²`, where all variables have even powers: its logarithm is a sum then.
fn with_magnitudes(monomial: &Monomial, budget: &mut Budget) -> Result<Monomial, Unread> {
    let two = Integer::from(2);
    let even = |power: &Rational| power.is_int() && power.numerator() % &two == Integer::ZERO;
    let mut changed = Monomial::new();
    for (atom, power) in monomial {
        let atom = match atom {
            Atom::Symbol(_) if even(power) => {
                match Quotient::opaque("abs", &[&Quotient::atom(atom.clone())], budget)?.as_opaque() {
                    Some(opaque) => Atom::Opaque(Rc::new(opaque.clone())),
                    None => atom.clone(),
                }
            }
            _ => atom.clone(),
        };
        changed.push((atom, power.clone()));
    }
    Ok(changed)
}

/// The greatest common divisor or the least common multiple of integers.
fn fold_integers(name: &str, values: &[Rational], budget: &mut Budget) -> Result<Option<Rational>, Unread> {
    let mut folded: Option<Integer> = None;
    for value in values {
        number::spend_bits(budget, number::bits(value) * 2)?;
        let value = number::magnitude(value).numerator().clone();
        if value.is_zero() {
            return Ok(None);
        }
        folded = Some(match folded {
            None => value,
            Some(other) => {
                let common = Integer::from((&other).gcd(&value));
                if name == "gcd" { common } else { other / common * value }
            }
        });
    }
    Ok(folded.map(Rational::from))
}
