//! The numeric rung: forms that have no common canonical form are evaluated in balls of rising precision. Balls that do
//! not meet prove that the values differ. Balls that still meet at hundreds of bits count as equal, but only where no
//! intermediate result is so large or small that the difference could hide below them.

pub mod ball;
pub mod complex;
pub mod evaluate;
pub mod magnitude;
#[cfg(test)]
mod tests;
pub mod trigonometry;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use self::complex::Complex;
use self::evaluate::{Evaluation, Kind, Point, Trace, hash};
use super::budget::{Budget, Unread};
use super::quotient::Quotient;

/// The bits of the rungs. The first separates nearly all that differs.
const RUNGS: [usize; 3] = [64, 224, 640];

/// What evaluation says of two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Enclosures that do not meet.
    Different,
    /// The same at every point, to half of the bits of the last rung.
    Equal,
    /// Neither.
    Unknown(&'static str),
}

/// What one point says.
enum At {
    Different(Trace),
    Equal(Trace),
    /// Only one of the two has a value here.
    OneSided(Trace),
    Undefined,
    Unknown,
}

/// Variables whose signs are combined in every way.
const MAX_SIGNED: usize = 4;

/// Points that must agree.
const MIN_EQUAL: usize = 3;

/// Compares two forms at points that depend on both of their texts, so that nobody can aim at them.
///
/// Agreement at points counts as equality only for functions that are analytic between them. A function with several
/// branches must agree for every combination of signs, near zero and beyond every constant that occurs; one with corners
/// or jumps is never found equal by points.
pub fn compare(a: &Quotient, b: &Quotient, budget: &mut Budget) -> Result<Finding, Unread> {
    let seed = hash(&format!("{a}"), 0) ^ hash(&format!("{b}"), 1);
    let mut search = Search { a, b, seed, equal: 0, apart: None, one_sided: false, seen: Trace::default() };
    if let Some(finding) = search.point(Kind::Positive, 0, &[], budget)? {
        return Ok(finding);
    }
    let names = variables(a, b);
    if search.seen.discrete {
        for i in 1..=4 {
            if let Some(finding) = search.point(Kind::Whole, i, &[], budget)? {
                return Ok(finding);
            }
        }
        return Ok(search.finding());
    }
    let wide = Kind::Wide(u32::try_from(search.seen.height.min(16)).expect("at most 16"));
    let patterns = 1u64 << names.len().min(MAX_SIGNED);
    for i in 1..=patterns.max(4) {
        // All below zero first, where most that is not analytic shows.
        let pattern = (patterns.wrapping_sub(i)) % patterns;
        let negative: Vec<&str> =
            (0..names.len()).filter(|at| pattern >> (at % MAX_SIGNED) & 1 == 1).map(|at| names[at]).collect();
        let kinds = if search.seen.branches || search.seen.corners {
            [Some(Kind::Signed), Some(wide)]
        } else {
            [Some(Kind::Signed), None]
        };
        for kind in kinds.into_iter().flatten() {
            if let Some(finding) = search.point(kind, 8 + i, &negative, budget)? {
                return Ok(finding);
            }
        }
        let analytic = !(search.seen.branches || search.seen.corners || search.seen.discrete);
        if analytic && search.equal >= MIN_EQUAL {
            break;
        }
    }
    Ok(search.finding())
}

/// The points that were tried so far.
struct Search<'a> {
    a: &'a Quotient,
    b: &'a Quotient,
    seed: u64,
    /// Points at which the two agree.
    equal: usize,
    /// Why points at which they differ are no proof.
    apart: Option<&'static str>,
    /// At some point only one has a value.
    one_sided: bool,
    /// What was met at all points.
    seen: Trace,
}

impl Search<'_> {
    /// Tries one point; says so when that settles it.
    fn point(&mut self, kind: Kind, i: u64, negative: &[&str], budget: &mut Budget) -> Result<Option<Finding>, Unread> {
        let point = Point { kind, seed: self.seed.wrapping_add(i), negative };
        match at(point, self.a, self.b, budget)? {
            At::Different(trace) => {
                self.note(trace);
                if trace.unknown_functions {
                    return Ok(Some(Finding::Unknown("functions that no rule computes")));
                }
                if trace.discrete && kind != Kind::Whole {
                    self.apart = Some("functions that may be meant for integers only");
                } else if negative.is_empty() || !(trace.branches || trace.corners) {
                    return Ok(Some(Finding::Different));
                } else {
                    return Ok(Some(Finding::Unknown("the same for positive variables only")));
                }
            }
            At::Equal(trace) => {
                self.note(trace);
                self.equal += 1;
                if !trace.variables {
                    return Ok(Some(Finding::Equal));
                }
            }
            // What is meant for integers has no value at fractions, and that says nothing.
            At::OneSided(trace) => {
                self.note(trace);
                self.one_sided |= !trace.discrete || kind == Kind::Whole;
            }
            At::Unknown if matches!(kind, Kind::Wide(_)) => {}
            At::Unknown => return Ok(Some(Finding::Unknown("values too close to separate"))),
            At::Undefined => {}
        }
        Ok(None)
    }

    fn note(&mut self, trace: Trace) {
        self.seen.height = self.seen.height.max(trace.height);
        self.seen.corners |= trace.corners;
        self.seen.discrete |= trace.discrete;
        self.seen.branches |= trace.branches;
        self.seen.variables |= trace.variables;
        self.seen.unknown_functions |= trace.unknown_functions;
    }

    /// What all points together say.
    fn finding(&self) -> Finding {
        if let Some(why) = self.apart {
            return Finding::Unknown(why);
        }
        if self.one_sided {
            return Finding::Unknown("only one of the two is defined at some points");
        }
        if self.seen.corners || self.seen.discrete {
            return Finding::Unknown("functions with corners or jumps, about which points prove nothing");
        }
        if self.equal >= MIN_EQUAL {
            Finding::Equal
        } else {
            Finding::Unknown("undefined at the points that were tried")
        }
    }
}

/// The names of the variables of both, in order.
fn variables<'a>(a: &'a Quotient, b: &'a Quotient) -> Vec<&'a str> {
    let mut names = BTreeSet::new();
    a.collect_variables(&mut names);
    b.collect_variables(&mut names);
    names.into_iter().collect()
}

fn at(point: Point<'_>, a: &Quotient, b: &Quotient, budget: &mut Budget) -> Result<At, Unread> {
    let mut last = At::Unknown;
    for bits in RUNGS {
        let mut evaluation = Evaluation { point, bits, trace: Trace::default(), budget };
        let values = (evaluation.quotient(a)?, evaluation.quotient(b)?);
        let trace = evaluation.trace;
        // A ball that is too wide may leave a domain that the number itself is in: the next rung tells.
        let (left, right) = match values {
            (Some(left), Some(right)) => (left, right),
            (None, None) => {
                last = At::Undefined;
                continue;
            }
            _ => {
                last = At::OneSided(trace);
                continue;
            }
        };
        last = At::Unknown;
        let difference = left.add(&right.negate());
        if difference.is_apart_from_zero() {
            return Ok(At::Different(trace));
        }
        // The first rung may meet by chance; half of its bits would be too few.
        if bits > RUNGS[0] && is_settled(&difference, trace, bits as i64) {
            return Ok(At::Equal(trace));
        }
    }
    Ok(last)
}

/// True when a difference below half of the bits can only be none.
fn is_settled(difference: &Complex, trace: Trace, bits: i64) -> bool {
    let spread = trace.largest.saturating_sub(trace.smallest);
    let height = i64::try_from(trace.height).unwrap_or(i64::MAX);
    spread < bits / 4 && height < bits / 4 && difference.magnitude().log2() <= trace.largest - bits / 2
}

/// Which side of zero a constant is on; `None` where it is no real constant or cannot be told from zero.
pub fn sign(form: &Quotient, budget: &mut Budget) -> Result<Option<Ordering>, Unread> {
    if let Some(value) = form.as_rational() {
        return Ok(Some(value.cmp(&dashu::Rational::ZERO)));
    }
    for bits in RUNGS {
        let point = Point { kind: Kind::Positive, seed: 0, negative: &[] };
        let mut evaluation = Evaluation { point, bits, trace: Trace::default(), budget };
        let Some(value) = evaluation.quotient(form)? else { continue };
        if evaluation.trace.variables {
            return Ok(None);
        }
        let Some(real) = value.as_real() else { return Ok(None) };
        if let Some(order) = real.sign() {
            return Ok(Some(order));
        }
        if bits > RUNGS[0] && is_settled(&value, evaluation.trace, bits as i64) {
            return Ok(Some(Ordering::Equal));
        }
    }
    Ok(None)
}

/// A rational number very near to a real constant; `None` where the form is none.
pub fn approximate(form: &Quotient, budget: &mut Budget) -> Result<Option<dashu::Rational>, Unread> {
    for bits in RUNGS {
        let point = Point { kind: Kind::Positive, seed: 0, negative: &[] };
        let mut evaluation = Evaluation { point, bits, trace: Trace::default(), budget };
        let Some(value) = evaluation.quotient(form)? else { continue };
        if evaluation.trace.variables {
            return Ok(None);
        }
        if let Some(near) = value.as_real().and_then(|real| real.approximate()) {
            return Ok(Some(near));
        }
    }
    Ok(None)
}
