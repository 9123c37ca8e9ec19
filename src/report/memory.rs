//! What each stage held in memory, by part.

use super::html::{Html, binary};
use crate::summary::{Memory, Summary};

/// The heading of a part, and its bytes.
type Part = (&'static str, fn(&Memory) -> u64);

/// In the order of the table.
const PARTS: [Part; 10] = [
    ("Weights", |m| m.weights),
    ("Other models", |m| m.other_models),
    ("Laid out", |m| m.laid_out),
    ("Optimiser", |m| m.optimizer),
    ("Gradients", |m| m.gradients),
    ("Activations", |m| m.activations),
    ("Head", |m| m.head),
    ("Keys", |m| m.cache),
    ("Tensors at most", |m| m.device),
    ("Process at most", |m| m.process),
];

/// The table of the stages that trained; nothing without any.
pub(super) fn section(html: &mut Html, summary: &Summary) {
    let held: Vec<_> = summary.stages.iter().filter_map(|stage| Some((stage, stage.memory.as_ref()?))).collect();
    if held.is_empty() {
        return;
    }
    html.raw("<section id=\"memory\"><h2>Memory</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Memory by stage\">");
    html.raw("<table class=\"ledger\"><caption>The most that a stage held of each part, which need not be at one time. Activations are what tensors ");
    html.raw("held in a step beyond weights, optimiser and sums of gradients; the head's chunk of logits is in them.</caption>");
    html.raw("<thead><tr><th scope=\"col\">Stage</th>");
    for (name, _) in PARTS {
        html.raw("<th scope=\"col\">").raw(name).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    for (stage, memory) in held {
        html.raw("<tr><th scope=\"row\">").text(&stage.name).raw("</th>");
        for (_, bytes) in PARTS {
            html.raw("<td>").text(binary(bytes(memory))).raw("</td>");
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div></section>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::StageSummary;

    #[test]
    fn a_stage_that_trained_has_a_row_with_every_part() {
        let memory = Memory { weights: 3 << 20, activations: 5 << 30, process: 1536, ..Memory::default() };
        let stage = |name: &str, memory| StageSummary { name: name.into(), memory, ..StageSummary::default() };
        let summary =
            Summary { stages: vec![stage("rl <b>", Some(memory)), stage("eval", None)], ..Summary::default() };
        let mut html = Html::default();
        section(&mut html, &summary);
        let page = html.finish();
        for cell in ["rl &lt;b&gt;", ">3.00\u{a0}MiB<", ">5.00\u{a0}GiB<", ">1.50\u{a0}KiB<", ">0\u{a0}B<"] {
            assert!(page.contains(cell), "{cell}: {page}");
        }
        assert!(!page.contains("eval") && page.matches("<td>").count() == PARTS.len());
        let mut none = Html::default();
        section(&mut none, &Summary::default());
        assert_eq!(none.finish(), "");
    }
}
