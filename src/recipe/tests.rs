//! Recipes as their users see them: what is refused and in what words, overrides, and the printed form.

use super::{Device, Domain, IndexerMode, Kind, Place, Recipe, Source};

const BASE: &str = r#"
[model]
checkpoint = "base"
[sampling]
max_new_tokens = 32
[domains.math]
train = [{ generator = "arithmetic" }]
eval = [{ path = "held-out.parquet" }]
verifiers = [{ name = "math" }]
[domains.facts]
train = [{ generator = "retrieval" }]
[[stages]]
name = "base"
kind = "pretrain"
steps = 10
optimizer = { lr = 1e-3 }
[[stages]]
name = "math-rl"
kind = "rl"
domains = ["math"]
steps = 20
optimizer = { lr = 1e-4 }
[[stages]]
name = "export"
kind = "export"
"#;

fn base_with(sets: &[&str]) -> Result<Recipe, String> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Recipe::parse(BASE, "r.toml", &sets).map_err(|error| error.to_string())
}

/// Replaces `from` by `to` in the base recipe and expects an error that begins with `error`, its help line included
/// where there is one.
#[track_caller]
fn refused(from: &str, to: &str, error: &str) {
    assert!(BASE.contains(from), "the base recipe has no `{from}`");
    let found = Recipe::parse(&BASE.replacen(from, to, 1), "r.toml", &[]).expect_err(to);
    let problem = &found.problems[0];
    let place = match &problem.place {
        Place::Line { line, column, .. } => format!("{line}:{column}"),
        other => format!("{other:?}"),
    };
    let help = problem.help.as_ref().map_or_else(String::new, |help| format!(" / {help}"));
    assert_eq!(format!("{place} {}{help}", problem.message), error, "for {to}");
}

#[test]
fn a_wrong_key_value_or_type_names_its_place_and_the_nearest_name() {
    refused("max_new_tokens", "max_tokens", "5:1 unknown key `max_tokens` / did you mean `max_new_tokens`?");
    refused("[sampling]", "[samplng]", "4:2 unknown key `samplng` / did you mean `sampling`?");
    refused("\"rl\"", "\"rll\"", "19:8 unknown value `rll` / did you mean `rl`?");
    refused("\"retrieval\"", "\"retreival\"", "11:24 unknown value `retreival` / did you mean `retrieval`?");
    refused("lr = 1e-3", "lr = 1e-3, warmpu = 2", "16:26 unknown key `warmpu` / did you mean `warmup`?");
    refused("name = \"math\"", "name = \"math\", wieght = 2", "9:31 unknown key `wieght` / did you mean `weight`?");
    refused("= 32", "= \"32\"", "5:18 expected a whole number, 0 or more, found the text \"32\"");
    refused("= 32", "= -1", "5:18 expected a whole number, 0 or more, found the number `-1`");
    refused("steps = 10", "steps = 1.5", "15:9 expected a whole number, 0 or more, found the number `1.5`");
    refused(
        "= 32",
        "= 99999999999999999999",
        "5:18 expected a number of at most 64 bits, found the number `99999999999999999999`",
    );
    refused("lr = 1e-3", "lr = true", "16:20 expected a number, found `true`");
    refused("\"rl\"", "3", "19:8 expected text in quotes");
    refused("\"base\"", "3", "3:14 expected text in quotes, found the number `3`");
    refused("[\"math\"]", "\"math\"", "20:11 expected a list, [...], found the text \"math\"");
    refused("{ lr = 1e-3 }", "1e-3", "16:13 expected a table, found the number `0.001`");
    refused("kind = \"rl\"\n", "", "17:1 `kind` is missing");
    refused("[model]", "[model", "2:7 unclosed table, expected `]`");
    refused("steps = 10", "steps = 10\nsteps = 11", "16:1 duplicate key");
    refused(
        "[sampling]",
        "[run]\ndevice = \"gpu\"\n[sampling]",
        "5:10 no device is called `gpu`; say `auto`, `cpu`, `cuda` or `cuda:N`",
    );
}

#[test]
fn settings_of_verifiers_and_generators_are_checked_too() {
    refused(
        "{ name = \"math\" }",
        "{ name = \"math\", settings = { mod = \"strict\" } }",
        "9:31 `domains.math.verifiers.0.settings` do not suit `math`: unknown key `mod` / did you mean `mode`?",
    );
    refused(
        "{ generator = \"retrieval\" }",
        "{ generator = \"retrieval\", settings = { pair = [1, 2] } }",
        "11:9 unknown key `pair` / did you mean `pairs`?",
    );
}

#[test]
fn half_a_model_or_source_is_refused() {
    let either = "a model is either `checkpoint` (a folder), or `config` and `tokenizer` (fresh weights)";
    refused("checkpoint = \"base\"", "config = \"c.json\"", &format!("2:1 {either}"));
    refused(
        "{ generator = \"retrieval\" }",
        "{ generator = \"retrieval\", path = \"x.jsonl\" }",
        "11:9 a source has either `generator` or `path`, and not both",
    );
    refused(
        "{ generator = \"retrieval\" }",
        "{ generator = \"retrieval\", limit = 3 }",
        "11:9 `limit` belongs to a source with `path`, not to a generator",
    );
    refused(
        "held-out.parquet",
        "held-out.csv",
        "8:8 `held-out.csv` ends neither in .parquet nor in .jsonl nor in .txt: say what it is, such as `format = \"verl\"` (Parquet), `format = \"jsonl\"` or `format = \"text\"`",
    );
    refused(
        "\"held-out.parquet\"",
        "\"held-out.parquet\", columns = { promt = \"q\" }",
        "8:50 unknown key `promt` / did you mean `prompt`?",
    );
}

#[test]
fn what_is_impossible_is_refused() {
    let rl = "domains = [\"math\"]";
    refused(
        rl,
        "domains = [\"maths\"]",
        "20:12 `stages.math-rl.domains.0` names an unknown domain, `maths` / did you mean `math`?",
    );
    refused(
        rl,
        "domains = [\"facts\"]",
        "20:12 `stages.math-rl.domains.0` names the domain `facts`, which has no verifier; `rl` needs its verdicts",
    );
    refused(rl, "from = \"bas\"", "20:1 `stages.math-rl.from` names an unknown stage, `bas` / did you mean `base`?");
    refused(
        rl,
        "from = \"export\"",
        "20:1 `stages.math-rl.from` names the stage `export`, which does not run before this one",
    );
    refused(
        "name = \"math-rl\"",
        "name = \"base\"",
        "18:1 `stages.base.name` is the name of an earlier stage too, number 1 of the list",
    );
    refused(
        "name = \"math-rl\"",
        "name = \"7\"",
        "18:1 `stages.7.name` must not be a number: `--set stages.0` means the first stage",
    );
    refused(
        rl,
        "rl = { group = 1 }\ndomains = [\"math\"]",
        "20:8 `stages.math-rl.rl.group` must be at least 2: the advantage is the distance from the group's mean",
    );
    refused(
        "lr = 1e-4",
        "lr = 0",
        "22:15 `stages.math-rl.optimizer.lr` must be set, above 0 and at most 1e38, and is 0",
    );
    refused(
        "lr = 1e-4",
        "lr = nan",
        "22:15 `stages.math-rl.optimizer.lr` must be set, above 0 and at most 1e38, and is NaN",
    );
    // What f32 cannot hold, and what no machine has room for.
    refused(
        "lr = 1e-4",
        "lr = 1e39",
        "22:15 `stages.math-rl.optimizer.lr` must be set, above 0 and at most 1e38, and is 1000000000000000000000000000000000000000",
    );
    refused("= 32", "= 9223372036854775807", "5:1 `sampling.max_new_tokens` must be at least 1 and at most 1073741824");
    refused(
        rl,
        "rl = { max_staleness = 101 }\ndomains = [\"math\"]",
        "20:8 `stages.math-rl.rl.max_staleness` must be at most 100",
    );
    refused("[sampling]", "[run]\nthreads = 5000\n[sampling]", "5:1 `run.threads` must be at most 1024");
    refused(
        "lr = 1e-4",
        "lr = 1e-4, warmup = 20",
        "22:26 `stages.math-rl.optimizer.warmup` is 20, and the stage has 20 steps",
    );
    refused("steps = 20", "", "17:1 `stages.math-rl.steps` must be at least 1, or `budget_share` above 0");
    refused(
        "kind = \"export\"",
        "kind = \"export\"\nsteps = 3",
        "26:1 `stages.export.steps` has no meaning in a stage of kind `export`",
    );
    refused("steps = 10", "steps = 10\nrl = {}", "16:1 `stages.base.rl` has no meaning in a stage of kind `pretrain`");
    refused(
        "steps = 10",
        "steps = 10\nindexer.mode = \"live+replay\"",
        "16:9 `stages.base.indexer.mode` is `live+replay` in a stage of kind `pretrain`, which replays nothing: say `live`",
    );
    refused("= 32", "= 32\ntop_p = 1.5", "6:1 `sampling.top_p` must be above 0 and at most 1, and is 1.5");
    refused(
        "[sampling]",
        "[eval]\ndomains = [\"facts\"]\n[sampling]",
        "5:12 `eval.domains.0` names the domain `facts`, which has no `eval` prompts and so cannot be evaluated",
    );
    let distill = "kind = \"distill\"\ndistill.teachers = { math = \"export\" }";
    refused(
        "kind = \"rl\"",
        distill,
        "20:22 `stages.math-rl.distill.teachers.math` names the stage `export`, which does not run before this one",
    );
    let lonely = "kind = \"distill\"\ndistill.teachers = {}";
    refused("kind = \"rl\"", lonely, "20:9 `stages.math-rl.distill.teachers` names no teacher for the domain `math`");
}

#[test]
fn an_error_shows_the_line() {
    let error = Recipe::parse(&BASE.replace("max_new_tokens", "max_tokens"), "r.toml", &[]).expect_err("unknown key");
    let expected = "r.toml:5:1: unknown key `max_tokens`\n  5 | max_tokens = 32\n    | ^^^^^^^^^^\n  did you mean `max_new_tokens`?";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn all_that_is_impossible_is_said_at_once() {
    let text = BASE.replace("1e-4", "-1").replace("= 32", "= 0");
    let error = Recipe::parse(&text, "r.toml", &[]).expect_err("two mistakes");
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn overrides_reach_stages_by_name_and_index() {
    let recipe =
        base_with(&["stages.math-rl.steps=5", "stages.0.steps = 7", "stages.math-rl.rl.group=4"]).expect("sound");
    assert_eq!((recipe.stages[1].steps, recipe.stages[0].steps, recipe.stages[1].rl().group), (5, 7, 4));
}

#[test]
fn override_values_are_toml_or_bare_text() {
    let sets = [
        "run.name=2026",
        "run.device=cuda:1",
        "sampling.stop=[\"a\", 'b']",
        "run.out=/tmp/a b",
        "eval.n=1",
        "eval.n=2",
    ];
    let recipe = base_with(&sets).expect("sound");
    assert_eq!((recipe.run.name.as_str(), recipe.run.device), ("2026", Device::Cuda(1)));
    assert_eq!((recipe.sampling.stop, recipe.run.out.as_str()), (vec!["a".into(), "b".into()], "/tmp/a b"));
    assert_eq!(recipe.eval.n, 2, "the last wins");
}

#[test]
fn a_wrong_override_names_itself_and_the_nearest_name() {
    let cases = [
        ("stages.math_rl.steps=5", "nothing in `stages` is called `math_rl`\n  did you mean `math-rl`?"),
        ("stages.7.steps=5", "`stages` has 3 items, counted from 0, and no item 7"),
        ("run.nme=x", "unknown key `nme`\n  did you mean `name`?"),
        ("samplng.top_k=1", "unknown key `samplng`\n  did you mean `sampling`?"),
        ("stages.math-rl.rl.gruop=4", "unknown key `gruop`\n  did you mean `group`?"),
        ("domains.mth.kl_beta=1", "there is no domain `mth`\n  did you mean `math`?"),
        ("stages.base.steps.x=3", "`stages.base.steps` is a single value and has no `x`"),
        ("run=3", "expected a table, found the number `3`"),
        ("sampling.top_p=2", "`sampling.top_p` must be above 0 and at most 1, and is 2"),
        ("stages.math-rl.optimizer.lr=fast", "expected a number, found the text \"fast\""),
        ("run.seed", "there is no `=`\n  write it as `section.key=value`, for example `sampling.temperature=0.7`"),
    ];
    for (set, message) in cases {
        // A sound override beside it must not take the blame.
        let error = base_with(&["eval.n=3", set, "eval.samples=2"]).expect_err(set);
        assert_eq!(error, format!("--set {set}: {message}"));
    }
}

#[test]
fn an_override_may_bring_what_is_missing() {
    let text = BASE.replace("[model]\ncheckpoint = \"base\"", "");
    let missing = Recipe::parse(&text, "r.toml", &["eval.n=3".into()]).expect_err("no model").to_string();
    assert!(missing.contains("`model` is missing"), "{missing}");
    Recipe::parse(&text, "r.toml", &["model.checkpoint=elsewhere".into()]).expect("the model is given");
}

#[test]
fn defaults_that_depend_on_other_settings_are_filled_in() {
    let recipe = base_with(&[]).expect("sound");
    let [base, rl, export] = &recipe.stages[..] else { panic!("three stages") };
    assert_eq!((recipe.run.name.as_str(), &recipe.eval.domains), ("r", &vec!["math".to_owned()]));
    assert_eq!((base.from.as_str(), rl.from.as_str(), export.from.as_str()), ("model", "base", "math-rl"));
    assert_eq!((base.domains.len(), base.mix["facts"], base.batch().tokens, rl.batch().tokens), (2, 1.0, 8192, 0));
    assert_eq!((base.evaluates(), export.evaluates(), rl.optimizer().indexer_lr), (true, false, Some(1e-4)));
    assert!(base.rl.is_none() && rl.rl.is_some() && export.optimizer.is_none());
    let Domain { eval, .. } = &recipe.domains["math"];
    assert!(matches!(&eval[0], Source::File { format: data::load::Format::Auto, limit: 0, .. }));
}

#[test]
fn a_printed_recipe_reads_as_itself() {
    let sets = ["sampling.stop=[\"\\n\\\"'#\", \"é\"]", "run.seed=9223372036854775807", "stages.base.budget_share=0.0"];
    for sets in [&sets[..], &[]] {
        let recipe = base_with(sets).expect("sound");
        let printed = recipe.to_toml();
        let again = Recipe::parse(&printed, "elsewhere/resolved.toml", &[]).expect(&printed);
        assert_eq!(again, recipe);
        assert_eq!(again.to_toml(), printed);
    }
}

#[test]
fn auto_settles_by_checkpoint_and_kind() {
    let auto = IndexerMode::Auto;
    assert_eq!(auto.settle(Kind::Rl, false), IndexerMode::None);
    assert_eq!(auto.settle(Kind::Rl, true), IndexerMode::LiveReplay);
    assert_eq!(auto.settle(Kind::Sft, true), IndexerMode::Live);
    assert_eq!(auto.settle(Kind::IndexerWarmup, false), IndexerMode::Live);
    assert_eq!(IndexerMode::Frozen.settle(Kind::Rl, true), IndexerMode::Frozen);
}
