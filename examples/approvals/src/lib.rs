//! Expenses that a person approves somewhere else: the expense hands out a token, whoever has it answers by
//! HTTP, once, and an expense that nobody answers ends by itself.

use keystead_sdk::prelude::*;

/// How long somebody has to answer.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One expense; its key is its number.
#[entity]
pub struct Expense {
    status: String,
    token: Option<CallbackToken>,
}

#[handlers]
impl Expense {
    /// Asks for money. The answer is the token to approve it with: for a mail, or a button in a chat.
    pub fn submit(&mut self, ctx: &Ctx, cents: u64) -> Result<CallbackToken> {
        ensure!(self.status.is_empty(), code = "submitted_before", "it is {}", self.status);
        let token = ctx.callback(Expense::reply().decided(cents), PATIENCE);
        (self.status, self.token) = ("waiting".into(), Some(token.clone()));
        Ok(token)
    }

    /// What became of the token: the name of who approved, a reason against it, or nothing in time.
    pub fn decided(&mut self, reply: Reply<String>, cents: u64) {
        self.token = None;
        self.status = match reply {
            Reply::Ok(by) => format!("{cents} cents approved by {by}"),
            Reply::Rejected(no) => format!("refused: {}", no.message),
            Reply::Failed(_) => "expired".into(),
        };
    }

    /// Takes it back, unless it is decided already.
    pub fn withdraw(&mut self, ctx: &Ctx) -> Result<()> {
        let open = self.token.take().is_some_and(|token| ctx.cancel_callback(&token));
        ensure!(open, code = "decided", "too late: it is {}", self.status);
        self.status = "withdrawn".into();
        Ok(())
    }

    /// How far it is.
    pub fn status(&self) -> String {
        self.status.clone()
    }
}

#[cfg(test)]
mod tests {
    use keystead_sdk::testing::{World, json};

    use super::*;

    #[test]
    fn an_expense_is_decided_once_or_expires() {
        let mut world = World::new().with::<Expense>();
        for key in ["paid", "refused", "forgotten", "withdrawn"] {
            world.call_typed(Expense::at(key).submit(40)).unwrap();
        }
        let token = |world: &World, key| world.callbacks("expense", key).remove(0);
        world.resolve(token(&world, "paid"), "Zoe").unwrap();
        world.reject(token(&world, "refused"), json!({"message": "too much"})).unwrap();
        world.call_typed(Expense::at("withdrawn").withdraw()).unwrap();
        world.advance(PATIENCE);
        for (key, status) in [
            ("paid", "40 cents approved by Zoe"),
            ("refused", "refused: too much"),
            ("forgotten", "expired"),
            ("withdrawn", "withdrawn"),
        ] {
            assert_eq!(world.inspect::<Expense, _>(key, |one| one.status.clone()), status);
        }
    }
}
