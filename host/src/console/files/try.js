// Trying a handler: a form from its schema, the answer as it came, and the way to what it caused. Goes through the admin
// listener, which hands it to ingress. Asks for nothing but what those see who may call and nothing else.

import { can, get, raw } from "./api.js";
import { badge, code, empty, entityLink, failure, field, heading, input, make, messageLink, part, select } from "./dom.js";
import { form as fieldsOf, indent, isJson } from "./schema.js";

export async function trial({ place, parts: [app, type, name], query, signal }) {
  const { apps } = await get("/admin/v1/try", signal);
  place.append(heading("Try it"));
  if (!apps.length) {
    place.append(empty("No app is there for you to try. Deploy one: ", code("keystead deploy FILE --app APP"), "."));
    return;
  }
  const chosen = apps.includes(app) ? app : apps[0];
  const { versions } = await get(`/admin/v1/try/${part(chosen)}`, signal);
  const all = offered(versions);
  const handler = all.find((one) => one.type === type && one.name === name) ?? all.find((one) => one.type === type) ?? all[0];
  const key = input({ value: query.get("key") ?? "", required: true, class: "mono" });
  const go = (to) => { location.hash = `#/try/${to}${key.value ? `?key=${encodeURIComponent(key.value)}` : ""}`; };
  const which = select(apps, chosen);
  which.addEventListener("change", () => go(part(which.value)));
  if (!handler) {
    place.append(make("div", { class: "row fields" }, field("App", which)), empty("It has no handlers that may be called from outside."));
    return;
  }
  const id = (one) => `${one.type}/${one.name}`;
  const what = select(all.map((one) => [id(one), `${one.type}.${one.name}${one.only ? ` (${one.only})` : ""}`]), id(handler));
  what.addEventListener("change", () => go(`${part(chosen)}/${what.value.split("/").map(part).join("/")}`));
  const result = make("div", { class: "result", "aria-live": "polite" });
  const trying = make("div", {}, form(chosen, handler, key, result, signal));
  const chooser = make("div", { class: "row fields" }, field("App", which), field("Handler", what));
  const card = make("section", { class: "card" }, chooser, ramping(versions, handler), trying);
  if (handler.other) {
    const [live, ramped] = versions;
    const whose = select([["live", `${live.version}, live`], ["ramped", `${ramped.version}, ramped`]], "live");
    whose.addEventListener("change", () => trying.replaceChildren(form(chosen, whose.value === "live" ? handler : handler.other, key, result, signal)));
    chooser.append(field("Arguments of version", whose));
  }
  place.append(card, result);
}

/**
 * The handlers of all versions that are served, each once: `only` says that one of the two lacks it, and `other` is
 * the ramped version's, where that takes or is something else.
 */
function offered(versions) {
  const [live, ramped] = versions.map((version) => new Map(version.entities.flatMap((entity) => entity.handlers.map((one) => [`${entity.type}/${one.name}`, { ...one, type: entity.type }]))));
  const all = [...live].map(([id, one]) => {
    const there = ramped?.get(id);
    if (ramped && !there) return { ...one, only: "not in the ramped version" };
    const same = !there || JSON.stringify([one.kind, one.input]) === JSON.stringify([there.kind, there.input]);
    return same ? one : { ...one, other: there };
  });
  const fresh = [...(ramped ?? [])].filter(([id]) => !live.has(id)).map(([, one]) => ({ ...one, only: "new in the ramped version" }));
  return [...all, ...fresh];
}

/** Which version runs what is tried, while there are two. */
function ramping(versions, handler) {
  const [live, ramped] = versions;
  if (!ramped) return null;
  const who = handler.only ? `Only the ${handler.only.startsWith("new") ? "ramped" : "live"} version has this handler, so it runs it for every key.`
    : `The key decides which one runs it${handler.other ? ", and they do not take the same" : ""}.`;
  return make("p", { class: "remark" }, `${ramped.percent} % of the entities are on the version `, code(ramped.version), ", the others on ", code(live.version), `. ${who}`);
}

function form(app, handler, key, result, signal) {
  const command = handler.kind === "command";
  const json = handler.input.json;
  const argument = json === undefined ? bytes(handler.input.bytes) : { ...fieldsOf({ schema: json, field }), type: () => "application/json" };
  const how = select([["call", "call: wait for the result"], ["send", "send: queue it"]]);
  const delay = input({ placeholder: "10s, 1h 30m" });
  const again = input();
  const delayBox = field("Delay", delay, "optional");
  delayBox.hidden = true;
  how.addEventListener("change", () => { delayBox.hidden = how.value !== "send"; });
  const run = make("button", { type: "submit" }, command ? "Run" : "Read");
  const box = make("form", { class: "trial", noValidate: true }, make("p", {}, badge(handler.kind), handler.about ? ` ${handler.about}` : ""),
    make("div", { class: "fields" }, field("Key", key, `which ${handler.type}: any text of at most 512 bytes`), argument.boxes),
    command ? make("details", {}, make("summary", {}, "More"), make("div", { class: "fields" }, field("How", how), delayBox, field("Idempotency-Key", again, "optional: makes a repetition safe"))) : null,
    make("div", { class: "row" }, run));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.requestSubmit();
  });
  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = keyProblem(key) ?? argument.problem();
    if (problem) return result.replaceChildren(failure(new Error(problem)));
    const verb = command ? how.value : "read";
    const more = verb === "send" && delay.value ? `&delay=${encodeURIComponent(delay.value)}` : "";
    const path = `/admin/v1/try/${[app, handler.type, key.value, handler.name].map(part).join("/")}?how=${verb}${more}`;
    const headers = { "Content-Type": argument.type() };
    if (command && again.value) headers["Idempotency-Key"] = again.value;
    run.disabled = true;
    const began = performance.now();
    try {
      const answer = await raw("POST", path, { body: argument.body(), headers, signal });
      result.replaceChildren(await answered(answer, performance.now() - began, `${app}/${handler.type}/${key.value}`, verb));
    } catch (error) {
      if (!signal.aborted) result.replaceChildren(failure(error));
    }
    run.disabled = false;
  });
  return box;
}

function keyProblem(key) {
  const size = new TextEncoder().encode(key.value).length;
  key.setAttribute("aria-invalid", String(size === 0 || size > 512));
  if (size === 0) return "Key is missing: it says which entity.";
  return size > 512 ? `Key has ${size} bytes; at most 512 are taken.` : undefined;
}

/** A body of bytes: a file, or text. */
function bytes(type) {
  const file = make("input", { type: "file" });
  const text = make("textarea", { spellcheck: false, rows: 3 });
  return {
    boxes: [field("File", file, type && type !== "*/*" ? `bytes: ${type}` : "bytes"), field("or text", text, "sent as UTF-8")],
    problem: () => undefined,
    type: () => file.files[0]?.type || (type && type !== "*/*" ? type : "application/octet-stream"),
    body: () => file.files[0] ?? text.value,
  };
}

async function answered(answer, took, entity, verb) {
  const kind = answer.headers.get("content-type") ?? "";
  const id = answer.headers.get("keystead-id");
  const replayed = answer.headers.get("idempotency-replayed") === "true";
  const text = await answer.text();
  const shown = /json/.test(kind) && isJson(text) ? indent(text) : text;
  const problem = !answer.ok && isJson(text) ? JSON.parse(text) : undefined;
  const box = make("section", { class: `card answer ${answer.ok ? "good" : "bad"}` },
    make("h2", {}, `${answer.status} ${answer.statusText}`, make("span", { class: "soft" }, ` in ${took.toFixed(took < 10 ? 1 : 0)} ms`)),
    problem ? make("p", { class: "reason whole" }, `${problem.detail ?? problem.title} (${problem.code})`) : null,
    make("pre", { tabIndex: 0, "aria-label": "The answer" }, shown || "nothing"));
  const facts = make("p", { class: "row" }, can("GET /admin/v1/entities/{app}/{type}/{key}") ? entityLink(entity) : code(entity));
  if (id && verb !== "read") facts.append(messageLink(id, "its journey"), make("span", { class: "soft mono" }, id));
  if (replayed) facts.append(badge("replayed"));
  const tag = answer.headers.get("etag");
  if (tag) facts.append(make("span", { class: "soft" }, `version ${tag.replaceAll('"', "")}`));
  box.append(facts);
  return box;
}
