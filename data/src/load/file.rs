//! A file of prompts that need not fit into memory: read once to be checked and indexed, then piece by piece as it is asked.
//!
//! A piece (a *block*) is a row group of Parquet, or about a MiB of lines. What is kept of the file is where its blocks begin and
//! how many prompts each has; of the blocks themselves, those used last.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::lines::Lines;
use super::row::{Problem, Reader, detect};
use super::{BadRow, BadRows, Format, LoadError, LoadOptions, RawRow, columnar};
use crate::Prompt;
use crate::order::WINDOW_BYTES;

/// Bytes of lines in a block.
const BLOCK_BYTES: u64 = 1 << 20;

/// Bad rows that are kept to be shown; the others are only counted.
const MOST_SHOWN: usize = 1000;

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Parquet,
    Json,
    Text,
}

impl Container {
    fn of(path: &Path, format: Format) -> Result<Self, LoadError> {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match (extension.as_deref(), format) {
            (Some("parquet"), _) => Ok(Self::Parquet),
            (Some("jsonl" | "ndjson"), _) => Ok(Self::Json),
            (Some("txt"), Format::Auto | Format::Text) | (_, Format::Text) => Ok(Self::Text),
            (_, Format::Auto) => Err(LoadError::Format { path: path.to_owned() }),
            (_, Format::Verl) => Ok(Self::Parquet),
            _ => Ok(Self::Json),
        }
    }
}

/// Rows that stand together.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// The byte where it begins; of Parquet, the number of its row group.
    at: u64,
    /// Rows before it; of files of lines, lines.
    before: usize,
    /// Rows of the file in it.
    rows: usize,
    /// Prompts before it.
    first: u64,
    /// Prompts in it.
    prompts: u64,
    bytes: u64,
}

/// Blocks that were read, the last used at the end, with their bytes in the file.
#[derive(Debug, Default)]
struct Cache {
    blocks: VecDeque<(usize, u64, Arc<Vec<Prompt>>)>,
}

/// An open file of prompts.
#[derive(Debug)]
pub struct PromptFile {
    path: PathBuf,
    stem: String,
    options: LoadOptions,
    container: Container,
    format: Format,
    blocks: Vec<Block>,
    skipped: Vec<BadRow>,
    skipped_rows: u64,
    /// Rows that are left out and would not show it when they are read again: their id is an earlier row's, or they came before the first row
    /// that told the format.
    left_out: HashSet<usize>,
    cache: Mutex<Cache>,
}

impl PromptFile {
    /// Reads the file once, from its first row to its last, and keeps where its rows stand.
    ///
    /// # Errors
    /// [`LoadError`]; a bad row is one only under [`BadRows::Fatal`], or when there is no good one.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut file = Self {
            path: path.to_owned(),
            stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            options: options.clone(),
            container: Container::of(path, options.format)?,
            format: options.format,
            blocks: Vec::new(),
            skipped: Vec::new(),
            skipped_rows: 0,
            left_out: HashSet::new(),
            cache: Mutex::default(),
        };
        if file.format != Format::Auto {
            file.check_columns()?;
        }
        let left = options.limit.unwrap_or(usize::MAX);
        let mut index = Index { left, ids: HashMap::default(), guess: options.format };
        match file.container {
            Container::Parquet => file.index_groups(&mut index)?,
            Container::Json | Container::Text => file.index_lines(&mut index)?,
        }
        match (file.len(), file.skipped.first()) {
            (0, None) => Err(LoadError::Empty { path: file.path }),
            (0, Some(first)) => {
                let (rows, first) = (file.skipped_rows as usize, first.clone());
                Err(LoadError::NoGoodRow { path: file.path, rows, format: index.guess, first })
            }
            _ => Ok(file),
        }
    }

    /// The format that it is read by: the one named, or the one found.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many prompts it has.
    pub fn len(&self) -> u64 {
        self.blocks.last().map_or(0, |last| last.first + last.prompts)
    }

    /// Whether it has none. An open file never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows that were left out, up to a thousand of them.
    pub fn skipped(&self) -> &[BadRow] {
        &self.skipped
    }

    /// How many rows were left out.
    pub fn skipped_rows(&self) -> u64 {
        self.skipped_rows
    }

    /// Prompts and bytes of each block: what an order should keep together.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64)> {
        self.blocks.iter().map(|block| (block.prompts, block.bytes))
    }

    /// The `i`-th prompt of the file.
    ///
    /// # Errors
    /// [`LoadError`], if the file is not as it was when it was opened.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn get(&self, i: u64) -> Result<Prompt, LoadError> {
        assert!(i < self.len(), "prompt {i} of {}", self.len());
        let number = self.blocks.partition_point(|block| block.first + block.prompts <= i);
        let prompts = self.block(number)?;
        let prompt = prompts.get((i - self.blocks[number].first) as usize);
        prompt.cloned().ok_or_else(|| LoadError::Changed { path: self.path.clone() })
    }

    /// Hands each prompt to `take`, in the order of the file.
    ///
    /// # Errors
    /// That of `take`, and as [`PromptFile::get`].
    pub fn for_each<E: From<LoadError>>(&self, mut take: impl FnMut(&Prompt) -> Result<(), E>) -> Result<(), E> {
        (0..self.blocks.len()).try_for_each(|number| self.block(number)?.iter().try_for_each(&mut take))
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            format: self.format,
            columns: &self.options.columns,
            domain: self.options.domain.as_deref(),
            template: self.options.template.as_deref(),
        }
    }

    fn prompt(&self, row: usize, raw: RawRow) -> Result<Prompt, Problem> {
        raw.and_then(|object| self.reader().prompt(object, || format!("{}:{row}", self.stem)))
    }

    fn index_lines(&mut self, index: &mut Index) -> Result<(), LoadError> {
        let mut lines = Lines::open(&self.path, self.container == Container::Text, 0, 0)?;
        let mut block = self.next_block(0, 0);
        while index.left > 0 {
            let Some((row, raw)) = lines.next()? else { break };
            block.rows += 1;
            block.prompts += u64::from(self.check(index, row, raw)?);
            let (at, before) = lines.place();
            block.bytes = at - block.at;
            if block.bytes >= BLOCK_BYTES {
                self.blocks.push(block);
                block = self.next_block(at, before);
            }
        }
        self.blocks.push(block);
        Ok(())
    }

    fn index_groups(&mut self, index: &mut Index) -> Result<(), LoadError> {
        let mut before = 0;
        for (group, (rows, bytes)) in columnar::groups(&self.path)?.into_iter().enumerate() {
            let mut block = Block { bytes, ..self.next_block(group as u64, before) };
            let path = self.path.clone();
            if index.left > 0 {
                columnar::rows(&path, group, |i, raw| {
                    if index.left > 0 {
                        block.rows += 1;
                        block.prompts += u64::from(self.check(index, before + i + 1, raw)?);
                    }
                    Ok(())
                })?;
            }
            self.blocks.push(block);
            before += rows;
        }
        Ok(())
    }

    fn next_block(&self, at: u64, before: usize) -> Block {
        Block { at, before, rows: 0, first: self.len(), prompts: 0, bytes: 0 }
    }

    /// Whether a row is a prompt; what is wrong with it is noted.
    fn check(&mut self, index: &mut Index, row: usize, raw: RawRow) -> Result<bool, LoadError> {
        index.left -= 1;
        let is_guess = self.format == Format::Auto;
        if let (true, Ok(object)) = (is_guess, &raw) {
            self.format = match self.container {
                Container::Text => Format::Text,
                container => detect(object, &self.options.columns, container == Container::Parquet),
            };
            if index.guess == Format::Auto {
                index.guess = self.format;
            }
        }
        let prompt = self.prompt(row, raw);
        let is_skipped = prompt.is_err() && self.options.bad_rows == BadRows::Skip;
        match is_guess {
            // A row that is no prompt does not say how the others are read.
            true if is_skipped => {
                self.format = Format::Auto;
                self.left_out.insert(row);
            }
            true if self.format != Format::Auto => self.check_columns()?,
            _ => {}
        }
        let prompt = prompt.and_then(|prompt| {
            let unique = index.unique(row, &prompt.id, &self.stem, self.reader().id_column());
            if unique.is_err() {
                self.left_out.insert(row);
            }
            unique
        });
        let bad = match prompt {
            Err(Problem { field, problem }) => BadRow { row, field, problem },
            Ok(()) if self.options.refused.contains(&row) => {
                let problem = "left out by an earlier reading".to_owned();
                self.skip(BadRow { row, field: String::new(), problem });
                return Ok(false);
            }
            Ok(()) => return Ok(true),
        };
        if self.options.bad_rows == BadRows::Fatal {
            return Err(LoadError::Row { path: self.path.clone(), bad });
        }
        self.skip(bad);
        Ok(false)
    }

    fn skip(&mut self, bad: BadRow) {
        self.skipped_rows += 1;
        let at = self.skipped.partition_point(|other| other.row < bad.row);
        self.skipped.insert(at, bad);
        self.skipped.truncate(MOST_SHOWN);
    }

    fn check_columns(&self) -> Result<(), LoadError> {
        match self.reader().without_effect() {
            None => Ok(()),
            Some((field, why)) => Err(LoadError::Column { path: self.path.clone(), format: self.format, field, why }),
        }
    }

    /// Looks at every prompt, on as many threads as there are processors, and treats the rows of which `problem` finds
    /// something as bad rows. Which rows that were is found in [`PromptFile::refused`].
    ///
    /// # Errors
    /// [`LoadError::Row`] under [`BadRows::Fatal`], [`LoadError::NoGoodRow`] where no row is left, and as
    /// [`PromptFile::get`].
    pub fn leave_out(&mut self, problem: impl Fn(&Prompt) -> Option<String> + Sync) -> Result<(), LoadError> {
        let mut first = 0;
        for number in 0..self.blocks.len() {
            let mut block = self.blocks[number];
            let rows = self.read_rows(&block)?;
            for (row, problem) in problems(&rows, &problem) {
                let bad = BadRow { row, field: String::new(), problem };
                if self.options.bad_rows == BadRows::Fatal {
                    return Err(LoadError::Row { path: self.path.clone(), bad });
                }
                self.options.refused.insert(row);
                self.skip(bad);
                block.prompts -= 1;
            }
            block.first = first;
            first += block.prompts;
            self.blocks[number] = block;
        }
        *self.cache.get_mut().expect("reading a block does not panic") = Cache::default();
        match self.skipped.first() {
            Some(bad) if first == 0 => {
                let (rows, first) = (self.skipped_rows as usize, bad.clone());
                Err(LoadError::NoGoodRow { path: self.path.clone(), rows, format: self.format, first })
            }
            _ => Ok(()),
        }
    }

    /// The rows that [`PromptFile::leave_out`] left out, in this reading and in the one that the options tell of.
    pub fn refused(&self) -> &BTreeSet<usize> {
        &self.options.refused
    }

    fn block(&self, number: usize) -> Result<Arc<Vec<Prompt>>, LoadError> {
        let mut cache = self.cache.lock().expect("reading a block does not panic");
        if let Some(i) = cache.blocks.iter().position(|(n, ..)| *n == number) {
            let found = cache.blocks.remove(i).expect("it is there");
            cache.blocks.push_back(found);
        } else {
            let block = &self.blocks[number];
            let read = Arc::new(self.read_block(block)?);
            cache.blocks.push_back((number, block.bytes, read));
            while cache.blocks.len() > 1 && cache.blocks.iter().map(|(_, bytes, _)| bytes).sum::<u64>() > WINDOW_BYTES {
                cache.blocks.pop_front();
            }
        }
        Ok(cache.blocks.back().expect("it was put there").2.clone())
    }

    fn read_block(&self, block: &Block) -> Result<Vec<Prompt>, LoadError> {
        Ok(self.read_rows(block)?.into_iter().map(|(_, prompt)| prompt).collect())
    }

    /// The prompts of a block with the numbers of their rows.
    fn read_rows(&self, block: &Block) -> Result<Vec<(usize, Prompt)>, LoadError> {
        let mut prompts = Vec::with_capacity(block.prompts as usize);
        let mut take = |row: usize, raw: RawRow| {
            if !self.left_out.contains(&row) && !self.options.refused.contains(&row) {
                prompts.extend(self.prompt(row, raw).ok().map(|prompt| (row, prompt)));
            }
        };
        if self.container == Container::Parquet {
            columnar::rows(&self.path, block.at as usize, |i, raw| {
                if i < block.rows {
                    take(block.before + i + 1, raw);
                }
                Ok(())
            })?;
        } else {
            let mut lines = Lines::open(&self.path, self.container == Container::Text, block.at, block.before)?;
            for _ in 0..block.rows {
                let Some((row, raw)) = lines.next()? else { break };
                take(row, raw);
            }
        }
        if prompts.len() as u64 != block.prompts {
            return Err(LoadError::Changed { path: self.path.clone() });
        }
        Ok(prompts)
    }
}

/// The rows of which `problem` finds something, in their order.
fn problems(rows: &[(usize, Prompt)], problem: &(impl Fn(&Prompt) -> Option<String> + Sync)) -> Vec<(usize, String)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads).max(1);
    let of = |rows: &[(usize, Prompt)]| -> Vec<(usize, String)> {
        rows.iter().filter_map(|(row, prompt)| Some((*row, problem(prompt)?))).collect()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = rows.chunks(share).map(|part| scope.spawn(move || of(part))).collect();
        let found = parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        found.flatten().collect()
    })
}

/// What the first reading knows and the file need not keep.
struct Index {
    /// Rows that may still be read.
    left: usize,
    /// The format that is named, or that the first row which could be read has by its columns.
    guess: Format,
    /// The row of each id that the source gives, by its hash.
    ids: HashMap<u64, usize, BuildHasherDefault<DefaultHasher>>,
}

impl Index {
    /// The id keys the random numbers of sampling (INV-4): two prompts of one id would get the same ones.
    fn unique(&mut self, row: usize, id: &str, stem: &str, column: &str) -> Result<(), Problem> {
        // Ids that follow from the row's number are unique among themselves and need not be remembered.
        let number = id.strip_prefix(stem).and_then(|rest| rest.strip_prefix(':')).and_then(|n| n.parse().ok());
        match number {
            Some(number) if number == row => return Ok(()),
            Some(other) => {
                let other: usize = other;
                let problem =
                    format!("`{id}` is what row {other} is called where it has no id; call it something else");
                return Err(Problem::new(column, problem));
            }
            None => {}
        }
        let hash = self.ids.hasher().hash_one(id);
        if let Some(first) = self.ids.get(&hash) {
            let problem = format!("`{id}` is already the id of row {first}; ids must be unique within a file");
            return Err(Problem::new(column, problem));
        }
        self.ids.insert(hash, row);
        Ok(())
    }
}
