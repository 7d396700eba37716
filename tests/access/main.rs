//! Who may do what, against the real binary over real HTTP: each route with each kind of credential that must not open
//! it, and with one that must. The rows come from the host's own tables, so a new route is tested from its first day.

#[path = "../harness/mod.rs"]
mod harness;

mod audit;
mod people;
mod secrets;
mod start;
mod table;
