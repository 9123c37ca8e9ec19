//! Equations, inequalities and what they name.

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
        // What stands behind "≈" only illustrates, unless it is all there is.
        if let Some(at) = relations.iter().position(|relation| *relation == Relation::About) {
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
        let literal = |id: &Id| matches!(self.tree.nodes[*id], Node::Number(_, None));
        // Where the last side counts, neighbours that are two literals must be one all the same, but behind a name.
        let wrong = if !self.reader.last_side_counts {
            self.is_false(&sides)?
        } else if self.label(first, 0).is_none() {
            let pairs = operands.windows(2).zip(sides.windows(2));
            let literals = pairs.filter(|(ids, _)| ids.iter().all(literal)).map(|(_, pair)| pair);
            literals.map(|pair| self.is_false(pair)).collect::<Result<Vec<_>, _>>()?.contains(&true)
        } else {
            false
        };
        if wrong {
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
        if !self.reader.last_side_counts && self.is_identity(&sides)? {
            return Ok(sides.pop().expect("a relation has two sides"));
        }
        let mut all = Vec::with_capacity(sides.len() - 1);
        for pair in sides.windows(2) {
            all.push(self.condition(&pair[0], &pair[1], Relation::Equal)?);
        }
        let unit = unit_of(&sides);
        Ok(Answer::Conditions(Conditions { all, last: sides.pop().map(Box::new), unit }))
    }

    /// True when two neighbours are different numbers, even when the digits of a decimal are only as good as they are.
    fn is_false(&mut self, sides: &[Answer]) -> Result<bool, Unread> {
        for pair in sides.windows(2) {
            let (Answer::Value(a), Answer::Value(b)) = (&pair[0], &pair[1]) else { continue };
            let plain = |value: &Value| value.unit.is_none() && !value.percent;
            let (Some(x), Some(y)) = (a.form.as_rational(), b.form.as_rational()) else { continue };
            if !(plain(a) && plain(b)) || x == y {
                continue;
            }
            let places = [a.decimals, b.decimals].into_iter().flatten().max();
            let Some(places) = places.filter(|places| *places < 100) else { return Ok(true) };
            number::spend_bits(self.budget, number::bits(&x) + number::bits(&y) + 400)?;
            let unit = Rational::from_parts(1.into(), Natural::from(10u8).pow(places as usize));
            if number::magnitude(&(x - y)) > unit {
                return Ok(true);
            }
        }
        Ok(false)
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
