//! Balancing experts without a loss: the selection bias of a gate follows the experts' load.
//!
//! After each step, for every expert `e` of a layer, `b_e ← b_e + γ sign(mean load − load_e)`, where the load is the number of rows that
//! the step's batch sent to it (Wang et al., arXiv 2408.15664; DeepSeek-V3, §2.1.2). The bias takes part in the choice of experts alone,
//! so no gradient is disturbed. Loads are integers and are compared as such: neither micro-batches nor shards show in the result (INV-7).

use policy::Model;
use policy::model::Load;
use policy::params::selection_bias;
use tch::Tensor;

/// Adds what another unit of the batch gave to the experts, layer by layer.
pub(crate) fn add_load(sums: &mut Vec<Load>, found: &[Load]) {
    if sums.is_empty() {
        return sums.extend_from_slice(found);
    }
    for (sum, found) in sums.iter_mut().zip(found) {
        sum.rows.iter_mut().zip(&found.rows).for_each(|(sum, rows)| *sum += rows);
        sum.changed += found.changed;
    }
}

/// Moves the selection bias of every layer that has one by `rate` toward experts below the mean load.
pub fn balance(model: &Model, load: &[Load], rate: f64) {
    if rate == 0.0 {
        return;
    }
    for load in load {
        let Some(bias) = model.params.get(&selection_bias(load.layer)) else { continue };
        let signs = Tensor::from_slice(&signs(&load.rows)).to_device(bias.device());
        let _ = tch::no_grad(|| bias.shallow_clone().g_add_(&(signs * rate)));
    }
}

/// `sign(mean − load)` of each expert.
fn signs(rows: &[u64]) -> Vec<f32> {
    let (all, count) = (rows.iter().map(|&n| u128::from(n)).sum::<u128>(), rows.len() as u128);
    let sign = |&rows: &u64| match all.cmp(&(u128::from(rows) * count)) {
        std::cmp::Ordering::Less => -1.0,
        std::cmp::Ordering::Equal => 0.0,
        std::cmp::Ordering::Greater => 1.0,
    };
    rows.iter().map(sign).collect()
}

/// How unevenly experts are used, over a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unevenness {
    /// `max load / mean load − 1`: MaxVio of Wang et al.; 0 where all experts have as many rows.
    pub violation: f64,
    /// Share of the experts that had no row.
    pub idle: f64,
    /// Share of the rows whose recorded experts are not those that the gate would choose now.
    pub changed: f64,
}

impl Unevenness {
    /// Of one layer, whose gate sends each row to `top_k` experts.
    pub fn of(load: &Load, top_k: usize) -> Self {
        let (count, all) = (load.rows.len().max(1) as f64, load.rows.iter().sum::<u64>() as f64);
        let most = load.rows.iter().copied().max().unwrap_or(0) as f64;
        Self {
            violation: if all > 0.0 { most * count / all - 1.0 } else { 0.0 },
            idle: load.rows.iter().filter(|&&n| n == 0).count() as f64 / count,
            changed: if all > 0.0 { load.changed as f64 * top_k as f64 / all } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_rises_below_the_mean_and_falls_above_it() {
        assert_eq!(signs(&[3, 1, 2, 2]), [-1.0, 1.0, 0.0, 0.0]);
        assert_eq!(signs(&[0, 0, 1]), [1.0, 1.0, -1.0], "a mean that is no integer");
        assert_eq!(signs(&[0, 0]), [0.0, 0.0]);
    }

    #[test]
    fn unevenness_is_zero_where_all_are_used_alike() {
        let load = |rows: &[u64], changed| Load { layer: 1, rows: rows.to_vec(), changed };
        let even = Unevenness { violation: 0.0, idle: 0.0, changed: 0.0 };
        assert_eq!(Unevenness::of(&load(&[5, 5, 5, 5], 0), 2), even);
        // Ten rows of two experts each.
        let one_sided = Unevenness { violation: 1.0, idle: 0.5, changed: 0.3 };
        assert_eq!(Unevenness::of(&load(&[10, 10, 0, 0], 3), 2), one_sided);
    }
}
