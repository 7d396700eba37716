//! Durable before visible, as types. A [`Receipt`] says that the journal holds everything up to a position on
//! stable storage; only the journal can make one. A [`Durable`] can be made only with a receipt, and every
//! reply that leaves the host is one: an early yes does not compile.
//!
//! ```compile_fail
//! use keystead::journal::Durable;
//! let early = Durable { value: "yes" }; // the field is private
//! ```
//! ```compile_fail
//! use keystead::{ids::Position, journal::Receipt};
//! let forged = Receipt { through: Position(7) }; // so is this one
//! ```

use crate::ids::Position;

/// Proof that the journal is durable through a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    through: Position,
}

impl Receipt {
    /// IMPORTANT: only call this after the storage under the journal has said that it is durable.
    pub(in crate::journal) fn new(through: Position) -> Self {
        Self { through }
    }

    /// The last durable position.
    #[must_use]
    pub fn through(self) -> Position {
        self.through
    }
}

/// A value whose cause is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable<T> {
    value: T,
}

impl<T> Durable<T> {
    /// Takes the value out, to be shown.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Looks at the value.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Changes what is shown, not whether it may be.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Durable<U> {
        Durable { value: change(self.value) }
    }
}

impl<T, E> Durable<Result<T, E>> {
    /// Moves a failure to work the value out, to the outside.
    ///
    /// # Errors
    /// The inner one.
    pub fn transpose(self) -> Result<Durable<T>, E> {
        self.value.map(|value| Durable { value })
    }
}

/// A value that waits for its cause to be durable.
#[derive(Debug)]
pub struct Parked<T> {
    cause: Position,
    value: T,
}

impl<T> Parked<T> {
    /// Parks `value` until the journal is durable through `cause`.
    #[must_use]
    pub fn new(cause: Position, value: T) -> Self {
        Self { cause, value }
    }

    /// The position it waits for.
    #[must_use]
    pub fn cause(&self) -> Position {
        self.cause
    }

    /// Releases the value when the receipt covers its cause, and gives it back to wait on when not.
    ///
    /// # Errors
    /// `self`, unchanged.
    pub fn release(self, receipt: Receipt) -> Result<Durable<T>, Self> {
        if self.cause <= receipt.through {
            return Ok(Durable { value: self.value });
        }
        Err(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_value_leaves_only_with_a_receipt_that_covers_it() {
        let parked = Parked::new(Position(5), "yes");
        let parked = parked.release(Receipt::new(Position(4))).expect_err("too early");
        let durable = parked.release(Receipt::new(Position(5))).expect("covered");
        assert_eq!(durable.into_inner(), "yes");
    }
}
