//! The fixed tree that sums the gradients of a batch's units (INV-7).
//!
//! Leaf `i` is the gradient of unit `i`. Two neighbouring sums of `2^k` leaves, the first of which starts at a
//! multiple of `2^(k+1)`, are added as soon as both are there: a binary counter, so `n` units keep at most `log2 n +
//! 1` sums alive. What is left at the end is added from the smallest sum to the largest. The order of additions thus
//! depends on the sequence of units alone, and not on how many workers or micro-batches it was cut into: a worker
//! that holds an aligned run of units builds the very nodes of the whole tree, and [`GradTree::merge`] hangs them in.

use tch::{Tensor, no_grad};

/// A sum that does not fit into the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GradTreeError {
    /// A unit brought another number of gradients than the first.
    #[error(
        "unit {unit} brings {found} gradients where the first brought {expected}: give one for every trained parameter"
    )]
    Count {
        /// Which unit, from 0.
        unit: u64,
        /// Gradients of the first unit.
        expected: usize,
        /// Gradients of this one.
        found: usize,
    },
    /// A gradient has another shape than the first unit's.
    #[error("gradient {index} of unit {unit} has the shape {found:?} where the first had {expected:?}")]
    Shape {
        /// Which unit, from 0.
        unit: u64,
        /// Which gradient of it.
        index: usize,
        /// Shape of the first unit's.
        expected: Vec<i64>,
        /// Shape of this one.
        found: Vec<i64>,
    },
    /// The nodes of the other tree are not nodes of the whole one.
    #[error(
        "a shard of {found} units cannot follow {units}: the units before it must be a multiple of {alignment}, \
         or its additions would not be those of the whole batch; cut the batch at multiples of a power of two"
    )]
    Misaligned {
        /// Units before the shard.
        units: u64,
        /// Units of the shard.
        found: u64,
        /// What `units` must be a multiple of.
        alignment: u64,
    },
}

/// A sum over `2^rank` neighbouring units.
#[derive(Debug)]
struct Node {
    rank: u32,
    sum: Vec<Tensor>,
}

/// The sums so far: one node for each set bit of the number of units, largest first.
#[derive(Debug, Default)]
pub struct GradTree {
    nodes: Vec<Node>,
    units: u64,
    most_sums: usize,
}

impl GradTree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Units pushed so far.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The most sums, of as many tensors as a unit brings, that were there at once.
    pub fn most_sums(&self) -> usize {
        self.most_sums
    }

    /// Adds the next unit's gradients, one tensor a parameter, in the same order every time.
    ///
    /// The tree takes the tensors over and adds in place: the caller must not keep another handle to their storage
    /// (take the gradients out of the parameters, do not copy the handles).
    ///
    /// # Errors
    /// [`GradTreeError`] if count or shapes are not those of the first unit; the tree is unchanged.
    pub fn push(&mut self, gradients: Vec<Tensor>) -> Result<(), GradTreeError> {
        self.check(&gradients)?;
        self.units += 1;
        self.most_sums = self.most_sums.max(self.nodes.len() + 1);
        self.carry(Node { rank: 0, sum: gradients });
        Ok(())
    }

    /// Hangs the tree of the units that follow this one's into it, as if they had been pushed here one by one.
    ///
    /// # Errors
    /// [`GradTreeError::Misaligned`] unless the units so far are a multiple of the largest power of two that `shard`
    /// holds (shards of one power-of-two size, the last one shorter, always fit); or its shapes differ. The tree is
    /// unchanged.
    pub fn merge(&mut self, shard: GradTree) -> Result<(), GradTreeError> {
        let Some(largest) = shard.nodes.first() else { return Ok(()) };
        let alignment = 1 << largest.rank;
        if !self.units.is_multiple_of(alignment) {
            return Err(GradTreeError::Misaligned { units: self.units, found: shard.units, alignment });
        }
        self.check(&largest.sum)?;
        self.units += shard.units;
        self.most_sums = self.most_sums.max(self.nodes.len() + shard.nodes.len());
        shard.nodes.into_iter().for_each(|node| self.carry(node));
        Ok(())
    }

    /// The sum over all units; empty without any.
    pub fn finish(mut self) -> Vec<Tensor> {
        let Some(mut last) = self.nodes.pop() else { return Vec::new() };
        while let Some(node) = self.nodes.pop() {
            last.sum = add(node.sum, &last.sum);
        }
        last.sum
    }

    fn carry(&mut self, mut node: Node) {
        while self.nodes.last().is_some_and(|last| last.rank == node.rank) {
            let last = self.nodes.pop().expect("the loop's condition saw it");
            node = Node { rank: node.rank + 1, sum: add(last.sum, &node.sum) };
        }
        self.nodes.push(node);
    }

    fn check(&self, gradients: &[Tensor]) -> Result<(), GradTreeError> {
        let Some(first) = self.nodes.first() else { return Ok(()) };
        let unit = self.units;
        if gradients.len() != first.sum.len() {
            return Err(GradTreeError::Count { unit, expected: first.sum.len(), found: gradients.len() });
        }
        for (index, (expected, found)) in first.sum.iter().zip(gradients).enumerate() {
            if expected.size() != found.size() {
                return Err(GradTreeError::Shape { unit, index, expected: expected.size(), found: found.size() });
            }
        }
        Ok(())
    }
}

/// `left += right`, element by element: one rounding each, so neither threads nor vector width show in the bits.
fn add(mut left: Vec<Tensor>, right: &[Tensor]) -> Vec<Tensor> {
    no_grad(|| {
        for (left, right) in left.iter_mut().zip(right) {
            let _ = left.g_add_(right);
        }
    });
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::CounterRng;

    /// Two gradients of unit `i`, of magnitudes far apart so that the order of additions shows.
    fn unit(i: u64) -> Vec<Tensor> {
        let mut rng = CounterRng::new(i, "grad-tree-test");
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n).map(|_| (rng.normal() * 10f64.powi(rng.range(-4, 4) as i32)) as f32).collect()
        };
        vec![Tensor::from_slice(&draw(33)), Tensor::from_slice(&draw(12)).reshape([3, 4])]
    }

    fn tree(units: std::ops::Range<u64>) -> GradTree {
        let mut tree = GradTree::new();
        units.for_each(|i| tree.push(unit(i)).expect("one shape"));
        tree
    }

    fn bits(sum: &[Tensor]) -> Vec<u32> {
        sum.iter().flat_map(|x| Vec::<f32>::try_from(x.reshape([-1])).expect("f32")).map(f32::to_bits).collect()
    }

    /// The same tree written top down: split at the largest power of two below `n`.
    fn by_recursion(units: std::ops::Range<u64>) -> Vec<f32> {
        let n = units.end - units.start;
        if n == 1 {
            return unit(units.start)
                .iter()
                .flat_map(|x| Vec::<f32>::try_from(x.reshape([-1])).expect("f32"))
                .collect();
        }
        let half = if n.is_power_of_two() { n / 2 } else { n.next_power_of_two() / 2 };
        let (left, right) =
            (by_recursion(units.start..units.start + half), by_recursion(units.start + half..units.end));
        left.iter().zip(right).map(|(left, right)| left + right).collect()
    }

    #[test]
    fn inv_7_the_order_is_the_documented_one() {
        for n in 1..=17 {
            let expected: Vec<u32> = by_recursion(0..n).into_iter().map(f32::to_bits).collect();
            assert_eq!(bits(&tree(0..n).finish()), expected, "{n} units");
        }
        assert!(GradTree::new().finish().is_empty());
        // One for each bit of the number of units, and the one that is just brought.
        assert_eq!([1, 2, 3, 4, 8, 17].map(|n| tree(0..n).most_sums()), [1, 2, 2, 3, 4, 5]);
    }

    #[test]
    fn inv_7_shards_give_the_same_bits() {
        let whole = bits(&tree(0..13).finish());
        for size in [1, 2, 4, 8, 16] {
            let mut merged = GradTree::new();
            for start in (0..13).step_by(size as usize) {
                merged.merge(tree(start..(start + size).min(13))).expect("aligned");
            }
            assert_eq!((merged.units(), bits(&merged.finish())), (13, whole.clone()), "shards of {size}");
        }
    }

    #[test]
    fn inv_7_the_test_can_tell_orders_apart() {
        let mut reversed = GradTree::new();
        (0..13).rev().for_each(|i| reversed.push(unit(i)).expect("one shape"));
        let mut in_sequence = unit(0);
        (1..13).for_each(|i| in_sequence = add(std::mem::take(&mut in_sequence), &unit(i)));
        let whole = bits(&tree(0..13).finish());
        assert_ne!(bits(&reversed.finish()), whole);
        assert_ne!(bits(&in_sequence), whole);
    }

    #[test]
    fn matches_the_sum_in_f64() {
        let mut exact = vec![0f64; 45];
        let mut magnitude = vec![0f64; 45];
        for i in 0..100 {
            let flat =
                unit(i).iter().flat_map(|x| Vec::<f32>::try_from(x.reshape([-1])).expect("f32")).collect::<Vec<_>>();
            for (j, value) in flat.into_iter().enumerate() {
                exact[j] += f64::from(value);
                magnitude[j] += f64::from(value).abs();
            }
        }
        for (j, found) in bits(&tree(0..100).finish()).into_iter().map(f32::from_bits).enumerate() {
            // A pairwise sum is off by at most about log2(n) roundings of the sum of magnitudes.
            let bound = 8.0 * f64::from(f32::EPSILON) * magnitude[j];
            assert!((f64::from(found) - exact[j]).abs() <= bound, "{j}: {found} against {}", exact[j]);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut tree = tree(0..3);
        let mut shard = GradTree::new();
        (3..5).for_each(|i| shard.push(unit(i)).expect("one shape"));
        let error = tree.merge(shard).expect_err("3 is no multiple of 2");
        assert_eq!(error, GradTreeError::Misaligned { units: 3, found: 2, alignment: 2 });
        let short = tree.push(vec![Tensor::from_slice(&[1f32])]).expect_err("one gradient");
        assert_eq!(short, GradTreeError::Count { unit: 3, expected: 2, found: 1 });
        let mut wrong = unit(3);
        wrong[1] = wrong[1].reshape([4, 3]);
        assert!(matches!(tree.push(wrong), Err(GradTreeError::Shape { unit: 3, index: 1, .. })));
        assert_eq!(tree.units(), 3);
    }
}
