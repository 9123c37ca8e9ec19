//! Prompts in the order in which a stage uses them: a function of the run's seed and a counter, so that a resumed stage goes on where
//! it stopped and no other stage matters (INV-4).

use std::collections::BTreeMap;

use data::tasks::Split;
use data::{CounterRng, LoadOptions, Prompt, Tokenizer, load_prompts};
use serde::{Deserialize, Serialize};

use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Recipe, Source};

/// Prompts of a pool that are looked at to know how long they are.
const LOOKED_AT: u64 = 256;

/// The prompts of one domain and split.
pub struct Pool {
    domain: String,
    split: Split,
    parts: Vec<Part>,
    total: u64,
    seed: u64,
    /// The order of the epoch that was asked for last.
    order: Option<(u64, Vec<u32>)>,
}

enum Part {
    Generated { task: data::Task, name: String, seed: u64, n: u64 },
    Loaded(Vec<Prompt>),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Generated { n, .. } => *n,
            Self::Loaded(prompts) => prompts.len() as u64,
        }
    }
}

impl Pool {
    /// Opens the sources of a domain. Files are read whole; generated prompts are made when they are asked for.
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
        let total = parts.iter().map(Part::len).sum();
        if total == 0 {
            let list = split.name();
            return Err(Failure::new(Code::Data, format!("domain `{domain}` has no prompts in `{list}`"))
                .hint(format!("give it a source: [[domains.{domain}.{list}]]")));
        }
        Ok(Self { domain: domain.to_owned(), split, parts, total, seed: recipe.run.seed, order: None })
    }

    /// The prompts that were read from files.
    pub fn loaded(&self) -> impl Iterator<Item = &Prompt> {
        self.parts.iter().flat_map(|part| match part {
            Part::Loaded(prompts) => prompts.as_slice(),
            Part::Generated { .. } => &[],
        })
    }

    /// Prompts in one epoch.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// The `i`-th prompt in the order of use: every epoch is a shuffle of its own.
    ///
    /// # Errors
    /// [`Code::Data`] where a generator's settings leave it without problems.
    pub fn get(&mut self, i: u64) -> Result<Prompt, Failure> {
        let epoch = i / self.total;
        if self.order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let mut order: Vec<u32> = (0..self.total as u32).collect();
            CounterRng::new(self.seed, &format!("order/{}/{}/{epoch}", self.domain, self.split.name()))
                .shuffle(&mut order);
            self.order = Some((epoch, order));
        }
        let (_, order) = self.order.as_ref().expect("made above");
        self.at(u64::from(order[(i % self.total) as usize]))
    }

    /// The first `n` prompts as the sources list them: the fixed set of an evaluation.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub fn first(&self, n: u64) -> Result<Vec<Prompt>, Failure> {
        (0..n.min(self.total)).map(|i| self.at(i)).collect()
    }

    fn at(&self, mut i: u64) -> Result<Prompt, Failure> {
        for part in &self.parts {
            if i >= part.len() {
                i -= part.len();
                continue;
            }
            let mut prompt = match part {
                Part::Loaded(prompts) => prompts[i as usize].clone(),
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

fn part(source: &Source, name: &str, domain: &str) -> Result<Part, Failure> {
    match source {
        Source::Generated { task, n, seed } => {
            Ok(Part::Generated { task: task.clone(), name: name.to_owned(), seed: *seed, n: *n as u64 })
        }
        Source::File { path, format, columns, limit, bad_rows } => {
            let options = LoadOptions {
                format: Some(*format),
                columns: columns.clone(),
                domain: Some(domain.to_owned()),
                limit: (*limit > 0).then_some(*limit),
                bad_rows: *bad_rows,
            };
            let loaded = load_prompts(path.as_ref(), &options).or_fail(Code::Data)?;
            if let Some(first) = loaded.skipped.first() {
                eprintln!("warning: {path}: {} rows skipped, the first: {first}", loaded.skipped.len());
            }
            Ok(Part::Loaded(loaded.prompts))
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
            let looked_at = LOOKED_AT.min(pool.total);
            for i in 0..looked_at {
                let prompt = pool.at(i * pool.total / looked_at)?;
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
