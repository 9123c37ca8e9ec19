//! What is wrong with a recipe, and where.

use std::fmt;

/// All that was found wrong with a recipe. Shown one problem after another, each with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RecipeError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub message: String,
    /// What may have been meant.
    pub help: Option<String>,
}

/// Where a problem stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file, and no line of it in particular.
    File(String),
    /// A place in a file.
    Line {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The whole line.
        text: String,
        /// Characters to underline, at least 1.
        width: usize,
    },
    /// An override of the command line, as it was typed.
    Set(String),
}

impl From<Problem> for RecipeError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(file) => write!(f, "{file}: {}", self.message)?,
            Place::Set(typed) => write!(f, "--set {typed}: {}", self.message)?,
            Place::Line { file, line, column, text, width } => {
                write!(f, "{file}:{line}:{column}: {}", self.message)?;
                let gutter = line.to_string().len();
                write!(f, "\n  {line} | {text}")?;
                write!(f, "\n  {:gutter$} | {:indent$}{}", "", "", "^".repeat(*width), indent = column - 1)?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}
