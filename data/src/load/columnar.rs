//! Parquet, one row group at a time: any Arrow columns, each value turned into JSON by its type.

use std::collections::HashSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, downcast_integer_array};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde_json::{Map, Number, Value};

use super::row::Problem;
use super::{LoadError, RawRow};

/// Rows and uncompressed bytes of each row group.
pub(super) fn groups(path: &Path) -> Result<Vec<(usize, u64)>, LoadError> {
    let read = || {
        let builder = open(path)?;
        let groups = builder.metadata().row_groups().iter();
        let size = |rows: i64, bytes: i64| (usize::try_from(rows).unwrap_or(0), u64::try_from(bytes).unwrap_or(0));
        Ok(groups.map(|group| size(group.num_rows(), group.total_byte_size())).collect())
    };
    guarded(path, read)
}

/// Hands each row of a row group to `take`, with its number within the group from 0.
pub(super) fn rows(
    path: &Path,
    group: usize,
    mut take: impl FnMut(usize, RawRow) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut batches = guarded(path, || {
        let reader = open(path)?.with_row_groups(vec![group]).build();
        reader.map_err(|e| unreadable(path, e))
    })?;
    let mut number = 0;
    while let Some(rows) = guarded(path, || batches.next().map(|batch| rows_of(path, batch)).transpose())? {
        for row in rows {
            take(number, row)?;
            number += 1;
        }
    }
    Ok(())
}

fn rows_of(path: &Path, batch: Result<RecordBatch, ArrowError>) -> Result<Vec<RawRow>, LoadError> {
    let batch = batch.map_err(|e| unreadable(path, e.into()))?;
    Ok((0..batch.num_rows()).map(|i| row(&batch, i)).collect())
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, LoadError> {
    let file = File::open(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    if file.metadata().is_ok_and(|m| m.len() == 0) {
        return Err(LoadError::Empty { path: path.to_owned() });
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(path, e))?;
    let mut names = HashSet::new();
    match builder.schema().fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(builder),
        Some(twice) => Err(LoadError::Twice { path: path.to_owned(), column: twice.name().clone() }),
    }
}

fn unreadable(path: &Path, source: ParquetError) -> LoadError {
    LoadError::Parquet { path: path.to_owned(), source }
}

/// Damaged files can make the reader panic, which is no more than another way to say that they are damaged.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(unreadable(path, ParquetError::General("its contents contradict each other".into()))))
}

fn row(batch: &RecordBatch, i: usize) -> RawRow {
    let schema = batch.schema_ref();
    object(schema.fields().iter().map(|f| f.name().as_str()).zip(batch.columns()), i)
}

fn object<'a>(columns: impl Iterator<Item = (&'a str, &'a ArrayRef)>, i: usize) -> Result<Map<String, Value>, Problem> {
    let in_column = |name: &str, p: Problem| {
        let field = if p.field.is_empty() { name.to_owned() } else { format!("{name}.{}", p.field) };
        Problem { field, ..p }
    };
    columns.map(|(name, column)| Ok((name.to_owned(), value(column, i).map_err(|p| in_column(name, p))?))).collect()
}

/// The value of `array` at `i` as JSON: structs and maps as objects, lists as lists, text and UTF-8 bytes as strings,
/// dates, times and decimals as strings. A float that is not a number is null, as pandas means it.
fn value(array: &dyn Array, i: usize) -> Result<Value, Problem> {
    if array.is_null(i) {
        return Ok(Value::Null);
    }
    if let Some(text) = text(array, i)? {
        return Ok(Value::String(text));
    }
    downcast_integer_array!(
        array => Ok(Value::from(array.value(i))),
        DataType::Null => Ok(Value::Null),
        DataType::Boolean => Ok(Value::Bool(array.as_boolean().value(i))),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(i).to_f64()),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(i))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(i)),
        DataType::List(_) => list(&array.as_list::<i32>().value(i)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(i)),
        DataType::FixedSizeList(_, _) => list(&array.as_fixed_size_list().value(i)),
        DataType::Struct(_) => {
            let fields = array.as_struct();
            Ok(Value::Object(object(fields.column_names().into_iter().zip(fields.columns()), i)?))
        }
        DataType::Map(_, _) => map(&array.as_map().value(i)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            value(dictionary.values(), dictionary.normalized_keys()[i])
        }
        other => Err(Problem::new("", format!("Arrow type {other} has no JSON form; drop or convert the column")))
    )
}

/// Text, and what is best written as text. `None` for a type that is neither.
fn text(array: &dyn Array, i: usize) -> Result<Option<String>, Problem> {
    let from_bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(Problem::new("", "bytes that are not UTF-8 text; drop or convert the column")),
    };
    match array.data_type() {
        DataType::Utf8 => Ok(Some(array.as_string::<i32>().value(i).to_owned())),
        DataType::LargeUtf8 => Ok(Some(array.as_string::<i64>().value(i).to_owned())),
        DataType::Utf8View => Ok(Some(array.as_string_view().value(i).to_owned())),
        DataType::Binary => from_bytes(array.as_binary::<i32>().value(i)),
        DataType::LargeBinary => from_bytes(array.as_binary::<i64>().value(i)),
        DataType::BinaryView => from_bytes(array.as_binary_view().value(i)),
        d if d.is_temporal() || matches!(d, DataType::Decimal128(_, _) | DataType::Decimal256(_, _)) => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default());
            let shown = formatter.and_then(|f| f.value(i).try_to_string());
            shown.map(Some).map_err(|e| Problem::new("", e.to_string()))
        }
        _ => Ok(None),
    }
}

fn float(number: f64) -> Result<Value, Problem> {
    if number.is_nan() {
        return Ok(Value::Null);
    }
    let number = Number::from_f64(number).ok_or_else(|| Problem::new("", format!("{number} has no JSON form")))?;
    Ok(Value::Number(number))
}

fn list(items: &ArrayRef) -> Result<Value, Problem> {
    let item = |i: usize| {
        value(items, i).map_err(|p| Problem {
            field: format!("[{i}]{}{}", if p.field.is_empty() { "" } else { "." }, p.field),
            ..p
        })
    };
    (0..items.len()).map(item).collect::<Result<_, _>>().map(Value::Array)
}

fn map(entries: &arrow::array::StructArray) -> Result<Value, Problem> {
    let entry = |i: usize| {
        let key = match value(entries.column(0), i)? {
            Value::String(key) => key,
            other => other.to_string(),
        };
        Ok((key, value(entries.column(1), i)?))
    };
    (0..entries.len()).map(entry).collect::<Result<_, _>>().map(Value::Object)
}
