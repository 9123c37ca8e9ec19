//! What the run amounts to, as tables: scores, exactness and verdicts, and what it all cost.

use super::chart::sparkline;
use super::html::{Html, grouped, number, percent, seconds, si, signed};
use crate::summary::{Exactness, Score, StageSummary, Summary, VerdictCounts};

/// The sum of an amount over all stages.
pub(super) fn total(summary: &Summary, of: impl Fn(&StageSummary) -> f64) -> f64 {
    summary.stages.iter().map(of).sum()
}

/// `106 TFLOP`.
pub(super) fn flops(count: f64) -> String {
    let text = si(count);
    format!("{text}{}FLOP", if text.contains(' ') { "" } else { " " })
}

/// The final score of each domain, large, and the table of all stages.
pub(super) fn reached(html: &mut Html, summary: &Summary) {
    html.raw("<section id=\"reached\"><h2>What was reached</h2>");
    let domains = summary.domains();
    if domains.is_empty() {
        html.raw("<p class=\"none\">No stage has been evaluated yet.</p></section>");
        return;
    }
    html.raw("<div class=\"tiles\">");
    for domain in &domains {
        tile(html, summary, domain);
    }
    html.raw("</div><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Scores by stage\"><table class=\"scores\">");
    html.raw("<caption>pass@1 on held-out prompts after each stage, and its change since the nearest scored stage among those that it builds on.");
    html.raw("</caption><thead><tr><th scope=\"col\">Stage</th>");
    for domain in &domains {
        html.raw("<th scope=\"col\">").text(domain).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    let last = summary.stages.iter().rposition(|stage| !stage.eval.is_empty());
    for (index, stage) in summary.stages.iter().enumerate() {
        html.raw(if Some(index) == last { "<tr class=\"final\">" } else { "<tr>" });
        stage_name(html, stage, Some(index) == last);
        for domain in &domains {
            score_cell(html, stage.eval.get(*domain), summary.delta(index, domain));
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div></section>");
}

fn tile(html: &mut Html, summary: &Summary, domain: &str) {
    let scored = |stage: &&StageSummary| stage.eval.contains_key(domain);
    let last = summary.stages.iter().rposition(|stage| scored(&stage)).expect("the domain is one of the summary's");
    // The way from the base to the last stage: other branches are no part of what it gained.
    let mut way: Vec<&StageSummary> = summary.ancestors(last).filter(scored).collect();
    way.reverse();
    way.push(&summary.stages[last]);
    let scores: Vec<&Score> = way.iter().map(|stage| &stage.eval[domain]).collect();
    let (first, last) = (scores[0], scores[scores.len() - 1]);
    let change = last.pass_at_1 - first.pass_at_1;
    html.raw("<div class=\"tile\"><h3>")
        .text(domain)
        .raw("</h3><p class=\"big\">")
        .text(score_text(last.pass_at_1))
        .raw("</p>");
    let values: Vec<f64> = scores.iter().map(|score| score.pass_at_1).collect();
    sparkline(html, &values);
    html.raw("<p class=\"fine\">");
    if scores.len() > 1 && change.is_finite() {
        delta(html, change);
        html.raw(" from ").text(score_text(first.pass_at_1)).raw(" · ");
    }
    match last.interval() {
        Some((low, high)) => {
            html.raw("95 %: ").text(score_text(low)).raw("–").text(score_text(high)).raw(", n =\u{a0}").text(last.n)
        }
        None => html.raw("n =\u{a0}").text(last.n),
    };
    html.raw("</p></div>");
}

fn stage_name(html: &mut Html, stage: &StageSummary, is_final: bool) {
    html.raw("<th scope=\"row\">").text(&stage.name);
    if is_final {
        html.raw(" <span class=\"tag\">final</span>");
    }
    if stage.kind != stage.name {
        html.raw(" <small>").text(&stage.kind).raw("</small>");
    }
    if !stage.from.is_empty() {
        html.raw(" <small>from ").text(&stage.from).raw("</small>");
    }
    html.raw("</th>");
}

fn score_cell(html: &mut Html, score: Option<&Score>, change: Option<f64>) {
    let Some(score) = score else {
        html.raw("<td class=\"empty\"><span class=\"hear\">not evaluated</span></td>");
        return;
    };
    html.raw("<td title=\"n =\u{a0}").text(score.n);
    if let Some((low, high)) = score.interval() {
        html.raw(", 95 % interval ").text(score_text(low)).raw("–").text(score_text(high));
    }
    html.raw("\"><span class=\"score\"><b>").text(score_text(score.pass_at_1)).raw("</b>");
    if let Some(change) = change {
        delta(html, change);
    }
    html.raw("</span>");
    bar(html, score.pass_at_1);
    html.raw("</td>");
}

/// A bar of a share of its box; nothing is filled for what is not a number.
fn bar(html: &mut Html, share: f64) {
    let width = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    html.raw("<span class=\"bar\"><i style=\"width:").text(format!("{width:.1}")).raw("%\"></i></span>");
}

fn delta(html: &mut Html, change: f64) {
    let class = if change.abs() < 5e-4 {
        ""
    } else if change > 0.0 {
        " up"
    } else {
        " down"
    };
    html.raw("<span class=\"delta").raw(class).raw("\">").text(signed(change)).raw("</span>");
}

fn score_text(score: f64) -> String {
    if score.is_finite() { format!("{score:.3}") } else { "–".to_owned() }
}

/// Exactness and verdicts: what makes the scores above believable.
pub(super) fn trust(html: &mut Html, summary: &Summary) {
    html.raw("<section id=\"trust\"><h2>Exactness and verdicts</h2><div class=\"pair\">");
    exactness(html, summary.exactness);
    verdicts(html, summary.verdicts);
    html.raw("</div>");
    for (path, rows) in &summary.skipped_rows {
        html.raw("<p class=\"fine\"><b>").text(grouped(*rows)).raw("</b> rows of <code>").text(path.as_str());
        html.raw("</code> were no prompts and were left out.</p>");
    }
    html.raw("</section>");
}

fn exactness(html: &mut Html, exactness: Exactness) {
    let (difference, tokens) = (exactness.max_abs_logprob_diff, exactness.tokens_compared);
    // `== 0.0` is meant: the claim is equality of bits, not closeness.
    let (class, word) = match (tokens, difference == 0.0) {
        _ if exactness.waived => ("inexact", "not exact, by the recipe"),
        (0, _) => ("unknown", "not compared"),
        (_, true) => ("exact", "exact"),
        (_, false) => ("inexact", "not exact"),
    };
    html.raw("<div class=\"card proof ")
        .raw(class)
        .raw("\"><h3>Sampler = learner <span class=\"badge\">")
        .raw(word)
        .raw("</span></h3>");
    if exactness.waived {
        html.raw("<p><code>run.exact = false</code>: nothing was done to make the two equal, and only what a learner recomputed anyway was compared.</p>");
    }
    if tokens == 0 {
        html.raw("<p>No sampled token was recomputed by a learner in this run, so nothing was compared.</p></div>");
        return;
    }
    html.raw("<p class=\"big\">")
        .text(if difference == 0.0 { "0.0".to_owned() } else { number(difference) })
        .raw("</p>");
    html.raw("<p>is the largest |log p<sub>sampler</sub> − log p<sub>learner</sub>| over <b>")
        .text(grouped(tokens))
        .raw("</b> sampled tokens, ");
    html.raw(if exactness.waived {
        "in nats.</p></div>"
    } else if class == "exact" {
        "each compared: the probability that sampled a token and the one that the learner recomputed are equal bit for bit.</p></div>"
    } else {
        "in nats. The two forwards differ; <code>temper doctor</code> finds where.</p></div>"
    });
}

fn verdicts(html: &mut Html, counts: VerdictCounts) {
    let kinds = [
        ("pass", "✓", "passed", counts.pass),
        ("fail", "✗", "failed", counts.fail),
        ("undecided", "?", "undecided", counts.undecided),
        ("error", "!", "error, masked", counts.error),
    ];
    let all = counts.total();
    html.raw("<div class=\"card\"><h3>Verdicts <small>").text(grouped(all)).raw(" in all</small></h3>");
    if all > 0 {
        html.raw("<div class=\"stack\" aria-hidden=\"true\">");
        for (class, _, _, count) in kinds {
            let share = count as f64 / all as f64 * 100.0;
            html.raw("<i class=\"").raw(class).raw("\" style=\"width:").text(format!("{share:.2}")).raw("%\"></i>");
        }
        html.raw("</div>");
    }
    html.raw("<dl class=\"counts\">");
    for (class, mark, label, count) in kinds {
        html.raw("<div><dt class=\"mark ")
            .raw(class)
            .raw("\"><span aria-hidden=\"true\">")
            .raw(mark)
            .raw(" </span>")
            .raw(label);
        html.raw("</dt><dd><b>").text(grouped(count)).raw("</b> <small>");
        html.text(percent(count as f64 / all as f64)).raw("</small></dd></div>");
    }
    html.raw("</dl><p class=\"fine\">A verifier that could not run gives no reward: its sample takes no part in the loss.</p></div>");
}

/// Tokens, FLOPs and seconds a stage.
pub(super) fn ledger(html: &mut Html, summary: &Summary) {
    html.raw("<section id=\"compute\"><h2>Compute</h2>");
    if summary.stages.is_empty() {
        html.raw("<p class=\"none\">No stage has ended yet.</p></section>");
        return;
    }
    let all = total(summary, |stage| stage.flops);
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Compute by stage\"><table class=\"ledger\"><caption>");
    if summary.post_training_share.is_finite() {
        html.raw("Post-training took <b>").text(percent(summary.post_training_share)).raw("</b> of all FLOPs.");
    } else {
        html.raw("Tokens count what went through the model, sampled and trained alike.");
    }
    html.raw(
        "</caption><thead><tr><th scope=\"col\">Stage</th><th scope=\"col\">Time</th><th scope=\"col\">Tokens</th>",
    );
    html.raw("<th scope=\"col\">FLOPs</th><th scope=\"col\" colspan=\"2\" class=\"left\">Share of FLOPs</th></tr></thead><tbody>");
    for stage in &summary.stages {
        let share = stage.flops / all;
        html.raw("<tr>");
        stage_name(html, stage, false);
        html.raw("<td>")
            .text(seconds(stage.elapsed_s))
            .raw("</td><td>")
            .text(si(stage.tokens as f64))
            .raw("</td><td>")
            .text(flops(stage.flops));
        html.raw("</td><td class=\"share\">").text(percent(share)).raw("</td><td class=\"wide\">");
        bar(html, share);
        html.raw("</td></tr>");
    }
    html.raw("</tbody><tfoot><tr><th scope=\"row\">All stages</th><td>")
        .text(seconds(total(summary, |stage| stage.elapsed_s)));
    html.raw("</td><td>").text(si(total(summary, |stage| stage.tokens as f64))).raw("</td><td>").text(flops(all));
    html.raw("</td><td></td><td></td></tr></tfoot></table></div></section>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_1_exact_is_said_only_of_zero_over_some_tokens() {
        let say = |difference: f64, tokens: u64| {
            let mut html = Html::default();
            exactness(
                &mut html,
                Exactness { max_abs_logprob_diff: difference, tokens_compared: tokens, waived: false },
            );
            html.finish()
        };
        let mut waived = Html::default();
        exactness(&mut waived, Exactness { max_abs_logprob_diff: 0.0, tokens_compared: 9, waived: true });
        let waived = waived.finish();
        assert!(
            waived.contains("proof inexact") && waived.contains("run.exact = false") && !waived.contains("bit for bit")
        );
        let exact = say(0.0, 1_234_567);
        assert!(
            exact.contains("proof exact") && exact.contains(">0.0<") && exact.contains("1\u{202f}234\u{202f}567"),
            "{exact}"
        );
        assert!(say(0.0, 0).contains("proof unknown"));
        assert!(say(f64::MIN_POSITIVE, 1).contains("proof inexact"));
        assert!(say(f64::NAN, 1).contains("proof inexact"));
    }
}
