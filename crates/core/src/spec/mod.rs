//! The migration spec: what a `migration.yaml` may say, checked before anything else runs.
//!
//! [`Spec::from_yaml`] reads and checks it, [`SpecError`] is what people see when something is wrong (file, line, column,
//! what was expected, a hint), [`template()`] writes a new one. Nothing here reads a file or an environment variable:
//! `${NAME}` is substituted by [`Spec::storage_options`] through the function that it is given.

mod catalog;
mod check;
mod check_validation;
mod columns;
mod error;
mod guard;
mod hooks;
mod locations;
mod metastore;
mod model;
mod parquet;
mod read;
mod scope;
mod secret;
mod sizes;
mod sort;
mod template;
pub(crate) mod text;

pub use catalog::{Catalog, CatalogCredentials, CatalogKind};
pub use columns::{Literal, REST, TargetColumn};
pub use error::{Problem, SpecError};
pub use hooks::HookTransitions;
pub use locations::{Location, LocationError};
pub use metastore::Metastore;
pub use model::{
    ApiVersion, Backfill, BackfillOrder, ColumnRule, Cutover, DualWrite, HivePartition, Hook, Int96, LAST_GROUP, OnFailure,
    RuleUnit, SchemaChanges, SnapshotRule, Source, Spec, SqlTransform, Stage, Strategy, Sunset, SunsetDisposition, Target,
    Validation,
};
pub use parquet::{Compression, ParquetOptions};
pub use read::SPEC_BYTES_MAX;
pub use scope::{Others, Scope};
pub(crate) use secret::is_credential;
pub use secret::{MissingVariable, Place, Secret};
pub use sizes::{ByteSize, Span};
pub use sort::SortColumn;
pub use template::{TemplateInput, template};
pub(crate) use text::is_name;
pub use text::{parse_field as parse_partition_field, print_field as print_partition_field};
