// Renders an app's OpenAPI document and tries its handlers. It knows the conventions of that document, asks
// ingress and nothing else. Invariant: what came from outside becomes text, never markup; numbers of inputs and
// answers stay the text they are, so none is rounded.

import { follow, form as fieldsOf, indent, isJson, knows, members, words } from "./schema.js";

const app = location.pathname.split("/").pop();
const base = ".."; // from /docs/{app}
let spec;
let token = ""; // kept by this page alone, for as long as it is open

// The page.

async function start() {
  const link = by("document");
  link.href = `${base}/v1/openapi/${app}`;
  let answer;
  try {
    answer = await load(link.href);
    spec = await answer.json();
  } catch (error) {
    return fail(`The document did not come: ${error.message}`);
  }
  if (answer.status === 401 || answer.status === 403) return signIn(spec.detail);
  if (!answer.ok) return fail(spec.detail);
  by("types").replaceChildren();
  knows(Object.values(spec.components.schemas));
  document.title = `${spec.info.title}: Keystead`;
  by("title").textContent = spec.info.title;
  by("version").textContent = `version ${spec.info.version.slice(0, 12)}`;
  by("about").textContent = spec.info.description.replaceAll("`", "");
  const types = handlers();
  for (const [type, all] of types) {
    by("index").append(menu(type, all));
    by("types").append(section(type, all));
  }
  by("filter").addEventListener("input", filter);
  document.addEventListener("keydown", shortcut);
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

/** A request to ingress, with the reader's token when there is one. */
function load(path, request = {}) {
  const headers = new Headers(request.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  return fetch(path, { ...request, headers });
}

/** Asks for a token and starts again. */
function signIn(text) {
  fail(text);
  const input = make("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const form = make("form", {}, make("label", { htmlFor: "token" }, "Token "), input, make("button", {}, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = input.value.trim();
    start();
  });
  by("types").append(form);
  input.focus();
}

function fail(text) {
  by("title").textContent = app;
  by("types").replaceChildren(make("p", { className: "error", role: "alert" }, text));
}

/** Types with their handlers, each with its operations by verb. */
function handlers() {
  const types = new Map(spec.tags.filter((tag) => !tag.name.includes(" ")).map((tag) => [tag.name, new Map()]));
  for (const [path, item] of Object.entries(spec.paths)) {
    const [, , verb, , type, key, name] = path.split("/");
    if (key !== "{key}") continue;
    const handler = types.get(type).get(name) ?? { type, name, paths: {} };
    handler.paths[verb] = path;
    handler.operation = handler.paths.call ? spec.paths[handler.paths.call].post : item.post;
    handler.kind = handler.paths.read ? "query" : "command";
    types.get(type).set(name, handler);
  }
  return types;
}

function menu(type, all) {
  const items = [...all.values()].map((handler) =>
    make("li", {}, make("a", { href: `#${id(handler)}` }, badge(handler.kind), handler.name)));
  return make("div", { className: "menu" }, make("h2", {}, type), make("ul", {}, ...items));
}

function section(type, all) {
  const about = spec.tags.find((tag) => tag.name === type).description;
  const none = all.size ? [] : [make("p", { className: "text" }, "It has no handlers to call.")];
  const parts = [make("h2", {}, type), ...(about ? [text(about)] : []), ...none];
  return make("section", {}, ...parts, ...[...all.values()].map(card));
}

function card(handler) {
  const operation = handler.operation;
  const input = body(operation.requestBody.content);
  const output = body(spec.paths[handler.paths.call ?? handler.paths.read].post.responses["200"].content);
  const returns = make("span", { className: "returns" }, `→ ${output.words}`);
  const card = make("article", { id: id(handler) },
    make("h3", {}, handler.name, badge(handler.kind), returns));
  // The last paragraph is about the route, the same for all.
  const about = operation.description.split("\n\n").slice(0, -1).join("\n\n");
  if (about) card.append(text(about));
  if (!input.schema) card.append(make("h4", {}, "Takes"), text(input.words));
  else card.append(...table("Takes", input.schema, "no arguments"));
  const [shown] = output.schema ? follow(output.schema, spec) : [];
  if (shown?.properties || shown?.items) card.append(...table("Gives", output.schema, output.words));
  const tries = make("details", {}, make("summary", {}, "Try it"));
  tries.addEventListener("toggle", () => {
    if (tries.open && !tries.querySelector("form")) tries.append(form(handler, input));
  });
  card.append(errors(handler), tries);
  return card;
}

function errors(handler) {
  const path = handler.paths.call ?? handler.paths.read;
  const rows = [];
  for (const [status, reference] of Object.entries(spec.paths[path].post.responses)) {
    const [told] = follow(reference, spec);
    for (const [code, example] of Object.entries(told.content?.["application/problem+json"]?.examples ?? {})) {
      rows.push([code, status, example.value.source, example.value.retryable ? "may help" : "does not help"]);
    }
  }
  const what = grid(["code", "status", "from", "a retry"], rows);
  return make("details", {}, make("summary", {}, "Errors"), what);
}

function filter() {
  const wanted = by("filter").value.trim().toLowerCase();
  for (const menu of document.querySelectorAll(".menu")) {
    const type = menu.querySelector("h2").textContent.toLowerCase();
    let left = 0;
    for (const item of menu.querySelectorAll("li")) {
      const name = item.querySelector("a").lastChild.textContent.toLowerCase();
      item.hidden = !`${type}.${name}`.includes(wanted);
      left += item.hidden ? 0 : 1;
    }
    menu.hidden = left === 0 && wanted !== "";
  }
}

function shortcut(event) {
  if (event.key !== "/" || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  event.preventDefault();
  by("filter").focus();
}

// Schemas in words.

/** What a body holds: its schema when it is JSON, and a word for it. */
function body(content) {
  const json = content["application/json"];
  if (json?.schema) return { schema: json.schema, example: json.example, words: words(json.schema, spec) };
  const type = Object.keys(content)[0];
  return { type, words: type === "*/*" ? "bytes" : `bytes: ${type}` };
}

/** A schema's members as rows: name, type, whether it is needed, description. */
function rows(schema, root, prefix, depth) {
  [schema, root] = follow(schema, root);
  if (schema.items && prefix === "") return rows(schema.items, root, "[].", depth + 1);
  return members(schema).flatMap(([name, property]) => {
    const [inner, within] = follow(property, root);
    const needed = schema.required?.includes(name) ?? false;
    const row = [prefix + name, words(property, root), needed, inner.description ?? property.description ?? ""];
    if (depth > 2) return [row];
    const items = inner.items ? follow(inner.items, within)[0] : undefined;
    const deeper = items?.properties ? rows(inner.items, within, `${prefix}${name}[].`, depth + 1)
      : inner.properties ? rows(inner, within, `${prefix}${name}.`, depth + 1) : [];
    return [row, ...deeper];
  });
}

function table(title, schema, otherwise) {
  const all = rows(schema, spec, "", 0);
  const soft = (words) => make("span", { className: "hint" }, words);
  const cells = all.map(([name, type, needed, about]) =>
    [needed ? [name] : [name, soft("optional")], about ? [type, soft(about)] : [type]]);
  const what = all.length ? grid(["name", "type"], cells) : text(otherwise);
  return [make("h4", {}, title), what];
}

// Trying a handler.

function form(handler, input) {
  const prefix = id(handler);
  const form = make("form", { noValidate: true });
  const isCommand = handler.kind === "command";
  const fields = make("div", { className: "fields" });
  const key = field(prefix, "key", "any text of at most 512 bytes", line("alice", true));
  fields.append(key.box);
  const argument = input.schema ? args(prefix, input) : bytes(prefix, input);
  fields.append(...argument.boxes);
  const verb = isCommand ? choice(prefix, "How", { call: "call: wait for the result", send: "send: queue it" }) : null;
  const again = field(prefix, "Idempotency-Key", "optional: makes a repetition safe", line("", false));
  const delay = field(prefix, "delay", "optional: 10s, 1h 30m", line("", false));
  if (isCommand) fields.append(verb.box, again.box, delay.box);
  const sync = () => { delay.box.hidden = verb?.value() !== "send"; };
  verb?.box.addEventListener("change", sync);
  sync();
  const button = make("button", { type: "submit" }, isCommand ? "Run" : "Read");
  const result = make("div", { ariaLive: "polite" });
  form.append(fields, make("div", { className: "row" }, button), result);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = keyProblem(key.value()) ?? argument.problem();
    if (problem) return result.replaceChildren(make("p", { className: "error", role: "alert" }, problem));
    const how = verb?.value() ?? "read";
    const request = { method: "POST", headers: { ...argument.headers() }, body: argument.body(), cache: "no-store" };
    if (isCommand && again.value()) request.headers["Idempotency-Key"] = again.value();
    let path = handler.paths[how].replace("{key}", encodeURIComponent(key.value()));
    if (how === "send" && delay.value()) path += `?delay=${encodeURIComponent(delay.value())}`;
    button.disabled = true;
    await ask(path, request, result);
    button.disabled = false;
  });
  return form;
}

function keyProblem(key) {
  const size = new TextEncoder().encode(key).length;
  if (size === 0 || size > 512) return `key: has ${size} bytes; it must have 1 to 512`;
  if (key === "." || key === "..") return "key: browsers take . and .. for steps in a path; use another client";
  return undefined;
}

/** The arguments: a field for each, or all as JSON. */
function args(prefix, input) {
  const named = (name, control, hint) => field(prefix, name, hint, control).box;
  const { boxes, problem, body } = fieldsOf({ schema: input.schema, root: spec, example: input.example, field: named });
  if (!boxes.length) return { boxes, problem, headers: () => ({}), body: () => undefined };
  return { boxes, problem, body, headers: () => ({ "Content-Type": "application/json" }) };
}

/** A body of bytes: a file, or text. */
function bytes(prefix, input) {
  const file = field(prefix, "file", input.words, make("input", { type: "file" }));
  const typed = field(prefix, "or text", "sent as UTF-8", area(""));
  typed.box.classList.add("wide");
  const chosen = () => file.box.querySelector("input").files[0];
  return {
    boxes: [file.box, typed.box],
    problem: () => undefined,
    headers: () => ({ "Content-Type": chosen()?.type || (input.type === "*/*" ? "application/octet-stream" : input.type) }),
    body: () => chosen() ?? typed.value(),
  };
}

/** Asks, and shows the answer in `place`. */
async function ask(path, request, place) {
  const shown = `${request.method} ${path}`;
  const began = performance.now();
  try {
    const answer = await load(base + path, request);
    const took = Math.round(performance.now() - began);
    place.replaceChildren(await answered(shown, answer, took));
  } catch (error) {
    const text = `No answer to ${shown}: ${error.message}`;
    place.replaceChildren(make("p", { className: "error", role: "alert" }, text));
  }
}

async function answered(shown, answer, took) {
  const type = answer.headers.get("content-type") ?? "";
  const box = make("div", { className: `answer ${answer.ok ? "good" : "bad"}` },
    make("p", { className: "status" }, `${answer.status} ${answer.statusText}, ${took} ms`),
    make("code", {}, shown));
  if (/json|^text\//.test(type)) {
    const came = await answer.text();
    box.append(make("pre", { tabIndex: 0 }, /json/.test(type) && isJson(came) ? indent(came) : came));
  } else {
    const blob = await answer.blob();
    const link = make("a", { href: URL.createObjectURL(blob), download: "answer" }, `${blob.size} bytes, ${type || "no type"}`);
    box.append(make("p", {}, link));
  }
  const headers = make("div", { className: "headers" }, grid(["header", "value"], [...answer.headers]));
  box.append(headers);
  if (answer.status === 202) box.append(outcome(answer.headers.get("keystead-id")));
  return box;
}

/** A button that asks what became of a message that was sent. */
function outcome(message) {
  const place = make("div", { ariaLive: "polite" });
  const button = make("button", { type: "button", className: "quiet" }, "What became of it?");
  button.addEventListener("click", () => ask(`/v1/messages/${message}?wait=1s`, { method: "GET", cache: "no-store" }, place));
  return make("div", {}, button, place);
}

// Elements.

function by(name) {
  return document.getElementById(name);
}

function id(handler) {
  return `${handler.type}.${handler.name}`;
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function text(words) {
  return make("p", { className: "text" }, words);
}

function badge(kind) {
  return make("span", { className: `kind ${kind}` }, kind);
}

function grid(head, rows) {
  const row = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, ...[cell].flat())));
  return make("div", { className: "scroll" }, make("table", {},
    make("thead", {}, row("th", head)), make("tbody", {}, ...rows.map((cells) => row("td", cells)))));
}

function field(prefix, name, hint, control) {
  control.id = `${prefix}-${name}`;
  const label = make("label", { htmlFor: control.id }, name, make("span", { className: "hint" }, hint));
  const box = make("div", { className: "field" }, label, control);
  return { box, value: () => control.value };
}

function line(value, required) {
  return make("input", { type: "text", className: "value", value, required, autocomplete: "off", spellcheck: false });
}

function area(value) {
  return make("textarea", { value, spellcheck: false });
}

function choice(prefix, title, options) {
  const name = `${prefix}-${title}`;
  const inputs = Object.entries(options).map(([value, words], at) => {
    const input = make("input", { type: "radio", name, value, id: `${name}-${value}`, checked: at === 0 });
    return [input, make("label", { htmlFor: input.id }, input, words)];
  });
  const labels = make("div", { className: "choices" }, ...inputs.map(([, label]) => label));
  const box = make("fieldset", { className: "field wide" }, make("legend", {}, title), labels);
  return { box, value: () => inputs.find(([input]) => input.checked)[0].value };
}

start();
