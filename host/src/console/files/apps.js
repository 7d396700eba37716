// Apps: what is deployed, what each handler takes and gives, settings, versions where the host keeps several, and what
// guests log, as it comes.

import { Away, ask, can, every, get, refused } from "./api.js";
import { badge, button, code, confirm, count, empty, entityLink, failure, field, heading, input, lacking, link, make, messageLink, moment, note, part, section, select, table } from "./dom.js";
import { pausesOf } from "./pauses.js";
import { isJson, members, words as said } from "./schema.js";
import { tree } from "./tree.js";

const VERSIONS = "GET /admin/v1/apps/{app}/versions";
const ACTIVATE = "POST /admin/v1/apps/{app}/versions/{version}/activate";
const ROLLBACK = "POST /admin/v1/apps/{app}/rollback";
const RAMP = "POST /admin/v1/apps/{app}/versions/{version}/ramp";
const CONFIGURE = "PATCH /admin/v1/apps/{app}/config";
const TRY = "POST /admin/v1/try/{app}/{type}/{key}/{handler}";
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
    { name: "live version", value: (app) => [code(app.version.slice(0, 16)), app.ramp ? make("span", { class: "hint" }, `${app.ramp.percent} % on `, code(app.ramp.version)) : null] },
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
  const versions = section("Versions");
  place.append(versions);
  await showVersions(versions, name, signal);
  for (const entity of app.contract.entities ?? []) place.append(type(name, entity));
  place.append(pausesOf(name, app.types, signal));
  await settings(place, name, signal);
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
    { name: "", value: (one) => (one.kind === "internal" || !can(TRY, app) ? ""
      : link(`#/try/${part(app)}/${part(entity.type)}/${part(one.name)}`, make("span", { class: "unseen" }, `${one.name}: `), "try")) },
  ]);
  handlers.set(entity.handlers ?? [], (one) => one.name);
  return section(entity.type, make("p", {}, link(`#/entities/${part(app)}/${part(entity.type)}`, "its entities"),
    entity.about ? make("span", { class: "soft" }, `: ${entity.about}`) : null), handlers.element);
}

function takes(handler) {
  const schema = handler.input?.json;
  if (!schema) return body(handler.input);
  const all = members(schema);
  if (!all.length) return schema.additionalProperties === false || schema.properties ? "no arguments" : said(schema, schema, OPEN);
  return make("ul", { class: "members" }, all.map(([name, one]) => make("li", {}, code(name), `: ${said(one, schema, OPEN)}`,
    schema.required?.includes(name) ? null : make("span", { class: "soft" }, ", optional"))));
}

/** Objects within each other whose members are named. */
const OPEN = 2;

function body(value) {
  if (value?.json !== undefined) return said(value.json, value.json, OPEN);
  return `bytes${value?.bytes && value.bytes !== "*/*" ? `: ${value.bytes}` : ""}`;
}

// Versions: which is live, which is ramped and how that goes, and going on or back.

async function showVersions(place, app, signal) {
  const path = `/admin/v1/apps/${part(app)}`;
  const to = (one, what) => `${path}/versions/${part(one.version)}/${what}`;
  const rows = table("Versions", [
    { name: "version", value: (one) => code(one.version) },
    { name: "state", value: (one) => [one.live ? badge("live") : null, one.previous ? badge("previous") : null, one.percent ? badge(`${one.percent} %`) : null] },
    { name: "deployed", value: (one) => moment(one.deployed_at_ms, true) },
    { name: "", value: (one) => make("div", { class: "row tight" }, one.live ? [] : [
      can(RAMP, app) ? button(one.percent ? "Change its share…" : "Ramp…", () => ramp(one), { class: "quiet" }) : null,
      can(RAMP, app) && one.percent ? button("End the ramp…", () => end(one), { class: "quiet" }) : null,
      can(ACTIVATE, app) ? button("Activate…", () => change(`Activate ${one.version}?`,
        "New calls run on this version, at once. What is in flight ends on the version that it began on.", "Activate it", to(one, "activate")), { class: "quiet" }) : null]) },
  ]);
  const back = button("Roll back…", () => change(`Roll ${app} back?`,
    "The version that was live before is live again, at once. What is in flight ends on the version that it began on, and no message is lost.",
    "Roll back", `${path}/rollback`), { class: "quiet" });
  const remarks = make("div", { class: "stack", "aria-live": "polite" });
  const why = refused([["activate, ramp or roll back versions", ACTIVATE]], app);
  place.append(remarks, rows.element, make("div", { class: "row" }, can(ROLLBACK, app) ? back : null), why ? lacking(why) : "");
  let drawn;
  const look = async () => {
    const { versions, halted, trial } = await get(`${path}/versions`, signal);
    rows.set(versions, (one) => one.hash ?? one.version);
    back.hidden = !versions.some((one) => one.previous);
    const told = JSON.stringify([versions, halted, trial]);
    if (told === drawn) return;
    drawn = told;
    const ramped = versions.find((one) => one.percent);
    remarks.replaceChildren(...[
      ramped ? make("p", { class: "remark" }, `${ramped.percent} % of the entities, always the same ones, run on `, code(ramped.version), ". The ramp halts by itself when that one fails more often",
        trial ? `. Failed so far, of what ended in the last minutes: ${share(trial.new)} on it, ${share(trial.live)} on the live one.` : ".") : null,
      halted ? make("p", { class: "remark bad" }, `The ramp of ${halted.version} halted by itself at ${halted.percent} %: ${halted.reason} `, moment(halted.at_ms, true)) : null,
    ].filter(Boolean));
  };
  await every(2000, signal, look);

  function share({ ended, failed }) {
    return `${count(failed)} of ${count(ended)}`;
  }

  function ramp(one) {
    const percent = input({ type: "number", min: 0, max: 100, step: 1, value: String(one.percent || 10), required: true });
    return change(`Ramp ${app} to ${one.version}`, "This share of the entities, always the same ones, runs on the version. It halts by itself when that one fails more often. 0 ends the ramp.",
      "Ramp", () => `${to(one, "ramp")}?percent=${encodeURIComponent(percent.value)}`, [field("Percent of entities", percent)]);
  }

  function end(one) {
    return change(`End the ramp of ${one.version}?`, "All entities run on the live version again, at once. The version stays, and can be ramped or activated later.", "End the ramp", `${to(one, "ramp")}?percent=0`);
  }

  /** What might break is shown, and asked for once more. */
  async function change(title, what, action, path, fields = []) {
    const whole = () => (typeof path === "string" ? path : path());
    let breaks;
    const run = async () => {
      try {
        await ask("POST", whole());
      } catch (error) {
        breaks = error.code === "breaking_change" ? error : undefined;
        if (!breaks) throw error;
      }
    };
    if (!(await confirm(title, what, action, { danger: false, fields, run }))) return;
    if (breaks) {
      const listed = make("ul", {}, (breaks.details?.breaking ?? []).map((one) => make("li", {}, typeof one === "string" ? one : JSON.stringify(one))));
      const again = () => ask("POST", `${whole()}${whole().includes("?") ? "&" : "?"}breaking=true`);
      if (!(await confirm("This may break callers or stored state", [breaks.message, listed], "Do it all the same", { run: again }))) return;
    }
    note("Done.");
    await look();
  }
}

// Settings: shown, and changed by who may. Secrets go in and are never shown.

async function settings(place, app, signal) {
  const path = `/admin/v1/apps/${part(app)}`;
  const plain = make("div");
  const values = make("div");
  const json = { "Content-Type": "application/json" };
  const why = refused([["change settings", CONFIGURE]], app);
  const actions = make("div", { class: "row" },
    can(CONFIGURE, app) ? [button("Set a value…", () => setValue("", ""), { class: "quiet" }), button("Set a secret…", () => setSecret(""), { class: "quiet" }), button("Change limits…", edit, { class: "quiet" })] : null);
  place.append(section("Configuration", make("h3", {}, "Values and secrets"), values, make("h3", {}, "Limits and retries"), plain, actions, why ? lacking(why) : ""));
  const rows = table("Values and secrets", [
    { name: "name", value: (one) => code(one.name) },
    { name: "value", value: (one) => (one.secret ? make("span", { class: "soft" }, "secret, never shown") : make("span", { class: "mono" }, one.value)) },
    { name: "", value: (one) => make("div", { class: "row tight" }, can(CONFIGURE, app) ? [
      button("Set anew…", () => (one.secret ? setSecret(one.name) : setValue(one.name, one.value)), { class: "quiet", "aria-label": `Set ${one.name} anew…` }),
      button("Remove…", () => remove(one), { class: "danger quiet", "aria-label": `Remove ${one.name}…` })] : []) },
  ]);
  const draw = async () => {
    const { config, secrets = [] } = await get(`${path}/config`, signal);
    const { values: own = {}, ...rest } = config;
    const all = [...Object.entries(own).map(([name, value]) => ({ name, value })), ...secrets.map((name) => ({ name, secret: true }))];
    rows.set(all, (one) => `${one.secret ? "secret" : "value"} ${one.name}`);
    values.replaceChildren(all.length ? rows.element : empty("There are none. Handlers read them with ", code("ctx.config(\"NAME\")"), "."));
    plain.replaceChildren(tree(rest));
  };
  const done = async (asked, words) => {
    if (!(await asked)) return;
    note(words);
    await draw();
  };
  const change = (patch) => ask("PATCH", `${path}/config`, { body: patch, headers: json });
  await draw();

  function setValue(known, before) {
    const name = input({ value: known, required: true, class: "mono", readOnly: Boolean(known) });
    const value = make("textarea", { value: before, rows: 3, spellcheck: false });
    const run = () => change(JSON.stringify({ values: { [name.value.trim()]: value.value } }));
    return done(confirm(known ? `Set ${known} anew` : "Set a value", "Handlers read it from their next call on. Anybody who may look at the app sees it.", "Set it",
      { danger: false, fields: [field("Name", name), field("Value", value)], run }), "The value is set.");
  }

  function setSecret(known) {
    const name = input({ value: known, required: true, class: "mono", readOnly: Boolean(known) });
    const value = make("textarea", { rows: 3, spellcheck: false, required: true, class: "covered", autocomplete: "off" });
    const run = () => ask("PUT", `${path}/secrets/${part(name.value.trim())}`, { body: value.value, headers: { "Content-Type": "text/plain" } });
    return done(confirm(known ? `Set the secret ${known} anew` : "Set a secret", "Handlers read it from their next call on. Nobody sees it again, here or elsewhere.", "Set it",
      { danger: false, fields: [field("Name", name), field("Secret", value)], run }), "The secret is set.");
  }

  function remove(one) {
    const run = () => (one.secret ? ask("DELETE", `${path}/secrets/${part(one.name)}`) : change(JSON.stringify({ values: { [one.name]: null } })));
    return done(confirm(`Remove ${one.name}?`, `Handlers find ${one.secret ? "no secret" : "no value"} of this name from their next call on.`, "Remove it", { run }), `${one.name} is removed.`);
  }

  function edit() {
    const text = make("textarea", { spellcheck: false, rows: 6, required: true, value: "{}" });
    text.addEventListener("input", () => text.setCustomValidity(isJson(text.value) ? "" : "This is no JSON."));
    return done(confirm(`Change settings of ${app}`, "Only what is named changes; null makes a setting the default again. It holds from the next call on.", "Change them",
      { danger: false, fields: [field("Settings as JSON", text, 'such as {"deadline_ms": 2000}')], run: () => change(text.value) }), "The settings are changed.");
  }
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
