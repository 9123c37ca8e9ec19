//! Prompts from files: Parquet, JSONL and plain text, in the formats of verl, TRL, OpenRLHF and prime-rl.
//!
//! Each row of any file becomes a JSON object; from there on all are read alike. Columns become the fields of a [`Prompt`],
//! by the names that the format has for them or that the user gives, and every other column goes into its `extra_info`, so
//! that nothing of the source is lost. A file is never held whole: see [`PromptFile`].

mod columnar;
mod file;
mod lines;
mod row;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use file::PromptFile;

use crate::Prompt;

/// Which columns hold the fields of a prompt; `None` for the name that the format has for it. A dot goes into a struct.
///
/// A column that is named here must be there in every row; one with its format's name may be missing where the field
/// may be. One column may serve several fields. To name one for a field that the format has no use for is an error.
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
    /// `messages`: a whole conversation (TRL, prime-rl).
    pub messages: Option<String>,
    /// `completion`: what follows the prompt, a string or a list of messages (TRL, prime-rl).
    pub completion: Option<String>,
}

/// The formats of prompt files: what their columns are called. What a file is made of (Parquet, lines of JSON, text) is told by
/// its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Told by the columns of the first row; where bad rows are skipped, of the first that is a prompt.
    #[default]
    Auto,
    /// verl's columns: `data_source`, `prompt`, `ability`, `reward_model`, `extra_info`.
    Verl,
    /// Temper's own: `prompt`, `ground_truth`, `answer`, `id`, `domain`.
    Jsonl,
    /// TRL's: `messages`, or `prompt` and `completion`, or `prompt`. Strings are plain text, which no template touches.
    Trl,
    /// OpenRLHF's: `input` with `label` or `output`.
    #[serde(rename = "openrlhf")]
    OpenRlhf,
    /// prime-rl's: `messages`, or `prompt` and `completion`. A prompt that is a string is a turn of the user.
    PrimeRl,
    /// Plain text: `text`, or what stands between blank lines.
    Text,
}

impl Format {
    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Verl => "verl",
            Self::Jsonl => "jsonl",
            Self::Trl => "trl",
            Self::OpenRlhf => "openrlhf",
            Self::PrimeRl => "prime-rl",
            Self::Text => "text",
        }
    }
}

/// What to do with a row that is no prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRows {
    /// The first one is an error.
    #[default]
    #[serde(alias = "fail")]
    Fatal,
    /// They are left out and reported in [`Loaded::skipped`].
    Skip,
}

/// How to read a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The format.
    pub format: Format,
    /// The columns.
    pub columns: Columns,
    /// The domain of all rows; their own column for it then stays in `extra_info`. `None` for that of each row.
    pub domain: Option<String>,
    /// How many rows to read at most, bad ones included; `None` for all.
    pub limit: Option<usize>,
    /// What to do with a row that is no prompt.
    pub bad_rows: BadRows,
    /// What stands around a prompt that is a string, `{}` for the prompt: plain text, which no chat template touches.
    pub template: Option<String>,
    /// Rows, by their numbers, that an earlier reading left out ([`PromptFile::leave_out`]), and that are left out again.
    pub refused: BTreeSet<usize>,
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
        "{}: unknown kind of file; prompts are read from `.parquet`, `.jsonl`, `.ndjson` and `.txt`; \
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
    /// Two columns have one name.
    #[error("{}: two of its columns are called `{column}`; rename or drop one", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// A column is named for a field that the file's format has no use for.
    #[error("{}: `columns.{field}` has no effect on files of the format `{}`: {why}", path.display(), format.name())]
    Column {
        /// The file.
        path: PathBuf,
        /// The format, found or named.
        format: Format,
        /// The field.
        field: &'static str,
        /// Why it has none.
        why: &'static str,
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
    /// The file is not what it was when it was opened.
    #[error("{} has changed since it was opened; leave the files of a run as they are while it runs", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Every row was left out.
    #[error("{}: none of its {rows} rows is a prompt{}; the first: {first}", path.display(), read_as(*format))]
    NoGoodRow {
        /// The file.
        path: PathBuf,
        /// How many rows there are.
        rows: usize,
        /// What they were read as: the format that was named, or the first row's by its columns; [`Format::Auto`] where no row has any.
        format: Format,
        /// The first of them.
        first: BadRow,
    },
}

fn read_as(format: Format) -> String {
    if format == Format::Auto { String::new() } else { format!(" (read as `{}`)", format.name()) }
}

/// A row as an object, or why it is none.
type RawRow = Result<Map<String, Value>, row::Problem>;

/// Reads the prompts of `path`, all at once.
///
/// # Errors
/// [`LoadError`]; a bad row is one only under [`BadRows::Fatal`], or when there is no good one.
pub fn load_prompts(path: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let file = PromptFile::open(path, options)?;
    let mut prompts = Vec::new();
    file.for_each(|prompt| {
        prompts.push(prompt.clone());
        Ok::<(), LoadError>(())
    })?;
    Ok(Loaded { prompts, skipped: file.skipped().to_vec() })
}
