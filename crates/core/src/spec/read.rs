//! From the file's bytes to a checked [`Spec`], and from a [`Spec`] to its canonical JSON, digest and JSON Schema.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::catalog::CREDENTIALS;
use super::check::{self, Checked, Finding};
use super::check_validation::validation;
use super::error::{Problem, SpecError, nearest, shown};
use super::guard::{self, ANCHORS, Position, Stop};
use super::model::{Spec, Validation};

/// A spec's size in bytes at most, with anchors expanded too.
pub const SPEC_BYTES_MAX: usize = 1 << 20;

/// Square and curly brackets that a spec may hold. The YAML scanner's time grows with the square of their nesting.
const BRACKETS_MAX: usize = 4096;

/// Parts of a spec that say how a migration is run, not what it means.
const OPERATIONAL: [&str; 7] = ["description", "dual_write", "backfill", "validation", "sunset", "storage", "hooks"];

impl Spec {
    /// Reads and checks a spec. `file` names it in errors, and its folder is what relative locations start from; nothing
    /// is read from disk.
    ///
    /// # Errors
    /// [`SpecError`] for the first thing that is wrong, with its line and column.
    pub fn from_yaml(text: impl AsRef<[u8]>, file: &Path) -> Result<Self, SpecError> {
        read(text.as_ref(), file, |spec: &mut Self| {
            check::resolve_locations(spec, file)?;
            check::check(spec)
        })
    }

    /// The spec as JSON with sorted keys and every default filled in; storage options are `***`.
    pub fn to_canonical_json(&self) -> String {
        sorted(self.as_json()).to_string()
    }

    /// SHA-256, in hexadecimal, of what the migration means: source, target, logic, scope, alias. It binds plans and
    /// certificates. How it is run (pace, memory, storage options, the files' encoding, waiting times) may change on the way.
    pub fn digest(&self) -> String {
        let mut json = self.as_json();
        if let Value::Object(parts) = &mut json {
            parts.retain(|part, _| !OPERATIONAL.contains(&part.as_str()));
        }
        for table in ["source", "target"] {
            if let Value::Object(parts) = &mut json[table] {
                parts.remove("storage");
                parts.remove("snapshots");
                parts.remove("parquet");
                if let Some(Value::Object(catalog)) = parts.get_mut("catalog") {
                    catalog.retain(|key, _| !CREDENTIALS.contains(&key.as_str()));
                }
            }
        }
        // Which groups there are is what it means; how long they are watched is how it is run.
        if let Value::Object(cutover) = &mut json["cutover"] {
            cutover.retain(|part, _| matches!(part.as_str(), "alias" | "stages" | "exchange_entries" | "metastore"));
            let stages = cutover.get_mut("stages").and_then(Value::as_array_mut);
            for stage in stages.into_iter().flatten().filter_map(Value::as_object_mut) {
                stage.retain(|part, _| part == "alias");
            }
        }
        let digest = Sha256::digest(sorted(json).to_string());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The JSON Schema of the file, for editors.
    pub fn json_schema() -> Value {
        schemars::schema_for!(Spec).to_value()
    }

    #[expect(clippy::expect_used, reason = "structs, strings and string-keyed maps always have a JSON form")]
    fn as_json(&self) -> Value {
        serde_json::to_value(self).expect("a spec has a JSON form")
    }
}

impl Validation {
    /// Reads and checks a file that has nothing but a spec's section `validation`, for a comparison without a migration.
    /// `adjust` changes it before it is checked.
    ///
    /// # Errors
    /// [`SpecError`] for the first thing that is wrong, with its line and column.
    pub fn from_yaml(text: impl AsRef<[u8]>, file: &Path, adjust: impl FnOnce(&mut Self)) -> Result<Self, SpecError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rules {
            #[serde(default)]
            validation: Validation,
        }
        let checked = |rules: &mut Rules| {
            adjust(&mut rules.validation);
            validation(&rules.validation)
        };
        read(text.as_ref(), file, checked).map(|rules| rules.validation)
    }
}

fn read<T: DeserializeOwned>(text: &[u8], file: &Path, check: impl FnOnce(&mut T) -> Checked) -> Result<T, SpecError> {
    let at = |(line, column): Position, problem, expected, hint| SpecError {
        file: file.display().to_string(),
        line,
        column,
        problem,
        expected,
        hint,
    };
    let text = bounded_text(text).map_err(|(position, problem, hint)| at(position, problem, None, hint))?;
    guard::survey(text, SPEC_BYTES_MAX).map_err(|stop| match stop {
        Stop::Found(position, problem) => {
            let hint = hint_of(&problem);
            at(position, problem, None, hint)
        }
        Stop::Yaml(error) => translated(&error, at),
    })?;
    let mut value: T = serde_yaml::from_str(text).map_err(|error| translated(&error, at))?;
    check(&mut value).map_err(|finding: Finding| {
        let position = guard::locate_nearest(text, &finding.path);
        at(position, finding.problem, finding.expected, finding.hint)
    })?;
    Ok(value)
}

/// Objects with their keys in order, whether or not this build of `serde_json` keeps the order of insertion.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        scalar => scalar,
    }
}

fn bounded_text(bytes: &[u8]) -> Result<&str, (Position, Problem, Option<String>)> {
    if bytes.len() > SPEC_BYTES_MAX {
        return Err(((1, 1), Problem::TooLarge { bytes: bytes.len(), max: SPEC_BYTES_MAX }, None));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        ((line, column), Problem::NotUtf8, Some("save the file as UTF-8".to_owned()))
    })?;
    if bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > BRACKETS_MAX {
        let how = format!("has more than {BRACKETS_MAX} opening brackets");
        return Err(((1, 1), Problem::Bomb { how }, None));
    }
    Ok(text)
}

fn hint_of(problem: &Problem) -> Option<String> {
    Some(match problem {
        Problem::Bomb { .. } => "write the values out without anchors (`&name`) and aliases (`*name`)".to_owned(),
        Problem::DuplicateKey { .. } => "keep one of the two".to_owned(),
        Problem::Variable { .. } => {
            "write the value itself; only options under `storage`, `source.storage` and `target.storage`, and `user`, \
             `password`, `credential` and `token` under `catalog`, take ${NAME}"
                .to_owned()
        }
        _ => return None,
    })
}

/// The YAML library's error in our words. Its texts, and serde's, are the interface here; snapshots hold them in place.
fn translated(
    error: &serde_yaml::Error,
    at: impl Fn(Position, Problem, Option<String>, Option<String>) -> SpecError,
) -> SpecError {
    let position = guard::position(error);
    let text = error.to_string();
    let suffix = format!(" at line {} column {}", position.0, position.1);
    let text = text.strip_suffix(&suffix).unwrap_or(&text);
    let marks = ["unknown field `", "unknown variant `", "missing field `", "invalid type: ", "invalid value: "];
    if text.contains("repetition limit") {
        let problem = Problem::Bomb { how: ANCHORS.to_owned() };
        let hint = hint_of(&problem);
        return at(position, problem, None, hint);
    }
    let Some((start, mark)) = marks.iter().filter_map(|mark| Some((text.find(mark)?, *mark))).min() else {
        let reason = text.split_once(" at line ").map_or(text, |(reason, _)| reason);
        return at(position, Problem::Syntax { reason: shown(reason) }, None, syntax_hint(text));
    };
    let key = shown(text[..start].trim_end_matches(": "));
    let section = if key.is_empty() { "the spec".to_owned() } else { key.clone() };
    let message = &text[start + mark.len()..];
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let word = found.trim_end_matches('`');
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let similar = nearest(word, &known).map(|name| format!("did you mean `{name}`?"));
    match mark {
        "unknown field `" => at(
            position,
            Problem::UnknownKey { key: shown(word), section },
            Some(format!("one of: {}", known.join(", "))),
            similar,
        ),
        "unknown variant `" => {
            let hint = if key == "apiVersion" {
                Some("this build of lakeshift reads no other version".to_owned())
            } else if key == "target.format" && word == "hudi" {
                Some("Hudi tables are read, not written: move to a Delta or an Iceberg table".to_owned())
            } else {
                similar
            };
            at(position, Problem::Value { key, found: format!("`{}`", shown(word)) }, Some(alternatives(&known)), hint)
        }
        "missing field `" => {
            let hint = missing_hint(word);
            at(position, Problem::MissingKey { key: shown(word), section }, None, Some(hint))
        }
        _ => at(position, Problem::Value { key: section, found: plain_found(found) }, Some(plain_expected(expected)), None),
    }
}

fn syntax_hint(text: &str) -> Option<String> {
    let hint = match text {
        _ if text.contains("more than one document") => "keep one document; remove the line `---` that begins the second",
        _ if text.contains("mapping values are not allowed") => "put quotes around a value that contains `: `",
        _ if text.contains("cannot start any token") => "put quotes around the value, and indent with spaces",
        _ if text.contains("recursion limit") => "a spec is four levels deep at most",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn missing_hint(key: &str) -> String {
    match key {
        "apiVersion" => "begin the file with `apiVersion: lakeshift/v1`".to_owned(),
        "control" => "add the folder for journal, plans and reports, such as `control: ../../control`".to_owned(),
        "cutover" | "alias" => "add the name that readers resolve: `cutover: {alias: flights}`".to_owned(),
        "type" | "uri" | "table" => "a catalogue has `type`, `uri` and `table`".to_owned(),
        _ => "`lakeshift init` writes a spec that has every key".to_owned(),
    }
}

fn alternatives(known: &[&str]) -> String {
    match known {
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => "another value".to_owned(),
    }
}

fn plain_found(found: &str) -> String {
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a mapping".to_owned(),
        "enum" => "tagged".to_owned(),
        "unit value" | "string \"\"" => "empty".to_owned(),
        _ => shown(found.strip_prefix("string ").unwrap_or(found)),
    }
}

fn plain_expected(expected: &str) -> String {
    match expected {
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "u32" | "u64" => "a whole number, 0 or more",
        "a map" => "a mapping of keys to values",
        _ if expected.starts_with("struct ") => "a mapping of keys to values",
        other => other,
    }
    .to_owned()
}
