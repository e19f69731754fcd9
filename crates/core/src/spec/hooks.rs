//! `hooks` in a spec: its notation for transitions, and what its types cannot say.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::check::{Checked, contradiction, value};
use super::model::{Hook, OnFailure};
use crate::migration::Transition;

const ALL: &str = "all";
const WEBHOOK_EXPECTED: &str = "an address such as http://127.0.0.1:8080/lakeshift";
const TIMEOUT_SECONDS_MAX: u64 = 3600;

/// Which transitions a hook hears of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookTransitions {
    /// `all`, also those that later versions add.
    All,
    /// These.
    Only(Vec<Transition>),
}

impl HookTransitions {
    /// Whether `transition` is one of them.
    pub fn contain(&self, transition: Transition) -> bool {
        match self {
            Self::All => true,
            Self::Only(listed) => listed.contains(&transition),
        }
    }
}

impl Serialize for HookTransitions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str(ALL),
            Self::Only(listed) => listed.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HookTransitions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;

        impl<'de> Visitor<'de> for Wanted {
            type Value = HookTransitions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of transitions")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HookTransitions, E> {
                if text == ALL { Ok(HookTransitions::All) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<HookTransitions, A::Error> {
                let mut listed = Vec::new();
                while let Some(transition) = seq.next_element()? {
                    listed.push(transition);
                }
                Ok(HookTransitions::Only(listed))
            }
        }

        deserializer.deserialize_any(Wanted)
    }
}

impl JsonSchema for HookTransitions {
    fn schema_name() -> Cow<'static, str> {
        "HookTransitions".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let transition = generator.subschema_for::<Transition>();
        json_schema!({ "anyOf": [{ "const": ALL }, { "type": "array", "items": transition, "minItems": 1 }] })
    }
}

/// Checks every hook.
pub(super) fn check(hooks: &[Hook]) -> Checked {
    for (index, hook) in hooks.iter().enumerate() {
        let key = |setting: &str| format!("hooks.{index}.{setting}");
        transitions(hook, &key("on"))?;
        target(hook, &key)?;
        let seconds = hook.timeout.as_seconds();
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds) {
            return Err(value(&key("timeout"), &hook.timeout.to_string(), "a time from 1s to 1h"));
        }
    }
    Ok(())
}

fn transitions(hook: &Hook, key: &str) -> Checked {
    let HookTransitions::Only(listed) = &hook.on else { return Ok(()) };
    if listed.is_empty() {
        return Err(value(key, "", "`all` or at least one transition"));
    }
    match listed.iter().find(|transition| !transition.can_be_refused()) {
        Some(transition) if hook.on_failure == OnFailure::Abort => {
            let what = format!("no hook can refuse `{}`: it is a fact when a runner sees it", transition.name());
            Err(contradiction(key, what, "remove it, or write `on_failure: warn`"))
        }
        _ => Ok(()),
    }
}

fn target(hook: &Hook, key: &impl Fn(&str) -> String) -> Checked {
    match (hook.command.first(), &hook.webhook) {
        (Some(_), Some(_)) => {
            Err(contradiction(&key("webhook"), "a hook has both a command and a webhook", "make two hooks of it"))
        }
        (None, None) => Err(contradiction(&key("on"), "a hook has neither a command nor a webhook", "add one of the two")),
        (Some(program), None) if program.trim().is_empty() => Err(value(&key("command"), "", "a program and its arguments")),
        (Some(_), None) => Ok(()),
        (None, Some(address)) => {
            let url = Url::parse(address).ok();
            let sound = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
            match sound {
                // A text with an `@` may hold a password.
                None if address.contains('@') => Err(value(&key("webhook"), "(not shown)", WEBHOOK_EXPECTED)),
                None => Err(value(&key("webhook"), address, WEBHOOK_EXPECTED)),
                Some(url) if !url.username().is_empty() || url.password().is_some() => {
                    let what = "the webhook's address has a user name or a password (not shown)";
                    Err(contradiction(
                        &key("webhook"),
                        what,
                        "let a command send it, with the credential in its environment",
                    ))
                }
                Some(_) => Ok(()),
            }
        }
    }
}
