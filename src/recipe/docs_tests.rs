//! docs/recipes.md says of every setting what it is by default, and of no other.

use std::collections::{BTreeMap, BTreeSet};

use data::tasks::{arithmetic::Arithmetic, functions::Functions, retrieval::Retrieval};
use serde::Serialize;
use toml::{Table, Value};
use verifiers::{
    code::CodeSettings, format::FormatSettings, judge::JudgeSettings, language::LanguageSettings,
    length::LengthSettings, math::MathSettings, plugin::PluginSettings, repetition::RepetitionSettings,
};

use super::Recipe;

const DOCS: &str = include_str!("../../docs/recipes.md");

/// Maps whose keys are the user's; they are documented as a whole.
const MAPS: [&str; 5] = ["settings", "columns", "mix", "teachers", "variables"];

/// Every table of a recipe, each with what is required and no more.
const EVERYTHING: &str = r#"
[model]
checkpoint = "base"
[domains.math]
train = [{ generator = "arithmetic" }, { path = "x.jsonl" }]
eval = [{ generator = "arithmetic" }]
clip = [0.0, 1.0]
verifiers = [
  { name = "math", clip = [0.0, 1.0] },
  { name = "language", decides = "math" },
]
[domains.more]
[[stages]]
name = "sft"
kind = "sft"
steps = 1
optimizer.lr = 1.0
[[stages]]
name = "rl"
kind = "rl"
steps = 1
optimizer.lr = 1.0
[[stages]]
name = "lora"
kind = "rl"
steps = 1
optimizer.lr = 1.0
lora = {}
[[stages]]
name = "distill"
kind = "distill"
steps = 1
optimizer.lr = 1.0
distill.teachers = { math = "rl" }
[[stages]]
name = "eval"
kind = "eval"
[[stages]]
name = "export"
kind = "export"
"#;

/// Adds each setting below `value`, list indices dropped, with every value it has.
fn collect(path: &str, value: &Value, into: &mut BTreeMap<String, Vec<Value>>) {
    let key = path.rsplit('.').next().unwrap_or(path);
    let mut add = |value: &Value| into.entry(path.to_owned()).or_default().push(value.clone());
    match value {
        Value::Table(table) if !MAPS.contains(&key) => {
            for (name, value) in table {
                let name = if path == "domains" { "NAME" } else { name };
                let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                collect(&below, value, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().for_each(|item| collect(path, item, into));
        }
        other => add(other),
    }
}

fn settings() -> BTreeMap<String, Vec<Value>> {
    let mut settings = BTreeMap::new();
    let fresh = EVERYTHING.replace("checkpoint = \"base\"", "config = \"c\"\ntokenizer = \"t\"");
    for text in [EVERYTHING, &fresh] {
        let recipe = Recipe::parse(text, "r.toml", &[]).expect("it is sound");
        collect("", &Value::try_from(&recipe).expect("a recipe is TOML"), &mut settings);
    }
    // Evaluation sources have the settings of training sources and are documented with them.
    settings.retain(|key, _| !key.starts_with("domains.NAME.eval."));
    settings
}

/// Key and default of each row of a text.
fn rows(text: &'static str) -> BTreeMap<&'static str, &'static str> {
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.splitn(3, " | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?.trim_end_matches(" |").trim()))
    };
    text.lines().filter_map(row).collect()
}

/// The rows about recipes proper.
fn documented() -> BTreeMap<&'static str, &'static str> {
    rows(DOCS.split("## Settings of generators").next().expect("the page begins with recipes"))
}

/// The rows of a generator or verifier: those after the paragraph that begins with its name, up to the next paragraph.
fn documented_of(name: &str) -> BTreeMap<&'static str, &'static str> {
    let part = DOCS.split("## Settings of generators").nth(1).expect("the page has that part");
    let after = part.split(&format!("\n`{name}` ")).nth(1).unwrap_or_else(|| panic!("`{name}` is not on the page"));
    rows(after.split("\n\n`").next().expect("a split has a first part"))
}

/// The value that a cell holds in code quotes, if it does.
fn value(cell: &str) -> Option<Value> {
    let text = cell.strip_prefix('`')?.strip_suffix('`')?;
    toml::from_str::<Table>(&format!("value = {text}")).ok()?.remove("value")
}

#[test]
fn every_setting_is_documented_and_nothing_else_is() {
    let is: BTreeSet<String> = settings().into_keys().collect();
    let said: BTreeSet<String> = documented().into_keys().map(str::to_owned).collect();
    // A list of tables with items is not a setting of its own in the printed form.
    let lists = ["train", "verifiers", "eval"].map(|list| format!("domains.NAME.{list}"));
    let undocumented: Vec<_> = is.difference(&said).collect();
    let unknown: Vec<_> = said.difference(&is).filter(|key| !lists.contains(key)).collect();
    assert!(undocumented.is_empty() && unknown.is_empty(), "not documented: {undocumented:?}; unknown: {unknown:?}");
}

#[test]
fn documented_defaults_are_the_defaults() {
    let settings = settings();
    let mut checked = 0;
    for (key, cell) in documented() {
        // A default in words is not a value of its own.
        let Some(said) = value(cell) else { continue };
        let is = settings.get(key).unwrap_or_else(|| panic!("`{key}` has a default and is never printed"));
        assert!(is.contains(&said), "`{key}` is {is:?} and documented as {cell}");
        checked += 1;
    }
    assert!(checked > 60, "only {checked} defaults were read from the page");
}

#[test]
fn the_example_of_the_page_is_sound() {
    let example =
        DOCS.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has an example");
    Recipe::parse(example, "example.toml", &[]).expect("the example is sound");
}

/// docs/data.md: each row is read by the source beside it, and found to be of its format.
#[test]
fn the_examples_of_the_data_page_are_read() {
    let page = include_str!("../../docs/data.md");
    let upto_end = |text: &str| text.split("```").next().unwrap_or_default().to_owned();
    let folder = tempfile::tempdir().expect("folder");
    let mut checked = Vec::new();
    for part in page.split("\n**").skip(1) {
        let name = part.split(['*', ',']).next().unwrap_or_default();
        // What stands before the formats is of the one that is found where nothing tells another.
        let name = if name.starts_with("What") { "jsonl" } else { name };
        for pair in part.split("```json\n").skip(1) {
            let Some((_, source)) = pair.split_once("```\n```toml\n") else { continue };
            let (row, source) = (upto_end(pair), upto_end(source));
            let text = format!(
                "[model]\ncheckpoint = \"base\"\n[domains.d]\n{source}[[stages]]\nname = \"s\"\nkind = \"sft\"\nsteps = 1\noptimizer.lr = 1.0"
            );
            let recipe = Recipe::parse(&text, "r.toml", &[]).expect("the source is sound");
            let super::Source::File { format, template, columns, .. } = &recipe.domains["d"].train[0] else {
                panic!("{name}: no file")
            };
            let path = folder.path().join("row.jsonl");
            std::fs::write(&path, row).expect("written");
            let options = data::LoadOptions {
                format: *format,
                template: (!template.is_empty()).then(|| template.clone()),
                columns: columns.clone(),
                domain: Some("d".into()),
                ..Default::default()
            };
            let file = data::PromptFile::open(&path, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(file.format().name(), name, "the format of its example");
            assert_eq!(serde_json::to_value(file.format()).expect("a name"), name, "its name in a recipe");
            checked.push(name);
        }
    }
    assert_eq!(checked, ["jsonl", "verl", "jsonl", "trl", "trl", "prime-rl", "openrlhf", "openrlhf", "text"]);
}

#[test]
fn every_recipe_in_configs_is_sound() {
    let configs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let files = configs.read_dir().expect("there is such a folder").map(|entry| entry.expect("it is readable").path());
    let recipes: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    assert!(!recipes.is_empty(), "no recipe in {}", configs.display());
    for path in recipes {
        if let Err(error) = Recipe::load(&path, &[]) {
            panic!("{error}");
        }
    }
}

#[test]
fn the_documented_settings_of_generators_and_verifiers_are_the_real_ones() {
    settings_are_documented("arithmetic", Arithmetic::default(), "");
    settings_are_documented("functions", Functions::default(), "");
    settings_are_documented("retrieval", Retrieval::default(), "");
    settings_are_documented("math", MathSettings::default(), "decimal_places");
    settings_are_documented("code", CodeSettings::default(), "");
    settings_are_documented("format", FormatSettings::default(), "code_block json_schema");
    settings_are_documented("length", LengthSettings { max_tokens: 2, cache_tokens: 1 }, "");
    settings_are_documented("language", LanguageSettings::default(), "");
    settings_are_documented("repetition", RepetitionSettings::default(), "");
    settings_are_documented("plugin", PluginSettings::default(), "");
    settings_are_documented("judge", JudgeSettings::default(), "");
}

/// The settings named in `optional` have no value by default, and so none in TOML.
#[track_caller]
fn settings_are_documented(name: &str, default: impl Serialize, optional: &str) {
    let is = Table::try_from(default).expect("settings are TOML");
    let said = documented_of(name);
    for (key, cell) in &said {
        match *cell {
            "none" => assert!(optional.split(' ').any(|name| name == *key), "{name}: `{key}`"),
            "a rubric for final answers" => assert_eq!(is.get(*key), Some(&Value::from(verifiers::judge::RUBRIC))),
            "required" => assert!(is.contains_key(*key), "{name} has no `{key}`"),
            cell => assert_eq!(value(cell).as_ref(), is.get(*key), "{name}: `{key}`"),
        }
    }
    let missing: Vec<_> = is.keys().filter(|key| !said.contains_key(key.as_str())).collect();
    assert!(missing.is_empty(), "{name}: not documented: {missing:?}");
}
