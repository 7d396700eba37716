//! The second edition of a page: the same source, another build.

#[path = "../../edition1/src/page.rs"]
pub mod page;

/// What this build writes.
const EDITION: u64 = 2;
