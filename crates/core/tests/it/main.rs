//! The crate's behaviour from outside.

// `cfg(test)` tells clippy that helpers may unwrap too (clippy.toml).
#[cfg(test)]
mod equivalence;
#[cfg(test)]
mod graph_page;
#[cfg(test)]
mod history;
#[cfg(test)]
mod phases;
#[cfg(test)]
mod report;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod spec_catalog;
#[cfg(test)]
mod spec_hooks;
#[cfg(test)]
mod spec_metastore;
#[cfg(test)]
mod spec_template;
#[cfg(test)]
mod stream_spec;
#[cfg(test)]
mod type_table;
