//! Progress on stderr: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::say;

/// Plain lines come no closer than this.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress through one stage's steps.
pub struct Progress(Display);

enum Display {
    Bar(ProgressBar),
    Lines(Lines<io::Stderr>),
}

impl Progress {
    /// Begins a stage of `total` steps; 0 where their number is not known.
    pub fn stage(name: &str, total: u64) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stderr().is_terminal() && !dumb {
            Self(Display::Bar(bar(name, total)))
        } else {
            Self(Display::Lines(Lines::new(name, total, io::stderr(), Instant::now())))
        }
    }

    /// Steps done before this process began, after a resume: they count as done and not in the rate.
    pub fn resumed_at(mut self, done: u64) -> Self {
        match &mut self.0 {
            Display::Bar(bar) => {
                bar.set_position(done);
                bar.reset_eta();
            }
            Display::Lines(lines) => (lines.done, lines.done_before) = (done, done),
        }
        self
    }

    /// One more step is done; `message` is what to show of it.
    pub fn step(&mut self, message: &str) {
        match &mut self.0 {
            Display::Bar(bar) => {
                bar.set_message(message.to_owned());
                bar.inc(1);
            }
            Display::Lines(lines) => lines.step(message, Instant::now()),
        }
    }

    /// Prints a line of its own, whatever the time, without tearing the bar.
    pub fn note(&self, text: &str) {
        match &self.0 {
            Display::Bar(bar) => bar.suspend(|| say!("{text}")),
            Display::Lines(_) => say!("{text}"),
        }
    }

    /// The stage is over; `message` is its outcome.
    pub fn finish(mut self, message: &str) {
        match &mut self.0 {
            Display::Bar(bar) => {
                bar.finish_and_clear();
                say!("{}", done_line(&bar.prefix(), bar.position(), bar.elapsed(), message));
            }
            Display::Lines(lines) => lines.finish(message, Instant::now()),
        }
    }
}

fn bar(name: &str, total: u64) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (ProgressBar::new_spinner(), "{prefix:>16} {spinner} {pos} {per_sec} {elapsed} {wide_msg}")
    } else {
        (ProgressBar::new(total), "{prefix:>16} {bar:24} {pos}/{len} {per_sec}, {eta} left {wide_msg}")
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    bar.set_style(style);
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Plain lines, at most one every [`LINE_EVERY`].
struct Lines<W> {
    name: String,
    total: u64,
    done: u64,
    done_before: u64,
    start: Instant,
    last: Instant,
    out: W,
}

impl<W: Write> Lines<W> {
    fn new(name: &str, total: u64, out: W, now: Instant) -> Self {
        Self { name: name.to_owned(), total, done: 0, done_before: 0, start: now, last: now, out }
    }

    fn step(&mut self, message: &str, now: Instant) {
        self.done += 1;
        if now.duration_since(self.last) >= LINE_EVERY {
            self.last = now;
            let line = self.line(message, now.duration_since(self.start));
            self.print(&line);
        }
    }

    fn finish(&mut self, message: &str, now: Instant) {
        let line = done_line(&self.name, self.done, now.duration_since(self.start), message);
        self.print(&line);
    }

    fn line(&self, message: &str, elapsed: Duration) -> String {
        let rate = (self.done - self.done_before) as f64 / elapsed.as_secs_f64();
        let mut line = format!("{}: {}", self.name, self.done);
        // Writing to a string cannot fail.
        let _ = match self.total {
            0 => write!(line, ", {rate:.2}/s, {} so far", span(elapsed)),
            total => {
                let left = Duration::from_secs_f64(total.saturating_sub(self.done) as f64 / rate.max(1e-9));
                write!(line, "/{total}, {rate:.2}/s, {} left", span(left))
            }
        };
        if !message.is_empty() {
            let _ = write!(line, ", {message}");
        }
        line
    }

    fn print(&mut self, line: &str) {
        // Progress that nobody reads any more must not end the run.
        let _ = writeln!(self.out, "{line}");
    }
}

fn done_line(name: &str, done: u64, elapsed: Duration, message: &str) -> String {
    let separator = if message.is_empty() { "" } else { ", " };
    format!("{name}: {done} done in {}{separator}{message}", span(elapsed))
}

/// `42 s`, `3 min 05 s`, `2 h 07 min`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_seldom_and_carry_rate_and_time_left() {
        let start = Instant::now();
        let mut lines = Lines::new("math-rl", 100, Vec::new(), start);
        for half_seconds in 1..=22 {
            lines.step("reward 0.50", start + Duration::from_millis(500 * half_seconds));
        }
        lines.finish("pass@1 0.71", start + Duration::from_secs(65));
        let text = String::from_utf8(lines.out).expect("lines are UTF-8");
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "math-rl: 10/100, 2.00/s, 45 s left, reward 0.50",
                "math-rl: 20/100, 2.00/s, 40 s left, reward 0.50",
                "math-rl: 22 done in 1 min 05 s, pass@1 0.71"
            ]
        );
    }

    #[test]
    fn steps_before_a_resume_are_not_in_the_rate() {
        let start = Instant::now();
        let mut lines = Lines::new("rl", 100, Vec::new(), start);
        (lines.done, lines.done_before) = (50, 50);
        lines.step("", start + Duration::from_secs(10));
        let text = String::from_utf8(lines.out).expect("lines are UTF-8");
        assert_eq!(text, "rl: 51/100, 0.10/s, 8 min 10 s left\n");
    }

    #[test]
    fn a_stage_of_unknown_length_shows_time_spent() {
        let start = Instant::now();
        let mut lines = Lines::new("eval", 0, Vec::new(), start);
        lines.step("", start + Duration::from_secs(7200));
        assert_eq!(String::from_utf8(lines.out).expect("lines are UTF-8"), "eval: 1, 0.00/s, 2 h 00 min so far\n");
    }
}
