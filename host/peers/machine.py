"""What a load costs the machine, read from /proc and /sys around it. Knows no server; counts what processes did,
never what they say. Invariant: all processors' time is accounted for: servers, client, others, stolen, idle."""

import os
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
PROCESSORS = os.sysconf("SC_NPROCESSORS_ONLN")
# How long before the end of a load its memory is read.
MEMORY_BEFORE_END_S = 0.4
BLOCK = b"\7" * 4096


def read(path):
    with open(path) as file:
        return file.read()


def tree(roots):
    """The processes `roots` and all that they started, as {pid: (seconds of own and of ended children)}."""
    parents, seconds = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(pid)] = int(fields[1])
        seconds[int(pid)] = sum(map(int, fields[11:15])) / TICK
    found, fresh = set(), set(roots)
    while fresh:
        found |= fresh
        fresh = {pid for pid, parent in parents.items() if parent in fresh}
    return {pid: seconds.get(pid, 0.0) for pid in found}


def memory_mib(roots):
    """Memory of the processes, pages that they share counted once (PSS)."""
    kib = 0
    for pid in tree(roots):
        try:
            lines = read(f"/proc/{pid}/smaps_rollup").splitlines()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def processors():
    """Seconds that all processors were busy, and that the hypervisor took."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, read("/proc/stat").split()[1:9])
    return (user + nice + system + irq + softirq) / TICK, steal / TICK


def device(folder):
    """The whole disk under `folder`, as a folder of /sys; None when there is none, as on tmpfs."""
    number = os.stat(folder).st_dev
    path = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not os.path.exists(path + "/stat"):
        return None
    return os.path.dirname(path) if os.path.exists(path + "/partition") else path


def flushes(disk):
    """Flushes that the disk was asked for; only whole disks count them."""
    return int(read(disk + "/stat").split()[15])


class Watch:
    """`with Watch(...) as w: load` leaves in `w.cost` what the load cost, in processors, MiB and flushes a second,
    and in `w.ended` when it was over."""

    def __init__(self, roots, disk, seconds):
        self.roots, self.disk, self.memory = roots, disk, None
        self.sampler = threading.Timer(max(seconds - MEMORY_BEFORE_END_S, 0.1), self.sample)

    def sample(self):
        self.memory = memory_mib(self.roots)

    def counters(self):
        busy, stolen = processors()
        own = sum(os.times()[:4])  # this program and the load generators it has waited for
        return time.monotonic(), busy, stolen, own, sum(tree(self.roots).values()), flushes(self.disk)

    def __enter__(self):
        self.before = self.counters()
        self.sampler.start()
        return self

    def __exit__(self, *_):
        after = self.counters()
        self.ended = after[0]
        self.sampler.cancel()
        self.sampler.join()
        seconds, busy, stolen, own, servers, flushed = (b - a for a, b in zip(self.before, after))
        self.cost = {
            "server_cpu": round(servers / seconds, 3),
            "client_cpu": round(own / seconds, 3),
            "other_cpu": round(max(busy - own - servers, 0) / seconds, 3),
            "steal_percent": round(100 * stolen / seconds / PROCESSORS, 2),
            "memory_mib": round(self.memory, 1) if self.memory else None,
            "flushes_per_s": round(flushed / seconds, 1),
        }


def fdatasync(folder, seconds):
    """Appends of 4 KiB to a file, each with an `fdatasync`, by one writer that waits for each."""
    path, times = folder + "/fdatasync", []
    file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        os.write(file, BLOCK)
        os.fdatasync(file)
        times.append(1000 * (time.perf_counter() - start))
    os.close(file)
    os.unlink(path)
    times.sort()
    return {"p50_ms": quantile(times, 0.5), "p99_ms": quantile(times, 0.99),
            "rate_per_s": round(len(times) / seconds, 1)}


def quantile(ordered, share):
    """One of the values, to the microsecond where they are milliseconds; None of none."""
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3) if ordered else None


def describe(folder):
    """The machine in a few words, for the head of a report."""
    model = [line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    mounts = [line.split() for line in read("/proc/mounts").splitlines()]
    inside = [m for m in mounts if os.path.commonpath([m[1], os.path.realpath(folder)]) == m[1]]
    mib = int(read("/proc/meminfo").split()[1]) // 1024
    return {"processors": PROCESSORS, "model": model[0] if model else "?", "memory_mib": mib,
            "kernel": os.uname().release, "filesystem": max(inside, key=lambda m: len(m[1]))[2]}
