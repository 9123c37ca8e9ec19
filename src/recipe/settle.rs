//! What a recipe leaves to the moment and the folder in which it is started. A run's own copy of the recipe says it, so that a resumed
//! run goes on as it began, from whatever folder.

use std::io;
use std::path::absolute;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{ModelSource, Recipe, Source, VerifierName};

impl Recipe {
    /// Sets the clock of the chat template to now, unless the recipe says what time it is.
    pub fn settle_clock(&mut self) {
        if self.run.clock == 0 {
            self.run.clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        }
    }

    /// The paths of model and data.
    pub fn paths(&mut self) -> Vec<&mut String> {
        let mut paths = match &mut self.model {
            ModelSource::Checkpoint { path } => vec![path],
            ModelSource::Fresh { config, tokenizer, .. } => vec![config, tokenizer],
        };
        for source in self.domains.values_mut().flat_map(|domain| domain.train.iter_mut().chain(&mut domain.eval)) {
            if let Source::File { path, .. } = source {
                paths.push(path);
            }
        }
        paths
    }

    /// The recipe with each path of model and data as seen from the root, and not from the working directory.
    ///
    /// # Errors
    /// If there is no working directory any more, or its name is no UTF-8 and so cannot stand in TOML.
    pub fn with_absolute_paths(&self) -> io::Result<Self> {
        let mut recipe = self.clone();
        recipe.paths().into_iter().try_for_each(make_absolute)?;
        for verifier in recipe.domains.values_mut().flat_map(|domain| &mut domain.verifiers) {
            if let (VerifierName::Plugin, Some(toml::Value::String(target))) =
                (verifier.name, verifier.settings.get_mut("python"))
                && let Some((file, name)) = target.rsplit_once(':').filter(|(file, _)| file.ends_with(".py"))
            {
                let (mut file, name) = (file.to_owned(), name.to_owned());
                make_absolute(&mut file)?;
                *target = format!("{file}:{name}");
            }
        }
        Ok(recipe)
    }
}

fn make_absolute(path: &mut String) -> io::Result<()> {
    let found = absolute(&*path)?.into_os_string().into_string();
    *path = found.map_err(|name| io::Error::other(format!("{} is no UTF-8", name.display())))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [model]
        config = "small/config.json"
        tokenizer = "/words"
        [domains.math]
        train = [{ path = "../a.jsonl" }, { generator = "arithmetic" }]
        eval = [{ path = "b.parquet" }]
        verifiers = [{ name = "math" }, { name = "plugin", settings = { python = "my.py:score" } }]
        [[stages]]
        name = "sft"
        kind = "sft"
        steps = 1
        optimizer.lr = 1.0
    "#;

    #[test]
    fn every_path_becomes_absolute_and_nothing_else_changes() {
        let recipe = Recipe::parse(TEXT, "r.toml", &[]).expect("it is sound");
        let here = std::env::current_dir().expect("there is one");
        let here = here.to_str().expect("a plain path");
        let expected = ["small/config.json", "../a.jsonl", "b.parquet", "my.py"]
            .iter()
            .fold(TEXT.to_owned(), |text, path| text.replace(&format!("\"{path}"), &format!("\"{here}/{path}")));
        let expected = Recipe::parse(&expected, "r.toml", &[]).expect("it is sound");
        let found = recipe.with_absolute_paths().expect("the working directory is there");
        assert_eq!(found, expected);
        assert_eq!(found.with_absolute_paths().expect("as before"), expected);
    }

    #[test]
    fn a_clock_that_is_set_stays() {
        let mut recipe = Recipe::parse(TEXT, "r.toml", &["run.clock=86400".into()]).expect("it is sound");
        recipe.settle_clock();
        assert_eq!(recipe.run.clock, 86_400);
        recipe.run.clock = 0;
        recipe.settle_clock();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        assert!((now - recipe.run.clock).abs() < 60, "{} at {now}", recipe.run.clock);
    }
}
