// Dead letters: what the host gave up on, why, and what to do with it: one by one, or all that are chosen, in their order.

import { ask, can, every, get, Problem, refused } from "./api.js";
import { badge, button, code, confirm, count, empty, entityLink, failure, field, heading, input, lacking, link, make, messageLink, moment, note, part, say, section, select, table } from "./dom.js";
import { indent, isJson } from "./schema.js";
import { tree } from "./tree.js";

const ROWS = 200;
const EDIT = "PUT /admin/v1/dead/{id}";
/** Messages that one step of a change of many takes. */
const STEP = 500;

export async function dead(page) {
  return page.parts[0] ? one(page, page.parts[0]) : list(page);
}

/** What dead letters are chosen by, as the host knows it. */
const FILTERS = ["app", "type", "handler", "reason"];
/** How long ago, in words and in milliseconds. */
const AGES = [["", "any time"], ["3600000", "the last hour"], ["86400000", "the last day"], ["604800000", "the last week"]];

async function list({ place, query, signal }) {
  const { apps } = await get("/admin/v1/apps", signal);
  const app = query.get("app") ?? "";
  const controls = {
    app: select([...new Map([["", "all apps"], ...apps.map((one) => [one.app, one.app]), ...(app ? [[app, app]] : [])])], app),
    type: input({ value: query.get("type") ?? "", placeholder: "any" }),
    handler: input({ value: query.get("handler") ?? "", placeholder: "any" }),
    reason: input({ type: "search", value: query.get("reason") ?? "", placeholder: "any text of it" }),
    since: select(AGES, query.get("since") ?? ""),
  };
  const form = make("form", { class: "row fields", role: "search" }, field("App", controls.app), field("Type", controls.type), field("Handler", controls.handler),
    field("Reason contains", controls.reason), field("Parked in", controls.since), make("button", { type: "submit" }, "Show"));
  const go = (event) => {
    event?.preventDefault();
    const chosen = new URLSearchParams(Object.entries(controls).map(([name, control]) => [name, control.value.trim()]).filter(([, value]) => value));
    location.hash = `#/dead${chosen.size ? `?${chosen}` : ""}`;
  };
  form.addEventListener("submit", go);
  for (const control of [controls.app, controls.since]) control.addEventListener("change", go);
  const filter = new URLSearchParams(FILTERS.filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
  if (query.get("since")) filter.set("parked_from", new Date(Date.now() - Number(query.get("since"))).toISOString());
  const narrowed = filter.size > 0;
  const chosen = new Set();
  let rows = [];
  let next = null;
  let busy = false;
  const all = make("input", { type: "checkbox", id: "all-dead" });
  const mayRetry = can("POST /admin/v1/dead/{id}/retry");
  const mayDrop = can("DELETE /admin/v1/dead/{id}");
  const letters = table("Dead letters", [
    mayRetry || mayDrop ? { name: "choose", value: (row) => box(row), same: (row) => row.id } : null,
    { name: "parked", value: (row) => moment(row.parked_at_ms, true) },
    { name: "entity", value: (row) => entityLink(row.entity) },
    { name: "handler", value: (row) => code(row.handler) },
    { name: "reason", value: (row) => [make("span", { class: "reason" }, row.reason), row.answered ? badge("final") : null] },
    { name: "attempts", number: true, value: (row) => count(row.attempts) },
    { name: "", value: (row) => link(`#/dead/${part(row.id)}`, "show", make("span", { class: "unseen" }, ` ${row.id}`)) },
  ].filter(Boolean));
  const retryAll = mayRetry ? button("Retry", () => bulk("Retry"), { disabled: true }) : null;
  const dropAll = mayDrop ? button("Drop…", () => bulk("Drop"), { disabled: true, class: "danger quiet" }) : null;
  const progress = make("span", { class: "soft", role: "status" });
  const bar = make("div", { class: "row" }, retryAll || dropAll ? make("label", { class: "choices", for: "all-dead" }, all, "all that are shown") : null, retryAll, dropAll, many("Retry"), many("Drop"), progress);
  const why = refused([["retry, edit or drop them", "POST /admin/v1/dead/{id}/retry"]]) ?? refused([["retry or drop all at once", "POST /admin/v1/dead/retry"]]);
  const found = make("section", { class: "card" });
  place.append(heading("Dead letters"), form, found, why ? lacking(why) : "");
  all.addEventListener("change", () => {
    for (const row of rows) {
      if (all.checked) chosen.add(row.id);
      else chosen.delete(row.id);
    }
    for (const control of letters.body.querySelectorAll("input")) control.checked = chosen.has(control.value);
    tally();
  });
  // New ones come by themselves, as long as nobody went on to older pages.
  try {
    await load();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    found.replaceChildren(failure(error));
    return;
  }
  await every(2000, signal, async () => { if (!busy && rows.length <= ROWS && !document.querySelector("dialog")) await load(); });

  function box(row) {
    const control = make("input", { type: "checkbox", value: row.id, checked: chosen.has(row.id), "aria-label": `choose ${row.handler} of ${row.entity}, ${row.id}` });
    control.addEventListener("change", () => {
      if (control.checked) chosen.add(row.id);
      else chosen.delete(row.id);
      tally();
    });
    return control;
  }

  function picked() {
    return rows.filter((row) => chosen.has(row.id));
  }

  function tally() {
    const ready = picked();
    for (const [one, words] of [[retryAll, "Retry"], [dropAll, "Drop"]]) {
      if (!one) continue;
      one.disabled = ready.length === 0;
      say(one, `${words}${ready.length ? ` ${count(ready.length)}` : ""}${words === "Drop" ? "…" : ""}`);
    }
    all.checked = ready.length > 0 && ready.length === rows.length;
    all.indeterminate = ready.length > 0 && !all.checked;
  }

  function draw() {
    letters.set(rows, (row) => row.id);
    const more = next === null ? null : button("More", () => load(next), { class: "quiet" });
    const focused = found.contains(document.activeElement) ? document.activeElement : undefined;
    const none = narrowed ? empty("No dead letter is like that. ", link("#/dead", "Show all"), ".") : empty("There are no dead letters: every message took effect, or is on its way.");
    if (!rows.length) found.replaceChildren(none, progress);
    else if (!found.contains(letters.element)) found.replaceChildren(bar, letters.element);
    if (rows.length) bar.append(progress);
    found.querySelector(".more")?.remove();
    if (more && rows.length) found.append(make("div", { class: "row more" }, more, make("span", { class: "soft" }, `${count(rows.length)} shown`)));
    tally();
    if (focused?.isConnected) focused.focus();
  }

  async function load(after) {
    const page = await get(`/admin/v1/dead?limit=${ROWS}&${filter}${after ? `&after=${part(after)}` : ""}`, signal);
    rows = after ? [...rows, ...page.dead_letters] : page.dead_letters;
    next = page.next ?? null;
    draw();
  }

  /** All that there are of the filter, shown or not. */
  function many(what) {
    if (!can(`POST /admin/v1/dead/${what.toLowerCase()}`)) return null;
    const whose = narrowed ? "all that match" : "all";
    const words = [what === "Retry" ? "Each one, shown or not, is sent again, in the order in which they arrived. Those whose senders were told that they failed stay."
      : "Each one, shown or not, is forgotten, with its input. A sender that waits for one is told that it failed. This cannot be undone."];
    if (narrowed) words.unshift(`Which: ${[...filter].map(([name, value]) => `${name.replace("_", " ")} ${value}`).join(", ")}.`);
    return button(`${what} ${whose}…`, async () => {
      if (!(await confirm(`${what} ${narrowed ? "all dead letters that match" : "all dead letters of all apps"}?`, words, `${what} all`, { danger: what === "Drop" }))) return;
      busy = true;
      let [done, final, on] = [0, 0, ""];
      try {
        do {
          const step = await ask("POST", `/admin/v1/dead/${what.toLowerCase()}?limit=${STEP}&${filter}${on}`);
          done += step.done;
          final += step.final ?? 0;
          on = step.next ? `&after=${encodeURIComponent(step.next)}&through=${encodeURIComponent(step.through)}` : "";
          say(progress, `${count(done)} so far`);
        } while (on && !signal.aborted);
        note(`${what === "Retry" ? "Sent again" : "Dropped"}: ${count(done)}${final ? `; final, so they stay: ${count(final)}` : ""}.`);
      } catch (error) {
        note(`After ${count(done)}: ${error.message}`, true);
      }
      busy = false;
      say(progress, "");
      await load();
    }, { class: what === "Drop" ? "danger quiet" : "quiet" });
  }

  async function bulk(what) {
    const ready = picked().filter((row) => what === "Drop" || !row.answered);
    const skipped = picked().length - ready.length;
    const messages = `${count(ready.length)} ${ready.length === 1 ? "message is" : "messages are"}`;
    const words = what === "Retry" ? [`${messages} sent again, in their order, with their attempts at zero.`]
      : [`${messages} forgotten. A sender that waits for one is told that it failed. This cannot be undone.`];
    if (skipped) words.push(`${count(skipped)} are final, because their senders were told that they failed; they stay.`);
    if (!(await confirm(`${what} ${count(ready.length)} dead ${ready.length === 1 ? "letter" : "letters"}?`, words, what, { danger: what === "Drop" }))) return;
    busy = true;
    let done = 0;
    const failed = [];
    for (const row of ready) {
      try {
        await settle(row.id, what);
        chosen.delete(row.id);
        done += 1;
      } catch (error) {
        failed.push(`${row.id}: ${error.message}`);
      }
      say(progress, `${count(done)} of ${count(ready.length)}`);
    }
    note(`${what === "Retry" ? "Sent again" : "Dropped"}: ${count(done)}${failed.length ? `. Not: ${count(failed.length)}; the first: ${failed[0]}` : "."}`, failed.length > 0);
    busy = false;
    say(progress, "");
    await load();
  }
}

function settle(id, what) {
  return what === "Retry" ? ask("POST", `/admin/v1/dead/${part(id)}/retry`) : ask("DELETE", `/admin/v1/dead/${part(id)}`);
}

async function one({ place, signal }, id) {
  place.append(heading("Dead letter", make("span", { class: "soft mono" }, id), link("#/dead", "all dead letters")));
  let letter;
  try {
    letter = await get(`/admin/v1/dead/${part(id)}`, signal);
  } catch (error) {
    if (error.status !== 404) throw error;
    place.append(empty("It is no dead letter, or none any more. ", messageLink(id, "Its journey"), " may say what became of it."));
    return;
  }
  const fact = (name, ...value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  const outcome = make("div", { role: "status" });
  const actions = make("div", { class: "row" });
  const facts = make("dl", { class: "facts" }, fact("for", entityLink(letter.entity)), fact("handler", code(letter.handler)),
    fact("from", letter.sender ? entityLink(letter.sender) : "outside, a timer or a callback"), fact("attempts", count(letter.attempts)),
    fact("parked", moment(letter.parked_at_ms, true)), fact("journey", messageLink(letter.id, "see it")));
  place.append(make("section", { class: "card" }, facts, actions, outcome), section("Reason", make("p", { class: "reason whole" }, letter.reason)),
    section("Input", tree(letter.input)));
  if (letter.answered) {
    actions.append(make("p", { class: "soft" }, "It is final: its sender was told that it failed, and may have acted on that. It can be looked at and dropped."));
  } else if (can("POST /admin/v1/dead/{id}/retry")) actions.append(button("Retry", () => run("Retry")));
  if (can(EDIT) && !letter.answered) actions.append(button("Edit…", change, { class: "quiet" }));
  if (can("DELETE /admin/v1/dead/{id}")) actions.append(button("Drop…", () => run("Drop"), { class: "danger quiet" }));
  const why = refused([["retry, edit or drop it", EDIT]]);
  if (why) actions.append(lacking(why));

  async function run(what) {
    if (what === "Drop" && !(await confirm("Drop this dead letter?", ["It is forgotten, with its input. A sender that waits for it is told that it failed. This cannot be undone."], "Drop it"))) return;
    try {
      await settle(id, what);
    } catch (error) {
      note(error.message, true);
      return;
    }
    if (what === "Drop") {
      note("Dropped.");
      location.hash = "#/dead";
      return;
    }
    for (const control of actions.querySelectorAll("button")) control.disabled = true;
    outcome.replaceChildren(make("p", {}, "Sent again; waiting for what comes of it…"));
    await follow();
  }

  /** What came of the retry, as its journey tells it. */
  async function follow() {
    const ends = ["done", "rejected", "parked", "unknown"];
    for (let look = 0; look < 60 && !signal.aborted; look++) {
      let step;
      try {
        const journey = await get(`/admin/v1/messages/${part(id)}/journey`, signal);
        step = journey.messages.find((one) => one.id === id);
      } catch (error) {
        if (error.status !== 404) throw error;
      }
      const words = step ? [badge(step.status), " ", step.status === "done" ? "It took effect." : step.reason ?? "", " ", messageLink(id, "Its journey")] : ["Nothing is remembered of it."];
      outcome.replaceChildren(make("p", { class: "result" }, "Sent again: ", words));
      if (step?.status === "parked") for (const control of actions.querySelectorAll("button")) control.disabled = false;
      if (!step || ends.includes(step.status)) return;
      await new Promise((resolve) => { setTimeout(resolve, 500); });
    }
  }

  async function change() {
    const text = make("textarea", { spellcheck: false, rows: 12, class: "mono", required: true, value: indent(JSON.stringify(letter.input)) });
    text.addEventListener("input", () => text.setCustomValidity(isJson(text.value) ? "" : "This is no JSON."));
    const run = () => ask("PUT", `/admin/v1/dead/${part(id)}`, { body: text.value, headers: { "Content-Type": "application/json" } });
    const sure = await confirm("Edit this dead letter", ["It stays parked, with this input and its id. Retry it afterwards."], "Keep this input", { danger: false, fields: [field("Input", text)], run });
    if (!sure) return;
    note("It has a new input.");
    place.replaceChildren();
    await one({ place, signal }, id);
  }
}
