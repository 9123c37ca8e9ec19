//! Weights laid out for products, kept until they change.
//!
//! Sampling multiplies a few rows with the same weights at every step, so laying them out each time (in panels on the CPU, in bf16 on a
//! GPU) would cost as much as the product. An entry holds a handle to its weights: their storage cannot be freed and given to others
//! while the entry stands. Whether they were changed is seen by libtorch's version counter, which every in-place operation moves.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tch::Tensor;

use crate::kernels::gemm::Packed;

/// The laid-out weights of a model. Clones share them.
#[derive(Clone, Default)]
pub struct Packs {
    panels: Kept<Arc<Vec<Packed>>>,
    rounded: Kept<Tensor>,
}

impl Packs {
    /// `w` as `pack` lays it out, one matrix a head.
    pub(crate) fn panels(&self, w: &Tensor, pack: impl FnOnce(&Tensor) -> Vec<Packed>) -> Arc<Vec<Packed>> {
        self.panels.get(w, |w| Arc::new(pack(w)), Arc::clone)
    }

    /// `w` as `round` rounds it.
    pub(crate) fn rounded(&self, w: &Tensor, round: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        self.rounded.get(w, round, Tensor::shallow_clone)
    }
}

impl fmt::Debug for Packs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.panels.sizes()).entries(self.rounded.sizes()).finish()
    }
}

/// What was made of weights, for each that was asked for.
struct Kept<T>(Arc<Mutex<HashMap<Key, Entry<T>>>>);

/// Where weights lie and how: two views of one tensor are two entries.
type Key = (usize, Vec<i64>, Vec<i64>);

struct Entry<T> {
    /// Keeps the storage.
    weights: Tensor,
    version: u64,
    made: T,
}

impl<T> Kept<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry<T>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn get(&self, w: &Tensor, make: impl FnOnce(&Tensor) -> T, handle: impl Fn(&T) -> T) -> T {
        let key = (w.data_ptr() as usize, w.size(), w.stride());
        let version = native::version(w);
        let mut entries = self.lock();
        if let Some(entry) = entries.get(&key).filter(|entry| entry.version == version) {
            return handle(&entry.made);
        }
        let made = make(w);
        entries.insert(key, Entry { weights: w.detach(), version, made: handle(&made) });
        made
    }

    fn sizes(&self) -> Vec<Vec<i64>> {
        self.lock().values().map(|entry| entry.weights.size()).collect()
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
