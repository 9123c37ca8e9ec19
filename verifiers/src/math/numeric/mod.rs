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
    Undefined,
    Unknown,
}

/// Compares two forms at points that depend on both of their texts, so that nobody can aim at them.
pub fn compare(a: &Quotient, b: &Quotient, budget: &mut Budget) -> Result<Finding, Unread> {
    let seed = hash(&format!("{a}"), 0) ^ hash(&format!("{b}"), 1);
    let points = [
        Kind::Positive,
        Kind::Signed,
        Kind::Signed,
        Kind::Positive,
        Kind::Whole,
        Kind::Whole,
        Kind::Whole,
        Kind::Whole,
    ];
    let (mut equal, mut apart) = (Vec::new(), false);
    let mut variables = false;
    for (i, kind) in points.into_iter().enumerate() {
        match at(Point { kind, seed: seed.wrapping_add(i as u64) }, a, b, budget)? {
            At::Different(trace) if trace.unknown_functions => {
                return Ok(Finding::Unknown("functions that no rule computes"));
            }
            At::Different(_) if equal.is_empty() || kind != Kind::Signed => return Ok(Finding::Different),
            At::Different(_) => apart = true,
            At::Equal(trace) => {
                variables |= trace.variables;
                equal.push(kind);
                if !trace.variables {
                    return Ok(Finding::Equal);
                }
            }
            At::Undefined => {}
            At::Unknown => return Ok(Finding::Unknown("values too close to separate")),
        }
        if equal.len() >= 3 && kind != Kind::Signed {
            break;
        }
    }
    Ok(match (apart, equal.len()) {
        (true, _) => Finding::Unknown("the same for positive variables only"),
        (false, 3..) if variables => Finding::Equal,
        _ => Finding::Unknown("undefined at the points that were tried"),
    })
}

fn at(point: Point, a: &Quotient, b: &Quotient, budget: &mut Budget) -> Result<At, Unread> {
    let mut last = At::Unknown;
    for bits in RUNGS {
        let mut evaluation = Evaluation { point, bits, trace: Trace::default(), budget };
        // A ball that is too wide may leave a domain that the number itself is in: the next rung tells.
        let (Some(left), Some(right)) = (evaluation.quotient(a)?, evaluation.quotient(b)?) else {
            last = At::Undefined;
            continue;
        };
        last = At::Unknown;
        let trace = evaluation.trace;
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
        let point = Point { kind: Kind::Positive, seed: 0 };
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
        let point = Point { kind: Kind::Positive, seed: 0 };
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
