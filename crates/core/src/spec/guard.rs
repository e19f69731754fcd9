//! Walks over the YAML before and beside its typed reading: [`survey`] bounds it and refuses what no spec may hold,
//! [`locate`] finds the line and column of a key.
//!
//! The YAML library tells a position only with an error. So both walks are visitors that stop with an error at the place
//! whose position is wanted.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::catalog::CREDENTIALS;
use super::error::{Problem, shown};

/// A step from the document's root to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

/// A path from text such as `target.partitioning.2`; keys that have dots themselves are not looked for.
pub(super) fn path(text: &str) -> Vec<Step> {
    let step = |part: &str| part.parse().map_or_else(|_| Step::Key(part.to_owned()), Step::Item);
    text.split('.').map(step).collect()
}

/// What a file does whose anchors multiply.
pub(super) const ANCHORS: &str = "expands to more than a spec may hold, by its anchors and aliases";

/// A line and a column, both from 1.
pub(super) type Position = (usize, usize);

/// What a walk stops with.
pub(super) enum Stop {
    /// The walk's own finding.
    Found(Position, Problem),
    /// The YAML library's.
    Yaml(serde_yaml::Error),
}

pub(super) fn position(error: &serde_yaml::Error) -> Position {
    error.location().map_or((1, 1), |at| (at.line(), at.column()))
}

/// Checks the whole document: it expands to at most `bytes_max`, no key stands twice, `${` stands in storage options and
/// credentials only.
pub(super) fn survey(text: &str, bytes_max: usize) -> Result<(), Stop> {
    let mut state = Survey { left: bytes_max, problem: None };
    let walk = Walk { state: &mut state, path: &[] };
    match walk.deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(()) => Ok(()),
        Err(error) => Err(match state.problem {
            Some(problem) => Stop::Found(position(&error), problem),
            None => Stop::Yaml(error),
        }),
    }
}

struct Survey {
    left: usize,
    problem: Option<Problem>,
}

impl Survey {
    fn stop<E: de::Error>(&mut self, problem: Problem) -> E {
        self.problem = Some(problem);
        E::custom("stopped")
    }

    fn pay<E: de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.left.checked_sub(bytes + 1) {
            Some(left) => self.left = left,
            None => {
                return Err(self.stop(Problem::Bomb { how: ANCHORS.to_owned() }));
            }
        }
        Ok(())
    }
}

struct Walk<'a> {
    state: &'a mut Survey,
    path: &'a [String],
}

/// The text that errors name a section or a key by.
fn name(path: &[String]) -> String {
    if path.is_empty() { "the spec".to_owned() } else { shown(&path.join(".")) }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.state.pay(0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.state.pay(text.len())?;
        let of_table = |part: &str| part == "source" || part == "target";
        let takes = match self.path {
            [part, section, ..] if of_table(part) && section == "storage" => true,
            [part, section, key] if of_table(part) && section == "catalog" => CREDENTIALS.contains(&key.as_str()),
            [part, ..] => part == "storage",
            [] => false,
        };
        if text.contains("${") && !takes {
            let key = name(self.path);
            return Err(self.state.stop(Problem::Variable { key }));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.state.pay(0)?;
        while seq.next_element_seed(Walk { state: self.state, path: self.path })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.state.pay(0)?;
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key_seed(Key { state: self.state, section: self.path, keys: &keys })? {
            let path = [self.path, std::slice::from_ref(&key)].concat();
            map.next_value_seed(Walk { state: self.state, path: &path })?;
            keys.insert(key);
        }
        Ok(())
    }
}

struct Key<'a> {
    state: &'a mut Survey,
    section: &'a [String],
    keys: &'a BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        // The path to a key is copied for it, so it is paid for as well: deep nesting of long keys stays bounded.
        self.state.pay(key.len() + self.section.iter().map(String::len).sum::<usize>())?;
        if self.keys.contains(key) {
            let problem = Problem::DuplicateKey { key: shown(key), section: name(self.section) };
            return Err(self.state.stop(problem));
        }
        if key.contains("${") {
            let key = format!("a key in {}", name(self.section));
            return Err(self.state.stop(Problem::Variable { key }));
        }
        Ok(key.to_owned())
    }
}

/// The position of the key or list item at `path`; `None` when the document does not have it.
fn locate(text: &str, path: &[Step]) -> Option<Position> {
    let error = Find { path, here: path.is_empty() }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.to_string().contains(FOUND).then(|| position(&error))
}

/// As [`locate`], for the longest beginning of `path` that the document has.
pub(super) fn locate_nearest(text: &str, path: &[Step]) -> Position {
    (1..=path.len()).rev().find_map(|length| locate(text, &path[..length])).unwrap_or((1, 1))
}

const FOUND: &str = "lakeshift: found";

/// Goes down `path`; stops at a value when `here`, at the key when the path ends with it.
struct Find<'a> {
    path: &'a [Step],
    here: bool,
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match (self.here, self.path.first()) {
            (true, _) => deserializer.deserialize_str(self),
            (false, Some(Step::Key(_))) => deserializer.deserialize_map(self),
            (false, Some(Step::Item(_))) => deserializer.deserialize_seq(self),
            (false, None) => deserializer.deserialize_ignored_any(de::IgnoredAny).map(|_| ()),
        }
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(FOUND))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.path.split_first() else { return Ok(()) };
        while let Some(found) = map.next_key_seed(FindKey { wanted, stop: rest.is_empty() })? {
            if found {
                return map.next_value_seed(Find { path: rest, here: false });
            }
            map.next_value::<de::IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.path.split_first() else { return Ok(()) };
        for _ in 0..*wanted {
            if seq.next_element::<de::IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Find { path: rest, here: rest.is_empty() }).map(|_| ())
    }
}

struct FindKey<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for FindKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FindKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.stop => Err(E::custom(FOUND)),
            same => Ok(same),
        }
    }
}
