//! The Arrow contract: scored groups as one record batch, one row a sample, and back without a bit lost.
//!
//! The columns are documented one by one in `docs/run-log.md`; [`schema`] is their definition. A group is the run of
//! rows with the same number in `group`, and its prompt is repeated on each of them, so that a row makes sense alone to
//! whoever queries the log.

mod decode;
mod encode;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::{ScoredGroup, ScoredSample};

pub(crate) use decode::Decoder;

/// The key of the schema's version in the metadata of batches and files.
pub const SCHEMA_KEY: &str = "temper.schema";

/// The version of the schema that this build writes, and the only one that it reads.
pub const SCHEMA_VERSION: &str = "2";

/// Why scored groups and a record batch cannot be turned into each other.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A sample breaks the contract of its own types, so a reader could not make sense of it.
    #[error("sample {sample} of prompt `{prompt}`: {problem}; this is a bug in whatever made the sample")]
    Inconsistent {
        /// The prompt's id.
        prompt: String,
        /// The sample's number.
        sample: u32,
        /// What does not fit what.
        problem: String,
    },
    /// A group without samples has no row to stand in.
    #[error("the group of prompt `{prompt}` has no samples; leave it out")]
    EmptyGroup {
        /// The prompt's id.
        prompt: String,
    },
    /// The batch has other columns than the schema.
    #[error(
        "column `{column}`: expected {expected}, found {found}; the batch is not of schema version {SCHEMA_VERSION}"
    )]
    Column {
        /// The column's name.
        column: String,
        /// Its type in the schema.
        expected: String,
        /// Its type in the batch.
        found: String,
    },
    /// A value that no version of Temper writes.
    #[error("row {row}, column `{column}`: {problem}; the data was damaged or not written by Temper")]
    Value {
        /// The row, from 1.
        row: usize,
        /// The column's name.
        column: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// Arrow refused to build the batch.
    #[error("cannot build the record batch: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// The schema of scored batches and of the run log's files, version [`SCHEMA_VERSION`].
///
/// Lists and strings have 64-bit offsets: recorded selections of one long sample pass 2^31 entries.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let metadata = [(SCHEMA_KEY.to_owned(), SCHEMA_VERSION.to_owned())];
        Arc::new(Schema::new(columns()).with_metadata(metadata))
    });
    SCHEMA.clone()
}

/// `groups` as one record batch of [`schema`], a row for each sample, in order.
///
/// # Errors
/// [`BatchError::EmptyGroup`] and [`BatchError::Inconsistent`] for groups that break their own contract.
pub fn scored_batch(groups: &[ScoredGroup]) -> Result<RecordBatch, BatchError> {
    encode::batch(groups, 0)
}

/// The inverse of [`scored_batch`]: the groups of `batch`, equal bit for bit to those that it was made of.
///
/// # Errors
/// [`BatchError::Column`] if the columns are not those of [`schema`] (order and metadata do not matter, further columns
/// are ignored), [`BatchError::Value`] and [`BatchError::Inconsistent`] if a value is not one that [`scored_batch`]
/// writes.
pub fn scored_groups(batch: &RecordBatch) -> Result<Vec<ScoredGroup>, BatchError> {
    let mut decoder = Decoder::default();
    decoder.push(batch)?;
    Ok(decoder.finish())
}

/// A batch of `groups` that are the `first`-th and following ones of a longer sequence.
pub(crate) fn scored_batch_from(groups: &[ScoredGroup], first: usize) -> Result<RecordBatch, BatchError> {
    encode::batch(groups, first)
}

fn columns() -> Vec<Field> {
    let text = DataType::LargeUtf8;
    vec![
        Field::new("group", DataType::UInt64, false),
        Field::new("group_version", DataType::UInt64, false),
        Field::new("prompt_id", text.clone(), false),
        Field::new("domain", text.clone(), false),
        Field::new("data_source", text.clone(), false),
        Field::new("messages", text.clone(), false),
        Field::new("ground_truth", text.clone(), false),
        Field::new("answer", text.clone(), true),
        Field::new("extra_info", text.clone(), false),
        Field::new("sample", DataType::UInt32, false),
        Field::new("tokens", list_of(DataType::UInt32), false),
        Field::new("authors", list_of(DataType::UInt8), false),
        Field::new("prompt_len", DataType::UInt64, false),
        Field::new("logprobs", list_of(DataType::Float32), false),
        Field::new("versions", list_of(DataType::UInt64), false),
        Field::new("kept_offsets", list_of(DataType::UInt32), false),
        Field::new("kept_ids", list_of(DataType::UInt32), false),
        Field::new("selection_top_k", DataType::UInt64, true),
        Field::new("selections", list_of(list_of(DataType::Int32)), true),
        Field::new("routing_top_k", DataType::UInt64, true),
        Field::new("routing", list_of(list_of(DataType::UInt16)), true),
        Field::new("finish", text.clone(), false),
        Field::new("text", text, false),
        Field::new("verdicts", list_of(DataType::Struct(verdict_fields())), false),
        Field::new("reward", DataType::Float64, true),
        Field::new("advantage", DataType::Float32, false),
        Field::new("mask", DataType::LargeUtf8, false),
    ]
}

fn verdict_fields() -> Fields {
    Fields::from(vec![
        Field::new("verifier", DataType::LargeUtf8, false),
        Field::new("id", DataType::LargeUtf8, false),
        Field::new("status", DataType::LargeUtf8, false),
        Field::new("reward", DataType::Float64, true),
        Field::new("reason", DataType::LargeUtf8, false),
        Field::new("metrics", map_to(DataType::Float64), false),
        Field::new("tags", map_to(DataType::LargeUtf8), false),
    ])
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, false))
}

fn list_of(data_type: DataType) -> DataType {
    DataType::LargeList(item(data_type))
}

fn map_fields(values: DataType) -> Fields {
    Fields::from(vec![Field::new("key", DataType::LargeUtf8, false), Field::new("value", values, false)])
}

fn map_entries(values: DataType) -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(map_fields(values)), false))
}

fn map_to(values: DataType) -> DataType {
    DataType::Map(map_entries(values), true)
}

/// Holds a sample against the contract that its types state in words. Both directions check it: what is written can be
/// read, and what is read can be trusted.
fn check(prompt_id: &str, sample: &ScoredSample) -> Result<(), BatchError> {
    let t = &sample.trajectory;
    let fail =
        |problem: String| Err(BatchError::Inconsistent { prompt: prompt_id.to_owned(), sample: t.sample, problem });
    if t.prompt_id != prompt_id {
        return fail(format!("its trajectory answers prompt `{}`", t.prompt_id));
    }
    if t.authors.len() != t.tokens.len() {
        return fail(format!("{} tokens but {} authors", t.tokens.len(), t.authors.len()));
    }
    if t.prompt_len > t.tokens.len() {
        return fail(format!("{} tokens but a prompt of {}", t.tokens.len(), t.prompt_len));
    }
    let completion = t.completion_len();
    if t.logprobs.len() != completion || t.versions.len() != completion {
        let (logprobs, versions) = (t.logprobs.len(), t.versions.len());
        return fail(format!(
            "{completion} completion tokens but {logprobs} log-probabilities and {versions} versions"
        ));
    }
    if let Some(problem) = kept_problem(&t.kept.offsets, t.kept.ids.len(), completion) {
        return fail(problem);
    }
    if let Some(s) = &t.selections {
        let entries = t.tokens.len().saturating_sub(1).saturating_mul(s.top_k);
        if let Some(layer) = s.layers.iter().position(|l| l.len() != entries) {
            return fail(format!("layer {layer} selects {} positions instead of {entries}", s.layers[layer].len()));
        }
    }
    if let Some(r) = &t.routing {
        let entries = t.tokens.len().saturating_sub(1).saturating_mul(r.top_k);
        if let Some(layer) = r.layers.iter().position(|l| l.len() != entries) {
            return fail(format!("layer {layer} chooses {} experts instead of {entries}", r.layers[layer].len()));
        }
    }
    Ok(())
}

fn kept_problem(offsets: &[u32], ids: usize, completion: usize) -> Option<String> {
    if offsets.is_empty() {
        return (ids > 0).then(|| format!("{ids} kept ids without offsets"));
    }
    if offsets.len() != completion + 1 {
        return Some(format!("{completion} completion tokens but {} offsets of kept sets", offsets.len()));
    }
    let rising = offsets[0] == 0 && offsets.windows(2).all(|w| w[0] <= w[1]);
    let ends = offsets.last().is_some_and(|&end| end as usize == ids);
    (!rising || !ends).then(|| format!("the offsets of kept sets do not rise from 0 to {ids}"))
}
