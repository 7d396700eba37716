//! The only door to time and chance. Everything below the HTTP edge asks a [`Clock`], never the machine, so
//! that a simulator can own both; `clippy.toml` bans the ways around it.

use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng};

/// Wall time, monotonic time and randomness.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// 64 random bits.
    fn chance(&self) -> u64;
    /// Fills `bytes` with randomness fit for secrets.
    fn fill(&self, bytes: &mut [u8]);
}

/// The machine's clock and a random generator seeded by the operating system.
pub struct SystemClock {
    start: Instant,
    rng: Mutex<rand::rngs::StdRng>,
}

impl SystemClock {
    /// Starts now.
    #[must_use]
    pub fn new() -> Self {
        let rng = rand::rngs::StdRng::try_from_rng(&mut rand::rngs::SysRng);
        let rng =
            rng.unwrap_or_else(|error| panic!("the operating system gives no randomness: {error}"));
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        Self { start: Instant::now(), rng: Mutex::new(rng) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn chance(&self) -> u64 {
        self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner).random()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fill(bytes);
    }
}

/// What `work` gives, or `None` when it takes longer than `time_max`. Most work that is bounded so is done at once, and
/// then no timer is made.
pub async fn within<W: Future>(time_max: Duration, work: W) -> Option<W::Output> {
    let mut work = pin!(work);
    let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx)));
    match first.await {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(time_max, work).await.ok(),
    }
}

/// A clock that moves only when told to, with chance from a seed: the same seed gives the same run.
pub struct ManualClock {
    now_ms: AtomicU64,
    /// Monotonic time, in milliseconds.
    since_ms: AtomicU64,
    rng: Mutex<rand::rngs::StdRng>,
}

impl ManualClock {
    /// Stands still at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64, seed: u64) -> Self {
        let rng = rand::rngs::StdRng::seed_from_u64(seed);
        let (now_ms, since_ms) = (AtomicU64::new(now_ms), AtomicU64::new(now_ms));
        Self { now_ms, since_ms, rng: Mutex::new(rng) }
    }

    /// Moves wall and monotonic time forward.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
        self.since_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Sets the wall clock, forward or back; monotonic time does not notice.
    pub fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.since_ms.load(Ordering::SeqCst))
    }

    fn chance(&self) -> u64 {
        self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner).random()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fill(bytes);
    }
}
