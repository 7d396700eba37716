//! Lines in the app's log: [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and
//! [`error!`](crate::error), as `format!` takes them. They are not part of the transaction: a call that
//! fails has still logged. `keystead logs APP` shows them.

use std::fmt;

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author.
    Debug,
    /// Normal.
    Info,
    /// Unexpected and handled.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line; what the macros call.
pub fn emit(level: Level, line: fmt::Arguments<'_>) {
    match line.as_str() {
        Some(text) => host::log(level, text),
        None => host::log(level, &line.to_string()),
    }
}

/// Logs a line for the author.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Debug, ::core::format_args!($($line)+)) };
}

/// Logs a normal line.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Info, ::core::format_args!($($line)+)) };
}

/// Logs what is unexpected and handled.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Warn, ::core::format_args!($($line)+)) };
}

/// Logs a failure.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::log::emit($crate::log::Level::Error, ::core::format_args!($($line)+)) };
}
