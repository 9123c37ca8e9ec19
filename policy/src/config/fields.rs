//! Single fields of `config.json`, with errors that name them, and the record of which were read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A field has a value that no model can have.
    #[error("{path}: {field} {reason}")]
    Field {
        /// The file.
        path: String,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model needs something that is not built.
    #[error("{path}: {reason}")]
    Unsupported {
        /// The file.
        path: String,
        /// What is missing.
        reason: String,
    },
}

/// No shape needs a larger integer, and products of two fit in 64 bits.
const LARGEST: u64 = i32::MAX as u64;

/// The fields of an object, those of an inner object with its name before theirs.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
    prefix: String,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { object, path, prefix: String::new(), read: RefCell::default() }
    }

    /// The inner object called `name`.
    pub(super) fn inner(&self, name: &str) -> Result<Option<Fields<'a>>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, "must be an object"))?;
        let prefix = format!("{}{name}.", self.prefix);
        Ok(Some(Fields { object, path: self.path, prefix, read: RefCell::default() }))
    }

    /// A field's value; `None` where it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let (name, value) = self.object.get_key_value(name)?;
        self.read.borrow_mut().insert(name);
        (!value.is_null()).then_some(value)
    }

    /// Whether the file has the field, be it null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.object.keys().map(String::as_str)
    }

    /// Fields that nothing asked for, and that are not null.
    pub(super) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let left = self.object.iter().filter(|(name, value)| !value.is_null() && !read.contains(name.as_str()));
        left.map(|(name, _)| format!("{}{name}", self.prefix)).collect()
    }

    pub(super) fn wrong(&self, name: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Field {
            path: self.path.to_owned(),
            field: format!("{}{name}", self.prefix),
            reason: reason.into(),
        }
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Unsupported { path: self.path.to_owned(), reason: reason.into() }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ConfigError> {
        let integer = |v: &Value| {
            let found = v.as_i64().ok_or_else(|| self.wrong(name, format!("must be an integer, not {v}")))?;
            let fits = found.unsigned_abs() <= LARGEST;
            if fits { Ok(found) } else { Err(self.wrong(name, format!("must be within ±{LARGEST}, not {found}"))) }
        };
        self.get(name).map(integer).transpose()
    }

    /// An integer above zero, where there is one.
    pub(super) fn positive_if_any(&self, name: &str) -> Result<Option<i64>, ConfigError> {
        match self.integer(name)? {
            Some(n) if n <= 0 => Err(self.wrong(name, format!("must be positive, not {n}"))),
            other => Ok(other),
        }
    }

    pub(super) fn positive(&self, name: &str) -> Result<i64, ConfigError> {
        self.positive_if_any(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// A finite number for which `sound` holds, where there is one.
    pub(super) fn number(
        &self,
        name: &str,
        sound: impl Fn(f64) -> bool,
        must: &str,
    ) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|n| n.is_finite());
        let number = number.ok_or_else(|| self.wrong(name, format!("must be a number, not {value}")))?;
        if !sound(number) {
            return Err(self.wrong(name, format!("must be {must}, not {number}")));
        }
        Ok(Some(number))
    }

    /// A number above zero, where there is one.
    pub(super) fn positive_number(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        self.number(name, |n| n > 0.0, "positive")
    }

    /// A list of numbers above zero, where there is one.
    pub(super) fn positive_numbers(&self, name: &str) -> Result<Option<Vec<f64>>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
        match numbers.filter(|numbers| numbers.iter().all(|n| n.is_finite() && *n > 0.0)) {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(self.wrong(name, format!("must be a list of positive numbers, not {value}"))),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        match self.get(name) {
            None => Ok(false),
            Some(v) => v.as_bool().ok_or_else(|| self.wrong(name, format!("must be true or false, not {v}"))),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ConfigError> {
        let text = |v: &'a Value| v.as_str().ok_or_else(|| self.wrong(name, format!("must be a string, not {v}")));
        self.get(name).map(text).transpose()
    }

    /// One string a layer, where there are any.
    pub(super) fn per_layer(&self, name: &str, layers: i64) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts: Option<Vec<&str>> = value.as_array().and_then(|a| a.iter().map(Value::as_str).collect());
        match texts.filter(|t| t.len() as i64 == layers) {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.wrong(name, format!("must be {layers} strings, one a layer"))),
        }
    }

    /// Refuses a field that asks for what is not built, unless it says `only`.
    pub(super) fn only(&self, name: &str, only: &Value) -> Result<(), ConfigError> {
        match self.get(name) {
            Some(value) if value != only => {
                Err(self.unsupported(format!("{}{name} = {value} is not built; {only} is", self.prefix)))
            }
            _ => Ok(()),
        }
    }
}
