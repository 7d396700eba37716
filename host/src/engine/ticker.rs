//! The clock of deadlines: a thread that moves the engine's epoch every [`limits::EPOCH_TICK`] while guests
//! run, and parks when none has run for a while, so that an idle host costs nothing.
//! Invariant: while a [`Running`] exists the epoch moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use wasmtime::{Engine, EngineWeak};

use crate::clock::Clock;
use crate::limits;

/// Starts calls; the thread ends when the last clone is gone.
#[derive(Clone)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    wake: Sender<()>,
}

struct Shared {
    running: AtomicU64,
    started: AtomicU64,
    parked: AtomicBool,
}

/// A guest call under way; dropping it ends it.
pub(super) struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicU64::new(0),
            started: AtomicU64::new(0),
            parked: AtomicBool::new(false),
        });
        let (wake, woken) = crossbeam_channel::bounded(1);
        let (engine, thread_shared) = (engine.weak(), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("deadlines".into())
            .spawn(move || tick(&engine, &thread_shared, &woken))?;
        Ok(Self { shared, wake })
    }

    /// Counts a call as running, and sees to it that the epoch moves.
    pub(super) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        self.shared.started.fetch_add(1, Ordering::Relaxed);
        // Sequentially consistent on both sides: either the thread sees this call before it parks, or this
        // call sees that it is parked.
        if self.shared.parked.load(Ordering::SeqCst) {
            // A full channel holds a wake-up already.
            let _ = self.wake.try_send(());
        }
        Running(&self.shared)
    }

    /// Ticks that are at least `deadline` long; one more, for the current one has begun already.
    pub(super) fn ticks(deadline: Duration) -> u64 {
        deadline.as_nanos().div_ceil(limits::EPOCH_TICK.as_nanos()) as u64 + 1
    }
}

/// When one call must end: when its ticks are over, or its time by the clock, for on a busy machine ticks come late.
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    time: Duration,
    ticks_left: u64,
    /// The time at its first tick, which no call that ends within it pays for.
    first: Option<Duration>,
}

impl Deadline {
    /// One that is over at once.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, time: Duration::ZERO, ticks_left: 0, first: None }
    }

    /// Begins a call that may take `time`.
    pub(super) fn begin(&mut self, time: Duration) {
        (self.time, self.ticks_left, self.first) = (time, Ticker::ticks(time), None);
    }

    /// Counts a tick; true when the call must end.
    pub(super) fn is_over(&mut self) -> bool {
        self.ticks_left = self.ticks_left.saturating_sub(1);
        let now = self.clock.monotonic();
        let first = *self.first.get_or_insert(now);
        self.ticks_left == 0 || now.saturating_sub(first) >= self.time
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &EngineWeak, shared: &Shared, woken: &Receiver<()>) {
    let (mut idle_ticks, mut seen) = (0, 0);
    loop {
        match woken.recv_timeout(limits::EPOCH_TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            // A second wake-up for one sleep: not a tick, or a deadline would come early.
            Ok(()) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);

        let started = shared.started.load(Ordering::Relaxed);
        let idle = shared.running.load(Ordering::SeqCst) == 0 && started == seen;
        idle_ticks = if idle { idle_ticks + 1 } else { 0 };
        seen = started;
        if idle_ticks >= limits::IDLE_TICKS_MAX {
            idle_ticks = 0;
            shared.parked.store(true, Ordering::SeqCst);
            if shared.running.load(Ordering::SeqCst) == 0 && woken.recv().is_err() {
                return;
            }
            shared.parked.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// A call that comes while the thread sleeps must wake it, or its deadline would never come.
    #[test]
    fn an_idle_ticker_parks_and_a_call_wakes_it() {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).expect("engine");
        let ticker = Ticker::start(&engine).expect("ticker");
        let wat = "(module (func (export \"loop\") (loop (br 0))))";
        let module = wasmtime::Module::new(&engine, wat::parse_str(wat).expect("wat"));
        let module = module.expect("module");
        let pause = crossbeam_channel::never::<()>();
        for _ in 0..2 {
            while !ticker.shared.parked.load(Ordering::SeqCst) {
                let _ = pause.recv_timeout(limits::EPOCH_TICK);
            }
            let mut store = wasmtime::Store::new(&engine, ());
            store.set_epoch_deadline(Ticker::ticks(Duration::from_millis(20)));
            let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("instance");
            let run = instance.get_typed_func::<(), ()>(&mut store, "loop").expect("loop");
            let _running = ticker.run();
            let error = run.call(&mut store, ()).expect_err("ends");
            assert_eq!(error.downcast_ref(), Some(&wasmtime::Trap::Interrupt));
        }
    }

    #[test]
    fn a_deadline_is_never_shorter_than_said() {
        assert_eq!(Ticker::ticks(Duration::ZERO), 1);
        assert_eq!(Ticker::ticks(limits::EPOCH_TICK), 2);
        assert_eq!(Ticker::ticks(limits::EPOCH_TICK + Duration::from_nanos(1)), 3);
    }

    /// A machine that gives the ticking thread every other turn only must not double what a guest may take.
    #[test]
    fn late_ticks_do_not_put_a_deadline_off() {
        let clock = Arc::new(ManualClock::new(1_000, 7));
        let mut deadline = Deadline::new(Arc::<ManualClock>::clone(&clock));
        let mut ticks_until_over = |late: u32| {
            deadline.begin(limits::EPOCH_TICK * 100);
            let mut ticks = 1;
            while !deadline.is_over() {
                clock.advance(limits::EPOCH_TICK * late);
                ticks += 1;
            }
            ticks
        };
        assert_eq!(ticks_until_over(0), 101, "a clock that stands still: its ticks");
        assert_eq!(ticks_until_over(1), 101);
        assert_eq!(ticks_until_over(2), 51);
        assert_eq!(ticks_until_over(50), 3);
    }
}
