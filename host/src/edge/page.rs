//! What the pages of both listeners load: scripts as files of their own, without a build step. Knows neither page.
//! Invariant: a script here asks nobody for anything, and makes no markup of text.

/// JSON Schema in words and as a form's fields; for a module to import as `./schema.js`.
pub const SCHEMA: &str = include_str!("page/schema.js");
