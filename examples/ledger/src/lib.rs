//! A ledger by day: entries in an ordered map, read by ranges and pages, and state that has changed its version.

use keystead_sdk::prelude::*;

/// A day, written as 2026-01-31, and the number of an entry: entries sort by both.
type Place = (String, u64);

/// One account's ledger, in cents.
#[entity(version = 2)]
pub struct Ledger {
    cents: i64,
    booked: u64,
    entries: Map<Place, (String, i64)>,
}

/// What version 1 kept: whole units.
#[data]
pub struct Whole {
    total: i64,
    booked: u64,
}

#[handlers]
impl Ledger {
    /// Books an amount on a day and returns the balance.
    pub fn book(&mut self, day: String, text: String, cents: i64) -> Result<i64> {
        ensure!(day.len() == 10, code = "bad_day", "a day is written as 2026-01-31, not {day:?}");
        let full = || Error::rejected("the ledger is full").with_code("full");
        self.cents = self.cents.checked_add(cents).ok_or_else(full)?;
        self.booked += 1;
        self.entries.insert((day, self.booked), (text, cents));
        Ok(self.cents)
    }

    /// What is there.
    pub fn balance(&self) -> i64 {
        self.cents
    }

    /// The entries of some days, the last one included: reads no others.
    pub fn days(&self, from: String, to: String) -> Vec<(Place, (String, i64))> {
        self.entries.range((from, 0)..=(to, u64::MAX)).collect()
    }

    /// The latest entries, newest first.
    pub fn latest(&self, count: u32) -> Vec<(Place, (String, i64))> {
        self.entries.iter().rev().take(count as usize).collect()
    }

    /// Version 1 counted whole units, in the total and in each entry.
    #[migrate(from = 1)]
    fn in_cents(&mut self, old: Whole) {
        (self.cents, self.booked) = (old.total * 100, old.booked);
        for place in self.entries.keys().collect::<Vec<_>>() {
            self.entries.update(place, |(_, amount)| *amount *= 100);
        }
    }
}

#[cfg(test)]
mod tests;
