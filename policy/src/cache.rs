//! The paged cache of keys: for every layer a pool of slots, each holding one position's keys and values (MLA: one latent
//! and its rotated part) and its index key.
//!
//! Pages are counted references, so the samples of a group share the pages of their prompt.

use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::kernels::cuda::attention::runs;
use crate::params::tensor_bytes;

/// A page's number.
pub type Page = u32;

/// Pools of slots, handed out by the page.
#[derive(Debug)]
pub struct PagedCache {
    /// For each layer `[slots, key width]`.
    pub(crate) keys: Vec<Tensor>,
    /// For each layer `[slots, index width]`, without slots where it has no indexer; empty for a model without any.
    pub(crate) index_keys: Vec<Tensor>,
    page: usize,
    free: Vec<Page>,
    references: Vec<u32>,
}

impl PagedCache {
    /// A cache of `pages` pages of `page` positions each, for a model on `device`. It lies where attention is computed: there, if our kernels
    /// run there, and on the CPU otherwise.
    pub fn new(config: &ModelConfig, pages: usize, page: usize, device: Device) -> Self {
        let slots = (pages * page) as i64;
        let pool = |slots: i64, row: i64, width: usize| {
            let device = if runs(device, width) { device } else { Device::Cpu };
            Tensor::zeros([slots, row], (Kind::Float, device))
        };
        let geometry = config.geometry(0);
        let layers = 0..config.num_hidden_layers;
        Self {
            keys: layers.clone().map(|_| pool(slots, geometry.row as i64, geometry.widest())).collect(),
            index_keys: config.indexer.as_ref().map_or_else(Vec::new, |i| {
                let own = |layer| if config.has_indexer(layer) { slots } else { 0 };
                layers.map(|layer| pool(own(layer), i.width, i.width as usize)).collect()
            }),
            page,
            free: (0..pages as Page).rev().collect(),
            references: vec![0; pages],
        }
    }

    /// Bytes of all its pools.
    pub fn bytes(&self) -> u64 {
        self.keys.iter().chain(&self.index_keys).map(tensor_bytes).sum()
    }

    /// Positions of a page.
    pub fn page(&self) -> usize {
        self.page
    }

    /// Pages that nobody holds.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// Takes a page, or `None` where all are held.
    pub fn take(&mut self) -> Option<Page> {
        let page = self.free.pop()?;
        self.references[page as usize] = 1;
        Some(page)
    }

    /// Adds a holder to a page.
    pub fn share(&mut self, page: Page) {
        debug_assert!(self.references[page as usize] > 0, "only a held page can be shared");
        self.references[page as usize] += 1;
    }

    /// Gives a page back.
    pub fn release(&mut self, page: Page) {
        let references = &mut self.references[page as usize];
        debug_assert!(*references > 0, "a page is released by its holders only");
        *references -= 1;
        if *references == 0 {
            self.free.push(page);
        }
    }

    /// The slot of the `offset`-th position of a page.
    pub fn slot(&self, page: Page, offset: usize) -> u32 {
        page * self.page as u32 + offset as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_page_is_free_when_its_last_holder_lets_go() {
        let config = crate::testing::tiny_config(None);
        let mut cache = PagedCache::new(&config, 2, 4, Device::Cpu);
        let page = cache.take().expect("two are free");
        cache.share(page);
        cache.release(page);
        assert_eq!(cache.free_pages(), 1);
        cache.release(page);
        assert_eq!(cache.free_pages(), 2);
        assert!(cache.take().and(cache.take()).is_some() && cache.take().is_none());
    }
}
