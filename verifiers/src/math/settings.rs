//! The switches of the math verifier.

use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::compare::{Percent, Policy, Units};
use super::evaluate::{LogBase, Reader};
use super::extract::{Mode, Target};

/// The switches of the math verifier. An item overrides them by `extra_info.math`, which takes the same keys; a run
/// prints them all, with their defaults, as its resolved settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MathSettings {
    /// How the final answer may be announced.
    pub mode: Mode,
    /// Several different final answers never pass, nor does one that the text takes back. When false, the last one counts, and of a chain of
    /// equalities its last side.
    pub one_final: bool,
    /// Whether a percent sign may be left off.
    pub percent: Percent,
    /// What units of measurement mean.
    pub units: Units,
    /// What `\log` without a base means.
    pub log_base: LogBase,
    /// Lists without brackets are compared in order.
    pub ordered_lists: bool,
    /// Numbers within half a unit of this decimal place are the same; exact when absent.
    pub decimal_places: Option<u32>,
    /// Mode `math_verify` only: in what the answer is looked for.
    pub targets: Vec<Target>,
    /// Mode `math_verify` only: the rank of a box among the announcements; 0 is before all, negative is never.
    pub boxed_match_priority: i32,
    /// Mode `math_verify` only: where one side is a decimal literal, both are rounded to so many places, halves to
    /// the even digit; not at all when 0.
    pub float_rounding: u32,
    /// Mode `math_verify` only: the names of variables count.
    pub strict: bool,
    /// Mode `math_verify` only: a condition may stand where the gold is a set. The other modes always allow it.
    pub allow_set_relation_comp: bool,
    /// Of a longer completion its end is read, so many bytes; the verdict says so.
    pub max_completion_bytes: usize,
    /// Longer answers are not read.
    pub max_answer_bytes: usize,
    /// Steps of arithmetic per item; the default takes some ten milliseconds.
    pub max_steps: u64,
}

impl Default for MathSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Strict,
            one_final: true,
            percent: Percent::Either,
            units: Units::Checked,
            log_base: LogBase::Ten,
            ordered_lists: false,
            decimal_places: None,
            targets: vec![Target::Latex, Target::Expr],
            boxed_match_priority: 50,
            float_rounding: 6,
            strict: true,
            allow_set_relation_comp: false,
            max_completion_bytes: 200_000,
            max_answer_bytes: 20_000,
            max_steps: 1_000_000,
        }
    }
}

/// A verifier's settings, ready to have those of an item put on top.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) settings: MathSettings,
    /// The same, by name.
    by_name: Map<String, Value>,
}

impl Base {
    pub(super) fn new(settings: MathSettings) -> Self {
        let Ok(Value::Object(by_name)) = serde_json::to_value(&settings) else {
            unreachable!("settings are an object")
        };
        Self { settings, by_name }
    }

    /// These settings with an item's own on top.
    pub(super) fn overridden(&self, extra_info: &Value) -> Result<Option<MathSettings>, serde_json::Error> {
        let Some(own) = extra_info.get("math") else { return Ok(None) };
        // Not an object: deserialising it names the mistake.
        let Some(changed) = own.as_object() else { return MathSettings::deserialize(own).map(Some) };
        let kept = self.by_name.iter().filter(|(name, _)| !changed.contains_key(*name));
        let merged = kept.chain(changed).map(|(name, value)| (name.as_str(), value));
        MathSettings::deserialize(MapDeserializer::new(merged)).map(Some)
    }
}

impl MathSettings {
    pub(super) fn reader(&self) -> Reader {
        let library = self.mode == Mode::MathVerify;
        Reader {
            log_base: self.log_base,
            last_side_counts: library,
            anonymous_variables: library && !self.strict,
            slash_takes_product: library,
            // Where the last of several answers counts, so does the last side of a chain that contradicts itself.
            trusts: library && !self.one_final,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        let library = self.mode == Mode::MathVerify;
        Policy {
            percent: self.percent,
            units: self.units,
            decimal_places: self.decimal_places,
            float_rounding: library.then_some(self.float_rounding),
            ordered_lists: self.ordered_lists,
            relation_for_set: !library || self.allow_set_relation_comp,
            last_side_counts: library,
            fold_case: library,
            any_brackets: library,
        }
    }
}
