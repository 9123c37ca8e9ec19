//! Reads the parameters of a checkpoint: in parts of some rows, each into its place, on all threads at once, while the disk reads what comes next.

use std::ops::Range;
use std::sync::Mutex;

use native::parallel_chunks;
use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use super::shards::{Shards, View};
use super::{CheckpointError, fp8, kinds};

/// Bytes that the disk reads while earlier ones are converted.
const READ_AHEAD: usize = 64 << 20;

/// Bytes of a part, about: large beside the cost of starting it, small beside a checkpoint even where each of many threads has one in hand.
const PART: usize = 1 << 20;

/// In which numbers parameters are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// All as f32, which is what learns.
    F32,
    /// Matrices of bf16 as they are, everything else as f32.
    AsStored,
}

impl Held {
    fn kind(self, view: &View<'_>) -> Kind {
        let stays = self == Self::AsStored && view.dtype == Dtype::BF16 && view.shape.len() == 2;
        if stays { Kind::BFloat16 } else { Kind::Float }
    }
}

/// Some rows of a parameter, and where they go.
struct Part<'a> {
    view: &'a View<'a>,
    bytes: Range<usize>,
    into: Tensor,
    /// The scales of its blocks, where it is FP8.
    scales: Vec<f32>,
}

/// Reads parameters into memory of their own on the CPU.
///
/// # Errors
/// [`CheckpointError::Kind`] and [`CheckpointError::Shape`], before any is read.
pub(super) fn read_all(shards: &Shards, views: &[View<'_>], held: Held) -> Result<Vec<Tensor>, CheckpointError> {
    views.iter().try_for_each(|view| kinds::check(shards, view))?;
    let empty = |view: &View<'_>| Tensor::empty(view.dimensions(), (held.kind(view), Device::Cpu));
    let tensors: Vec<Tensor> = views.iter().map(empty).collect();
    let mut parts: Vec<Part<'_>> = Vec::new();
    for (view, tensor) in views.iter().zip(&tensors) {
        parts.extend(split(shards, view, tensor)?);
    }
    let ahead = Ahead::of(&parts);
    parallel_chunks(&mut parts, 1, |number, part| {
        ahead.ask(number);
        part[0].read();
    });
    Ok(tensors)
}

/// A parameter in parts of whole rows, of whole blocks where it is FP8; in one part, where its rows are put into another order.
fn split<'a>(shards: &Shards, view: &'a View<'a>, tensor: &Tensor) -> Result<Vec<Part<'a>>, CheckpointError> {
    let (rows, length) = (view.shape.first().copied().unwrap_or(1), view.bytes().len());
    if length == 0 {
        return Ok(Vec::new());
    }
    let (width, scales) = (length / rows, kinds::scales(shards, view)?);
    if view.is_reordered() {
        return Ok(vec![Part { view, bytes: 0..length, into: view.in_file_order(tensor), scales }]);
    }
    let matrix = tensor.view([rows as i64, -1]);
    let step = (PART / width).next_multiple_of(fp8::BLOCK).max(fp8::BLOCK);
    let of_blocks = scales.len() / rows.div_ceil(fp8::BLOCK);
    let part = |first: usize| {
        let end = rows.min(first + step);
        let blocks = first / fp8::BLOCK..end.div_ceil(fp8::BLOCK);
        Part {
            view,
            bytes: first * width..end * width,
            into: matrix.narrow(0, first as i64, (end - first) as i64),
            scales: scales[blocks.start * of_blocks..blocks.end * of_blocks].to_vec(),
        }
    };
    Ok((0..rows).step_by(step).map(part).collect())
}

impl Part<'_> {
    fn read(&mut self) {
        let bytes = &self.view.bytes()[self.bytes.clone()];
        kinds::convert(bytes, self.view, &self.scales, &mut self.into);
        self.view.release(self.bytes.clone());
    }
}

/// What the disk is asked for before it is needed.
struct Ahead<'a> {
    /// Where each part lies, and how many bytes are read before it.
    parts: Vec<(&'a View<'a>, Range<usize>, usize)>,
    /// The first that was not asked for yet.
    next: Mutex<usize>,
}

impl<'a> Ahead<'a> {
    fn of(parts: &[Part<'a>]) -> Self {
        let mut before = 0;
        let place = |part: &Part<'a>| {
            let at = before;
            before += part.bytes.len();
            (part.view, part.bytes.clone(), at)
        };
        Self { parts: parts.iter().map(place).collect(), next: Mutex::new(0) }
    }

    /// Part `number` is about to be read. Where another thread is asking, that does for both.
    fn ask(&self, number: usize) {
        let Ok(mut next) = self.next.try_lock() else { return };
        let until = self.parts[number].2 + READ_AHEAD;
        while let Some((view, bytes, _)) = self.parts.get(*next).filter(|(_, _, before)| *before < until) {
            view.ask(bytes.clone());
            *next += 1;
        }
    }
}
