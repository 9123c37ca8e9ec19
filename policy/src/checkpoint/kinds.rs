//! From the kinds of numbers that checkpoints keep to f32: f32, bf16, f16, and FP8 with a scale a block or a matrix.

use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use super::CheckpointError;
use super::fp8::{dequantise, scale_name, scale_shape};
use super::shards::{Shards, View};

/// A parameter as f32 on the CPU, in memory of its own.
pub(super) fn read(shards: &Shards, view: &View<'_>) -> Result<Tensor, CheckpointError> {
    check(shards, view)?;
    let value = Tensor::empty(view.dimensions(), (Kind::Float, Device::Cpu));
    convert(view.bytes(), view, &scales(shards, view)?, &mut view.in_file_order(&value));
    view.release(0..view.bytes().len());
    Ok(value)
}

/// The scales of an FP8 matrix, one a block; none for any other parameter.
pub(super) fn scales(shards: &Shards, view: &View<'_>) -> Result<Vec<f32>, CheckpointError> {
    if kind(view.dtype).is_some() {
        return Ok(Vec::new());
    }
    let scales = read(shards, &shards.get(&scale_name(&view.name))?)?;
    let scales = Vec::<f32>::try_from(scales.flatten(0, -1)).expect("it was read as f32");
    // One for the whole matrix is that of every block.
    if let &[all] = scales.as_slice() {
        return Ok(vec![all; scale_shape(&view.shape).iter().product()]);
    }
    Ok(scales)
}

/// Bytes of a parameter, all or some of its rows, into a tensor of as many numbers; with the scales of those rows, where it is FP8.
pub(super) fn convert(bytes: &[u8], view: &View<'_>, scales: &[f32], into: &mut Tensor) {
    let shape = into.size();
    match kind(view.dtype) {
        Some(kind) => copy(bytes, &shape, kind, into),
        None => into.copy_(&Tensor::from_slice(&dequantise(bytes, scales, view.shape[1])).view(shape.as_slice())),
    }
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
    if scales.shape.iter().product::<usize>() == 1 {
        return Ok(());
    }
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

/// Bytes of the map, which are numbers of one kind, into a tensor, with no copy between.
fn copy(bytes: &[u8], shape: &[i64], kind: Kind, into: &mut Tensor) {
    let aligned = (bytes.as_ptr() as usize).is_multiple_of(kind.elt_size_in_bytes());
    if !aligned || bytes.is_empty() {
        return into.copy_(&Tensor::from_data_size(bytes, shape, kind));
    }
    let mut strides = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    // SAFETY: the bytes are aligned and hold as many numbers as the shape says, since the header was checked against the file; the
    // borrowed tensor is read once and dropped here, before the map.
    let borrowed = unsafe { Tensor::from_blob(bytes.as_ptr(), shape, &strides, kind, Device::Cpu) };
    into.copy_(&borrowed);
}
