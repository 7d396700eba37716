//! The commit point: appends a batch durably, reads from a position, trims.
mod receipt;

pub use receipt::{Durable, Parked, Receipt};
