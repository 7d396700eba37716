//! The engine from outside: what a guest does and what its caller sees.

mod cache;
mod prepare;
mod run;
mod wasi;
