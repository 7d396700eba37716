//! A closed loop without HTTP: callers in this process ask the router. What it measures is the host below its
//! edge; the load generator's own work is in the same process and counts as the host's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::now;
use super::tally::Tally;
use super::workload::{Script, Workload};
use crate::engine::Due;
use crate::partition::request::{CallResult, Refusal, Send};
use crate::router::Router;

/// `callers` tasks, each asking again as soon as it is answered, for `time`.
pub(super) fn drive(
    runtime: &Handle,
    router: &Router,
    workload: Workload,
    callers: Vec<Script>,
    time: Duration,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Tally> {
    let start = now();
    let callers: Vec<_> = callers
        .into_iter()
        .map(|script| {
            let caller = Caller { router: router.clone(), workload, script, start, time };
            runtime.spawn(caller.run(Arc::clone(stop)))
        })
        .collect();
    let mut all = Tally::new();
    for caller in callers {
        all.merge(&runtime.block_on(caller)??);
    }
    all.elapsed = time;
    Ok(all)
}

struct Caller {
    router: Router,
    workload: Workload,
    script: Script,
    start: Instant,
    time: Duration,
}

impl Caller {
    async fn run(mut self, stop: Arc<AtomicBool>) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        loop {
            let asked = self.start.elapsed();
            if asked >= self.time || stop.load(Ordering::Relaxed) {
                return Ok(tally);
            }
            let answer = self.ask().await?;
            let at = self.start.elapsed();
            match answer {
                _ if at >= self.time => {}
                Ok(()) => tally.answered(at - asked, at),
                Err((status, text)) => tally.not_answered(status, text.as_bytes()),
            }
        }
    }

    /// Asks once; an error has the status that HTTP would give it, as far as the tally tells them apart.
    async fn ask(&mut self) -> anyhow::Result<Result<(), (u16, String)>> {
        let invocation = self.script.invocation()?;
        let answered = if self.workload == Workload::Send {
            self.router.send(Send { invocation, due: Due::Now }).await.map(|_| Ok(()))
        } else {
            self.router.call(invocation).await.map(|answer| match answer.into_inner().result {
                CallResult::Reply(_) => Ok(()),
                other => Err((500, format!("{other:?}"))),
            })
        };
        Ok(answered.unwrap_or_else(|refusal| {
            let busy = matches!(refusal, Refusal::MailboxFull { .. } | Refusal::Overloaded { .. });
            Err((if busy { 503 } else { 500 }, refusal.to_string()))
        }))
    }
}
