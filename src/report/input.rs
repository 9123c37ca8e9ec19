//! What the page is made of, and reading it from a run's folder. A run that was killed, or is still going, has a report too:
//! what is missing or malformed becomes a note on the page.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use data::Status;
use serde_json::{Map, Value};

use super::ReportError;
use super::samples::load_samples;
use crate::summary::{self, Summary};

/// The metrics file's name inside a run's folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// All that a report shows.
#[derive(Debug, Clone, Default)]
pub struct ReportInput {
    /// What the run reached.
    pub summary: Summary,
    /// One row a step, in the order of the steps.
    pub metrics: Vec<MetricRow>,
    /// A few trajectories of each stage that sampled.
    pub samples: Vec<SampleView>,
    /// What could not be read, as sentences for the reader of the page.
    pub notes: Vec<String>,
}

/// One line of `metrics.jsonl`: `{"stage", "kind", "step", "time_s", METRIC: number, …}`, with verl's metric names.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRow {
    /// The stage's name in the recipe.
    pub stage: String,
    /// The stage's kind.
    pub kind: String,
    /// The step within the stage.
    pub step: u64,
    /// Seconds since the run began.
    pub time_s: f64,
    /// The numbers, by name. NaN where the file has `null`, as JSON has no NaN.
    pub metrics: BTreeMap<String, f64>,
}

impl MetricRow {
    /// Reads one line. Keys that are no numbers are left out; they are for other readers.
    ///
    /// # Errors
    /// If the line is no JSON object, or lacks `stage` or `step`.
    pub fn parse(line: &str) -> Result<Self, String> {
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let word = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let metrics = object.iter().filter(|(key, _)| !["stage", "kind", "step", "time_s"].contains(&key.as_str()));
        Ok(Self {
            stage: word("stage").ok_or("it has no `stage`")?,
            kind: word("kind").unwrap_or_default(),
            step: object.get("step").and_then(Value::as_u64).ok_or("it has no `step`")?,
            time_s: object.get("time_s").and_then(Value::as_f64).unwrap_or(f64::NAN),
            metrics: metrics.filter_map(|(key, value)| Some((key.clone(), number(value)?))).collect(),
        })
    }

    /// The line that [`MetricRow::parse`] reads, without its line feed.
    pub fn to_line(&self) -> String {
        let mut object = Map::new();
        object.insert("stage".into(), self.stage.clone().into());
        object.insert("kind".into(), self.kind.clone().into());
        object.insert("step".into(), self.step.into());
        object.insert("time_s".into(), self.time_s.into());
        object.extend(self.metrics.iter().map(|(key, &value)| (key.clone(), Value::from(value))));
        Value::Object(object).to_string()
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(f64::NAN),
        other => other.as_f64(),
    }
}

/// One sampled trajectory, as text.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleView {
    /// The stage that sampled it.
    pub stage: String,
    /// The step within the stage.
    pub step: u64,
    /// The prompt's domain.
    pub domain: String,
    /// The prompt's turns, as text.
    pub prompt: String,
    /// What the policy wrote.
    pub completion: String,
    /// The composed reward; `None` for a masked sample.
    pub reward: Option<f64>,
    /// What the learner multiplied its gradient with.
    pub advantage: f64,
    /// What each verifier said.
    pub verdicts: Vec<VerdictView>,
}

/// What one verifier said of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictView {
    /// The verifier's name in the recipe.
    pub verifier: String,
    /// The verdict proper.
    pub status: Status,
    /// The rule that decided.
    pub reason: String,
}

impl ReportInput {
    /// Reads the run in `dir`.
    ///
    /// # Errors
    /// [`ReportError::NotARun`] if `dir` has neither a summary nor metrics, [`ReportError::Read`] if the metrics cannot be read.
    pub fn load(dir: &Path) -> Result<Self, ReportError> {
        let mut notes = Vec::new();
        let has_summary = dir.join(summary::FILE_NAME).is_file();
        let metrics_path = dir.join(METRICS_FILE);
        if !has_summary && !metrics_path.is_file() {
            return Err(ReportError::NotARun(dir.to_owned()));
        }
        let summary = if has_summary {
            Summary::read(dir).unwrap_or_else(|error| {
                notes.push(format!("The summary is not shown: {error}."));
                unnamed(dir)
            })
        } else {
            notes.push("There is no summary.json yet: no stage of this run has ended.".to_owned());
            unnamed(dir)
        };
        let metrics = if metrics_path.is_file() { load_metrics(&metrics_path, &mut notes)? } else { Vec::new() };
        let mut input = Self { summary, metrics, samples: Vec::new(), notes };
        let stages: Vec<&str> = stages_in_order(&input).into_iter().map(|(name, _)| name).collect();
        let (samples, sample_notes) = load_samples(dir, &stages);
        input.samples = samples;
        input.notes.extend(sample_notes);
        Ok(input)
    }
}

/// A summary that knows only what the folder is called.
fn unnamed(dir: &Path) -> Summary {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let run = dir.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
    Summary { run, post_training_share: f64::NAN, ..Default::default() }
}

/// Reads the rows. A step that was run again after a crash counts once, as it went the last time (INV-6 makes both the same,
/// timings apart). Lines that are no rows are counted and left out: a killed run may end in half a line.
fn load_metrics(path: &Path, notes: &mut Vec<String>) -> Result<Vec<MetricRow>, ReportError> {
    let fail = |source: io::Error| ReportError::Read { path: path.to_owned(), source };
    let mut rows: Vec<MetricRow> = Vec::new();
    let mut seen: HashMap<(String, u64), usize> = HashMap::new();
    let mut bad: Option<(usize, String)> = None;
    let mut bad_count = 0;
    for (index, line) in BufReader::new(File::open(path).map_err(fail)?).split(b'\n').enumerate() {
        let line = line.map_err(fail)?;
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            continue;
        }
        match MetricRow::parse(&line) {
            Ok(row) => match seen.get(&(row.stage.clone(), row.step)) {
                Some(&at) => rows[at] = row,
                None => {
                    seen.insert((row.stage.clone(), row.step), rows.len());
                    rows.push(row);
                }
            },
            Err(why) => {
                bad_count += 1;
                bad.get_or_insert((index + 1, why));
            }
        }
    }
    if let Some((line, why)) = bad {
        notes.push(format!("Lines of {METRICS_FILE} that are no rows and are left out: {bad_count}, the first of them line {line} ({why})."));
    }
    Ok(rows)
}

/// The stages in order: those of the summary, then those that only the metrics know (a stage that is still running).
pub(super) fn stages_in_order(input: &ReportInput) -> Vec<(&str, &str)> {
    let mut stages: Vec<(&str, &str)> =
        input.summary.stages.iter().map(|stage| (stage.name.as_str(), stage.kind.as_str())).collect();
    let mut known: std::collections::HashSet<&str> = stages.iter().map(|stage| stage.0).collect();
    for row in &input.metrics {
        if known.insert(&row.stage) {
            stages.push((&row.stage, &row.kind));
        }
    }
    stages
}

/// Where the report of the run in `dir` lies.
pub(super) fn report_path(dir: &Path) -> PathBuf {
    dir.join("report.html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_round_trips_and_nan_becomes_null() {
        let row = MetricRow {
            stage: "math-rl".into(),
            kind: "rl".into(),
            step: 7,
            time_s: 1.5,
            metrics: [("critic/score/mean".to_owned(), 0.25), ("actor/kl_loss".to_owned(), f64::NAN)].into(),
        };
        let line = row.to_line();
        assert!(line.contains(r#""actor/kl_loss":null"#), "{line}");
        let back = MetricRow::parse(&line).expect("own line");
        assert_eq!((back.stage.as_str(), back.step, back.metrics["critic/score/mean"]), ("math-rl", 7, 0.25));
        assert!(back.metrics["actor/kl_loss"].is_nan());
        assert!(MetricRow::parse(r#"{"step": 1}"#).expect_err("no stage").contains("stage"));
        assert_eq!(
            MetricRow::parse(r#"{"stage":"a","step":1,"note":"x"}"#).expect("words are skipped").metrics.len(),
            0
        );
    }

    #[test]
    fn inv_6_a_step_run_again_counts_once_and_half_a_line_is_a_note() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(METRICS_FILE);
        let text = "{\"stage\":\"a\",\"step\":0,\"x\":1}\n\n{\"stage\":\"a\",\"step\":1,\"x\":2}\n{\"stage\":\"a\",\"step\":1,\"x\":3}\n{\"sta";
        std::fs::write(&path, text).expect("written");
        let input = ReportInput::load(dir.path()).expect("metrics are enough");
        let x: Vec<f64> = input.metrics.iter().map(|row| row.metrics["x"]).collect();
        assert_eq!(x, [1.0, 3.0]);
        assert!(input.notes.iter().any(|note| note.contains("line 5")), "{:?}", input.notes);
        assert_eq!(stages_in_order(&input), [("a", "")]);
    }

    #[test]
    fn a_folder_without_a_run_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = ReportInput::load(dir.path()).expect_err("nothing is there");
        assert!(matches!(error, ReportError::NotARun(_)));
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    }

    #[test]
    fn a_broken_summary_does_not_hide_the_curves() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(summary::FILE_NAME), "{").expect("written");
        std::fs::write(dir.path().join(METRICS_FILE), "{\"stage\":\"a\",\"step\":0,\"x\":1}\n").expect("written");
        let input = ReportInput::load(dir.path()).expect("it loads");
        assert_eq!(input.metrics.len(), 1);
        assert!(input.notes[0].contains("summary"), "{:?}", input.notes);
    }
}
