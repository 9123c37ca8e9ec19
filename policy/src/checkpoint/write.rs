//! Writing weights: as f32, bf16 or FP8 in blocks, in one file or in shards with their list.
//!
//! A tensor becomes bytes when its turn comes, so that writing holds one tensor beside the model; or one tensor in all, where what is
//! written is read from another checkpoint.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use super::shards::{Fused, Shards};
use super::{CheckpointError, INDEX, WEIGHTS, fp8, kinds};
use crate::params::is_selection_bias;

/// The kind of number that weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// As they are trained.
    F32,
    /// Rounded to half the size.
    Bf16,
    /// The layers' matrices in e4m3, in blocks of 128 × 128 with a scale each, as DeepSeek-V3 is released; the rest in bf16. What decides a
    /// choice stays bf16 or better: gates, the indexer's head weights, the output head.
    Fp8,
}

impl Storage {
    /// As `config.json` calls it.
    pub fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 | Self::Fp8 => "bfloat16",
        }
    }
}

/// How weights are written.
#[derive(Debug, Clone, Copy)]
pub struct Writing {
    /// In which numbers.
    pub storage: Storage,
    /// Most bytes of tensors in a file; a larger tensor has a file of its own. Where all fits in one file it is `model.safetensors`.
    pub shard_bytes: u64,
}

impl Writing {
    /// All in one file.
    pub fn whole(storage: Storage) -> Self {
        Self { storage, shard_bytes: u64::MAX }
    }
}

/// Where a tensor's numbers are.
pub(super) enum Source<'a> {
    Held(Tensor),
    File(&'a Shards),
}

impl Source<'_> {
    fn values(&self, name: &str) -> Tensor {
        let read = |shards: &Shards| kinds::read(shards, &shards.get(name)?);
        match self {
            Self::Held(tensor) => tensor.detach().to_device(Device::Cpu).contiguous(),
            Self::File(shards) => read(shards).expect("its shape and kind were checked before anything was written"),
        }
    }
}

/// What a tensor in a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    F32,
    /// The scales of an FP8 matrix.
    Scales,
    Bf16,
    Fp8,
}

/// A tensor as it will lie in a file.
pub(super) struct Piece<'a> {
    /// Its name there.
    name: String,
    /// The weights that it is made of, one after the other, and where they are.
    weights: Vec<(&'a str, &'a Source<'a>)>,
    shape: Vec<usize>,
    form: Form,
}

/// The tensors that a weight becomes; `quantised` says whether it is FP8 where that is asked for.
pub(super) fn pieces<'a>(
    weight: &'a str,
    source: &'a Source<'a>,
    shape: &[i64],
    storage: Storage,
    quantised: bool,
) -> Vec<Piece<'a>> {
    let shape: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
    let piece = |name: String, shape, form| Piece { name, weights: vec![(weight, source)], shape, form };
    match storage {
        // As in the released models: it is a running number, and half its bits would stop it.
        _ if is_selection_bias(weight) => vec![piece(weight.to_owned(), shape, Form::F32)],
        Storage::F32 => vec![piece(weight.to_owned(), shape, Form::F32)],
        Storage::Fp8 if quantised => vec![
            piece(fp8::scale_name(weight), fp8::scale_shape(&shape), Form::Scales),
            piece(weight.to_owned(), shape, Form::Fp8),
        ],
        Storage::Bf16 | Storage::Fp8 => vec![piece(weight.to_owned(), shape, Form::Bf16)],
    }
}

impl Piece<'_> {
    fn dtype(&self) -> &'static str {
        match self.form {
            Form::F32 | Form::Scales => "F32",
            Form::Bf16 => "BF16",
            Form::Fp8 => "F8_E4M3",
        }
    }

    fn len(&self) -> u64 {
        let width = match self.form {
            Form::F32 | Form::Scales => 4,
            Form::Bf16 => 2,
            Form::Fp8 => 1,
        };
        self.shape.iter().product::<usize>() as u64 * width
    }

    fn bytes(&self) -> Vec<u8> {
        let parts = self.weights.iter().map(|(weight, source)| self.bytes_of(source.values(weight)));
        parts.collect::<Vec<_>>().concat()
    }

    fn bytes_of(&self, values: Tensor) -> Vec<u8> {
        let plain = |values: Tensor| {
            let mut bytes = vec![0u8; values.numel() * values.kind().elt_size_in_bytes()];
            values.copy_data_u8(&mut bytes, values.numel());
            bytes
        };
        if matches!(self.form, Form::F32 | Form::Bf16) {
            return plain(values.to_kind(if self.form == Form::F32 { Kind::Float } else { Kind::BFloat16 }));
        }
        let columns = values.size()[1] as usize;
        let values = Vec::<f32>::try_from(values.flatten(0, -1)).expect("weights are f32");
        let scales = fp8::scales(&values, columns);
        match self.form {
            Form::Scales => scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
            _ => fp8::quantise(&values, &scales, columns),
        }
    }
}

/// Puts the experts' matrices of each layer together, for families whose files have them so.
pub(super) fn fused(pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    let (mut all, mut experts) = (Vec::new(), BTreeMap::<(String, usize), BTreeMap<usize, Piece<'_>>>::new());
    for piece in pieces {
        match Fused::of(&piece.name) {
            Some(place) => {
                let order = place.order();
                experts.entry((place.tensor, place.parts)).or_default().insert(order, piece);
            }
            None => all.push(piece),
        }
    }
    all.extend(experts.into_iter().map(|((name, parts), matrices)| {
        let first = matrices.values().next().expect("an entry is made with its first piece");
        let (rows, columns, form) = (first.shape[0], first.shape[1], first.form);
        let shape = vec![matrices.len() / parts, parts * rows, columns];
        Piece { name, weights: matrices.into_values().flat_map(|piece| piece.weights).collect(), shape, form }
    }));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Writes pieces into a folder, in shards where they do not fit in one file, with their list.
pub(super) fn write_folder(pieces: Vec<Piece<'_>>, folder: &Path, shard_bytes: u64) -> Result<(), CheckpointError> {
    let total: u64 = pieces.iter().map(Piece::len).sum();
    let shards = cut(pieces, shard_bytes);
    if let [only] = shards.as_slice() {
        return write_file(only, &folder.join(WEIGHTS));
    }
    let (count, mut places) = (shards.len(), BTreeMap::new());
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
        write_file(shard, &folder.join(&name))?;
        places.extend(shard.iter().map(|piece| (piece.name.clone(), name.clone())));
    }
    // Last: a folder with a list is whole.
    let list = json!({"metadata": {"total_size": total}, "weight_map": places});
    let text = serde_json::to_string_pretty(&list).expect("a list is plain JSON") + "\n";
    Ok(data::atomic::write_atomic(&folder.join(INDEX), |file| file.write_all(text.as_bytes()))?)
}

/// Neighbours share a shard as long as they fit. There is one at least.
fn cut(pieces: Vec<Piece<'_>>, most: u64) -> Vec<Vec<Piece<'_>>> {
    let (mut shards, mut held) = (vec![Vec::new()], 0u64);
    for piece in pieces {
        if held > 0 && held.saturating_add(piece.len()) > most {
            shards.push(Vec::new());
            held = 0;
        }
        held += piece.len();
        shards.last_mut().expect("there is one").push(piece);
    }
    shards
}

/// Writes a safetensors file: eight bytes of the header's length, the header, the tensors. Wide numbers come first, so that all are
/// aligned, then names decide: the same weights give the same bytes.
pub(super) fn write_file(pieces: &[Piece<'_>], path: &Path) -> Result<(), CheckpointError> {
    let mut order: Vec<&Piece<'_>> = pieces.iter().collect();
    order.sort_by(|a, b| (a.form.max(Form::Scales), &a.name).cmp(&(b.form.max(Form::Scales), &b.name)));
    let header = header(&order);
    let fill = |file: &mut File| -> io::Result<()> {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        order.iter().try_for_each(|piece| file.write_all(&piece.bytes()))
    };
    Ok(data::atomic::write_atomic(path, fill)?)
}

fn header(order: &[&Piece<'_>]) -> String {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut at = 0;
    for piece in order {
        let end = at + piece.len();
        let entry = json!({"dtype": piece.dtype(), "shape": piece.shape, "data_offsets": [at, end]});
        entries.insert(piece.name.clone(), entry);
        at = end;
    }
    let mut text = Value::Object(entries).to_string();
    // The tensors begin at a multiple of eight.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}
