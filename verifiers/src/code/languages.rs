//! Languages beside warm Python: how a program is compiled and run. Each is a row of a table, and a recipe may add rows.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{python::Python, settings::CodeSettings};

/// The file that a compiler is asked to leave.
const ARTIFACT: &str = "main";

/// How programs of a language are found, compiled and run. Commands run in the program's scratch directory; `{memory_mb}` stands for the
/// limit of memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// Words after the fence that name it, beside its own name.
    pub fences: Vec<String>,
    /// The file that the program is written to.
    pub source: String,
    /// The compiler and its arguments, its path absolute; empty where there is nothing to compile. What it leaves in `artifact` is kept and
    /// run.
    pub compile: Vec<String>,
    /// The file that the compiler leaves; `main` when empty.
    pub artifact: String,
    /// The command that runs it.
    pub run: Vec<String>,
    /// It reserves far more addresses than it uses, so that only a cgroup or the watch can limit its memory.
    pub reserves_memory: bool,
    /// Processes and threads that it needs for itself, beside those that the program may have.
    pub processes: u64,
    /// Paths outside `/usr` that must be readable.
    pub show: Vec<PathBuf>,
}

impl Language {
    pub(super) fn artifact(&self) -> &str {
        if self.artifact.is_empty() { ARTIFACT } else { &self.artifact }
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self, name: &str) -> Option<String> {
        let plain = |file: &str| !file.is_empty() && !file.contains(['/', '\0']) && file != "." && file != "..";
        if !plain(&self.source) || !plain(self.artifact()) {
            return Some(format!("code.languages.{name}: source and artifact must be plain file names"));
        }
        let of_tool = |command: &[String]| command.first().is_none_or(|tool| tool.starts_with('/'));
        if self.run.is_empty() || !of_tool(&self.compile) || !(of_tool(&self.run) || self.run[0].starts_with("./")) {
            return Some(format!("code.languages.{name}: commands must begin with an absolute path, or run with `./`"));
        }
        None
    }

    /// The first of its tools that this machine lacks.
    pub(super) fn missing(&self) -> Option<&str> {
        let tools = [self.compile.first(), self.run.first()];
        tools
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|t| t.starts_with('/') && !std::path::Path::new(t).exists())
    }
}

/// The languages of a verifier.
#[derive(Debug, Clone)]
pub(super) struct Languages(BTreeMap<String, Language>);

impl Languages {
    pub fn new(settings: &CodeSettings, python: &Python) -> Self {
        let mut all: BTreeMap<String, Language> =
            built_in(python).into_iter().map(|(name, language)| (name.to_owned(), language)).collect();
        all.extend(settings.languages.clone());
        Self(all)
    }

    /// The language of this name or fence word.
    pub fn find(&self, word: &str) -> Option<(&str, &Language)> {
        let word = word.to_ascii_lowercase();
        let by_fence = || self.0.iter().find(|(_, language)| language.fences.contains(&word));
        self.0.get_key_value(&word).or_else(by_fence).map(|(name, language)| (name.as_str(), language))
    }

    /// For messages.
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Paths that any of them shows.
    pub fn show(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.values().flat_map(|language| &language.show)
    }
}

fn built_in(python: &Python) -> [(&'static str, Language); 5] {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let interpreter = python.executable.display().to_string();
    let python = [interpreter.as_str(), "-s", "-S", "-B", "main.py"].map(str::to_owned).to_vec();
    [
        (
            "python",
            Language { fences: words("py python3 py3"), source: "main.py".into(), run: python, ..Language::default() },
        ),
        (
            "c",
            Language {
                source: "main.c".into(),
                compile: words("/usr/bin/gcc -O2 -std=gnu17 -o main main.c -lm"),
                run: words("./main"),
                ..Language::default()
            },
        ),
        (
            "cpp",
            Language {
                fences: words("c++ cc cxx"),
                source: "main.cpp".into(),
                compile: words("/usr/bin/g++ -O2 -std=gnu++20 -o main main.cpp"),
                run: words("./main"),
                ..Language::default()
            },
        ),
        (
            "javascript",
            Language {
                fences: words("js node nodejs"),
                source: "main.js".into(),
                run: words("/usr/bin/node --max-old-space-size={memory_mb} main.js"),
                reserves_memory: true,
                processes: 24,
                ..Language::default()
            },
        ),
        (
            "bash",
            Language {
                fences: words("sh shell"),
                source: "main.sh".into(),
                run: words("/bin/bash main.sh"),
                ..Language::default()
            },
        ),
    ]
}
