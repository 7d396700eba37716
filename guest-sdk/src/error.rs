//! How a handler says no. Invariant: a rejection is final, anything else may be tried again.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What a handler returns: `Result<u64>` fails with [`Error`]; `Result<u64, MyError>` works with any error
/// that implements [`std::error::Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a handler did not do what it was asked. Nothing of the call is kept.
///
/// [`reject!`](crate::reject) and [`ensure!`](crate::ensure) make final ones; `?` on an error of another
/// type makes one that is worth another attempt.
pub struct Error(Box<Parts>);

struct Parts {
    code: Cow<'static, str>,
    message: String,
    details: Option<Vec<u8>>,
    retryable: bool,
}

impl Error {
    /// A final rejection with the code `rejected`.
    #[must_use]
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new("rejected", message.into(), false)
    }

    /// A failure that may pass, with the code `error`: a message is tried again later.
    #[must_use]
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new("error", message.into(), true)
    }

    /// The same with another code: stable, snake_case, at most 64 bytes.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = code.into();
        self
    }

    /// The same with a JSON value for programs that read the error.
    #[must_use]
    pub fn with_details(mut self, details: &impl Serialize) -> Self {
        self.0.details = serde_json::to_vec(details).ok();
        self
    }

    /// What programs tell errors apart by.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The JSON value for programs.
    #[must_use]
    pub fn details(&self) -> Option<&[u8]> {
        self.0.details.as_deref()
    }

    /// Whether another attempt may succeed; a rejection is final.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    pub(crate) fn invalid_input(message: String) -> Self {
        Self::new("invalid_input", message, false)
    }

    /// The same, worth another attempt.
    pub(crate) fn into_retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    fn new(code: &'static str, message: String, retryable: bool) -> Self {
        Self(Box::new(Parts { code: Cow::Borrowed(code), message, details: None, retryable }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.retryable { "retryable" } else { "rejected" };
        write!(f, "{} ({kind}): {}", self.0.code, self.0.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::retryable(with_sources(&error))
    }
}

/// An error that a handler may return: [`Error`], or anything that implements [`std::error::Error`].
#[diagnostic::on_unimplemented(
    message = "a handler can't fail with `{Self}`",
    label = "neither `keystead_sdk::Error` nor a `std::error::Error`",
    note = "return `Result<T>` and use `reject!`, `ensure!` or `?`"
)]
pub trait HandlerError {
    /// The failure that the caller sees.
    fn into_error(self) -> Error;
}

impl HandlerError for Error {
    fn into_error(self) -> Error {
        self
    }
}

impl<E: std::error::Error> HandlerError for E {
    fn into_error(self) -> Error {
        self.into()
    }
}

/// The error's text and, after colons, that of what caused it.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Ends the handler with a final rejection: nothing is kept, and the caller gets the reason.
///
/// ```
/// # use keystead_sdk::prelude::*;
/// fn withdraw(balance: u64, amount: u64) -> Result<u64> {
///     if amount == 0 {
///         reject!("nothing to withdraw");
///     }
///     match balance.checked_sub(amount) {
///         Some(left) => Ok(left),
///         None => reject!(code = "insufficient_funds", "only {balance} left"),
///     }
/// }
/// assert_eq!(withdraw(3, 0).unwrap_err().code(), "rejected");
/// assert_eq!(withdraw(3, 4).unwrap_err().code(), "insufficient_funds");
/// ```
#[macro_export]
macro_rules! reject {
    (code = $code:expr, $($message:tt)+) => {
        return ::core::result::Result::Err(
            $crate::Error::rejected(::std::format!($($message)+)).with_code($code),
        )
    };
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::rejected(::std::format!($($message)+)))
    };
}

/// Rejects, as [`reject!`](crate::reject) does, unless the condition holds.
///
/// ```
/// # use keystead_sdk::prelude::*;
/// fn withdraw(balance: u64, amount: u64) -> Result<u64> {
///     ensure!(amount > 0, "nothing to withdraw");
///     ensure!(amount <= balance, code = "insufficient_funds", "only {} left", balance);
///     Ok(balance - amount)
/// }
/// assert_eq!(withdraw(3, 4).unwrap_err().message(), "only 3 left");
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            $crate::reject!($($reason)+);
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no number")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn parse(text: &str) -> Result<u64> {
        Ok(text.parse().map_err(Outer)?)
    }

    fn checked(amount: u64) -> Result<()> {
        ensure!(amount != 1, "one");
        ensure!(amount != 2, code = "two", "{amount} is two");
        ensure!(amount == 3 || amount > 10, code = "nine", "{} of {}", amount, 10);
        Ok(())
    }

    #[test]
    fn other_errors_are_retryable_and_name_their_causes() {
        let error = parse("x").expect_err("no number");
        assert_eq!(
            (error.code(), error.message(), error.is_retryable()),
            ("error", "no number: invalid digit found in string", true)
        );
    }

    #[test]
    fn rejections_are_final_and_carry_code_and_message() {
        for (amount, code, message) in
            [(1, "rejected", "one"), (2, "two", "2 is two"), (9, "nine", "9 of 10")]
        {
            let error = checked(amount).expect_err("rejected");
            assert_eq!(
                (error.code(), error.message(), error.is_retryable()),
                (code, message, false)
            );
        }
        assert!(checked(3).is_ok());
    }

    #[test]
    fn details_are_json() {
        let error = Error::rejected("no").with_details(&serde_json::json!({"left": 3}));
        assert_eq!(error.details(), Some(br#"{"left":3}"#.as_slice()));
    }
}
