//! What the kernel says of this process, by the names that every Prometheus client uses. A figure that cannot be read
//! keeps its last value.

use std::fs;
use std::str::FromStr;

use prometheus::{Counter, Gauge, IntGauge, Opts, Registry};

use super::{HOST, register};

/// Ticks of the times in `/proc`: `USER_HZ`, 100 in the ABI of every architecture we build for.
const TICKS_PER_S: f64 = 100.0;

/// Looks.
pub(super) fn look() {
    let handles = &HOST.process;
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let status = text("/proc/self/status");
    let bytes = |name: &str| number::<i64>(&status, name).map(|kib| kib * 1024);
    set(&handles.resident, bytes("VmRSS:"));
    set(&handles.virtually, bytes("VmSize:"));
    set(&handles.threads, number(&status, "Threads:"));
    set(&handles.max_fds, number(&text("/proc/self/limits"), "Max open files"));
    let open = fs::read_dir("/proc/self/fd").map(Iterator::count);
    // The folder that counts them is open itself.
    set(&handles.open_fds, open.ok().and_then(|open| i64::try_from(open).ok()).map(|n| n - 1));
    let stat = text("/proc/self/stat");
    if let Some(cpu_s) = ticks(&stat, 11).zip(ticks(&stat, 12)).map(|(user, system)| user + system)
    {
        handles.cpu.inc_by((cpu_s - handles.cpu.get()).max(0.0));
    }
    let booted: Option<f64> = number(&text("/proc/stat"), "btime ");
    if let Some(start) = booted.zip(ticks(&stat, 19)).map(|(booted, after)| booted + after) {
        handles.start.set(start);
    }
}

pub(super) struct Handles {
    resident: IntGauge,
    virtually: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    cpu: Counter,
    start: Gauge,
}

impl Handles {
    pub(super) fn new(r: &Registry) -> Self {
        let whole =
            |name: &str, help: &str| register(r, IntGauge::with_opts(Opts::new(name, help)));
        let part = |name: &str, help: &str| register(r, Gauge::with_opts(Opts::new(name, help)));
        Self {
            resident: whole("process_resident_memory_bytes", "Resident memory"),
            virtually: whole("process_virtual_memory_bytes", "Virtual memory"),
            threads: whole("process_threads", "Threads of the process"),
            open_fds: whole("process_open_fds", "Open file descriptors"),
            max_fds: whole("process_max_fds", "Most open file descriptors"),
            cpu: register(
                r,
                Counter::with_opts(Opts::new(
                    "process_cpu_seconds_total",
                    "Processor time of user and system",
                )),
            ),
            start: part("process_start_time_seconds", "When the process began, since 1970"),
        }
    }
}

fn set(gauge: &IntGauge, value: Option<i64>) {
    if let Some(value) = value {
        gauge.set(value);
    }
}

/// The first number of the line that begins with `name`.
fn number<N: FromStr>(text: &str, name: &str) -> Option<N> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds of a field of `/proc/PID/stat`, counted from the one after the program's name.
fn ticks(stat: &str, field: usize) -> Option<f64> {
    // The name is in parentheses and may hold anything.
    let fields = &stat[stat.rfind(')')? + 1..];
    let ticks: f64 = fields.split_whitespace().nth(field)?.parse().ok()?;
    Some(ticks / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read_rightly() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 12345 1";
        assert_eq!((ticks(stat, 11), ticks(stat, 12)), (Some(1.5), Some(0.5)));
        assert_eq!(ticks(stat, 19), Some(123.45));
        assert_eq!(number("VmPeak: 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        look();
        let handles = &HOST.process;
        assert!(handles.resident.get() > 1 << 20 && handles.open_fds.get() > 2);
        assert!(handles.threads.get() > 0 && handles.max_fds.get() > 2);
        assert!(handles.start.get() > 1e9 && handles.cpu.get() >= 0.0);
    }
}
