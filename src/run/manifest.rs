//! `manifest.json`: what made a run what it is. And what a base checkpoint says it cost.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use policy::Compute;
use serde_json::{Value, json};

use super::checkpoints;
use super::state::Ledger;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::Recipe;
use crate::say;

/// Writes versions, seed and hardware.
///
/// # Errors
/// [`Code::Disk`].
pub fn write(root: &Path, recipe: &Recipe, compute: Compute) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&describe(recipe, compute)).expect("a manifest is plain JSON") + "\n";
    data::atomic::write_atomic(&root.join("manifest.json"), |file| file.write_all(text.as_bytes())).or_fail(Code::Disk)
}

/// Says where a resumed run is not on the machine, by the program, or of the recipe with which it began: its bits may then be others.
pub fn tell_differences(root: &Path, recipe: &Recipe, compute: Compute) {
    let path = root.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let Ok(began) = serde_json::from_str::<Value>(&text) else {
        say!("warning: {} cannot be read: whether the run goes on as it began is not known", path.display());
        return;
    };
    let now = describe(recipe, compute);
    let mut changed = Vec::new();
    differences(&began["recipe"], &now["recipe"], "", &mut changed);
    // These two the command line sets.
    changed.retain(|(setting, ..)| !matches!(setting.as_str(), "run.device" | "run.threads"));
    for (setting, before, after) in &changed {
        say!("warning: resolved.toml was changed since the run began: {setting} was {before} and is {after}");
    }
    for what in ["temper", "program", "libtorch", "device", "precision", "exact", "cpu", "instructions"] {
        if !began[what].is_null() && began[what] != now[what] {
            say!(
                "warning: the run began with {what} {} and goes on with {}: its bits may be others",
                began[what],
                now[what]
            );
        }
    }
}

/// The settings in which two recipes differ, with both values.
fn differences(a: &Value, b: &Value, at: &str, found: &mut Vec<(String, Value, Value)>) {
    let inner = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            names.into_iter().for_each(|name| differences(&a[name], &b[name], &inner(name), found));
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            (0..left.len()).for_each(|i| differences(&left[i], &right[i], &inner(&i.to_string()), found));
        }
        _ if a != b => found.push((at.to_owned(), a.clone(), b.clone())),
        _ => {}
    }
}

fn describe(recipe: &Recipe, compute: Compute) -> Value {
    json!({
        "temper": env!("CARGO_PKG_VERSION"),
        "program": program(),
        "libtorch": native::torch_version(),
        "seed": recipe.run.seed,
        "device": format!("{:?}", compute.device),
        "precision": compute.precision,
        "exact": compute.exact,
        "threads": tch::get_num_threads(),
        "cpu": cpu_name(),
        "instructions": native::cpu_capability(),
        "recipe": recipe,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    })
}

/// The SHA-256 of the binary itself: two builds have one name and version.
fn program() -> Option<String> {
    checkpoints::sha256(&std::env::current_exe().ok()?).ok()
}

fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// What a checkpoint's own training cost, from the `ledger.json` that `export` leaves beside it; nothing where there is none.
pub fn base_cost(folder: &Path) -> Ledger {
    let text = std::fs::read_to_string(folder.join("ledger.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
