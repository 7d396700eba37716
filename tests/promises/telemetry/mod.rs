//! What a host says of itself is true, whole and bounded: metrics count what was done and no key is in them, the
//! dashboard asks for what exists, a causal chain is one trace, and no secret is in a log.

mod collector;
mod logs;
mod metrics;
mod oncall;
mod page;
mod traces;
