//! Equations, inequalities and what they name.

use std::collections::BTreeSet;

use dashu::{Natural, Rational};

use super::{Done, Evaluator};
use crate::math::answer::{Answer, Assignment, Condition, Conditions, Value};
use crate::math::budget::Unread;
use crate::math::number;
use crate::math::numeric::{self, Finding};
use crate::math::quotient::Quotient;
use crate::math::tokens::Relation;
use crate::math::tree::{Id, Node, Shape};
use crate::math::units::Unit;

/// Nodes that the name on the left of an equation may be deep.
const MAX_LABEL_DEPTH: usize = 24;

impl Evaluator<'_> {
    /// The name on the left of an equation: variables and what is made of nothing else but them by products, quotients,
    /// brackets and functions. A sum is no name: `x + z = 1` says nothing about a value.
    fn label(&self, id: Id, depth: usize) -> Option<String> {
        if depth > MAX_LABEL_DEPTH {
            return None;
        }
        let inner = |id: &Id| self.label(*id, depth + 1);
        Some(match &self.tree.nodes[id] {
            Node::Symbol(name) | Node::Unknown(name) => name.to_string(),
            Node::Text(text) => text.clone(),
            Node::Letters(of, _) => inner(of)?,
            Node::Indexed(name, index) => format!("{name}_{}", self.label_argument(*index, depth + 1)?),
            Node::Multiply(a, b) => format!("{}{}", inner(a)?, inner(b)?),
            Node::Apply(a, b) => format!("{}({})", inner(a)?, self.label_argument(*b, depth + 1)?),
            Node::Divide(a, b) => format!("{}/{}", inner(a)?, inner(b)?),
            // The inverse of a function or a matrix is a name; that of a number would be an equation.
            Node::Power(of, exponent) if self.is_inverse(*of, *exponent) => format!("{}^-1", inner(of)?),
            Node::Derivative(of, by, order) => format!("d{order} {}/d{by}", inner(of)?),
            Node::Absolute(a) => format!("|{}|", inner(a)?),
            Node::Call(name, a) => format!("{name}({})", inner(a)?),
            Node::Sequence(shape, items, _) if !matches!(shape, Shape::Set) => {
                let names = items.iter().map(inner).collect::<Option<Vec<_>>>()?;
                format!("({})", names.join(","))
            }
            _ => return None,
        })
    }

    /// Whether an exponent makes the inverse of what functions and matrices are called.
    fn is_inverse(&self, of: Id, exponent: Id) -> bool {
        let named = match &self.tree.nodes[of] {
            Node::Symbol(name) => name.starts_with(|c: char| c.is_ascii_uppercase() || matches!(c, 'f' | 'g' | 'h')),
            _ => false,
        };
        let one = |id: Id| matches!(&self.tree.nodes[id], Node::Number(value, _) if value.is_one());
        named && matches!(&self.tree.nodes[exponent], Node::Negate(of) if one(*of))
    }

    /// What a function is applied to in a name: a name or a number.
    fn label_argument(&self, id: Id, depth: usize) -> Option<String> {
        match &self.tree.nodes[id] {
            Node::Number(value, _) => Some(value.to_string()),
            Node::Negate(of) => Some(format!("-{}", self.label_argument(*of, depth + 1)?)),
            _ => self.label(id, depth),
        }
    }

    /// `x ∈ set`
    pub(super) fn member(&mut self, left: Id, right: Id, done: &mut Done) -> Result<Answer, Unread> {
        let label = self.label(left, 0).ok_or_else(|| Unread::Unsupported("a membership of an expression".into()))?;
        Ok(Answer::Assignment(Assignment { label, left: None, value: Box::new(done.take(right)?) }))
    }

    pub(super) fn relation(
        &mut self,
        operands: &[Id],
        relations: &[Relation],
        done: &mut Done,
    ) -> Result<Answer, Unread> {
        let mut sides = done.take_all(operands)?;
        let mut relations = relations;
        // What stands behind "≈" only illustrates, unless it is all there is. It must not say something else.
        if let Some(at) = relations.iter().position(|relation| *relation == Relation::About) {
            for (pair, relation) in sides.windows(2).zip(relations).skip(at) {
                let wrong = match relation {
                    Relation::About => self.is_far(&pair[0], &pair[1])?,
                    Relation::Equal | Relation::Congruent => self.is_false(pair)?,
                    _ => false,
                };
                if wrong && !self.reader.trusts {
                    return Err(Unread::Malformed("an approximation that does not hold"));
                }
            }
            let named = at == 0 && self.label(operands[0], 0).is_some();
            let kept = if named { 1 } else { at };
            relations = &relations[..kept];
            sides.truncate(kept + 1);
        }
        if sides.len() == 1 {
            return Ok(sides.remove(0));
        }
        let equation =
            |relation: &Relation| matches!(relation, Relation::Equal | Relation::About | Relation::Congruent);
        if relations.iter().all(equation) {
            return self.equation(operands, sides);
        }
        let mut all = Vec::with_capacity(relations.len());
        for (pair, relation) in sides.windows(2).zip(relations) {
            all.push(self.condition(&pair[0], &pair[1], *relation)?);
        }
        Ok(Answer::Conditions(Conditions { all, last: None, unit: unit_of(&sides) }))
    }

    /// Sides that are all equal: a name and its value, a value in several forms, or an equation.
    fn equation(&mut self, operands: &[Id], mut sides: Vec<Answer>) -> Result<Answer, Unread> {
        // `4 + 1 = 5 = x` names the same as `x = 4 + 1 = 5`.
        let mut turned = Vec::new();
        let operands = match operands {
            [first, .., last]
                if operands.len() > 2 && self.label(*first, 0).is_none() && self.label(*last, 0).is_some() =>
            {
                turned.extend_from_slice(operands);
                turned.rotate_right(1);
                sides.rotate_right(1);
                &turned
            }
            _ => operands,
        };
        let first = operands[0];
        // `5 = x` names the same as `x = 5`.
        if let ([value, name], [_, left]) = (operands, sides.as_slice())
            && self.label(*value, 0).is_none()
            && let Some(label) = self.label(*name, 0)
        {
            let left = left.form().cloned();
            return Ok(Answer::Assignment(Assignment { label, left, value: Box::new(sides.swap_remove(0)) }));
        }
        // Whichever side counts, no two neighbours may be different numbers: `x = 5 = 6` is neither 5 nor 6.
        if !self.reader.trusts && self.is_false(&sides)? {
            return Err(Unread::Malformed("an equality that does not hold"));
        }
        if let Some(label) = self.label(first, 0) {
            let value = sides.pop().expect("a relation has two sides");
            if !self.reader.last_side_counts {
                for middle in &sides[1..] {
                    self.holds(middle, &value)?;
                }
            }
            let left = sides[0].form().cloned();
            return Ok(Answer::Assignment(Assignment { label, left, value: Box::new(value) }));
        }
        let numbers = sides.iter().all(|side| plain_number(side).is_some());
        if (!self.reader.last_side_counts || numbers) && self.is_identity(&sides)? {
            return Ok(sides.pop().expect("a relation has two sides"));
        }
        let mut all = Vec::with_capacity(sides.len() - 1);
        for pair in sides.windows(2) {
            all.push(self.condition(&pair[0], &pair[1], Relation::Equal)?);
        }
        let unit = unit_of(&sides);
        Ok(Answer::Conditions(Conditions { all, last: sides.pop().map(Box::new), unit }))
    }

    /// True when two numbers among equal sides are different, even when the digits of a decimal are only as good as they are; or two sets of
    /// numbers by their elements.
    fn is_false(&mut self, sides: &[Answer]) -> Result<bool, Unread> {
        // A name between two numbers does not make them less equal: `5 = x = 6`.
        let numbers: Vec<(Rational, Option<u32>)> = sides.iter().filter_map(plain_number).collect();
        for pair in numbers.windows(2) {
            let [(x, of_x), (y, of_y)] = pair else { continue };
            if x == y {
                continue;
            }
            let places = [*of_x, *of_y].into_iter().flatten().max();
            let Some(places) = places.filter(|places| *places < 100) else { return Ok(true) };
            number::spend_bits(self.budget, number::bits(x) + number::bits(y) + 400)?;
            let unit = Rational::from_parts(1.into(), Natural::from(10u8).pow(places as usize));
            if number::magnitude(&(x - y)) > unit {
                return Ok(true);
            }
        }
        let sets: Vec<BTreeSet<Rational>> = sides.iter().filter_map(set_of_numbers).collect();
        self.budget.spend(sets.iter().map(|set| set.len() as u64).sum())?;
        Ok(sets.windows(2).any(|pair| pair[0] != pair[1]))
    }

    /// True when two numbers are further apart than the digits of the rougher one excuse, or, where neither is rounded, than one part in 20.
    fn is_far(&mut self, a: &Answer, b: &Answer) -> Result<bool, Unread> {
        let (Answer::Value(a), Answer::Value(b)) = (a, b) else { return Ok(false) };
        let plain = |value: &Value| value.unit.is_none() && !value.percent;
        // Where the last side counts, a decimal that is a bad one only illustrates.
        let illustrates = self.reader.last_side_counts && (a.decimals.is_some() || b.decimals.is_some());
        if !(plain(a) && plain(b)) || illustrates {
            return Ok(false);
        }
        let (Some(x), Some(y)) = (self.near(&a.form)?, self.near(&b.form)?) else { return Ok(false) };
        number::spend_bits(self.budget, number::bits(&x) + number::bits(&y) + 400)?;
        let units = [(a, &x), (b, &y)].into_iter().filter_map(|(value, number)| last_place(value, number));
        let most = units.max().unwrap_or_else(|| number::magnitude(&x) / Rational::from(20));
        Ok(number::magnitude(&(x - y)) >= most)
    }

    /// The value of a form without variables, or a number very near to it.
    fn near(&mut self, form: &Quotient) -> Result<Option<Rational>, Unread> {
        match form.as_rational() {
            Some(value) => Ok(Some(value)),
            None => numeric::approximate(form, self.budget),
        }
    }

    /// True when all sides are the same expression, so that the last one is the answer: `3 + 4 = 7`.
    fn is_identity(&mut self, sides: &[Answer]) -> Result<bool, Unread> {
        for pair in sides.windows(2) {
            let (Answer::Value(a), Answer::Value(b)) = (&pair[0], &pair[1]) else { return Ok(false) };
            if !self.same(&a.form, &b.form)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn same(&mut self, a: &Quotient, b: &Quotient) -> Result<bool, Unread> {
        if a.equals(b, self.budget)? {
            return Ok(true);
        }
        Ok((a.is_unresolved() || b.is_unresolved()) && numeric::compare(a, b, self.budget)? == Finding::Equal)
    }

    /// In `x = 1 + 1 = 2` every link must hold: a chain of different values is not an answer.
    fn holds(&mut self, middle: &Answer, last: &Answer) -> Result<(), Unread> {
        if self.same(quantity(middle)?, quantity(last)?)? {
            Ok(())
        } else {
            Err(Unread::Malformed("a chain of equalities that does not hold"))
        }
    }

    fn condition(&mut self, left: &Answer, right: &Answer, relation: Relation) -> Result<Condition, Unread> {
        let (left, right) = (quantity(left)?, quantity(right)?);
        let (small, large, relation) = match relation {
            Relation::Greater => (right, left, Relation::Less),
            Relation::AtLeast => (right, left, Relation::AtMost),
            Relation::About | Relation::Congruent => (left, right, Relation::Equal),
            other => (left, right, other),
        };
        Ok(Condition { relation, difference: small.subtract(large, self.budget)? })
    }
}

/// A rational number with nothing behind it, and its decimal places.
fn plain_number(side: &Answer) -> Option<(Rational, Option<u32>)> {
    match side {
        Answer::Value(value) if value.unit.is_none() && !value.percent => {
            value.form.as_rational().map(|number| (number, value.decimals))
        }
        _ => None,
    }
}

/// A set by its elements, where all of them are integers or fractions.
fn set_of_numbers(side: &Answer) -> Option<BTreeSet<Rational>> {
    let Answer::Sequence(Shape::Set, items, _) = side else { return None };
    items
        .iter()
        .map(|item| plain_number(item).filter(|(_, places)| places.is_none()).map(|(number, _)| number))
        .collect()
}

/// What one more in the last digit is worth: of a decimal by its places, of an integer by its zeros at the end.
fn last_place(value: &Value, number: &Rational) -> Option<Rational> {
    const MAX_DIGITS: u32 = 100;
    let ten = |places: u32| Rational::from(Natural::from(10u8).pow(places as usize));
    if let Some(places) = value.decimals.filter(|places| *places < MAX_DIGITS) {
        return Some(Rational::ONE / ten(places));
    }
    let whole = number::small_integer(number)?;
    let zeros = (0..18).take_while(|places| whole != 0 && whole % 10_i64.pow(places + 1) == 0).count();
    Some(ten(zeros as u32))
}

/// What is written behind the first side that has something behind it.
fn unit_of(sides: &[Answer]) -> Option<Unit> {
    sides.iter().find_map(|side| match side {
        Answer::Value(value) => value.unit.clone(),
        _ => None,
    })
}

fn quantity(answer: &Answer) -> Result<&Quotient, Unread> {
    answer.form().ok_or_else(|| Unread::Unsupported("a relation between other things than values".into()))
}
