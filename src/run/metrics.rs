//! `metrics.jsonl`: one object a step, with the field's metric names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::exit::{Code, Failure, OrFail};
use crate::say;

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

    /// What was written is on the disk when this returns: a checkpoint that counts on it may follow.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn sync(&self) -> Result<(), Failure> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_data);
        synced.or_fail(Code::Disk).map_err(|f| f.context(format!("cannot write {}", self.path.display())))
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

/// A last line that a killed run has torn is dropped with the rest; damage anywhere else is said.
fn kept_lines(path: &Path, keep: impl Fn(&str, u64) -> bool) -> Result<String, Failure> {
    let text = std::fs::read(path).or_fail(Code::Disk).map_err(|f| f.context(path.display()))?;
    let mut kept = String::new();
    let mut damaged = Vec::new();
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    for (i, line) in lines.iter().enumerate() {
        let Ok(row) = serde_json::from_slice::<Value>(line) else {
            damaged.push(i + 1);
            continue;
        };
        let (stage, step) = (row["stage"].as_str().unwrap_or_default(), row["step"].as_u64().unwrap_or(0));
        if keep(stage, step) {
            kept.push_str(std::str::from_utf8(line).expect("JSON is UTF-8"));
            kept.push('\n');
        }
    }
    let torn = damaged.pop_if(|line| *line == lines.len());
    if let Some(first) = damaged.first() {
        let more = damaged.len() + usize::from(torn.is_some());
        say!("warning: {}: {more} lines are damaged, the first is line {first}; they are left out", path.display());
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_6_damaged_lines_are_left_out_and_the_others_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let rows = [
            "{\"stage\":\"a\",\"step\":1}",
            "{\"stage\":\"a\",\"st",
            "{\"stage\":\"a\",\"step\":3}",
            "{\"stage\":\"b\",\"step\":1}",
        ];
        let mut text = rows.join("\n").into_bytes();
        text.extend(b"\n{\"stage\":\xff");
        std::fs::write(&path, text).expect("it writes");
        Metrics::open(folder.path(), |stage, _| stage == "a").expect("it opens");
        let kept = std::fs::read_to_string(&path).expect("it reads");
        assert_eq!(kept, format!("{}\n{}\n", rows[0], rows[2]));
    }
}
