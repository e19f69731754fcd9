//! The program's behaviour from outside: whole migrations over real stores, and over stores that fail.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod catalogs;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod delta_source;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_hudi;
#[cfg(test)]
mod iceberg_source;
#[cfg(test)]
mod life;
#[cfg(test)]
mod support;
#[cfg(test)]
mod validation;
