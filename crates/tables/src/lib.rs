//! Tables on object stores: the adapters of each format behind [`lakeshift_core::table::TableFormat`], and how a URL
//! becomes an opened [`lakeshift_core::storage::Storage`].
//!
//! Nothing here scans rows: adapters speak of files, footers and versions.

mod changes;
pub mod delta;
pub mod footer;
pub mod hive;
pub mod hudi;
pub mod iceberg;
pub mod storage;
mod text;
mod vector;
mod widen;
