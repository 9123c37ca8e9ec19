//! What makes a stage impossible.

use policy::lora::TARGETS;

use super::findings::{Findings, at};
use super::validate::{NAME_RULE, check_judgeable, is_name};
use super::words::suggest;
use super::{Device, DistillLoss, IndexerMode, Kind, MODEL, OnSwap, Recipe, RlSchedule, Schedule, Stage};

/// What the run log adds to a stage's name for groups that are not of its steps. A stage of that name would write the same files.
const LOG_SUFFIXES: [&str; 2] = ["-eval", "-traces"];

/// Older weights than so many steps are another policy; each age has a column in the metrics.
const MOST_STALENESS: u64 = 100;

/// Checks stage `i` of the recipe.
pub(super) fn check(recipe: &Recipe, i: usize, stage: &Stage, f: &mut Findings<'_>) {
    let here = Here { recipe, i, stage };
    here.name(f);
    here.from(f);
    here.length(f);
    here.unused_tables(f);
    here.domains(f);
    here.evaluation(f);
    if stage.kind.trains() {
        here.optimizer(f);
        here.batch(f);
        here.indexer(f);
        here.routing(f);
        here.lora(f);
    }
    if let Some(export) = &stage.export {
        f.number(here.path2("export", "shard_gb"), export.shard_gb, "above 0", |gb| gb > 0.0);
    }
    if stage.kind == Kind::Eval {
        here.evaluated_indexer(f);
    }
    here.rl(f);
    here.distill(f);
}

struct Here<'a> {
    recipe: &'a Recipe,
    i: usize,
    stage: &'a Stage,
}

impl Here<'_> {
    fn path(&self, key: &str) -> Vec<String> {
        at(&[&"stages", &self.i, &key])
    }

    fn path2(&self, table: &str, key: &str) -> Vec<String> {
        at(&[&"stages", &self.i, &table, &key])
    }

    fn kind(&self) -> &'static str {
        self.stage.kind.as_str()
    }

    fn name(&self, f: &mut Findings<'_>) {
        let name = &self.stage.name;
        f.require(is_name(name), self.path("name"), NAME_RULE);
        let number = !name.is_empty() && name.chars().all(|c| c.is_ascii_digit());
        f.require(!number, self.path("name"), "must not be a number: `--set stages.0` means the first stage");
        f.require(name != MODEL, self.path("name"), "must not be `model`, which in `from` means `[model]`");
        let owner = LOG_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        if let Some(owner) = owner.filter(|owner| self.recipe.stage(owner).is_some()) {
            f.add(self.path("name"), format_args!("is what the run log calls groups of the stage `{owner}`"));
        }
        let earlier = self.recipe.stages[..self.i].iter().position(|stage| &stage.name == name);
        if let Some(j) = earlier {
            f.add(self.path("name"), format_args!("is the name of an earlier stage too, number {} of the list", j + 1));
        }
    }

    /// `name` must be `[model]` or an earlier stage that leaves a checkpoint.
    fn checkpoint_of(&self, path: Vec<String>, name: &str, f: &mut Findings<'_>) {
        let earlier = &self.recipe.stages[..self.i];
        match self.recipe.stage(name) {
            _ if name == MODEL => {}
            Some(stage) if !earlier.iter().any(|e| e.name == stage.name) => {
                f.add(path, format_args!("names the stage `{name}`, which does not run before this one"));
            }
            Some(stage) if !stage.kind.trains() => {
                let kind = stage.kind.as_str();
                f.add(
                    path,
                    format_args!("names the stage `{name}`, which is of kind `{kind}` and leaves no checkpoint"),
                );
            }
            Some(_) => {}
            None => {
                let leave = earlier.iter().filter(|stage| stage.kind.trains()).map(|stage| stage.name.as_str());
                let names: Vec<&str> = leave.chain([MODEL]).collect();
                f.add_with_help(path, format_args!("names an unknown stage, `{name}`"), suggest(name, &names));
            }
        }
    }

    fn from(&self, f: &mut Findings<'_>) {
        self.checkpoint_of(self.path("from"), &self.stage.from, f);
    }

    fn length(&self, f: &mut Findings<'_>) {
        let Stage { steps, budget_share, .. } = *self.stage;
        if !self.stage.kind.trains() {
            f.require(
                steps == 0,
                self.path("steps"),
                format_args!("has no meaning in a stage of kind `{}`", self.kind()),
            );
            f.require(
                budget_share == 0.0,
                self.path("budget_share"),
                format_args!("has no meaning in `{}`", self.kind()),
            );
            return;
        }
        match (steps > 0, budget_share != 0.0) {
            (false, false) => f.add(self.path("steps"), "must be at least 1, or `budget_share` above 0"),
            (true, true) => f.add(self.path("budget_share"), "and `steps` cannot both be set"),
            (true, false) => {}
            (false, true) => {
                f.number(self.path("budget_share"), budget_share, "between 0 and 1", |s| s > 0.0 && s < 1.0);
                f.require(
                    self.i > 0,
                    self.path("budget_share"),
                    "is a share of what came before, and nothing came before",
                );
            }
        }
    }

    fn unused_tables(&self, f: &mut Findings<'_>) {
        let (stage, kind) = (self.stage, self.stage.kind);
        let tables = [
            ("optimizer", stage.optimizer.is_some(), kind.trains()),
            ("batch", stage.batch.is_some(), kind.trains()),
            ("indexer", stage.indexer.is_some(), kind.trains() || kind == Kind::Eval),
            ("routing", stage.routing.is_some(), kind.trains()),
            ("lora", stage.lora.is_some(), kind.adapts()),
            ("mix", !stage.mix.is_empty(), kind.trains()),
            ("domains", !stage.domains.is_empty(), kind != Kind::Export),
            ("checkpoint_every", stage.checkpoint_every > 0, kind.trains()),
            ("rl", stage.rl.is_some(), kind == Kind::Rl),
            ("distill", stage.distill.is_some(), kind.distils()),
            ("export", stage.export.is_some(), kind == Kind::Export),
        ];
        for (key, given, used) in tables {
            f.require(
                used || !given,
                self.path(key),
                format_args!("has no meaning in a stage of kind `{}`", self.kind()),
            );
        }
    }

    fn domains(&self, f: &mut Findings<'_>) {
        let (stage, kind) = (self.stage, self.stage.kind);
        f.require(
            !stage.domains.is_empty() || !kind.trains(),
            self.path("domains"),
            "is empty, and no domain has `train` prompts",
        );
        let rewarded = stage.distill.as_ref().is_some_and(|d| kind == Kind::Distill && d.reward_coefficient != 0.0);
        let judged = matches!(kind, Kind::Rl | Kind::DistillSft) || rewarded;
        for (j, name) in stage.domains.iter().enumerate() {
            let path = at(&[&"stages", &self.i, &"domains", &j]);
            f.domain(path.clone(), name);
            let Some(domain) = self.recipe.domains.get(name) else { continue };
            if kind == Kind::Eval {
                check_judgeable(path, name, domain, f);
            } else if domain.train.is_empty() {
                f.add(path, format_args!("names the domain `{name}`, which has no `train` prompts"));
            } else if judged && domain.verifiers.is_empty() {
                let kind = self.kind();
                f.add(
                    path,
                    format_args!("names the domain `{name}`, which has no verifier; `{kind}` needs its verdicts"),
                );
            }
        }
        for (name, &weight) in &stage.mix {
            let path = self.path2("mix", name);
            f.number(path.clone(), weight, "above 0", |w| w > 0.0);
            if !stage.domains.contains(name) {
                let names: Vec<&str> = stage.domains.iter().map(String::as_str).collect();
                f.add_with_help(path, "is no domain of this stage", suggest(name, &names));
            }
        }
    }

    fn evaluation(&self, f: &mut Findings<'_>) {
        let (stage, path) = (self.stage, self.path("eval"));
        if stage.kind == Kind::Export {
            f.require(!stage.evaluates(), path, "has no meaning in a stage of kind `export`");
        } else if stage.evaluates() {
            let any = self.recipe.eval.measures_something();
            f.require(any, path, "is true, and no domain has both `eval` prompts and a verifier");
        }
    }

    fn optimizer(&self, f: &mut Findings<'_>) {
        let Some(o) = &self.stage.optimizer else {
            let help = Some("add `optimizer = { lr = 1e-4 }`, or the table [stages.optimizer]".to_owned());
            return f.add_with_help(self.path("optimizer"), format_args!("is missing: `{}` trains", self.kind()), help);
        };
        let path = |key| self.path2("optimizer", key);
        f.number(path("lr"), o.lr, "set, above 0 and at most 1e38", |lr| lr > 0.0 && lr <= 1e38);
        f.number(path("min_lr"), o.min_lr, "between 0 and `lr`", |lr| lr == 0.0 || (0.0..=o.lr).contains(&lr));
        let falls = o.schedule != Schedule::Constant;
        f.require(falls || o.min_lr == 0.0, path("min_lr"), "has no meaning under `schedule = \"constant\"`");
        let fits = self.stage.steps == 0 || o.warmup < self.stage.steps;
        f.require(fits, path("warmup"), format_args!("is {}, and the stage has {} steps", o.warmup, self.stage.steps));
        for (key, value) in [("beta1", o.beta1), ("beta2", o.beta2)] {
            f.number(path(key), value, "0 or above, and below 1", |b| (0.0..1.0).contains(&b));
        }
        f.number(path("eps"), o.eps, "above 0", |eps| eps > 0.0);
        let not_negative =
            [("weight_decay", o.weight_decay), ("clip_norm", o.clip_norm), ("indexer_clip_norm", o.indexer_clip_norm)];
        for (key, value) in not_negative {
            f.number(path(key), value, "0 or above", |v| v >= 0.0);
        }
        // One that was left open is `lr`, which is checked above.
        f.number(path("indexer_lr"), o.indexer_lr(), "0 or above", |lr| lr >= 0.0 || lr == o.lr);
    }

    fn batch(&self, f: &mut Findings<'_>) {
        let Some(b) = &self.stage.batch else { return };
        let path = |key| self.path2("batch", key);
        f.positive(path("unit_tokens"), b.unit_tokens);
        f.positive(path("sequence"), b.sequence);
        if !self.stage.kind.reads_tokens() {
            let predicate =
                format_args!("has no meaning in `{}`, whose steps are counted in prompts", self.kind()).to_string();
            f.require(b.tokens == 0, path("tokens"), predicate);
        } else if self.stage.kind == Kind::Pretrain {
            f.require(b.sequence <= b.unit_tokens, path("sequence"), "must fit in `unit_tokens`");
            f.require(b.sequence <= b.tokens, path("sequence"), "must fit in `tokens`");
        }
    }

    fn indexer(&self, f: &mut Findings<'_>) {
        let Some(x) = &self.stage.indexer else { return };
        let (kind, path) = (self.stage.kind, self.path2("indexer", "mode"));
        match (x.mode, kind) {
            (IndexerMode::LiveReplay, kind) if !kind.samples_policy() => f.add(
                path,
                format_args!(
                    "is `live+replay` in a stage of kind `{}`, which replays nothing: say `live`",
                    kind.as_str()
                ),
            ),
            (IndexerMode::None | IndexerMode::Frozen, Kind::IndexerWarmup) => {
                f.add(path, "must be `live`: the indexer is all that `indexer-warmup` trains");
            }
            (IndexerMode::None, Kind::Sparse) => {
                f.add(path, "is `none`, and `sparse` attends to what the indexer selects")
            }
            _ => {}
        }
        f.positive(self.path2("indexer", "heads"), x.heads);
        f.positive(self.path2("indexer", "width"), x.width);
        f.positive(self.path2("indexer", "every"), x.every);
        f.number(self.path2("indexer", "coefficient"), x.coefficient, "0 or above", |c| c >= 0.0);
    }

    fn routing(&self, f: &mut Findings<'_>) {
        let Some(r) = &self.stage.routing else { return };
        let path = self.path2("routing", "balance");
        f.number(path.clone(), r.balance(), "0 (off) or above", |b| b >= 0.0);
        let frozen = self.stage.kind == Kind::IndexerWarmup && r.balance() > 0.0;
        f.require(!frozen, path, "has no meaning in a stage of kind `indexer-warmup`, which trains the indexer alone");
    }

    fn lora(&self, f: &mut Findings<'_>) {
        let (Some(lora), true) = (&self.stage.lora, self.stage.kind.adapts()) else { return };
        f.positive(self.path2("lora", "rank"), lora.rank);
        f.number(self.path2("lora", "alpha"), lora.alpha, "above 0", |alpha| alpha > 0.0);
        for (j, target) in lora.targets.iter().enumerate() {
            if !TARGETS.contains(&target.as_str()) {
                let path = at(&[&"stages", &self.i, &"lora", &"targets", &j]);
                f.add_with_help(path, format_args!("takes no adapter: `{target}`"), suggest(target, &TARGETS));
            }
        }
        let live =
            self.stage.indexer.as_ref().is_some_and(|x| matches!(x.mode, IndexerMode::Live | IndexerMode::LiveReplay));
        f.require(!live, self.path2("indexer", "mode"), "must not be live where `lora` says that adapters alone learn");
        let moves = self.stage.routing.as_ref().is_some_and(|r| r.balance() > 0.0);
        f.require(!moves, self.path2("routing", "balance"), "must be 0 where `lora` says that adapters alone learn");
    }

    /// An `eval` stage may look past the indexer, or at another k.
    fn evaluated_indexer(&self, f: &mut Findings<'_>) {
        let Some(x) = &self.stage.indexer else { return };
        let (mode, path) = (x.mode, self.path2("indexer", "mode"));
        let looks = matches!(mode, IndexerMode::Auto | IndexerMode::None | IndexerMode::Frozen);
        f.require(looks, path, "must be `none` or `frozen` in `eval`, where nothing learns");
        let only = super::IndexerSettings { mode, top_k: x.top_k, ..super::IndexerSettings::default() };
        f.require(*x == only, self.path("indexer"), "has no settings in `eval` but `mode` and `top_k`");
        let dense = mode == IndexerMode::None && x.top_k > 0;
        f.require(!dense, self.path2("indexer", "top_k"), "has no meaning under `mode = \"none\"`");
    }

    fn rl(&self, f: &mut Findings<'_>) {
        let Some(r) = &self.stage.rl else { return };
        let path = |key| self.path2("rl", key);
        f.positive(path("prompts"), r.prompts);
        f.require(
            r.group >= 2,
            path("group"),
            "must be at least 2: the advantage is the distance from the group's mean",
        );
        f.positive(path("mini_steps"), r.mini_steps);
        f.number(path("clip_low"), r.clip_low, "above 0 and at most 1", |c| c > 0.0 && c <= 1.0);
        f.number(path("clip_high"), r.clip_high, "above 0", |c| c > 0.0);
        f.number(path("dual_clip"), r.dual_clip, "0 (off) or above 1", |c| c == 0.0 || c > 1.0);
        f.number(path("off_policy_delta"), r.off_policy_delta, "0 (off) or above", |d| d >= 0.0);
        f.number(path("max_error_share"), r.max_error_share, "between 0 and 1", |s| (0.0..=1.0).contains(&s));
        let bounded = r.max_staleness <= MOST_STALENESS;
        f.require(bounded, path("max_staleness"), format_args!("must be at most {MOST_STALENESS}"));
        let runs_ahead = r.max_staleness > 0;
        let no_meaning = "has no meaning without `max_staleness` above 0";
        f.require(runs_ahead || r.schedule == RlSchedule::Logical, path("schedule"), no_meaning);
        f.require(runs_ahead || r.on_swap == OnSwap::Recompute, path("on_swap"), no_meaning);
        f.require(runs_ahead || r.in_flight == 0, path("in_flight"), no_meaning);
        f.require(runs_ahead || r.overlap == 0, path("overlap"), no_meaning);
        let own = r.sampler_device != Device::Auto;
        let predicate = "has no meaning without `overlap` above 0: sampler and learner would wait for one another";
        f.require(!own || r.overlap > 0, path("sampler_device"), predicate);
        f.require(
            r.on_swap == OnSwap::Recompute || !self.recipe.run.exact,
            path("on_swap"),
            "is `keep`: tokens then depend on keys of older weights, so that sampler and learner cannot agree bit for bit and a resumed run is another one; say `run.exact = false`",
        );
        let divides = r.prompts == 0 || r.mini_steps <= r.prompts;
        f.require(divides, path("mini_steps"), "must not be more than `prompts`: each takes whole groups");
    }

    fn distill(&self, f: &mut Findings<'_>) {
        let (Some(d), true) = (&self.stage.distill, self.stage.kind.distils()) else { return };
        let path = |key| self.path2("distill", key);
        for (key, value) in
            [("prompts", d.prompts), ("group", d.group), ("traces", d.traces), ("max_attempts", d.max_attempts)]
        {
            f.positive(path(key), value);
        }
        if d.loss == DistillLoss::Jsd {
            f.number(path("jsd_beta"), d.jsd_beta, "between 0 and 1", |b| b > 0.0 && b < 1.0);
        }
        f.number(path("reward_coefficient"), d.reward_coefficient, "0 or above", |c| c >= 0.0);
        let needs_spread = d.reward_coefficient == 0.0 || d.group >= 2;
        f.require(needs_spread, path("group"), "must be at least 2 where `reward_coefficient` is above 0");
        for domain in &self.stage.domains {
            if !d.teachers.contains_key(domain) {
                f.add(path("teachers"), format_args!("names no teacher for the domain `{domain}`"));
            }
        }
        for (domain, teacher) in &d.teachers {
            let path = at(&[&"stages", &self.i, &"distill", &"teachers", &domain]);
            if !self.stage.domains.contains(domain) {
                let names: Vec<&str> = self.stage.domains.iter().map(String::as_str).collect();
                f.add_with_help(path.clone(), "is no domain of this stage", suggest(domain, &names));
            }
            self.checkpoint_of(path, teacher, f);
        }
    }
}
