// An entity's rows as its author knows them: plain fields, maps and lists, activities, sagas. What a row is comes from the
// component's own description of its fields. Invariant: a row that the description does not speak of is shown as it is,
// whatever its key looks like.

import { badge, button, code, count, entityLink, make, messageLink, moment, span, table } from "./dom.js";
import { member } from "./tree.js";

/** What the SDK puts before a field's name, by the field's kind. */
const LETTERS = { m: "map", l: "list", v: "value", a: "activities", r: "reservations", s: "saga" };
/** Where it keeps plain fields. */
const PLAIN = "self";
const SLASH = 47;

/** The fields of a type by name, over the versions that are served: each reads what the other writes. */
export function fieldsOf(contracts, type) {
  const fields = new Map();
  for (const { entities } of contracts) {
    for (const [name, field] of Object.entries(entities.find((one) => one.type === type)?.state?.fields ?? {})) {
      if (!fields.has(name)) fields.set(name, field);
    }
  }
  return fields;
}

/** A row's field and its key within that; nothing when it is of no field. */
function placed(row, fields) {
  const bytes = row.key.startsWith("hex:") ? unhex(row.key.slice(4)) : new TextEncoder().encode(row.key);
  const kind = LETTERS[String.fromCharCode(bytes[0] ?? 0)];
  if (!kind || bytes[1] !== SLASH) return undefined;
  const end = bytes.indexOf(SLASH, 2);
  const name = asText(bytes.slice(2, end < 0 ? bytes.length : end));
  const field = fields.get(name);
  if (field?.kind !== kind) return undefined;
  return { name, field, rest: end < 0 ? undefined : bytes.slice(end + 1), value: row.value };
}

/** Rows by field, plain ones first, without activities and sagas, which have tables of their own. */
export function grouped(rows, fields, open) {
  const place = make("div", { class: "tree state" });
  const groups = new Map();
  const others = [];
  const hasPlain = [...fields.values()].some((field) => field.kind === "plain");
  for (const row of rows) {
    if (row.key === PLAIN && hasPlain && isObject(row.value)) {
      for (const [name, value] of Object.entries(row.value)) place.append(member(name, value));
      continue;
    }
    const at = placed(row, fields);
    if (!at) others.push(row);
    else if (at.field.kind === "value") groups.set(at.name, { ...at, alone: true });
    else if (at.field.kind !== "saga" && at.field.kind !== "activities") {
      const group = groups.get(at.name) ?? { ...at, entries: [] };
      // A list's length stands beside its members.
      if (at.rest) group.entries.push({ key: keyText(at.rest, at.field), value: at.value });
      groups.set(at.name, group);
    }
  }
  for (const [name, { field, alone, value, entries }] of groups) place.append(alone ? member(name, value, 1, " value") : group(name, field.kind, entries, open));
  if (others.length) place.append(paged(others, (row) => member(row.key, row.value, others.length <= FEW ? 1 : 0)));
  return place;
}

/** Rows that are shown open. */
const FEW = 20;
/** Rows that are shown before somebody asks for more. */
const PAGE = 100;

/** A list of rows, a page of them at a time. */
function paged(rows, show) {
  const list = make("div", { class: "rows" });
  const more = (from) => {
    list.append(...rows.slice(from, from + PAGE).map(show));
    const left = rows.length - from - PAGE;
    if (left <= 0) return;
    const next = button(`${count(left)} more`, () => {
      next.remove();
      more(from + PAGE);
      list.children[from + PAGE]?.querySelector("summary")?.focus();
    }, { class: "quiet" });
    list.append(next);
  };
  more(0);
  return list;
}

function group(name, kind, entries, open) {
  const box = make("details", { "data-field": name, open: open ? open.has(name) : entries.length <= 50 },
    make("summary", {}, make("span", { class: "key" }, name), make("span", { class: "hint" }, ` ${kind}`), make("span", { class: "soft" }, ` [${count(entries.length)}]`)));
  const fill = () => {
    if (box.open && box.children.length === 1) box.append(paged(entries, (row) => member(row.key, row.value, 0)));
  };
  box.addEventListener("toggle", fill);
  fill();
  return box;
}

// Activities: what it knows of each one that it deals with.

/** One for each partner, in order of the fields. */
export function activitiesOf(rows, fields) {
  const found = rows.map((row) => placed(row, fields)).filter((at) => at?.field.kind === "activities" && at.rest && isObject(at.value));
  return found.map(({ name, rest, value }) => ({ name, ...partner(rest), ...value, open: "state" in value }));
}

function partner(bytes) {
  const rest = bytes.slice(1);
  if (bytes[0] === 111) return { partner: asText(rest) ?? hex(rest) };
  // An entity: its type, a zero, its key.
  const end = rest.indexOf(0);
  const [kind, key] = [asText(rest.slice(0, end)), asText(rest.slice(end + 1))];
  return bytes[0] === 101 && end > 0 && kind !== undefined && key !== undefined ? { entity: `${kind}/${key}`, partner: `${kind}/${key}` } : { partner: hex(bytes) };
}

/** A table of them; `sent` are the messages of this entity that wait. */
export function activitiesTable(app) {
  const shown = table("Activities", [
    { name: "with", value: ({ row }) => (row.entity ? entityLink(`${app}/${row.entity}`) : make("span", { class: "mono" }, row.partner)) },
    { name: "field", value: ({ row }) => code(row.name) },
    { name: "state", value: ({ row }) => badge(row.open ? "open" : "closed") },
    { name: "what is known", value: ({ row }) => (row.open ? make("div", { class: "tree" }, isObject(row.state) && Object.keys(row.state).length ? Object.entries(row.state).map(([name, value]) => member(name, value, 0)) : member("state", row.state)) : "") },
    { name: "heard of", value: ({ row }) => (row.seen ? moment(Number(row.seen), true) : "never") },
    { name: "sent", number: true, value: ({ row }) => count(row.sent ?? 0) },
    { name: "accepted", number: true, value: ({ row }) => count(row.accepted ?? 0) },
    { name: "under way", value: ({ waits }) => (waits.length ? make("ul", { class: "members" }, waits.map((one) => make("li", {}, messageLink(one.id, one.handler), " ", underWay(one)))) : ""), same: ({ waits }) => [waits, waits.length && Math.floor(Date.now() / 1000)] },
  ]);
  return {
    element: shown.element,
    set: (rows, sent) => shown.set(rows.map((row) => ({ row, waits: row.entity ? sent.filter((one) => one.entity === `${app}/${row.entity}`) : [] })), ({ row }) => `${row.name} ${row.partner}`),
  };
}

/** Where a message that waits is, for how long it has been on its way, and how often it failed. */
export function underWay(one) {
  const late = one.due_ms > Date.now() ? `, ${one.stage === "scheduled" ? "due" : "again"} in ${span(one.due_ms - Date.now())}` : "";
  const tried = one.attempts ? `, ${count(one.attempts)} failed ${one.attempts === 1 ? "attempt" : "attempts"}` : "";
  return [badge(one.stage), make("span", { class: "soft" }, ` since ${span(Date.now() - one.sent_at_ms)}${tried}${late}`)];
}

// Sagas: how far each one is.

export function sagasOf(rows, fields) {
  const found = rows.map((row) => placed(row, fields)).filter((at) => at?.field.kind === "saga" && !at.rest && isObject(at.value));
  return found.map(({ name, value }) => ({ name, ...value }));
}

/** One saga: its phase, its steps with where each one is, and what failed. */
export function sagaCard(app, saga, sent) {
  const phase = isObject(saga.phase) ? "stuck" : saga.phase;
  const steps = saga.steps ?? [];
  const failed = saga.failed ? steps.findIndex((step) => step.name === saga.failed.step) : -1;
  const status = (step, at) => {
    if (phase === "running") return at < saga.at ? "done" : at === saga.at ? "running" : "to come";
    if (at === failed) return "failed";
    if (failed >= 0 && at > failed) return "left out";
    if (at === saga.at) return phase === "stuck" ? "stuck" : "undoing";
    if (at < saga.at) return "done";
    return saga.given_up?.includes(step.name) ? "not undone" : step.undo ? "undone" : "kept";
  };
  const item = (step, at) => {
    const word = status(step, at);
    const call = word === "undoing" || word === "stuck" ? step.undo : step.call;
    const to = call ? `${app}/${call.to.kind}/${call.to.key}` : undefined;
    const waits = at === saga.at ? sent.find((one) => one.answers && one.entity === to && one.handler === call.handler) : undefined;
    return make("li", { class: "row" }, make("strong", {}, step.name), badge(word), call ? [code(call.handler), entityLink(to)] : null,
      waits ? make("span", {}, messageLink(waits.id, "journey"), " ", underWay(waits)) : null);
  };
  return make("div", { class: "saga" }, make("p", { class: "row" }, code(saga.name), badge(phase),
    steps.length ? make("span", { class: "soft" }, `step ${count(Math.min(saga.at + 1, steps.length))} of ${count(steps.length)}`) : null),
  steps.length ? make("ol", { class: "members steps" }, steps.map(item)) : null,
  saga.failed ? make("p", {}, "Step ", make("strong", {}, saga.failed.step), " was not done: ", make("span", { class: "reason" }, `${saga.failed.failure.code}: ${saga.failed.failure.message}`)) : null,
  phase === "stuck" ? make("p", {}, "Undoing it was rejected: ", make("span", { class: "reason" }, `${saga.phase.stuck.code}: ${saga.phase.stuck.message}`)) : null,
  saga.given_up?.length ? make("p", { class: "soft" }, `Not undone, because their messages were dropped or cancelled: ${saga.given_up.join(", ")}.`) : null);
}

// Keys.

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function unhex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (two) => parseInt(two, 16));
}

function hex(bytes) {
  return `0x${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** A row's own key: a list's position, or what a map's keys are. */
function keyText(bytes, field) {
  if (field.kind === "list" && bytes.length === 8) return String(number(bytes));
  const { type, minimum, minLength, maxLength } = field.key ?? {};
  if (type === "integer" && [1, 2, 4, 8, 16].includes(bytes.length)) return String(minimum >= 0 ? number(bytes) : number(bytes) - (1n << BigInt(bytes.length * 8 - 1)));
  if (type === "string" && minLength === 1 && maxLength === 1 && bytes.length === 4) return String.fromCodePoint(Number(number(bytes)));
  return guessed(bytes);
}

/** Text, text before text, numbers, or else its bytes. */
function guessed(bytes) {
  const text = asText(bytes);
  if (text !== undefined) return text;
  if ([1, 2, 4, 8, 16].includes(bytes.length)) return String(number(bytes));
  // A tuple's members that are text end with a zero.
  const end = bytes.indexOf(0);
  const first = end > 0 ? asText(bytes.slice(0, end)) : undefined;
  if (first !== undefined) return end + 1 === bytes.length ? first : `${first}, ${guessed(bytes.slice(end + 1))}`;
  return hex(bytes);
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
