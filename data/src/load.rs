//! Prompts from files: verl-schema Parquet and JSONL, by one set of rules.
//!
//! Each row of either format becomes a JSON object; from there on the two are read alike. Named columns become the
//! fields of a [`Prompt`], and every other column goes into its `extra_info`, so that nothing of the source is lost.

mod jsonl;
mod row;
mod verl;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Prompt;

/// Which columns hold the fields of a prompt; `None` for the name that the format has for it. A dot goes into a struct.
///
/// A column that is named here must be there in every row; one with its format's name may be missing where the field
/// may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// `prompt`: a string (one turn of the user), or a list of messages with `role` and `content`, or such a list as a
    /// JSON string.
    pub prompt: Option<String>,
    /// What the verifier compares with, of any type: `reward_model.ground_truth` in Parquet, `ground_truth` in JSONL.
    pub ground_truth: Option<String>,
    /// `answer`: a reference answer to imitate.
    pub answer: Option<String>,
    /// `id`: a string or number, unique within the file. A row without one is called `{file stem}:{row}`.
    pub id: Option<String>,
    /// The domain that picks verifiers, KL strength and teacher: `ability` in Parquet, `domain` in JSONL.
    pub domain: Option<String>,
}

/// The formats of prompt files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet with verl's columns: `data_source`, `prompt`, `ability`, `reward_model`, `extra_info`.
    Verl,
    /// One JSON object a line.
    Jsonl,
}

/// What to do with a row that is no prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRows {
    /// The first one is an error.
    #[default]
    Fatal,
    /// They are left out and reported in [`Loaded::skipped`].
    Skip,
}

/// How to read a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The format; `None` to tell it by the extension: `.parquet`, `.jsonl` or `.ndjson`.
    pub format: Option<Format>,
    /// The columns.
    pub columns: Columns,
    /// The domain of all rows; their own column for it then stays in `extra_info`. `None` for that of each row.
    pub domain: Option<String>,
    /// How many rows to read at most, bad ones included; `None` for all.
    pub limit: Option<usize>,
    /// What to do with a row that is no prompt.
    pub bad_rows: BadRows,
}

/// A row that is no prompt, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The row from 1; for JSONL the line.
    pub row: usize,
    /// The field or column; empty when the row as a whole cannot be read.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "row {}: {}", self.row, self.problem),
            field => write!(f, "row {}, field `{field}`: {}", self.row, self.problem),
        }
    }
}

/// What a file held.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The prompts, in the order of the file.
    pub prompts: Vec<Prompt>,
    /// The rows that were left out; empty under [`BadRows::Fatal`].
    pub skipped: Vec<BadRow>,
}

/// Why a file gave no prompts.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name of the file does not say which format it has.
    #[error(
        "{}: unknown kind of file; prompts are read from `.parquet` (verl's schema), `.jsonl` and `.ndjson`; \
         rename it, or name its format",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file is no readable Parquet.
    #[error(
        "{} is not readable as Parquet: {source}; \
         it may be cut, or compressed by another codec than snappy or zstd",
        path.display()
    )]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet reader found.
        source: ParquetError,
    },
    /// The file has no rows.
    #[error("{} is empty: it has no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A row is no prompt, under [`BadRows::Fatal`].
    #[error("{}, {bad}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, the field and the problem.
        bad: BadRow,
    },
    /// Every row was left out.
    #[error("{}: none of its {rows} rows is a prompt; the first: {first}", path.display())]
    NoGoodRow {
        /// The file.
        path: PathBuf,
        /// How many rows there are.
        rows: usize,
        /// The first of them.
        first: BadRow,
    },
}

/// A row as an object, or why it is none.
type RawRow = Result<Map<String, Value>, row::Problem>;

/// Reads the prompts of `path`.
///
/// # Errors
/// [`LoadError`]; a bad row is one only under [`BadRows::Fatal`], or when there is no good one.
pub fn load_prompts(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let limit = options.limit.unwrap_or(usize::MAX);
    let mut collector = Collector::new(path, options)?;
    match collector.reader.format {
        Format::Verl => verl::rows(path)?.take(limit).try_for_each(|row| collector.take(row?)),
        Format::Jsonl => jsonl::rows(path)?.take(limit).try_for_each(|row| collector.take(row?)),
    }?;
    collector.finish()
}

fn format_of(path: &Path) -> Result<Format, LoadError> {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("parquet") => Ok(Format::Verl),
        Some("jsonl" | "ndjson") => Ok(Format::Jsonl),
        _ => Err(LoadError::Format { path: path.to_owned() }),
    }
}

/// Turns rows into prompts, keeps ids unique and applies the policy for bad rows.
struct Collector<'a> {
    path: &'a Path,
    stem: String,
    reader: row::Reader<'a>,
    bad_rows: BadRows,
    row_of_id: HashMap<String, usize>,
    loaded: Loaded,
}

impl<'a> Collector<'a> {
    fn new(path: &'a Path, options: &'a LoadOptions) -> Result<Self, LoadError> {
        let format = options.format.map_or_else(|| format_of(path), Ok)?;
        Ok(Self {
            path,
            stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            reader: row::Reader { format, columns: &options.columns, domain: options.domain.as_deref() },
            bad_rows: options.bad_rows,
            row_of_id: HashMap::new(),
            loaded: Loaded { prompts: Vec::new(), skipped: Vec::new() },
        })
    }

    fn take(&mut self, (row, raw): (usize, RawRow)) -> Result<(), LoadError> {
        let prompt = raw.and_then(|object| self.reader.prompt(object, || format!("{}:{row}", self.stem)));
        match prompt.and_then(|p| self.unique(row, p)) {
            Ok(prompt) => self.loaded.prompts.push(prompt),
            Err(row::Problem { field, problem }) => {
                let bad = BadRow { row, field, problem };
                if self.bad_rows == BadRows::Fatal {
                    return Err(LoadError::Row { path: self.path.to_owned(), bad });
                }
                self.loaded.skipped.push(bad);
            }
        }
        Ok(())
    }

    /// The id keys the random numbers of sampling (INV-4): two prompts of one id would get the same ones.
    fn unique(&mut self, row: usize, prompt: Prompt) -> Result<Prompt, row::Problem> {
        if let Some(first) = self.row_of_id.get(&prompt.id) {
            let problem = format!("`{}` is already the id of row {first}; ids must be unique within a file", prompt.id);
            return Err(row::Problem::new(self.reader.id_column(), problem));
        }
        self.row_of_id.insert(prompt.id.clone(), row);
        Ok(prompt)
    }

    fn finish(self) -> Result<Loaded, LoadError> {
        let path = self.path.to_owned();
        match (self.loaded.prompts.is_empty(), self.loaded.skipped.first()) {
            (false, _) => Ok(self.loaded),
            (true, None) => Err(LoadError::Empty { path }),
            (true, Some(first)) => {
                Err(LoadError::NoGoodRow { path, rows: self.loaded.skipped.len(), first: first.clone() })
            }
        }
    }
}
