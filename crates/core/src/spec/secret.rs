//! Storage options and credentials, and the one place where `${NAME}` is substituted.
//!
//! A [`Secret`] holds the text of the file; it prints and serialises as `***`. What the environment holds never enters a
//! [`Spec`]: it goes from [`Spec::storage_options`] to the object store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::model::Spec;

/// The unresolved value of a storage option or of a credential.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Whose object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The control root's.
    Control,
    /// The source's.
    Source,
    /// The target's.
    Target,
}

/// An environment variable that the spec names is not set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the environment variable {variable} is not set, which the spec names for the option `{option}`; set it and run again"
)]
pub struct MissingVariable {
    /// The variable.
    pub variable: String,
    /// The option that wants it.
    pub option: String,
}

/// A part of an option's text.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Literal(&'a str),
    Variable(&'a str),
}

impl Secret {
    /// Whether every `${` opens a well-formed `${NAME}`.
    pub(crate) fn is_well_formed(&self) -> bool {
        parts(&self.0).is_some()
    }

    /// Whether the text is variables alone, with `between` anywhere, so that the file itself holds no part of a credential.
    pub(crate) fn is_only_variables(&self, between: &str) -> bool {
        let harmless = |part: &Part<'_>| match part {
            Part::Variable(_) => true,
            Part::Literal(text) => *text == between,
        };
        parts(&self.0).is_some_and(|parts| parts.iter().all(harmless))
    }

    pub(crate) fn resolve(&self, option: &str, env: &impl Fn(&str) -> Option<String>) -> Result<String, MissingVariable> {
        let mut value = String::new();
        for part in parts(&self.0).unwrap_or_default() {
            match part {
                Part::Literal(text) => value.push_str(text),
                Part::Variable(name) => {
                    let missing = || MissingVariable { variable: name.to_owned(), option: option.to_owned() };
                    value.push_str(&env(name).ok_or_else(missing)?);
                }
            }
        }
        Ok(value)
    }
}

/// Splits at `${NAME}`; `None` where a `${` does not open one.
fn parts(mut text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    while let Some((before, rest)) = text.split_once("${") {
        let (name, after) = rest.split_once('}')?;
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(sound) {
            return None;
        }
        if !before.is_empty() {
            parts.push(Part::Literal(before));
        }
        parts.push(Part::Variable(name));
        text = after;
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text));
    }
    Some(parts)
}

/// Whether an option of this name holds a credential, which must then come from the environment.
pub(crate) fn is_credential(option: &str) -> bool {
    let option = option.to_ascii_lowercase();
    let named = ["_id", "_file", "_path"].iter().any(|end| option.ends_with(end));
    let telling = ["secret", "token", "password", "private_key", "access_key", "account_key", "customer_key", "sas"];
    !named && (option.ends_with("_key") || telling.iter().any(|word| option.contains(word)))
}

impl Spec {
    /// The options of one object store, with every `${NAME}` replaced by what `env` says. The result holds credentials:
    /// hand it to the store and to nothing else.
    ///
    /// # Errors
    /// [`MissingVariable`] for the first variable that `env` does not know.
    pub fn storage_options(
        &self,
        place: Place,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, MissingVariable> {
        let none = BTreeMap::new();
        let own = match place {
            Place::Control => &none,
            Place::Source => &self.source.storage,
            Place::Target => &self.target.storage,
        };
        let inherited = self.storage.iter().filter(|(option, _)| !own.contains_key(*option));
        inherited.chain(own).map(|(option, secret)| Ok((option.clone(), secret.resolve(option, &env)?))).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "StorageOption".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An option's value. `${NAME}` is replaced by the environment variable when the store is opened; a credential is given in no other way.",
        })
    }
}
