//! What a check of a recipe found, before it is known where in the file it stands.

use std::fmt::Display;

/// No count of a recipe is greater.
const MOST: usize = 1 << 30;

use super::Recipe;
use super::words::suggest;

/// One impossible setting.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Keys from the root, list items by index.
    pub path: Vec<String>,
    /// What is wrong, the setting named.
    pub message: String,
    /// What may have been meant.
    pub help: Option<String>,
}

/// A path of keys and indices.
pub(super) fn at(keys: &[&dyn Display]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// Collects findings.
pub(super) struct Findings<'a> {
    recipe: &'a Recipe,
    pub found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    /// None yet.
    pub fn new(recipe: &'a Recipe) -> Self {
        Self { recipe, found: Vec::new() }
    }

    /// The setting at `path` does not fit; `predicate` goes on after its name: "must be …".
    pub fn add(&mut self, path: Vec<String>, predicate: impl Display) {
        self.add_with_help(path, predicate, None);
    }

    /// As [`Findings::add`], with a sentence on what to do.
    pub fn add_with_help(&mut self, path: Vec<String>, predicate: impl Display, help: Option<String>) {
        let message = format!("`{}` {predicate}", self.shown(&path));
        self.found.push(Finding { path, message, help });
    }

    /// `predicate` is a finding unless `ok`.
    pub fn require(&mut self, ok: bool, path: Vec<String>, predicate: impl Display) {
        if !ok {
            self.add(path, predicate);
        }
    }

    /// A number must be finite and satisfy `ok`, which `what` puts in words.
    pub fn number(&mut self, path: Vec<String>, value: f64, what: &str, ok: impl Fn(f64) -> bool) {
        self.require(value.is_finite() && ok(value), path, format_args!("must be {what}, and is {value}"));
    }

    /// A count must be at least 1, and one that some machine has room for.
    pub fn positive(&mut self, path: Vec<String>, value: usize) {
        self.require((1..=MOST).contains(&value), path, format_args!("must be at least 1 and at most {MOST}"));
    }

    /// A domain must be one of the recipe's.
    pub fn domain(&mut self, path: Vec<String>, name: &str) {
        if !self.recipe.domains.contains_key(name) {
            let names: Vec<&str> = self.recipe.domains.keys().map(String::as_str).collect();
            self.add_with_help(path, format_args!("names an unknown domain, `{name}`"), suggest(name, &names));
        }
    }

    /// Stages are shown by their name.
    fn shown(&self, path: &[String]) -> String {
        let mut keys = path.to_vec();
        if let [first, index, ..] = path
            && first == "stages"
            && let Some(stage) = index.parse().ok().and_then(|i: usize| self.recipe.stages.get(i))
            && !stage.name.is_empty()
        {
            keys[1].clone_from(&stage.name);
        }
        keys.join(".")
    }
}
