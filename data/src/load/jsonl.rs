//! JSONL: one JSON object a line. Blank lines are passed over, and a row's number is its line's.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use super::row::Problem;
use super::{LoadError, RawRow};
use crate::prompt::kind;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The rows, each with the number of its line.
pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<(usize, RawRow), LoadError>>, LoadError> {
    let io = |source| LoadError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let (mut line, mut number) = (Vec::new(), 0);
    Ok(std::iter::from_fn(move || {
        loop {
            line.clear();
            match file.read_until(b'\n', &mut line) {
                Err(e) => return Some(Err(io(e))),
                Ok(0) => return None,
                Ok(_) => number += 1,
            }
            let bytes = if number == 1 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line) } else { &line };
            if !bytes.trim_ascii().is_empty() {
                return Some(Ok((number, parse(bytes.trim_ascii()))));
            }
        }
    }))
}

fn parse(line: &[u8]) -> RawRow {
    match serde_json::from_slice(line) {
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
