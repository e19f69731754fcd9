//! The program's behaviour from outside: whole migrations over real stores, and over stores that fail.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod catalogs;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod control;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod delta_source;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_hudi;
#[cfg(test)]
mod grace;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod history;
#[cfg(test)]
mod hive_edges;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod iceberg_source;
#[cfg(test)]
mod life;
#[cfg(test)]
mod metastore;
#[cfg(test)]
mod pointers;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod repartition;
#[cfg(test)]
mod reverse;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod schedule_docs;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod schema_changes;
#[cfg(test)]
mod scope;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod stages;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod stream_migration;
#[cfg(test)]
mod stream_rewrites;
#[cfg(test)]
mod sunset;
#[cfg(test)]
mod support;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod validation;
#[cfg(test)]
mod writer;
