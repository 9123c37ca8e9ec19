//! Sums and products over a range: added up where both ends are integers, symbolic elsewhere.

use dashu::Rational;

use super::{Done, Evaluator, form_of};
use crate::math::answer::Answer;
use crate::math::budget::Unread;
use crate::math::number;
use crate::math::quotient::Quotient;
use crate::math::tokens::Big;
use crate::math::tree::Id;

/// Terms that are added up one by one.
const MAX_TERMS: i64 = 500;

impl Evaluator<'_> {
    /// An operator with its limits; the body is the subtree from `first` to `body`.
    pub(super) fn big(
        &mut self,
        (big, low, high): (Big, Option<Id>, Option<Id>),
        (first, body): (Id, Id),
        done: &mut Done,
    ) -> Result<Quotient, Unread> {
        let symbolic = done.form(body)?;
        let low = low.map(|low| done.take(low)).transpose()?;
        let high = high.map(|high| done.form(high)).transpose()?;
        let name = match big {
            Big::Sum => "sum",
            Big::Product => "product",
            Big::Integral => "integral",
            Big::Limit => "limit",
        };
        let (label, start) = match low {
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
        let label = Quotient::opaque(&label, &[], self.budget)?;
        let parts: Vec<&Quotient> =
            [Some(&label), start.as_ref(), high.as_ref(), Some(&symbolic)].into_iter().flatten().collect();
        Quotient::opaque(name, &parts, self.budget)
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
