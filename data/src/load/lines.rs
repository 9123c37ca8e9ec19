//! Files of lines: JSONL, one JSON object a line, and plain text, whose rows are what stands between blank lines.
//!
//! A row's number is that of its (first) line, so that an editor finds it.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::row::{Problem, TEXT_COLUMN};
use super::{LoadError, RawRow};
use crate::exact_json;
use crate::prompt::kind;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A text without blank lines is cut into rows of about this many bytes, at the ends of lines.
const LONGEST_TEXT: usize = 1 << 20;

/// The rows from somewhere in a file on.
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    is_text: bool,
    /// Bytes before the next line.
    offset: u64,
    /// Lines before the next line.
    number: usize,
}

impl Lines {
    /// The rows from byte `offset` on, which `number` lines precede.
    pub fn open(path: &Path, is_text: bool, offset: u64, number: usize) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), is_text, offset, number })
    }

    /// Where the next row begins: bytes and lines before it.
    pub fn place(&self) -> (u64, usize) {
        (self.offset, self.number)
    }

    /// The next row with its number; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(usize, RawRow)>, LoadError> {
        match self.is_text {
            true => self.next_text(),
            false => self.next_json(),
        }
    }

    /// The next line, without a byte order mark; `None` at the end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, LoadError> {
        let mut line = Vec::new();
        let read = self.file.read_until(b'\n', &mut line);
        let read = read.map_err(|source| LoadError::Io { path: self.path.clone(), source })?;
        if read == 0 {
            return Ok(None);
        }
        if self.offset == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        self.offset += read as u64;
        self.number += 1;
        Ok(Some(line))
    }

    fn next_json(&mut self) -> Result<Option<(usize, RawRow)>, LoadError> {
        while let Some(line) = self.line()? {
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, parse(line.trim_ascii()))));
            }
        }
        Ok(None)
    }

    fn next_text(&mut self) -> Result<Option<(usize, RawRow)>, LoadError> {
        let (mut text, mut first) = (Vec::new(), 0);
        while let Some(line) = self.line()? {
            let is_blank = line.trim_ascii().is_empty();
            if is_blank && !text.is_empty() {
                break;
            }
            if is_blank {
                continue;
            }
            if text.is_empty() {
                first = self.number;
            }
            text.extend(line);
            if text.len() >= LONGEST_TEXT {
                break;
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        let row = match std::str::from_utf8(&text) {
            Ok(text) => {
                Ok(Map::from_iter([(TEXT_COLUMN.to_owned(), Value::from(text.trim_end_matches(['\n', '\r'])))]))
            }
            Err(e) => Err(Problem::new("", format!("not UTF-8 from byte {} of the text on", e.valid_up_to()))),
        };
        Ok(Some((first, row)))
    }
}

fn parse(line: &[u8]) -> RawRow {
    match exact_json::from_slice(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Problem::new("", format!("{} where one JSON object a line is expected", kind(&other)))),
        // serde_json counts lines within this line, so only its column helps.
        Err(e) if e.is_eof() => Err(Problem::new("", "the JSON object is cut off: each must stand on one line, whole")),
        Err(e) => Err(Problem::new("", format!("not JSON at column {}: {}", e.column(), reason(&e)))),
    }
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
