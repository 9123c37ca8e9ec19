//! Packing of token sequences into units of work: the fixed pieces over which gradients are summed (INV-7).

use std::ops::Range;

/// Cuts `lengths` into consecutive ranges, each a unit of at most `max_tokens` tokens and `max_sequences` sequences.
///
/// Greedy and in order: a unit closes when the next sequence does not fit. It depends on the lengths alone, never on
/// the number of workers, so the units, and with them the tree of sums over them, are the same on any topology (INV-7).
/// A sequence longer than `max_tokens` gets a unit of its own: none is cut, none is lost.
///
/// # Panics
/// If a limit is 0 (a caller's bug).
pub fn pack_units(lengths: &[usize], max_tokens: usize, max_sequences: usize) -> Vec<Range<usize>> {
    assert!(max_tokens > 0 && max_sequences > 0, "limits of a unit: {max_tokens} tokens, {max_sequences} sequences");
    let mut units = Vec::new();
    let (mut start, mut tokens) = (0, 0usize);
    for (i, &length) in lengths.iter().enumerate() {
        let fits = tokens.checked_add(length).is_some_and(|sum| sum <= max_tokens) && i - start < max_sequences;
        if i > start && !fits {
            units.push(start..i);
            (start, tokens) = (i, 0);
        }
        tokens = tokens.saturating_add(length);
    }
    if start < lengths.len() {
        units.push(start..lengths.len());
    }
    units
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn closes_a_unit_at_either_limit() {
        assert_eq!(pack_units(&[4, 4, 4, 1, 1, 1, 1], 8, 3), [0..2, 2..5, 5..7]);
        assert_eq!(pack_units(&[100, 1, 100], 8, 3), [0..1, 1..2, 2..3]);
        assert_eq!(pack_units(&[usize::MAX, usize::MAX], usize::MAX, 9), [0..1, 1..2]);
        assert!(pack_units(&[], 8, 3).is_empty());
    }

    proptest! {
        #[test]
        fn inv_7_units_cover_all_in_order_within_limits(
            lengths in prop::collection::vec(0usize..40, 0..60), max_tokens in 1usize..60, max_sequences in 1usize..9,
        ) {
            let units = pack_units(&lengths, max_tokens, max_sequences);
            let covered: Vec<usize> = units.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..lengths.len()).collect::<Vec<_>>());
            for (n, unit) in units.iter().enumerate() {
                let tokens: usize = lengths[unit.clone()].iter().sum();
                prop_assert!(!unit.is_empty() && unit.len() <= max_sequences);
                prop_assert!(tokens <= max_tokens || unit.len() == 1);
                if let Some(next) = units.get(n + 1) {
                    // Greedy: the unit closed only because the next sequence did not fit.
                    prop_assert!(tokens + lengths[next.start] > max_tokens || unit.len() == max_sequences);
                }
            }
        }
    }
}
