//! The run log: every group that the learner may see, kept before it sees it (INV-6).
//!
//! Append-only: one Parquet file for each (stage, step), `STAGE-NNNNNN.parquet`, whole or absent, never changed. The
//! rows of a file stand in the order in which the learner consumes the groups, so that a resumed run replays them. The
//! columns are described in `docs/run-log.md`.

mod checksums;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::ScoredGroup;
use crate::atomic::{WriteError, write_atomic};
use crate::scored_batch::{BatchError, Decoder, SCHEMA_KEY, SCHEMA_VERSION, schema, scored_batch_from};

const STAGE_KEY: &str = "temper.stage";
const STEP_KEY: &str = "temper.step";
const CHECKSUMS_KEY: &str = "temper.crc32";
const EXTENSION: &str = "parquet";

/// Zstandard's own default: a higher level costs seconds a step and saves a few per cent.
const ZSTD_LEVEL: i32 = 3;

/// A row group is buffered in memory until it is this large, and a reader decodes it piece by piece.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Rows that are decoded at once. Rows are whole trajectories, so a few are enough to amortise a batch.
const READ_ROWS: usize = 64;

/// Why the run log could not be written or read. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum RunLogError {
    /// The file could not be written; the disk may be full. Nothing half-written stays.
    #[error("run log: {0}")]
    Write(#[from] WriteError),
    /// The log is append-only, and this step is in it.
    #[error(
        "{} is already in the run log, which is append-only; \
         read the step instead of sampling it again",
        path.display()
    )]
    Exists {
        /// The step's file.
        path: PathBuf,
    },
    /// A stage's name becomes a file's name, and this one cannot.
    #[error(
        "`{stage}` cannot name a stage in the run log: use letters, digits, `-`, `_` and `.`, \
         and begin with a letter or digit"
    )]
    StageName {
        /// The name as given.
        stage: String,
    },
    /// The groups cannot be rows, or the rows of a file cannot be groups.
    #[error("{}: {source}", path.display())]
    Groups {
        /// The step's file.
        path: PathBuf,
        /// Which sample, row or column, and why.
        source: BatchError,
    },
    /// This step is not in the log.
    #[error(
        "{} is not in the run log: \
         the step was not finished, or the folder is not that of the run",
        path.display()
    )]
    Missing {
        /// The step's file.
        path: PathBuf,
    },
    /// The file is cut or damaged. Temper itself never leaves such a file.
    #[error(
        "{} is torn: {source}; it was cut or changed after it was written; \
         restore it from a copy",
        path.display()
    )]
    Torn {
        /// The step's file.
        path: PathBuf,
        /// What the Parquet reader found.
        source: ParquetError,
    },
    /// Pages of the file are not what was written.
    #[error(
        "{} is damaged: the pages of column `{column}` in row group {row_group}, bytes {from} to {to} of the file, \
         are not what was written: their CRC-32 differs",
        path.display()
    )]
    Damaged {
        /// The step's file.
        path: PathBuf,
        /// The row group, from 0.
        row_group: usize,
        /// The column's path.
        column: String,
        /// The first byte of its pages.
        from: u64,
        /// The byte after its pages.
        to: u64,
    },
    /// The file's schema is of another version.
    #[error(
        "{} has run-log schema {found}, and this build reads {SCHEMA_VERSION}; \
         use the version of Temper that wrote it",
        path.display()
    )]
    Version {
        /// The step's file.
        path: PathBuf,
        /// The version in the file, or that there is none.
        found: String,
    },
    /// The file holds another step than its name says.
    #[error("{} holds {found}; it was renamed or copied from elsewhere", path.display())]
    Misplaced {
        /// The step's file.
        path: PathBuf,
        /// The stage and step in the file.
        found: String,
    },
    /// The folder or file could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The run log of one run: a folder of Parquet files. One process writes it; any number may read it meanwhile.
#[derive(Debug, Clone)]
pub struct RunLog {
    folder: PathBuf,
}

impl RunLog {
    /// The log in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// [`RunLogError::Open`] if the folder cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, RunLogError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|source| RunLogError::Open { path: folder.clone(), source })?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a step, whether or not it is there.
    ///
    /// # Errors
    /// [`RunLogError::StageName`] if the stage's name cannot be part of a file's name.
    pub fn path(&self, stage: &str, step: u64) -> Result<PathBuf, RunLogError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !stage.starts_with(|c: char| c.is_ascii_alphanumeric()) || !stage.chars().all(plain) {
            return Err(RunLogError::StageName { stage: stage.to_owned() });
        }
        Ok(self.folder.join(format!("{stage}-{step:06}.{EXTENSION}")))
    }

    /// Appends the groups of a step, in the order in which the learner will consume them. When it returns, they are on
    /// disk (INV-6).
    ///
    /// The same groups give the same bytes.
    ///
    /// # Errors
    /// [`RunLogError::Exists`] if the step is in the log; [`RunLogError::Groups`] if a group breaks its contract;
    /// [`RunLogError::Write`] if it cannot be written: its [`WriteError::DiskFull`] says that the disk is full.
    pub fn append(&self, stage: &str, step: u64, groups: &[ScoredGroup]) -> Result<(), RunLogError> {
        let path = self.path(stage, step)?;
        if path.try_exists().map_err(|source| RunLogError::Open { path: path.clone(), source })? {
            return Err(RunLogError::Exists { path });
        }
        let mut refused = None;
        let written = write_atomic(&path, |file| {
            let mut writer = ArrowWriter::try_new(file, schema(), Some(properties(stage, step))).map_err(as_io)?;
            for (i, group) in groups.iter().enumerate() {
                match scored_batch_from(std::slice::from_ref(group), i) {
                    Ok(batch) => writer.write(&batch).map_err(as_io)?,
                    Err(e) => {
                        refused = Some(e);
                        return Err(io::Error::other("a group was refused"));
                    }
                }
            }
            writer.flush().map_err(as_io)?;
            writer.sync()?;
            let sums = checksums::of(writer.inner(), writer.flushed_row_groups())?;
            writer.append_key_value_metadata(KeyValue::new(CHECKSUMS_KEY.to_owned(), sums));
            writer.close().map(drop).map_err(as_io)
        });
        match refused {
            Some(source) => Err(RunLogError::Groups { path, source }),
            None => Ok(written?),
        }
    }

    /// The stage and the step of a file's name, `STAGE-NNNNNN.parquet`, exactly as [`RunLog::path`] writes it.
    pub fn stage_and_step(name: &str) -> Option<(&str, u64)> {
        let (stage, digits) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.rsplit_once('-')?;
        let step = digits.parse().ok()?;
        (format!("{step:06}") == digits).then_some((stage, step))
    }

    /// The steps of `stage` that are in the log, ascending.
    ///
    /// # Errors
    /// [`RunLogError::Open`] if the folder cannot be listed.
    pub fn steps(&self, stage: &str) -> Result<Vec<u64>, RunLogError> {
        let fail = |source| RunLogError::Open { path: self.folder.clone(), source };
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if let Some((of, step)) = name.to_str().and_then(Self::stage_and_step)
                && of == stage
            {
                steps.push(step);
            }
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The groups of a step, bit for bit as they were appended.
    ///
    /// # Errors
    /// [`RunLogError::Missing`], [`RunLogError::Torn`], [`RunLogError::Damaged`], [`RunLogError::Version`], [`RunLogError::Misplaced`] and
    /// [`RunLogError::Groups`], each naming the file.
    pub fn read(&self, stage: &str, step: u64) -> Result<Vec<ScoredGroup>, RunLogError> {
        let path = self.path(stage, step)?;
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(RunLogError::Missing { path }),
            other => other.map_err(|source| RunLogError::Open { path: path.clone(), source })?,
        };
        let torn = |source| RunLogError::Torn { path: path.clone(), source };
        let again = file.try_clone().map_err(|source| RunLogError::Open { path: path.clone(), source })?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(torn)?;
        let metadata = builder.metadata().file_metadata().key_value_metadata();
        let metadata: &[KeyValue] = metadata.map_or(&[], Vec::as_slice);
        check_origin(&path, metadata, stage, step)?;
        // Files of builds that wrote none have no checksums.
        let sums = metadata.iter().find(|kv| kv.key == CHECKSUMS_KEY).and_then(|kv| kv.value.as_deref());
        let damage = sums.and_then(|sums| checksums::first_damage(&again, builder.metadata().row_groups(), sums));
        if let Some(checksums::Damage { row_group, column, from, to }) = damage {
            return Err(RunLogError::Damaged { path, row_group, column, from, to });
        }
        let mut decoder = Decoder::default();
        for batch in builder.with_batch_size(READ_ROWS).build().map_err(torn)? {
            let batch = batch.map_err(|e| torn(e.into()))?;
            decoder.push(&batch).map_err(|source| RunLogError::Groups { path: path.clone(), source })?;
        }
        Ok(decoder.finish())
    }
}

fn check_origin(path: &Path, metadata: &[KeyValue], stage: &str, step: u64) -> Result<(), RunLogError> {
    let value = |key: &str| metadata.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.as_deref());
    match value(SCHEMA_KEY) {
        Some(SCHEMA_VERSION) => {}
        Some(other) => return Err(RunLogError::Version { path: path.to_owned(), found: format!("`{other}`") }),
        None => return Err(RunLogError::Version { path: path.to_owned(), found: "no version".to_owned() }),
    }
    let (found_stage, found_step) = (value(STAGE_KEY).unwrap_or("?"), value(STEP_KEY).unwrap_or("?"));
    if found_stage == stage && found_step == step.to_string() {
        return Ok(());
    }
    Err(RunLogError::Misplaced { path: path.to_owned(), found: format!("stage `{found_stage}`, step {found_step}") })
}

fn properties(stage: &str, step: u64) -> WriterProperties {
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let metadata = vec![
        pair(SCHEMA_KEY, SCHEMA_VERSION.to_owned()),
        pair(STAGE_KEY, stage.to_owned()),
        pair(STEP_KEY, step.to_string()),
    ];
    // Log-probabilities hardly ever repeat: a dictionary would only grow the file, while splitting their bytes lets
    // Zstandard find the sign and exponent that they share.
    let logprobs = || ColumnPath::from(vec!["logprobs".to_owned(), "list".to_owned(), "item".to_owned()]);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of Zstandard's")))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_column_dictionary_enabled(logprobs(), false)
        .set_column_encoding(logprobs(), Encoding::BYTE_STREAM_SPLIT)
        .set_key_value_metadata(Some(metadata))
        .build()
}

/// The system's error inside a Parquet error, so that a full disk is seen as one.
fn as_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => inner.downcast::<io::Error>().map_or_else(io::Error::other, |e| *e),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_stage_and_step() {
        assert_eq!(RunLog::stage_and_step("rl-math-000012.parquet"), Some(("rl-math", 12)));
        assert_eq!(RunLog::stage_and_step("rl-1000000.parquet"), Some(("rl", 1_000_000)));
        for other in
            ["rl-12.parquet", "rl-000012", "rl-+00012.parquet", ".rl-000012.parquet.1-0.temper-tmp", "rl.parquet"]
        {
            assert_eq!(RunLog::stage_and_step(other), None, "{other}");
        }
    }

    /// The device's own error comes through the Parquet writer and is recognised.
    #[test]
    fn a_full_disk_is_seen_through_the_parquet_writer() {
        let full = File::options().write(true).open("/dev/full").expect("the device");
        let error = ArrowWriter::try_new(full, schema(), Some(properties("rl", 1)))
            .and_then(|writer| writer.close())
            .expect_err("no space");
        assert_eq!(as_io(error).kind(), io::ErrorKind::StorageFull);
    }
}
