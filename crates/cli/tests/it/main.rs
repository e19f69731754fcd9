//! The program's behaviour from outside: whole migrations over real stores, and over stores that fail.

// `cfg(test)` tells clippy that helpers may unwrap too (clippy.toml).
#[cfg(test)]
mod crash;
#[cfg(test)]
mod life;
#[cfg(test)]
mod support;
