// Apps: what is deployed, what each handler takes and gives, settings, versions where the host keeps several, and what
// guests log, as it comes.

import { Away, ask, can, get } from "./api.js";
import { badge, button, code, confirm, count, empty, entityLink, failure, field, heading, input, link, make, messageLink, moment, note, part, section, select, table } from "./dom.js";
import { isJson, words } from "./schema.js";
import { tree } from "./tree.js";

const VERSIONS = "GET /admin/v1/apps/{app}/versions";
const ACTIVATE = "POST /admin/v1/apps/{app}/versions/{version}/activate";
const ROLLBACK = "POST /admin/v1/apps/{app}/rollback";
const RAMP = "POST /admin/v1/apps/{app}/versions/{version}/ramp";
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
    { name: "entity types", value: (app) => make("span", {}, app.types.flatMap((type, at) => [at ? ", " : null, link(`#/entities/${part(app.app)}/${part(type)}`, type)])) },
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
  await settings(place, name, app.config, signal);
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
  const { versions, halted, trial } = await get(`/admin/v1/apps/${part(app)}/versions`, signal);
  const path = `/admin/v1/apps/${part(app)}`;
  const rows = table("Versions", [
    { name: "version", value: (one) => code(one.version) },
    { name: "state", value: (one) => [one.live ? badge("live") : null, one.previous ? badge("previous") : null, one.percent ? badge(`${one.percent} %`) : null] },
    { name: "deployed", value: (one) => moment(one.deployed_at_ms, true) },
    { name: "", value: (one) => (one.live || !can(ACTIVATE) ? "" : button("Activate…", () => change(`Activate ${one.version}?`,
      "New calls run on this version, at once. What is in flight ends on the version that it began on.", "Activate it", `${path}/versions/${part(one.version)}/activate`), { class: "quiet" })) },
    { name: "", value: (one) => (one.live || !can(RAMP) ? "" : button(one.percent ? "Change its share…" : "Ramp…", () => ramp(one), { class: "quiet" })) },
  ]);
  rows.set(versions, (one) => one.hash ?? one.version);
  const actions = make("div", { class: "row" });
  if (can(ROLLBACK) && versions.some((one) => one.previous)) {
    actions.append(button("Roll back…", () => change(`Roll ${app} back?`,
      "The version that was live before is live again, at once. What is in flight ends on the version that it began on, and no message is lost.",
      "Roll back", `${path}/rollback`)));
  }
  const remarks = [];
  if (halted) remarks.push(make("p", { class: "remark" }, `The ramp of ${halted.version} halted by itself at ${halted.percent} %: ${halted.reason} `, moment(halted.at_ms, true)));
  if (trial) remarks.push(make("p", { class: "soft" }, `Failed of what ended: live ${share(trial.live)}, new ${share(trial.new)}.`));
  place.replaceChildren(place.firstChild, ...remarks, rows.element, actions);

  function share({ ended, failed }) {
    return `${count(failed)} of ${count(ended)}`;
  }

  async function change(title, what, action, path) {
    if (await confirm(title, what, action, { danger: false })) await send(path);
  }

  async function ramp(one) {
    const percent = input({ type: "number", min: 0, max: 100, value: String(one.percent || 10), required: true });
    const sure = await confirm(`Ramp ${app} to ${one.version}`, "This share of the entities, always the same ones, runs on the version. It halts by itself when that one fails more often. 0 ends the ramp.",
      "Ramp", { danger: false, fields: [field("Percent of entities", percent)] });
    if (sure) await send(`${path}/versions/${part(one.version)}/ramp?percent=${encodeURIComponent(percent.value)}`);
  }

  /** What might break is shown, and asked for once more. */
  async function send(path) {
    try {
      await ask("POST", path);
      note("Done.");
    } catch (error) {
      const breaks = error.details?.breaking;
      if (!breaks || path.includes("breaking=")) return void note(error.message, true);
      const sure = await confirm("This may break callers or stored state", [error.message, make("ul", {}, breaks.map((one) => make("li", {}, typeof one === "string" ? one : JSON.stringify(one))))], "Do it all the same");
      if (sure) return send(`${path}${path.includes("?") ? "&" : "?"}breaking=true`);
    }
    await showVersions(place, app, signal);
  }
}

// Settings: shown, and changed where the host has a route for it.

async function settings(place, app, config, signal) {
  const box = section("Configuration");
  place.append(box);
  const path = `/admin/v1/apps/${part(app)}/config`;
  const draw = async () => {
    const shown = can("GET /admin/v1/apps/{app}/config") ? await get(path, signal) : { config };
    const secrets = shown.secrets?.length ? make("p", {}, "Secrets, never shown: ", shown.secrets.flatMap((name, at) => [at ? ", " : null, code(name)])) : null;
    const change = can("PATCH /admin/v1/apps/{app}/config") ? make("div", { class: "row" }, button("Change…", edit, { class: "quiet" })) : null;
    box.replaceChildren(box.firstChild, ...[tree(shown.config), secrets, change].filter(Boolean));
  };
  const edit = async () => {
    const text = make("textarea", { spellcheck: false, rows: 6, required: true, value: "{}" });
    text.addEventListener("input", () => text.setCustomValidity(isJson(text.value) ? "" : "This is no JSON."));
    const sure = await confirm(`Change settings of ${app}`, "Only what is named changes; null makes a setting the default again. It holds from the next call on.", "Change them", { danger: false, fields: [field("Settings as JSON", text, 'such as {"deadline_ms": 2000}')] });
    if (!sure) return;
    try {
      await ask("PATCH", path, { body: text.value, headers: { "Content-Type": "application/json" } });
      note("Changed.");
    } catch (error) {
      note(error.message, true);
    }
    await draw();
  };
  await draw();
}

// What guests log.

function follow(place, app, signal) {
  const least = select(["trace", "debug", "info", "warn", "error"].map((one) => [one, `${one} and above`]), "trace");
  const search = input({ type: "search", placeholder: "text, entity or message" });
  const paused = make("input", { type: "checkbox", id: "log-paused" });
  const lines = make("ol", { class: "log", "aria-label": "Log lines, the newest last", tabIndex: 0, hidden: true });
  const none = empty("Nothing was logged yet. Handlers log with ", code("info!(…)"), " of the SDK.");
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
