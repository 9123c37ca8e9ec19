//! Checkpoints and files of the Hugging Face hub, by name: `hf://OWNER/NAME` is a checkpoint, `hf://OWNER/NAME/FILE` and
//! `hf://datasets/OWNER/NAME/FILE` are files. `NAME@REVISION` picks a branch, a tag or a commit; without one it is `main`.
//!
//! They are kept in the hub's own cache (`HF_HOME`) as huggingface_hub keeps them, and what is there is used without asking the hub. A
//! checkpoint's files are all of one commit; one of which the cache has a part, perhaps through another program, is completed.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use data::tokenizer::FORMS;
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;
use policy::config::{CONFIG, PARAMS};

use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Recipe;
use crate::say;

/// What a name of the hub begins with.
const SCHEME: &str = "hf://";
/// What the names of weights files begin with, in the layout of transformers and in Mistral's own.
const WEIGHTS: &str = "model";
const MISTRALS_WEIGHTS: &str = "consolidated";
/// The environment's word for how many seconds the hub may be silent, as in huggingface_hub.
const TIMEOUT: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
/// Where the environment has none.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a download is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The folder or file behind a path: the path itself, or what a name of the hub stands for, which is downloaded unless it is there.
///
/// # Errors
/// [`Code::Usage`] for a name that is none; [`Code::Checkpoint`] for a checkpoint and [`Code::Data`] for a file that cannot be had.
pub fn local(path: &Path) -> Result<PathBuf, Failure> {
    match path.to_str().and_then(|text| text.strip_prefix(SCHEME)) {
        Some(name) => Wanted::parse(name)?.get(),
        None => Ok(path.to_owned()),
    }
}

/// Downloads what a recipe names on the hub, and has it name the copies.
///
/// # Errors
/// As [`local`].
pub fn fetch(recipe: &mut Recipe) -> Result<(), Failure> {
    for path in recipe.paths() {
        if path.starts_with(SCHEME) {
            let copy = local(Path::new(&*path))?.into_os_string().into_string();
            *path = copy.map_err(|name| Failure::new(Code::Disk, format!("{} is no UTF-8", name.display())))?;
        }
    }
    Ok(())
}

/// What a name of the hub stands for.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    id: String,
    kind: RepoType,
    revision: String,
    /// `None`: the whole checkpoint.
    file: Option<String>,
}

impl Wanted {
    fn parse(name: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::new(Code::Usage, format!("`{SCHEME}{name}` names nothing on the hub")).hint(
                "a checkpoint is hf://OWNER/NAME, a file hf://datasets/OWNER/NAME/FILE; NAME@REVISION picks a version",
            )
        };
        let (kind, rest) = match name.strip_prefix("datasets/") {
            Some(rest) => (RepoType::Dataset, rest),
            None => (RepoType::Model, name),
        };
        let mut parts = rest.splitn(3, '/');
        let (owner, versioned, file) = (parts.next(), parts.next(), parts.next().map(str::to_owned));
        let (Some(owner), Some(versioned)) = (owner, versioned) else { return Err(wrong()) };
        let (repo, revision) = versioned.split_once('@').unwrap_or((versioned, "main"));
        // What follows a slash is a file. The hub's own revisions with slashes (refs/pr/1) have a commit to be named by.
        if revision == "refs" {
            return Err(wrong().hint("a revision with a slash in its name is named by its commit: OWNER/NAME@COMMIT"));
        }
        let sound = |part: &str| !part.is_empty() && part != ".." && part != ".";
        let file_is_sound = file.as_ref().is_none_or(|file| file.split('/').all(sound));
        if ![owner, repo, revision].into_iter().all(sound) || !file_is_sound {
            return Err(wrong());
        }
        if matches!(kind, RepoType::Dataset) && file.is_none() {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), id: format!("{owner}/{repo}"), kind, revision: revision.to_owned(), file })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), self.kind, revision.to_owned())
    }

    /// What is in the cache, or else comes from the hub.
    fn get(&self) -> Result<PathBuf, Failure> {
        let cache = Cache::from_env().repo(self.repo(&self.revision));
        let cached = match &self.file {
            Some(file) => cache.get(file),
            None => [CONFIG, PARAMS]
                .into_iter()
                .find_map(|config| cache.get(config))
                .filter(|path| path.parent().is_some_and(is_whole)),
        };
        let path = match cached {
            Some(path) => path,
            None => self.download()?,
        };
        match (&self.file, path.parent()) {
            (None, Some(folder)) => Ok(folder.to_owned()),
            _ => Ok(path),
        }
    }

    /// Downloads a checkpoint or a file, of the commit that the revision is now. The answer is the file, or the checkpoint's config.
    fn download(&self) -> Result<PathBuf, Failure> {
        if std::env::var("HF_HUB_OFFLINE").is_ok_and(|on| !matches!(on.as_str(), "" | "0" | "false" | "no" | "off")) {
            return Err(self.failure("it is not in the cache, and HF_HUB_OFFLINE is set"));
        }
        let hub = Hub::open().map_err(|error| self.failure(error))?;
        let (api, repo) = (hub.api.clone(), self.repo(&self.revision));
        let info = hub.ask(move |_| api.repo(repo).info()).map_err(|error| self.failure(error))?;
        let files = match &self.file {
            Some(file) => vec![file.clone()],
            None => of_a_checkpoint(info.siblings.into_iter().map(|file| file.rfilename).collect()),
        };
        let there = Cache::from_env().repo(self.repo(&self.revision)).pointer_path(&info.sha);
        let mut path = PathBuf::new();
        for file in files {
            path = there.join(&file);
            if path.exists() {
                continue;
            }
            say!("{SCHEME}{}: {file}", self.name);
            let (api, repo) = (hub.api.clone(), self.repo(&info.sha));
            let get = move |heard: Heard| api.repo(repo).download_with_progress(&file, heard);
            path = hub.ask(get).map_err(|error| self.failure(error))?;
        }
        // Now the revision's name leads to the copy.
        Cache::from_env().repo(self.repo(&self.revision)).create_ref(&info.sha).or_fail(Code::Disk)?;
        Ok(path)
    }

    fn failure(&self, why: impl std::fmt::Display) -> Failure {
        let code = if self.file.is_none() { Code::Checkpoint } else { Code::Data };
        Failure::new(code, format!("{SCHEME}{}: {why}", self.name))
            .hint("check the name; what is not public needs a token in HF_TOKEN; a folder or file that is here already can be named by its path")
    }
}

/// True where a folder has a config and weights that go with it, all of them, and its tokenizer.
fn is_whole(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).exists();
    let weights = |stem: &str| {
        // One file wins over shards, as where they are read.
        if has(&format!("{stem}.safetensors")) {
            return true;
        }
        let shards = std::fs::read(folder.join(format!("{stem}.safetensors.index.json"))).ok();
        let index = shards.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let list = index.as_ref().and_then(|index| index["weight_map"].as_object());
        list.is_some_and(|list| list.values().all(|file| file.as_str().is_some_and(has)))
    };
    let mistrals = weights(MISTRALS_WEIGHTS);
    let parts = if has(CONFIG) { weights(WEIGHTS) || mistrals } else { has(PARAMS) && mistrals };
    parts && FORMS.iter().any(|form| has(form))
}

/// Which of a repository's files are downloaded, the config last: with it a checkpoint is whole. Weights in Mistral's own layout are, where
/// there are no others.
fn of_a_checkpoint(mut files: Vec<String>) -> Vec<String> {
    files.retain(|file| is_of_a_checkpoint(file));
    let is_weights = |file: &String, stem: &str| file.starts_with(stem) && file.ends_with(".safetensors");
    let layout = if files.iter().any(|file| is_weights(file, WEIGHTS)) { WEIGHTS } else { MISTRALS_WEIGHTS };
    let has = |file: &str| files.iter().any(|name| name == file);
    let config = if !has(CONFIG) && has(PARAMS) { PARAMS } else { CONFIG };
    files.retain(|file| file != config && (layout == MISTRALS_WEIGHTS || !file.starts_with(MISTRALS_WEIGHTS)));
    files.push(config.to_owned());
    files
}

/// What a program that reads checkpoints could look at: no pictures, no other programs' weights.
fn is_of_a_checkpoint(file: &str) -> bool {
    let known = [".json", ".jinja", ".model", ".txt", ".safetensors"].iter().any(|ending| file.ends_with(ending));
    let is_template =
        |file: &str| file.strip_prefix("additional_chat_templates/").is_some_and(|name| !name.contains('/'));
    known && (!file.contains('/') || is_template(file))
}

/// The hub, or why it does not answer.
#[derive(Debug, thiserror::Error)]
enum HubError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the hub has sent nothing for {} s ({TIMEOUT} sets the limit)", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the download ended without an answer (above)")]
    Ended,
}

struct Hub {
    api: Api,
    patience: Duration,
}

impl Hub {
    /// The hub of the environment: `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`.
    fn open() -> Result<Self, HubError> {
        let mut builder =
            ApiBuilder::from_env().with_progress(false).with_user_agent("temper", env!("CARGO_PKG_VERSION"));
        if let Some(token) = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()) {
            builder = builder.with_token(Some(token));
        }
        let seconds = std::env::var(TIMEOUT).ok().and_then(|text| text.parse().ok());
        let patience = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(SILENCE);
        Ok(Self { api: builder.build()?, patience })
    }

    /// Asks on a thread of its own, and waits as long as something comes: no wait is without an end (INV-9).
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Heard) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, HubError> {
        let heard = Heard::new();
        let (tell, told) = channel();
        let asking = heard.clone();
        thread::spawn(move || drop(tell.send(question(asking))));
        loop {
            match told.recv_timeout(LOOK.min(self.patience)) {
                Ok(answer) => return Ok(answer?),
                Err(RecvTimeoutError::Timeout) if heard.silence() < self.patience => {}
                Err(RecvTimeoutError::Timeout) => return Err(HubError::Silent(self.patience)),
                Err(RecvTimeoutError::Disconnected) => return Err(HubError::Ended),
            }
        }
    }
}

/// When something was last heard of a download, which a terminal sees grow.
#[derive(Clone)]
struct Heard {
    last: Arc<Mutex<Instant>>,
    bar: ProgressBar,
}

impl Heard {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        Self { last: Arc::new(Mutex::new(Instant::now())), bar }
    }

    fn silence(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn now(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Progress for Heard {
    fn init(&mut self, size: usize, file: &str) {
        self.now();
        self.bar.init(size, file);
    }

    fn update(&mut self, size: usize) {
        self.now();
        Progress::update(&mut self.bar, size);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `OWNER/NAME` and the commit, where the folder is a checkpoint of the hub in its cache.
pub fn repository(folder: &Path) -> Option<(String, String)> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let name = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    let (owner, name) = name.split_once("--")?;
    Some((format!("{owner}/{name}"), folder.file_name()?.to_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<(String, String, Option<String>)> {
        Wanted::parse(name).ok().map(|wanted| (wanted.id, wanted.revision, wanted.file))
    }

    #[test]
    fn a_folder_of_the_cache_is_known_by_its_name_on_the_hub() {
        let of = |folder: &str| repository(Path::new(folder));
        let of_hub = of("/c/hub/models--Qwen--Qwen3-0.6B/snapshots/abc");
        assert_eq!(of_hub, Some(("Qwen/Qwen3-0.6B".to_owned(), "abc".to_owned())));
        assert_eq!((of("/c/models--a--b"), of("runs/x/snapshots/abc"), of("q3")), (None, None, None));
    }

    #[test]
    fn a_name_has_an_owner_a_version_and_perhaps_a_file() {
        let some = |id: &str, revision: &str, file: Option<&str>| {
            Some((id.to_owned(), revision.to_owned(), file.map(str::to_owned)))
        };
        assert_eq!(parsed("Qwen/Qwen3-0.6B"), some("Qwen/Qwen3-0.6B", "main", None));
        assert_eq!(parsed("Qwen/Qwen3-0.6B@v1"), some("Qwen/Qwen3-0.6B", "v1", None));
        assert_eq!(parsed("a/b@v1/sub/c.jsonl"), some("a/b", "v1", Some("sub/c.jsonl")));
        assert_eq!(parsed("datasets/a/b/c.parquet"), some("a/b", "main", Some("c.parquet")));
        for wrong in ["", "a", "a/", "/b", "a/b@", "datasets/a/b", "a/b/../c", "a/..", "a/b/", "a/b@refs/pr/1"] {
            assert!(parsed(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_path_that_is_here_stays_as_it_is() {
        assert_eq!(local(Path::new("configs/base")).expect("nothing is asked"), Path::new("configs/base"));
    }

    #[test]
    fn only_what_a_checkpoint_is_made_of_is_downloaded() {
        for (file, is) in [
            ("model-00001-of-00002.safetensors", true),
            ("tokenizer.json", true),
            ("tekken.json", true),
            ("tiktoken.model", true),
            ("chat_template.jinja", true),
            ("additional_chat_templates/tool_use.jinja", true),
            ("additional_chat_templates/old/x.jinja", false),
            ("merges.txt", true),
            ("pytorch_model.bin", false),
            ("onnx/model.safetensors", false),
            ("README.md", false),
        ] {
            assert_eq!(is_of_a_checkpoint(file), is, "{file}");
        }
    }

    /// Mistral's own weights are downloaded where there are no others, and the config is the last of all.
    #[test]
    fn one_layout_is_downloaded() {
        let chosen = |names: &[&str]| of_a_checkpoint(names.iter().map(|name| (*name).to_owned()).collect());
        let own =
            ["consolidated-1-of-1.safetensors", "consolidated.safetensors.index.json", "params.json", "tokenizer.json"];
        let last =
            ["consolidated-1-of-1.safetensors", "consolidated.safetensors.index.json", "tokenizer.json", "params.json"];
        assert_eq!(chosen(&own), last);
        let both =
            [own.as_slice(), &["config.json", "model-1-of-1.safetensors", "model.safetensors.index.json"]].concat();
        let theirs = [
            "params.json",
            "tokenizer.json",
            "model-1-of-1.safetensors",
            "model.safetensors.index.json",
            "config.json",
        ];
        assert_eq!(chosen(&both), theirs);
        assert_eq!(chosen(&["consolidated.safetensors", "config.json"]), ["consolidated.safetensors", "config.json"]);
        assert_eq!(chosen(&["README.md"]), ["config.json"], "which the hub then says is not there");
    }

    /// A download that was cut is not taken for a checkpoint, whatever is missing.
    #[test]
    fn a_checkpoint_of_either_layout_is_whole_or_not() {
        let list = r#"{"weight_map": {"norm.weight": "consolidated-1-of-1.safetensors"}}"#;
        for (files, whole) in [
            (vec!["config.json", "model.safetensors", "tokenizer.json"], true),
            (vec!["config.json", "consolidated.safetensors", "tokenizer.json"], true),
            (vec!["params.json", "consolidated.safetensors", "tokenizer.json"], true),
            (
                vec![
                    "params.json",
                    "consolidated.safetensors.index.json",
                    "consolidated-1-of-1.safetensors",
                    "tokenizer.json",
                ],
                true,
            ),
            (vec!["params.json", "consolidated.safetensors.index.json", "tokenizer.json"], false),
            (vec!["params.json", "consolidated.safetensors"], false),
            (vec!["params.json", "model.safetensors", "tokenizer.json"], false),
            (vec!["model.safetensors", "tokenizer.json"], false),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            for file in &files {
                let text = if file.ends_with("index.json") { list } else { "" };
                std::fs::write(folder.path().join(file), text).expect("it writes");
            }
            assert_eq!(is_whole(folder.path()), whole, "{files:?}");
        }
    }
}
