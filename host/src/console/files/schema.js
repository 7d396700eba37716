// JSON Schema in words, and as fields of a form. Invariant: what a person wrote is sent as it was written, so no number
// is rounded on its way.

import { field, input, make, select } from "./dom.js";

/** Follows references within the schema. */
export function follow(schema, root) {
  for (let step = 0; step < 16 && typeof schema?.$ref === "string"; step++) {
    if (!schema.$ref.startsWith("#")) return {};
    const path = decodeURIComponent(schema.$ref.slice(1)).split("/").slice(1);
    schema = path.map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~")).reduce((value, part) => value?.[part], root);
  }
  return schema ?? {};
}

/** What a schema lets a value be. */
export function words(schema, root, depth = 0) {
  schema = follow(schema, root);
  if (depth > 4) return "…";
  if (schema === false) return "nothing";
  if (schema === true || Object.keys(schema).length === 0) return "anything";
  const inner = (one) => words(one, root, depth + 1);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return [...new Set(branches.map(inner))].join(" or ");
  if (schema.allOf?.length === 1) return inner(schema.allOf[0]);
  const kinds = [schema.type ?? (schema.properties ? "object" : "anything")].flat();
  return kinds.map((kind) => {
    if (kind === "array" && schema.prefixItems) return `[${schema.prefixItems.map(inner).join(", ")}]`;
    if (kind === "array") return `list of ${schema.items ? inner(schema.items) : "anything"}`;
    if (kind === "object" && schema.properties && depth < 2) {
      return `{ ${Object.entries(schema.properties).map(([name, one]) => `${name}: ${inner(one)}`).join(", ")} }`;
    }
    if (kind === "object" && schema.additionalProperties) return `map of ${inner(schema.additionalProperties)}`;
    return kind + limits(schema, kind);
  }).join(" or ");
}

function limits(schema, kind) {
  const said = [];
  if (kind === "integer" || kind === "number") {
    if (schema.minimum !== undefined) said.push(`≥ ${schema.minimum}`);
    if (schema.exclusiveMinimum !== undefined) said.push(`> ${schema.exclusiveMinimum}`);
    if (schema.maximum !== undefined) said.push(`≤ ${schema.maximum}`);
  }
  if (kind === "string") {
    if (schema.format) said.push(schema.format);
    if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  }
  return said.length ? ` ${said.join(", ")}` : "";
}

const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$/;

/** Fields for a handler's arguments: `boxes` to show, `problem()` in words, `body()` as JSON text. */
export function form(schema) {
  const top = follow(schema, schema);
  const order = (name) => { const at = (top.required ?? []).indexOf(name); return at < 0 ? 1000 : at; };
  const members = Object.entries(top.properties ?? {}).sort(([a], [b]) => order(a) - order(b));
  const named = members.map(([name, property]) => argument(name, property, schema, top.required?.includes(name) ?? false));
  const open = named.length === 0 && top.additionalProperties !== false && top.properties === undefined;
  if (named.length === 0 && !open) return { boxes: [], problem: () => undefined, body: () => "{}" };
  const text = make("textarea", { value: "{}", spellcheck: false, rows: 5 });
  const raw = field("Arguments as JSON", text, "one object");
  const toggle = make("input", { type: "checkbox", id: "as-json", checked: open });
  const choice = make("div", { class: "choices wide", hidden: open }, make("label", { for: "as-json" }, toggle, "write the arguments as JSON"));
  const object = () => `{${named.filter((one) => one.given()).map((one) => `${JSON.stringify(one.name)}: ${one.json()}`).join(", ")}}`;
  const show = () => {
    if (toggle.checked && !open && !named.some((one) => one.problem())) text.value = object();
    for (const one of named) one.box.hidden = toggle.checked;
    raw.hidden = !toggle.checked;
  };
  raw.classList.add("wide");
  raw.hidden = !open;
  toggle.addEventListener("change", show);
  return {
    boxes: [...named.map((one) => one.box), raw, choice],
    problem: () => toggle.checked ? (isJson(text.value) ? undefined : "The arguments are no JSON.") : named.map((one) => one.problem()).find(Boolean),
    body: () => toggle.checked ? text.value : object(),
  };
}

function argument(name, property, root, required) {
  const schema = follow(property, root);
  const branches = (schema.anyOf ?? schema.oneOf ?? [schema]).map((one) => follow(one, root));
  const kinds = new Set(branches.flatMap((one) => one.type ?? (one.enum ? "enum" : "any")));
  kinds.delete("null");
  const kind = kinds.size === 1 ? [...kinds][0] : "any";
  const values = branches.find((one) => one.enum)?.enum;
  let control;
  if (values || kind === "boolean") {
    const options = (values ?? [true, false]).map((value) => [JSON.stringify(value), String(value)]);
    control = select(required ? options : [["", "not given"], ...options]);
  } else if (kind === "string" || kind === "integer" || kind === "number") {
    control = input({ inputMode: kind === "string" ? "text" : kind === "integer" && !(schema.minimum < 0) ? "numeric" : "decimal", class: "mono" });
  } else control = make("textarea", { spellcheck: false, rows: 3 });
  const about = [words(property, root), required ? "" : "optional", schema.description ?? property.description ?? ""].filter(Boolean).join("; ");
  const box = field(name, control, about);
  if (control.tagName === "TEXTAREA") box.classList.add("wide");
  const text = kind === "string" && !values;
  const given = () => control.value !== "" || (required && text);
  const mark = (problem) => {
    control.setAttribute("aria-invalid", problem ? "true" : "false");
    return problem;
  };
  return {
    name, box, given,
    json: () => (text ? JSON.stringify(control.value) : control.value.trim()),
    problem: () => {
      if (!given()) return mark(required ? `${name} is missing.` : undefined);
      if ((kind === "integer" || kind === "number") && !NUMBER.test(control.value.trim())) return mark(`${name} is no number.`);
      return mark(text || isJson(control.value) ? undefined : `${name} is no JSON.`);
    },
  };
}

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
