//! Sums and products over a range, added up where both ends are integers; integrals of polynomials; and what stays
//! symbolic, with its bound variable renamed, so that its name says nothing.

use std::collections::BTreeSet;

use dashu::Rational;

use super::{Done, Evaluator, form_of};
use crate::math::answer::Answer;
use crate::math::budget::Unread;
use crate::math::number;
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;
use crate::math::tokens::{Big, Operator};
use crate::math::tree::Id;

/// Terms that are added up one by one.
const MAX_TERMS: i64 = 500;

/// The degree of polynomials that are added up in closed form.
const MAX_POWER_SUM: usize = 8;

impl Evaluator<'_> {
    /// An operator with its limits; the body is the subtree from `first` to `body`.
    pub(super) fn big(
        &mut self,
        (big, low, high): (Big, Option<Id>, Option<Id>),
        (first, body): (Id, Id),
        variable: Option<&str>,
        done: &mut Done,
    ) -> Result<Quotient, Unread> {
        let mut symbolic = done.form(body)?;
        let low = low.map(|low| done.take(low)).transpose()?;
        let high = high.map(|high| done.form(high)).transpose()?;
        let name = match big {
            Big::Sum => "sum",
            Big::Product => "product",
            Big::Integral => "integral",
            Big::Limit => "limit",
        };
        let (label, start) = match low {
            Some(Answer::Operation(Operator::To, sides)) => {
                let [name, to] = *sides;
                (form_of(name)?.to_string().trim_start_matches("1*").to_owned(), Some(form_of(to)?))
            }
            Some(Answer::Assignment(assignment)) => (assignment.label, Some(form_of(*assignment.value)?)),
            Some(other) => (String::new(), Some(form_of(other)?)),
            None => (String::new(), None),
        };
        let ends = |form: &Option<Quotient>| form.as_ref().and_then(Quotient::as_rational);
        if let (Big::Sum | Big::Product, false, Some(from), Some(to)) =
            (big, label.is_empty(), ends(&start), ends(&high))
            && let (Some(from), Some(to)) = (number::small_integer(&from), number::small_integer(&to))
            && to.saturating_sub(from) < MAX_TERMS
        {
            return self.added_up(big, &label, (from, to), (first, body));
        }
        if matches!(label.as_str(), "i" | "e") {
            self.letters.push(label.as_str().into());
            let read = self.range(first, body + 1).and_then(form_of);
            self.letters.pop();
            symbolic = read?;
        }
        if big == Big::Integral {
            return self.integral(variable, start.as_ref(), high.as_ref(), &symbolic);
        }
        if let (Big::Sum, Some(from), Some(to)) = (big, &start, &high)
            && let Some(total) = self.power_sums(&symbolic, &label, from, to)?
        {
            return Ok(total);
        }
        // An empty name is that of nothing.
        let (bound, symbolic) = self.renamed(&label, &symbolic)?;
        let parts: Vec<&Quotient> =
            [Some(&bound), start.as_ref(), high.as_ref(), Some(&symbolic)].into_iter().flatten().collect();
        Quotient::opaque(name, &parts, self.budget)
    }

    /// The name that a bound variable has in all answers, by how deep such names are nested, and the form with it.
    fn renamed(&mut self, label: &str, form: &Quotient) -> Result<(Quotient, Quotient), Unread> {
        let mut names = BTreeSet::new();
        form.collect_variables(&mut names);
        let depth = names.iter().filter(|name| name.starts_with("bound ")).count();
        let bound = Quotient::atom(Atom::Symbol(format!("bound {depth}").into()));
        let form = form.substituted(label, &bound, self.budget)?;
        Ok((bound, form))
    }

    /// `∫ form d variable`: computed for polynomials between limits.
    fn integral(
        &mut self,
        variable: Option<&str>,
        from: Option<&Quotient>,
        to: Option<&Quotient>,
        form: &Quotient,
    ) -> Result<Quotient, Unread> {
        let Some(variable) = variable else {
            let parts: Vec<&Quotient> = [from, to, Some(form)].into_iter().flatten().collect();
            return Quotient::opaque("integral", &parts, self.budget);
        };
        let (Some(from), Some(to)) = (from, to) else {
            let name = Quotient::opaque(variable, &[], self.budget)?;
            let parts: Vec<&Quotient> = [Some(&name), from, to, Some(form)].into_iter().flatten().collect();
            return Quotient::opaque("integral", &parts, self.budget);
        };
        let finite = |end: &Quotient| !end.atoms().any(|atom| *atom == Atom::Infinity);
        if finite(from)
            && finite(to)
            && let Some(whole) = form.antiderivative(variable, self.budget)?
        {
            let upper = whole.substituted(variable, to, self.budget)?;
            return upper.subtract(&whole.substituted(variable, from, self.budget)?, self.budget);
        }
        let (bound, form) = self.renamed(variable, form)?;
        Quotient::opaque("integral", &[&bound, from, to, &form], self.budget)
    }

    /// The derivative, where every function in it has one that is known; else the symbol of it.
    pub(super) fn derivative(&mut self, of: &Quotient, variable: &str, order: usize) -> Result<Quotient, Unread> {
        let bare = of.as_rational().is_none() && !of.holds(variable);
        let mut form = (!bare).then(|| of.clone());
        for _ in 0..order {
            form = match form {
                Some(form) => form.derivative(variable, self.budget)?,
                None => None,
            };
        }
        match form {
            Some(form) => Ok(form),
            None => {
                let by = Quotient::opaque(variable, &[], self.budget)?;
                let order = Quotient::rational(Rational::from(order));
                Quotient::opaque("derivative", &[of, &by, &order], self.budget)
            }
        }
    }

    /// `Σ_{k=a}^{n}` of a polynomial in `k`, by `(n+1)^{p+1} - 1 = Σ_{j≤p} C(p+1, j) S_j(n)` for `S_j(n) = Σ_{k=1}^n k^j`.
    fn power_sums(
        &mut self,
        form: &Quotient,
        label: &str,
        from: &Quotient,
        to: &Quotient,
    ) -> Result<Option<Quotient>, Unread> {
        let infinite = |end: &Quotient| end.atoms().any(|atom| *atom == Atom::Infinity);
        if label.is_empty() || infinite(from) || infinite(to) || from.holds(label) || to.holds(label) {
            return Ok(None);
        }
        let Some(coefficients) = form.coefficients(label, MAX_POWER_SUM, self.budget)? else { return Ok(None) };
        let one = Quotient::rational(Rational::ONE);
        let before = from.subtract(&one, self.budget)?;
        let upper = self.sums_of_powers(coefficients.len(), to)?;
        let lower = self.sums_of_powers(coefficients.len(), &before)?;
        let mut total = Quotient::rational(Rational::ZERO);
        for (coefficient, (upper, lower)) in coefficients.iter().zip(upper.iter().zip(&lower)) {
            let sum = upper.subtract(lower, self.budget)?;
            total = total.add(&coefficient.multiply(&sum, self.budget)?, self.budget)?;
        }
        Ok(Some(total))
    }

    /// `S_0(n) … S_{count-1}(n)`
    fn sums_of_powers(&mut self, count: usize, n: &Quotient) -> Result<Vec<Quotient>, Unread> {
        let one = Quotient::rational(Rational::ONE);
        let next = n.add(&one, self.budget)?;
        let mut sums: Vec<Quotient> = Vec::with_capacity(count);
        let mut power = next.clone();
        for p in 0..count {
            let mut rest = power.subtract(&one, self.budget)?;
            let mut choose = Rational::ONE;
            for (j, sum) in sums.iter().enumerate() {
                rest = rest.subtract(&sum.multiply(&Quotient::rational(choose.clone()), self.budget)?, self.budget)?;
                choose = choose * Rational::from(p + 1 - j) / Rational::from(j + 1);
            }
            sums.push(rest.multiply(&Quotient::rational(Rational::ONE / Rational::from(p + 1)), self.budget)?);
            power = power.multiply(&next, self.budget)?;
        }
        Ok(sums)
    }

    fn added_up(
        &mut self,
        big: Big,
        label: &str,
        (from, to): (i64, i64),
        (first, body): (Id, Id),
    ) -> Result<Quotient, Unread> {
        let mut total = Quotient::rational(if big == Big::Sum { Rational::ZERO } else { Rational::ONE });
        for value in from..=to {
            self.bindings.push((label.into(), Rational::from(value)));
            let term = self.range(first, body + 1).and_then(form_of);
            self.bindings.pop();
            let term = term?;
            total =
                if big == Big::Sum { total.add(&term, self.budget)? } else { total.multiply(&term, self.budget)? };
        }
        Ok(total)
    }
}
