//! The program's behaviour from outside: whole migrations over real stores, and over stores that fail.

mod bad_input;
mod crash;
mod life;
mod support;
