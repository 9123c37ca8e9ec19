//! Verdicts that were paid for already, in memory and, where asked for, in a file of JSON lines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::settings::JudgeError;

/// What the votes on one question came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The mean of the votes; `None` where most could not tell.
    pub score: Option<f64>,
    /// How many could be read.
    pub votes: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    score: Option<f64>,
    votes: usize,
}

/// Outcomes by the question's key.
#[derive(Debug)]
pub struct Cache {
    known: Mutex<HashMap<String, Outcome>>,
    file: Option<Mutex<File>>,
}

impl Cache {
    /// A cache that starts with what `path` holds and adds to it; an empty path is no file.
    ///
    /// # Errors
    /// [`JudgeError::Cache`] where the file cannot be read or written.
    pub fn open(path: &str) -> Result<Self, JudgeError> {
        if path.is_empty() {
            return Ok(Self { known: Mutex::new(HashMap::new()), file: None });
        }
        let refuse = |problem: String| JudgeError::Cache { path: path.into(), problem };
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.map_err(|error| refuse(error.to_string()))?;
        let mut known = HashMap::new();
        for line in BufReader::new(&file).lines() {
            let line = line.map_err(|error| refuse(error.to_string()))?;
            // A line that was cut when a run was killed is asked again.
            if let Ok(Line { key, score, votes }) = serde_json::from_str(&line) {
                known.insert(key, Outcome { score, votes });
            }
        }
        Ok(Self { known: Mutex::new(known), file: Some(Mutex::new(file)) })
    }

    /// What is known of a question.
    pub fn get(&self, key: &str) -> Option<Outcome> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// Keeps an outcome. A disk that is full costs the memory of it and no more.
    pub fn put(&self, key: &str, outcome: Outcome) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(key.to_owned(), outcome).is_none()
            && let Some(file) = &self.file
        {
            let mut line =
                serde_json::to_vec(&Line { key: key.to_owned(), score: outcome.score, votes: outcome.votes })
                    .expect("it is JSON");
            // A new line first, for a file that ends in half of one.
            line.insert(0, b'\n');
            line.push(b'\n');
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        }
    }
}
