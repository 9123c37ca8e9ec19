//! `data.json` of a run: the files of prompts that it reads, as they were when it began.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use data::atomic::write_atomic;
use data::load::Format;
use data::tasks::Split;
use serde::{Deserialize, Serialize};

use super::checkpoints::sha256;
use super::prompts::source_name;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Recipe, Source};
use crate::say;

/// The file's name inside a run's folder.
const FILE_NAME: &str = "data.json";

/// The files of prompts by their paths.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DataFiles(pub BTreeMap<String, DataFile>);

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DataFile {
    /// Where it lies.
    pub absolute: PathBuf,
    /// Its SHA-256 as the run began.
    pub sha256: String,
    /// The format that it is read by, found or named.
    pub format: Format,
    /// Prompts in it.
    pub prompts: u64,
    /// Rows that were left out.
    pub skipped: u64,
    /// Those, up to a thousand, each with its row, its field and what is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_rows: Vec<String>,
    /// Of the rows that were left out, those that are prompts but no use to some stage, by source; a source reads the file again without
    /// them. Nothing where there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, BTreeSet<usize>>,
}

impl DataFile {
    fn hash(&self) -> Result<String, Failure> {
        sha256(&self.absolute).or_fail(Code::Data).map_err(|f| f.context(self.absolute.display()))
    }
}

impl DataFiles {
    /// Adds files. Of a file that several sources read, the numbers are those of the source that skips most.
    pub fn add(&mut self, files: Vec<(String, DataFile)>) {
        for (path, mut file) in files {
            match self.0.get_mut(&path) {
                Some(known) => {
                    known.refused.append(&mut file.refused);
                    if file.skipped > known.skipped {
                        *known = DataFile { refused: std::mem::take(&mut known.refused), ..file };
                    }
                }
                None => drop(self.0.insert(path, file)),
            }
        }
    }

    /// Tells the recipe's sources which rows they leave out.
    pub fn note_refused(&self, recipe: &mut Recipe) {
        let known: BTreeMap<&String, &BTreeSet<usize>> = self.0.values().flat_map(|file| &file.refused).collect();
        for (name, domain) in &mut recipe.domains {
            for (split, sources) in [(Split::Train, &mut domain.train), (Split::Eval, &mut domain.eval)] {
                for (number, source) in sources.iter_mut().enumerate() {
                    if let (Source::File { refused, .. }, Some(rows)) =
                        (source, known.get(&source_name(name, split, number)))
                    {
                        refused.clone_from(rows);
                    }
                }
            }
        }
    }

    /// Says of each file what it is, and that rows were left out.
    pub fn tell(&self) {
        for (path, file) in &self.0 {
            say!("{path}: {} prompts, format {}", file.prompts, file.format.name());
            if file.skipped > 0 {
                let first = file.skipped_rows.first().map_or("", String::as_str);
                say!("warning: {path}: {} rows skipped, the first: {first}", file.skipped);
            }
        }
    }

    /// Rows that were left out, by file; files without any are not in it.
    pub fn skipped_rows(&self) -> BTreeMap<String, u64> {
        let skipped = self.0.iter().filter(|(_, file)| file.skipped > 0);
        skipped.map(|(path, file)| (path.clone(), file.skipped)).collect()
    }

    /// Writes them into a run's folder with their hashes, if there are any.
    ///
    /// # Errors
    /// [`Code::Data`] where one cannot be read, [`Code::Disk`].
    pub fn write(mut self, root: &Path) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        for file in self.0.values_mut() {
            file.sha256 = file.hash()?;
        }
        let text = serde_json::to_string_pretty(&self.0).expect("they are plain JSON") + "\n";
        write_atomic(&root.join(FILE_NAME), |file| file.write_all(text.as_bytes())).or_fail(Code::Disk)
    }

    /// Refuses to go on with other prompts than those that the run began with.
    ///
    /// # Errors
    /// [`Code::Data`], naming the file.
    pub fn check(&self) -> Result<(), Failure> {
        for (path, file) in &self.0 {
            if file.hash()? != file.sha256 {
                let message = format!("{path} is not what it was when the run began: its SHA-256 differs");
                return Err(Failure::new(Code::Data, message).hint(
                    "restore the file, or begin a new run: with other prompts this one would end with other weights",
                ));
            }
        }
        Ok(())
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
