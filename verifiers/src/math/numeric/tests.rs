//! Known constants lie in their balls at every precision, and balls are narrow.

use std::cmp::Ordering;

use dashu::Rational;

use super::ball::Ball;

/// `value - expected` must hold zero and be narrow.
fn encloses(value: &Ball, expected: &Ball, what: &str) {
    let difference = value.add(&expected.negate());
    assert!(matches!(difference.sign(), None | Some(Ordering::Equal)), "{what} at {} bits", value.bits());
    let width = difference.magnitude().log2();
    assert!(width < 12 - value.bits() as i64, "{what} at {} bits is within 2^{width} only", value.bits());
}

fn ratio(over: i64, under: i64, bits: usize) -> Ball {
    Ball::rational(&(Rational::from(over) / Rational::from(under)), bits)
}

#[test]
fn sines_and_cosines_at_known_angles() {
    for bits in [64, 224, 640] {
        let pi = Ball::pi(bits);
        let half = ratio(1, 2, bits);
        let root3 = Ball::integer(3, bits).square_root().expect("of 3").multiply(&half);
        for turns in [-40i64, -2, 0, 2, 4, 1000] {
            let angle = pi.multiply(&ratio(6 * turns + 1, 6, bits));
            let (sine, cosine) = angle.sine_and_cosine().expect("an angle");
            // The reduction of 1000 half turns costs ten bits.
            if turns.abs() < 10 {
                encloses(&sine, &half, "sin π/6");
                encloses(&cosine, &root3, "cos π/6");
            }
            let one = sine.multiply(&sine).add(&cosine.multiply(&cosine)).add(&Ball::integer(-1, bits));
            assert_eq!(one.sign(), None);
        }
    }
}

#[test]
fn arc_functions_undo_their_functions() {
    for bits in [64, 224, 640] {
        let quarter = Ball::pi(bits).halved(2);
        encloses(&Ball::integer(1, bits).arc_tangent().expect("of 1"), &quarter, "atan 1");
        encloses(&Ball::integer(-1, bits).arc_tangent().expect("of -1"), &quarter.negate(), "atan -1");
        encloses(&Ball::integer(1, bits).arc_sine().expect("of 1"), &quarter.halved(-1), "asin 1");
        let sixth = Ball::pi(bits).multiply(&ratio(1, 6, bits));
        encloses(&ratio(1, 2, bits).arc_sine().expect("of 1/2"), &sixth, "asin 1/2");
    }
}

#[test]
fn exponentials_and_logarithms_are_inverse() {
    for bits in [64, 224, 640] {
        for (over, under) in [(7i64, 3i64), (1, 9), (200, 7)] {
            let x = ratio(over, under, bits);
            let back = x.ln().and_then(|y| y.exp()).expect("positive");
            let off = back.add(&x.negate());
            assert!(matches!(off.sign(), None | Some(Ordering::Equal)), "{over}/{under}");
            assert!(off.magnitude().log2() < 16 - bits as i64);
        }
    }
}

#[test]
fn what_is_undefined_is_nothing() {
    let zero = Ball::integer(0, 64);
    let minus = Ball::integer(-1, 64);
    assert!(Ball::integer(1, 64).divide(&zero).is_none());
    assert!(minus.square_root().is_none());
    assert!(minus.ln().is_none() && zero.ln().is_none());
    assert!(Ball::integer(2, 64).arc_sine().is_none());
    assert!(Ball::integer(i64::MAX, 64).exp().is_none());
}

#[test]
fn floors_know_their_integers() {
    let floor = |over: i64, under: i64| ratio(over, under, 64).floor().and_then(|ball| ball.as_integer());
    assert_eq!(floor(7, 2), Some(3.into()));
    assert_eq!(floor(-7, 2), Some((-4).into()));
    assert_eq!(floor(8, 2), Some(4.into()));
    // A ball around an integer has no floor that is known.
    let three = Ball::integer(9, 64).square_root().expect("of 9").multiply(&ratio(1, 3, 64)).multiply(&ratio(3, 1, 64));
    assert!(three.floor().is_none() || three.as_integer().is_some());
}
