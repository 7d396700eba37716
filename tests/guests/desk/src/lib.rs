//! Desks that ask shops and hear what came of it, and that hand out tokens. They write down all they hear, twice
//! when it comes twice: deduplicating is the host's part.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

use keystead_sdk::prelude::*;

/// Does what it is asked, or not.
#[entity]
pub struct Shop {
    broken: bool,
    worked: u64,
}

#[handlers]
impl Shop {
    /// Breaks or mends it.
    pub fn set_broken(&mut self, broken: bool) {
        self.broken = broken;
    }

    /// Counts, unless it is told or has to fail.
    pub fn work(&mut self, n: u64, how: String) -> Result<u64> {
        if how == "reject" {
            let no = Error::rejected("there is none left").with_code("sold_out");
            return Err(no.with_details(&serde_json::json!({ "n": n })));
        }
        if how == "break" && self.broken {
            return Err(Error::retryable("it is broken"));
        }
        self.worked += 1;
        Ok(n)
    }

    /// What only this app's entities may ask.
    #[internal]
    pub fn peek(&mut self) -> Bytes {
        Bytes(vec![0, 255])
    }

    /// The largest result that there may be.
    #[internal]
    pub fn peek_large(&mut self) -> Bytes {
        Bytes(vec![255; 1 << 20])
    }

    /// How often it worked.
    pub fn worked(&self) -> u64 {
        self.worked
    }
}

/// Asks, and hears.
#[entity]
pub struct Desk {
    deaf: bool,
    heard: List<(u64, String)>,
}

#[handlers]
impl Desk {
    /// Asks a shop.
    pub fn ask(
        &mut self,
        ctx: &Ctx,
        shop: String,
        n: u64,
        how: String,
        patient: bool,
    ) -> MessageId {
        let message = Shop::at(shop).work(n, how);
        let message = if patient { message.patient() } else { message };
        message.call_then(ctx, Desk::reply().told(n))
    }

    /// Asks a shop in an hour.
    pub fn ask_later(&mut self, ctx: &Ctx, shop: String, n: u64) -> MessageId {
        let message = Shop::at(shop).work(n, "ok").after(Duration::from_secs(3600));
        message.call_then(ctx, Desk::reply().told(n))
    }

    /// Asks for bytes.
    pub fn ask_peek(&mut self, ctx: &Ctx, shop: String, n: u64) {
        Shop::at(shop).peek().call_then(ctx, Desk::reply().shown(n));
    }

    /// Asks for the largest result that there may be, and takes this much along to its end.
    pub fn ask_large(&mut self, ctx: &Ctx, shop: String, n: u64, context_bytes: u64) {
        let luggage = "l".repeat(context_bytes as usize);
        Shop::at(shop).peek_large().call_then(ctx, Desk::reply().arrived(n, luggage));
    }

    /// Takes back what was asked and is not due yet.
    pub fn regret(&mut self, ctx: &Ctx, id: MessageId) -> bool {
        ctx.cancel(&id)
    }

    /// Makes a token.
    pub fn open(&mut self, ctx: &Ctx, n: u64, wait_ms: u64) -> CallbackToken {
        ctx.callback(Desk::reply().told(n), Duration::from_millis(wait_ms))
    }

    /// Withdraws it.
    pub fn withdraw(&mut self, ctx: &Ctx, token: CallbackToken) -> bool {
        ctx.cancel_callback(&token)
    }

    /// Hears nothing for a while.
    pub fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
    }

    /// Writes down what came of it.
    pub fn told(&mut self, reply: Reply<u64>, n: u64) -> Result<()> {
        self.heard.push(&(n, said(reply)));
        if self.deaf {
            return Err(Error::retryable("it hears nothing"));
        }
        Ok(())
    }

    /// The same for bytes.
    pub fn shown(&mut self, reply: Reply<Bytes>, n: u64) {
        let bytes = reply.result().map(|bytes| bytes.0.len() as u64);
        self.heard.push(&(n, bytes.map_or_else(|no| no.code, |len| format!("{len} bytes"))));
    }

    /// Writes down how much arrived.
    pub fn arrived(&mut self, reply: Reply<Bytes>, n: u64, luggage: String) {
        let bytes = reply.result().map_or(0, |bytes| bytes.0.len());
        self.heard.push(&(n, format!("{bytes} bytes and {}", luggage.len())));
    }

    /// All that it heard, in order.
    pub fn heard(&self) -> Vec<(u64, String)> {
        self.heard.iter().collect()
    }
}

fn said(reply: Reply<u64>) -> String {
    match reply {
        Reply::Ok(value) => format!("ok {value}"),
        Reply::Rejected(no) => format!("rejected {} {}", no.code, no.details.unwrap_or_default()),
        Reply::Failed(no) => format!("failed {}", no.code),
    }
}
