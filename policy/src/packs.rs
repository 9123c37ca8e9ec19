//! Weights laid out for products, kept until they change.
//!
//! Sampling multiplies a few rows with the same weights at every step, so laying them out each time would cost as much as the product. An
//! entry holds a handle to its weights: their storage cannot be freed and given to others while the entry stands. Whether they were
//! changed is seen by libtorch's version counter, which every in-place operation moves.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tch::Tensor;

use crate::kernels::gemm::Packed;

/// The laid-out weights of a model. Clones share them.
#[derive(Clone, Default)]
pub struct Packs {
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
}

/// Where weights lie and how: two views of one tensor are two entries.
type Key = (usize, Vec<i64>, Vec<i64>);

struct Entry {
    /// Keeps the storage.
    weights: Tensor,
    version: u64,
    packed: Arc<Vec<Packed>>,
}

impl Packs {
    /// `w` as `pack` lays it out, one matrix a head.
    pub(crate) fn get(&self, w: &Tensor, pack: impl FnOnce(&Tensor) -> Vec<Packed>) -> Arc<Vec<Packed>> {
        let key = (w.data_ptr() as usize, w.size(), w.stride());
        let version = native::version(w);
        let mut entries = self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(entry) = entries.get(&key).filter(|entry| entry.version == version) {
            return Arc::clone(&entry.packed);
        }
        let packed = Arc::new(pack(w));
        entries.insert(key, Entry { weights: w.shallow_clone(), version, packed: Arc::clone(&packed) });
        packed
    }
}

impl fmt::Debug for Packs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        f.debug_list().entries(entries.values().map(|entry| entry.weights.size())).finish()
    }
}
