//! An explanation as plain text. Lines stay within 80 columns but for names and reasons that are longer themselves.

use std::fmt::Write;

use super::found::{Explanation, Group, MiniStep, Number, Sample};
use super::token::Token;

/// Characters of a verifier's reason that are shown.
const REASON: usize = 44;

/// The explanation for people.
pub fn render(e: &Explanation) -> String {
    let mut out = format!("{}: stage {}, step {} (the log has up to {})\n", e.run, e.stage, e.step, e.last_step);
    let replayed = match e.weights.replayed {
        0 => String::new(),
        1 => ", and 1 step from the log".into(),
        n => format!(", and {n} steps from the log"),
    };
    line(&mut out, &format!("weights of version {}: {}{replayed}", e.weights.version, e.weights.from));
    let learned = e.groups.iter().filter(|g| g.mini_step.is_some()).count();
    let idle = e.groups.len() - learned;
    line(&mut out, &format!("{learned} groups learned from, {idle} without a signal"));
    e.groups.iter().for_each(|g| group(&mut out, g));
    out.push('\n');
    for (at, mini) in e.mini_steps.iter().enumerate() {
        mini_step(&mut out, at, mini);
    }
    if e.mini_steps.is_empty() {
        line(&mut out, "no group has a signal: the weights stayed as they were");
    }
    e.tokens.iter().for_each(|t| token(&mut out, t));
    line(&mut out, "\nlogged, and computed again");
    e.numbers.iter().for_each(|n| number(&mut out, n));
    let (compared, different) = (e.numbers.iter().filter(|n| n.equal.is_some()).count(), e.different().len());
    match different {
        0 => line(&mut out, &format!("\nEQUAL: all {compared} numbers, bit for bit")),
        n => line(&mut out, &format!("\nDIFFERS: {n} of {compared} numbers")),
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn group(out: &mut String, g: &Group) {
    let role = g.mini_step.map_or("without a signal".into(), |m| format!("learned from in mini-step {}", m + 1));
    line(out, &format!("\ngroup {}: {} ({}), admitted at version {}, {role}", g.number, g.prompt, g.domain, g.version));
    line(out, "  sample  reward  advantage  tokens  ends    age  mask");
    g.samples.iter().for_each(|s| sample(out, s));
}

fn sample(out: &mut String, s: &Sample) {
    let reward = s.reward.map_or("-".into(), |r| format!("{r:.3}"));
    let age = if s.staleness.0 == s.staleness.1 {
        s.staleness.0.to_string()
    } else {
        format!("{}-{}", s.staleness.0, s.staleness.1)
    };
    let (number, advantage, tokens) = (s.number, s.advantage, s.tokens);
    line(
        out,
        &format!("  {number:>6}  {reward:>6}  {advantage:>+9.4}  {tokens:>6}  {:<6}  {age:>3}  {}", s.finish, s.mask),
    );
    for v in &s.verdicts {
        line(out, &format!("          {}: {}, {}", v.verifier, v.status, short(&v.reason)));
    }
}

/// The first characters, on one line.
fn short(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.chars().count() <= REASON {
        return plain;
    }
    plain.chars().take(REASON - 1).collect::<String>() + "…"
}

fn mini_step(out: &mut String, at: usize, m: &MiniStep) {
    line(out, &format!("mini-step {}: {} samples, {} tokens", at + 1, m.samples, m.tokens));
    line(out, &format!("  loss       {:e}", m.loss));
    line(out, &format!("  surrogate  {:e}", m.surrogate));
    line(out, &format!("  kl         {:e}", m.kl));
    line(out, &format!("  indexer    {:e}", m.indexer));
    line(out, &format!("  surrogate and kl, summed over tokens: {:e}", m.sum_over_tokens));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let (low, high, off) = (percent(m.clipped_low), percent(m.clipped_high), percent(m.off_policy));
    line(out, &format!("  clipped below {low}, above {high}; dropped as off-policy {off}"));
    for (name, norm) in &m.gradient_norms {
        line(out, &format!("  gradient norm of {name}: {norm:e}"));
    }
}

fn number(out: &mut String, n: &Number) {
    let verdict = match n.equal {
        Some(true) => "EQUAL",
        Some(false) => "DIFFERS",
        None => "-",
    };
    line(out, &format!("  {verdict:<8}{}", n.name));
    let value = |v: Option<f64>| v.map_or("nothing".into(), |v| format!("{v:?}"));
    match (n.equal, n.note.is_empty()) {
        (None, _) => line(out, &format!("          {} (not computed again: {})", value(n.logged), n.note)),
        (_, false) => line(out, &format!("          {}", n.note)),
        (Some(true), true) => line(out, &format!("          {}", value(n.logged))),
        (Some(false), true) => {
            line(out, &format!("          logged {}, now {}", value(n.logged), value(n.found)));
        }
    }
}

fn token(out: &mut String, t: &Token) {
    line(out, &format!("\ntoken {}:{}: id {}, {:?}", t.sample, t.position, t.id, t.text));
    let kept = t.kept.map_or("all".into(), |n| n.to_string());
    line(out, &format!("  sampled by version {}, from {kept} kept tokens", t.version));
    line(out, &format!("  log-probability, sampler  {:?}", t.sampler));
    match (t.learner, t.equal) {
        (Some(l), Some(equal)) => {
            line(out, &format!("  log-probability, learner  {l:?}  {}", if equal { "EQUAL" } else { "DIFFERS" }));
        }
        (Some(l), None) => line(out, &format!("  log-probability, learner  {l:?}  (of newer weights)")),
        (None, _) => line(out, "  written by a tool: in no loss"),
    }
    line(out, &format!("  advantage {:+.6}, mask {}", t.advantage, t.mask));
    match &t.share {
        None => line(out, "  in no loss"),
        Some(s) => {
            line(
                out,
                &format!(
                    "  mini-step {}: learner {:?}, reference {}",
                    s.mini_step + 1,
                    s.logp,
                    s.ref_logp.map_or("none".into(), |l| format!("{l:?}"))
                ),
            );
            let clipped = if s.clipped { "clipped" } else { "not clipped" };
            let dropped = if s.off_policy { "dropped as off-policy" } else { "not dropped" };
            line(out, &format!("  ratio {:.9}, {clipped}, {dropped}", s.ratio));
            line(out, &format!("  weight {:e}", s.weight));
            line(out, &format!("  share of the loss: surrogate {:e}, kl {:e}", s.surrogate, s.kl));
        }
    }
    for (layer, keys) in t.selected.iter().flatten().enumerate() {
        let mut keys_in_words = String::new();
        for key in keys {
            let _ = write!(keys_in_words, " {key}");
        }
        line(out, &format!("  keys selected in layer {layer}:{keys_in_words}"));
    }
    for (number, experts) in t.experts.iter().flatten().enumerate() {
        let numbers: Vec<String> = experts.iter().map(u16::to_string).collect();
        line(out, &format!("  experts of mixture {number}: {}", numbers.join(" ")));
    }
}
