//! Differences that are known and accepted: [`AcceptRule`] says which, [`AcceptedUse`] what a validation found of them.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rows::DifferenceKind;

/// One entry of the ledger of accepted differences. A differing row is absorbed by the first entry that it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptRule {
    /// A short name, unique in the ledger.
    pub id: String,
    /// Only rows that differ in this way; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DifferenceKind>,
    /// Only changed rows that differ in no other columns than these; needs `validation.key`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Only rows of which this SQL condition is true. Of a changed row both sides must fulfil it.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why the difference is right.
    pub reason: String,
    /// The last day (UTC) on which the entry holds.
    #[serde(deserialize_with = "day")]
    #[schemars(with = "String")]
    pub expires: NaiveDate,
    /// Rows that it absorbs at most; one more and the validation fails.
    #[schemars(range(min = 1))]
    pub max_rows: u64,
}

fn day<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let text = String::deserialize(deserializer)?;
    let unexpected = |_| serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &"a day such as 2030-12-31");
    text.parse().map_err(unexpected)
}

impl AcceptRule {
    /// Whether its last day is over on `day` (UTC).
    pub fn is_expired(&self, day: NaiveDate) -> bool {
        day > self.expires
    }
}

/// What one entry of the ledger came to in a validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedUse {
    /// The entry.
    #[serde(flatten)]
    pub rule: AcceptRule,
    /// Rows that it absorbed, also beyond its cap.
    pub rows: u64,
    /// Whether its last day was over on the day of the validation.
    pub expired: bool,
}

impl AcceptedUse {
    /// What speaks against what the entry absorbed: its day is over or its cap exceeded. `None` where nothing does or it
    /// absorbed nothing.
    pub fn objection(&self) -> Option<String> {
        match self {
            Self { rows: 0, .. } => None,
            Self { expired: true, rule, .. } => Some(format!("it expired after {}", rule.expires)),
            Self { rows, rule, .. } if *rows > rule.max_rows => {
                Some(format!("it absorbed {rows} rows and may absorb {}", rule.max_rows))
            }
            _ => None,
        }
    }
}
