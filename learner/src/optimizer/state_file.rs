//! The optimiser's state as a safetensors file: `exp_avg.NAME` and `exp_avg_sq.NAME` (f32, the parameter's shape) for
//! every parameter that learns, and `step` (i64, no dimension). Bits go through unchanged, and equal states give
//! equal bytes.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View, serialize_to_file};
use tch::{Device, Kind, Tensor, no_grad};

use super::AdamW;

/// A state that cannot be written or does not fit this optimiser. A failed load has changed nothing, and a failed
/// save has left the file that was there.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refused.
    #[error("optimiser state {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no safetensors file, or was cut.
    #[error("optimiser state {path} is no whole safetensors file: {source}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SafeTensorError,
    },
    /// The file lacks a tensor.
    #[error(
        "optimiser state {path} lacks `{name}`: it was saved with other parameters or other frozen groups",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The file holds a tensor that belongs to no parameter that learns.
    #[error("optimiser state {path} holds `{name}`, for which no parameter learns here", path = path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has not the parameter's shape, or is of another kind.
    #[error(
        "optimiser state {path}: `{name}` is {found_kind:?} {found:?}, expected {expected_kind:?} {expected:?}",
        path = path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The kind it must have.
        expected_kind: Dtype,
        /// The shape it must have.
        expected: Vec<usize>,
        /// The kind in the file.
        found_kind: Dtype,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The step is no count.
    #[error("optimiser state {path}: {step} is no count of steps; the file is damaged", path = path.display())]
    Step {
        /// The file.
        path: PathBuf,
        /// What it says.
        step: i64,
    },
}

/// A tensor on its way to the file: it is copied to the host only when its turn comes.
struct Saved {
    tensor: Tensor,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl View for Saved {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let host = self.tensor.to_device(Device::Cpu).contiguous();
        let mut bytes = vec![0; self.data_len()];
        host.copy_data_u8(&mut bytes, host.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.dtype.bitsize() / 8
    }
}

impl AdamW {
    /// Writes the state to `path`, by way of a neighbouring file and a rename.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::Format`]; what stood at `path` before is still there.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let mut tensors = vec![("step".to_owned(), Saved::new(&Tensor::from(self.step as i64), Dtype::I64))];
        for slot in &self.slots {
            tensors.push((format!("exp_avg.{}", slot.name), Saved::new(&slot.exp_avg, Dtype::F32)));
            tensors.push((format!("exp_avg_sq.{}", slot.name), Saved::new(&slot.exp_avg_sq, Dtype::F32)));
        }
        let partial = path.with_added_extension("partial");
        let io = |source| StateError::Io { path: path.to_owned(), source };
        let written = serialize_to_file(tensors, None, &partial).map_err(|source| match source {
            SafeTensorError::IoError(source) => io(source),
            source => StateError::Format { path: path.to_owned(), source },
        });
        let placed = written
            .and_then(|()| File::open(&partial).and_then(|file| file.sync_all()).map_err(io))
            .and_then(|()| std::fs::rename(&partial, path).map_err(io));
        if placed.is_err() {
            // What matters is the error above; a leftover partial file is overwritten by the next save.
            let _ = std::fs::remove_file(&partial);
        }
        placed
    }

    /// Reads the state that [`Self::save`] wrote.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be read or is not the state of exactly these parameters.
    pub fn load(&mut self, path: &Path) -> Result<(), StateError> {
        let bytes = std::fs::read(path).map_err(|source| StateError::Io { path: path.to_owned(), source })?;
        let file =
            SafeTensors::deserialize(&bytes).map_err(|source| StateError::Format { path: path.to_owned(), source })?;
        self.refuse_unexpected(path, &file)?;
        let step = read(path, &file, "step", Dtype::I64, &[])?.int64_value(&[]);
        if !(0..i64::from(i32::MAX)).contains(&step) {
            return Err(StateError::Step { path: path.to_owned(), step });
        }
        let mut moments = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let shape = slot.parameter.size();
            let first = read(path, &file, &format!("exp_avg.{}", slot.name), Dtype::F32, &shape)?;
            let second = read(path, &file, &format!("exp_avg_sq.{}", slot.name), Dtype::F32, &shape)?;
            moments.push((first, second));
        }
        no_grad(|| {
            for (slot, (first, second)) in self.slots.iter_mut().zip(&moments) {
                slot.exp_avg.copy_(first);
                slot.exp_avg_sq.copy_(second);
            }
        });
        self.step = step as u64;
        Ok(())
    }

    fn refuse_unexpected(&self, path: &Path, file: &SafeTensors<'_>) -> Result<(), StateError> {
        let mut names = file.names();
        names.sort_unstable();
        for name in names {
            let parameter = name.strip_prefix("exp_avg.").or_else(|| name.strip_prefix("exp_avg_sq."));
            let known =
                parameter.is_some_and(|own| self.slots.binary_search_by(|slot| slot.name.as_str().cmp(own)).is_ok());
            if !known && name != "step" {
                return Err(StateError::Unexpected { path: path.to_owned(), name: name.to_owned() });
            }
        }
        Ok(())
    }
}

impl Saved {
    fn new(tensor: &Tensor, dtype: Dtype) -> Self {
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        Self { tensor: tensor.shallow_clone(), shape, dtype }
    }
}

/// One tensor of the file, on the host.
fn read(path: &Path, file: &SafeTensors<'_>, name: &str, dtype: Dtype, shape: &[i64]) -> Result<Tensor, StateError> {
    let missing = |_| StateError::Missing { path: path.to_owned(), name: name.to_owned() };
    let view = file.tensor(name).map_err(missing)?;
    let expected: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
    if view.dtype() != dtype || view.shape() != expected {
        return Err(StateError::Shape {
            path: path.to_owned(),
            name: name.to_owned(),
            expected_kind: dtype,
            expected,
            found_kind: view.dtype(),
            found: view.shape().to_vec(),
        });
    }
    let kind = if dtype == Dtype::I64 { Kind::Int64 } else { Kind::Float };
    Ok(Tensor::from_data_size(view.data(), shape, kind))
}
