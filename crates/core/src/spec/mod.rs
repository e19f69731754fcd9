//! The migration spec: what a `migration.yaml` may say, checked before anything else runs.
//!
//! `Spec::from_yaml` reads and checks it, `SpecError` is what people see when something is wrong (file, line, column,
//! what was expected, a hint), `template` writes a new one. Nothing here reads a file or an environment variable:
//! `${NAME}` is substituted by [`Spec::storage_options`] through the function that it is given.

mod locations;
mod model;
mod secret;
mod sizes;
mod text;

pub use locations::{Location, LocationError};
pub use model::{
    ApiVersion, Backfill, BackfillOrder, Cutover, DualWrite, HivePartition, Scope, Source, Spec, SqlTransform, Strategy, Sunset,
    SunsetDisposition, Target, Validation,
};
pub use secret::{MissingVariable, Place, Secret};
pub use sizes::{ByteSize, Span};
