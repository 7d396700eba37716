"""Results as Markdown, for host/BENCH.md. Computes medians and ratios and nothing else: a figure that is not in the
results is not printed. Invariant: a ratio is the median of its rounds' own ratios, since only a round is alike."""

import statistics

from systems import SYSTEMS

ADD, ADD_1, HOT, READ = ("add", 64), ("add", 1), ("hot", 64), ("read", 64)
# What is claimed: the words, our load, whose load it is held against, the figure, and the bound on ours / theirs.
CLAIMS = [
    ("`add` over 64: rate, of Restate's with 4 partitions", ADD, (*ADD, "restate4"), "rate_per_s", "at least", 15),
    ("`add` over 64: rate, of Restate's default", ADD, (*ADD, "restate"), "rate_per_s", "at least", 30),
    ("`add` over 64: rate, of PostgreSQL's", ADD, (*ADD, "postgres"), "rate_per_s", "at least", 2.5),
    ("`add` over 64: rate, of bare hyper's", ADD, (*ADD, "hyper"), "rate_per_s", "at least", 0.6),
    ("`add` over 64: p99, of Restate's with 4 partitions", ADD, (*ADD, "restate4"), "p99_ms", "at most", 0.1),
    ("`add` over 1: p50, in `fdatasync`s of 4 KiB", ADD_1, "fdatasync", "p50_ms", "at most", 3),
    ("hot key over 64: rate, of our uniform rate", HOT, (*ADD, "keystead"), "rate_per_s", "at least", 0.8),
    ("hot key over 64: rate, of PostgreSQL's hot row", HOT, (*HOT, "postgres"), "rate_per_s", "at least", 15),
    ("`read` over 64: rate, of bare hyper's", READ, (*READ, "hyper"), "rate_per_s", "at least", 0.75),
]
COLUMNS = [
    ("p50 ms", "p50_ms"), ("p99 ms", "p99_ms"), ("server CPU", "server_cpu"), ("MiB", "memory_mib"),
    ("flushes/s", "flushes_per_s"), ("client CPU", "client_cpu"), ("other CPU", "other_cpu"), ("steal %", "steal_percent"),
]
TITLES = {"add": "`add`", "hot": "hot key", "send": "`send`", "read": "`read`"}


def markdown(results):
    rows = {}
    for row in results["rows"]:
        rows.setdefault((row["load"], row["connections"], row["system"]), []).append(row)
    parts = [head(results), loads(rows), sends(rows), ratios(rows, results["fdatasync"])]
    return "\n\n".join(part for part in parts if part)


def head(results):
    on, chosen = results["machine"], results["options"]
    gib = f"{on['memory_mib'] / 1024:.0f} GiB"
    versions = "; ".join(results["versions"].values())
    exact = [row["exact"] for row in results["sums"] if row["exact"] is not None]
    syncs = results["fdatasync"]
    lines = [
        f"{on['processors']} processors ({on['model']}), {gib}, Linux {on['kernel']}, {on['filesystem']}.",
        f"{versions}.",
        f"{chosen['rounds']} rounds, {chosen['seconds']} s for each load after {chosen['warmup']} s of it to warm up,"
        f" {number(chosen['keys'])} keys. Medians of the rounds; `rounds` is the lowest and the highest rate.",
        f"Sums of all counts that match the acknowledged adds: {sum(exact)} of {len(exact)}.",
    ]
    if syncs:
        p50, p99, rate = (statistics.median(sync[name] for sync in syncs) for name in ("p50_ms", "p99_ms", "rate_per_s"))
        lines.append(f"`fdatasync` of 4 KiB appended: p50 {number(p50)} ms, p99 {number(p99)} ms, {number(rate)}/s.")
    return "\n".join(lines)


def loads(rows):
    titles = ["load", "connections", "system", "rate/s", "rounds", *(title for title, _ in COLUMNS), "errors"]
    lines = [line(titles), "| --- " * len(titles) + "|"]
    for load, connections, system in sorted(rows, key=order):
        rounds = rows[load, connections, system]
        rates = [row["rate_per_s"] for row in rounds]
        spread = f"{number(min(rates))} to {number(max(rates))}"
        cells = [TITLES[load], connections, SYSTEMS[system].label, number(statistics.median(rates)), spread]
        cells += [number(median(rounds, column)) for _, column in COLUMNS]
        lines.append(line([*cells, sum(row["errors"] for row in rounds)]))
    return "\n".join(lines)


def sends(rows):
    keys = [key for key in sorted(rows, key=order) if key[0] == "send"]
    if not keys:
        return None
    lines = ["| `send` over 64 | accepted/s | drained after | done/s, drain included |", "| --- " * 4 + "|"]
    for key in keys:
        rate, drain, done = (median(rows[key], column) for column in ("rate_per_s", "drain_s", "done_per_s"))
        lines.append(line([SYSTEMS[key[2]].label, number(rate), f"{number(drain)} s", number(done)]))
    return "\n".join(lines)


def ratios(rows, syncs):
    lines = ["| Keystead, beside | ratio | rounds | wanted | |", "| --- " * 5 + "|"]
    for what, ours, theirs, figure, side, bound in CLAIMS:
        them = syncs if theirs == "fdatasync" else rows.get(theirs, [])
        them = {row["round"]: row[figure] for row in them}
        found = [row[figure] / them[row["round"]] for row in rows.get((*ours, "keystead"), []) if them.get(row["round"])]
        if not found:
            continue
        ratio = statistics.median(found)
        holds = ratio >= bound if side == "at least" else ratio <= bound
        spread = f"{number(min(found))} to {number(max(found))}"
        lines.append(line([what, number(ratio), spread, f"{side} {number(bound)}", "yes" if holds else "**no**"]))
    return "\n".join(lines) if len(lines) > 2 else None


def order(key):
    load, connections, system = key
    return list(TITLES).index(load), connections, list(SYSTEMS).index(system)


def median(rounds, column):
    found = [row[column] for row in rounds if row[column] is not None]
    return statistics.median(found) if found else None


def line(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def number(value):
    """Three digits that mean something, thousands apart; a dash for what was not measured."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"
