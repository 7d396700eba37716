// The host at a glance: what it does now and did in the last minutes. Keeps a bounded past, and rests while nobody looks.

import { can, every, get, raw, refused } from "./api.js";
import { badge, bytes, code, count, draw, empty, entityLink, fill, heading, lacking, link, make, messageLink, micros, moment, part, rate, say, section, span, table } from "./dom.js";
import { allPaused } from "./pauses.js";

/** Samples that are kept: two minutes. */
const SAMPLES = 120;
const TURNS = "GET /admin/v1/turns";
/** Turns whose times make the quantiles. */
const TURNS_ASKED = 500;

/** Samples that the latency is taken over. */
const LATENCY_SAMPLES = 10;
const METRICS = "GET /metrics";
const STATUS = "GET /admin/v1/status";
const APPS = "GET /admin/v1/apps";
const TRY = "POST /admin/v1/try/{app}/{type}/{key}/{handler}";

const past = { samples: [] };

export async function overview({ place, signal }) {
  const tiles = {
    rate: tile("Transactions per second"),
    time: tile(can(METRICS) ? "Latency of requests, median" : "Time of a turn, median"),
    position: tile("Journal position"),
    lag: tile("Checkpoint lag"),
    queued: tile("Waiting messages"),
    scheduled: tile("Scheduled"),
    running: tile("Running now"),
    dead: tile("Dead letters"),
  };
  const uptime = make("span", { class: "soft" });
  const trouble = make("div", { class: "failure", role: "alert", hidden: true });
  const apps = table("Apps", [
    { name: "app", value: (app) => link(`#/apps/${part(app.app)}`, app.app) },
    { name: "version", value: (app) => code(app.version.slice(0, 12)) },
    { name: "types", value: (app) => app.types.join(", ") || "none" },
    { name: "deployed", value: (app) => moment(app.deployed_at_ms, true) },
  ]);
  const appsPlace = make("div", {}, apps.element);
  const turns = turnsTable("Recent turns", true);
  const turnsPlace = make("div", {}, turns.element);
  const speed = make("p", { class: "soft" });
  const figures = make("div", { class: "tiles" }, Object.values(tiles).map((one) => one.element));
  const limited = make("p", { class: "remark", hidden: true }, "This token is for some apps only. ", refused([["see the figures of the whole host", STATUS]]) ?? "");
  const turnsCard = section("Recent turns", speed, turnsPlace);
  turnsCard.hidden = !can(TURNS);
  const showApps = (listed) => {
    fill(appsPlace, listed.length ? apps.element
      : empty("No app is deployed. Deploy one: ", code("keystead deploy FILE --app APP"), ", or start with ", code("keystead new NAME"), "."));
    apps.set(listed, (app) => app.app);
  };
  const halted = allPaused(signal);
  place.append(heading("Overview", uptime), trouble, halted.element, limited, figures, section("Apps", appsPlace), turnsCard);
  const why = refused([["look at the host", APPS]]);
  if (why) {
    place.replaceChildren(heading("Overview"), lacking(why), can(TRY) ? make("p", {}, link("#/try", "Try a handler"), ".") : "");
    return;
  }
  let look = 0;
  await every(1000, signal, async () => {
    const [status, listed, recent, latency] = await Promise.all([
      can(STATUS) ? get("/admin/v1/status", signal) : undefined,
      look % 5 === 0 ? get("/admin/v1/apps", signal) : undefined,
      can(TURNS) ? get(`/admin/v1/turns?limit=${TURNS_ASKED}`, signal) : undefined,
      can(METRICS) ? buckets(signal) : undefined,
    ]);
    look += 1;
    figures.hidden = !status;
    if (!status) trouble.hidden = true;
    limited.hidden = Boolean(status);
    turnsCard.hidden = !recent;
    if (listed) showApps(listed.apps);
    if (!status) return;
    const sample = measure(status, recent, latency);
    say(uptime, `version ${status.version}, up ${span(status.uptime_ms)}${status.ingress ? `, ingress at ${status.ingress}` : ""}`);
    const poisoned = status.partitions.map((one) => one.poisoned).filter(Boolean);
    trouble.hidden = poisoned.length === 0;
    say(trouble, `A partition takes no work: ${poisoned.join("; ")}. It is opened again by itself; see the host's log.`);
    show(tiles, sample);
    await halted.set(status.partitions.reduce((sum, one) => sum + one.pauses, 0));
    if (recent) {
      fill(turnsPlace, recent.turns.length ? turns.element : empty("Nothing ran since ", moment(recent.since_ms, true), ". ", can(TRY) ? link("#/try", "Try a handler.") : ""));
      turns.set(recent.turns.slice(0, 12), (turn) => turn.number);
      const times = sample.turns;
      say(speed, times ? `median ${micros(times.p50)}, 95 % ${micros(times.p95)}, 99 % ${micros(times.p99)}, of the last ${count(times.of)}` : "");
    }
  });
}

/** Turns as a table; also of one entity. */
export function turnsTable(caption, withEntity) {
  const columns = [
    { name: "ended", value: (turn) => moment(turn.at_ms) },
    { name: "entity", value: (turn) => entityLink(turn.entity) },
    { name: "handler", value: (turn) => code(turn.handler) },
    { name: "cause", value: cause },
    { name: "outcome", value: (turn) => [badge(turn.outcome), turn.reason ? make("span", { class: "reason" }, turn.reason) : null] },
    { name: "version", number: true, value: (turn) => count(turn.version) },
    { name: "took", number: true, value: (turn) => micros(turn.took_us) },
    { name: "sent", number: true, value: (turn) => (turn.sent.length ? count(turn.sent.length) : "") },
    { name: "journey", value: (turn) => messageLink(turn.id, "journey") },
  ];
  return table(caption, columns.filter((column) => withEntity ? !["cause", "version"].includes(column.name) : column.name !== "entity"));
}

function cause(turn) {
  const { kind, entity, timer } = turn.cause;
  if (kind === "entity") return entityLink(entity);
  return timer ? `timer ${timer}` : kind === "ingress" ? "outside" : kind;
}

function tile(name) {
  const value = make("p", { class: "value" }, "…");
  const about = make("p", { class: "about" }, " ");
  const spark = draw("svg", { class: "spark", viewBox: "0 0 240 40", preserveAspectRatio: "none", "aria-hidden": "true" });
  return { element: make("section", { class: "tile" }, make("h2", {}, name), value, about, spark), value, about, spark };
}

/** One look at the host, beside the one before. */
function measure(status, recent, latency) {
  const sum = (name) => status.partitions.reduce((total, one) => total + Number(one[name] ?? 0), 0);
  const names = ["durable", "checkpointed", "view_bytes", "queued", "scheduled", "dead", "running", "transactions", "appends", "checkpoints"];
  const sample = { at: performance.now(), up: status.uptime_ms, ...Object.fromEntries(names.map((name) => [name, sum(name)])) };
  const before = past.samples.at(-1);
  // A host that was started again counts from zero, and after a rest the rate would be of the rest.
  const goes = before && sample.up > before.up && sample.transactions >= before.transactions;
  const seconds = goes ? (sample.up - before.up) / 1000 : 0;
  sample.rate = goes ? (sample.transactions - before.transactions) / seconds : undefined;
  sample.appendRate = goes ? (sample.appends - before.appends) / seconds : undefined;
  const horizon = recent?.turns.length ? recent.turns[0].at_ms - 10000 : 0;
  const times = (recent?.turns ?? []).filter((turn) => turn.at_ms >= horizon).map((turn) => turn.took_us).sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
  sample.turns = times.length ? { p50: at(0.5), p95: at(0.95), p99: at(0.99), of: times.length } : undefined;
  sample.buckets = latency;
  const from = goes ? past.samples.slice(-LATENCY_SAMPLES).find((one) => one.buckets && one.up < sample.up) : undefined;
  sample.times = latency ? from && quantiles(from.buckets, latency) : sample.turns;
  past.samples.push(sample);
  past.samples.splice(0, past.samples.length - SAMPLES);
  return sample;
}

/** Requests of clients by the bound of their latency, in seconds, as Prometheus would read them. */
async function buckets(signal) {
  const answer = await raw("GET", "/metrics", { signal });
  if (!answer.ok) return undefined;
  const counts = new Map();
  for (const [, labels, number] of (await answer.text()).matchAll(/^keystead_request_seconds_bucket\{([^}]*)\} ([0-9]+)/gm)) {
    const bound = /(?:^|,)le="([^"]*)"/.exec(labels)?.[1];
    const kind = /(?:^|,)kind="([^"]*)"/.exec(labels)?.[1];
    if (!["call", "send", "read"].includes(kind)) continue;
    const key = bound === "+Inf" ? Infinity : Number(bound);
    counts.set(key, (counts.get(key) ?? 0) + Number(number));
  }
  return [...counts].sort(([a], [b]) => a - b);
}

/** Between two looks, in microseconds: within a bucket, evenly. */
function quantiles(before, now) {
  const old = new Map(before);
  const counts = now.map(([bound, number]) => [bound, number - (old.get(bound) ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return undefined;
  const at = (share) => {
    let [below, fewer] = [0, 0];
    for (const [bound, number] of counts) {
      if (number >= all * share) return Math.round((bound === Infinity ? below : below + (bound - below) * ((all * share - fewer) / Math.max(1, number - fewer))) * 1e6);
      [below, fewer] = [bound, number];
    }
    return Math.round(below * 1e6);
  };
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), of: all };
}

function show(tiles, sample) {
  const set = (one, value, about, values) => {
    say(one.value, value);
    say(one.about, about || " ");
    sparkline(one.spark, values);
  };
  const all = (pick) => past.samples.map(pick);
  const most = Math.max(0, ...all((one) => one.rate ?? 0));
  set(tiles.rate, sample.rate === undefined ? "…" : rate(sample.rate), `most in two minutes: ${rate(most)}`, all((one) => one.rate ?? 0));
  const times = sample.times;
  set(tiles.time, micros(times?.p50), times ? `95 %: ${micros(times.p95)}, 99 %: ${micros(times.p99)}` : sample.buckets ? "no request lately" : "no turn yet", all((one) => one.times?.p50 ?? 0));
  set(tiles.position, count(sample.durable), sample.appendRate === undefined ? "" : `${rate(sample.appendRate)} appends a second`, all((one) => one.appendRate ?? 0));
  set(tiles.lag, count(Math.max(0, sample.durable - sample.checkpointed)), `positions; ${bytes(sample.view_bytes)} in memory`, all((one) => Math.max(0, one.durable - one.checkpointed)));
  set(tiles.queued, count(sample.queued), "in mailboxes, or backing off", all((one) => one.queued));
  set(tiles.scheduled, count(sample.scheduled), "timers and delayed messages", all((one) => one.scheduled));
  set(tiles.running, count(sample.running), "guest calls", all((one) => one.running));
  tiles.dead.element.classList.toggle("bad", sample.dead > 0);
  set(tiles.dead, count(sample.dead), "", all((one) => one.dead));
  tiles.dead.about.replaceChildren(sample.dead > 0 ? link("#/dead", "look at them") : "none");
}

function sparkline(svg, values) {
  const most = Math.max(1, ...values);
  const left = SAMPLES - values.length;
  const points = values.map((value, at) => `${((left + at) / (SAMPLES - 1)) * 240},${(37 - (value / most) * 34).toFixed(1)}`);
  if (points.length < 2) return;
  const [line, fill] = svg.children.length ? svg.children : [draw("polyline", { class: "line" }), draw("polygon", { class: "area" })];
  if (!svg.children.length) svg.append(line, fill);
  line.setAttribute("points", points.join(" "));
  fill.setAttribute("points", `${points[0].split(",")[0]},40 ${points.join(" ")} 240,40`);
}
