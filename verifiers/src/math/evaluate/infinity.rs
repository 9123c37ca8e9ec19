//! Infinity is no variable: what has a meaning is computed, and an indeterminate form is not read.

use std::cmp::Ordering;

use dashu::{Integer, Rational};

use super::{Done, Evaluator};
use crate::math::answer::Answer;
use crate::math::budget::Unread;
use crate::math::numeric;
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;
use crate::math::tree::{Id, Node};

fn indeterminate<T>() -> Result<T, Unread> {
    Err(Unread::Unsupported("an indeterminate form".into()))
}

/// On which side of everything a form is.
fn side(form: &Quotient) -> Option<Ordering> {
    let (monomial, coefficient) = form.numerator().as_term().filter(|_| form.is_whole())?;
    match monomial.as_slice() {
        [(Atom::Infinity, power)] if power.is_one() => Some(coefficient.cmp(&Rational::ZERO)),
        _ => None,
    }
}

fn infinite(order: Ordering) -> Quotient {
    let sign = Rational::from(if order == Ordering::Less { -1 } else { 1 });
    let term = crate::math::polynomial::Polynomial::term(sign, vec![(Atom::Infinity, Rational::ONE)]);
    Quotient::from_polynomial(term)
}

impl Evaluator<'_> {
    /// The value of an operation one of whose operands is infinite; `None` for any other.
    pub(super) fn beyond_numbers(&mut self, node: &Node, done: &mut Done) -> Result<Option<Quotient>, Unread> {
        let (a, b) = match node {
            Node::Add(a, b)
            | Node::Subtract(a, b)
            | Node::Multiply(a, b)
            | Node::Cross(a, b)
            | Node::Divide(a, b)
            | Node::Power(a, b) => (*a, *b),
            _ => return Ok(None),
        };
        let holds = |id: Id| done.peek(id).is_some_and(|form| form.atoms().any(|atom| *atom == Atom::Infinity));
        if !(holds(a) || holds(b)) {
            return Ok(None);
        }
        let (a, b) = (done.form(a)?, done.form(b)?);
        let (left, right) = (side(&a), side(&b));
        let value = match node {
            Node::Add(..) => self.infinite_sum(left, &a, right, &b)?,
            Node::Subtract(..) => self.infinite_sum(left, &a, right.map(Ordering::reverse), &b)?,
            Node::Divide(..) => match (left, right) {
                (Some(left), None) => infinite(self.times_sign(left, &b)?),
                (None, Some(_)) => {
                    self.constant(&a)?;
                    Quotient::rational(Rational::ZERO)
                }
                _ => return indeterminate(),
            },
            Node::Power(..) => match (left, b.as_rational()) {
                (Some(_), Some(power)) if power < Rational::ZERO => Quotient::rational(Rational::ZERO),
                (Some(Ordering::Greater), Some(power)) if power > Rational::ZERO => infinite(Ordering::Greater),
                (Some(Ordering::Less), Some(power)) if power.is_int() && power > Rational::ZERO => {
                    let even = power.numerator() % Integer::from(2) == Integer::ZERO;
                    infinite(if even { Ordering::Greater } else { Ordering::Less })
                }
                _ => return indeterminate(),
            },
            _ => match (left, right) {
                (Some(left), Some(right)) => infinite(if left == right { Ordering::Greater } else { Ordering::Less }),
                (Some(left), None) => infinite(self.times_sign(left, &b)?),
                (None, Some(right)) => infinite(self.times_sign(right, &a)?),
                (None, None) => return indeterminate(),
            },
        };
        Ok(Some(value))
    }

    fn infinite_sum(
        &mut self,
        left: Option<Ordering>,
        a: &Quotient,
        right: Option<Ordering>,
        b: &Quotient,
    ) -> Result<Quotient, Unread> {
        match (left, right) {
            (Some(left), Some(right)) if left == right => Ok(infinite(left)),
            (Some(left), None) => self.constant(b).map(|()| infinite(left)),
            (None, Some(right)) => self.constant(a).map(|()| infinite(right)),
            _ => indeterminate(),
        }
    }

    /// Only a number is nothing beside infinity: a variable may be anything.
    fn constant(&mut self, form: &Quotient) -> Result<(), Unread> {
        match numeric::sign(form, self.budget)? {
            Some(_) => Ok(()),
            None => indeterminate(),
        }
    }

    /// The side on which infinity lies when a number multiplies it.
    fn times_sign(&mut self, infinite: Ordering, by: &Quotient) -> Result<Ordering, Unread> {
        match numeric::sign(by, self.budget)? {
            Some(Ordering::Greater) => Ok(infinite),
            Some(Ordering::Less) => Ok(infinite.reverse()),
            _ => indeterminate(),
        }
    }
}

impl Done {
    /// The form of an operand, which is left where it is.
    pub(super) fn peek(&self, id: Id) -> Option<&Quotient> {
        self.slots.get(id.checked_sub(self.first)?)?.as_ref().and_then(Answer::form)
    }
}
