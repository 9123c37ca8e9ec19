//! What is only equal part by part: sets by their elements, families, congruences, operators of which only the structure
//! is known. What is not proved the same is undecided, but for the cases that can be computed.

use dashu::Rational;

use super::{Comparison, Outcome};
use crate::math::answer::{Answer, Builder, Conditions};
use crate::math::budget::Unread;
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;

/// What a comparison of structures may leave to others.
type Found = Result<Option<Outcome>, Unread>;

impl Comparison<'_> {
    pub(super) fn structures(&mut self, gold: &Answer, other: &Answer) -> Found {
        use Answer::{Assignment, Congruence, Intersection, Operation, Union, Without};
        Ok(Some(match (gold, other) {
            (Answer::Builder(a), Answer::Builder(b)) => self.builders(a, b)?,
            // The gold leaves open what the other says of its parameter.
            (_, Answer::Builder(family)) if family.listed && !matches!(gold, Assignment(_)) => {
                match self.answers(gold, &family.element)? {
                    equal @ Outcome::Equal(_) => equal,
                    _ => Outcome::Unknown("a family of answers"),
                }
            }
            (Assignment(named), Answer::Builder(_)) => self.answers(&named.value, other)?,
            (Answer::Builder(_), Assignment(named)) => self.answers(gold, &named.value)?,
            (Answer::Builder(_), _) | (_, Answer::Builder(_)) => {
                Outcome::Unknown("a set by its elements, which is not computed")
            }
            (Congruence { difference: a, modulus: m, .. }, Congruence { difference: b, modulus: n, .. }) => {
                self.congruences((a, m), (b, n))?
            }
            (Congruence { residue: Some(residue), .. }, Answer::Value(value)) if value.unit == residue.unit => {
                self.values(residue, value)?
            }
            (Answer::Value(value), Congruence { residue: Some(residue), .. }) if value.unit == residue.unit => {
                self.values(value, residue)?
            }
            (Congruence { .. }, Answer::Value(_)) | (Answer::Value(_), Congruence { .. }) => {
                Outcome::Unknown("a residue class and a number")
            }
            (Congruence { .. }, _) | (_, Congruence { .. }) => Outcome::Unknown("a residue class and something else"),
            (Operation(a, xs), Operation(b, ys)) if a == b => self.operands(xs, ys, a.is_symmetric())?,
            (Operation(..), _) | (_, Operation(..)) => Outcome::Unknown("an operator that is not computed"),
            (Union(a, b), Union(c, d)) | (Intersection(a, b), Intersection(c, d)) => {
                self.sides([a, b], [c, d], true)?
            }
            (Without(a, b), Without(c, d)) => self.sides([a, b], [c, d], false)?,
            (
                Union(..) | Intersection(..) | Without(..),
                Answer::Value(_) | Union(..) | Intersection(..) | Without(..),
            )
            | (Answer::Value(_), Union(..) | Intersection(..) | Without(..)) => {
                Outcome::Unknown("sets that are not computed")
            }
            _ => return Ok(None),
        }))
    }

    fn operands(&mut self, gold: &[Answer; 2], other: &[Answer; 2], symmetric: bool) -> Result<Outcome, Unread> {
        self.sides([&gold[0], &gold[1]], [&other[0], &other[1]], symmetric)
    }

    fn sides(&mut self, [a, b]: [&Answer; 2], [c, d]: [&Answer; 2], symmetric: bool) -> Result<Outcome, Unread> {
        let equal = |outcome: Outcome| matches!(outcome, Outcome::Equal(_));
        if equal(self.answers(a, c)?) && equal(self.answers(b, d)?)
            || symmetric && equal(self.answers(a, d)?) && equal(self.answers(b, c)?)
        {
            return Ok(Outcome::Equal("the same structure"));
        }
        Ok(Outcome::Unknown("an operator on other things"))
    }

    /// `a ≡ 0` and `b ≡ 0`: the same for one modulus when `a ± b` is a multiple of it.
    fn congruences(
        &mut self,
        (a, m): (&Quotient, &Quotient),
        (b, n): (&Quotient, &Quotient),
    ) -> Result<Outcome, Unread> {
        if !m.equals(n, self.budget)? {
            return Ok(Outcome::Unknown("residue classes of different moduli"));
        }
        let by = m.invert(self.budget)?;
        let mut constant = false;
        for turned in [false, true] {
            let difference = if turned { a.add(b, self.budget)? } else { a.subtract(b, self.budget)? };
            let times = difference.multiply(&by, self.budget)?.as_rational();
            if times.as_ref().is_some_and(Rational::is_int) {
                return Ok(Outcome::Equal("the same residue class"));
            }
            constant |= times.is_some() && !turned;
        }
        if constant && m.as_rational().is_some() {
            return Ok(Outcome::Different("another residue class"));
        }
        Ok(Outcome::Unknown("congruences that no rule separates"))
    }

    /// Sets by their elements: the same up to the names of the bound variables; arithmetic progressions over the integers
    /// by their steps.
    fn builders(&mut self, gold: &Builder, other: &Builder) -> Result<Outcome, Unread> {
        const UNKNOWN: Outcome = Outcome::Unknown("sets by their elements that no rule compares");
        if gold.domains.len() != other.domains.len() || gold.conditions.len() != other.conditions.len() {
            return Ok(UNKNOWN);
        }
        let (gold_names, other_names) = (bound(gold), bound(other));
        if gold_names.len() != other_names.len() {
            return Ok(UNKNOWN);
        }
        let (gold, other) = (self.renamed(gold, &gold_names)?, self.renamed(other, &other_names)?);
        for ((a, x), (b, y)) in gold.domains.iter().zip(&other.domains) {
            if a != b || !matches!(self.answers(x, y)?, Outcome::Equal(_)) {
                return Ok(UNKNOWN);
            }
        }
        let conditions = |builder: &Builder| {
            Answer::Conditions(Conditions { all: builder.conditions.clone(), last: None, unit: None })
        };
        if !gold.conditions.is_empty()
            && !matches!(self.relations(&conditions(&gold), &conditions(&other))?, Outcome::Equal(_))
        {
            return Ok(UNKNOWN);
        }
        if matches!(self.answers(&gold.element, &other.element)?, Outcome::Equal(_)) {
            return Ok(Outcome::Equal("the same set by its elements"));
        }
        let integers = matches!(gold.domains.as_slice(), [(_, domain)] if domain.form().is_some_and(|form| form.to_string().contains("mathbb{Z}")));
        match (gold.element.form(), other.element.form()) {
            (Some(a), Some(b)) if integers && gold.conditions.is_empty() => self.progressions(a, b),
            _ => Ok(UNKNOWN),
        }
    }

    /// `{s k + r}` and `{t k + u}` over the integers: the same when `s = ± t` and `r - u` is a multiple of it.
    fn progressions(&mut self, a: &Quotient, b: &Quotient) -> Result<Outcome, Unread> {
        const UNKNOWN: Outcome = Outcome::Unknown("families that no rule compares");
        let (Some(a), Some(b)) =
            (a.coefficients("bound 0", 1, self.budget)?, b.coefficients("bound 0", 1, self.budget)?)
        else {
            return Ok(UNKNOWN);
        };
        let ([r, s], [u, t]) = (a.as_slice(), b.as_slice()) else { return Ok(UNKNOWN) };
        let step = s.invert(self.budget)?;
        let (Some(steps), Some(shift)) = (
            t.multiply(&step, self.budget)?.as_rational(),
            r.subtract(u, self.budget)?.multiply(&step, self.budget)?.as_rational(),
        ) else {
            return Ok(UNKNOWN);
        };
        let one = steps.is_one() || (-&steps).is_one();
        Ok(if one && shift.is_int() {
            Outcome::Equal("the same progression")
        } else {
            Outcome::Different("another progression")
        })
    }

    /// The same set with `bound 0`, `bound 1`, … for its variables.
    fn renamed(&mut self, builder: &Builder, names: &[String]) -> Result<Builder, Unread> {
        let mut renamed = builder.clone();
        for (at, name) in names.iter().enumerate() {
            let label = format!("bound {at}");
            let value = Quotient::atom(Atom::Symbol(label.as_str().into()));
            renamed.element = renamed.element.substituted(name, &value, self.budget)?;
            for (domain, _) in &mut renamed.domains {
                if domain == name {
                    domain.clone_from(&label);
                }
            }
            for condition in &mut renamed.conditions {
                condition.difference = condition.difference.substituted(name, &value, self.budget)?;
            }
        }
        Ok(renamed)
    }
}

/// The bound variables: those with a domain, in order, and then those of the element when none has one.
fn bound(builder: &Builder) -> Vec<String> {
    let mut names: Vec<String> = builder.domains.iter().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        collect(&builder.element, &mut names);
    }
    names
}

fn collect(answer: &Answer, names: &mut Vec<String>) {
    match answer {
        Answer::Value(value) => {
            let mut found = std::collections::BTreeSet::new();
            value.form.collect_variables(&mut found);
            for name in found {
                if !names.iter().any(|seen| seen == name) {
                    names.push(name.to_owned());
                }
            }
        }
        Answer::Sequence(_, items, _) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}
