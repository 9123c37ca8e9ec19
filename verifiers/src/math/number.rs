//! Exact rationals under size limits: literals, powers, roots, factorials. Whatever would grow past a limit answers
//! `None`, and the caller keeps it symbolic: no input makes a number explode.

use dashu::base::{Abs, BitTest, Signed};
use dashu::{Integer, Natural, Rational};

use super::budget::{Budget, Unread};

/// Bits that a numerator or a denominator may have. Some 20,000 decimal digits.
pub const MAX_BITS: usize = 1 << 16;

/// Trial division stops here, so a cofactor below the square of it is prime.
const TRIAL_LIMIT: u64 = 10_000;

/// Radicands over this size are only tried as perfect powers.
const MAX_FACTORED_BITS: usize = 256;

/// Bits of numerator and denominator together.
pub fn bits(value: &Rational) -> usize {
    value.numerator().bit_len() + value.denominator().bit_len()
}

/// Pays for one operation on rationals of so many bits; the greatest common divisor makes it quadratic.
pub fn spend_bits(budget: &mut Budget, bits: usize) -> Result<(), Unread> {
    if bits > 4 * MAX_BITS {
        return Err(Unread::Limit("digits"));
    }
    let words = bits as u64 / 64 + 1;
    budget.spend(4 + words * words / 8)
}

/// A decimal literal as written: `1,234.50`, `1{,}234`, `.5`, `2.5e-3`. Separators of thousands are dropped.
///
/// # Errors
/// [`Unread::Limit`] over the size limit, [`Unread::Malformed`] when it is no number.
pub fn literal(raw: &str, budget: &mut Budget) -> Result<Rational, Unread> {
    if raw.len() <= 18
        && let Ok(small) = raw.parse::<u64>()
    {
        return Ok(Rational::from(small));
    }
    let (mantissa, exponent) = match raw.find(['e', 'E']) {
        Some(at) => (&raw[..at], raw[at + 1..].parse::<i64>().map_err(|_| Unread::Limit("an exponent's digits"))?),
        None => (raw, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(decimals.chars()).filter(char::is_ascii_digit).collect();
    // A decimal digit is 3.33 bits.
    if digits.len() > MAX_BITS * 3 / 10 || exponent.unsigned_abs() > (MAX_BITS * 3 / 10) as u64 {
        return Err(Unread::Limit("digits"));
    }
    let scale = exponent - decimals.len() as i64;
    spend_bits(budget, if scale < 0 { digits.len() * 7 } else { digits.len() + 4 * scale as usize })?;
    let unscaled = Natural::from_str_radix(&digits, 10).map_err(|_| Unread::Malformed("a number without digits"))?;
    let power = Natural::from(10u8).pow(scale.unsigned_abs() as usize);
    Ok(if scale < 0 {
        Rational::from_parts(unscaled.into(), power)
    } else {
        Rational::from(Integer::from(unscaled * power))
    })
}

/// `value` as a machine integer, where it is one.
pub fn small_integer(value: &Rational) -> Option<i64> {
    if !value.is_int() || value.numerator().bit_len() > 62 {
        return None;
    }
    i64::try_from(value.numerator().clone()).ok()
}

/// `base ^ exponent` for an integer exponent; `None` when the result would be over the size limit or is undefined.
pub fn power(base: &Rational, exponent: &Rational, budget: &mut Budget) -> Result<Option<Rational>, Unread> {
    debug_assert!(exponent.is_int());
    let odd = exponent.numerator().bit(0);
    if base.is_one() || *base == Rational::from(-1) {
        return Ok(Some(if odd { base.clone() } else { Rational::ONE }));
    }
    let Some(n) = small_integer(exponent) else { return Ok(None) };
    if base.is_zero() {
        return Ok((n >= 0).then_some(if n == 0 { Rational::ONE } else { Rational::ZERO }));
    }
    if (bits(base) as u64).saturating_mul(n.unsigned_abs()) > MAX_BITS as u64 {
        return Ok(None);
    }
    let words = (bits(base) as u64 * n.unsigned_abs()) / 64 + 1;
    budget.spend(8 + words * words / 8)?;
    let count = n.unsigned_abs() as usize;
    // Numerator and denominator have no common factor, and neither have their powers.
    let (numerator, denominator) = (base.numerator().pow(count), base.denominator().pow(count));
    Ok(Some(if n >= 0 {
        Rational::from_parts(numerator, denominator)
    } else {
        Rational::from_parts_signed(denominator.into(), numerator)
    }))
}

/// The exact `n`-th root of a natural number, where there is one.
pub fn exact_root(value: &Natural, n: usize, budget: &mut Budget) -> Result<Option<Natural>, Unread> {
    if value.is_zero() || value.is_one() {
        return Ok(Some(value.clone()));
    }
    if n > value.bit_len() {
        return Ok(None);
    }
    let words = value.bit_len() as u64 / 64 + 1;
    budget.spend(16 + words * words)?;
    let root = value.nth_root(n);
    Ok((root.pow(n) == *value).then_some(root))
}

/// The prime powers of `value`, cofactors without a small prime last. `None` when it is too large to factor.
///
/// A factor that [`is_proved_prime`] does not accept may be composite.
pub fn factor(value: &Natural, budget: &mut Budget) -> Result<Option<Vec<(Natural, u32)>>, Unread> {
    if value.bit_len() > MAX_FACTORED_BITS {
        return Ok(None);
    }
    let (mut rest, mut factors) = (value.clone(), Vec::new());
    let mut divisor = 2u64;
    while divisor < TRIAL_LIMIT && Natural::from(divisor * divisor) <= rest {
        let mut times = 0;
        while (&rest % divisor) == 0 {
            rest /= divisor;
            times += 1;
        }
        if times > 0 {
            factors.push((Natural::from(divisor), times));
        }
        divisor += if divisor == 2 { 1 } else { 2 };
        budget.spend(4)?;
    }
    if !rest.is_one() {
        let (base, times) = undo_power(rest, budget)?;
        factors.push((base, times));
    }
    factors.sort();
    Ok(Some(factors))
}

/// Writes a number without small prime factors as `base ^ times` with the largest `times`.
fn undo_power(rest: Natural, budget: &mut Budget) -> Result<(Natural, u32), Unread> {
    // All factors are over 2^13, so a power beyond bits / 13 is impossible.
    for times in (2..=(rest.bit_len() / 13) as u32).rev() {
        if let Some(root) = exact_root(&rest, times as usize, budget)? {
            return Ok((root, times));
        }
    }
    Ok((rest, 1))
}

/// True when [`factor`]'s trial division proves that one of its factors is prime.
pub fn is_proved_prime(factor: &Natural) -> bool {
    *factor < Natural::from(TRIAL_LIMIT * TRIAL_LIMIT)
}

/// `n!`; `None` when it would be over the size limit or `n` is no natural number.
pub fn factorial(n: &Rational, budget: &mut Budget) -> Result<Option<Rational>, Unread> {
    match small_integer(n) {
        Some(n @ 0..=5_000) => {
            budget.spend(8 + (n * n) as u64 / 64)?;
            Ok(Some(Rational::from(Integer::from((2..=n as u64).map(Natural::from).product::<Natural>()))))
        }
        _ => Ok(None),
    }
}

/// `n!!`, the product of every second number down from `n`; `None` as for [`factorial`].
pub fn double_factorial(n: &Rational, budget: &mut Budget) -> Result<Option<Rational>, Unread> {
    match small_integer(n) {
        Some(n @ 0..=5_000) => {
            budget.spend(8 + (n * n) as u64 / 128)?;
            let product = (1..=n as u64).rev().step_by(2).map(Natural::from).product::<Natural>();
            Ok(Some(Rational::from(Integer::from(product))))
        }
        _ => Ok(None),
    }
}

/// `n` over `k`; `None` when it would be over the size limit or they are no natural numbers.
pub fn binomial(n: &Rational, k: &Rational, budget: &mut Budget) -> Result<Option<Rational>, Unread> {
    let (Some(n @ 0..=5_000), Some(k @ 0..)) = (small_integer(n), small_integer(k)) else { return Ok(None) };
    let k = k.min(n - k);
    if k < 0 {
        return Ok(Some(Rational::ZERO));
    }
    budget.spend(8 + (k * k) as u64 / 16)?;
    let mut chosen = Natural::ONE;
    for i in 1..=k as u64 {
        chosen = chosen * (n as u64 - k as u64 + i) / i;
    }
    Ok(Some(Rational::from(Integer::from(chosen))))
}

/// The absolute value.
pub fn magnitude(value: &Rational) -> Rational {
    value.clone().abs()
}

/// True below zero.
pub fn is_negative(value: &Rational) -> bool {
    value.is_negative()
}

/// An integer written in base `base`; `None` when a digit does not fit.
pub fn in_base(digits: &str, base: u32) -> Option<Rational> {
    if !(2..=36).contains(&base) || digits.len() > MAX_BITS / 8 {
        return None;
    }
    Natural::from_str_radix(digits, base).ok().map(|value| Rational::from(Integer::from(value)))
}
