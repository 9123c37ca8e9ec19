//! Sets of real numbers: finite unions of intervals and points, in ascending order, none touching the next.

use std::cmp::Ordering;

use dashu::Rational;

use super::answer::{Answer, Assignment, Conditions, Value};
use super::budget::{Budget, Unread};
use super::numeric;
use super::polynomial::Atom;
use super::quotient::Quotient;
use super::tree::{Joint, Shape};

mod solve;

/// Intervals that a set may have.
const MAX_INTERVALS: usize = 64;

/// Where an interval ends.
#[derive(Debug, Clone)]
pub enum End {
    /// −∞
    Below,
    /// A number.
    At(Value),
    /// ∞
    Above,
}

/// An interval; a point is closed on both sides.
#[derive(Debug, Clone)]
pub struct Interval {
    /// The lower end, and whether it belongs to the interval.
    pub low: (End, bool),
    /// The upper end, and whether it belongs to the interval.
    pub high: (End, bool),
}

/// A set of real numbers.
#[derive(Debug, Clone, Default)]
pub struct Region {
    /// Ascending and apart.
    pub intervals: Vec<Interval>,
}

/// What an operation on sets may answer: nothing, where ends cannot be ordered.
type Found<T> = Result<Option<T>, Unread>;

impl Region {
    /// All real numbers.
    fn all() -> Self {
        Self { intervals: vec![Interval { low: (End::Below, false), high: (End::Above, false) }] }
    }

    fn point(value: Value) -> Self {
        Self { intervals: vec![Interval { low: (End::At(value.clone()), true), high: (End::At(value), true) }] }
    }

    /// The set that an answer describes; `None` where it describes none.
    pub fn of(answer: &Answer, budget: &mut Budget) -> Found<Self> {
        budget.spend(8)?;
        Ok(match answer {
            Answer::Reals => Some(Self::all()),
            Answer::Sequence(Shape::Set, items, _) => Self::points(items, budget)?,
            Answer::Sequence(Shape::Brackets(low, high), items, _) => match items.as_slice() {
                [Answer::Value(a), Answer::Value(b)] => Self::interval((a, *low), (b, *high), budget)?,
                _ => None,
            },
            Answer::Sequence(Shape::Bare, items, joint) if items.iter().any(|i| matches!(i, Answer::Conditions(_))) => {
                Self::joined(items, *joint, budget)?
            }
            Answer::Union(a, b) => match (Self::of(a, budget)?, Self::of(b, budget)?) {
                (Some(a), Some(b)) => a.union(b, budget)?,
                _ => None,
            },
            Answer::Intersection(a, b) => match (Self::of(a, budget)?, Self::of(b, budget)?) {
                (Some(a), Some(b)) => a.intersection(&b, budget)?,
                _ => None,
            },
            Answer::Without(a, b) => match (Self::of(a, budget)?, Self::of(b, budget)?) {
                (Some(a), Some(b)) => a.intersection(&b.complement(), budget)?,
                _ => None,
            },
            Answer::Assignment(Assignment { left: None, value, .. }) => Self::of(value, budget)?,
            Answer::Conditions(conditions) => solve::solve(conditions, budget)?.map(|solution| solution.region),
            _ => None,
        })
    }

    fn points(items: &[Answer], budget: &mut Budget) -> Found<Self> {
        let mut region = Self::default();
        for item in items {
            let Answer::Value(value) = item else { return Ok(None) };
            match region.union(Self::point(value.clone()), budget)? {
                Some(larger) => region = larger,
                None => return Ok(None),
            }
        }
        Ok(Some(region))
    }

    fn interval(low: (&Value, bool), high: (&Value, bool), budget: &mut Budget) -> Found<Self> {
        let interval = Interval { low: (end(low.0), low.1), high: (end(high.0), high.1) };
        let closed = interval.low.1 && interval.high.1;
        Ok(match order(&interval.low.0, &interval.high.0, budget)? {
            Some(Ordering::Less) => Some(Self { intervals: vec![interval] }),
            Some(Ordering::Equal) if closed => Some(Self { intervals: vec![interval] }),
            _ => None,
        })
    }

    /// Conditions side by side, all of one variable. Between commas one of them is enough, unless every number would
    /// then do: nobody says `0 < x, x < 1` to say nothing.
    fn joined(items: &[Answer], joint: Joint, budget: &mut Budget) -> Found<Self> {
        let mut variable: Option<String> = None;
        let mut regions = Vec::with_capacity(items.len());
        for item in items {
            let (name, next) = match item {
                Answer::Conditions(conditions) => match solve::solve(conditions, budget)? {
                    Some(solution) => (solution.variable, solution.region),
                    None => return Ok(None),
                },
                Answer::Assignment(Assignment { left: Some(_), label, value }) => match value.as_ref() {
                    Answer::Value(value) => (label.clone(), Self::point(value.clone())),
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            };
            if variable.get_or_insert_with(|| name.clone()) != &name {
                return Ok(None);
            }
            regions.push(next);
        }
        let either = if joint == Joint::And { None } else { Some(Self::any(&regions, budget)?) };
        match either {
            Some(None) => Ok(None),
            Some(Some(either)) if joint == Joint::Or || !either.is_all() => Ok(Some(either)),
            _ => {
                let mut all = Self::all();
                for region in &regions {
                    match all.intersection(region, budget)? {
                        Some(smaller) => all = smaller,
                        None => return Ok(None),
                    }
                }
                Ok(Some(all))
            }
        }
    }

    /// What lies in any of them.
    fn any(regions: &[Self], budget: &mut Budget) -> Found<Self> {
        let mut any = Self::default();
        for region in regions {
            match any.union(region.clone(), budget)? {
                Some(larger) => any = larger,
                None => return Ok(None),
            }
        }
        Ok(Some(any))
    }

    fn is_all(&self) -> bool {
        matches!(self.intervals.as_slice(), [Interval { low: (End::Below, _), high: (End::Above, _) }])
    }

    /// Everything else.
    fn complement(&self) -> Self {
        let mut intervals = Vec::with_capacity(self.intervals.len() + 1);
        let mut low = (End::Below, false);
        for interval in &self.intervals {
            if !matches!(interval.low.0, End::Below) {
                intervals.push(Interval { low, high: (interval.low.0.clone(), !interval.low.1) });
            }
            low = (interval.high.0.clone(), !interval.high.1);
        }
        if !matches!(low.0, End::Above) {
            intervals.push(Interval { low, high: (End::Above, false) });
        }
        Self { intervals }
    }

    fn union(mut self, other: Self, budget: &mut Budget) -> Found<Self> {
        for interval in other.intervals {
            let Some(larger) = self.with(interval, budget)? else { return Ok(None) };
            self = larger;
            if self.intervals.len() > MAX_INTERVALS {
                return Err(Unread::Limit("intervals"));
            }
        }
        Ok(Some(self))
    }

    /// This set and one more interval, which swallows what it meets.
    fn with(self, mut new: Interval, budget: &mut Budget) -> Found<Self> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for old in self.intervals {
            let Some(ends_before) = is_apart(&old, &new, budget)? else { return Ok(None) };
            let Some(starts_behind) = is_apart(&new, &old, budget)? else { return Ok(None) };
            if ends_before {
                before.push(old);
            } else if starts_behind {
                after.push(old);
            } else {
                let Some(low) = extreme(old.low, new.low, Ordering::Less, true, budget)? else { return Ok(None) };
                let Some(high) = extreme(old.high, new.high, Ordering::Greater, true, budget)? else { return Ok(None) };
                new = Interval { low, high };
            }
        }
        before.push(new);
        before.extend(after);
        Ok(Some(Self { intervals: before }))
    }

    fn intersection(&self, other: &Self, budget: &mut Budget) -> Found<Self> {
        let mut common = Vec::new();
        for a in &self.intervals {
            for b in &other.intervals {
                let low = extreme(a.low.clone(), b.low.clone(), Ordering::Greater, false, budget)?;
                let high = extreme(a.high.clone(), b.high.clone(), Ordering::Less, false, budget)?;
                let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
                match order(&low.0, &high.0, budget)? {
                    Some(Ordering::Less) => common.push(Interval { low, high }),
                    Some(Ordering::Equal) if low.1 && high.1 => common.push(Interval { low, high }),
                    Some(_) => {}
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(Self { intervals: common }))
    }
}

fn end(value: &Value) -> End {
    match infinite(&value.form) {
        Some(Ordering::Less) => End::Below,
        Some(_) => End::Above,
        None => End::At(value.clone()),
    }
}

/// On which side of everything a form is, when it is infinite.
fn infinite(form: &Quotient) -> Option<Ordering> {
    let infinite =
        form.numerator().terms().find(|(monomial, _)| matches!(monomial.as_slice(), [(Atom::Infinity, _)]))?;
    Some(infinite.1.cmp(&Rational::ZERO))
}

fn order(a: &End, b: &End, budget: &mut Budget) -> Found<Ordering> {
    Ok(match (a, b) {
        (End::Below, End::Below) | (End::Above, End::Above) => Some(Ordering::Equal),
        (End::Below, _) | (_, End::Above) => Some(Ordering::Less),
        (_, End::Below) | (End::Above, _) => Some(Ordering::Greater),
        (End::At(a), End::At(b)) => {
            if let (Some(a), Some(b)) = (a.form.as_rational(), b.form.as_rational()) {
                return Ok(Some(a.cmp(&b)));
            }
            let difference = a.form.subtract(&b.form, budget)?;
            numeric::sign(&difference, budget)?
        }
    })
}

/// True when `a` ends before `b` begins, with something between them.
fn is_apart(a: &Interval, b: &Interval, budget: &mut Budget) -> Found<bool> {
    let order = order(&a.high.0, &b.low.0, budget)?;
    Ok(order.map(|order| order == Ordering::Less || order == Ordering::Equal && !a.high.1 && !b.low.1))
}

/// The end that lies on the `wanted` side of the other; of two at one place, whether it belongs to the interval.
fn extreme(a: (End, bool), b: (End, bool), wanted: Ordering, either: bool, budget: &mut Budget) -> Found<(End, bool)> {
    Ok(order(&a.0, &b.0, budget)?.map(|order| match order {
        Ordering::Equal => (a.0, if either { a.1 || b.1 } else { a.1 && b.1 }),
        order if order == wanted => a,
        _ => b,
    }))
}

/// Whether an answer is a condition rather than a set.
pub fn is_relation(answer: &Answer) -> bool {
    match answer {
        Answer::Conditions(Conditions { last, .. }) => last.is_none(),
        Answer::Sequence(Shape::Bare, items, _) => items.iter().any(|item| matches!(item, Answer::Conditions(_))),
        _ => false,
    }
}

/// Whether an answer says that things are equal.
pub fn is_equation(answer: &Answer) -> bool {
    matches!(answer, Answer::Assignment(_) | Answer::Conditions(_))
}

/// Whether an answer is a set of more than listed members.
pub fn is_set(answer: &Answer) -> bool {
    match answer {
        Answer::Reals | Answer::Union(..) | Answer::Intersection(..) | Answer::Without(..) => true,
        Answer::Sequence(Shape::Set, items, _) => items.is_empty(),
        Answer::Sequence(Shape::Brackets(..), items, _) => items.len() == 2,
        Answer::Assignment(Assignment { left: None, value, .. }) => is_set(value),
        _ => false,
    }
}
