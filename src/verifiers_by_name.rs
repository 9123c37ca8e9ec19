//! Verifiers by the names that recipes and `temper verify` use.

use std::sync::Once;

use serde::de::DeserializeOwned;
use toml::Table;
use verifiers::Verifier;
use verifiers::code::{CodeSettings, CodeVerifier, Sandbox, SandboxError};
use verifiers::format::{FormatSettings, FormatVerifier};
use verifiers::judge::{JudgeError, JudgeSettings, JudgeVerifier};
use verifiers::language::{LanguageSettings, LanguageVerifier};
use verifiers::length::{LengthSettings, LengthVerifier};
use verifiers::math::{MathSettings, MathVerifier};
use verifiers::plugin::{PluginError, PluginSettings, PluginVerifier};
use verifiers::repetition::{RepetitionSettings, RepetitionVerifier};

use crate::exit::{Code, Failure};
use crate::recipe::VerifierName;
use crate::recipe::words::explain;
use crate::say;

/// Why there is no such verifier.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its settings are wrong.
    #[error("settings of the verifier `{}`: {message}", name.as_str())]
    Settings {
        /// Which verifier.
        name: VerifierName,
        /// What is wrong.
        message: String,
        /// What may have been meant.
        help: Option<String>,
    },
    /// The sandbox cannot be set up here.
    #[error("the verifier `code` cannot run here")]
    Sandbox(#[source] SandboxError),
    /// The plugin cannot be started here.
    #[error("the verifier `plugin` cannot run here")]
    Plugin(#[source] PluginError),
    /// The judge cannot be asked from here.
    #[error("the verifier `judge` cannot run here")]
    Judge(#[source] JudgeError),
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match &error {
            BuildError::Settings { help, .. } => {
                let failure = Self::new(Code::Usage, error.to_string());
                Self { hint: help.clone(), ..failure }
            }
            BuildError::Sandbox(_) => {
                Self::from_error(Code::Verifier, &error).hint("`temper doctor` says what the sandbox lacks")
            }
            BuildError::Plugin(_) => {
                Self::from_error(Code::Verifier, &error).hint("docs/plugins.md says what a plugin must answer")
            }
            BuildError::Judge(_) => Self::from_error(Code::Verifier, &error),
        }
    }
}

/// Settings that were read and make sense as far as can be seen without starting anything.
enum Ready {
    Math(MathSettings),
    Code(CodeSettings),
    Format(FormatVerifier),
    Length(LengthVerifier),
    Language(LanguageVerifier),
    Repetition(RepetitionVerifier),
    Plugin(PluginSettings),
    Judge(JudgeSettings),
}

/// The verifier with these settings. `code` starts its sandbox, `plugin` its process.
///
/// # Errors
/// [`BuildError`] where the settings are wrong or the sandbox cannot be set up.
pub fn build_verifier(name: VerifierName, settings: &Table) -> Result<Box<dyn Verifier>, BuildError> {
    Ok(match read(name, settings)? {
        Ready::Math(settings) => Box::new(MathVerifier::new(settings)),
        Ready::Code(settings) => {
            let sandbox = start_sandbox(settings)?;
            // Each domain has its own cells, and all of them the same walls.
            static SAID: Once = Once::new();
            SAID.call_once(|| say!("sandbox: {}", sandbox.isolation()));
            Box::new(CodeVerifier::on(sandbox))
        }
        Ready::Format(verifier) => Box::new(verifier),
        Ready::Length(verifier) => Box::new(verifier),
        Ready::Language(verifier) => Box::new(verifier),
        Ready::Repetition(verifier) => Box::new(verifier),
        Ready::Plugin(settings) => Box::new(PluginVerifier::new(settings).map_err(BuildError::Plugin)?),
        Ready::Judge(settings) => Box::new(JudgeVerifier::new(settings).map_err(BuildError::Judge)?),
    })
}

/// The settings of the code verifier, which are those of its sandbox.
///
/// # Errors
/// [`BuildError::Settings`] where they are wrong.
pub fn code_settings(settings: &Table) -> Result<CodeSettings, BuildError> {
    typed(VerifierName::Code, settings)
}

/// Starts the sandbox of the code verifier.
///
/// # Errors
/// [`BuildError`] where the settings are wrong or it cannot be set up here.
pub fn start_sandbox(settings: CodeSettings) -> Result<Sandbox, BuildError> {
    Sandbox::new(settings).map_err(|error| match error {
        SandboxError::Settings(message) => BuildError::Settings { name: VerifierName::Code, message, help: None },
        other => BuildError::Sandbox(other),
    })
}

/// Checks settings and starts nothing.
///
/// # Errors
/// [`BuildError::Settings`] where they are wrong.
pub fn check_settings(name: VerifierName, settings: &Table) -> Result<(), BuildError> {
    read(name, settings).map(|_| ())
}

fn read(name: VerifierName, settings: &Table) -> Result<Ready, BuildError> {
    let refuse = |message: String| BuildError::Settings { name, message, help: None };
    Ok(match name {
        VerifierName::Math => Ready::Math(typed(name, settings)?),
        VerifierName::Code => Ready::Code(typed(name, settings)?),
        VerifierName::Format => {
            let settings: FormatSettings = typed(name, settings)?;
            Ready::Format(FormatVerifier::new(settings).map_err(|error| refuse(error.to_string()))?)
        }
        VerifierName::Length => {
            let settings: LengthSettings = typed(name, settings)?;
            Ready::Length(LengthVerifier::new(settings).map_err(|error| refuse(error.to_string()))?)
        }
        VerifierName::Language => {
            let settings: LanguageSettings = typed(name, settings)?;
            Ready::Language(LanguageVerifier::new(settings).map_err(|error| refuse(error.to_string()))?)
        }
        VerifierName::Repetition => {
            let settings: RepetitionSettings = typed(name, settings)?;
            Ready::Repetition(RepetitionVerifier::new(settings).map_err(|error| refuse(error.to_string()))?)
        }
        VerifierName::Plugin => {
            let settings: PluginSettings = typed(name, settings)?;
            settings.carrier().map_err(|error| refuse(error.to_string()))?;
            Ready::Plugin(settings)
        }
        VerifierName::Judge => {
            let settings: JudgeSettings = typed(name, settings)?;
            settings.check().map_err(|error| refuse(error.to_string()))?;
            Ready::Judge(settings)
        }
    })
}

fn typed<T: DeserializeOwned>(name: VerifierName, settings: &Table) -> Result<T, BuildError> {
    settings.clone().try_into().map_err(|error: toml::de::Error| {
        let explained = explain(error.message());
        BuildError::Settings { name, message: explained.message, help: explained.help }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).expect("TOML")
    }

    #[test]
    fn each_name_builds_the_verifier_of_that_name() {
        for (name, settings) in [
            (VerifierName::Math, "mode = 'strict'"),
            (VerifierName::Format, "tags = ['think']"),
            (VerifierName::Length, "max_tokens = 10\ncache_tokens = 2"),
            (VerifierName::Language, "target = 'zh'"),
            (VerifierName::Repetition, "n = 4"),
            (VerifierName::Judge, "url = 'http://localhost:1/v1'\nmodel = 'm'"),
        ] {
            let verifier = build_verifier(name, &table(settings)).expect(settings);
            assert_eq!(verifier.name(), name.as_str());
        }
        check_settings(VerifierName::Code, &table("time_limit_s = 1")).expect("sound");
        check_settings(VerifierName::Plugin, &table("command = ['x']\nsettings = { a = 1 }")).expect("sound");
    }

    #[test]
    fn wrong_settings_are_a_usage_error_with_the_nearest_name() {
        let cases = [
            (VerifierName::Code, "time_limit = 1", "unknown key `time_limit`", Some("did you mean `time_limit_s`?")),
            (VerifierName::Math, "mode = 'strikt'", "unknown value `strikt`", Some("did you mean `strict`?")),
            (VerifierName::Length, "", "`max_tokens` is missing", None),
            (VerifierName::Plugin, "", "plugin: set exactly one of command, python and url", None),
            (VerifierName::Math, "one_final = 3", "expected true or false, found the number `3`", None),
        ];
        for (name, settings, message, hint) in cases {
            let failure = Failure::from(check_settings(name, &table(settings)).expect_err(settings));
            let expected = format!("settings of the verifier `{}`: {message}", name.as_str());
            assert_eq!((failure.code, failure.message, failure.hint.as_deref()), (Code::Usage, expected, hint));
        }
    }
}
