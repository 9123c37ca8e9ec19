//! Which numbers fulfil a condition that is linear in one unknown, in its absolute value or in its square.

use std::cmp::Ordering;

use dashu::{Natural, Rational};

use super::{End, Found, Interval, Region, infinite};
use crate::math::answer::{Condition, Conditions, Value};
use crate::math::budget::Budget;
use crate::math::numeric;
use crate::math::polynomial::{Atom, Monomial, Polynomial};
use crate::math::quotient::Quotient;
use crate::math::tokens::Relation;

/// Absolute values in absolute values.
const MAX_NESTING: usize = 4;

/// The numbers that fulfil conditions about one unknown.
pub struct Solution {
    /// The unknown.
    pub variable: String,
    /// Its values.
    pub region: Region,
}

/// The numbers that fulfil all of the conditions; `None` where some condition is of another kind.
pub fn solve(conditions: &Conditions, budget: &mut Budget) -> Found<Solution> {
    let mut found: Option<Solution> = None;
    for condition in &conditions.all {
        let Some(next) = single(condition, MAX_NESTING, budget)? else { return Ok(None) };
        found = match found {
            None => Some(next),
            Some(before) if before.variable == next.variable => {
                match before.region.intersection(&next.region, budget)? {
                    Some(region) => Some(Solution { region, ..before }),
                    None => return Ok(None),
                }
            }
            Some(_) => return Ok(None),
        };
    }
    Ok(found)
}

/// `coefficient · unknown + rest`
struct Linear {
    unknown: Monomial,
    coefficient: Quotient,
    rest: Quotient,
}

fn is_unknown(atom: &Atom) -> bool {
    match atom {
        Atom::Symbol(_) => true,
        Atom::Opaque(opaque) => opaque.arguments.iter().any(|argument| argument.atoms().any(is_unknown)),
        _ => false,
    }
}

fn linear(form: &Quotient, budget: &mut Budget) -> Found<Linear> {
    if !form.is_whole() {
        return Ok(None);
    }
    let mut unknown: Option<Monomial> = None;
    let (mut coefficient, mut rest) = (Polynomial::default(), Polynomial::default());
    for (monomial, factor) in form.numerator().terms() {
        let (variable, constant): (Monomial, Monomial) =
            monomial.iter().cloned().partition(|(atom, _)| is_unknown(atom));
        let term = Polynomial::term(factor.clone(), constant);
        if variable.is_empty() {
            rest = rest.add(&term, budget)?;
        } else if *unknown.get_or_insert_with(|| variable.clone()) == variable {
            coefficient = coefficient.add(&term, budget)?;
        } else {
            return Ok(None);
        }
    }
    Ok(unknown.map(|unknown| Linear {
        unknown,
        coefficient: Quotient::from_polynomial(coefficient),
        rest: Quotient::from_polynomial(rest),
    }))
}

fn single(condition: &Condition, nesting: usize, budget: &mut Budget) -> Found<Solution> {
    let Some(Linear { unknown, coefficient, rest }) = linear(&condition.difference, budget)? else { return Ok(None) };
    let Some(sign) = numeric::sign(&coefficient, budget)? else { return Ok(None) };
    let bound = match infinite(&rest) {
        Some(side) => {
            let above = (side == Ordering::Less) == (sign == Ordering::Greater);
            if above { End::Above } else { End::Below }
        }
        None => {
            let inverse = coefficient.invert(budget)?;
            End::At(Value::plain(rest.negate(budget)?.multiply(&inverse, budget)?))
        }
    };
    let region = related(condition.relation, sign, bound.clone());
    match unknown.as_slice() {
        [(Atom::Symbol(_), power), rest @ ..] if power.is_one() && rest.iter().all(|(_, power)| power.is_one()) => {
            let names = unknown.iter().map(|(atom, _)| match atom {
                Atom::Symbol(name) => Some(name.as_ref()),
                _ => None,
            });
            Ok(names.collect::<Option<Vec<_>>>().map(|names| Solution { variable: names.concat(), region }))
        }
        [(atom @ Atom::Symbol(_), power)] if *power == Rational::from(2) => {
            // x² is |x|², and the root keeps the order.
            let End::At(bound) = bound else { return Ok(None) };
            let half = Quotient::rational(Rational::from_parts(1.into(), Natural::from(2u8)));
            if numeric::sign(&bound.form, budget)? != Some(Ordering::Greater) {
                return Ok(None);
            }
            let size = bound.form.power(&half, budget)?;
            let within = related(condition.relation, sign, End::At(Value::plain(size)));
            mirrored(&Quotient::atom(atom.clone()), &within, nesting, budget)
        }
        [(Atom::Opaque(opaque), power)] if power.is_one() && *opaque.function == *"abs" => {
            mirrored(&opaque.arguments[0], &region, nesting, budget)
        }
        // `f(x)` is an unknown as any other.
        [(Atom::Opaque(opaque), power)] if power.is_one() && opaque.function.len() == 1 => {
            Ok(Some(Solution { variable: opaque.text.clone(), region }))
        }
        _ => Ok(None),
    }
}

/// The numbers `u` with `sign · u + … related to 0`, by the place where the two sides are equal.
fn related(relation: Relation, sign: Ordering, bound: End) -> Region {
    let below = sign == Ordering::Greater;
    let one_sided = |closed: bool| {
        let closed = closed && matches!(bound, End::At(_));
        let interval = if below {
            Interval { low: (End::Below, false), high: (bound.clone(), closed) }
        } else {
            Interval { low: (bound.clone(), closed), high: (End::Above, false) }
        };
        Region { intervals: vec![interval] }
    };
    let point = || Region { intervals: vec![Interval { low: (bound.clone(), true), high: (bound.clone(), true) }] };
    match relation {
        Relation::Less | Relation::Greater => one_sided(false),
        Relation::AtMost | Relation::AtLeast => one_sided(true),
        Relation::NotEqual => point().complement(),
        Relation::Equal | Relation::About | Relation::Congruent => point(),
    }
}

/// The unknown of `inner` where `|inner|` lies in a region.
fn mirrored(inner: &Quotient, sizes: &Region, nesting: usize, budget: &mut Budget) -> Found<Solution> {
    let Some(nesting) = nesting.checked_sub(1) else { return Ok(None) };
    let mut found: Option<Solution> = None;
    let negative = inner.negate(budget)?;
    for side in [inner, &negative] {
        for interval in &sizes.intervals {
            // side >= 0, and within the interval: three conditions on one form.
            let mut all = vec![Condition { relation: Relation::AtMost, difference: side.negate(budget)? }];
            for (bound, closed, upper) in
                [(&interval.low.0, interval.low.1, false), (&interval.high.0, interval.high.1, true)]
            {
                let End::At(bound) = bound else { continue };
                let above = side.subtract(&bound.form, budget)?;
                let difference = if upper { above } else { above.negate(budget)? };
                all.push(Condition { relation: if closed { Relation::AtMost } else { Relation::Less }, difference });
            }
            let mut part: Option<Solution> = None;
            for condition in &all {
                let Some(next) = single(condition, nesting, budget)? else { return Ok(None) };
                part = match part {
                    None => Some(next),
                    Some(before) => match before.region.intersection(&next.region, budget)? {
                        Some(region) => Some(Solution { region, ..before }),
                        None => return Ok(None),
                    },
                };
            }
            let Some(part) = part else { return Ok(None) };
            found = match found {
                None => Some(part),
                Some(before) => match before.region.union(part.region, budget)? {
                    Some(region) => Some(Solution { region, variable: before.variable }),
                    None => return Ok(None),
                },
            };
        }
    }
    Ok(found)
}
