//! `metrics.jsonl`: one object a step, with the field's metric names.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::exit::{Code, Failure, OrFail};

/// The metrics file of a run.
pub struct Metrics {
    path: PathBuf,
    /// None where nothing is written.
    file: Option<File>,
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
        Ok(Self { path, file: Some(file) })
    }

    /// Metrics of a run that is only looked at: nothing is written.
    pub fn unwritten(folder: &Path) -> Self {
        Self { path: folder.join("metrics.jsonl"), file: None }
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
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()));
        written.or_fail(Code::Disk).map_err(|f| f.context(format!("cannot write {}", self.path.display())))
    }
}

/// The numbers that were written of a step; the last, where it was done again.
///
/// # Errors
/// [`Code::Data`] where there is no such file.
pub fn row(folder: &Path, stage: &str, step: u64) -> Result<Option<Map<String, Value>>, Failure> {
    let path = folder.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).or_fail(Code::Data).map_err(|f| f.context(path.display()))?;
    let mut rows = text.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let ours = |row: &Map<String, Value>| {
        row.get("stage").and_then(Value::as_str) == Some(stage) && row.get("step").and_then(Value::as_u64) == Some(step)
    };
    Ok(rows.rfind(ours))
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
