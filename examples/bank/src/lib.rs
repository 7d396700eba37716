//! Accounts that move money by messages: the sender pays in its own transaction, the receiver is credited
//! exactly once in its own. No transaction ever spans two accounts.

use keystead_sdk::prelude::*;

/// One account; its key is whatever the bank calls its customers by.
#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    /// Adds money and returns the new balance. What does not fit is not lost: as a message it is parked.
    pub fn deposit(&mut self, amount: u64) -> Result<u64> {
        let full = || Error::retryable("the account is full").with_code("account_full");
        self.balance = self.balance.checked_add(amount).ok_or_else(full)?;
        Ok(self.balance)
    }

    /// Moves money to another account and returns what is left.
    pub fn transfer(&mut self, ctx: &Ctx, to: String, amount: u64) -> Result<u64> {
        ensure!(self.balance >= amount, code = "insufficient_funds", "only {} left", self.balance);
        self.balance -= amount;
        Account::at(to).deposit(amount).send(ctx);
        Ok(self.balance)
    }

    /// What is there.
    pub fn balance(&self) -> u64 {
        self.balance
    }
}

#[cfg(test)]
mod tests {
    use keystead_sdk::testing::{World, json};

    use super::*;

    #[test]
    fn money_moves_and_is_never_made() {
        let mut world = World::new().with::<Account>();
        world.call_typed::<u64>(Account::at("alice").deposit(100)).unwrap();
        let left = world.call_typed::<u64>(Account::at("alice").transfer("bob", 30)).unwrap();
        let error = world.call_typed::<u64>(Account::at("alice").transfer("bob", 71)).unwrap_err();
        assert_eq!((left, error.code()), (70, "insufficient_funds"));
        world.settle();
        for (key, balance) in [("alice", 70), ("bob", 30)] {
            let found: u64 = world.read("account", key, "balance", json!({})).unwrap();
            assert_eq!(found, balance, "{key}");
        }
    }
}
