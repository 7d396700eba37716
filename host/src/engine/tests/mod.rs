//! The engine from outside: what a guest does and what its caller sees.

mod cache;
mod fuzz;
mod prepare;
mod run;
mod wasi;
