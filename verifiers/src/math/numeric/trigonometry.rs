//! Sine, cosine and arc tangent in balls, from their series. The operations of balls carry the rounding errors; the
//! remainders of the series are added here.

use std::cmp::Ordering;

use dashu::Rational;

use super::ball::Ball;
use super::magnitude::Magnitude;

/// Arguments over 2 to this power are not evaluated: the reduction would cost too much.
const MAX_ANGLE_LOG2: i64 = 128;

/// How often the argument of a series is halved first.
const HALVINGS: i64 = 8;

/// Bits that halving and doubling back may cost.
const GUARD_BITS: usize = 40;

/// The sine and the cosine.
///
/// `x = n π/2 + r` with `|r| < 1`; the series are summed at `r / 2^8`, and the angle is doubled eight times by
/// `sin 2a = 2 sin a cos a` and `cos 2a = 1 - 2 sin² a`.
pub fn sine_and_cosine(x: &Ball) -> Option<(Ball, Ball)> {
    let size = x.magnitude().log2();
    if size > MAX_ANGLE_LOG2 {
        return None;
    }
    let bits = x.bits() + GUARD_BITS + usize::try_from(size.max(0)).expect("checked to be small");
    let x_wide = x.with_bits(bits);
    let quarter_turn = Ball::pi(bits).halved(1);
    let turns = x_wide.divide(&quarter_turn)?.nearest();
    let rest = x_wide.add(&quarter_turn.multiply(&Ball::rational(&Rational::from(turns.clone()), bits)).negate());
    let (mut sine, mut cosine) = series(&rest.halved(HALVINGS))?;
    for _ in 0..HALVINGS {
        let doubled = sine.multiply(&cosine).halved(-1);
        cosine = Ball::integer(1, bits).add(&sine.multiply(&sine).halved(-1).negate());
        sine = doubled;
    }
    let quarter = i64::try_from(turns % dashu::Integer::from(4)).expect("a remainder of 4 is small").rem_euclid(4);
    let (sine, cosine) = (sine.with_bits(x.bits()), cosine.with_bits(x.bits()));
    Some(match quarter {
        0 => (sine, cosine),
        1 => (cosine, sine.negate()),
        2 => (sine.negate(), cosine.negate()),
        _ => (cosine.negate(), sine),
    })
}

/// Sine and cosine of a number below 2^-6, by `Σ (-1)^j y^k / k!`.
fn series(y: &Ball) -> Option<(Ball, Ball)> {
    let bits = y.bits();
    let size = y.magnitude();
    if size.log2() > -6 {
        return None;
    }
    let (mut sine, mut cosine) = (y.clone(), Ball::integer(1, bits));
    let mut term = y.clone();
    for k in 2i64.. {
        term = term.multiply(y).divide(&Ball::integer(k, bits))?;
        let signed = if k % 4 < 2 { term.clone() } else { term.negate() };
        if k % 2 == 0 {
            cosine = cosine.add(&signed);
        } else {
            sine = sine.add(&signed);
        }
        let small = term.magnitude();
        if k % 2 == 1 && small.log2() < -(bits as i64) {
            // What follows is less than the last term in either series.
            return Some((sine.widened(small), cosine.widened(small)));
        }
    }
    None
}

/// The arc tangent: halved by `atan x = 2 atan(x / (1 + √(1 + x²)))` until the series is short.
pub fn arc_tangent(x: &Ball) -> Option<Ball> {
    if x.sign() == Some(Ordering::Equal) {
        return Some(x.clone());
    }
    let bits = x.bits() + GUARD_BITS;
    let one = Ball::integer(1, bits);
    let mut y = x.with_bits(bits);
    for _ in 0..HALVINGS {
        let root = one.add(&y.multiply(&y)).square_root()?;
        y = y.divide(&one.add(&root))?;
    }
    // Below 2^-7 now, whatever it was: Σ (-1)^j y^(2j+1) / (2j+1).
    let square = y.multiply(&y);
    let (mut sum, mut power) = (y.clone(), y);
    for k in 1i64.. {
        power = power.multiply(&square);
        let term = power.divide(&Ball::integer(2 * k + 1, bits))?;
        sum = sum.add(&if k % 2 == 1 { term.negate() } else { term.clone() });
        let small: Magnitude = term.magnitude();
        if small.log2() < -(bits as i64) {
            return Some(sum.widened(small).halved(-HALVINGS).with_bits(x.bits()));
        }
    }
    None
}
