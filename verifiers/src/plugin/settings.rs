//! What a recipe may set of a plugin.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::python::{self, Style};
use super::remote::Contract;
use crate::http::check_address;

/// Settings of [`super::PluginVerifier`]. One of `command`, `python` and `url` says what the plugin is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginSettings {
    /// The command of a child process that speaks the protocol on stdin and stdout.
    pub command: Vec<String>,
    /// A Python reward as it is: `FILE.py:NAME` or `MODULE:NAME`.
    pub python: String,
    /// How that reward is called.
    pub style: Style,
    /// The interpreter for it.
    pub interpreter: String,
    /// The address of a service.
    pub url: String,
    /// What the service speaks.
    pub contract: Contract,
    /// Children, or requests, at the same time.
    pub workers: usize,
    /// Items of a request, at most.
    pub batch: usize,
    /// Whether a request must hold all samples of one prompt and nothing else, also where the plugin does not say so.
    pub group: bool,
    /// Seconds for the answer to a request.
    pub timeout_s: f64,
    /// Seconds for the answer to the hello.
    pub start_timeout_s: f64,
    /// The reward from which on the verdict is pass, where the plugin gives no status.
    pub threshold: f64,
    /// MiB of an answer.
    pub answer_mb: usize,
    /// Names of environment variables that the process gets beside the usual ones; `*` at the end stands for any rest.
    pub environment: Vec<String>,
    /// MiB of address space of each of its processes; 0: no limit.
    pub memory_mb: u64,
    /// Settings of the plugin's own: part of its hello; for a Python reward, keyword arguments.
    pub settings: Map<String, Value>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            python: String::new(),
            style: Style::Auto,
            interpreter: "python3".into(),
            url: String::new(),
            contract: Contract::Temper,
            workers: 1,
            batch: 32,
            group: false,
            timeout_s: 10.0,
            start_timeout_s: 60.0,
            threshold: 0.5,
            answer_mb: 16,
            environment: Vec::new(),
            memory_mb: 0,
            settings: Map::new(),
        }
    }
}

/// Why plugin settings are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PluginSettingsError {
    /// Nothing or too much says what the plugin is.
    #[error("plugin: set exactly one of command, python and url")]
    NotOne,
    /// The Python reward is not named as it should be.
    #[error("plugin: python = {0:?} is not FILE.py:NAME or MODULE:NAME")]
    Target(String),
    /// The address cannot be used.
    #[error("plugin: url = {0}")]
    Url(String),
    /// A number that must be larger.
    #[error("plugin: {0} must be above 0")]
    Zero(&'static str),
}

/// What carries the questions.
#[derive(Debug, Clone, PartialEq)]
pub enum Carrier {
    /// A child process.
    Command(Vec<String>),
    /// A service.
    Url(String),
}

impl PluginSettings {
    /// What carries the questions, once all settings make sense.
    ///
    /// # Errors
    /// [`PluginSettingsError`].
    pub fn carrier(&self) -> Result<Carrier, PluginSettingsError> {
        for (name, positive) in [
            ("workers", self.workers > 0),
            ("batch", self.batch > 0),
            ("timeout_s", self.timeout_s > 0.0 && self.timeout_s < 1e6),
            ("start_timeout_s", self.start_timeout_s > 0.0 && self.start_timeout_s < 1e6),
            ("answer_mb", self.answer_mb > 0),
        ] {
            if !positive {
                return Err(PluginSettingsError::Zero(name));
            }
        }
        match (self.command.as_slice(), self.python.as_str(), self.url.as_str()) {
            ([program, ..], "", "") if !program.is_empty() => Ok(Carrier::Command(self.command.clone())),
            ([], target, "") if !target.is_empty() => {
                let command = python::command(&self.interpreter, target, self.style);
                command.map(Carrier::Command).ok_or_else(|| PluginSettingsError::Target(target.into()))
            }
            ([], "", url) if !url.is_empty() => {
                check_address(url).map_err(|error| PluginSettingsError::Url(error.to_string()))?;
                Ok(Carrier::Url(url.into()))
            }
            _ => Err(PluginSettingsError::NotOne),
        }
    }

    /// What the plugin is, for messages.
    pub fn what(&self) -> String {
        match (self.python.as_str(), self.url.as_str()) {
            ("", "") => {
                let command = self.command.join(" ");
                let line = command.lines().next().unwrap_or_default();
                format!("`{}`", line.chars().take(80).collect::<String>())
            }
            ("", url) => url.to_owned(),
            (target, _) => format!("`{target}`"),
        }
    }
}
