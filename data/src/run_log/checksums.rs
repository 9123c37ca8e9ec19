//! Checksums of a log file's pages, by column chunk: what was changed on the disk is refused by name, and never decoded into other numbers.
//!
//! They stand in the file's own metadata, so other readers of Parquet are not disturbed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use parquet::file::metadata::RowGroupMetaData;

/// Bytes that are read at once.
const BLOCK: usize = 64 << 10;

/// A column chunk that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The row group, from 0.
    pub row_group: usize,
    /// The column's path.
    pub column: String,
    /// Its pages are the file's bytes from here
    pub from: u64,
    /// to here.
    pub to: u64,
}

/// The CRC-32 of each column chunk's pages, in the file's order, as hexadecimal numbers with commas between them.
///
/// # Errors
/// If the file cannot be read.
pub fn of(file: &File, row_groups: &[RowGroupMetaData]) -> io::Result<String> {
    let sums = chunks(row_groups).into_iter().map(|chunk| Ok(format!("{:08x}", crc(file, chunk.from, chunk.to)?)));
    Ok(sums.collect::<io::Result<Vec<_>>>()?.join(","))
}

/// The first column chunk whose pages are not those that `sums` were made of.
pub fn first_damage(file: &File, row_groups: &[RowGroupMetaData], sums: &str) -> Option<Damage> {
    let mut sums = sums.split(',').map(|sum| u32::from_str_radix(sum, 16).ok());
    chunks(row_groups).into_iter().find(|chunk| {
        let expected = sums.next().flatten();
        // Pages that lie beyond the file's end are damaged too.
        expected.is_none() || crc(file, chunk.from, chunk.to).ok() != expected
    })
}

fn chunks(row_groups: &[RowGroupMetaData]) -> Vec<Damage> {
    let of_group = |(row_group, group): (usize, &RowGroupMetaData)| {
        let of_column = |column: &parquet::file::metadata::ColumnChunkMetaData| {
            let from = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()).max(0) as u64;
            let to = from.saturating_add(column.compressed_size().max(0) as u64);
            Damage { row_group, column: column.column_path().string(), from, to }
        };
        group.columns().iter().map(of_column).collect::<Vec<_>>()
    };
    row_groups.iter().enumerate().flat_map(of_group).collect()
}

/// CRC-32 (IEEE 802.3) of a range of a file.
fn crc(file: &File, mut from: u64, to: u64) -> io::Result<u32> {
    let (mut sum, mut block) = (u32::MAX, [0; BLOCK]);
    while from < to {
        let part = &mut block[..(to - from).min(BLOCK as u64) as usize];
        file.read_exact_at(part, from)?;
        sum = part.iter().fold(sum, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8));
        from += part.len() as u64;
    }
    Ok(!sum)
}

/// What each value of a byte adds.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The check value that every description of this CRC gives.
    #[test]
    fn the_checksum_is_the_one_of_ieee() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"..123456789").expect("it writes");
        assert_eq!(crc(&file, 2, 11).expect("it reads"), 0xcbf4_3926);
        crc(&file, 2, 12).expect_err("it ends before");
    }
}
