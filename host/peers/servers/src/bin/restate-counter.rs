//! A Restate service (Virtual Object `Counter`) that does what the bench guest does: `add` reads the state,
//! adds and writes it, `get` reads it. Not tuned: the SDK's own server with its defaults.
//! Invariant: every execution of `add` is counted; the runner reads the count to see when sends are drained.

use std::error::Error;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use restate_sdk::prelude::*;

const COUNT: &str = "count";

/// A repeated attempt counts again, so this says when all is done, and the sum of the state says whether.
static ADDS: AtomicU64 = AtomicU64::new(0);

struct Counter;

#[object]
impl Counter {
    #[handler]
    async fn add(&self, ctx: ObjectContext<'_>, by: i64) -> Result<i64, TerminalError> {
        let count = ctx.get::<i64>(COUNT).await?.unwrap_or(0) + by;
        ctx.set(COUNT, count);
        ADDS.fetch_add(1, Relaxed);
        Ok(count)
    }

    #[handler]
    async fn get(&self, ctx: SharedObjectContext<'_>) -> Result<i64, TerminalError> {
        Ok(ctx.get::<i64>(COUNT).await?.unwrap_or(0))
    }
}

/// Arguments: where to serve, and where to tell the count to anyone who connects.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut addresses = std::env::args().skip(1).map(|text| text.parse::<SocketAddr>());
    let mut next = || addresses.next().ok_or("usage: restate-counter SERVE COUNT");
    let (serve, count) = (next()??, next()??);
    let counts = TcpListener::bind(count)?;
    std::thread::spawn(move || {
        for mut stream in counts.incoming().flatten() {
            // Who asked may have gone; the next one asks again.
            let _ = writeln!(stream, "{}", ADDS.load(Relaxed));
        }
    });
    HttpServer::new(Endpoint::builder().bind(Counter).build()).listen_and_serve(serve).await;
    Ok(())
}
