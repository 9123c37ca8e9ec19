//! Numbers and expressions with what is written behind them.

use dashu::{Integer, Natural, Rational};
use serde::{Deserialize, Serialize};

use super::{Comparison, Outcome};
use crate::math::answer::Value;
use crate::math::budget::Unread;
use crate::math::number;
use crate::math::numeric::{self, Finding};
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;
use crate::math::units::{Fit, Unit};

/// Whether a percent sign may be left off or put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// `50%` is 50 and is 0.5, when the other side has no sign; a gold answer below one without a sign is only met by its value.
    #[default]
    Either,
    /// `50%` is 0.5.
    Value,
}

/// What units of measurement mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// One may be left off; two known ones are converted, and must agree.
    #[default]
    Checked,
    /// They are not looked at.
    Ignored,
}

impl Comparison<'_> {
    pub(super) fn values(&mut self, gold: &Value, other: &Value) -> Result<Outcome, Unread> {
        if let Some(outcome) = other_order(gold, other) {
            return Ok(outcome);
        }
        if self.policy.units == Units::Ignored {
            return self.with_one_unit(gold, other);
        }
        // A percentage is no quantity, nor a number of things.
        let bare = if gold.percent { other } else { gold };
        if gold.percent != other.percent && bare.unit.is_some() {
            return Ok(Outcome::Different("a percentage and a quantity"));
        }
        let (Some(a), Some(b)) = (&gold.unit, &other.unit) else { return self.with_one_unit(gold, other) };
        match a.against(b) {
            Fit::Same => self.forms(gold, other),
            Fit::Times(ratio) => {
                let form = other.form.multiply(&Quotient::rational(ratio), self.budget)?;
                Ok(match self.forms(gold, &Value { form, ..other.clone() })? {
                    Outcome::Equal(_) => Outcome::Equal("equal in other units"),
                    outcome => outcome,
                })
            }
            Fit::Differ if (a.is_degree() && b.is_radian()) || (a.is_radian() && b.is_degree()) => {
                self.angles(gold, other, b.is_degree())
            }
            Fit::Differ => Ok(match self.forms(gold, other)? {
                Outcome::Equal(_) => Outcome::Different("the units or the words behind it differ"),
                _ if a.both_measure(b) => Outcome::Unknown("the units differ and are not converted"),
                outcome => outcome,
            }),
        }
    }

    /// Values of which at most one has a unit that counts.
    fn with_one_unit(&mut self, gold: &Value, other: &Value) -> Result<Outcome, Unread> {
        let outcome = self.forms(gold, other)?;
        if matches!(outcome, Outcome::Equal(_)) {
            return Ok(outcome);
        }
        if self.is_its_product(gold, other)? || self.is_its_product(other, gold)? {
            return Ok(Outcome::Equal("equal, with letters for variables"));
        }
        // A multiple of π is an angle in radians.
        let has_pi = |value: &Value| value.unit.is_none() && value.form.atoms().any(|atom| *atom == Atom::Pi);
        let degrees = |value: &Value| value.unit.as_ref().is_some_and(Unit::is_degree);
        if (degrees(gold) && has_pi(other)) || (has_pi(gold) && degrees(other)) {
            return self.angles(gold, other, degrees(other));
        }
        Ok(outcome)
    }

    /// Whether the letters of a quantity's unit are variables on the other side: `2mg` and `2m \cdot g`.
    fn is_its_product(&mut self, quantity: &Value, product: &Value) -> Result<bool, Unread> {
        let variables = quantity.unit.as_ref().and_then(Unit::as_variables).filter(|_| product.unit.is_none());
        let mut form = quantity.form.clone();
        for name in variables.unwrap_or_default() {
            form = form.multiply(&Quotient::atom(Atom::Symbol((*name).into())), self.budget)?;
        }
        Ok(variables.is_some() && form.equals(&product.form, self.budget)?)
    }

    /// An angle in degrees and one in radians.
    fn angles(&mut self, gold: &Value, other: &Value, other_in_degrees: bool) -> Result<Outcome, Unread> {
        let half_turn = Quotient::rational(Rational::from_parts(Integer::ONE, Natural::from(180u8)));
        let ratio = half_turn.multiply(&Quotient::atom(Atom::Pi), self.budget)?;
        let (degrees, radians) = if other_in_degrees { (other, gold) } else { (gold, other) };
        let form = degrees.form.multiply(&ratio, self.budget)?;
        Ok(match self.forms(&Value::plain(form), &Value::plain(radians.form.clone()))? {
            Outcome::Equal(_) => Outcome::Equal("the same angle"),
            outcome => outcome,
        })
    }

    fn forms(&mut self, gold: &Value, other: &Value) -> Result<Outcome, Unread> {
        if gold.form.equals(&other.form, self.budget)? {
            return Ok(Outcome::Equal("equal values"));
        }
        let (a, b) = (&gold.form, &other.form);
        // A gold answer below one is a share already: half is no half percent.
        let share = !gold.percent && a.as_rational().is_some_and(|gold| number::magnitude(&gold) <= Rational::ONE);
        if self.policy.percent == Percent::Either && gold.percent != other.percent && !share {
            let hundred = Quotient::rational(Rational::from(100));
            let (signed, bare) = if gold.percent { (a, b) } else { (b, a) };
            let times_hundred = signed.multiply(&hundred, self.budget)?;
            if times_hundred.equals(bare, self.budget)? {
                return Ok(Outcome::Equal("equal but for the percent sign"));
            }
        }
        if let Some(outcome) = self.rounded(gold, other)? {
            return Ok(outcome);
        }
        if a.is_unresolved() || b.is_unresolved() {
            let (a, b) = (&a.settled_magnitudes(self.budget)?, &b.settled_magnitudes(self.budget)?);
            if a.equals(b, self.budget)? {
                return Ok(Outcome::Equal("equal values"));
            }
            return Ok(match numeric::compare(a, b, self.budget)? {
                Finding::Equal => Outcome::Equal("equal at every point and precision that was tried"),
                Finding::Different => Outcome::Different("different values, proved by intervals"),
                Finding::Unknown(why) => Outcome::Unknown(why),
            });
        }
        Ok(Outcome::Different("different values"))
    }

    /// Equality up to the rounding that was asked for, or that a decimal literal allows.
    fn rounded(&mut self, gold: &Value, other: &Value) -> Result<Option<Outcome>, Unread> {
        if let (Some(places), Some(a), Some(b)) =
            (self.policy.decimal_places, self.approximate(&gold.form)?, self.approximate(&other.form)?)
        {
            let half_unit = Rational::from_parts(Integer::ONE, power_of_ten(places) * 2u8);
            number::spend_bits(self.budget, number::bits(&a) + number::bits(&b) + number::bits(&half_unit))?;
            if number::magnitude(&(a - b)) <= half_unit {
                return Ok(Some(Outcome::Equal("equal to the asked decimal place")));
            }
        }
        let Some(places) = self.policy.float_rounding else { return Ok(None) };
        if places == 0 || gold.decimals.is_none() && other.decimals.is_none() {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (self.approximate(&gold.form)?, self.approximate(&other.form)?) else {
            return Ok(None);
        };
        let scale = Rational::from(Integer::from(power_of_ten(places)));
        number::spend_bits(self.budget, number::bits(&a) + number::bits(&b) + number::bits(&scale))?;
        let (a, b) = (half_even(&(a * &scale)), half_even(&(b * &scale)));
        // A number that rounds to nothing has lost all of its digits: two of them are not the same.
        Ok((a == b && !a.is_zero()).then_some(Outcome::Equal("equal when rounded")))
    }

    /// A rational number within 2^-80 of a constant, relatively.
    fn approximate(&mut self, form: &Quotient) -> Result<Option<Rational>, Unread> {
        if let Some(value) = form.as_rational() {
            return Ok(Some(value));
        }
        numeric::approximate(form, self.budget)
    }
}

/// Two answers of nothing but the same letters in another order. Whether they are products cannot be seen, but for a few
/// that are hardly anything else.
fn other_order(gold: &Value, other: &Value) -> Option<Outcome> {
    let (a, b) = (gold.letters.as_deref()?, other.letters.as_deref()?);
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let letters = sorted(a);
    if a == b || letters != sorted(b) {
        return None;
    }
    // The sides of an angle have no order.
    if let (Some((x, points)), Some((y, turned))) = (a.split_once('∠'), b.split_once('∠'))
        && x == y
        && points.chars().rev().eq(turned.chars())
    {
        return Some(Outcome::Equal("the same angle"));
    }
    let distinct = letters.windows(2).all(|pair| pair[0] != pair[1]);
    let lower = a.chars().all(|c| c.is_ascii_lowercase());
    let all_of = |set: &str| a.chars().all(|c| set.contains(c));
    let pair = a.len() == 2 && (all_of("abcd") || all_of("kmnpqrstuvwxz"));
    if distinct && lower && (all_of("xyz") || pair) {
        return None;
    }
    Some(if distinct && lower && !a.contains(['e', 'i', 'o', 'u']) {
        Outcome::Unknown("the same letters in another order")
    } else {
        Outcome::Different("the same letters in another order")
    })
}

/// The nearest integer; of two the even one.
fn half_even(value: &Rational) -> Integer {
    let below = value.floor();
    let rest = value - Rational::from(below.clone());
    let half = Rational::from_parts(Integer::ONE, Natural::from(2u8));
    let odd = &below % Integer::from(2) != Integer::ZERO;
    if rest > half || rest == half && odd { below + Integer::ONE } else { below }
}

fn power_of_ten(places: u32) -> Natural {
    Natural::from(10u8).pow(places.min(1_000) as usize)
}
