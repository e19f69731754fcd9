//! The program's behaviour from outside: whole migrations over real stores, and over stores that fail.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod delta_source;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hive_edges;
#[cfg(test)]
mod life;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod support;
#[cfg(test)]
mod validation;
