//! Which places of the program an input reached, where `tests/fuzz/run.sh` had the compiler count them. The
//! counters are read and cleared through `/proc/self/mem`, so this needs no pointer. Without them: nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The counters of this process, and what was seen of them so far.
pub(crate) struct Coverage {
    memory: File,
    at: u64,
    now: Vec<u8>,
    zeros: Vec<u8>,
    /// For each place a bit for each order of magnitude that it was reached.
    seen: Vec<u8>,
}

impl Coverage {
    /// `tests/fuzz/coverage.c` says where they are.
    pub(crate) fn of_this_process() -> Option<Self> {
        let text = std::env::var("KEYSTEAD_COVERAGE").ok()?;
        let (from, until) = text.split_once('-')?;
        let (from, until) =
            (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(until, 16).ok()?);
        let memory = File::options().read(true).write(true).open("/proc/self/mem").ok()?;
        let places = usize::try_from(until.checked_sub(from)?).ok()?;
        let zeros = vec![0; places];
        Some(Self { memory, at: from, now: zeros.clone(), seen: zeros.clone(), zeros })
    }

    /// Forgets what was reached.
    pub(crate) fn clear(&mut self) {
        self.memory.write_all_at(&self.zeros, self.at).expect("the counters are writable");
    }

    /// Whether something was reached that never was, or far more often.
    pub(crate) fn is_new(&mut self) -> bool {
        self.memory.read_exact_at(&mut self.now, self.at).expect("the counters are readable");
        let mut new = false;
        for (now, seen) in self.now.chunks(64).zip(self.seen.chunks_mut(64)) {
            if now.iter().fold(0, |all, count| all | count) == 0 {
                continue;
            }
            for (count, seen) in now.iter().zip(seen) {
                let magnitude = match count {
                    0 => 0,
                    1..=3 => 1 << (count - 1),
                    4..=7 => 8,
                    8..=15 => 16,
                    16..=31 => 32,
                    32..=127 => 64,
                    _ => 128,
                };
                new |= magnitude & !*seen != 0;
                *seen |= magnitude;
            }
        }
        new
    }

    /// How many places were reached so far.
    pub(crate) fn reached(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}
