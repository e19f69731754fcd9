//! The migration spec: what a `migration.yaml` may say, checked before anything else runs.
//!
//! [`Spec::from_yaml`] reads and checks it, [`SpecError`] is what people see when something is wrong (file, line, column,
//! what was expected, a hint), [`template()`] writes a new one. Nothing here reads a file or an environment variable:
//! `${NAME}` is substituted by [`Spec::storage_options`] through the function that it is given.

mod check;
mod check_validation;
mod error;
mod guard;
mod locations;
mod model;
mod parquet;
mod read;
mod secret;
mod sizes;
mod sort;
mod template;
mod text;

pub use error::{Problem, SpecError};
pub use locations::{Location, LocationError};
pub use model::{
    ApiVersion, Backfill, BackfillOrder, ColumnRule, Cutover, DualWrite, HivePartition, RuleUnit, Scope, Source, Spec,
    SqlTransform, Strategy, Sunset, SunsetDisposition, Target, Validation,
};
pub use parquet::{Compression, ParquetOptions};
pub use read::SPEC_BYTES_MAX;
pub use secret::{MissingVariable, Place, Secret};
pub use sizes::{ByteSize, Span};
pub use sort::SortColumn;
pub use template::{TemplateInput, template};
