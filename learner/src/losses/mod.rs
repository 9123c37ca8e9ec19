//! Losses, one formula a file. Each takes per-token log-probabilities (or logits) of a unit and returns a scalar to
//! call `backward` on, with the numbers worth a curve beside it.
//!
//! Legend: `T` rows (tokens) of a unit, its sequences one after the other; `S` sequences; `V` vocabulary.
//!
//! Every loss is `Σ_t w_t ℓ_t` with the weights of [`aggregate`], hence the losses of a batch's units sum to the loss
//! of the batch. A row of weight 0 takes no part: it has neither loss nor gradient, whatever its numbers are, so what
//! stands in the rows of a prompt or of a tool cannot leak into a gradient, not even an infinity.

use tch::{Device, Kind, Tensor};

pub mod aggregate;
pub mod cross_entropy;
pub mod distill;
pub mod kl;
pub mod off_policy_mask;
pub mod policy_gradient;

/// How a unit's rows are divided among its sequences, and which of them are trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    lengths: Vec<usize>,
    trained: Vec<bool>,
}

impl Rows {
    /// Sequences of `lengths` rows, one after the other; `trained[t]` says whether row `t` is one the loss runs over
    /// (in a policy gradient: the policy's own tokens of a sample that is not masked).
    ///
    /// # Panics
    /// If the lengths do not add up to the rows (a caller's bug).
    pub fn new(lengths: Vec<usize>, trained: Vec<bool>) -> Self {
        assert_eq!(
            lengths.iter().sum::<usize>(),
            trained.len(),
            "sequence lengths {lengths:?} must add up to the rows"
        );
        Self { lengths, trained }
    }

    /// Rows of all sequences.
    pub fn len(&self) -> usize {
        self.trained.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.trained.is_empty()
    }

    /// The trained flags, one row after the other.
    pub fn trained(&self) -> &[bool] {
        &self.trained
    }

    /// Rows of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The range of rows of each sequence.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.lengths.iter().scan(0, |start, &length| {
            let range = *start..*start + length;
            *start = range.end;
            Some(range)
        })
    }

    /// Trained rows of each sequence.
    pub fn trained_counts(&self) -> Vec<usize> {
        self.ranges().map(|range| self.trained[range].iter().filter(|&&trained| trained).count()).collect()
    }

    /// Gives each row the number of its sequence: `[S]` becomes `[T]`, f32 on `device`.
    ///
    /// # Panics
    /// If there is not one value a sequence.
    pub fn spread(&self, value_S: &[f64], device: Device) -> Tensor {
        assert_eq!(value_S.len(), self.lengths.len(), "one value a sequence");
        let mut value_T = Vec::with_capacity(self.len());
        for (&value, &length) in value_S.iter().zip(&self.lengths) {
            value_T.extend(std::iter::repeat_n(value as f32, length));
        }
        Tensor::from_slice(&value_T).to_device(device)
    }
}

/// Brings scalars of one device to the host as f64, in one copy.
fn to_host(scalars: &[Tensor]) -> Vec<f64> {
    let doubles: Vec<Tensor> = scalars.iter().map(|scalar| scalar.to_kind(Kind::Double)).collect();
    let stacked = Tensor::stack(&doubles, 0).to_device(Device::Cpu);
    let mut host = vec![0.0; scalars.len()];
    stacked.copy_data(&mut host, scalars.len());
    host
}

/// `Σ_t w_t x_t` over the rows of `active_T`; the others are set aside before the product, so that `0 · ∞` cannot
/// arise.
fn weighted_sum(value_T: &Tensor, weight_T: &Tensor, active_T: &Tensor) -> Tensor {
    sum(&(value_T.where_scalarother(active_T, 0.0) * weight_T.detach()))
}

/// Numbers that libtorch adds up on one thread, whatever it has.
const WHOLE: i64 = 16_384;
/// Of a longer vector these are one row of a matrix; libtorch never cuts a row.
const ROW: i64 = 1024;

/// `Σ_t x_t` in an order that does not depend on the number of threads (INV-7), as a scalar of `x`'s kind.
fn sum(value_T: &Tensor) -> Tensor {
    let rows = value_T.size()[0];
    if rows <= WHOLE {
        return value_T.sum(value_T.kind());
    }
    let padded = value_T.constant_pad_nd([0, (ROW - rows % ROW) % ROW]).view([-1, ROW]);
    sum(&padded.sum_dim_intlist([1i64].as_slice(), false, value_T.kind()))
}

/// Panics with the names of what does not fit: all of a loss's inputs hold one number a row.
fn assert_rows(inputs: &[(&str, &Tensor)]) {
    let (first, reference) = inputs[0];
    assert_eq!(reference.dim(), 1, "{first} must be [T]");
    for (name, tensor) in inputs {
        assert_eq!(tensor.size(), reference.size(), "{name} and {first} must have the same rows");
    }
}

#[cfg(test)]
pub(crate) mod check {
    //! Finite differences in f64, for the tests of all losses.

    use super::*;

    /// A `[T]` f64 leaf.
    pub fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// The values of a tensor as f64, row-major.
    pub fn values(tensor: &Tensor) -> Vec<f64> {
        let flat = tensor.detach().to_kind(Kind::Double).contiguous();
        let mut host = vec![0.0; flat.numel()];
        flat.copy_data(&mut host, flat.numel());
        host
    }

    /// Holds two numbers to a relative-or-absolute tolerance.
    pub fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found} against {expected}");
    }

    /// The gradient of `loss` at `at` by autograd, held to central differences, component by component.
    pub fn gradient(at: &[f64], shape: &[i64], loss: impl Fn(&Tensor) -> Tensor) -> Vec<f64> {
        let x = Tensor::from_slice(at).reshape(shape).set_requires_grad(true);
        loss(&x).backward();
        let found = values(&x.grad());
        let h = 1e-6;
        for i in 0..at.len() {
            let shifted = |delta: f64| {
                let mut moved = at.to_vec();
                moved[i] += delta;
                loss(&Tensor::from_slice(&moved).reshape(shape)).double_value(&[])
            };
            close(found[i], (shifted(h) - shifted(-h)) / (2.0 * h), 1e-7, &format!("gradient component {i}"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_divide_and_spread() {
        let rows = Rows::new(vec![2, 0, 3], vec![false, true, true, true, false]);
        assert_eq!(rows.ranges().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        assert_eq!(rows.trained_counts(), [1, 0, 2]);
        assert_eq!(check::values(&rows.spread(&[1.0, 9.0, -2.0], Device::Cpu)), [1.0, 1.0, -2.0, -2.0, -2.0]);
    }

    #[test]
    #[should_panic(expected = "add up")]
    fn rows_must_add_up() {
        Rows::new(vec![2], vec![true; 3]);
    }
}
