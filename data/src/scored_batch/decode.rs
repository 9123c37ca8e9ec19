//! A record batch to scored groups. Every type and value is checked: the batch may come from a file that anyone
//! touched.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, LargeListArray, LargeStringArray, MapArray, PrimitiveArray, StructArray,
};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use serde::de::DeserializeOwned;

use super::encode::{finish_name, mask_name, status_name};
use super::{BatchError, check, schema};
use crate::{
    Author, Finish, KeptSets, Mask, Prompt, Routing, ScoredGroup, ScoredSample, Selections, Status, Trajectory, Verdict,
};

/// Collects groups over the batches of one file; a group may go on from one batch to the next.
#[derive(Default)]
pub(crate) struct Decoder {
    groups: Vec<ScoredGroup>,
    rows: usize,
}

impl Decoder {
    /// Appends the samples of `batch`.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        let columns = Columns::of(batch, self.rows)?;
        for i in 0..batch.num_rows() {
            let number = columns.number::<UInt64Type>("group", i);
            if number == self.groups.len() as u64 {
                let version = columns.number::<UInt64Type>("group_version", i);
                self.groups.push(ScoredGroup { prompt: columns.prompt(i)?, version, samples: Vec::new() });
            }
            let current = self.groups.len() as u64;
            let Some(group) = self.groups.last_mut().filter(|_| number + 1 == current) else {
                return Err(columns.bad(
                    i,
                    "group",
                    format!("group {number} after {current} groups; they are numbered from 0, in order"),
                ));
            };
            if columns.text("prompt_id", i) != group.prompt.id {
                return Err(columns.bad(i, "prompt_id", format!("differs within group {number}")));
            }
            let sample = columns.sample(i)?;
            check(&group.prompt.id, &sample)?;
            group.samples.push(sample);
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// The groups.
    pub(crate) fn finish(self) -> Vec<ScoredGroup> {
        self.groups
    }
}

/// How many entries a row has, and the entries of all rows by layer.
type Recorded<T> = (usize, Vec<Vec<T>>);

/// The columns of a batch that was found to have every column of the schema, in its type and without unexpected nulls.
struct Columns<'a> {
    batch: &'a RecordBatch,
    rows_before: usize,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch, rows_before: usize) -> Result<Self, BatchError> {
        for field in schema().fields() {
            let fail = |found: String| {
                Err(BatchError::Column { column: field.name().clone(), expected: field.data_type().to_string(), found })
            };
            match batch.column_by_name(field.name()) {
                None => return fail("no such column".to_owned()),
                Some(c) if c.data_type() != field.data_type() => return fail(c.data_type().to_string()),
                Some(c) if !field.is_nullable() && c.null_count() > 0 => return fail("nulls".to_owned()),
                Some(_) => {}
            }
        }
        Ok(Self { batch, rows_before })
    }

    fn bad(&self, i: usize, column: &'static str, problem: impl Into<String>) -> BatchError {
        BatchError::Value { row: self.rows_before + i + 1, column, problem: problem.into() }
    }

    fn column(&self, name: &str) -> &'a dyn Array {
        self.batch.column_by_name(name).expect("Columns::of found every column of the schema")
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str, i: usize) -> T::Native {
        self.column(name).as_primitive::<T>().value(i)
    }

    fn optional<T: ArrowPrimitiveType>(&self, name: &str, i: usize) -> Option<T::Native> {
        let column = self.column(name).as_primitive::<T>();
        column.is_valid(i).then(|| column.value(i))
    }

    fn text(&self, name: &str, i: usize) -> &'a str {
        self.column(name).as_string::<i64>().value(i)
    }

    fn list<T: ArrowPrimitiveType>(&self, name: &str, i: usize) -> Vec<T::Native> {
        values::<T>(self.column(name).as_list::<i64>(), i)
    }

    fn size(&self, name: &'static str, i: usize, value: u64) -> Result<usize, BatchError> {
        usize::try_from(value).map_err(|_| self.bad(i, name, format!("{value} is more than this machine can address")))
    }

    fn json<T: DeserializeOwned>(&self, name: &'static str, i: usize) -> Result<T, BatchError> {
        serde_json::from_str(self.text(name, i)).map_err(|e| self.bad(i, name, format!("not the expected JSON: {e}")))
    }

    fn one_of<T: Copy>(
        &self,
        name: &'static str,
        i: usize,
        text: &str,
        all: &[T],
        as_name: fn(T) -> &'static str,
    ) -> Result<T, BatchError> {
        let found = all.iter().copied().find(|&t| as_name(t) == text);
        found.ok_or_else(|| self.bad(i, name, format!("unknown value `{text}`")))
    }

    fn prompt(&self, i: usize) -> Result<Prompt, BatchError> {
        let answer = self.column("answer").as_string::<i64>();
        Ok(Prompt {
            id: self.text("prompt_id", i).to_owned(),
            domain: self.text("domain", i).to_owned(),
            data_source: self.text("data_source", i).to_owned(),
            messages: self.json("messages", i)?,
            ground_truth: self.json("ground_truth", i)?,
            answer: answer.is_valid(i).then(|| answer.value(i).to_owned()),
            extra_info: self.json("extra_info", i)?,
        })
    }

    fn sample(&self, i: usize) -> Result<ScoredSample, BatchError> {
        let masks = [Mask::None, Mask::VerifierError, Mask::Undecided, Mask::Overlong];
        Ok(ScoredSample {
            trajectory: self.trajectory(i)?,
            text: self.text("text", i).to_owned(),
            verdicts: self.verdicts(i)?,
            reward: self.optional::<Float64Type>("reward", i),
            advantage: self.number::<Float32Type>("advantage", i),
            mask: self.one_of("mask", i, self.text("mask", i), &masks, mask_name)?,
        })
    }

    fn trajectory(&self, i: usize) -> Result<Trajectory, BatchError> {
        let authors = self.list::<UInt8Type>("authors", i).into_iter().map(|a| self.author(i, a));
        let finishes = [Finish::Stop, Finish::Length];
        Ok(Trajectory {
            prompt_id: self.text("prompt_id", i).to_owned(),
            sample: self.number::<UInt32Type>("sample", i),
            tokens: self.list::<UInt32Type>("tokens", i),
            authors: authors.collect::<Result<_, _>>()?,
            prompt_len: self.size("prompt_len", i, self.number::<UInt64Type>("prompt_len", i))?,
            logprobs: self.list::<Float32Type>("logprobs", i),
            versions: self.list::<UInt64Type>("versions", i),
            kept: KeptSets {
                offsets: self.list::<UInt32Type>("kept_offsets", i),
                ids: self.list::<UInt32Type>("kept_ids", i),
            },
            selections: self
                .layers::<Int32Type>("selection_top_k", "selections", i)?
                .map(|(top_k, layers)| Selections { top_k, layers }),
            routing: self
                .layers::<UInt16Type>("routing_top_k", "routing", i)?
                .map(|(top_k, layers)| Routing { top_k, layers }),
            finish: self.one_of("finish", i, self.text("finish", i), &finishes, finish_name)?,
        })
    }

    fn author(&self, i: usize, code: u8) -> Result<Author, BatchError> {
        let all = [Author::Prompt, Author::Policy, Author::Tool];
        let found = all.into_iter().find(|&a| a as u8 == code);
        found.ok_or_else(|| self.bad(i, "authors", format!("unknown author {code}")))
    }

    /// How many entries a row has, and what was recorded layer by layer.
    fn layers<T: ArrowPrimitiveType>(
        &self,
        top_k: &'static str,
        name: &'static str,
        i: usize,
    ) -> Result<Option<Recorded<T::Native>>, BatchError> {
        let lists = self.column(name).as_list::<i64>();
        match (self.optional::<UInt64Type>(top_k, i), lists.is_valid(i)) {
            (None, false) => Ok(None),
            (Some(k), true) => {
                let inner = lists.values().as_list::<i64>();
                let layers = range(lists, i).map(|layer| values::<T>(inner, layer)).collect();
                Ok(Some((self.size(top_k, i, k)?, layers)))
            }
            _ => Err(self.bad(i, name, format!("present without `{top_k}`, or the other way round"))),
        }
    }

    fn verdicts(&self, i: usize) -> Result<Vec<(String, Verdict)>, BatchError> {
        let lists = self.column("verdicts").as_list::<i64>();
        let fields = lists.values().as_struct();
        range(lists, i).map(|k| self.verdict(i, fields, k)).collect()
    }

    fn verdict(&self, i: usize, fields: &StructArray, k: usize) -> Result<(String, Verdict), BatchError> {
        let column = |name: &str| fields.column_by_name(name).expect("the column's type is that of the schema");
        let text = |name: &str| column(name).as_string::<i64>().value(k).to_owned();
        let reward = column("reward").as_primitive::<Float64Type>();
        let statuses = [Status::Pass, Status::Fail, Status::Undecided, Status::Error];
        let verdict = Verdict {
            id: text("id"),
            status: self.one_of("verdicts", i, &text("status"), &statuses, status_name)?,
            reward: reward.is_valid(k).then(|| reward.value(k)),
            reason: text("reason"),
            metrics: entries(column("metrics").as_map(), k, |values, j| values.as_primitive::<Float64Type>().value(j)),
            tags: entries(column("tags").as_map(), k, |values, j| string_at(values.as_string::<i64>(), j)),
        };
        Ok((text("verifier"), verdict))
    }
}

fn string_at(array: &LargeStringArray, i: usize) -> String {
    array.value(i).to_owned()
}

fn range(lists: &LargeListArray, i: usize) -> Range<usize> {
    let offsets = lists.value_offsets();
    offsets[i] as usize..offsets[i + 1] as usize
}

fn values<T: ArrowPrimitiveType>(lists: &LargeListArray, i: usize) -> Vec<T::Native> {
    let all: &PrimitiveArray<T> = lists.values().as_primitive::<T>();
    all.values()[range(lists, i)].to_vec()
}

fn entries<V>(maps: &MapArray, i: usize, value: impl Fn(&dyn Array, usize) -> V) -> BTreeMap<String, V> {
    let offsets = maps.value_offsets();
    let keys = maps.keys().as_string::<i64>();
    let values = maps.values();
    (offsets[i] as usize..offsets[i + 1] as usize).map(|j| (string_at(keys, j), value(values.as_ref(), j))).collect()
}
