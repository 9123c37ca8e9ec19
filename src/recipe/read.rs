//! From a file and overrides to a recipe that can run.

use std::path::Path;

use toml::Table;

use super::overrides::{self, Override};
use super::place::SourceText;
use super::words::{explain, says_missing};
use super::{Place, Problem, Recipe, RecipeError};

impl Recipe {
    /// Reads, overrides, completes and checks the recipe in the file `path`. `sets` are `--set` arguments, `a.b=c`,
    /// the later winning.
    ///
    /// # Errors
    /// [`RecipeError`] names every problem with its line, or with the override that caused it.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Problem {
            message: format!("cannot read the recipe: {error}"),
            place: Place::File(file.clone()),
            help: None,
        })?;
        Self::parse(&text, &file, sets)
    }

    /// As [`Recipe::load`], for a text; `file` is its name in errors, and names the run where the recipe does not.
    ///
    /// # Errors
    /// [`RecipeError`] names every problem with its line, or with the override that caused it.
    pub fn parse(text: &str, file: &str, sets: &[String]) -> Result<Self, RecipeError> {
        let source = SourceText { file, text };
        let (mut recipe, applied) = typed(source, sets)?;
        let stem = Path::new(file).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        recipe.resolve(&stem);
        let findings = recipe.findings();
        if findings.is_empty() {
            return Ok(recipe);
        }
        let place = |path: &[String]| match applied.iter().rev().find(|set| path.starts_with(&set.path)) {
            Some(set) => Place::Set(set.typed.clone()),
            None => source.of(path),
        };
        let problem = |finding: super::findings::Finding| Problem {
            place: place(&finding.path),
            message: finding.message,
            help: finding.help,
        };
        Err(RecipeError { problems: findings.into_iter().map(problem).collect() })
    }

    /// Checks the recipe as it stands, without the places that [`Recipe::parse`] knows.
    ///
    /// # Errors
    /// [`RecipeError`] names every setting that is impossible.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let problem = |finding: super::findings::Finding| Problem {
            place: Place::File("recipe".into()),
            message: finding.message,
            help: finding.help,
        };
        match self.findings() {
            findings if findings.is_empty() => Ok(()),
            findings => Err(RecipeError { problems: findings.into_iter().map(problem).collect() }),
        }
    }
}

/// The recipe with its overrides, neither completed nor checked.
fn typed(source: SourceText<'_>, sets: &[String]) -> Result<(Recipe, Vec<Override>), RecipeError> {
    let table: Table = toml::from_str(source.text).map_err(|error| in_file(source, &error))?;
    let alone = toml::from_str::<Recipe>(source.text);
    if sets.is_empty() {
        return alone.map(|recipe| (recipe, Vec::new())).map_err(|error| in_file(source, &error).into());
    }
    match alone {
        // An override may bring what is missing.
        Err(error) if says_missing(error.message()) => overrides::apply(&table, sets, Some(in_file(source, &error))),
        Err(error) => Err(in_file(source, &error).into()),
        Ok(_) => overrides::apply(&table, sets, None),
    }
}

fn in_file(source: SourceText<'_>, error: &toml::de::Error) -> Problem {
    let explained = explain(error.message());
    let place = error.span().map_or_else(|| Place::File(source.file.to_owned()), |span| source.at(span));
    Problem { place, message: explained.message, help: explained.help }
}
