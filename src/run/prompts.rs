//! Prompts in the order in which a stage uses them: a function of the run's seed and a counter, so that a resumed stage goes on where
//! it stopped and no other stage matters (INV-4).

use std::collections::BTreeMap;

use data::load::Format;
use data::order::WINDOW_BYTES;
use data::tasks::Split;
use data::{CounterRng, LoadError, LoadOptions, Prompt, PromptFile, Tokenizer, WindowOrder};
use serde::{Deserialize, Serialize};

use super::data_files::DataFile;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Recipe, Source};

/// Prompts of a pool that are looked at to know how long they are.
const LOOKED_AT: u64 = 256;

/// The prompts of one domain and split.
pub struct Pool {
    domain: String,
    split: Split,
    parts: Vec<Part>,
    order: WindowOrder,
}

enum Part {
    Generated { task: data::Task, name: String, seed: u64, n: u64 },
    File(Box<PromptFile>),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Generated { n, .. } => *n,
            Self::File(file) => file.len(),
        }
    }

    /// Prompts and bytes of what an order should keep together.
    fn blocks(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Generated { n, .. } => vec![(*n, 0)],
            Self::File(file) => file.blocks().collect(),
        }
    }
}

impl Pool {
    /// Opens the sources of a domain. Files are checked from end to end and read anew, piece by piece, when they are asked for;
    /// generated prompts are made then.
    ///
    /// # Errors
    /// [`Code::Data`], naming file, row and field.
    pub fn open(recipe: &Recipe, domain: &str, split: Split) -> Result<Self, Failure> {
        let sources = match split {
            Split::Train => &recipe.domains[domain].train,
            Split::Eval => &recipe.domains[domain].eval,
        };
        let parts: Vec<Part> = sources
            .iter()
            .enumerate()
            .map(|(i, s)| part(s, &format!("{domain}-{i}"), domain))
            .collect::<Result<_, _>>()?;
        let name = format!("order/{domain}/{}", split.name());
        let order = WindowOrder::new(parts.iter().flat_map(Part::blocks), WINDOW_BYTES, recipe.run.seed, &name);
        if order.total() == 0 {
            let list = split.name();
            return Err(Failure::new(Code::Data, format!("domain `{domain}` has no prompts in `{list}`"))
                .hint(format!("give it a source: [[domains.{domain}.{list}]]")));
        }
        Ok(Self { domain: domain.to_owned(), split, parts, order })
    }

    /// What its files are, by their paths, once the rows of which `problem` finds something are treated as bad rows. Only files of formats that
    /// `is_doubtful` names are looked through.
    ///
    /// # Errors
    /// [`Code::Data`], naming file and row, where the recipe does not skip bad rows, or none is left.
    pub fn checked(
        self,
        is_doubtful: impl Fn(Format) -> bool,
        problem: impl Fn(&Prompt) -> Option<String> + Sync,
    ) -> Result<Vec<(String, DataFile)>, Failure> {
        let mut files = Vec::new();
        for (number, part) in self.parts.into_iter().enumerate() {
            let Part::File(mut file) = part else { continue };
            if is_doubtful(file.format()) {
                file.leave_out(&problem).map_err(unread)?;
            }
            let source = source_name(&self.domain, self.split, number);
            let refused = Some(file.refused()).filter(|rows| !rows.is_empty()).map(|rows| (source, rows.clone()));
            let described = DataFile {
                absolute: std::path::absolute(file.path()).unwrap_or_else(|_| file.path().to_owned()),
                sha256: String::new(),
                format: file.format(),
                prompts: file.len(),
                skipped: file.skipped_rows(),
                skipped_rows: file.skipped().iter().map(ToString::to_string).collect(),
                refused: refused.into_iter().collect(),
            };
            files.push((file.path().display().to_string(), described));
        }
        Ok(files)
    }

    /// Prompts in one epoch.
    pub fn len(&self) -> u64 {
        self.order.total()
    }

    /// The `i`-th prompt in the order of use: every epoch is a shuffle of its own.
    ///
    /// # Errors
    /// [`Code::Data`] where a generator's settings leave it without problems.
    pub fn get(&mut self, i: u64) -> Result<Prompt, Failure> {
        let row = self.order.at(i);
        self.at(row)
    }

    /// The first `n` prompts as the sources list them: the fixed set of an evaluation.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub fn first(&self, n: u64) -> Result<Vec<Prompt>, Failure> {
        (0..n.min(self.len())).map(|i| self.at(i)).collect()
    }

    fn at(&self, mut i: u64) -> Result<Prompt, Failure> {
        for part in &self.parts {
            if i >= part.len() {
                i -= part.len();
                continue;
            }
            let mut prompt = match part {
                Part::File(file) => file.get(i).or_fail(Code::Data)?,
                Part::Generated { task, name, seed, .. } => {
                    task.item(name, *seed, self.split, i).or_fail(Code::Data)?
                }
            };
            prompt.domain.clone_from(&self.domain);
            return Ok(prompt);
        }
        unreachable!("an index below the total lies in a part");
    }
}

/// What a source is called in `data.json`, wherever its file lies.
pub fn source_name(domain: &str, split: Split, number: usize) -> String {
    format!("{domain}.{}[{number}]", split.name())
}

/// A file of prompts that cannot be used, with what can be done about it where that is not in the message.
fn unread(error: LoadError) -> Failure {
    let failure = Failure::from_error(Code::Data, &error);
    match error {
        LoadError::Row { .. } => failure.hint("mend such rows, or have them left out: `bad_rows = \"skip\"`"),
        LoadError::NoGoodRow { .. } => {
            failure.hint("mend its rows, or name their `format` and `columns` in the recipe")
        }
        _ => failure,
    }
}

fn part(source: &Source, name: &str, domain: &str) -> Result<Part, Failure> {
    match source {
        Source::Generated { task, n, seed } => {
            Ok(Part::Generated { task: task.clone(), name: name.to_owned(), seed: *seed, n: *n as u64 })
        }
        Source::File { path, format, template, columns, limit, bad_rows, refused } => {
            let options = LoadOptions {
                format: *format,
                template: (!template.is_empty()).then(|| template.clone()),
                columns: columns.clone(),
                domain: Some(domain.to_owned()),
                limit: (*limit > 0).then_some(*limit),
                bad_rows: *bad_rows,
                refused: refused.clone(),
            };
            let file = PromptFile::open(path.as_ref(), &options).map_err(unread)?;
            Ok(Part::File(Box::new(file)))
        }
    }
}

/// How far a stage has come in its prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Prompts drawn.
    pub drawn: u64,
    /// Prompts drawn of each domain.
    pub by_domain: BTreeMap<String, u64>,
}

/// A stage's stream of prompts over its domains, mixed by weight.
pub struct Stream {
    pools: BTreeMap<String, Pool>,
    mix: BTreeMap<String, f64>,
    rng: CounterRng,
    /// Where it stands.
    pub cursor: Cursor,
}

impl Stream {
    /// The stream of `stage` from `cursor` on.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub fn open(recipe: &Recipe, stage: &str, mix: &BTreeMap<String, f64>, cursor: Cursor) -> Result<Self, Failure> {
        let pools = mix
            .keys()
            .map(|domain| Ok((domain.clone(), Pool::open(recipe, domain, Split::Train)?)))
            .collect::<Result<_, Failure>>()?;
        let rng = CounterRng::new(recipe.run.seed, &format!("mix/{stage}"));
        Ok(Self { pools, mix: mix.clone(), rng, cursor })
    }

    /// Tokens of the longest of a number of its prompts, spread over its sources.
    ///
    /// # Errors
    /// [`Code::Data`] for a prompt that the chat template refuses.
    pub fn longest(&self, tokenizer: &Tokenizer) -> Result<usize, Failure> {
        let mut longest = 0;
        for pool in self.pools.values() {
            let looked_at = LOOKED_AT.min(pool.len());
            for i in 0..looked_at {
                let prompt = pool.at(i * pool.len() / looked_at)?;
                let tokens = tokenizer.encode_asked(&prompt).or_fail(Code::Data);
                longest = longest.max(tokens.map_err(|f| f.context(&prompt.id))?.len());
            }
        }
        Ok(longest)
    }

    /// The next prompt, and a key that tells this use of it from every other use in the run.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub fn next(&mut self) -> Result<(Prompt, u64), Failure> {
        let draw = self.cursor.drawn;
        let mut left = self.rng.uniform_at(draw) * self.mix.values().sum::<f64>();
        let mut domain = self.mix.keys().last().expect("a training stage has a domain");
        for (name, weight) in &self.mix {
            left -= weight;
            if left < 0.0 {
                domain = name;
                break;
            }
        }
        let used = self.cursor.by_domain.entry(domain.clone()).or_default();
        let prompt = self.pools.get_mut(domain).expect("a pool for every domain").get(*used)?;
        *used += 1;
        self.cursor.drawn += 1;
        Ok((prompt, draw))
    }
}
