//! Are two typed answers the same? Gold first: what the gold leaves open (a name, a unit, brackets) the other may
//! fill in.

use dashu::{Integer, Natural, Rational};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Condition, Value};
use super::budget::{Budget, Unread};
use super::lexer::Relation;
use super::number;
use super::parser::Shape;
use super::polynomial::Atom;
use super::quotient::Quotient;
use super::words;

/// What a comparison says, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same.
    Equal(&'static str),
    /// Proved different.
    Different(&'static str),
    /// Neither is proved.
    Unknown(&'static str),
}

/// Whether a percent sign may be left off or put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// `50%` is 50 and is 0.5, when the other side has no sign.
    #[default]
    Either,
    /// `50%` is 0.5.
    Value,
}

/// The switches of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Percent signs.
    pub percent: Percent,
    /// Numbers that are within half a unit of this decimal place are the same; exact when absent.
    pub decimal_places: Option<u32>,
}

/// Compares two answers.
///
/// # Errors
/// [`Unread::Limit`] when the budget runs out.
pub fn compare(gold: &Answer, other: &Answer, policy: Policy, budget: &mut Budget) -> Result<Outcome, Unread> {
    budget.spend(8)?;
    match (gold, other) {
        (Answer::Value(a), Answer::Value(b)) => values(a, b, policy, budget),
        (Answer::Assignment(a, x), Answer::Assignment(b, y)) if a == b => compare(x, y, policy, budget),
        (Answer::Assignment(..) | Answer::Conditions(_), Answer::Assignment(..) | Answer::Conditions(_)) => {
            match (conditions(gold, budget)?, conditions(other, budget)?) {
                (Some(a), Some(b)) => systems(&a, &b, budget),
                _ => Ok(Outcome::Different("relations about different things")),
            }
        }
        (Answer::Assignment(_, value), _) => compare(value, other, policy, budget),
        (_, Answer::Assignment(_, value)) => compare(gold, value, policy, budget),
        (Answer::Sequence(a, xs), Answer::Sequence(b, ys)) => sequences((*a, xs), (*b, ys), policy, budget),
        (Answer::Sequence(Shape::Set, xs), _) if xs.len() == 1 => compare(&xs[0], other, policy, budget),
        (_, Answer::Sequence(Shape::Set, ys)) if ys.len() == 1 => compare(gold, &ys[0], policy, budget),
        (Answer::Union(xs), Answer::Union(ys)) => unordered(xs, ys, policy, budget),
        (Answer::Text(a), Answer::Text(b)) if a == b => Ok(Outcome::Equal("the same words")),
        (Answer::Text(_), Answer::Text(_)) => Ok(Outcome::Different("different words")),
        _ => Ok(Outcome::Different("answers of different kinds")),
    }
}

fn values(gold: &Value, other: &Value, policy: Policy, budget: &mut Budget) -> Result<Outcome, Unread> {
    let outcome = forms(gold, other, policy, budget)?;
    let known = |value: &Value| value.unit.as_deref().and_then(words::unit);
    if let (Some(a), Some(b)) = (known(gold), known(other))
        && a != b
    {
        return Ok(match outcome {
            Outcome::Equal(_) => Outcome::Different("the units differ"),
            _ => Outcome::Unknown("the units differ and are not converted"),
        });
    }
    Ok(outcome)
}

fn forms(gold: &Value, other: &Value, policy: Policy, budget: &mut Budget) -> Result<Outcome, Unread> {
    if gold.form.equals(&other.form, budget)? {
        return Ok(Outcome::Equal("equal values"));
    }
    if policy.percent == Percent::Either && gold.percent != other.percent {
        let hundred = Quotient::rational(Rational::from(100));
        let (signed, bare) = if gold.percent { (gold, other) } else { (other, gold) };
        if signed.form.multiply(&hundred, budget)?.equals(&bare.form, budget)? {
            return Ok(Outcome::Equal("equal but for the percent sign"));
        }
    }
    if let (Some(places), Some(a), Some(b)) = (policy.decimal_places, gold.form.as_rational(), other.form.as_rational())
    {
        let half_unit = Rational::from_parts(Integer::ONE, Natural::from(10u8).pow(places.min(1_000) as usize) * 2u8);
        number::spend_bits(budget, number::bits(&a) + number::bits(&b) + number::bits(&half_unit))?;
        if number::magnitude(&(a - b)) <= half_unit {
            return Ok(Outcome::Equal("equal to the asked decimal place"));
        }
    }
    Ok(if gold.form.is_unresolved() || other.form.is_unresolved() {
        Outcome::Unknown("symbolic terms that no rule separates")
    } else {
        Outcome::Different("different values")
    })
}

fn sequences(
    (gold_shape, gold): (Shape, &[Answer]),
    (shape, other): (Shape, &[Answer]),
    policy: Policy,
    budget: &mut Budget,
) -> Result<Outcome, Unread> {
    use Shape::{Bare, Brackets, Set};
    match (gold_shape, shape) {
        (Set, Set | Bare) | (Bare, Set) => {
            let (gold, other) = (distinct(gold, policy, budget)?, distinct(other, policy, budget)?);
            unordered(&gold, &other, policy, budget)
        }
        (Bare, Bare) => unordered(gold, other, policy, budget),
        // Only an interval mixes its brackets, and brackets of one kind do not stand for another.
        (Brackets(a, b), Bare) | (Bare, Brackets(a, b)) if a == b => ordered(gold, other, policy, budget),
        (a, b) if a == b => ordered(gold, other, policy, budget),
        _ => Ok(Outcome::Different("brackets of different kinds")),
    }
}

fn ordered(gold: &[Answer], other: &[Answer], policy: Policy, budget: &mut Budget) -> Result<Outcome, Unread> {
    if gold.len() != other.len() {
        return Ok(Outcome::Different("different numbers of items"));
    }
    let mut unknown = None;
    for (a, b) in gold.iter().zip(other) {
        match compare(a, b, policy, budget)? {
            Outcome::Equal(_) => {}
            Outcome::Different(_) => return Ok(Outcome::Different("an item differs")),
            Outcome::Unknown(why) => unknown = Some(why),
        }
    }
    Ok(unknown.map_or(Outcome::Equal("the same items in order"), Outcome::Unknown))
}

/// Pairs equal items off, each once.
fn unordered(gold: &[Answer], other: &[Answer], policy: Policy, budget: &mut Budget) -> Result<Outcome, Unread> {
    if gold.len() != other.len() {
        return Ok(Outcome::Different("different numbers of items"));
    }
    let mut left: Vec<&Answer> = other.iter().collect();
    let (mut missing, mut unknown) = (false, None);
    'gold: for item in gold {
        let mut undecided = None;
        for at in 0..left.len() {
            match compare(item, left[at], policy, budget)? {
                Outcome::Equal(_) => {
                    left.swap_remove(at);
                    continue 'gold;
                }
                Outcome::Unknown(why) => undecided = Some(why),
                Outcome::Different(_) => {}
            }
        }
        match undecided {
            Some(why) => unknown = Some(why),
            None => missing = true,
        }
    }
    Ok(match (missing, unknown) {
        (true, _) => Outcome::Different("an item is missing"),
        (false, Some(why)) => Outcome::Unknown(why),
        (false, None) => Outcome::Equal("the same items"),
    })
}

/// The items without repetitions.
fn distinct(items: &[Answer], policy: Policy, budget: &mut Budget) -> Result<Vec<Answer>, Unread> {
    let mut kept: Vec<Answer> = Vec::new();
    'items: for item in items {
        for seen in &kept {
            if matches!(compare(seen, item, policy, budget)?, Outcome::Equal(_)) {
                continue 'items;
            }
        }
        kept.push(item.clone());
    }
    Ok(kept)
}

/// An assignment of a value, or a system, as conditions.
fn conditions(answer: &Answer, budget: &mut Budget) -> Result<Option<Vec<Condition>>, Unread> {
    match answer {
        Answer::Conditions(conditions) => Ok(Some(conditions.clone())),
        Answer::Assignment(name, value) => match value.as_ref() {
            Answer::Value(value) => {
                let variable = Quotient::atom(Atom::Symbol(name.clone()));
                let difference = variable.subtract(&value.form, budget)?;
                Ok(Some(vec![Condition { relation: Relation::Equal, difference }]))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn systems(gold: &[Condition], other: &[Condition], budget: &mut Budget) -> Result<Outcome, Unread> {
    if gold.len() != other.len() {
        return Ok(Outcome::Unknown("systems of different length"));
    }
    let mut left: Vec<&Condition> = other.iter().collect();
    let mut unknown = false;
    'gold: for condition in gold {
        for at in 0..left.len() {
            match same_condition(condition, left[at], budget)? {
                Some(true) => {
                    left.swap_remove(at);
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
fn same_condition(gold: &Condition, other: &Condition, budget: &mut Budget) -> Result<Option<bool>, Unread> {
    let both_ways = matches!(gold.relation, Relation::Equal | Relation::NotEqual);
    if gold.relation != other.relation {
        return Ok(Some(false));
    }
    let (a, b) = (&gold.difference, &other.difference);
    if !(both_ways || a.is_whole() && b.is_whole()) {
        return Ok(a.equals(b, budget)?.then_some(true));
    }
    let clear = |q: &Quotient, budget: &mut Budget| {
        if both_ways { q.numerator().clear_negative_powers(budget) } else { Ok(q.numerator().clone()) }
    };
    let (a, b) = (clear(a, budget)?, clear(b, budget)?);
    if a.is_zero() || b.is_zero() {
        return Ok(Some(a.is_zero() && b.is_zero()));
    }
    let ratio = a.leading() / b.leading();
    if (both_ways || !number::is_negative(&ratio)) && b.scale(&ratio, budget)? == a {
        return Ok(Some(true));
    }
    // A factor that is no rational number, or a power of the whole, is not seen by the ratio.
    let irrational = |atom: &Atom| !matches!(atom, Atom::Symbol(_));
    Ok(if a.atoms().any(irrational) || b.atoms().any(irrational) { None } else { Some(false) })
}
