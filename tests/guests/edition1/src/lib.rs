//! The first edition of a page.

pub mod page;

/// What this build writes.
const EDITION: u64 = 1;
