//! Accounts that move money by messages: the sender pays in its own transaction, the receiver is credited
//! exactly once in its own.

use keystead_sdk::prelude::*;

/// One account; its key is whatever the bank calls its customers by.
#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    /// Adds money and returns the new balance.
    pub fn deposit(&mut self, amount: u64) -> Result<u64> {
        let Some(balance) = self.balance.checked_add(amount) else {
            reject!(code = "balance_too_large", "an account holds at most {}", u64::MAX);
        };
        self.balance = balance;
        Ok(balance)
    }

    /// Moves money to another account and returns what is left.
    pub fn transfer(&mut self, ctx: &Ctx, to: String, amount: u64) -> Result<u64> {
        ensure!(to != ctx.key(), code = "same_account", "{to} can't transfer to itself");
        ensure!(
            amount <= self.balance,
            code = "insufficient_funds",
            "{} has {}, which is less than {amount}",
            ctx.key(),
            self.balance
        );
        self.balance -= amount;
        Account::at(to).deposit(amount).send(ctx);
        Ok(self.balance)
    }

    /// What is there.
    pub fn balance(&self) -> u64 {
        self.balance
    }
}
