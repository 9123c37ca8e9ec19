//! From the kinds of numbers that checkpoints keep to f32: f32, bf16, f16, and FP8 in blocks.

use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use super::CheckpointError;
use super::fp8::{dequantise, scale_name, scale_shape};
use super::shards::{Shards, View};

/// As [`read`], but for a matrix of bf16, which stays what it is.
pub(super) fn read_frozen(shards: &Shards, view: &View<'_>) -> Result<Tensor, CheckpointError> {
    if view.dtype != Dtype::BF16 || view.shape.len() != 2 {
        return read(shards, view);
    }
    let shape: Vec<i64> = view.shape.iter().map(|&n| n as i64).collect();
    let value = copied(view.bytes(), &shape, Kind::BFloat16, Kind::BFloat16);
    view.release();
    Ok(value)
}

/// A parameter as f32 on the CPU, in memory of its own.
pub(super) fn read(shards: &Shards, view: &View<'_>) -> Result<Tensor, CheckpointError> {
    check(shards, view)?;
    let shape: Vec<i64> = view.shape.iter().map(|&n| n as i64).collect();
    let value = match kind(view.dtype) {
        Some(kind) => copied(view.bytes(), &shape, kind, Kind::Float),
        None => {
            let scales = read(shards, &shards.get(&scale_name(&view.name))?)?;
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
    let scales = shards.get(&scale_name(&view.name))?;
    let expected: Vec<i64> = scale_shape(&view.shape).into_iter().map(|n| n as i64).collect();
    if !scales.shape.iter().map(|&n| n as i64).eq(expected.iter().copied()) {
        let (name, found) = (scales.name.to_owned(), scales.shape.to_vec());
        return Err(CheckpointError::Shape { path, name, found, expected });
    }
    Ok(())
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

/// Bytes of the map, which are of one kind, as a tensor of its own of another, with no copy between.
fn copied(bytes: &[u8], shape: &[i64], kind: Kind, wanted: Kind) -> Tensor {
    let aligned = (bytes.as_ptr() as usize).is_multiple_of(kind.elt_size_in_bytes());
    if !aligned || bytes.is_empty() {
        return Tensor::from_data_size(bytes, shape, kind).to_kind(wanted);
    }
    let mut strides = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    // SAFETY: the bytes are aligned and hold as many numbers as the shape says, since the header was checked against the file; the
    // borrowed tensor is read once and dropped here, before the map.
    let borrowed = unsafe { Tensor::from_blob(bytes.as_ptr(), shape, &strides, kind, Device::Cpu) };
    // A conversion has memory of its own; what is not converted would stay borrowed.
    if kind == wanted { borrowed.copy() } else { borrowed.to_kind(wanted) }
}
