//! Answers that name what they say: `x = 1, y = 2`, `(x, y) = (1, 2)`, `x_1 = 1, x_2 = 2`.

use super::sequences::by_name;
use super::{Comparison, Outcome};
use crate::math::answer::{Answer, Assignment, Condition, Conditions};
use crate::math::budget::Unread;
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;
use crate::math::region::Region;
use crate::math::tokens::Relation;
use crate::math::tree::{Joint, Shape};

impl Comparison<'_> {
    /// Two lists of which one at least has names; `None` where the names say nothing about the order.
    pub(super) fn by_names(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Option<Outcome>, Unread> {
        let (a, b) = (labels(gold), labels(other));
        match (a.as_slice(), b.as_slice()) {
            // `x_1 = 1, x_2 = 2` are the roots of `x`, and so are `x = 1, 2`.
            ([_, ..], [_, ..]) if a != b => match (stem(&a), stem(&b)) {
                (Some(x), Some(y)) if x == y && !same_names(&a, &b) => {
                    self.as_sets(&said(gold), &said(other)).map(Some)
                }
                _ => Ok(None),
            },
            ([_, _, ..], []) if a.len() == gold.len() && gold.len() == other.len() && stem(&a).is_none() => {
                if let equal @ Outcome::Equal(_) = self.ordered(gold, other)? {
                    return Ok(Some(equal));
                }
                self.ordered(&by_name(gold), other).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Two answers of which one at least names coordinates; `None` where the names need no other order.
    pub(super) fn coordinates(&mut self, gold: &Answer, other: &Answer) -> Result<Option<Outcome>, Unread> {
        let (a, b) = (coordinates(gold), coordinates(other));
        match (a, b) {
            (Some(a), Some(b)) => self.named_alike(a, b),
            (Some(a), None) => match other {
                Answer::Sequence(Shape::Bare, items, _) if labels(items).len() == items.len() => {
                    self.named_alike(a, items.clone())
                }
                Answer::Sequence(Shape::Brackets(false, false), items, _) => {
                    self.ordered(&by_name(&a), items).map(Some)
                }
                _ => Ok(None),
            },
            (None, Some(b)) => match gold {
                Answer::Sequence(Shape::Bare, items, _) if labels(items).len() == items.len() => {
                    self.named_alike(items.clone(), b)
                }
                Answer::Sequence(Shape::Brackets(false, false), items, _) => {
                    self.ordered(items, &by_name(&b)).map(Some)
                }
                _ => Ok(None),
            },
            (None, None) => Ok(None),
        }
    }

    /// `|x| = 3` and its solutions `\pm 3`; `None` where they are not shown to be the same.
    pub(super) fn solutions(&mut self, gold: &Answer, other: &Answer) -> Result<Option<Outcome>, Unread> {
        let (equation, list) = match (gold, other) {
            (Answer::Assignment(a), list) | (list, Answer::Assignment(a)) if a.label.starts_with('|') => (a, list),
            _ => return Ok(None),
        };
        let list = match list {
            Answer::Assignment(Assignment { label, value, .. }) if equation.label.contains(label.as_str()) => {
                value.as_ref()
            }
            other => other,
        };
        let (Answer::Sequence(Shape::Bare | Shape::Set, items, _), Some(left), Some(right)) =
            (list, &equation.left, equation.value.form())
        else {
            return Ok(None);
        };
        let difference = left.subtract(right, self.budget)?;
        let all = vec![Condition { relation: Relation::Equal, difference }];
        let conditions = Answer::Conditions(Conditions { all, last: None, unit: None });
        let points = Answer::Sequence(Shape::Set, items.clone(), Joint::Marks);
        let (Some(a), Some(b)) = (Region::of(&conditions, self.budget)?, Region::of(&points, self.budget)?) else {
            return Ok(None);
        };
        let outcome = self.regions(&a, &b)?;
        Ok(matches!(outcome, Outcome::Equal(_)).then_some(Outcome::Equal("the solutions of the equation")))
    }

    fn named_alike(&mut self, mut gold: Vec<Answer>, mut other: Vec<Answer>) -> Result<Option<Outcome>, Unread> {
        let label = |answer: &Answer| match answer {
            Answer::Assignment(assignment) => assignment.label.clone(),
            _ => String::new(),
        };
        gold.sort_by_key(label);
        other.sort_by_key(label);
        if gold.iter().map(label).ne(other.iter().map(label)) {
            return Ok(None);
        }
        self.ordered(&gold, &other).map(Some)
    }
}

/// The names in a list of equations.
fn labels(items: &[Answer]) -> Vec<&str> {
    let label = |item: &'_ Answer| matches!(item, Answer::Assignment(Assignment { left: Some(_), .. }));
    let named = items.iter().filter(|item| label(item));
    named
        .filter_map(|item| match item {
            Answer::Assignment(assignment) => Some(assignment.label.as_str()),
            _ => None,
        })
        .collect()
}

fn same_names(a: &[&str], b: &[&str]) -> bool {
    let sorted = |names: &[&str]| {
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        names
    };
    sorted(a) == sorted(b)
}

/// What all of the names have in common, where they are one name with or without an index.
fn stem<'a>(labels: &[&'a str]) -> Option<&'a str> {
    let stem = |label: &'a str| label.split('_').next().unwrap_or(label);
    let first = stem(labels.first()?);
    labels.iter().all(|label| stem(label) == first).then_some(first)
}

/// The values without the names.
fn said(items: &[Answer]) -> Vec<Answer> {
    let value = |item: &Answer| match item {
        Answer::Assignment(Assignment { value, .. }) => (**value).clone(),
        other => other.clone(),
    };
    items.iter().map(value).collect()
}

/// `(x, y) = (1, 2)` as `x = 1` and `y = 2`.
fn coordinates(answer: &Answer) -> Option<Vec<Answer>> {
    let Answer::Assignment(Assignment { label, value, .. }) = answer else { return None };
    let Answer::Sequence(Shape::Brackets(false, false), values, _) = value.as_ref() else { return None };
    let names: Vec<&str> = label.strip_prefix('(')?.strip_suffix(')')?.split(',').collect();
    if names.len() != values.len() || names.iter().any(|name| name.contains(['(', ')'])) {
        return None;
    }
    let named = |(name, value): (&&str, &Answer)| {
        let left = Some(Quotient::atom(Atom::Symbol((*name).into())));
        Answer::Assignment(Assignment { label: (*name).to_owned(), left, value: Box::new(value.clone()) })
    };
    Some(names.iter().zip(values).map(named).collect())
}
