// Apps: what is deployed, what each handler takes and gives, settings, versions where the host keeps several, and what
// guests log, as it comes.

import { Away, ask, can, get } from "./api.js";
import { badge, button, code, confirm, count, empty, entityLink, failure, field, heading, input, link, make, messageLink, moment, note, part, section, select, table } from "./dom.js";
import { words } from "./schema.js";
import { tree } from "./tree.js";

const VERSIONS = "GET /admin/v1/apps/{app}/versions";
const ACTIVATE = "POST /admin/v1/apps/{app}/activate";
const ROLLBACK = "POST /admin/v1/apps/{app}/rollback";
const RAMP = "POST /admin/v1/apps/{app}/ramp";
/** Lines of a log that are shown. */
const LINES_MAX = 500;

export async function apps({ place, parts: [app], signal }) {
  return app ? one(place, app, signal) : all(place, signal);
}

async function all(place, signal) {
  const { apps } = await get("/admin/v1/apps", signal);
  place.append(heading("Apps"));
  if (!apps.length) {
    place.append(empty("No app is deployed. Deploy one: ", code("keystead deploy FILE --app APP"), ", or start with ", code("keystead new NAME"), "."));
    return;
  }
  const listed = table("Apps", [
    { name: "app", value: (app) => link(`#/apps/${part(app.app)}`, app.app) },
    { name: "live version", value: (app) => code(app.version.slice(0, 16)) },
    { name: "entity types", value: (app) => app.types.flatMap((type, at) => [at ? ", " : null, link(`#/entities/${part(app.app)}/${part(type)}`, type)]) },
    { name: "deployed", value: (app) => moment(app.deployed_at_ms, true) },
  ]);
  listed.set(apps, (app) => app.app);
  place.append(make("section", { class: "card" }, listed.element));
}

async function one(place, name, signal) {
  const app = await get(`/admin/v1/apps/${part(name)}`, signal);
  const facts = make("dl", { class: "facts" }, fact("live version", code(app.version)), fact("deployed", moment(app.deployed_at_ms, true)),
    fact("dead letters", link(`#/dead?app=${part(name)}`, "of this app")));
  place.append(heading(name, link("#/apps", "all apps")), make("section", { class: "card" }, facts));
  if (can(VERSIONS)) {
    const versions = section("Versions");
    place.append(versions);
    await showVersions(versions, name, signal);
  }
  for (const entity of app.contract.entities ?? []) place.append(type(name, entity));
  place.append(section("Configuration", tree(app.config)));
  follow(place, name, signal);
}

function fact(name, ...value) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value));
}

function type(app, entity) {
  const handlers = table(`Handlers of ${entity.type}`, [
    { name: "handler", value: (one) => [code(one.name), one.about ? make("span", { class: "hint" }, one.about) : null] },
    { name: "kind", value: (one) => badge(one.kind) },
    { name: "takes", value: (one) => takes(one) },
    { name: "gives", value: (one) => body(one.output) },
    { name: "", value: (one) => (one.kind === "internal" || !can("POST /admin/v1/try/{app}/{type}/{key}/{handler}") ? ""
      : link(`#/try/${part(app)}/${part(entity.type)}/${part(one.name)}`, make("span", { class: "unseen" }, `${one.name}: `), "try")) },
  ]);
  handlers.set(entity.handlers ?? [], (one) => one.name);
  return section(entity.type, make("p", {}, link(`#/entities/${part(app)}/${part(entity.type)}`, "its entities"),
    entity.about ? make("span", { class: "soft" }, `: ${entity.about}`) : null), handlers.element);
}

function takes(handler) {
  const schema = handler.input?.json;
  if (!schema) return body(handler.input);
  const members = Object.entries(schema.properties ?? {});
  if (!members.length) return schema.additionalProperties === false || schema.properties ? "no arguments" : words(schema, schema);
  return make("ul", { class: "members" }, members.map(([name, one]) => make("li", {}, code(name), `: ${words(one, schema)}`,
    schema.required?.includes(name) ? null : make("span", { class: "soft" }, ", optional"))));
}

function body(value) {
  if (value?.json !== undefined) return words(value.json, value.json);
  return `bytes${value?.bytes && value.bytes !== "*/*" ? `: ${value.bytes}` : ""}`;
}

// Versions, where the host keeps more than one.

async function showVersions(place, app, signal) {
  const { versions } = await get(`/admin/v1/apps/${part(app)}/versions`, signal);
  const rows = table("Versions", [
    { name: "version", value: (one) => code(one.version.slice(0, 16)) },
    { name: "state", value: (one) => (one.state ? badge(one.state) : one.live ? badge("live") : "") },
    { name: "deployed", value: (one) => (one.deployed_at_ms ? moment(one.deployed_at_ms, true) : "") },
    { name: "", value: (one) => (!one.live && can(ACTIVATE) ? button("Activate", () => change(
      `Activate ${one.version.slice(0, 12)}?`, "New calls run on this version; what is in flight ends on the one it began on.", "Activate",
      `/admin/v1/apps/${part(app)}/activate`, { version: one.version })) : "") },
  ]);
  rows.set(versions, (one) => one.version);
  const actions = make("div", { class: "row" });
  if (can(ROLLBACK)) {
    actions.append(button("Roll back", () => change(`Roll ${app} back?`,
      "The version that was live before is live again, at once. What is in flight ends on the version it began on, and no message is lost.",
      "Roll back", `/admin/v1/apps/${part(app)}/rollback`)));
  }
  if (can(RAMP)) actions.append(button("Ramp…", ramp, { class: "quiet" }));
  place.replaceChildren(place.firstChild, rows.element, actions);

  async function change(title, what, action, path, given) {
    if (!(await confirm(title, what, action, { danger: false }))) return;
    await send(path, given);
  }

  async function ramp() {
    const version = select(versions.filter((one) => !one.live).map((one) => [one.version, one.version.slice(0, 16)]));
    const percent = input({ type: "number", min: 0, max: 100, value: "10", required: true });
    const sure = await confirm(`Ramp ${app}`, "This share of the entities, always the same ones, runs on the version. It halts by itself when that one fails more often.",
      "Ramp", { danger: false, fields: [field("Version", version), field("Percent of entities", percent)] });
    if (sure) await send(`/admin/v1/apps/${part(app)}/ramp`, { version: version.value, percent: Number(percent.value) });
  }

  async function send(path, given) {
    try {
      await ask("POST", path, given ? { body: JSON.stringify(given), headers: { "Content-Type": "application/json" } } : {});
      note("Done.");
      await showVersions(place, app, signal);
    } catch (error) {
      note(error.message, true);
    }
  }
}

// What guests log.

function follow(place, app, signal) {
  const least = select(["trace", "debug", "info", "warn", "error"].map((one) => [one, `${one} and above`]), "trace");
  const search = input({ type: "search", placeholder: "text, entity or message" });
  const paused = make("input", { type: "checkbox", id: "log-paused" });
  const lines = make("ol", { class: "log", "aria-label": "Log lines, the newest last", tabIndex: 0, hidden: true });
  const none = empty("Nothing was logged yet. Handlers log with ", code("log::info!"), " of the SDK.");
  const box = section("Log", make("div", { class: "row fields" }, field("Level", least), field("Only with", search),
    make("div", { class: "choices" }, make("label", { for: "log-paused" }, paused, "pause"))), none, lines);
  place.append(box);
  const levels = ["trace", "debug", "info", "warn", "error"];
  const fits = (item) => {
    const wanted = search.value.toLowerCase();
    item.hidden = levels.indexOf(item.dataset.level) < levels.indexOf(least.value) || !item.textContent.toLowerCase().includes(wanted);
  };
  for (const control of [least, search]) control.addEventListener("input", () => [...lines.children].forEach(fits));
  const add = (line) => {
    const item = make("li", { class: `is-${line.level}`, "data-level": line.level }, moment(line.at_ms), " ", make("span", { class: "level" }, line.level), " ",
      entityLink(`${app}/${line.entity}`), " ", messageLink(line.message_id, "journey"), " ", make("span", { class: "text" }, line.line));
    fits(item);
    lines.append(item);
  };
  // One long wait after the other, as long as the page is there.
  (async () => {
    let after = 0;
    while (!signal.aborted) {
      if (document.hidden || paused.checked) {
        await new Promise((resolve) => { setTimeout(resolve, 500); });
        continue;
      }
      try {
        const page = await get(`/admin/v1/apps/${part(app)}/logs?after=${after}&limit=1000&wait=10s`, signal);
        const end = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
        page.lines.forEach(add);
        while (lines.children.length > LINES_MAX) lines.firstChild.remove();
        after = page.next;
        none.hidden = lines.children.length > 0;
        lines.hidden = !none.hidden;
        if (end) lines.scrollTop = lines.scrollHeight;
      } catch (error) {
        if (signal.aborted) return;
        // A host that was started again counts its lines anew.
        if (error instanceof Away) after = 0;
        else return void box.append(failure(error));
        await new Promise((resolve) => { setTimeout(resolve, 1000); });
      }
    }
  })();
}
