"""The systems that are compared: how each is started, asked and checked. Each runs with its default durability.
Invariant: what `start` starts, `stop` ends, and `start` comes back only when the system answers."""

import concurrent.futures
import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
START_S_MAX, STOP_S_MAX, DRAIN_S_MAX = 60, 30, 600
# How long nothing may change before sends count as drained, where a system cannot say that none is open.
SILENCE_S = 0.5
POLL_S = 0.005
CLIENTS = 16


class System:
    """A server behind HTTP, driven by wrk."""

    name = label = None
    port = 0
    # What each load asks for: method, path, body. A load that is not here cannot be asked of the system.
    loads = {}
    # Whether its folder outlives it.
    kept = False

    def __init__(self, place):
        self.place, self.children = place, []

    def start(self):
        """Starts the system over an empty folder and waits until it answers."""
        self.folder = f"{self.place.work}/data-{self.name}"
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder, exist_ok=True)
        # What was acknowledged since the start, and what may have been done besides: requests cut off at an end.
        self.acknowledged = self.unanswered = 0

    def stop(self):
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def roots(self):
        return [child.pid for child in self.children]

    def drive(self, load, connections, seconds, keys, seed, watch=contextlib.nullcontext()):
        """One closed loop, watched. Gives back how many requests were answered, how fast, and how many were not."""
        method, path, body = self.loads["add" if load == "hot" else load]
        told = {"LOAD_METHOD": method, "LOAD_PATH": path, "LOAD_BODY": body}
        told |= {"LOAD_KEYS": str(keys), "LOAD_SEED": str(seed)}
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", HERE + "/load.lua"]
        command.append(f"http://127.0.0.1:{self.port}")
        with watch:
            run = subprocess.run(command, env=os.environ | told, capture_output=True, text=True)
        found = re.search(r"^JSON (.*)$", run.stdout, re.M)
        if not found:
            raise RuntimeError(f"wrk said nothing of {self.name}: {run.stdout} {run.stderr}")
        result = json.loads(found[1])
        refused = result.pop("refused")
        result["answers"] -= refused
        result["errors"] += refused
        result["rate_per_s"] = round(result["answers"] / result["seconds"], 1)
        if not result["answers"]:
            result["p50_ms"] = result["p99_ms"] = None
        if load in ("add", "hot", "send"):
            self.acknowledged += result["answers"]
            self.unanswered += connections + result["errors"]
        return result

    def drained(self):
        """Waits until no accepted send is open; when that was. Only for systems with sends."""
        raise NotImplementedError

    def total(self):
        """The sum of all counts, to compare with the acknowledged adds; None where that cannot be asked for."""
        return None

    def spawn(self, *command, **environment):
        log = open(f"{self.place.work}/{self.name}.log", "a")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment)
        log.close()
        self.children.append(child)
        return child

    def ask(self, method, path, body="", port=None, headers=None, timeout=30):
        """One request on a connection of its own; its body when the answer is good, else None."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        headers = headers or ({"content-type": "application/json"} if body else {})
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            return text if answer.status < 300 else None

    def until(self, what):
        """Polls until `what()` is true."""
        end = time.monotonic() + START_S_MAX
        while not what():
            if time.monotonic() > end or any(child.poll() is not None for child in self.children):
                raise RuntimeError(f"{self.name} does not start; see {self.place.work}/{self.name}.log")
            time.sleep(POLL_S)

    def sum_of_keys(self, keys):
        """Reads every key, over a few connections, with the load's own read."""
        method, path, _ = self.loads["read"]

        def part(first):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            total = 0
            for key in range(first, keys, CLIENTS):
                connection.request(method, path.replace("{key}", f"k{key}"))
                total += int(connection.getresponse().read())
            connection.close()
            return total

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            return sum(pool.map(part, range(CLIENTS)))


class Keystead(System):
    name, label = "keystead", "Keystead"
    port, admin = 17070, 17071
    loads = {
        "add": ("POST", "/v1/call/bench/counter/{key}/add", '{"by":1}'),
        "send": ("POST", "/v1/send/bench/counter/{key}/add", '{"by":1}'),
        "read": ("GET", "/v1/read/bench/counter/{key}/get", ""),
    }

    def start(self):
        super().start()
        self.spawn(self.place.keystead, "serve", "--data", self.folder + "/data", "--listen", f"127.0.0.1:{self.port}",
                   "--admin", f"127.0.0.1:{self.admin}")
        self.until(lambda: self.ask("GET", "/admin/v1/health", port=self.admin))
        with open(self.place.guest, "rb") as guest:
            wasm = guest.read()
        if self.ask("PUT", "/admin/v1/apps/bench", wasm, self.admin, {"content-type": "application/wasm"}) is None:
            raise RuntimeError("the bench guest does not deploy")
        self.until(lambda: self.ask("POST", "/v1/call/bench/counter/k0/add", '{"by":0}'))

    def drained(self):
        end = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < end:
            partitions = json.loads(self.ask("GET", "/admin/v1/status", port=self.admin))["partitions"]
            if not sum(p["queued"] + p["scheduled"] + p["running"] for p in partitions):
                return time.monotonic()
            time.sleep(POLL_S)
        raise RuntimeError("keystead does not drain")

    def total(self):
        return self.sum_of_keys(self.place.keys)


class Restate(System):
    name, label = "restate", "Restate, default"
    port, admin, service, counts = 18080, 19070, 19080, 19081
    environment = {}
    loads = {
        "add": ("POST", "/Counter/{key}/add", "1"),
        "send": ("POST", "/Counter/{key}/add/send", "1"),
        "read": ("POST", "/Counter/{key}/get", ""),
    }

    def start(self):
        super().start()
        self.spawn(self.place.server("restate-counter"), f"127.0.0.1:{self.service}", f"127.0.0.1:{self.counts}")
        self.spawn(self.place.restate, "--no-logo", "--config-file", HERE + "/restate.toml", "--base-dir", self.folder,
                   **self.environment)
        deployment = json.dumps({"uri": f"http://127.0.0.1:{self.service}"})
        self.until(lambda: self.ask("POST", "/deployments", deployment, self.admin))
        self.until(lambda: self.ask("POST", "/Counter/k0/add", "0"))
        self.before = self.executed()

    def executed(self):
        with socket.create_connection(("127.0.0.1", self.counts)) as stream:
            return int(stream.makefile().read())

    def drained(self):
        """The service counts what it executed: all acknowledged ones, then silence."""
        last, changed, end = self.executed(), time.monotonic(), time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < end:
            time.sleep(POLL_S)
            now = self.executed()
            if now != last:
                last, changed = now, time.monotonic()
            elif now - self.before >= self.acknowledged and time.monotonic() - changed > SILENCE_S:
                return changed
        raise RuntimeError("restate does not drain")

    def total(self):
        query = "select sum(cast(value_utf8 as bigint)) as total from state where service_name = 'Counter'"
        kind = {"content-type": "application/json", "accept": "application/json"}
        answer = self.ask("POST", "/query", json.dumps({"query": query}), self.admin, kind, 300)
        return int(json.loads(answer)["rows"][0]["total"])


class RestateTuned(Restate):
    name, label = "restate4", "Restate, 4 partitions"
    environment = {"RESTATE_DEFAULT_NUM_PARTITIONS": "4"}


class Workerd(System):
    name, label = "workerd", "workerd Durable Object"
    port = 18787
    loads = {"add": ("POST", "/{key}", "1"), "read": ("GET", "/{key}", "")}
    # Making 10 000 objects takes it a minute: they are made once.
    kept = True

    def start(self):
        super().start()
        self.spawn(self.place.workerd, "serve", HERE + "/workerd/config.capnp",
                   "--directory-path", "objects=" + self.folder)
        self.until(lambda: self.ask("POST", "/k0", "0"))
        if len(glob.glob(self.folder + "/*/*.sqlite")) < self.place.keys:
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                made = pool.map(lambda key: self.ask("POST", f"/k{key}", "0"), range(self.place.keys))
                if None in made:
                    raise RuntimeError("workerd does not make its objects")


class Hyper(System):
    name, label = "hyper", "bare hyper"
    port = 19090
    # Asked the same as Keystead, byte for byte, for it answers anything.
    loads = {"add": Keystead.loads["add"], "read": Keystead.loads["read"]}

    def start(self):
        super().start()
        self.spawn(self.place.server("bare-hyper"), f"127.0.0.1:{self.port}")
        self.until(lambda: self.ask("GET", "/"))


class Postgres(System):
    name, label = "postgres", "PostgreSQL, pgbench"
    port = 15432
    loads = {"add": "add.sql", "read": "read.sql"}

    def start(self):
        super().start()
        self.address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        # The server refuses to run as root.
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "postgres", "postgres")
        data = self.folder + "/data"
        subprocess.run([*self.user, self.place.pg + "/initdb", "-D", data, "-A", "trust", "-U", "postgres"],
                       check=True, capture_output=True, cwd=self.folder)
        self.spawn(*self.user, self.place.pg + "/postgres", "-D", data, "-p", str(self.port), "-k", self.folder)
        ready = [self.place.pg + "/pg_isready", "-q", *self.address]
        self.until(lambda: subprocess.run(ready).returncode == 0)
        self.sql("create table counter (id bigint primary key, count bigint not null)")
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            if self.sql("show " + setting) != "on":
                raise RuntimeError(f"PostgreSQL runs with {setting} off")

    def stop(self):
        """A fast shutdown of the server itself: runuser would pass a SIGTERM on as a smart one."""
        subprocess.run([*self.user, self.place.pg + "/pg_ctl", "-D", self.folder + "/data", "-m", "fast", "stop"],
                       capture_output=True, cwd=self.folder)
        super().stop()

    def drive(self, load, connections, seconds, keys, seed, watch=contextlib.nullcontext()):
        script = HERE + "/postgres/" + self.loads["add" if load == "hot" else load]
        logs = self.folder + "/pgbench"
        command = [self.place.pg + "/pgbench", *self.address, "-n", "-M", "prepared", "-j", "1", "-c", str(connections),
                   "-T", str(seconds), "-f", script, "-D", f"keys={keys}", "--random-seed", str(seed),
                   "-l", "--log-prefix", logs]
        with watch:
            text = subprocess.run([*command, "postgres"], check=True, capture_output=True, text=True).stdout
        times = []
        for path in glob.glob(logs + ".*"):
            with open(path) as lines:
                # A transaction that failed has a word where the others have their time.
                times += [int(line.split()[2]) / 1000 for line in lines if line.split()[2].isdigit()]
            os.unlink(path)
        times.sort()
        failed = int(re.search(r"failed transactions: (\d+)", text)[1])
        if load in ("add", "hot"):
            self.acknowledged += len(times)
            self.unanswered += failed
        rate = re.search(r"tps = ([\d.]+)", text)  # not said of no transactions at all
        return {"answers": len(times), "seconds": seconds, "errors": failed, "p50_ms": machine.quantile(times, 0.5),
                "p99_ms": machine.quantile(times, 0.99), "rate_per_s": round(float(rate[1]), 1) if rate else 0.0}

    def total(self):
        return int(self.sql("select sum(count) from counter"))

    def sql(self, text):
        command = [self.place.pg + "/psql", *self.address, "-Atc", text, "postgres"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


SYSTEMS = {system.name: system for system in (Keystead, RestateTuned, Restate, Postgres, Workerd, Hyper)}
