//! When requests are due. A closed loop asks again as soon as it is answered; an open loop asks at times that
//! were fixed before, whatever the answers do, and latency counts from those times: a host that stalls is
//! charged for everybody who came meanwhile. Pure arithmetic, no clock.

use std::time::Duration;

/// The times of an open loop, in order.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    per_s: f64,
    /// This driver's share of the requests: every `step`-th one, from `next`.
    step: u64,
    next: u64,
}

impl Schedule {
    /// `per_s` requests in each second, of which driver `driver` of `drivers` makes its share.
    pub(super) fn new(per_s: f64, driver: u64, drivers: u64) -> Self {
        Self { per_s, step: drivers.max(1), next: driver }
    }

    /// When the next request is due, from the start.
    pub(super) fn due(&self) -> Duration {
        Duration::from_secs_f64(self.next as f64 / self.per_s)
    }

    /// Takes the next request when it is due at `now`: the time that its latency counts from.
    pub(super) fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.next += self.step;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn requests_are_due_evenly_and_not_before() {
        let mut schedule = Schedule::new(1_000.0, 0, 1);
        assert_eq!(schedule.take(MS(0)), Some(MS(0)));
        assert_eq!(schedule.take(Duration::from_micros(999)), None);
        assert_eq!(schedule.take(MS(1)), Some(MS(1)));
    }

    #[test]
    fn a_stall_is_charged_to_all_who_came_meanwhile() {
        let mut schedule = Schedule::new(100.0, 0, 1);
        assert_eq!(schedule.take(MS(0)), Some(MS(0)));
        // Nothing could be sent for 50 ms; five more are due, each late by its own wait.
        let late: Vec<Duration> =
            std::iter::from_fn(|| schedule.take(MS(50))).map(|due| MS(50) - due).collect();
        assert_eq!(late, [MS(40), MS(30), MS(20), MS(10), MS(0)]);
    }

    #[test]
    fn drivers_share_the_rate_without_overlap() {
        let mut all: Vec<Duration> = (0..3)
            .flat_map(|driver| {
                let mut schedule = Schedule::new(300.0, driver, 3);
                std::iter::from_fn(move || schedule.take(MS(999))).collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all.len(), 300);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
