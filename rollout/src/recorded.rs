//! What a forward chose for its rows, kept for replay (INV-5): the keys of the indexer and the experts of the gates.

use std::ops::Range;

use data::{Routing, Selections};
use policy::Forward;
use tch::{Device, Tensor};

/// What was chosen for the rows of a sequence so far, by layer. Empty where nothing is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    selections: Vec<Vec<i32>>,
    experts: Vec<Vec<u16>>,
}

impl Trace {
    /// What a trajectory of so many fed rows keeps.
    pub(crate) fn finish(self, rows: usize) -> (Option<Selections>, Option<Routing>) {
        let selections = self.selections.first().map(|layer| layer.len() / rows);
        let routing = self.experts.first().map(|layer| layer.len() / rows);
        (
            selections.map(|top_k| Selections { top_k, layers: self.selections }),
            routing.map(|top_k| Routing { top_k, layers: self.experts }),
        )
    }
}

/// What one forward chose, on the host.
pub(crate) struct Recorded {
    selections: Layers<i32>,
    experts: Layers<u16>,
}

impl Recorded {
    /// What a forward was asked to record.
    pub(crate) fn of(forward: &Forward) -> Self {
        // A config with more experts than a u16 counts is refused when it is read.
        Self { selections: Layers::of(&forward.selections, |i| i), experts: Layers::of(&forward.experts, |e| e as u16) }
    }

    /// Appends what was chosen for `rows` to a sequence's trace.
    pub(crate) fn append(&self, rows: Range<usize>, to: &mut Trace) {
        self.selections.append(&rows, &mut to.selections);
        self.experts.append(&rows, &mut to.experts);
    }
}

/// `k` numbers a row, layer by layer.
struct Layers<T> {
    k: usize,
    layers: Vec<Vec<T>>,
}

impl<T: Copy> Layers<T> {
    fn of(layers: &[Tensor], number: impl Fn(i32) -> T) -> Self {
        let k = layers.first().map_or(0, |layer| layer.size()[1] as usize);
        let on_host = |layer: &Tensor| {
            let flat = layer.to_device(Device::Cpu).flatten(0, 1);
            let chosen = Vec::<i32>::try_from(flat).expect("choices are i32");
            chosen.into_iter().map(&number).collect()
        };
        Self { k, layers: layers.iter().map(on_host).collect() }
    }

    fn append(&self, rows: &Range<usize>, to: &mut Vec<Vec<T>>) {
        to.resize_with(self.layers.len(), Vec::new);
        for (layer, to) in self.layers.iter().zip(to) {
            to.extend_from_slice(&layer[rows.start * self.k..rows.end * self.k]);
        }
    }
}
