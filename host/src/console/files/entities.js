// Entities: found by app, type and the beginning of their key; one with its state, what it has pending, what it did
// lately, and what an operator may do to it.

import { ask, can, every, get, takes, Problem } from "./api.js";
import { button, code, confirm, count, empty, failure, field, heading, input, link, make, moment, note, part, say, section, select, span, table } from "./dom.js";
import { turnsTable } from "./overview.js";
import { indent, isJson } from "./schema.js";
import { member } from "./tree.js";

const ENTITY = "/admin/v1/entities/{app}/{type}/{key}";
const ROWS = 50;

export async function entities(page) {
  const [app, type, ...key] = page.parts;
  return key.length ? one(page, app, type, key.join("/")) : list(page, app, type);
}

async function list({ place, query, signal }, app, type) {
  const { apps } = await get("/admin/v1/apps", signal);
  place.append(heading("Entities"));
  const kinds = apps.flatMap((one) => one.types.map((kind) => `${one.app}/${kind}`));
  if (app && type && !kinds.includes(`${app}/${type}`)) kinds.push(`${app}/${type}`);
  if (!kinds.length) {
    place.append(empty("No app is deployed, so there are no entities. Deploy one: ", code("keystead deploy FILE --app APP"), "."));
    return;
  }
  const chosen = app && type ? `${app}/${type}` : kinds.find((kind) => kind.startsWith(`${app}/`)) ?? kinds[0];
  const prefix = query.get("prefix") ?? "";
  const kind = select(kinds, chosen);
  const begins = input({ type: "search", value: prefix, placeholder: "any" });
  const form = make("form", { class: "row fields", role: "search" }, field("Type", kind), field("Keys that begin with", begins), make("button", { type: "submit" }, "Show"));
  const go = (event) => {
    event?.preventDefault();
    const wanted = begins.value ? `?prefix=${encodeURIComponent(begins.value)}` : "";
    location.hash = `#/entities/${kind.value.split("/").map(part).join("/")}${wanted}`;
  };
  form.addEventListener("submit", go);
  kind.addEventListener("change", go);
  const rows = table(`Entities of ${chosen}`, [
    { name: "key", value: (one) => link(`#/entities/${[...chosen.split("/"), keyOf(one)].map(part).join("/")}`, keyOf(one)) },
    { name: "version", number: true, value: (one) => count(one.version) },
    { name: "waiting", number: true, value: (one) => (one.mailbox ? count(one.mailbox) : "") },
  ]);
  const found = make("section", { class: "card" }, make("p", { class: "soft" }, "…"));
  place.append(form, found);
  const all = [];
  const more = async (after) => {
    const next = after === undefined ? "" : `&after=${encodeURIComponent(after)}`;
    const path = `/admin/v1/entities/${chosen.split("/").map(part).join("/")}?limit=${ROWS}&prefix=${encodeURIComponent(prefix)}${next}`;
    const page = await get(path, signal);
    all.push(...page.entities);
    if (!all.length) {
      const [ofApp, ofType] = chosen.split("/");
      found.replaceChildren(prefix ? empty("No key begins with ", code(prefix), ".") : empty("There are none of this type yet: an entity begins with its first command. ", link(`#/try/${part(ofApp)}/${part(ofType)}`, "Try one"), "."));
      return;
    }
    rows.set(all, (one) => one.entity);
    const left = page.next === null || page.next === undefined ? make("p", { class: "soft" }, `${count(all.length)} shown, that is all`)
      : make("div", { class: "row" }, button(`${ROWS} more`, () => more(page.next), { class: "quiet" }), make("span", { class: "soft" }, `${count(all.length)} shown`));
    const focused = found.contains(document.activeElement);
    found.replaceChildren(rows.element, left);
    if (focused) (left.querySelector("button") ?? rows.element).focus();
  };
  try {
    await more();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    found.replaceChildren(failure(error));
  }
}

function keyOf(row) {
  return row.entity.split("/").slice(2).join("/");
}

async function one({ place, signal }, app, type, key) {
  const path = `/admin/v1/entities/${part(app)}/${part(type)}/${part(key)}`;
  const facts = make("dl", { class: "facts" });
  const fact = (name) => {
    const value = make("dd");
    facts.append(make("div", {}, make("dt", {}, name), value));
    return value;
  };
  const [version, waiting, pausedSince] = ["version", "waiting", "paused"].map(fact);
  pausedSince.parentElement.hidden = true;
  const actions = make("div", { class: "row" });
  const state = make("div");
  const timers = make("div");
  const history = make("div");
  place.append(heading(key, make("span", { class: "soft mono" }, `${app}/${type}`), link(`#/entities/${part(app)}/${part(type)}`, "all of this type")),
    make("section", { class: "card" }, facts, actions), section("State", state), section("Timers", timers));
  if (can("POST /admin/v1/try/{app}/{type}/{key}/{handler}")) actions.append(make("a", { class: "button", href: `#/try/${part(app)}/${part(type)}?key=${encodeURIComponent(key)}` }, "Try a handler"));
  operations(actions, { path, app, type, key, refresh: () => look(), known: () => shown });
  if (can(`GET ${ENTITY}/history`)) {
    place.append(section("Recent transactions", history));
    await turns(history, path, signal);
  }
  let shown;
  let drawn;
  const look = async () => {
    let info;
    try {
      info = await get(path, signal);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      info = { version: 0, mailbox: 0 };
    }
    shown = info;
    say(version, count(info.version));
    say(waiting, info.mailbox ? `${count(info.mailbox)} commands` : "nothing");
    pausedSince.parentElement.hidden = !info.paused;
    if (info.paused) say(pausedSince, "yes: commands wait until it is resumed");
    const now = JSON.stringify([info.version, info.state, info.timers]);
    if (now === drawn) return;
    const open = drawn !== undefined && state.querySelector(".state")
      ? new Set([...state.querySelectorAll("details[open][data-field]")].map((box) => box.dataset.field)) : undefined;
    drawn = now;
    state.replaceChildren(info.state?.length ? grouped(info.state, open)
      : empty(info.version ? "It keeps nothing." : "There is no such entity yet: it begins with its first command."));
    showTimers(timers, info.timers ?? []);
  };
  await every(2000, signal, look);
}

function showTimers(place, timers) {
  if (!timers.length) return place.replaceChildren(empty("None is set."));
  const rows = table("Timers", [
    { name: "name", value: (one) => code(one.name) },
    { name: "calls", value: (one) => code(one.handler) },
    { name: "due", value: (one) => (one.due_ms ? [moment(one.due_ms, true), ` (${one.due_ms > Date.now() ? `in ${span(one.due_ms - Date.now())}` : "now"})`] : "now") },
  ]);
  rows.set(timers, (one) => one.name);
  place.replaceChildren(rows.element);
}

async function turns(place, path, signal) {
  const rows = turnsTable("Recent transactions", false);
  const more = button("Older", async () => {
    const page = await get(`${path}/history?limit=${ROWS}&after=${older}`, signal);
    all.push(...page.turns);
    older = page.next;
    draw();
  }, { class: "quiet" });
  let all = [];
  let older;
  const draw = () => {
    rows.set(all, (one) => one.number);
    more.hidden = older === null || older === undefined;
  };
  const since = make("p", { class: "soft" });
  place.append(rows.element, since, more);
  await every(2000, signal, async () => {
    const page = await get(`${path}/history?limit=${ROWS}`, signal);
    const newest = all.length ? all[0].number : 0;
    const fresh = page.turns.filter((turn) => turn.number > newest);
    // A host that was started again begins at one; then, and when it overtook this page, begin anew.
    const gap = !all.length || fresh.length === page.turns.length || !page.turns.length;
    all = gap ? page.turns : [...fresh, ...all].slice(0, 20 * ROWS);
    if (gap) older = page.next;
    rows.element.hidden = all.length === 0;
    since.replaceChildren(all.length ? "Remembered since " : "None since ", moment(page.since_ms, true), all.length ? "." : ". They are kept in memory, until a restart.");
    draw();
  });
}

// State: rows of one field stand together.

const KINDS = { m: "map", l: "list", v: "value", a: "activities", r: "reservations", s: "saga" };

/** Rows as the SDK writes them (`m/NAME/KEY`), by field; rows of other authors as they are. */
function grouped(rows, open) {
  const place = make("div", { class: "tree state" });
  const groups = new Map();
  for (const row of rows) {
    const { field: name, kind, key } = placed(row.key);
    const group = groups.get(name) ?? { kind, rows: [] };
    group.rows.push({ key, value: row.value });
    groups.set(name, group);
  }
  // Plain fields first, as an author would write them.
  const order = [...groups].sort(([a], [b]) => Number(b === FIELDS) - Number(a === FIELDS));
  for (const [name, { kind, rows: own }] of order) {
    const only = own.length === 1 && own[0].key === undefined;
    if (only && !kind && own[0].value !== null && typeof own[0].value === "object" && !Array.isArray(own[0].value) && name === FIELDS) {
      for (const [field, value] of Object.entries(own[0].value)) place.append(member(field, value));
    } else if (only) place.append(member(name, own[0].value, 1, kind && ` ${kind}`));
    else place.append(group(name, kind, own, open));
  }
  return place;
}

/** Where the SDK keeps plain fields. */
const FIELDS = "self";

function group(name, kind, rows, open) {
  const entries = rows.filter((row) => row.key !== undefined);
  const list = make("div", { class: "rows" });
  const box = make("details", { "data-field": name, open: open ? open.has(name) : rows.length <= 50 },
    make("summary", {}, make("span", { class: "key" }, name), make("span", { class: "hint" }, ` ${kind ?? "rows"}`), make("span", { class: "soft" }, ` [${count(entries.length)}]`)), list);
  const fill = () => {
    if (!box.open || list.children.length) return;
    for (const row of entries) list.append(member(row.key, row.value, 0));
  };
  box.addEventListener("toggle", fill);
  fill();
  return box;
}

function placed(key) {
  const bytes = key.startsWith("hex:") ? unhex(key.slice(4)) : new TextEncoder().encode(key);
  const text = (part) => new TextDecoder("utf-8").decode(part);
  const kind = KINDS[String.fromCharCode(bytes[0] ?? 0)];
  if (!kind || bytes[1] !== 47) return { field: key };
  const end = bytes.indexOf(47, 2);
  if (end < 0) return { field: text(bytes.slice(2)), kind };
  return { field: text(bytes.slice(2, end)), kind, key: keyText(bytes.slice(end + 1), kind) };
}

function unhex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (two) => parseInt(two, 16));
}

/** A row's own key: a list's position, text, text before text, numbers, or else its bytes. */
function keyText(bytes, kind) {
  if (kind === "list" && bytes.length === 8) return String(number(bytes));
  const text = asText(bytes);
  if (text !== undefined) return text;
  if ([1, 2, 4, 8, 16].includes(bytes.length)) return String(number(bytes));
  // A tuple's members that are text end with a zero.
  const end = bytes.indexOf(0);
  const first = end > 0 ? asText(bytes.slice(0, end)) : undefined;
  if (first !== undefined) return end + 1 === bytes.length ? first : `${first}, ${keyText(bytes.slice(end + 1))}`;
  return `0x${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function asText(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return /[\u0000-\u001f\u007f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

function number(bytes) {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

// What an operator may do, where the host has a route for it.

function operations(place, { path, app, type, key, refresh, known }) {
  const name = `${app}/${type}/${key}`;
  const run = async (method, to, options, done) => {
    try {
      await ask(method, to, options);
      note(done);
      await refresh();
    } catch (error) {
      note(error.message, true);
    }
  };
  const add = (words, work, danger) => place.append(button(words, work, { class: danger ? "danger quiet" : "quiet" }));
  if (can(`POST ${ENTITY}/pause`)) {
    add("Pause", async () => {
      const sure = await confirm(`Pause ${name}?`, "Commands and messages for it wait, durably, until it is resumed. Queries go on.", "Pause", { danger: false });
      if (sure) await run("POST", `${path}/pause`, {}, `${name} is paused.`);
    });
  }
  if (can(`POST ${ENTITY}/resume`)) add("Resume", () => run("POST", `${path}/resume`, {}, `${name} goes on.`));
  if (can(`PUT ${ENTITY}`)) add("Edit state…", () => edit(name, path, known(), run));
  if (can(`DELETE ${ENTITY}`)) {
    add("Remove…", async () => {
      const sure = await confirm(`Remove ${name}?`, ["Its state, its timers and all that waits for it are deleted, in one transaction. This cannot be undone.",
        "Messages that come later begin a new entity of the same key."], "Remove it");
      const all = takes(`DELETE ${ENTITY}`, "all") ? "?all=true" : "";
      if (sure) await run("DELETE", path + all, {}, `${name} is removed.`);
    }, true);
  }
}

async function edit(name, path, info, run) {
  const text = make("textarea", { spellcheck: false, rows: 16, class: "mono", required: true, value: indent(JSON.stringify(info?.state ?? [])) });
  const wrong = make("p", { class: "failure", role: "alert", hidden: true });
  text.addEventListener("input", () => {
    wrong.hidden = isJson(text.value);
    say(wrong, "This is no JSON.");
    text.setCustomValidity(wrong.hidden ? "" : "no JSON");
  });
  const sure = await confirm(`Edit ${name}`, [`Its rows are replaced by these, if it is still at version ${info?.version ?? 0}. No handler checks them.`], "Replace its state", { fields: [field("Rows", text), wrong] });
  if (!sure) return;
  const version = takes(`PUT ${ENTITY}`, "if-version") ? `?if-version=${info?.version ?? 0}` : takes(`PUT ${ENTITY}`, "if_version") ? `?if_version=${info?.version ?? 0}` : "";
  await run("PUT", path + version, { body: `{"state": ${text.value}}`, headers: { "Content-Type": "application/json" } }, `${name} has new state.`);
}
