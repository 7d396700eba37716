// A JSON value as a tree that opens and closes. Values are shown as they are; only what is opened is made.

import { isExact } from "./api.js";
import { code, count, make } from "./dom.js";

/** Members that are shown before somebody asks for more. */
const SHOWN = 100;

export function tree(value, open = true) {
  return make("div", { class: "tree" }, branch(value, open ? 2 : 1));
}

function branch(value, depth) {
  if (value === null || typeof value !== "object" || isExact(value)) return leaf(value);
  const list = Array.isArray(value);
  const members = list ? value.map((one, at) => [String(at), one]) : Object.entries(value);
  if (!members.length) return code(list ? "[ ]" : "{ }");
  const items = make("ul");
  const more = (from) => {
    for (const [name, one] of members.slice(from, from + SHOWN)) items.append(make("li", {}, member(name, one, depth - 1)));
    const left = members.length - from - SHOWN;
    if (left <= 0) return;
    const next = make("button", { type: "button", class: "quiet", onclick: () => { item.remove(); more(from + SHOWN); } }, `${count(left)} more`);
    const item = make("li", {}, next);
    items.append(item);
  };
  more(0);
  return items;
}

/** A name with its value: in one line, or to be opened. */
export function member(name, value, depth = 1, hint) {
  const key = make("span", { class: "key" }, name);
  const about = hint ? make("span", { class: "hint" }, hint) : undefined;
  const simple = value === null || typeof value !== "object" || isExact(value) || Object.keys(value).length === 0;
  if (simple) return make("div", { class: "pair" }, key, about, make("span", { class: "colon" }, ": "), branch(value, depth));
  const size = Array.isArray(value) ? `[${count(value.length)}]` : `{${count(Object.keys(value).length)}}`;
  const box = make("details", {}, make("summary", {}, key, about, make("span", { class: "soft" }, ` ${size}`)));
  const fill = () => { if (box.open && box.children.length === 1) box.append(branch(value, depth)); };
  box.addEventListener("toggle", fill);
  box.open = depth > 0;
  fill();
  return box;
}

function leaf(value) {
  const kind = value === null ? "null" : typeof value === "object" ? "number" : typeof value;
  return make("span", { class: `leaf ${kind}` }, kind === "string" ? JSON.stringify(value) : String(value));
}
