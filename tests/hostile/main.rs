//! Hostile components and hostile clients against the real binary over real HTTP. Each attack is a row of a table
//! and must be contained: a typed answer that is true, bounded time and memory, no panic, no leak, and everybody
//! else served meanwhile. `KEYSTEAD_HOSTILE_LONG=1` adds what takes minutes.

#[path = "../harness/mod.rs"]
mod harness;

mod attacks;
mod guests;
mod http2;
mod pressure;
mod requests;
mod surface;
mod wat;
mod watch;
mod wire;
