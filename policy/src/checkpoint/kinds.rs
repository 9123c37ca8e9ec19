//! From the kinds of numbers that checkpoints keep to f32 and back: f32, bf16, f16, and DeepSeek's FP8 in blocks.
//!
//! A matrix `[n, k]` in FP8 (e4m3) has beside it `NAME_scale_inv [⌈n/128⌉, ⌈k/128⌉]`; an element is its FP8 value times the number of
//! its block (DeepSeek-V3, §3.3.2).

use std::borrow::Cow;

use safetensors::tensor::{Dtype, View as Written};
use tch::{Device, Kind, Tensor};

use super::CheckpointError;
use super::shards::{Shards, View};

/// Rows and columns of a block that shares a scale.
const BLOCK: usize = 128;

/// A parameter as f32 on the CPU, in memory of its own.
pub(super) fn read(shards: &Shards, view: &View<'_>) -> Result<Tensor, CheckpointError> {
    check(shards, view)?;
    let shape: Vec<i64> = view.shape.iter().map(|&n| n as i64).collect();
    let value = match kind(view.dtype) {
        Some(kind) => copied(view.bytes(), &shape, kind),
        None => {
            let scales = read(shards, &shards.get(&scale_name(view.name))?)?;
            let scales = Vec::<f32>::try_from(scales.flatten(0, -1)).expect("it was read as f32");
            Tensor::from_slice(&dequantise(view.bytes(), &scales, view.shape[1])).view(shape.as_slice())
        }
    };
    view.release();
    Ok(value)
}

/// Whether a parameter's kind can be read, without reading it.
pub(super) fn check(shards: &Shards, view: &View<'_>) -> Result<(), CheckpointError> {
    if kind(view.dtype).is_some() {
        return Ok(());
    }
    let (path, name) = (view.path().to_owned(), view.name.to_owned());
    if view.dtype != Dtype::F8_E4M3 || view.shape.len() != 2 {
        return Err(CheckpointError::Kind { path, name, kind: view.dtype });
    }
    let scales = shards.get(&scale_name(view.name))?;
    let expected: Vec<i64> = view.shape.iter().map(|n| n.div_ceil(BLOCK) as i64).collect();
    if !scales.shape.iter().map(|&n| n as i64).eq(expected.iter().copied()) {
        let (name, found) = (scales.name.to_owned(), scales.shape.to_vec());
        return Err(CheckpointError::Shape { path, name, found, expected });
    }
    Ok(())
}

fn scale_name(name: &str) -> String {
    format!("{name}_scale_inv")
}

/// The kinds that libtorch converts.
fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::F16 => Some(Kind::Half),
        _ => None,
    }
}

/// Bytes of the map as an f32 tensor of its own, with no copy between.
fn copied(bytes: &[u8], shape: &[i64], kind: Kind) -> Tensor {
    let aligned = (bytes.as_ptr() as usize).is_multiple_of(kind.elt_size_in_bytes());
    if !aligned || bytes.is_empty() {
        return Tensor::from_data_size(bytes, shape, kind).to_kind(Kind::Float);
    }
    let mut strides = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    // SAFETY: the bytes are aligned and hold as many numbers as the shape says, since the header was checked against the file; the
    // borrowed tensor is read once and dropped here, before the map.
    let borrowed = unsafe { Tensor::from_blob(bytes.as_ptr(), shape, &strides, kind, Device::Cpu) };
    // A conversion has memory of its own; f32 would stay borrowed.
    if kind == Kind::Float { borrowed.copy() } else { borrowed.to_kind(Kind::Float) }
}

/// FP8 values times the scales of their blocks; a row has `columns`.
fn dequantise(bytes: &[u8], scales: &[f32], columns: usize) -> Vec<f32> {
    let table: [f32; 256] = std::array::from_fn(|byte| e4m3(byte as u8));
    let blocks = columns.div_ceil(BLOCK);
    let mut out = Vec::with_capacity(bytes.len());
    for (row, bytes) in bytes.chunks_exact(columns.max(1)).enumerate() {
        let scales = &scales[row / BLOCK * blocks..][..blocks];
        for (bytes, scale) in bytes.chunks(BLOCK).zip(scales) {
            out.extend(bytes.iter().map(|&byte| table[usize::from(byte)] * scale));
        }
    }
    out
}

/// The value of an e4m3 byte: sign, 4 bits of exponent with bias 7, 3 bits of fraction; no infinities, and all ones is not a number.
fn e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction / 8.0 * 2f32.powi(-6),
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte >> 7 == 1 { -size } else { size }
}

/// The kind of number that weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// As they are trained.
    F32,
    /// Rounded to half the size.
    Bf16,
}

impl Storage {
    /// As `config.json` calls it.
    pub fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// A tensor to be written, turned into bytes when its turn comes.
pub(super) struct Plain {
    tensor: Tensor,
    shape: Vec<usize>,
    storage: Storage,
}

impl Plain {
    pub(super) fn new(tensor: &Tensor, storage: Storage) -> Self {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        Self { tensor: tensor.detach(), shape, storage }
    }
}

impl Written for Plain {
    fn dtype(&self) -> Dtype {
        match self.storage {
            Storage::F32 => Dtype::F32,
            Storage::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let kind = if self.storage == Storage::F32 { Kind::Float } else { Kind::BFloat16 };
        let tensor = self.tensor.to_device(Device::Cpu).to_kind(kind).contiguous();
        let mut bytes = vec![0u8; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * if self.storage == Storage::F32 { 4 } else { 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of the format, by its definition (Micikevicius et al., 2022).
    #[test]
    fn e4m3_values() {
        let values = [(0x00, 0.0), (0x01, 0.001_953_125), (0x38, 1.0), (0x3c, 1.5), (0x7e, 448.0), (0xb8, -1.0)];
        values.into_iter().for_each(|(byte, value)| assert_eq!(e4m3(byte), value, "{byte:#x}"));
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        let positive: Vec<f32> = (0..0x7f).map(e4m3).collect();
        assert!(positive.is_sorted());
    }

    /// 130 × 200 is two blocks by two, the last ones cut.
    #[test]
    fn every_block_has_its_own_scale() {
        let ones = vec![0x38u8; 130 * 200];
        let out = dequantise(&ones, &[1.0, 2.0, 3.0, 4.0], 200);
        let at = |row: usize, column: usize| out[row * 200 + column];
        assert_eq!([at(0, 0), at(127, 127), at(0, 128), at(127, 199)], [1.0, 1.0, 2.0, 2.0]);
        assert_eq!([at(128, 0), at(129, 127), at(128, 128), at(129, 199)], [3.0, 3.0, 4.0, 4.0]);
    }
}
