// Entities: found by app, type and the beginning of their key; one with its state, its activities and sagas, what it has
// pending, what it did lately, and what an operator may do to it.

import { ask, can, every, get, Problem, refused } from "./api.js";
import { badge, button, code, confirm, count, empty, entityLink, failure, field, fill, heading, input, lacking, link, make, messageLink, moment, note, part, say, section, select, span, table } from "./dom.js";
import { turnsTable } from "./overview.js";
import { indent, isJson } from "./schema.js";
import { activitiesOf, activitiesTable, fieldsOf, grouped, sagaCard, sagasOf, underWay } from "./state.js";

const ENTITY = "/admin/v1/entities/{app}/{type}/{key}";
const MESSAGES = "GET /admin/v1/messages";
const ROWS = 50;
/** Pages of messages that are looked through for one entity. */
const STEPS = 4;

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
    { name: "", value: (one) => (one.paused ? badge("paused") : "") },
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
  const entity = `${app}/${type}/${key}`;
  const facts = make("dl", { class: "facts" });
  const fact = (name) => {
    const value = make("dd");
    facts.append(make("div", {}, make("dt", {}, name), value));
    return value;
  };
  const [version, waiting, pausedSince] = ["version", "waiting", "paused"].map(fact);
  pausedSince.parentElement.hidden = true;
  const actions = make("div", { class: "row" });
  const [state, activities, sagas, timers, waits, sending, history] = Array.from({ length: 7 }, () => make("div"));
  const fields = await described(app, type, signal);
  const kinds = new Set([...fields.values()].map((field) => field.kind));
  const why = refused([["pause", "PUT /admin/v1/pauses"], ["resume", "DELETE /admin/v1/pauses"], ["edit", `PUT ${ENTITY}`], ["remove", `DELETE ${ENTITY}`]], app, " it");
  place.append(heading(key, make("span", { class: "soft mono" }, `${app}/${type}`), link(`#/entities/${part(app)}/${part(type)}`, "all of this type")),
    make("section", { class: "card" }, facts, actions, why ? lacking(why) : ""), section("State", state),
    kinds.has("activities") ? section("Activities", activities) : "", kinds.has("saga") ? section("Sagas", sagas) : "", section("Timers", timers),
    ...(can(MESSAGES) ? [section("Waiting for it", waits), section("Sent by it, under way", sending)] : []));
  if (can("POST /admin/v1/try/{app}/{type}/{key}/{handler}", app)) actions.append(make("a", { class: "button", href: `#/try/${part(app)}/${part(type)}?key=${encodeURIComponent(key)}` }, "Try a handler"));
  const showPaused = operations(actions, { path, app, type, key, refresh: () => look(), known: () => shown });
  const filter = `app=${encodeURIComponent(app)}&type=${encodeURIComponent(type)}&key=${encodeURIComponent(key)}`;
  const showWaiting = can(MESSAGES) ? messages(waits, filter, "Nothing waits for it.", true, () => look()) : undefined;
  const showSent = can(MESSAGES) ? messages(sending, `sender=${encodeURIComponent(entity)}`, "Nothing that it sent is under way.", false, () => look()) : undefined;
  const showTimers = timersOf(timers, path, () => look());
  const known = activitiesTable(app);
  place.append(section("Recent transactions", history));
  await turns(history, path, signal);
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
    const pending = [info.mailbox ? counted(info.mailbox, "command") : "", info.callbacks ? counted(info.callbacks, "callback") : "", info.delayed ? `${counted(info.delayed, "delayed message")} of its own` : ""].filter(Boolean);
    say(waiting, pending.join(", ") || "nothing");
    pausedSince.parentElement.hidden = !info.paused;
    if (info.paused) say(pausedSince, "yes: commands wait until it is resumed");
    showPaused(Boolean(info.paused));
    await showWaiting?.(signal);
    const sent = (await showSent?.(signal)) ?? [];
    const rows = info.state ?? [];
    known.set(activitiesOf(rows, fields), sent);
    if (known.element.querySelector("td")) fill(activities, known.element);
    else activities.replaceChildren(empty("It knows of nobody yet."));
    const going = sagasOf(rows, fields);
    if (!sagas.contains(document.activeElement)) sagas.replaceChildren(...(going.length ? going.map((saga) => sagaCard(app, saga, sent)) : [empty("None was started.")]));
    showTimers((info.timers ?? []).map((timer) => ({ ...timer, app })));
    const now = JSON.stringify([info.version, info.state, info.removed]);
    if (now === drawn) return;
    const open = drawn !== undefined && state.querySelector(".state")
      ? new Set([...state.querySelectorAll("details[open][data-field]")].map((box) => box.dataset.field)) : undefined;
    drawn = now;
    const tree = grouped(rows, fields, open);
    state.replaceChildren(tree.children.length ? tree
      : empty(info.removed ? "It was removed; its next command begins it anew." : !info.version ? "There is no such entity yet: it begins with its first command."
        : rows.length ? "All that it keeps is below." : "It keeps nothing."));
    if (info.more_state) state.append(make("p", { class: "remark" }, "There is more state than is shown."));
  };
  await every(2000, signal, look);
}

/** What its component says of its fields; nothing when the app is gone. */
async function described(app, type, signal) {
  try {
    const { contract, ramp } = await get(`/admin/v1/apps/${part(app)}`, signal);
    return fieldsOf([contract, ramp?.contract].filter(Boolean), type);
  } catch (error) {
    if (error.status !== 404) throw error;
    return new Map();
  }
}

function counted(number, what) {
  return `${count(number)} ${what}${number === 1 ? "" : "s"}`;
}

/** Gives what shows its timers. */
function timersOf(place, path, refresh) {
  const cancel = async (one) => {
    if (!(await confirm(`Cancel the timer ${one.name}?`, `${one.handler} will not be called by it. The entity is not told.`, "Cancel the timer"))) return;
    try {
      await ask("DELETE", `${path.replace("/entities/", "/timers/")}?name=${encodeURIComponent(one.name)}`);
      note("Cancelled.");
    } catch (error) {
      note(error.message, true);
    }
    await refresh();
  };
  const rows = table("Timers", [
    { name: "name", value: (one) => code(one.name) },
    { name: "calls", value: (one) => code(one.handler) },
    { name: "due", value: (one) => (one.due_ms ? [moment(one.due_ms, true), ` (${one.due_ms > Date.now() ? `in ${span(one.due_ms - Date.now())}` : "now"})`] : "now"), same: (one) => [one, Math.floor(Date.now() / 1000)] },
    { name: "", value: (one) => (can("DELETE /admin/v1/timers/{app}/{type}/{key}", one.app) ? button("Cancel…", () => cancel(one), { class: "quiet", "aria-label": `Cancel the timer ${one.name}…` }) : "") },
  ]);
  return (timers) => {
    rows.set(timers, (one) => `${one.name} ${one.due_ms}`);
    if (timers.length) fill(place, rows.element);
    else place.replaceChildren(empty("None is set."));
  };
}

async function turns(place, path, signal) {
  const rows = turnsTable("Recent transactions", false);
  const more = button("Older", async () => {
    const page = await get(`${path}/history?limit=${ROWS}&after=${older}`, signal);
    all.push(...page.turns);
    older = page.next;
    draw();
  }, { class: "quiet", hidden: true });
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

// What an operator may do, where the host has a route for it.

function operations(place, { path, app, type, key, refresh, known }) {
  const name = `${app}/${type}/${key}`;
  const scope = `/admin/v1/pauses?app=${encodeURIComponent(app)}&type=${encodeURIComponent(type)}&key=${encodeURIComponent(key)}`;
  const run = async (method, to, options, done) => {
    try {
      await ask(method, to, options);
      note(done);
      await refresh();
    } catch (error) {
      note(error.message, true);
    }
  };
  const add = (words, work, danger) => {
    const one = button(words, work, { class: danger ? "danger quiet" : "quiet" });
    place.append(one);
    return one;
  };
  let pause;
  let resume;
  if (can("PUT /admin/v1/pauses")) {
    pause = add("Pause…", async () => {
      const sure = await confirm(`Pause ${name}?`, "Commands and messages for it wait, durably, until it is resumed. Queries go on.", "Pause it", { danger: false });
      if (sure) await run("PUT", scope, {}, `${name} is paused.`);
    });
    resume = add("Resume", () => run("DELETE", scope, {}, `${name} goes on.`));
  }
  if (can(`PUT ${ENTITY}`, app)) add("Edit state…", () => edit(name, path, known(), refresh));
  if (can(`DELETE ${ENTITY}`, app)) {
    add("Remove…", async () => {
      const sure = await confirm(`Remove ${name}?`, ["Its state, its timers, all that waits for it and its dead letters are deleted, in one transaction. This cannot be undone.",
        "Messages that come later begin a new entity of the same key."], "Remove it");
      if (sure) await run("DELETE", path, {}, `${name} is removed.`);
    }, true);
  }
  return (paused) => {
    if (pause) [pause.hidden, resume.hidden] = [paused, !paused];
  };
}

async function edit(name, path, info, refresh) {
  const text = make("textarea", { spellcheck: false, rows: 16, required: true, value: indent(JSON.stringify(info?.state ?? [])) });
  const wrong = make("p", { class: "failure", role: "alert", hidden: true });
  text.addEventListener("input", () => {
    wrong.hidden = isJson(text.value);
    say(wrong, "This is no JSON.");
    text.setCustomValidity(wrong.hidden ? "" : "This is no JSON.");
  });
  const version = info?.version ? info.version : "absent";
  const write = () => ask("PUT", `${path}?if_version=${version}`, { body: `{"state": ${text.value}}`, headers: { "Content-Type": "application/json" } });
  const sure = await confirm(`Edit ${name}`, `Its rows are replaced by these, if it is still as it was shown (version ${version}). No handler checks them.`, "Replace its state", { fields: [field("Rows", text), wrong], run: write });
  if (!sure) return;
  note(`${name} has new state.`);
  await refresh();
}

/** Messages of a filter that wait: those for the entity, or those that it sent. Gives what shows them, which gives them. */
function messages(place, filter, none, incoming, refresh) {
  const rows = table(incoming ? "Waiting messages" : "Messages that it sent", [
    incoming ? null : { name: "for", value: (one) => entityLink(one.entity) },
    { name: "handler", value: (one) => code(one.handler) },
    { name: "stage", value: (one) => underWay(one), same: (one) => [one, Math.floor(Date.now() / 1000)] },
    incoming ? { name: "from", value: (one) => (one.sender ? entityLink(one.sender) : one.timer ? `timer ${one.timer}` : one.origin === "send" ? "outside" : one.origin) }
      : { name: "its end", value: (one) => (one.answers ? "is told to it" : "") },
    { name: "message", value: (one) => messageLink(one.id, "journey") },
    { name: "", value: (one) => (can("DELETE /admin/v1/messages/{id}") && one.stage !== "running" && one.origin !== "timer" && one.origin !== "callback" ? button("Cancel…", () => cancel(one), { class: "quiet" }) : "") },
  ].filter(Boolean));
  const cancel = async (one) => {
    if (!(await confirm(`Cancel ${one.handler}?`, ["The message is deleted before it runs. A sender that waits for it is told that it was cancelled."], "Cancel the message"))) return;
    try {
      await ask("DELETE", `/admin/v1/messages/${part(one.id)}`);
      note("Cancelled.");
    } catch (error) {
      note(error.message, true);
    }
    await refresh();
  };
  return async (signal) => {
    const found = [];
    let next = "";
    // A page may be short and have a next one: the host looks through a bounded number of messages at a time.
    for (let step = 0; step < STEPS && next !== null && found.length < ROWS; step++) {
      const page = await get(`/admin/v1/messages?${filter}&limit=${ROWS}${next && `&after=${encodeURIComponent(next)}`}`, signal);
      found.push(...page.messages);
      next = page.next ?? null;
    }
    rows.set(found, (one) => one.id);
    if (!found.length) place.replaceChildren(empty(none));
    else fill(place, rows.element);
    place.querySelector(".more")?.remove();
    if (next !== null) place.append(make("p", { class: "soft more" }, "There may be more: the host has many messages, and these are the first."));
    return found;
  };
}
