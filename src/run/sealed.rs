//! Small files of a run that say what they hold and what it must hash to: JSON, and a line with its SHA-256. One that was cut, or in which a bit
//! has flipped, is refused and never believed.

use std::io::Write;
use std::path::Path;

use data::atomic::write_atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::exit::{Code, Failure, OrFail};

/// Writes `value` into a file.
///
/// # Errors
/// [`Code::Disk`].
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    write_atomic(path, |file| file.write_all(seal(value).as_bytes())).or_fail(Code::Disk)
}

/// What a file holds.
///
/// # Errors
/// [`Code::Data`], naming the file, where it cannot be read or is not what was written.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).or_fail(Code::Data);
    text.and_then(|text| open(&text)).map_err(|failure| failure.context(path.display()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seal(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("what is kept is plain JSON");
    format!("{text}\n\"{}\"\n", checksum(&text))
}

fn open<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    let damaged = || Failure::new(Code::Data, "it is not what was written: its SHA-256 differs");
    let (value, sum) = text.split_once('\n').ok_or_else(damaged)?;
    if sum != format!("\"{}\"\n", checksum(value)) {
        return Err(damaged());
    }
    serde_json::from_str(value).or_fail(Code::Data)
}

fn checksum(text: &str) -> String {
    hex(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_was_written_is_refused() {
        let value = vec![(17u64, 6u64), (18, 7)];
        let text = seal(&value);
        assert_eq!(open::<Vec<(u64, u64)>>(&text).expect("as written"), value);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let damaged = String::from_utf8(bytes).expect("ASCII");
            assert!(open::<Vec<(u64, u64)>>(&damaged).is_err(), "{damaged}");
            assert!(open::<Vec<(u64, u64)>>(&text[..at]).is_err(), "cut at {at}");
        }
    }
}
