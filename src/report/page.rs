//! The page: what was reached first, then how sure one may be of it, what it cost, how it went, and what the policy wrote.

use sha2::{Digest, Sha256};

use super::chart::{figure, steps_a_point};
use super::html::{Html, seconds, si};
use super::input::{MetricRow, ReportInput, stages_in_order};
use super::results::{flops, total};
use super::topics::{Topic, topics_of};
use super::{memory, results, samples, texts};
use crate::summary::Summary;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("report.js");

/// The whole page. It shows whatever `input` has: an empty run gives a page that says what is missing.
pub fn render(input: &ReportInput) -> String {
    let mut html = Html::default();
    head(&mut html, &input.summary);
    header(&mut html, input);
    results::reached(&mut html, &input.summary);
    texts::section(&mut html, &input.summary);
    results::trust(&mut html, &input.summary);
    results::ledger(&mut html, &input.summary);
    memory::section(&mut html, &input.summary);
    curves(&mut html, input);
    samples::section(&mut html, &input.samples);
    html.raw("</main><footer>Written by Temper ").raw(env!("CARGO_PKG_VERSION"));
    html.raw(". This page is one file and loads nothing.</footer><script>")
        .raw(SCRIPT)
        .raw("</script></body></html>\n");
    html.finish()
}

/// The policy lets the page's own script run, by its hash, and nothing else: no other script, no request, no frame. So even a text
/// that slipped through the escaping could do nothing.
fn head(html: &mut Html, summary: &Summary) {
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-");
    html.raw_base64(&Sha256::digest(SCRIPT)).raw("'\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">");
    html.raw("<title>").text(&summary.run).raw(" · Temper</title><style>").raw(STYLE).raw("</style></head><body>");
}

fn header(html: &mut Html, input: &ReportInput) {
    let summary = &input.summary;
    html.raw("<a class=\"skip\" href=\"#reached\">Skip to the results</a><header><p class=\"kicker\">Temper run report</p><h1>");
    html.text(&summary.run).raw("</h1><p class=\"facts\">");
    let count = summary.stages.len();
    let facts = [
        format!("{count} stage{}", if count == 1 { "" } else { "s" }),
        seconds(summary.elapsed_s),
        format!("{} tokens", si(total(summary, |stage| stage.tokens as f64))),
        flops(total(summary, |stage| stage.flops)),
    ];
    for fact in facts {
        html.raw("<span>").text(fact).raw("</span>");
    }
    html.raw("</p><nav aria-label=\"Sections\"><a href=\"#reached\">Scores</a><a href=\"#trust\">Exactness</a><a href=\"#compute\">Compute</a>");
    html.raw("<a href=\"#curves\">Curves</a><a href=\"#trajectories\">Trajectories</a></nav></header><main>");
    if !input.notes.is_empty() {
        html.raw("<ul class=\"notes\" role=\"note\">");
        for note in &input.notes {
            html.raw("<li>").text(note).raw("</li>");
        }
        html.raw("</ul>");
    }
}

/// One foldable block of charts a stage.
fn curves(html: &mut Html, input: &ReportInput) {
    html.raw("<section id=\"curves\"><h2>Curves</h2>");
    if input.metrics.is_empty() {
        html.raw("<p class=\"none\">No step has been logged yet.</p></section>");
        return;
    }
    html.raw("<p class=\"lead\">Point at a chart, or focus it and use the arrow keys, to read its values; at rest they are the last ones.</p>");
    for (stage, kind) in stages_in_order(input) {
        let mut rows: Vec<&MetricRow> = input.metrics.iter().filter(|row| row.stage == stage).collect();
        rows.sort_by_key(|row| row.step);
        let (known, other) = topics_of(&rows);
        if known.is_empty() && other.is_empty() {
            continue;
        }
        html.raw("<details class=\"stage\" open><summary><h3>").text(stage).raw("</h3><small>");
        if kind != stage {
            html.text(kind).raw(" · ");
        }
        html.text(rows.len()).raw(if rows.len() == 1 { " step" } else { " steps" });
        if steps_a_point(rows.len()) > 1 {
            html.raw(" · each point is the mean of ").text(steps_a_point(rows.len())).raw(", the band their range");
        }
        html.raw("</small></summary>");
        charts(html, &known, &rows);
        if !other.is_empty() {
            html.raw("<details class=\"other\"><summary>").text(other.len()).raw(" more</summary>");
            charts(html, &other, &rows);
            html.raw("</details>");
        }
        html.raw("</details>");
    }
    html.raw("</section>");
}

fn charts(html: &mut Html, topics: &[Topic], rows: &[&MetricRow]) {
    html.raw("<div class=\"charts\">");
    for topic in topics {
        figure(html, topic, rows);
    }
    html.raw("</div>");
}

#[cfg(test)]
mod tests {
    use data::Status;

    use super::*;
    use crate::report::{SampleView, VerdictView, write_report};
    use crate::summary::{Score, StageSummary};

    /// Would end an element, an attribute, the style or the script, wherever it is not escaped.
    const HOSTILE: &str =
        "</title></style></script>\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{202e}\0";

    fn row(step: u64, metrics: &[(&str, f64)]) -> MetricRow {
        MetricRow {
            stage: HOSTILE.into(),
            kind: HOSTILE.into(),
            step,
            time_s: 0.0,
            metrics: metrics.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// Every text of the input is hostile.
    fn hostile() -> ReportInput {
        let eval = [(HOSTILE.to_owned(), Score { pass_at_1: 0.5, n: 4 })].into();
        let stage = StageSummary { name: HOSTILE.into(), kind: HOSTILE.into(), eval, ..Default::default() };
        ReportInput {
            summary: Summary { run: HOSTILE.into(), stages: vec![stage], ..Default::default() },
            metrics: vec![row(0, &[(HOSTILE, 1.0), ("train/loss", 2.0)])],
            samples: vec![SampleView {
                stage: HOSTILE.into(),
                step: 0,
                domain: HOSTILE.into(),
                prompt: HOSTILE.into(),
                completion: HOSTILE.into(),
                reward: Some(f64::NAN),
                advantage: f64::INFINITY,
                verdicts: vec![VerdictView { verifier: HOSTILE.into(), status: Status::Fail, reason: HOSTILE.into() }],
            }],
            notes: vec![HOSTILE.into()],
        }
    }

    #[test]
    fn no_text_becomes_markup_wherever_it_stands() {
        let page = render(&hostile());
        assert_eq!(page.matches("<script").count(), 1, "only the page's own");
        assert_eq!(page.matches("</script").count(), 1);
        assert_eq!((page.matches("</style").count(), page.matches("</title").count()), (1, 1));
        assert!(!page.contains("<img") && !page.contains('\u{202e}') && !page.contains('\0'));
        // Run name twice, note, stage and domain names, samples: the text is there, escaped.
        assert!(page.matches("&lt;img src=x onerror=alert(1)&gt;").count() > 12);
    }

    #[test]
    fn the_page_names_nothing_on_a_network_and_lets_only_its_own_script_run() {
        let page = render(&hostile());
        for word in ["http://", "https://", "url(", "@import", "<link", "<iframe"] {
            assert!(!page.contains(word), "{word}");
        }
        let mut hash = Html::default();
        hash.raw_base64(&Sha256::digest(SCRIPT));
        let script = page.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next()).expect("the script");
        assert_eq!(script, SCRIPT, "the browser hashes exactly these bytes");
        assert!(page.contains(&format!("script-src 'sha256-{}'", hash.finish())));
    }

    #[test]
    fn an_empty_run_has_a_page_that_says_what_is_missing() {
        let page = render(&ReportInput::default());
        let missing = [
            "No stage has been evaluated",
            "No stage has ended",
            "No step has been logged",
            "No trajectory was logged",
            "not compared",
        ];
        for sentence in missing {
            assert!(page.contains(sentence), "{sentence}");
        }
        assert!(!page.contains("NaN"), "no number is made of nothing");
    }

    #[test]
    fn metrics_that_are_no_numbers_or_missing_leave_the_other_curves() {
        let rows = [("actor/kl_loss", f64::NAN), ("critic/score/mean", 0.5)];
        let input = ReportInput { metrics: vec![row(0, &rows), row(1, &rows[..1]), row(2, &[])], ..Default::default() };
        let page = render(&input);
        assert!(page.contains("No finite value in 3 steps") && page.contains("2 not finite"));
        assert_eq!(page.matches("class=\"line s0\"").count(), 1, "the reward's curve is there");
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn the_report_is_written_whole_and_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Summary { run: "first".into(), ..Default::default() }.write(dir.path()).expect("written");
        let path = write_report(dir.path()).expect("a summary is enough");
        Summary { run: "second".into(), ..Default::default() }.write(dir.path()).expect("written");
        assert_eq!(write_report(dir.path()).expect("it replaces the first"), path);
        let page = std::fs::read_to_string(path).expect("it is there");
        assert!(page.contains("<h1>second</h1>") && page.ends_with("</html>\n"));
    }
}
