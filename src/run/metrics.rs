//! `metrics.jsonl`: one object a step, with the field's metric names.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::exit::{Code, Failure, OrFail};

/// The metrics file of a run.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file, keeping the lines for which `keep(stage, step)` holds: what a killed run wrote after its last checkpoint is
    /// written again.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn open(folder: &Path, keep: impl Fn(&str, u64) -> bool) -> Result<Self, Failure> {
        let path = folder.join("metrics.jsonl");
        if path.exists() {
            let kept = kept_lines(&path, keep)?;
            data::atomic::write_atomic(&path, |file| file.write_all(kept.as_bytes())).or_fail(Code::Disk)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).or_fail(Code::Disk)?;
        Ok(Self { path, file })
    }

    /// Appends one step's numbers.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn write(
        &mut self,
        stage: &str,
        kind: &str,
        step: u64,
        time_s: f64,
        numbers: &[(String, f64)],
    ) -> Result<(), Failure> {
        let mut row = Map::new();
        row.insert("stage".into(), stage.into());
        row.insert("kind".into(), kind.into());
        row.insert("step".into(), step.into());
        row.insert("time_s".into(), json!((time_s * 1e3).round() / 1e3));
        for (name, value) in numbers {
            row.insert(name.clone(), json!(value));
        }
        let line = Value::Object(row).to_string() + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.or_fail(Code::Disk).map_err(|f| f.context(format!("cannot write {}", self.path.display())))
    }
}

/// A torn last line is dropped with the rest.
fn kept_lines(path: &Path, keep: impl Fn(&str, u64) -> bool) -> Result<String, Failure> {
    let mut kept = String::new();
    for line in BufReader::new(File::open(path).or_fail(Code::Disk)?).lines() {
        let line = line.or_fail(Code::Disk)?;
        let Ok(row) = serde_json::from_str::<Value>(&line) else { continue };
        let (stage, step) = (row["stage"].as_str().unwrap_or_default(), row["step"].as_u64().unwrap_or(0));
        if keep(stage, step) {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    Ok(kept)
}
