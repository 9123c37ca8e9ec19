//! `data.json` of a run: the files of prompts that it reads, as they were when it began.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use data::atomic::write_atomic;
use data::load::Format;
use serde::{Deserialize, Serialize};

use crate::exit::{Code, Failure, OrFail};
use crate::say;

/// The file's name inside a run's folder.
const FILE_NAME: &str = "data.json";

/// The files of prompts by their paths.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DataFiles(pub BTreeMap<String, DataFile>);

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DataFile {
    /// The format that it is read by, found or named.
    pub format: Format,
    /// Prompts in it.
    pub prompts: u64,
    /// Rows that were left out.
    pub skipped: u64,
    /// The first of those, with its row, its field and what is wrong with it. Empty where there is none.
    pub first_skipped: String,
}

impl DataFiles {
    /// Says of each file what it is, and that rows were left out.
    pub fn tell(&self) {
        for (path, file) in &self.0 {
            let format = serde_json::to_value(file.format).unwrap_or_default();
            say!("{path}: {} prompts, format {}", file.prompts, format.as_str().unwrap_or_default());
            if file.skipped > 0 {
                say!("warning: {path}: {} rows skipped, the first: {}", file.skipped, file.first_skipped);
            }
        }
    }

    /// Rows that were left out, by file; files without any are not in it.
    pub fn skipped_rows(&self) -> BTreeMap<String, u64> {
        let skipped = self.0.iter().filter(|(_, file)| file.skipped > 0);
        skipped.map(|(path, file)| (path.clone(), file.skipped)).collect()
    }

    /// Writes them into a run's folder, if there are any.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn write(&self, root: &Path) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&self.0).expect("they are plain JSON") + "\n";
        write_atomic(&root.join(FILE_NAME), |file| file.write_all(text.as_bytes())).or_fail(Code::Disk)
    }

    /// Those of a run; none where it has no such file.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn read(root: &Path) -> Result<Self, Failure> {
        match std::fs::read(root.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Self).or_fail(Code::Disk),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).or_fail(Code::Disk),
        }
    }
}
