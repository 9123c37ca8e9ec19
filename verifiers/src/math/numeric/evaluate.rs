//! The value of a form at a point: every variable gets a number that depends on its name alone, so both sides of a
//! comparison see the same one.

use dashu::{Integer, Natural, Rational};

use super::ball::Ball;
use super::complex::Complex;
use crate::math::budget::{Budget, Unread};
use crate::math::number;
use crate::math::polynomial::{Atom, Opaque, Polynomial};
use crate::math::quotient::Quotient;

/// How the variables get their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Positive fractions.
    Positive,
    /// Fractions below four in size.
    Signed,
    /// Fractions up to so many powers of two, so that no constant of the forms is beyond them.
    Wide(u32),
    /// Integers from 2 to 13.
    Whole,
}

/// Where forms are evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// The kind of values.
    pub kind: Kind,
    /// What the values depend on beside the names.
    pub seed: u64,
    /// The variables below zero.
    pub negative: &'a [&'a str],
}

impl Point<'_> {
    /// The value of a variable.
    fn value(self, name: &str) -> Rational {
        let hash = hash(name, self.seed);
        if self.kind == Kind::Whole {
            return Rational::from(2 + hash % 12);
        }
        let over = Integer::from(17 + (hash >> 8) % 383);
        let over = match self.kind {
            Kind::Wide(log2) => over << log2 as usize,
            _ => over,
        };
        let over = if self.negative.contains(&name) { -over } else { over };
        Rational::from_parts(over, Natural::from(101u8))
    }
}

/// FNV-1a, with a final mix because short names would differ in the low bits only.
pub fn hash(text: &str, seed: u64) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in text.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^ (state >> 33)
}

/// What an evaluation met on its way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace {
    /// The binary logarithm of the largest intermediate result.
    pub largest: i64,
    /// That of the smallest one other than zero.
    pub smallest: i64,
    /// The most bits that a coefficient or an exponent has: so small a difference may be written in it.
    pub height: usize,
    /// A function that no rule here computes was given a value like a variable.
    pub unknown_functions: bool,
    /// A variable occurs.
    pub variables: bool,
    /// A function with corners or jumps (an absolute value, a maximum) was applied to something that varies: points
    /// may show that it differs from another, but never that it is the same.
    pub corners: bool,
    /// A function that may be meant for integers only (a floor, a factorial, `(-1)^n`) was applied to something that
    /// varies: fractions show nothing about it.
    pub discrete: bool,
    /// A root, a logarithm or an arc function was applied to something that varies: it has several branches, and
    /// every combination of signs must be tried.
    pub branches: bool,
}

/// Evaluates forms at one point to so many bits.
pub struct Evaluation<'a> {
    /// Where.
    pub point: Point<'a>,
    /// Bits of the midpoints.
    pub bits: usize,
    /// What was met.
    pub trace: Trace,
    /// What pays for it.
    pub budget: &'a mut Budget,
}

impl Evaluation<'_> {
    /// The value of a form; `None` where it is undefined at the point or its enclosure is unbounded.
    pub fn quotient(&mut self, form: &Quotient) -> Result<Option<Complex>, Unread> {
        let Some(over) = self.polynomial(form.numerator())? else { return Ok(None) };
        if form.is_whole() {
            return Ok(Some(over));
        }
        let Some(under) = self.polynomial(form.denominator())? else { return Ok(None) };
        self.pay(1)?;
        Ok(over.divide(&under))
    }

    fn polynomial(&mut self, sum: &Polynomial) -> Result<Option<Complex>, Unread> {
        let mut total = Complex::real(Ball::integer(0, self.bits));
        for (monomial, coefficient) in sum.terms() {
            number::spend_bits(self.budget, number::bits(coefficient))?;
            let mut term = Complex::real(Ball::rational(coefficient, self.bits));
            self.trace.height = self.trace.height.max(number::bits(coefficient));
            for (atom, exponent) in monomial {
                self.trace.height = self.trace.height.max(number::bits(exponent));
                self.pay(1)?;
                let Some(factor) = self.power(atom, exponent)? else { return Ok(None) };
                self.note(&factor);
                term = term.multiply(&factor);
            }
            self.note(&term);
            total = total.add(&term);
        }
        Ok(Some(total))
    }

    /// One unit is an operation on floats, which is some 200 ns at 256 bits.
    fn pay(&mut self, units: u64) -> Result<(), Unread> {
        self.budget.spend(units * (20 + (self.bits as u64 / 64).pow(2)))
    }

    fn note(&mut self, value: &Complex) {
        if value.is_apart_from_zero() {
            let log2 = value.magnitude().log2();
            self.trace.largest = self.trace.largest.max(log2);
            self.trace.smallest = self.trace.smallest.min(log2);
        }
    }

    fn power(&mut self, atom: &Atom, exponent: &Rational) -> Result<Option<Complex>, Unread> {
        let real = |value: Rational, bits| Complex::real(Ball::rational(&value, bits));
        let base = match atom {
            Atom::Imaginary => Complex::unit(self.bits),
            Atom::Prime(prime) => real(Rational::from(Integer::from(prime.clone())), self.bits),
            Atom::Euler => {
                self.pay(40)?;
                return Ok(Ball::rational(exponent, self.bits).exp().map(Complex::real));
            }
            Atom::Pi => {
                self.pay(10)?;
                Complex::real(Ball::pi(self.bits))
            }
            Atom::Infinity => return Ok(None),
            Atom::Symbol(name) => {
                self.trace.variables = true;
                self.trace.branches |= !exponent.is_int();
                real(self.point.value(name), self.bits)
            }
            Atom::Opaque(opaque) => {
                let (value, varies) = self.varying(|this| this.function(opaque))?;
                self.trace.branches |= varies && !exponent.is_int();
                match value {
                    Some(value) => value,
                    None => return Ok(None),
                }
            }
        };
        if exponent.is_one() {
            return Ok(Some(base));
        }
        self.pay(if exponent.is_int() { 4 } else { 80 })?;
        Ok(base.rational_power(exponent, self.bits))
    }

    /// What `of` evaluates, and whether variables occur in it.
    fn varying<T>(&mut self, of: impl FnOnce(&mut Self) -> Result<T, Unread>) -> Result<(T, bool), Unread> {
        let before = std::mem::replace(&mut self.trace.variables, false);
        let value = of(self)?;
        let varies = std::mem::replace(&mut self.trace.variables, before);
        self.trace.variables |= varies;
        Ok((value, varies))
    }

    /// Notes what points can tell about a function of something that varies.
    fn note_kind(&mut self, name: &str) {
        match name {
            "abs" | "max" | "min" | "sign" => self.trace.corners = true,
            "floor" | "ceiling" | "factorial" | "binomial" => self.trace.discrete = true,
            "ln" | "arcsin" | "arccos" | "arctan" | "arccot" | "arcsec" | "arccsc" | "arcsinh" | "arccosh"
            | "arctanh" => self.trace.branches = true,
            _ => {}
        }
    }

    fn function(&mut self, opaque: &Opaque) -> Result<Option<Complex>, Unread> {
        let name = opaque.function.as_ref();
        let unary = matches!(
            name,
            "abs"
                | "floor"
                | "ceiling"
                | "ln"
                | "sin"
                | "cos"
                | "tan"
                | "cot"
                | "sec"
                | "csc"
                | "arcsin"
                | "arccos"
                | "arctan"
                | "arccot"
                | "arcsec"
                | "arccsc"
                | "sinh"
                | "cosh"
                | "tanh"
                | "coth"
                | "arcsinh"
                | "arccosh"
                | "arctanh"
                | "factorial"
        );
        match (name, opaque.arguments.as_slice()) {
            ("power", [base, exponent]) => self.general_power(base, exponent),
            (_, [argument]) if unary => {
                let (argument, varies) = self.varying(|this| this.quotient(argument))?;
                if varies {
                    self.note_kind(name);
                }
                let Some(argument) = argument else { return Ok(None) };
                self.note(&argument);
                self.pay(100)?;
                let value = match name {
                    "abs" => argument.absolute(),
                    _ => argument.as_real().and_then(|argument| real_function(name, argument, self.bits)),
                };
                Ok(value.map(Complex::real))
            }
            ("binomial", [n, k]) => {
                let (values, varies) = self.varying(|this| Ok((this.quotient(n)?, this.quotient(k)?)))?;
                self.trace.discrete |= varies;
                let (Some(n), Some(k)) = values else { return Ok(None) };
                self.pay(100)?;
                Ok(binomial(&n, &k, self.bits).map(Complex::real))
            }
            ("max" | "min", arguments) => {
                let (value, varies) = self.varying(|this| this.extreme(name == "max", arguments))?;
                self.trace.corners |= varies;
                Ok(value)
            }
            _ => {
                self.trace.unknown_functions = true;
                self.trace.variables = true;
                Ok(Some(Complex::real(Ball::rational(&self.point.value(&opaque.text), self.bits))))
            }
        }
    }

    fn general_power(&mut self, base: &Quotient, exponent: &Quotient) -> Result<Option<Complex>, Unread> {
        if *base == Quotient::atom(Atom::Euler) {
            let Some(exponent) = self.quotient(exponent)? else { return Ok(None) };
            self.note(&exponent);
            self.pay(100)?;
            return Ok(exponent.exp());
        }
        let (base, varies) = self.varying(|this| this.quotient(base))?;
        if let Some(exponent) = exponent.as_rational() {
            self.trace.branches |= varies && !exponent.is_int();
            let Some(base) = base else { return Ok(None) };
            self.note(&base);
            self.trace.height = self.trace.height.max(number::bits(&exponent));
            self.pay(80)?;
            return Ok(base.rational_power(&exponent, self.bits));
        }
        self.trace.branches |= varies;
        let Some(base) = base else { return Ok(None) };
        let (exponent, _) = self.varying(|this| this.quotient(exponent))?;
        let Some(exponent) = exponent else { return Ok(None) };
        self.note(&base);
        self.note(&exponent);
        self.pay(200)?;
        match base.as_real().and_then(Ball::sign) {
            Some(std::cmp::Ordering::Greater) => {}
            // 0^x is nothing, everything or one, by what x is.
            Some(std::cmp::Ordering::Equal) => return Ok(None),
            _ => self.trace.discrete = true,
        }
        if let Some(whole) = exponent.as_real().and_then(Ball::as_integer) {
            return Ok(base.rational_power(&Rational::from(whole), self.bits));
        }
        Ok(base.power(&exponent))
    }

    fn extreme(&mut self, largest: bool, arguments: &[Quotient]) -> Result<Option<Complex>, Unread> {
        let mut best: Option<Ball> = None;
        for argument in arguments {
            let Some(value) = self.quotient(argument)? else { return Ok(None) };
            let Some(value) = value.as_real() else { return Ok(None) };
            best = Some(match best {
                None => value.clone(),
                Some(best) => match value.add(&best.negate()).sign() {
                    Some(order) if (order == std::cmp::Ordering::Greater) == largest => value.clone(),
                    Some(_) => best,
                    None => return Ok(None),
                },
            });
        }
        Ok(best.map(Complex::real))
    }
}

/// A function of one real number.
fn real_function(name: &str, x: &Ball, bits: usize) -> Option<Ball> {
    let one = Ball::integer(1, bits);
    let half = |value: Ball| value.divide(&Ball::integer(2, bits));
    let right_angle = || half(Ball::pi(bits));
    Some(match name {
        "floor" => x.floor()?,
        "ceiling" => x.negate().floor()?.negate(),
        "ln" => x.ln()?,
        "sin" => x.sine_and_cosine()?.0,
        "cos" => x.sine_and_cosine()?.1,
        "tan" => x.sine_and_cosine().and_then(|(sine, cosine)| sine.divide(&cosine))?,
        "cot" => x.sine_and_cosine().and_then(|(sine, cosine)| cosine.divide(&sine))?,
        "sec" => one.divide(&x.sine_and_cosine()?.1)?,
        "csc" => one.divide(&x.sine_and_cosine()?.0)?,
        "arcsin" => x.arc_sine()?,
        "arccos" => right_angle()?.add(&x.arc_sine()?.negate()),
        "arctan" => x.arc_tangent()?,
        "arccot" => right_angle()?.add(&x.arc_tangent()?.negate()),
        "arcsec" => right_angle()?.add(&one.divide(x)?.arc_sine()?.negate()),
        "arccsc" => one.divide(x)?.arc_sine()?,
        "sinh" => half(x.exp()?.add(&x.negate().exp()?.negate()))?,
        "cosh" => half(x.exp()?.add(&x.negate().exp()?))?,
        "tanh" | "coth" => {
            let (up, down) = (x.exp()?, x.negate().exp()?);
            let (sinh, cosh) = (up.add(&down.negate()), up.add(&down));
            if name == "tanh" { sinh.divide(&cosh)? } else { cosh.divide(&sinh)? }
        }
        "arcsinh" => x.add(&x.multiply(x).add(&one).square_root()?).ln()?,
        "arccosh" => x.add(&x.multiply(x).add(&one.negate()).square_root()?).ln()?,
        "arctanh" => half(one.add(x).divide(&one.add(&x.negate()))?.ln()?)?,
        "factorial" => factorial(x, bits)?,
        _ => return None,
    })
}

/// `n` over `k` for small natural numbers.
fn binomial(n: &Complex, k: &Complex, bits: usize) -> Option<Ball> {
    let small = |value: &Complex| u64::try_from(value.as_real()?.as_integer()?).ok().filter(|value| *value <= 500);
    let (n, k) = (small(n)?, small(k)?);
    if k > n {
        return Some(Ball::integer(0, bits));
    }
    let chosen = (1..=k).fold(Natural::ONE, |chosen, i| chosen * (n - k + i) / i);
    Some(Ball::rational(&Rational::from(Integer::from(chosen)), bits))
}

/// The factorial of a small natural number.
fn factorial(x: &Ball, bits: usize) -> Option<Ball> {
    let n = u64::try_from(x.as_integer()?).ok().filter(|n| *n <= 500)?;
    let product = (2..=n).map(Natural::from).product::<Natural>();
    Some(Ball::rational(&Rational::from(Integer::from(product)), bits))
}
