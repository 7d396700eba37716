// Dead letters: what the host gave up on, why, and what to do with it: one by one, or all that are chosen, in their order.

import { ask, can, get } from "./api.js";
import { badge, button, code, confirm, count, empty, entityLink, field, heading, input, link, make, messageLink, moment, note, part, say, section, select, table } from "./dom.js";
import { indent, isJson } from "./schema.js";
import { tree } from "./tree.js";

const ROWS = 200;
const EDIT = ["PUT /admin/v1/dead/{id}", "PATCH /admin/v1/dead/{id}", "POST /admin/v1/dead/{id}/edit"];

export async function dead(page) {
  return page.parts[0] ? one(page, page.parts[0]) : list(page);
}

async function list({ place, query, signal }) {
  const { apps } = await get("/admin/v1/apps", signal);
  const app = query.get("app") ?? "";
  const choice = select([["", "all apps"], ...apps.map((one) => one.app)], app);
  choice.addEventListener("change", () => { location.hash = choice.value ? `#/dead?app=${part(choice.value)}` : "#/dead"; });
  const search = input({ type: "search", placeholder: "entity, handler or reason" });
  const chosen = new Set();
  let rows = [];
  let next = null;
  const all = make("input", { type: "checkbox", id: "all-dead" });
  const letters = table("Dead letters", [
    { name: "choose", value: (row) => box(row), same: (row) => row.id },
    { name: "parked", value: (row) => moment(row.parked_at_ms, true) },
    { name: "entity", value: (row) => entityLink(row.entity) },
    { name: "handler", value: (row) => code(row.handler) },
    { name: "reason", value: (row) => make("span", { class: "reason" }, row.reason) },
    { name: "attempts", number: true, value: (row) => count(row.attempts) },
    { name: "", value: (row) => link(`#/dead/${part(row.id)}`, "show", make("span", { class: "unseen" }, ` ${row.id}`)) },
  ]);
  const retryAll = button("Retry", () => bulk("Retry"), { disabled: true });
  const dropAll = button("Drop…", () => bulk("Drop"), { disabled: true, class: "danger quiet" });
  const progress = make("span", { class: "soft", role: "status" });
  const bar = make("div", { class: "row" }, make("label", { class: "choices", for: "all-dead" }, all, "all that are shown"), retryAll, dropAll, progress);
  const found = make("section", { class: "card" });
  place.append(heading("Dead letters"), make("div", { class: "row fields" }, field("App", choice), field("Only with", search)), found);
  search.addEventListener("input", draw);
  all.addEventListener("change", () => {
    for (const row of visible()) {
      if (all.checked) chosen.add(row.id);
      else chosen.delete(row.id);
    }
    for (const control of letters.body.querySelectorAll("input")) control.checked = chosen.has(control.value);
    tally();
  });
  await load();

  function box(row) {
    const control = make("input", { type: "checkbox", value: row.id, checked: chosen.has(row.id), "aria-label": `choose ${row.handler} of ${row.entity}, ${row.id}` });
    control.addEventListener("change", () => {
      if (control.checked) chosen.add(row.id);
      else chosen.delete(row.id);
      tally();
    });
    return control;
  }

  function visible() {
    const wanted = search.value.toLowerCase();
    return rows.filter((row) => `${row.entity} ${row.handler} ${row.reason}`.toLowerCase().includes(wanted));
  }

  function picked() {
    return visible().filter((row) => chosen.has(row.id));
  }

  function tally() {
    const ready = picked();
    retryAll.disabled = dropAll.disabled = ready.length === 0;
    say(retryAll, ready.length ? `Retry ${count(ready.length)}` : "Retry");
    say(dropAll, ready.length ? `Drop ${count(ready.length)}…` : "Drop…");
  }

  function draw() {
    const shown = visible();
    letters.set(shown, (row) => row.id);
    const more = next === null ? null : button("More", () => load(next), { class: "quiet" });
    if (!rows.length) found.replaceChildren(empty("There are no dead letters: every message took effect, or is on its way."), progress);
    else if (!shown.length) found.replaceChildren(empty("None of them has this text."), progress);
    else if (!found.contains(letters.element)) found.replaceChildren(bar, letters.element);
    bar.append(progress);
    found.querySelector(".more")?.remove();
    if (more && shown.length) found.append(make("div", { class: "row more" }, more));
    tally();
  }

  async function load(after) {
    const filter = `${app ? `&app=${part(app)}` : ""}${after ? `&after=${part(after)}` : ""}`;
    const page = await get(`/admin/v1/dead?limit=${ROWS}${filter}`, signal);
    rows = after ? [...rows, ...page.dead_letters] : page.dead_letters;
    next = page.next ?? null;
    draw();
  }

  async function bulk(what) {
    const ready = picked().filter((row) => what === "Drop" || !row.answered);
    const skipped = picked().length - ready.length;
    const words = what === "Retry" ? [`${count(ready.length)} messages are sent again, in their order, with their attempts at zero.`]
      : [`${count(ready.length)} messages are forgotten. A sender that waits for one is told that it failed. This cannot be undone.`];
    if (skipped) words.push(`${count(skipped)} are final, because their senders were told that they failed; they stay.`);
    if (!(await confirm(`${what} ${count(ready.length)} dead letters?`, words, what, { danger: what === "Drop" }))) return;
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
    all.checked = false;
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
  } else actions.append(button("Retry", () => run("Retry")));
  const edit = EDIT.find(can);
  if (edit && !letter.answered) actions.append(button("Edit…", () => change(edit), { class: "quiet" }));
  actions.append(button("Drop…", () => run("Drop"), { class: "danger quiet" }));

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
      if (!step || ends.includes(step.status)) return;
      await new Promise((resolve) => { setTimeout(resolve, 500); });
    }
  }

  async function change(how) {
    const text = make("textarea", { spellcheck: false, rows: 12, class: "mono", required: true, value: indent(JSON.stringify(letter.input)) });
    text.addEventListener("input", () => text.setCustomValidity(isJson(text.value) ? "" : "This is no JSON."));
    const sure = await confirm("Edit this dead letter", ["It stays parked, with this input and its id. Retry it afterwards."], "Keep this input", { danger: false, fields: [field("Input", text)] });
    if (!sure) return;
    const [method, path] = how.split(" ");
    try {
      await ask(method, path.replace("{id}", part(id)), { body: `{"input": ${text.value}}`, headers: { "Content-Type": "application/json" } });
      note("It has a new input.");
      place.replaceChildren();
      await one({ place, signal }, id);
    } catch (error) {
      note(error.message, true);
    }
  }
}
