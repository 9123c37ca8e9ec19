//! What makes the verifiers of a domain impossible together.

use std::collections::BTreeSet;

use verifiers::compose::Relative;

use super::findings::{Findings, at};
use super::{Domain, VerifierEntry};
use crate::verifiers_by_name::{BuildError, check_settings};

/// Checks the verifiers of the domain `name`.
pub(super) fn check(name: &str, domain: &Domain, f: &mut Findings<'_>) {
    let path = |key: &str| at(&[&"domains", &name, &key]);
    bounds(path("clip"), domain.clip, f);
    let mut seen = BTreeSet::new();
    for (i, verifier) in domain.verifiers.iter().enumerate() {
        let path = |key: &str| at(&[&"domains", &name, &"verifiers", &i, &key]);
        f.number(path("weight"), verifier.weight, "a finite number", |_| true);
        bounds(path("clip"), verifier.clip, f);
        let label = verifier.label();
        let twice = if label == verifier.name.as_str() {
            format!("names `{label}` a second time; give one of them a `label`")
        } else {
            format!("has the label `{label}`, which another verifier of the domain has")
        };
        f.require(seen.insert(label), path("name"), twice);
        if let Err(BuildError::Settings { message, help, .. }) = check_settings(verifier.name, &verifier.settings) {
            f.add_with_help(
                path("settings"),
                format_args!("do not suit `{}`: {message}", verifier.name.as_str()),
                help,
            );
        }
        check_opinion(&domain.verifiers[..i], verifier, path("decides"), f);
    }
    let rewards = domain.verifiers.iter().any(|v| v.weight != 0.0 && v.decides.is_none());
    f.require(
        domain.verifiers.is_empty() || rewards,
        path("verifiers"),
        "have no weight but 0: every reward would be 0",
    );
}

fn bounds(path: Vec<String>, clip: Option<[f64; 2]>, f: &mut Findings<'_>) {
    let sound = clip.is_none_or(|[low, high]| low.is_finite() && high.is_finite() && low < high);
    f.require(sound, path, "must be two numbers, the lower one first");
}

/// A second opinion is asked after the first, and is worth what that is worth.
fn check_opinion(before: &[VerifierEntry], verifier: &VerifierEntry, path: Vec<String>, f: &mut Findings<'_>) {
    let Some(first) = &verifier.decides else { return };
    let known = before.iter().any(|other| other.label() == first && other.decides.is_none());
    f.require(
        known,
        path.clone(),
        format_args!("names `{first}`, which is no verifier before it that judges by itself"),
    );
    let own = verifier.gate || verifier.weight != 1.0 || verifier.clip.is_some() || verifier.relative != Relative::None;
    let idle = "makes its weight, gate, clip and relative idle: its verdict is worth what the other's is worth";
    f.require(!own, path, idle);
}
