//! A source of prompts: a seeded generator or a file.

use std::collections::BTreeSet;

use data::Task;
use data::load::{BadRows, Columns, Format};
use serde::{Deserialize, Serialize};
use toml::Table;

/// One entry of `train` or `eval` in `[domains.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Typed", into = "Typed")]
pub enum Source {
    /// Prompts made by a seeded generator.
    Generated {
        /// The generator with its settings, checked.
        task: Task,
        /// Prompts to make.
        n: usize,
        /// The generator's own seed, apart from the run's: the same prompts in every run.
        seed: u64,
    },
    /// Prompts read from a file.
    File {
        /// The file, as seen from the working directory.
        path: String,
        /// What its columns are called.
        format: Format,
        /// What stands around a prompt that is a string, `{}` for the prompt; empty: a turn of the user.
        template: String,
        /// Which column holds what.
        columns: Columns,
        /// Rows to read; 0: all.
        limit: usize,
        /// What becomes of a row that cannot be read.
        bad_rows: BadRows,
        /// Rows that the start of the run found to be of no use: no setting, but what `data.json` of the run keeps.
        refused: BTreeSet<usize>,
    },
}

/// The generators there are; each makes prompts of a [`Task`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Generator {
    Arithmetic,
    Functions,
    Retrieval,
}

/// Prompts that a generator makes where the recipe does not say.
const DEFAULT_N: usize = 1000;
/// A generator's seed where the recipe does not say.
const DEFAULT_SEED: u64 = 1;

/// The table as it is typed.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Typed {
    #[serde(skip_serializing_if = "Option::is_none")]
    generator: Option<Generator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<BadRows>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Columns>,
}

impl Typed {
    /// The keys given that only the other kind of source has.
    fn misplaced(&self) -> Vec<&'static str> {
        let of_files = [
            ("format", self.format.is_some()),
            ("template", self.template.is_some()),
            ("columns", self.columns.is_some()),
            ("limit", self.limit.is_some()),
            ("bad_rows", self.bad_rows.is_some()),
        ];
        let of_generators =
            [("n", self.n.is_some()), ("seed", self.seed.is_some()), ("settings", self.settings.is_some())];
        let other: &[(&'static str, bool)] = if self.generator.is_some() { &of_files } else { &of_generators };
        other.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect()
    }
}

impl TryFrom<Typed> for Source {
    type Error = String;

    fn try_from(typed: Typed) -> Result<Self, String> {
        let misplaced = typed.misplaced();
        match (typed.generator, typed.path) {
            (Some(_), Some(_)) | (None, None) => Err("a source has either `generator` or `path`, and not both".into()),
            (Some(_), None) if !misplaced.is_empty() => {
                Err(format!("`{}` belongs to a source with `path`, not to a generator", misplaced.join("`, `")))
            }
            (None, Some(_)) if !misplaced.is_empty() => {
                Err(format!("`{}` belongs to a source with `generator`, not to a file", misplaced.join("`, `")))
            }
            (Some(generator), None) => Ok(Self::Generated {
                task: task(generator, typed.settings.unwrap_or_default())?,
                n: typed.n.unwrap_or(DEFAULT_N),
                seed: typed.seed.unwrap_or(DEFAULT_SEED),
            }),
            (None, Some(path)) => Ok(Self::File {
                format: checked_format(&path, typed.format.unwrap_or_default())?,
                template: checked_template(typed.template.unwrap_or_default())?,
                path,
                columns: typed.columns.unwrap_or_default(),
                limit: typed.limit.unwrap_or(0),
                bad_rows: typed.bad_rows.unwrap_or_default(),
                refused: BTreeSet::new(),
            }),
        }
    }
}

/// The format, if with the file's ending it says how the file is read.
fn checked_format(path: &str, format: Format) -> Result<Format, String> {
    let is_known = path.rsplit_once('.').is_some_and(|(_, e)| matches!(e, "parquet" | "jsonl" | "ndjson" | "txt"));
    if is_known || format != Format::Auto {
        return Ok(format);
    }
    Err(format!(
        "`{path}` ends neither in .parquet nor in .jsonl nor in .txt: say what it is, such as `format = \"verl\"` (Parquet), \
         `format = \"jsonl\"` or `format = \"text\"`"
    ))
}

fn checked_template(template: String) -> Result<String, String> {
    if template.is_empty() || template.matches("{}").count() == 1 {
        return Ok(template);
    }
    Err(format!("`template` must have `{{}}` once, where the prompt stands; it is {template:?}"))
}

/// The generator with its settings, or what is wrong with them.
fn task(generator: Generator, settings: Table) -> Result<Task, String> {
    let task = match generator {
        Generator::Arithmetic => settings.try_into().map(Task::Arithmetic),
        Generator::Functions => settings.try_into().map(Task::Functions),
        Generator::Retrieval => settings.try_into().map(Task::Retrieval),
    };
    let task = task.map_err(|error| error.message().to_owned())?;
    task.validate().map_err(|error| error.to_string())?;
    Ok(task)
}

/// What [`task`] reads.
fn settings(task: &Task) -> (Generator, Table) {
    let (generator, settings) = match task {
        Task::Arithmetic(settings) => (Generator::Arithmetic, Table::try_from(settings)),
        Task::Functions(settings) => (Generator::Functions, Table::try_from(settings)),
        Task::Retrieval(settings) => (Generator::Retrieval, Table::try_from(settings)),
    };
    (generator, settings.expect("a task's settings were read from TOML"))
}

impl From<Source> for Typed {
    fn from(source: Source) -> Self {
        match source {
            Source::Generated { task, n, seed } => {
                let (generator, settings) = settings(&task);
                Self {
                    generator: Some(generator),
                    n: Some(n),
                    seed: Some(seed),
                    settings: Some(settings),
                    ..Self::default()
                }
            }
            Source::File { path, format, template, columns, limit, bad_rows, refused: _ } => Self {
                path: Some(path),
                format: Some(format),
                template: Some(template),
                columns: Some(columns),
                limit: Some(limit),
                bad_rows: Some(bad_rows),
                ..Self::default()
            },
        }
    }
}
