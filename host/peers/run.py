#!/usr/bin/env python3
"""Keystead and its peers under the same loads, interleaved: round after round, each system is started alone, warmed,
measured and stopped. README.md says what is fair about it and what is not.
Invariant: one system runs at a time, on loopback only, and all that was started ends with this program."""

import argparse
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import machine
import tables
from systems import HERE, SYSTEMS

ROOT = os.path.dirname(os.path.dirname(HERE))
NPM = ["@restatedev/restate-server@1.7.12", "workerd@1.20261117.1"]
KEYS = 10_000
LOADS = [("add", 1), ("add", 64), ("hot", 64), ("send", 64), ("read", 64)]
FDATASYNC_S = 2
# Between warming up and measuring: requests that were cut off at the end of the one are not done during the other.
PAUSE_S = 1
# A machine is quiet when it keeps fewer processors than this busy.
BUSY = 0.1
INSIDE = "KEYSTEAD_PEERS_INSIDE"


class Place:
    """Where things are: the scratch folder, and each program."""

    def __init__(self, options):
        self.work, self.keystead = os.path.abspath(options.work), os.path.abspath(options.keystead)
        self.keys = KEYS
        self.guest = self.work + "/bench.component.wasm"
        modules = self.work + "/node_modules"
        self.restate = self.found(f"{modules}/@restatedev/restate-server-*/bin/restate-server")
        self.workerd = self.found(f"{modules}/@cloudflare/workerd-*/bin/workerd")
        self.pg = os.path.dirname(self.found("/usr/lib/postgresql/*/bin/pgbench") or shutil.which("pgbench") or "")

    @staticmethod
    def found(pattern):
        return max(glob.glob(pattern), default=None)

    def server(self, name):
        return f"{self.work}/target/release/{name}"

    def missing(self, names):
        """The programs that the systems `names` need and that are not there."""
        needs = {"wrk": shutil.which("wrk"), "unshare": shutil.which("unshare")}
        if "keystead" in names:
            needs["keystead"] = os.path.exists(self.keystead)
        if "restate" in names or "restate4" in names:
            needs["restate-server"] = self.restate
            needs["restate-counter"] = os.path.exists(self.server("restate-counter"))
        if "hyper" in names:
            needs["bare-hyper"] = os.path.exists(self.server("bare-hyper"))
        if "workerd" in names:
            needs["workerd"] = self.workerd
        if "postgres" in names:
            needs["postgres"] = self.pg and os.path.exists(self.pg + "/initdb")
        return [need for need, there in needs.items() if not there]


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="how long each load is measured: %(default)s")
    parser.add_argument("--warmup", type=int, default=2, help="how long each load runs before that: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="how often each system is started and measured: %(default)s")
    parser.add_argument("--patience", type=int, default=60,
                        help="seconds to wait for a quiet machine before each system: %(default)s")
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, by commas: %(default)s")
    parser.add_argument("--save", metavar="FILE", help="keep everything as JSON")
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "peers-work"),
                        help="scratch folder, on the disk to be measured: %(default)s")
    parser.add_argument("--keystead", default=os.path.join(ROOT, "target/release/keystead"), metavar="FILE",
                        help="the release binary: %(default)s")
    parser.add_argument("--install", action="store_true", help="put the peers into the scratch folder, no more")
    parser.add_argument("--tables", metavar="FILE", help="print what --save kept as Markdown, no more")
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",")
    unknown = set(chosen.only) - set(SYSTEMS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return chosen


def install(work):
    """Downloads the servers from npm and builds those in Rust."""
    os.makedirs(work, exist_ok=True)
    subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", work, *NPM], check=True)
    subprocess.run(["cargo", "build", "--release", "--locked", "--manifest-path", HERE + "/servers/Cargo.toml"],
                   check=True, env=os.environ | {"CARGO_TARGET_DIR": work + "/target"})


def build_guest(place):
    """The bench guest as a component, built by the binary under test."""
    told = subprocess.check_output([place.keystead, "--json", "build", ROOT + "/examples/bench"], text=True)
    shutil.copy(json.loads(told)["component"], place.guest)


def inside_namespaces():
    """Runs this program again where there is only loopback, and where its end ends all that it started."""
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv]
    child = subprocess.Popen(command, env=os.environ | {INSIDE: "1"})
    # unshare ignores SIGTERM while it waits; killed, it takes all with it. An interrupt reaches the child by itself.
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return child.wait()


def versions(place, names):
    def first_line(*command):
        run = subprocess.run(command, capture_output=True, text=True)
        return ((run.stdout or run.stderr).splitlines() or ["?"])[0].strip()

    lock = machine.read(HERE + "/servers/Cargo.lock")
    crate = lambda name: re.search(rf'name = "{name}"\nversion = "(.*)"', lock)[1]
    digest = lambda path: first_line("sha256sum", path)[:12]
    asked = {
        "keystead": lambda: f"{first_line(place.keystead, '--version')} (SHA-256 {digest(place.keystead)})",
        "restate": lambda: f"{first_line(place.restate, '--version')}, restate-sdk {crate('restate-sdk')}",
        "workerd": lambda: first_line(place.workerd, "--version"),
        "postgres": lambda: first_line(place.pg + "/postgres", "--version"),
        "hyper": lambda: "hyper " + crate("hyper"),
    }
    told = {name: ask() for name, ask in asked.items() if any(one.startswith(name) for one in names)}
    return told | {"wrk": first_line("wrk", "-v").split(" [")[0]}


def measure(system, load, connections, chosen, disk, seed):
    """Warms one load and measures it; for sends, until the last one is done too."""
    keys = 1 if load == "hot" else KEYS
    system.drive(load, connections, chosen.warmup, keys, seed)
    if load == "send":
        system.drained()
    time.sleep(PAUSE_S)
    watch = machine.Watch(system.roots(), disk, chosen.seconds)
    row = system.drive(load, connections, chosen.seconds, keys, seed + 1, watch)
    if load == "send":
        row["drain_s"] = round(max(system.drained() - watch.ended, 0), 3)
        row["done_per_s"] = round(row["answers"] / (row["seconds"] + row["drain_s"]), 1)
    return {"load": load, "connections": connections} | row | watch.cost


def check(system):
    """Whether every acknowledged add is in the state, and nothing but requests that were cut off besides."""
    total = system.total()
    low, high = system.acknowledged, system.acknowledged + system.unanswered
    return {"acknowledged": low, "total": total, "exact": None if total is None else low <= total <= high}


def one_round(number, place, chosen, disk, results):
    """Each system once. The order moves on by one each round, so that none always follows the same one."""
    shift = number % len(chosen.only)
    for name in chosen.only[shift:] + chosen.only[:shift]:
        system = SYSTEMS[name](place)
        os.sync()  # what the one before left behind is written before this one is measured
        settle(chosen.patience)
        try:
            system.start()
            for index, (load, connections) in enumerate(LOADS):
                if (load if load != "hot" else "add") not in system.loads or (load == "hot" and name == "hyper"):
                    continue
                row = measure(system, load, connections, chosen, disk, 1000 * number + 10 * index)
                results["rows"].append({"round": number, "system": name} | row)
                say(results["rows"][-1])
            results["sums"].append({"round": number, "system": name} | check(system))
        finally:
            system.stop()
        if name == "keystead":  # beside the only one that is held against it
            os.sync()
            results["fdatasync"].append({"round": number} | machine.fdatasync(place.work, FDATASYNC_S))
        keep(results, chosen.save)


def say(row):
    p50, p99 = tables.number(row["p50_ms"]), tables.number(row["p99_ms"])
    line = ("round {round}  {system:9} {load:5} {connections:3}  {rate_per_s:9.0f}/s  p50 {p50:>6} ms  p99 {p99:>6} ms"
            "  cpu {server_cpu:.2f}  other {other_cpu:.2f}  steal {steal_percent:.1f} %  errors {errors}")
    print(line.format(**row, p50=p50, p99=p99), file=sys.stderr)


def keep(results, path):
    if path:
        with open(path + ".part", "w") as file:
            json.dump(results, file, indent=1)
        os.replace(path + ".part", path)


def settle(patience):
    """Waits until nothing else keeps the processors busy, for at most `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        before = machine.processors()[0]
        time.sleep(1)
        busy = machine.processors()[0] - before
        if busy < BUSY:
            return
        if time.monotonic() > end:
            return print(f"warning: {busy:.2f} processors are busy with something else", file=sys.stderr)


def main():
    chosen = options()
    if chosen.tables:
        return print(tables.markdown(json.loads(machine.read(chosen.tables))))
    if chosen.install:
        return install(chosen.work)
    place = Place(chosen)
    if missing := place.missing(chosen.only):
        sys.exit(f"not found: {', '.join(missing)}; see README.md and --install")
    disk = machine.device(chosen.work)
    if disk is None:
        sys.exit(f"{chosen.work} is on no disk, so nothing there is durable; choose another folder with --work")
    if not os.environ.get(INSIDE):
        if "keystead" in chosen.only:
            build_guest(place)
        if os.geteuid() == 0:
            sys.exit(inside_namespaces())
    results = {
        "machine": machine.describe(chosen.work), "versions": versions(place, chosen.only),
        "options": {"seconds": chosen.seconds, "warmup": chosen.warmup, "rounds": chosen.rounds, "keys": KEYS},
        "rows": [], "sums": [], "fdatasync": [],
    }
    for number in range(chosen.rounds):
        one_round(number, place, chosen, disk, results)
    print(tables.markdown(results))
    bad = [row for row in results["rows"] if row["errors"] or not row["answers"]]
    bad += [row for row in results["sums"] if row["exact"] is False]
    if bad:
        sys.exit(f"{len(bad)} rows with errors, without answers, or with sums that do not add up: {json.dumps(bad)}")


if __name__ == "__main__":
    main()
