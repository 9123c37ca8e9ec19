//! The table on the terminal at the end of a run: stage × domain, with time and tokens.

use super::html::{number, percent, plain, seconds, si, signed};
use super::texts;
use crate::summary::Summary;

/// How the table may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// ASCII rules, no escape sequence: for files, pipes and logs.
    Plain,
    /// Bold final row, coloured changes: for a terminal.
    Terminal,
}

impl Look {
    /// What the output can show. <https://no-color.org>: a `NO_COLOR` that is not empty asks for [`Look::Plain`].
    pub fn of(is_terminal: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_terminal && !no_color && !dumb { Self::Terminal } else { Self::Plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Terminal => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// A cell and the escape code that it is painted with.
struct Cell(String, &'static str);

/// The run's results as lines of text, each ended by a line feed: pass@1 with its change by stage and domain, then exactness and verdicts.
pub fn render(summary: &Summary, look: Look) -> String {
    let domains = summary.domains();
    let mut rows = vec![header(&domains)];
    for index in 0..summary.stages.len() {
        rows.push(row(summary, index, &domains));
    }
    let last = summary.stages.iter().rposition(|stage| !stage.eval.is_empty()).map(|index| index + 1);
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| width(&row[column].0)).max().unwrap_or(0)).collect();
    let rule = if look == Look::Plain { "-" } else { "─" };
    let rule = rule.repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
    let mut out = String::new();
    for (index, cells) in rows.iter().enumerate() {
        out.push_str(&line(cells, &widths, look, index == 0 || Some(index) == last));
        if index == 0 {
            out.push_str(&look.paint("2", &rule));
            out.push('\n');
        }
    }
    if summary.stages.is_empty() {
        out.push_str("no stage has ended yet\n");
    }
    out.push('\n');
    out.push_str(&perplexities(summary, look));
    out.push_str(&footer(summary, look));
    out
}

/// One line a stage that was measured on held-out text, and an empty one after them.
fn perplexities(summary: &Summary, look: Look) -> String {
    let measured: Vec<_> = summary.stages.iter().filter(|stage| !stage.texts.is_empty()).collect();
    let columns = texts::columns(&measured);
    let mut out = String::new();
    for (at, stage) in measured.iter().enumerate() {
        let mut parts = Vec::new();
        for column in &columns {
            let Some(score) = texts::cell(stage, column) else { continue };
            let change = texts::change(&measured, at, column).map(|c| format!(" ({c})")).unwrap_or_default();
            parts.push(format!("{} at {} {:.4}{change}", plain(&column.0), column.1, score.perplexity));
        }
        out.push_str(&format!("{} {}: {}\n", look.paint("2", "perplexity"), plain(&stage.name), parts.join(", ")));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn header(domains: &[&str]) -> Vec<Cell> {
    let mut cells = vec![Cell("stage".into(), "")];
    cells.extend(domains.iter().map(|domain| Cell(plain(domain), "")));
    cells.extend(["time", "tokens"].map(|word| Cell(word.into(), "")));
    cells
}

/// Score and change are one cell, the change padded to one width, so that the scores stand below each other.
fn row(summary: &Summary, index: usize, domains: &[&str]) -> Vec<Cell> {
    let stage = &summary.stages[index];
    let mut cells = vec![Cell(plain(&stage.name), "")];
    for domain in domains {
        let Some(score) = stage.eval.get(*domain) else {
            cells.push(Cell(format!("{:<13}", "-"), "2"));
            continue;
        };
        let value = if score.pass_at_1.is_finite() { format!("{:.3}", score.pass_at_1) } else { "-".into() };
        let change = summary.delta(index, domain);
        let code = match change {
            Some(change) if change >= 5e-4 => "32",
            Some(change) if change <= -5e-4 => "31",
            _ => "",
        };
        cells.push(Cell(format!("{value:<5}  {:<6}", change.map(ascii_signed).unwrap_or_default()), code));
    }
    cells.push(Cell(seconds(stage.elapsed_s), ""));
    cells.push(Cell(si(stage.tokens as f64), ""));
    cells
}

fn ascii_signed(change: f64) -> String {
    signed(change).replace('−', "-").replace('±', " ")
}

fn line(cells: &[Cell], widths: &[usize], look: Look, bold: bool) -> String {
    let last_two = cells.len() - 2;
    let mut out = String::new();
    for (column, (Cell(text, code), &wide)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(wide - width(text));
        // Names and scores start on one edge, amounts end on one.
        let padded = if column < last_two { format!("{text}{padding}") } else { format!("{padding}{text}") };
        let code = match (bold, *code) {
            (true, "") => "1".to_owned(),
            (true, code) => format!("1;{code}"),
            (false, code) => code.to_owned(),
        };
        out.push_str(if column > 0 { "  " } else { "" });
        out.push_str(&if code.is_empty() { padded } else { look.paint(&code, &padded) });
    }
    format!("{}\n", out.trim_end())
}

fn footer(summary: &Summary, look: Look) -> String {
    let exactness = summary.exactness;
    let claim = match (exactness.tokens_compared, exactness.max_abs_logprob_diff) {
        (n, diff) if exactness.waived => {
            let diff = number(diff).replace('−', "-");
            let seen = format!("{diff} nats apart over the {n} sampled tokens that a learner recomputed");
            look.paint("33", &format!("sampler = learner: NOT exact, by the recipe (run.exact = false); up to {seen}"))
        }
        (0, _) => "sampler = learner: no token was compared".to_owned(),
        (n, 0.0) => look.paint("32", &format!("sampler = learner: exact, bit for bit, over {n} sampled tokens")),
        (n, diff) => {
            let diff = number(diff).replace('−', "-");
            look.paint("31", &format!("sampler = learner: NOT exact, up to {diff} nats apart over {n} sampled tokens"))
        }
    };
    let v = summary.verdicts;
    let mut out = format!("{claim}\n");
    out.push_str(&format!(
        "verdicts: {} pass, {} fail, {} undecided, {} error (masked)\n",
        v.pass, v.fail, v.undecided, v.error
    ));
    for (path, rows) in &summary.skipped_rows {
        out.push_str(&look.paint("31", &format!("data: {rows} bad rows of {path} were skipped")));
        out.push('\n');
    }
    out.push_str(&format!("time: {}", seconds(summary.elapsed_s)));
    if summary.post_training_share.is_finite() {
        out.push_str(&format!("; post-training took {} of all FLOPs", percent(summary.post_training_share)));
    }
    out.push('\n');
    out
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{Exactness, Score, StageSummary};

    fn summary() -> Summary {
        let stage = |name: &str, math: f64, code: Option<f64>| StageSummary {
            name: name.into(),
            kind: "rl".into(),
            from: String::new(),
            elapsed_s: 61.0,
            tokens: 1_234_567,
            flops: 1e12,
            eval: [("math", Some(math)), ("code", code)]
                .into_iter()
                .filter_map(|(domain, score)| Some((domain.to_owned(), Score { pass_at_1: score?, n: 100 })))
                .collect(),
            texts: Default::default(),
            memory: None,
        };
        Summary {
            run: "r".into(),
            stages: vec![stage("base", 0.25, None), stage("math-specialist", 0.875, Some(0.5))],
            exactness: Exactness { max_abs_logprob_diff: 0.0, tokens_compared: 42, waived: false },
            ..Default::default()
        }
    }

    #[test]
    fn plain_columns_align_and_hold_no_escape() {
        let text = render(&summary(), Look::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert!(text.is_ascii(), "{text}");
        assert_eq!(lines[0].find("math").expect("the column"), lines[3].find("0.875").expect("its value"), "{text}");
        assert!(lines[3].contains("0.875  +0.625") && lines[3].ends_with("1 min 01 s  1.23 M"), "{text}");
        assert_eq!(lines[2].len(), lines[3].len(), "{text}");
        assert!(text.contains("exact, bit for bit, over 42"), "{text}");
    }

    #[test]
    fn a_terminal_gets_colour_and_a_hostile_name_gets_no_escape_through() {
        let mut hostile = summary();
        hostile.stages[0].name = "\x1b[2Jgone\n".into();
        let text = render(&hostile, Look::Terminal);
        assert!(text.contains("\x1b[1;32m") && text.contains("␛[2Jgone"), "{text:?}");
        assert!(!text.contains("\x1b[2J"), "{text:?}");
    }

    #[test]
    fn an_empty_run_and_a_score_that_is_no_number_have_a_table() {
        assert!(render(&Summary::default(), Look::Plain).contains("no stage has ended yet"));
        let mut nan = summary();
        nan.stages[1].eval.insert("math".into(), Score { pass_at_1: f64::NAN, n: 0 });
        nan.exactness.max_abs_logprob_diff = 1e-7;
        let text = render(&nan, Look::Plain);
        assert!(!text.contains("NaN") && text.contains("NOT exact, up to 1e-7"), "{text}");
        nan.exactness = Exactness { waived: true, ..Exactness::default() };
        let text = render(&nan, Look::Plain);
        assert!(text.contains("NOT exact, by the recipe (run.exact = false)"), "{text}");
    }
}
