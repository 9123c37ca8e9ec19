//! What makes a recipe impossible, before anything is loaded.

use super::findings::{Finding, Findings, at};
use super::{Domain, ModelSource, Recipe, Source, validate_stage, validate_verifiers};

/// 9999-12-31 23:59:59 UTC: later years are not written with four digits.
const LAST_SECOND: i64 = 253_402_300_799;

/// No machine has more cores, and each thread costs memory.
const MOST_THREADS: usize = 1024;

/// A longer limit is none.
const YEAR_S: f64 = 365.0 * 86_400.0;

impl Recipe {
    /// Everything that is impossible in a completed recipe, in the order of its settings.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Findings::new(self);
        self.check_run(&mut findings);
        self.check_sampling(&mut findings);
        self.check_eval(&mut findings);
        for (name, domain) in &self.domains {
            check_domain(name, domain, &mut findings);
        }
        findings.require(!self.stages.is_empty(), at(&[&"stages"]), "is empty: a recipe has at least one stage");
        for (i, stage) in self.stages.iter().enumerate() {
            validate_stage::check(self, i, stage, &mut findings);
        }
        findings.found
    }

    fn check_run(&self, f: &mut Findings<'_>) {
        f.require(is_name(&self.run.name), at(&[&"run", &"name"]), NAME_RULE);
        let threads = at(&[&"run", &"threads"]);
        f.require(self.run.threads <= MOST_THREADS, threads, format_args!("must be at most {MOST_THREADS}"));
        if let ModelSource::Fresh { init_std, .. } = &self.model {
            f.number(at(&[&"model", &"init_std"]), *init_std, "above 0 and at most 1", |std| std > 0.0 && std <= 1.0);
        }
        f.require(!self.run.out.is_empty(), at(&[&"run", &"out"]), "must name a folder");
        let clock = at(&[&"run", &"clock"]);
        let share = at(&[&"run", &"compare_share"]);
        f.number(share, self.run.compare_share, "between 0 and 1", |s| (0.0..=1.0).contains(&s));
        let seconds = [("verdict_deadline_s", self.run.verdict_deadline_s), ("stall_s", self.run.stall_s)];
        for (key, value) in seconds {
            f.number(at(&[&"run", &key]), value, "above 0 and at most a year", |s| s > 0.0 && s <= YEAR_S);
        }
        f.require((0..=LAST_SECOND).contains(&self.run.clock), clock, "must lie between the years 1970 and 9999");
    }

    fn check_sampling(&self, f: &mut Findings<'_>) {
        let s = &self.sampling;
        f.number(at(&[&"sampling", &"temperature"]), s.temperature, "above 0", |t| t > 0.0);
        f.number(at(&[&"sampling", &"top_p"]), s.top_p, "above 0 and at most 1", |p| p > 0.0 && p <= 1.0);
        f.positive(at(&[&"sampling", &"max_new_tokens"]), s.max_new_tokens);
        f.positive(at(&[&"sampling", &"batch"]), s.batch);
        f.positive(at(&[&"sampling", &"page"]), s.page);
        for (i, stop) in s.stop.iter().enumerate() {
            f.require(
                !stop.is_empty(),
                at(&[&"sampling", &"stop", &i]),
                "is empty and would end every completion at once",
            );
        }
    }

    fn check_eval(&self, f: &mut Findings<'_>) {
        let e = &self.eval;
        f.positive(at(&[&"eval", &"n"]), e.n);
        f.positive(at(&[&"eval", &"samples"]), e.samples);
        f.number(at(&[&"eval", &"temperature"]), e.temperature, "0 or above", |t| t >= 0.0);
        for (i, name) in e.domains.iter().enumerate() {
            let path = at(&[&"eval", &"domains", &i]);
            f.domain(path.clone(), name);
            if let Some(domain) = self.domains.get(name) {
                check_judgeable(path, name, domain, f);
            }
        }
        self.check_texts(f);
    }

    fn check_texts(&self, f: &mut Findings<'_>) {
        let e = &self.eval;
        for (i, &context) in e.contexts.iter().enumerate() {
            f.positive(at(&[&"eval", &"contexts", &i]), context);
        }
        let path = at(&[&"eval", &"texts"]);
        if e.contexts.is_empty() {
            f.require(e.texts.is_empty(), path, "has no meaning without `contexts`: at which is perplexity measured?");
            return;
        }
        f.require(!e.texts.is_empty(), path, "is empty, and no domain has `eval` prompts");
        for (i, name) in e.texts.iter().enumerate() {
            let path = at(&[&"eval", &"texts", &i]);
            f.domain(path.clone(), name);
            let empty = self.domains.get(name).is_some_and(|domain| domain.eval.is_empty());
            f.require(!empty, path, format_args!("names the domain `{name}`, which has no `eval` prompts"));
        }
    }
}

/// A domain that is evaluated needs held-out prompts and something that judges them.
pub(super) fn check_judgeable(path: Vec<String>, name: &str, domain: &Domain, f: &mut Findings<'_>) {
    let what = if domain.eval.is_empty() {
        "`eval` prompts"
    } else if domain.verifiers.is_empty() {
        "verifier"
    } else {
        return;
    };
    f.add(path, format_args!("names the domain `{name}`, which has no {what} and so cannot be evaluated"));
}

/// What [`is_name`] demands, as the end of a sentence.
pub(super) const NAME_RULE: &str =
    "must be made of letters, digits, `-`, `_` and `.`, and must start with a letter or digit";

/// Names become folders and keys of `--set`.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}

fn check_domain(name: &str, domain: &Domain, f: &mut Findings<'_>) {
    let path = |key: &str| at(&[&"domains", &name, &key]);
    f.require(is_name(name), at(&[&"domains", &name]), NAME_RULE);
    f.number(path("kl_beta"), domain.kl_beta, "0 or above", |beta| beta >= 0.0);
    for (key, sources) in [("train", &domain.train), ("eval", &domain.eval)] {
        for (i, source) in sources.iter().enumerate() {
            match source {
                Source::Generated { n, .. } => f.positive(at(&[&"domains", &name, &key, &i, &"n"]), *n),
                Source::File { path, .. } => {
                    f.require(!path.is_empty(), at(&[&"domains", &name, &key, &i, &"path"]), "must name a file");
                }
            }
        }
    }
    validate_verifiers::check(name, domain, f);
}
