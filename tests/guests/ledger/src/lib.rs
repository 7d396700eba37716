//! Accounts that write down every transfer by its id, twice when it comes twice: the crash test reads from
//! that whether each took effect once. It never deduplicates; that is the host's part.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

use keystead_sdk::prelude::*;

/// What an account says of itself.
#[derive(serde::Serialize)]
pub struct Statement {
    balance: i64,
    entries: Vec<(String, i64)>,
}

/// An account with its history.
#[entity]
pub struct Account {
    balance: i64,
    entries: List<(String, i64)>,
}

#[handlers]
impl Account {
    /// Gives it its first money.
    pub fn open(&mut self, amount: i64) {
        self.balance = amount;
    }

    /// Moves money to another account, by message.
    pub fn transfer(&mut self, ctx: &Ctx, id: String, to: String, amount: i64) -> Result<i64> {
        ensure!(self.balance >= amount, code = "insufficient_funds", "only {} left", self.balance);
        self.balance -= amount;
        self.entries.push(&(id.clone(), -amount));
        Account::at(to).credit(id, amount).send(ctx);
        Ok(self.balance)
    }

    /// Takes money from another account.
    pub fn credit(&mut self, id: String, amount: i64) {
        self.balance += amount;
        self.entries.push(&(id, amount));
    }

    /// The balance and all that changed it.
    pub fn statement(&self) -> Statement {
        Statement { balance: self.balance, entries: self.entries.iter().collect() }
    }
}
