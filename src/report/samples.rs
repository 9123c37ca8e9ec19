//! Sampled trajectories: which of the run log's many are worth a look, and how one is shown.

use std::collections::BTreeSet;
use std::path::Path;

use data::run_log::{RunLog, RunLogError};
use data::{Message, ScoredGroup, ScoredSample, Status};

use super::html::{Html, clip, number};
use super::input::{SampleView, VerdictView};

/// The run log's folder inside a run's.
const LOG_FOLDER: &str = "log";
/// Steps shown of a stage: the first, the last, and one between them.
const STEPS_A_STAGE: usize = 3;
/// Groups shown of a step.
const GROUPS_A_STEP: usize = 4;
/// Characters shown of a prompt, completion or reason: a page must open at once, and the run log has the rest.
const MAX_TEXT: usize = 8000;

/// A few trajectories of each stage, in the order of the stages; and a sentence for each file that could not be read.
///
/// Taken are groups at even distances from the first, the middle and the last step, and of a group one sample for each thing that
/// can happen to it (passed, failed, undecided, error): what was right stands beside what was wrong.
pub fn load_samples(dir: &Path, stages: &[&str]) -> (Vec<SampleView>, Vec<String>) {
    let folder = dir.join(LOG_FOLDER);
    let (mut samples, mut notes) = (Vec::new(), Vec::new());
    // Opening a log makes its folder, and a report must not change the run.
    if !folder.is_dir() {
        return (samples, notes);
    }
    let log = match RunLog::open(folder) {
        Ok(log) => log,
        Err(error) => return (samples, vec![format!("No trajectories are shown: {error}.")]),
    };
    for stage in stages {
        if let Err(error) = load_stage(&log, stage, &mut samples) {
            notes.push(format!("Trajectories of {stage} are missing: {error}."));
        }
    }
    (samples, notes)
}

fn load_stage(log: &RunLog, stage: &str, samples: &mut Vec<SampleView>) -> Result<(), RunLogError> {
    for step in evenly(&log.steps(stage)?, STEPS_A_STAGE) {
        let groups = log.read(stage, *step)?;
        for group in evenly(&groups, GROUPS_A_STEP) {
            samples.extend(one_of_each_kind(group).map(|sample| view(stage, *step, group, sample)));
        }
    }
    Ok(())
}

/// At most `count` of `items` at even distances, both ends among them.
fn evenly<T>(items: &[T], count: usize) -> impl Iterator<Item = &T> {
    let taken = items.len().min(count);
    (0..taken).map(move |i| if taken < 2 { &items[0] } else { &items[i * (items.len() - 1) / (taken - 1)] })
}

fn one_of_each_kind(group: &ScoredGroup) -> impl Iterator<Item = &ScoredSample> {
    let mut seen = BTreeSet::new();
    group
        .samples
        .iter()
        .filter(move |sample| seen.insert(sample.verdicts.iter().map(|(_, verdict)| verdict.status).max()))
}

fn view(stage: &str, step: u64, group: &ScoredGroup, sample: &ScoredSample) -> SampleView {
    let verdict = |(verifier, verdict): &(String, data::Verdict)| VerdictView {
        verifier: verifier.clone(),
        status: verdict.status,
        reason: verdict.reason.clone(),
    };
    SampleView {
        stage: stage.to_owned(),
        step,
        domain: group.prompt.domain.clone(),
        prompt: conversation(&group.prompt.messages),
        completion: sample.text.clone(),
        reward: sample.reward,
        advantage: f64::from(sample.advantage),
        verdicts: sample.verdicts.iter().map(verdict).collect(),
    }
}

/// One turn as it is; several with the name of who speaks above each.
fn conversation(messages: &[Message]) -> String {
    match messages {
        [only] => only.content.clone(),
        turns => turns.iter().map(|turn| format!("[{}]\n{}", turn.role, turn.content)).collect::<Vec<_>>().join("\n\n"),
    }
}

/// A status as a word, a mark that does not depend on colour, and its class in the style sheet (the same word).
pub(super) fn status_word(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Pass => ("pass", "✓"),
        Status::Fail => ("fail", "✗"),
        Status::Undecided => ("undecided", "?"),
        Status::Error => ("error", "!"),
    }
}

/// The section of the page: filters, then one foldable entry a sample.
pub fn section(html: &mut Html, samples: &[SampleView]) {
    html.raw("<section id=\"trajectories\"><h2>Trajectories</h2>");
    if samples.is_empty() {
        html.raw(
            "<p class=\"none\">No trajectory was logged. Stages that sample (rl, distill) leave some.</p></section>",
        );
        return;
    }
    html.raw("<p class=\"lead\">From the first, the middle and the last step of each stage: of a group, one sample for each thing that \
              happened to it.</p><form class=\"filters\" id=\"filters\" hidden>");
    select(html, "stage", "Stage", unique(samples.iter().map(|s| s.stage.as_str())));
    select(html, "domain", "Domain", unique(samples.iter().map(|s| s.domain.as_str())));
    select(
        html,
        "verdicts",
        "Verdict",
        unique(samples.iter().flat_map(|s| &s.verdicts).map(|v| status_word(v.status).0)),
    );
    html.raw("<output id=\"shown\" aria-live=\"polite\"></output></form><div class=\"samples\">");
    for sample in samples {
        entry(html, sample);
    }
    html.raw("</div></section>");
}

/// The distinct words in the order in which they come.
fn unique<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(*word)).collect()
}

fn select(html: &mut Html, name: &'static str, label: &'static str, options: Vec<&str>) {
    html.raw("<label>").raw(label).raw(" <select name=\"").raw(name).raw("\"><option value=\"\">all</option>");
    for option in options {
        html.raw("<option value=\"").text(option).raw("\">").text(option).raw("</option>");
    }
    html.raw("</select></label>");
}

fn entry(html: &mut Html, sample: &SampleView) {
    let statuses = unique(sample.verdicts.iter().map(|verdict| status_word(verdict.status).0));
    html.raw("<details class=\"sample\" data-stage=\"")
        .text(&sample.stage)
        .raw("\" data-domain=\"")
        .text(&sample.domain);
    html.raw("\" data-verdicts=\"").text(statuses.join(" ")).raw("\"><summary><span class=\"marks\">");
    for verdict in &sample.verdicts {
        let (word, mark) = status_word(verdict.status);
        html.raw("<span class=\"mark ")
            .raw(word)
            .raw("\" title=\"")
            .text(&verdict.verifier)
            .raw(": ")
            .raw(word)
            .raw("\">");
        html.raw("<span aria-hidden=\"true\">").raw(mark).raw(" </span>").text(&verdict.verifier);
        html.raw("<span class=\"hear\"> ").raw(word).raw("</span></span>");
    }
    html.raw("</span><span class=\"gist\">")
        .text(gist(&sample.prompt))
        .raw("</span><span class=\"where\">")
        .text(&sample.domain);
    html.raw(" · ").text(&sample.stage).raw(" · step ").text(sample.step).raw("</span><span class=\"reward\">");
    match sample.reward {
        Some(reward) => html
            .raw("reward <b>")
            .text(number(reward))
            .raw("</b> · adv. <b>")
            .text(number(sample.advantage))
            .raw("</b>"),
        None => html.raw("masked: no reward"),
    };
    html.raw("</span></summary><div class=\"turns\"><div><h3>Prompt</h3>");
    block(html, &sample.prompt);
    html.raw("</div><div><h3>Completion</h3>");
    block(html, &sample.completion);
    html.raw("</div></div><dl class=\"reasons\">");
    for verdict in &sample.verdicts {
        let (word, mark) = status_word(verdict.status);
        html.raw("<div><dt class=\"mark ")
            .raw(word)
            .raw("\"><span aria-hidden=\"true\">")
            .raw(mark)
            .raw(" </span>")
            .text(&verdict.verifier);
        html.raw("</dt><dd><b>").raw(word).raw("</b> ").text(clip(&verdict.reason, MAX_TEXT).0).raw("</dd></div>");
    }
    html.raw("</dl></details>");
}

/// The last line that says something: tasks put the question there, after their instructions.
fn gist(prompt: &str) -> String {
    let line = prompt.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(empty prompt)");
    let (head, cut) = clip(line, 140);
    if cut > 0 { format!("{head}…") } else { head.to_owned() }
}

fn block(html: &mut Html, text: &str) {
    let (head, cut) = clip(text, MAX_TEXT);
    // HTML drops a line feed right after <pre>; one of our own keeps the text's first one.
    html.raw("<pre tabindex=\"0\">\n").text(head).raw("</pre>");
    if head.is_empty() {
        html.raw("<p class=\"fine\">Empty.</p>");
    }
    if cut > 0 {
        html.raw("<p class=\"fine\">").text(cut).raw(" more characters are in the run log.</p>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(status: Status) -> SampleView {
        SampleView {
            stage: "rl".into(),
            step: 3,
            domain: "math".into(),
            prompt: "2 + 2 = ?".into(),
            completion: "4".into(),
            reward: (status != Status::Error).then_some(1.0),
            advantage: 0.5,
            verdicts: vec![VerdictView { verifier: "math".into(), status, reason: "equal".into() }],
        }
    }

    #[test]
    fn inv_9_an_error_is_shown_as_masked_and_never_as_a_reward() {
        let mut html = Html::default();
        section(&mut html, &[sample(Status::Error)]);
        let html = html.finish();
        assert!(html.contains("masked: no reward") && html.contains("mark error"), "{html}");
        assert!(!html.contains("reward <b>"), "{html}");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let mut html = Html::default();
        let long = SampleView { completion: "é".repeat(MAX_TEXT + 5), ..sample(Status::Pass) };
        section(&mut html, &[long]);
        let html = html.finish();
        assert!(html.contains("5 more characters"));
        assert_eq!(html.matches('é').count(), MAX_TEXT);
    }

    #[test]
    fn items_are_taken_at_even_distances() {
        let check = |n: usize, expected: &[usize]| {
            let items: Vec<usize> = (0..n).collect();
            assert_eq!(evenly(&items, 3).copied().collect::<Vec<_>>(), expected);
        };
        check(0, &[]);
        check(1, &[0]);
        check(2, &[0, 1]);
        check(10, &[0, 4, 9]);
    }

    fn group(domain: &str, statuses: &[Status]) -> ScoredGroup {
        let sample = |(number, &status): (usize, &Status)| {
            let verdict = match status {
                Status::Pass => data::Verdict::pass("0", "equal"),
                Status::Error => data::Verdict::error("0", "no sandbox"),
                _ => data::Verdict::fail("0", "differs"),
            };
            let masked = status == Status::Error;
            let trajectory = data::Trajectory {
                prompt_id: "p".into(),
                sample: number as u32,
                tokens: vec![1, 2],
                authors: vec![data::Author::Prompt, data::Author::Policy],
                prompt_len: 1,
                logprobs: vec![-0.5],
                versions: vec![0],
                kept: data::KeptSets::default(),
                selections: None,
                routing: None,
                finish: data::Finish::Stop,
            };
            ScoredSample {
                trajectory,
                text: format!("completion {number}"),
                reward: verdict.reward,
                verdicts: vec![("math".into(), verdict)],
                advantage: 0.0,
                mask: if masked { data::Mask::VerifierError } else { data::Mask::None },
            }
        };
        let prompt = data::Prompt {
            id: "p".into(),
            domain: domain.into(),
            data_source: domain.into(),
            messages: vec![Message::user("2 + 2 = ?")],
            ground_truth: serde_json::Value::Null,
            answer: None,
            extra_info: serde_json::Value::Null,
        };
        ScoredGroup { prompt, version: 0, samples: statuses.iter().enumerate().map(sample).collect() }
    }

    #[test]
    fn of_a_logged_group_one_sample_of_each_kind_is_taken_and_a_torn_file_is_a_note() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let log = RunLog::open(dir.path().join(LOG_FOLDER)).expect("a log");
        let statuses = [Status::Fail, Status::Pass, Status::Fail, Status::Error, Status::Pass];
        log.append("rl", 4, &[group("math", &statuses)]).expect("it is logged");
        log.append("torn", 0, &[group("math", &statuses)]).expect("it is logged");
        std::fs::write(log.path("torn", 0).expect("a plain name"), "cut").expect("it is cut");

        let (samples, notes) = load_samples(dir.path(), &["torn", "rl", "sft"]);
        let completions: Vec<&str> = samples.iter().map(|sample| sample.completion.as_str()).collect();
        assert_eq!(completions, ["completion 0", "completion 1", "completion 3"]);
        assert_eq!((samples[0].stage.as_str(), samples[0].step, samples[0].prompt.as_str()), ("rl", 4, "2 + 2 = ?"));
        assert_eq!((samples[1].reward, samples[2].reward), (Some(1.0), None));
        assert!(notes.len() == 1 && notes[0].contains("torn-000000"), "{notes:?}");
    }

    #[test]
    fn no_log_is_no_sample_and_no_folder_is_made() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(load_samples(dir.path(), &["rl"]), (vec![], vec![]));
        assert!(!dir.path().join(LOG_FOLDER).exists());
    }
}
