//! Equations and inequalities: the same when one is the other's multiple, turned round or in another order.

use std::collections::BTreeSet;

use super::{Comparison, Outcome};
use crate::math::answer::{Answer, Assignment, Condition};
use crate::math::budget::Unread;
use crate::math::number;
use crate::math::numeric::{self, Finding};
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;
use crate::math::region::Region;
use crate::math::tokens::Relation;

impl Comparison<'_> {
    pub(super) fn assignments(&mut self, gold: &Assignment, other: &Assignment) -> Result<Outcome, Unread> {
        if gold.label == other.label || name_the_same(&gold.label, &other.label) {
            return self.answers(&gold.value, &other.value);
        }
        if let (Some(a), Some(b)) = (points_of_angle(&gold.label), points_of_angle(&other.label)) {
            return match a.chars().rev().eq(b.chars()) {
                true => self.answers(&gold.value, &other.value),
                false if a.len() == b.len() => Ok(Outcome::Different("another angle")),
                false => Ok(Outcome::Unknown("angles that are named in different ways")),
            };
        }
        self.relations(&Answer::Assignment(gold.clone()), &Answer::Assignment(other.clone()))
    }

    pub(super) fn relations(&mut self, gold: &Answer, other: &Answer) -> Result<Outcome, Unread> {
        let (Some(a), Some(b)) = (self.conditions(gold)?, self.conditions(other)?) else {
            return Ok(Outcome::Unknown("relations about different things"));
        };
        let outcome = self.systems(&a, &b)?;
        if matches!(outcome, Outcome::Equal(_)) {
            return Ok(outcome);
        }
        match (Region::of(gold, self.budget)?, Region::of(other, self.budget)?) {
            (Some(x), Some(y)) if variables(&a) == variables(&b) => self.regions(&x, &y),
            _ => Ok(outcome),
        }
    }

    /// An assignment of a value, or a system, as conditions.
    fn conditions(&mut self, answer: &Answer) -> Result<Option<Vec<Condition>>, Unread> {
        match answer {
            Answer::Conditions(conditions) => Ok(Some(conditions.all.clone())),
            Answer::Assignment(Assignment { left: Some(left), value, .. }) => match value.form() {
                Some(right) => {
                    let difference = left.subtract(right, self.budget)?;
                    Ok(Some(vec![Condition { relation: Relation::Equal, difference }]))
                }
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn systems(&mut self, gold: &[Condition], other: &[Condition]) -> Result<Outcome, Unread> {
        if gold.len() != other.len() {
            return Ok(Outcome::Unknown("systems of different length"));
        }
        let mut left: Vec<&Condition> = other.iter().collect();
        let mut unknown = false;
        'gold: for condition in gold {
            for at in 0..left.len() {
                match self.same_condition(condition, left[at])? {
                    Some(true) => {
                        left.remove(at);
                        continue 'gold;
                    }
                    Some(false) => {}
                    None => unknown = true,
                }
            }
            return Ok(if unknown {
                Outcome::Unknown("relations that no rule separates")
            } else {
                Outcome::Different("different relations")
            });
        }
        Ok(Outcome::Equal("the same relations"))
    }

    /// Two conditions are the same when one difference is a multiple of the other: any for `=` and `≠`, a positive one
    /// for `<` and `≤`. `None` where that does not settle it.
    fn same_condition(&mut self, gold: &Condition, other: &Condition) -> Result<Option<bool>, Unread> {
        let both_ways = matches!(gold.relation, Relation::Equal | Relation::NotEqual);
        if gold.relation != other.relation {
            return Ok(Some(false));
        }
        let (a, b) = (&gold.difference, &other.difference);
        if !(both_ways || a.is_whole() && b.is_whole()) {
            return Ok(self.same_form(a, b)?.then_some(true));
        }
        let (a, b) = if both_ways {
            (a.numerator().clear_negative_powers(self.budget)?, b.numerator().clear_negative_powers(self.budget)?)
        } else {
            (a.numerator().clone(), b.numerator().clone())
        };
        if a.is_zero() || b.is_zero() {
            return Ok(Some(a.is_zero() && b.is_zero()));
        }
        let ratio = a.leading() / b.leading();
        if (both_ways || !number::is_negative(&ratio)) && b.scale(&ratio, self.budget)? == a {
            return Ok(Some(true));
        }
        let irrational = |atom: &Atom| !matches!(atom, Atom::Symbol(_));
        if !(a.atoms().any(irrational) || b.atoms().any(irrational)) {
            return Ok(Some(false));
        }
        // A factor that is no rational number is not seen by the ratio of the last coefficients alone.
        let (a, b) = (Quotient::from_polynomial(a), Quotient::from_polynomial(b));
        let negative = b.negate(self.budget)?;
        if self.same_form(&a, &b)? || both_ways && self.same_form(&a, &negative)? {
            return Ok(Some(true));
        }
        Ok(None)
    }

    fn same_form(&mut self, a: &Quotient, b: &Quotient) -> Result<bool, Unread> {
        if a.equals(b, self.budget)? {
            return Ok(true);
        }
        Ok((a.is_unresolved() || b.is_unresolved()) && numeric::compare(a, b, self.budget)? == Finding::Equal)
    }
}

/// The points that an angle is named by: `ABC` of `\angle ABC`, whose other way round names the same angle.
fn points_of_angle(label: &str) -> Option<&str> {
    let points = label.strip_prefix('m').unwrap_or(label).strip_prefix("\\angle")?;
    points.chars().all(char::is_alphabetic).then_some(points)
}

/// Whether two names stand for one function: `f(x)` and `f(t)`, or `f(x)` and `y`.
fn name_the_same(a: &str, b: &str) -> bool {
    let function = |label: &str| -> Option<String> {
        let (name, rest) = label.split_once('(')?;
        let argument = rest.strip_suffix(')')?;
        let plain = !name.is_empty() && argument.chars().all(char::is_alphabetic) && argument.chars().count() == 1;
        plain.then(|| name.to_owned())
    };
    match (function(a), function(b)) {
        (Some(f), Some(g)) => f == g,
        (Some(_), None) => b == "y",
        (None, Some(_)) => a == "y",
        (None, None) => false,
    }
}

/// The variables of conditions, each once and in order.
fn variables(conditions: &[Condition]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    conditions.iter().for_each(|condition| condition.difference.collect_variables(&mut names));
    names
}
