//! What the user is told. A reader that has gone away, or a log file on a full disk, must not end a run whose work is sound: words on
//! stderr are said and forgotten, results on stdout fail with an exit code, and neither panics as `println!` does.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};

use crate::exit::{Code, Failure};

/// A line on stderr, as `eprintln!`; where it cannot be written nobody reads it, and the run goes on.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::say::line(&mut ::std::io::stderr(), format_args!($($words)*)) };
}

/// A line to a stream of which nothing depends.
pub fn line(stream: &mut impl Write, words: fmt::Arguments<'_>) {
    let _ = stream.write_fmt(format_args!("{words}\n"));
}

/// A result and the end of its line on stdout.
///
/// # Errors
/// As [`tell_plain`].
pub fn tell(text: impl Display) -> Result<(), Failure> {
    tell_plain(format_args!("{text}\n"))
}

/// A result on stdout, as it is.
///
/// # Errors
/// [`Code::Disk`] where it cannot be written. Who closes a pipe has read what they wanted.
pub fn tell_plain(text: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = write!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Disk, format!("stdout: {error}"))
                .hint("what is in files is whole; print it to another place"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of which the other end is closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn words_that_nobody_reads_are_forgotten() {
        line(&mut Closed, format_args!("{}", 1));
        let mut read = Vec::new();
        line(&mut read, format_args!("{} of {}", 1, 2));
        assert_eq!(read, b"1 of 2\n");
    }
}
