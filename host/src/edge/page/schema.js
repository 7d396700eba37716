// JSON Schema in words, and as fields of a form. The console and the page of an app's documentation load it. Invariant: what
// a person wrote is sent as it was written, so no number is rounded on its way.

const STEPS = 16;
/** Schemas that others may name by their `$id`. */
let named = [];

/** Says which schemas stand beside each other in a document. */
export function knows(schemas) {
  named = schemas;
}

/** Follows references; gives the schema, and what references within it are within: a schema with an `$id` is its own root. */
export function follow(schema, root) {
  for (let step = 0; step < STEPS && typeof schema?.$ref === "string"; step++) {
    const [resource, fragment = ""] = schema.$ref.split("#");
    if (resource) root = named.find((one) => one.$id === resource) ?? root;
    schema = /^[^/]/.test(fragment) ? anchor(root, fragment) : pointer(root, decodeURIComponent(fragment));
    if (schema?.$id) root = schema;
  }
  return [schema ?? {}, root];
}

function pointer(root, path) {
  const parts = path.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return parts.reduce((value, part) => value?.[part], root);
}

function anchor(value, name) {
  if (value === null || typeof value !== "object") return undefined;
  if (value.$anchor === name || value.$dynamicAnchor === name) return value;
  for (const inner of Object.values(value)) {
    const found = anchor(inner, name);
    if (found) return found;
  }
  return undefined;
}

/** What a schema lets a value be; with its members, down to `open` objects within each other. */
export function words(schema, root, open = 0, depth = 0) {
  [schema, root] = follow(schema, root);
  if (depth > 4) return "…";
  if (schema === false) return "nothing";
  if (schema === true || Object.keys(schema).length === 0) return "anything";
  const inner = (one) => words(one, root, open, depth + 1);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return [...new Set(branches.map(inner))].join(" or ");
  if (schema.allOf?.length === 1) return inner(schema.allOf[0]);
  const kinds = [schema.type ?? (schema.properties ? "object" : "anything")].flat();
  return kinds.map((kind) => {
    if (kind === "array" && schema.prefixItems) return `[${schema.prefixItems.map(inner).join(", ")}]`;
    if (kind === "array") return `list of ${schema.items ? inner(schema.items) : "anything"}`;
    if (kind === "object" && schema.properties && depth < open) {
      return `{ ${members(schema).map(([name, one]) => `${name}: ${inner(one)}`).join(", ")} }`;
    }
    if (kind === "object" && !schema.properties && schema.additionalProperties) return `map of ${inner(schema.additionalProperties)}`;
    return kind + limits(schema, kind);
  }).join(" or ");
}

function limits(schema, kind) {
  const said = [];
  if (kind === "integer" || kind === "number") {
    if (schema.minimum !== undefined) said.push(`≥ ${schema.minimum}`);
    if (schema.exclusiveMinimum !== undefined) said.push(`> ${schema.exclusiveMinimum}`);
    if (schema.maximum !== undefined) said.push(`≤ ${schema.maximum}`);
    if (schema.exclusiveMaximum !== undefined) said.push(`< ${schema.exclusiveMaximum}`);
  }
  if (kind === "string") {
    if (schema.format) said.push(schema.format);
    if (schema.pattern) said.push(`like ${schema.pattern}`);
    if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  }
  return said.length ? ` ${said.join(", ")}` : "";
}

/** An object's members, the required ones first and in the order that the author gave them. */
export function members(schema) {
  const required = schema.required ?? [];
  const place = (name) => (required.includes(name) ? required.indexOf(name) : required.length);
  return Object.entries(schema.properties ?? {}).sort(([a], [b]) => place(a) - place(b));
}

const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$/;

/**
 * Fields for a handler's arguments, each or all as JSON: `boxes` to show, `problem()` in words, `body()` as JSON text.
 * `field(name, control, hint)` is the page's own way to put a name on a control; `example` has values to begin with.
 */
export function form({ schema: whole, root: within = whole, example, field }) {
  const [schema, root] = follow(whole, within);
  const own = members(schema).map(([name, property]) => argument({ name, property, root, field, required: schema.required?.includes(name) ?? false, example: example?.[name] }));
  const open = own.length === 0 && schema.additionalProperties !== false && schema.properties === undefined;
  if (own.length === 0 && !open) return { boxes: [], problem: () => undefined, body: () => "{}" };
  const text = area(example === undefined ? "{}" : JSON.stringify(example, null, 2));
  const raw = field("arguments as JSON", text, "one object");
  const toggle = element("input", { type: "checkbox", checked: open });
  const label = element("label");
  label.append(toggle, "write the arguments as JSON");
  const choice = element("div", { className: "choices wide", hidden: open });
  choice.append(label);
  const object = () => `{${own.filter((one) => one.given()).map((one) => `${JSON.stringify(one.name)}: ${one.json()}`).join(", ")}}`;
  const show = () => {
    if (toggle.checked && !open && !own.some((one) => one.problem())) text.value = indent(object());
    for (const one of own) one.box.hidden = toggle.checked;
    raw.hidden = !toggle.checked;
  };
  raw.classList.add("wide");
  raw.hidden = !open;
  toggle.addEventListener("change", show);
  const mark = marker(text);
  return {
    boxes: [...own.map((one) => one.box), raw, choice],
    problem: () => (toggle.checked ? mark(isJson(text.value) ? undefined : "The arguments are no JSON.") : own.map((one) => one.problem()).find(Boolean)),
    body: () => (toggle.checked ? text.value : object()),
  };
}

function argument({ name, property, root, field, required, example }) {
  const [schema, inside] = follow(property, root);
  const branches = (schema.anyOf ?? schema.oneOf ?? [schema]).map((one) => follow(one, inside)[0]);
  const kinds = new Set(branches.flatMap((one) => one.type ?? (one.enum ? "enum" : "any")));
  kinds.delete("null");
  const kind = kinds.size === 1 ? [...kinds][0] : "any";
  const values = branches.find((one) => one.enum)?.enum ?? (kind === "boolean" ? [true, false] : undefined);
  const text = kind === "string" && !values;
  const number = !values && (kind === "integer" || kind === "number");
  const begin = required && example !== undefined;
  let control;
  if (values) control = select(values, required);
  else if (text) control = line(begin ? example : "", "text");
  else if (number) control = line(begin ? String(example) : "", kind === "integer" && !(schema.minimum < 0) ? "numeric" : "decimal");
  else control = area(begin ? JSON.stringify(example) : "");
  const about = [words(property, root), required ? "" : "optional", schema.description ?? property.description ?? ""].filter(Boolean).join("; ");
  const box = field(name, control, about);
  if (control.tagName === "TEXTAREA") box.classList.add("wide");
  const given = () => control.value !== "" || (required && text);
  const mark = marker(control);
  return {
    name, box, given,
    json: () => (text ? JSON.stringify(control.value) : control.value.trim()),
    problem: () => {
      if (!given()) return mark(required ? `${name} is missing.` : undefined);
      if (number && !NUMBER.test(control.value.trim())) return mark(`${name} is no number.`);
      return mark(text || isJson(control.value) ? undefined : `${name} is no JSON.`);
    },
  };
}

/** Marks a control as wrong while there is a problem, and hands the problem on. */
function marker(control) {
  return (problem) => {
    control.setAttribute("aria-invalid", String(Boolean(problem)));
    return problem;
  };
}

function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

function line(value, inputMode) {
  return element("input", { type: "text", className: "value mono", value, inputMode, autocomplete: "off", spellcheck: false });
}

function area(value) {
  return element("textarea", { value, rows: 4, spellcheck: false });
}

function select(values, required) {
  const control = element("select");
  if (!required) control.append(element("option", { value: "", textContent: "not given" }));
  control.append(...values.map((value) => element("option", { value: JSON.stringify(value), textContent: typeof value === "string" ? value : JSON.stringify(value) })));
  return control;
}

// JSON as text.

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Indents JSON without reading its numbers. */
export function indent(json) {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let depth = 0;
  let out = "";
  const turn = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, at) => {
    if (token === "{" || token === "[") {
      depth += 1;
      out += token + (/[}\]]/.test(tokens[at + 1]) ? "" : turn());
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out += (/[{[]/.test(tokens[at - 1]) ? "" : turn()) + token;
    } else out += token === "," ? `,${turn()}` : token === ":" ? ": " : token;
  });
  return out;
}
