//! The heart: one partition's mailboxes, executor, transactions, commit and checkpoint.
pub mod request;
