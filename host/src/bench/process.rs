//! What the kernel says of a process and of the machine, from `/proc`. Knows nothing of the host. Invariant: a
//! figure that cannot be read is an error, not zero.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Ticks of the processor times in `/proc`: `USER_HZ`, 100 in the ABI of every architecture we build for.
const TICKS_PER_S: f64 = 100.0;

/// What one process used since it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_s: f64,
    /// Bytes that it caused to be written to disk.
    pub(super) write_bytes: u64,
}

/// What the machine's processors did since it booted, in seconds over all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Machine {
    pub(super) busy_s: f64,
    pub(super) steal_s: f64,
    pub(super) total_s: f64,
}

impl Machine {
    /// Of all processor time between two moments, how much the machine's own host took.
    pub(super) fn steal_percent(before: Self, after: Self) -> f64 {
        let total_s = (after.total_s - before.total_s).max(1.0 / TICKS_PER_S);
        (after.steal_s - before.steal_s) / total_s * 100.0
    }
}

pub(super) fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let io = read(&format!("/proc/{pid}/io"))?;
    let cpu_s = cpu_s(&stat).context("the process's stat has another form than expected")?;
    let write_bytes = number(&io, "write_bytes:").context("there is no write_bytes")?;
    Ok(Usage { cpu_s, write_bytes })
}

pub(super) fn rss_mib(pid: u32) -> anyhow::Result<f64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib = number(&status, "VmRSS:").context("there is no VmRSS")?;
    Ok(kib as f64 / 1024.0)
}

pub(super) fn machine() -> anyhow::Result<Machine> {
    times(&read("/proc/stat")?).context("/proc/stat has another form than expected")
}

/// One line about where this ran: processors, kernel, file system of `folder`, load.
pub(super) fn place(folder: &Path) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let kernel = text("/proc/sys/kernel/osrelease");
    let mounts = text("/proc/self/mounts");
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let kind = file_system(&mounts, &folder).unwrap_or("unknown file system");
    let load = text("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("{cpus} processors, Linux {kernel}, {kind}, load average {}", load.join(" "))
}

/// The kind of the file system that `folder` is on.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let parts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let around = parts.filter(|(place, _)| folder.starts_with(place));
    // The last one of the longest covers the others.
    around.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))
}

fn cpu_s(stat: &str) -> Option<f64> {
    // The name may hold anything, so fields count from its closing bracket.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_S)
}

fn times(stat: &str) -> Option<Machine> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line.split_whitespace().take(8).filter_map(|n| n.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.try_into().ok()?;
    let busy = user + nice + system + irq + softirq;
    let total = busy + idle + iowait + steal;
    let seconds = |ticks| ticks / TICKS_PER_S;
    Some(Machine { busy_s: seconds(busy), steal_s: seconds(steal), total_s: seconds(total) })
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(rss_mib(pid).expect("status") > 1.0);
        assert!(usage(pid).expect("stat and io").cpu_s >= 0.0);
        let machine = machine().expect("stat");
        assert!(machine.busy_s > 0.0 && machine.total_s >= machine.busy_s + machine.steal_s);
        assert!(place(Path::new("/")).contains("processors, Linux "));
    }

    #[test]
    fn the_forms_of_the_kernel_are_read() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_s(stat), Some(3.0));
        let machine = times("cpu  100 0 100 500 50 20 30 200 0 0\ncpu0 1\n").expect("times");
        assert_eq!((machine.busy_s, machine.steal_s, machine.total_s), (2.5, 2.0, 10.0));
        let later = Machine { steal_s: 3.0, total_s: 20.0, ..machine };
        assert_eq!(Machine::steal_percent(machine, later), 10.0);
        assert_eq!(times("cpu  1 2 3"), None);
        assert_eq!(number("a: 1\nwrite_bytes: 4096\n", "write_bytes:"), Some(4096));
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/tmpx")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/home")), Some("ext4"));
    }
}
