//! Held-out text as tables: perplexity by stage and context, and for each layer what its indexer finds of the attention.

use super::html::{Html, grouped, percent};
use crate::summary::{ContextScore, LayerScore, StageSummary, Summary};

/// Both tables; nothing where no stage was measured.
pub(super) fn section(html: &mut Html, summary: &Summary) {
    let measured: Vec<&StageSummary> = summary.stages.iter().filter(|stage| !stage.texts.is_empty()).collect();
    if measured.is_empty() {
        return;
    }
    html.raw("<section id=\"texts\"><h2>Held-out text</h2>");
    perplexity(html, &measured);
    layers(html, &measured);
    html.raw("</section>");
}

/// A domain and a context, in words: `text at 128`.
pub(super) fn columns(measured: &[&StageSummary]) -> Vec<(String, usize)> {
    let mut columns = std::collections::BTreeSet::new();
    for stage in measured {
        for (domain, score) in &stage.texts {
            columns.extend(score.contexts.iter().map(|c| (domain.clone(), c.context)));
        }
    }
    columns.into_iter().collect()
}

/// What a stage has in a column, where that is a number.
pub(super) fn cell<'a>(stage: &'a StageSummary, (domain, context): &(String, usize)) -> Option<&'a ContextScore> {
    let found = stage.texts.get(domain)?.contexts.iter().find(|c| c.context == *context)?;
    found.perplexity.is_finite().then_some(found)
}

/// `+0.52 %` against the first stage that has a number in the column; nothing for that stage itself.
pub(super) fn change(measured: &[&StageSummary], at: usize, column: &(String, usize)) -> Option<String> {
    let first = measured[..at].iter().find_map(|stage| cell(stage, column))?;
    let change = cell(measured[at], column)?.perplexity / first.perplexity - 1.0;
    Some(format!("{:+.2} %", change * 100.0))
}

fn perplexity(html: &mut Html, measured: &[&StageSummary]) {
    let columns = columns(measured);
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Perplexity by context\"><table class=\"ledger\"><caption>");
    html.raw("Perplexity of tokens by the number of tokens before them, from half the context up to all of it, and the change against the first row that has a number.");
    html.raw("</caption><thead><tr><th scope=\"col\">Stage</th>");
    for (domain, context) in &columns {
        html.raw("<th scope=\"col\">").text(domain).raw(" at\u{a0}").text(context).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    for (at, stage) in measured.iter().enumerate() {
        html.raw("<tr><th scope=\"row\">").text(&stage.name).raw("</th>");
        for column in &columns {
            let Some(score) = cell(stage, column) else {
                html.raw("<td class=\"empty\"><span class=\"hear\">not measured</span></td>");
                continue;
            };
            html.raw("<td title=\"").text(grouped(score.tokens)).raw(" tokens\"><b>");
            html.text(format!("{:.4}", score.perplexity)).raw("</b>");
            if let Some(change) = change(measured, at, column) {
                html.raw(" <small>").text(change).raw("</small>");
            }
            html.raw("</td>");
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div>");
}

/// A share of a layer, by its name.
type Share = (&'static str, fn(&LayerScore) -> f64);

const SHARES: [Share; 2] = [("recall", |layer| layer.recall), ("attention mass", |layer| layer.mass)];

fn layers(html: &mut Html, measured: &[&StageSummary]) {
    let rows: Vec<(&StageSummary, &String, &Vec<LayerScore>)> = measured
        .iter()
        .flat_map(|stage| stage.texts.iter().map(move |(domain, score)| (*stage, domain, &score.layers)))
        .filter(|(_, _, layers)| !layers.is_empty())
        .collect();
    let Some(most) = rows.iter().map(|(_, _, layers)| layers.len()).max() else { return };
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Indexer by layer\"><table class=\"ledger\"><caption>");
    html.raw("The indexer by layer, on tokens that see more than k keys: share of the k keys with the most attention that it selects, and share of all attention that falls on what it selects.");
    html.raw(
        "</caption><thead><tr><th scope=\"col\">Stage and text</th><th scope=\"col\" class=\"left\">of layer</th>",
    );
    for layer in 0..most {
        html.raw("<th scope=\"col\">").text(layer).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    for (stage, domain, layers) in rows {
        for (what, of) in SHARES {
            html.raw("<tr><th scope=\"row\">").text(&stage.name).raw(" <small>").text(domain).raw("</small></th>");
            html.raw("<td class=\"left\">").raw(what).raw("</td>");
            for layer in layers {
                html.raw("<td>").text(percent(of(layer))).raw("</td>");
            }
            html.raw("</tr>");
        }
    }
    html.raw("</tbody></table></div>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::TextScore;

    fn stage(name: &str, perplexity: f64, layers: &[(f64, f64)]) -> StageSummary {
        let text = TextScore {
            contexts: vec![ContextScore { context: 128, perplexity, tokens: 4321 }],
            layers: layers.iter().map(|&(recall, mass)| LayerScore { recall, mass }).collect(),
        };
        StageSummary { name: name.into(), texts: [("text".to_owned(), text)].into(), ..Default::default() }
    }

    #[test]
    fn perplexities_are_held_against_the_first_and_layers_stand_side_by_side() {
        let stages = vec![
            stage("dense", 2.0, &[]),
            stage("none", f64::NAN, &[]),
            stage("sparse", 2.02, &[(0.5, 0.875), (0.25, 1.0)]),
        ];
        let mut html = Html::default();
        section(&mut html, &Summary { stages, ..Default::default() });
        let page = html.finish();
        assert!(page.contains("<b>2.0000</b></td>") && page.contains("<b>2.0200</b> <small>+1.00 %</small>"), "{page}");
        assert!(page.contains("4\u{202f}321 tokens") && page.contains("not measured") && !page.contains("NaN"));
        assert!(page.contains("recall") && page.contains("attention mass") && page.contains(percent(0.875).as_ref()));
        let mut nothing = Html::default();
        section(&mut nothing, &Summary::default());
        assert!(nothing.finish().is_empty());
    }
}
