//! Makes programs of other languages ready to run, and keeps what compilers made: the samples of a group often hold the same program.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    SandboxError,
    command::{Command, End, Finished, Given},
    languages::Language,
    limits::{Limits, RUNTIME_MB},
    shop::Shop,
};

/// Bytes of artifacts that are kept.
const CACHE_BYTES: usize = 256 << 20;
/// Bytes of a compiler's complaints that are kept.
const COMPLAINT_BYTES: usize = 4096;

type Key = [u8; 32];

/// A program that can be run.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub run: Vec<String>,
    pub files: Vec<Given>,
    /// Its language reserves addresses that it does not use.
    pub reserves_memory: bool,
    pub extra_processes: u64,
    /// What its compilation took, whenever that was; nothing where there was none.
    pub spent: Spent,
}

impl Ready {
    /// Limits of a program, with what its language needs beside them.
    pub fn limits(&self, of: Limits) -> Limits {
        let runtime_mb = if self.reserves_memory { RUNTIME_MB } else { 0 };
        Limits { processes: of.processes + self.extra_processes, runtime_mb, ..of }
    }
}

/// What a compilation took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub cpu_s: f64,
    pub wall_s: f64,
    pub peak_memory_mb: f64,
}

/// What came of making it ready.
#[derive(Debug)]
pub(super) enum Made {
    Ready(Ready),
    /// The compiler refused it, or was ended; what it said.
    Refused(Finished),
}

/// What compilers made, by the hash of what they were given.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    kept: HashMap<Key, (Arc<Vec<u8>>, Spent)>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Cache {
    /// A worker that panicked left the entries whole enough: at worst their sum is off.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &Key) -> Option<(Arc<Vec<u8>>, Spent)> {
        self.lock().kept.get(key).cloned()
    }

    /// Keeps an artifact; the oldest go when there is no room.
    fn put(&self, key: Key, artifact: &Arc<Vec<u8>>, spent: Spent) {
        let mut entries = self.lock();
        if entries.kept.contains_key(&key) || artifact.len() > CACHE_BYTES {
            return;
        }
        entries.bytes += artifact.len();
        entries.kept.insert(key, (Arc::clone(artifact), spent));
        entries.order.push_back(key);
        while entries.bytes > CACHE_BYTES {
            let Some(oldest) = entries.order.pop_front() else { return };
            entries.bytes -= entries.kept.remove(&oldest).map_or(0, |(artifact, _)| artifact.len());
        }
    }
}

/// Compiles a program where its language is compiled. `extra` files lie beside it, at its compilation and when it runs.
pub(super) fn make(
    shop: &mut Shop,
    language: &Language,
    source: &str,
    extra: &[Given],
    limits: &Limits,
) -> Result<Made, SandboxError> {
    if let Some(tool) = language.missing() {
        return Err(SandboxError::Untestable(format!("`{tool}` is not installed here")));
    }
    let written =
        Given { name: language.source.clone(), bytes: Arc::new(source.as_bytes().to_vec()), executable: false };
    let ready = |program: Given, spent: Spent| {
        let mut files = vec![program];
        files.extend_from_slice(extra);
        Ready {
            run: language.run.clone(),
            files,
            reserves_memory: language.reserves_memory,
            extra_processes: language.processes,
            spent,
        }
    };
    if language.compile.is_empty() {
        return Ok(Made::Ready(ready(written, Spent::default())));
    }
    let key = key(language, source, extra);
    let artifact = |bytes| Given { name: language.artifact().to_owned(), bytes, executable: true };
    if let Some((bytes, spent)) = shop.plans.cache.get(&key) {
        return Ok(Made::Ready(ready(artifact(bytes), spent)));
    }
    let mut files = vec![written];
    files.extend_from_slice(extra);
    let command = Command {
        argv: language.compile.clone(),
        files,
        stdin: b"",
        fetch: vec![language.artifact().to_owned()],
        fetch_limit: limits.output(),
        limits: *limits,
        limit_addresses: true,
    };
    let mut finished = shop.command(&command)?;
    finished.stderr.truncate(COMPLAINT_BYTES);
    match finished.fetched.pop().flatten() {
        Some(bytes) if finished.end == End::Exit(0) => {
            let bytes = Arc::new(bytes);
            let Finished { cpu_s, wall_s, peak_memory_mb, .. } = finished;
            let spent = Spent { cpu_s, wall_s, peak_memory_mb };
            shop.plans.cache.put(key, &bytes, spent);
            Ok(Made::Ready(ready(artifact(bytes), spent)))
        }
        _ => Ok(Made::Refused(finished)),
    }
}

/// A hash of everything that the compiler is given. Lengths keep neighbours apart.
fn key(language: &Language, source: &str, extra: &[Given]) -> Key {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    language.compile.iter().for_each(|argument| add(argument.as_bytes()));
    add(language.artifact().as_bytes());
    add(source.as_bytes());
    for file in extra {
        add(file.name.as_bytes());
        add(&file.bytes);
    }
    hash.finalize().into()
}

/// The compiler's word for a program that it refused.
pub(super) fn complaint(finished: &Finished) -> String {
    let text = String::from_utf8_lossy(&finished.stderr);
    match finished.end {
        End::Exit(code) => {
            let first = text.lines().find(|line| line.contains("error")).or_else(|| text.lines().next()).unwrap_or("");
            format!("the compiler ended with {code}: {first}")
        }
        End::Signal(signal) => format!("the compiler was killed by {}", super::outcome::signal_name(signal)),
        End::Late => "the compiler took too long".into(),
        End::TooLarge => "the compiler took too much memory".into(),
        End::TooLong => "the compiler wrote too much".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keys_tell_neighbours_apart() {
        let cache = Cache::default();
        let artifact = Arc::new(vec![0; CACHE_BYTES / 2]);
        for i in 0..4 {
            cache.put([i; 32], &artifact, Spent::default());
        }
        assert!(cache.get(&[0; 32]).is_none() && cache.get(&[3; 32]).is_some());
        assert!(cache.lock().bytes <= CACHE_BYTES);
        let language = Language { compile: vec!["/bin/cc".into()], ..Language::default() };
        let given = |name: &str, text: &str| Given {
            name: name.into(),
            bytes: Arc::new(text.as_bytes().to_vec()),
            executable: false,
        };
        assert_ne!(key(&language, "ab", &[]), key(&language, "a", &[given("b", "")]));
        assert_ne!(key(&language, "a", &[given("b", "c")]), key(&language, "a", &[given("bc", "")]));
    }
}
