//! Scored groups to a record batch. Columns are built whole, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, Float32Array, Float64Array, LargeListArray, LargeStringArray, MapArray,
    PrimitiveArray, StructArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float32Type, Int32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use serde_json::Value;

use super::{BatchError, check, item, list_of, map_entries, map_fields, schema, verdict_fields};
use crate::{Finish, Mask, ScoredGroup, ScoredSample, Status, Trajectory, Verdict};

/// A row: the group, its number, and one of its samples.
type Row<'a> = (usize, &'a ScoredGroup, &'a ScoredSample);

pub(super) fn batch(groups: &[ScoredGroup], first: usize) -> Result<RecordBatch, BatchError> {
    for group in groups {
        if group.samples.is_empty() {
            return Err(BatchError::EmptyGroup { prompt: group.prompt.id.clone() });
        }
        group.samples.iter().try_for_each(|sample| check(&group.prompt.id, sample))?;
    }
    let numbered = groups.iter().enumerate().map(|(i, g)| (first + i, g));
    let rows: Vec<Row> = numbered.flat_map(|(i, g)| g.samples.iter().map(move |s| (i, g, s))).collect();
    let mut columns = prompt_columns(&rows);
    columns.extend(trajectory_columns(&rows));
    columns.extend(outcome_columns(&rows));
    Ok(RecordBatch::try_new(schema(), columns)?)
}

fn prompt_columns(rows: &[Row]) -> Vec<ArrayRef> {
    let messages = |g: &ScoredGroup| serde_json::to_string(&g.prompt.messages).expect("a message is always JSON");
    vec![
        Arc::new(rows.iter().map(|r| r.0 as u64).collect::<UInt64Array>()),
        Arc::new(rows.iter().map(|r| r.1.version).collect::<UInt64Array>()),
        strings(rows.iter().map(|r| &r.1.prompt.id)),
        strings(rows.iter().map(|r| &r.1.prompt.domain)),
        strings(rows.iter().map(|r| &r.1.prompt.data_source)),
        strings(rows.iter().map(|r| messages(r.1))),
        strings(rows.iter().map(|r| json(&r.1.prompt.ground_truth))),
        Arc::new(rows.iter().map(|r| r.1.prompt.answer.as_ref()).collect::<LargeStringArray>()),
        strings(rows.iter().map(|r| json(&r.1.prompt.extra_info))),
    ]
}

fn trajectory_columns(rows: &[Row]) -> Vec<ArrayRef> {
    let all: Vec<&Trajectory> = rows.iter().map(|r| &r.2.trajectory).collect();
    let authors: Vec<Vec<u8>> = all.iter().map(|t| t.authors.iter().map(|&a| a as u8).collect()).collect();
    vec![
        Arc::new(all.iter().map(|t| t.sample).collect::<UInt32Array>()),
        lists::<UInt32Type>(all.iter().map(|t| t.tokens.as_slice())),
        lists::<UInt8Type>(authors.iter().map(Vec::as_slice)),
        Arc::new(all.iter().map(|t| t.prompt_len as u64).collect::<UInt64Array>()),
        lists::<Float32Type>(all.iter().map(|t| t.logprobs.as_slice())),
        lists::<UInt64Type>(all.iter().map(|t| t.versions.as_slice())),
        lists::<UInt32Type>(all.iter().map(|t| t.kept.offsets.as_slice())),
        lists::<UInt32Type>(all.iter().map(|t| t.kept.ids.as_slice())),
        Arc::new(all.iter().map(|t| t.selections.as_ref().map(|s| s.top_k as u64)).collect::<UInt64Array>()),
        layers::<Int32Type>(all.iter().map(|t| t.selections.as_ref().map(|s| s.layers.as_slice()))),
        Arc::new(all.iter().map(|t| t.routing.as_ref().map(|r| r.top_k as u64)).collect::<UInt64Array>()),
        layers::<UInt16Type>(all.iter().map(|t| t.routing.as_ref().map(|r| r.layers.as_slice()))),
        strings(all.iter().map(|t| finish_name(t.finish))),
    ]
}

fn outcome_columns(rows: &[Row]) -> Vec<ArrayRef> {
    let samples = || rows.iter().map(|r| r.2);
    vec![
        strings(samples().map(|s| &s.text)),
        verdicts(rows),
        Arc::new(samples().map(|s| s.reward).collect::<Float64Array>()),
        Arc::new(samples().map(|s| s.advantage).collect::<Float32Array>()),
        strings(samples().map(|s| mask_name(s.mask))),
    ]
}

fn strings<S: AsRef<str>>(values: impl Iterator<Item = S>) -> ArrayRef {
    Arc::new(LargeStringArray::from_iter_values(values))
}

fn json(value: &Value) -> String {
    // `Value`'s own rendering: compact, keys in their order, floats in the shortest form that parses back to the same
    // bits.
    value.to_string()
}

fn primitives<T: ArrowPrimitiveType>(slices: &[&[T::Native]]) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(slices.concat().into(), None))
}

fn lists<'a, T: ArrowPrimitiveType>(rows: impl Iterator<Item = &'a [T::Native]>) -> ArrayRef {
    let slices: Vec<&[T::Native]> = rows.collect();
    let offsets = OffsetBuffer::from_lengths(slices.iter().map(|s| s.len()));
    Arc::new(LargeListArray::new(item(T::DATA_TYPE), offsets, primitives::<T>(&slices), None))
}

/// What is recorded layer by layer; null where nothing is.
fn layers<'a, T: ArrowPrimitiveType>(all: impl Iterator<Item = Option<&'a [Vec<T::Native>]>>) -> ArrayRef {
    let all: Vec<Option<&[Vec<T::Native>]>> = all.collect();
    let layers: Vec<&[T::Native]> = all.iter().flatten().flat_map(|of| of.iter().map(Vec::as_slice)).collect();
    let inner_offsets = OffsetBuffer::from_lengths(layers.iter().map(|l| l.len()));
    let inner = LargeListArray::new(item(T::DATA_TYPE), inner_offsets, primitives::<T>(&layers), None);
    let present = NullBuffer::from_iter(all.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(all.iter().map(|of| of.map_or(0, <[_]>::len)));
    Arc::new(LargeListArray::new(item(list_of(T::DATA_TYPE)), offsets, Arc::new(inner), Some(present)))
}

fn verdicts(rows: &[Row]) -> ArrayRef {
    let all: Vec<&(String, Verdict)> = rows.iter().flat_map(|r| &r.2.verdicts).collect();
    let of = |f: fn(&Verdict) -> &str| strings(all.iter().map(move |v| f(&v.1)));
    let number = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let columns = vec![
        strings(all.iter().map(|v| &v.0)),
        of(|v| &v.id),
        of(|v| status_name(v.status)),
        Arc::new(all.iter().map(|v| v.1.reward).collect::<Float64Array>()),
        of(|v| &v.reason),
        maps(&all, |v| &v.metrics, |values| number(values.copied().collect())),
        maps(&all, |v| &v.tags, |values| strings(values)),
    ];
    let structs = StructArray::new(verdict_fields(), columns, None);
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.2.verdicts.len()));
    Arc::new(LargeListArray::new(item(DataType::Struct(verdict_fields())), offsets, Arc::new(structs), None))
}

fn maps<'a, V: 'a>(
    all: &[&'a (String, Verdict)],
    of: fn(&'a Verdict) -> &'a BTreeMap<String, V>,
    values: impl FnOnce(&mut dyn Iterator<Item = &'a V>) -> ArrayRef,
) -> ArrayRef {
    let keys = strings(all.iter().flat_map(|v| of(&v.1).keys()));
    let values = values(&mut all.iter().flat_map(|v| of(&v.1).values()));
    let value_type = values.data_type().clone();
    let entries = StructArray::new(map_fields(value_type.clone()), vec![keys, values], None);
    let offsets = OffsetBuffer::from_lengths(all.iter().map(|v| of(&v.1).len()));
    Arc::new(MapArray::new(map_entries(value_type), offsets, entries, None, true))
}

pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

pub(super) fn mask_name(mask: Mask) -> &'static str {
    match mask {
        Mask::None => "none",
        Mask::VerifierError => "verifier_error",
        Mask::Undecided => "undecided",
        Mask::Overlong => "overlong",
    }
}

pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Fail => "fail",
        Status::Undecided => "undecided",
        Status::Error => "error",
    }
}
