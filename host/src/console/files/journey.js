// A message's journey: what caused it and all that came of it, drawn from left to right, each entity in a lane of its own,
// and the same as a list.

import { every, get } from "./api.js";
import { badge, count, draw, empty, entityLink, failure, field, heading, input, make, messageLink, micros, moment, parts, section, span } from "./dom.js";

const ENDED = ["done", "rejected", "failed", "parked", "cancelled", "unknown"];
const [WIDTH, HEIGHT, GAP_X, GAP_Y, LANE, LEFT, TOP] = [148, 44, 52, 12, 6, 10, 0];

export async function journey({ place, parts: [id], signal }) {
  const wanted = input({ value: id ?? "", placeholder: "msg_…", class: "mono", required: true });
  const form = make("form", { class: "row fields", role: "search" }, long(field("Message", wanted)), make("button", { type: "submit" }, "Show"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/journey/${encodeURIComponent(wanted.value.trim())}`;
  });
  place.append(heading("Journey of a message"), form);
  if (!id) return recent(place, signal);
  const shown = make("div", { class: "stack" });
  place.append(shown);
  let drawn;
  let chosen = id;
  await every(1000, signal, async () => {
    if (drawn?.ended) return;
    let found;
    try {
      found = await get(`/admin/v1/messages/${encodeURIComponent(id)}/journey`, signal);
    } catch (error) {
      if (!error.status) throw error;
      drawn = { ended: true };
      shown.replaceChildren(error.status === 404 ? empty(error.message, " ", make("span", {}, "Each answer carries its message's id as ", make("code", {}, "Keystead-Id"), ".")) : failure(error));
      return;
    }
    const text = JSON.stringify(found);
    if (drawn?.text === text) return;
    drawn = { text, ended: found.messages.every((one) => ENDED.includes(one.status)) && !found.messages.some((one) => one.status === "unknown") };
    const detail = make("div", { class: "detail", "aria-live": "polite" });
    const choose = (step) => {
      chosen = step.id;
      for (const node of shown.querySelectorAll("g.node")) node.classList.toggle("chosen", node.dataset.id === chosen);
      detail.replaceChildren(about(step));
    };
    const focused = shown.contains(document.activeElement) ? document.activeElement.closest("g.node")?.dataset.id : undefined;
    const view = shown.querySelector(".graph")?.scrollLeft ?? 0;
    shown.replaceChildren(remarks(found), section("Graph", graph(found, choose), detail), section("Messages", list(found)));
    shown.querySelector(".graph").scrollLeft = view;
    choose(found.messages.find((one) => one.id === chosen) ?? found.messages[0]);
    if (focused) [...shown.querySelectorAll("g.node")].find((node) => node.dataset.id === focused)?.focus();
  });
}

function long(box) {
  box.classList.add("long");
  return box;
}

/** Something to begin with: the last messages that came from outside. */
async function recent(place, signal) {
  const { turns } = await get("/admin/v1/turns?limit=200", signal);
  const first = turns.filter((turn) => turn.cause.kind === "ingress").slice(0, 10);
  place.append(first.length
    ? section("Came from outside lately", make("ul", { class: "plain" }, first.map((turn) => make("li", { class: "row" }, moment(turn.at_ms), entityLink(turn.entity), messageLink(turn.id, turn.handler), badge(turn.outcome)))))
    : empty("Give a message's id. Each answer carries one as ", make("code", {}, "Keystead-Id"), ", and so do log lines, dead letters and recent transactions."));
}

function remarks(found) {
  const said = [];
  if (found.cut_above) said.push("What caused the first of these is not remembered, or too far up.");
  if (found.cut_below) said.push(`More came of it than the ${count(found.messages.length)} messages that are shown.`);
  if (!said.length) return make("p", { class: "soft" }, `${count(found.messages.length)} ${found.messages.length === 1 ? "message" : "messages"}.`);
  return make("p", { class: "remark" }, `${said.join(" ")} Turns are remembered since `, moment(found.since_ms, true), ".");
}

// The graph.

/** Columns by distance from the first cause; a lane for each entity, as high as its fullest column. */
function layout(messages) {
  const steps = new Map(messages.map((step) => [step.id, { step, column: 0 }]));
  for (const node of steps.values()) {
    const cause = steps.get(node.step.cause.message);
    // Causes stand before what they caused.
    if (cause) [node.cause, node.column] = [cause, cause.column + 1];
  }
  const lanes = new Map();
  for (const node of steps.values()) {
    const lane = lanes.get(node.step.entity) ?? { entity: node.step.entity, columns: new Map(), rows: 1 };
    node.row = lane.columns.get(node.column) ?? 0;
    lane.columns.set(node.column, node.row + 1);
    lane.rows = Math.max(lane.rows, node.row + 1);
    lanes.set(node.step.entity, lane);
    node.lane = lane;
  }
  let y = TOP;
  for (const lane of lanes.values()) {
    lane.y = y;
    lane.height = 18 + lane.rows * (HEIGHT + GAP_Y) + LANE;
    y += lane.height;
  }
  let width = 0;
  for (const node of steps.values()) {
    node.x = LEFT + node.column * (WIDTH + GAP_X);
    node.y = node.lane.y + 24 + node.row * (HEIGHT + GAP_Y);
    width = Math.max(width, node.x + WIDTH + LEFT);
  }
  return { nodes: [...steps.values()], lanes: [...lanes.values()], width: Math.max(width, 320), height: y + TOP };
}

function graph(found, choose) {
  const { nodes, lanes, width, height } = layout(found.messages);
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Graph of ${nodes.length} messages over ${lanes.length} entities` });
  lanes.forEach((lane, at) => {
    const { app, kind, key } = parts(lane.entity);
    svg.append(draw("rect", { class: `lane ${at % 2 ? "odd" : "even"}`, x: 0, y: lane.y, width, height: lane.height }),
      draw("text", { class: "lane-name", x: LEFT, y: lane.y + 16 }, draw("title", {}, lane.entity), cut(`${app}/${kind}/${key}`, Math.floor(width / 7.5))));
  });
  for (const node of nodes.filter((one) => one.cause)) svg.append(edge(node.cause, node));
  for (const node of nodes) svg.append(box(node, found.id, choose));
  return make("div", { class: "graph", tabIndex: 0, role: "region", "aria-label": "Graph" }, svg);
}

function edge(from, to) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
  const middle = (x1 + x2) / 2;
  const timer = to.step.cause.timer !== undefined;
  return draw("g", { class: timer ? "edge timer" : "edge" }, draw("path", { d: `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2 - 6} ${y2}` }),
    draw("path", { class: "tip", d: `M${x2 - 7} ${y2 - 4} L${x2} ${y2} L${x2 - 7} ${y2 + 4} Z` }));
}

function box(node, asked, choose) {
  const { step, x, y } = node;
  const name = `${step.handler} at ${step.entity}: ${step.status}`;
  const show = () => choose(step);
  const press = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    show();
  };
  const about = [step.status.replaceAll("_", " "), step.attempts > 1 ? `×${step.attempts}` : "", step.took_us === null ? "" : micros(step.took_us)].filter(Boolean).join(" · ");
  return draw("g", { class: `node is-${step.status}${step.id === asked ? " asked" : ""}`, tabindex: 0, role: "button", "aria-label": name, "data-id": step.id, onclick: show, onkeydown: press },
    draw("title", {}, name), draw("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 7 }), draw("rect", { class: "edge-mark", x, y: y + 8, width: 4, height: HEIGHT - 16, rx: 2 }),
    draw("text", { class: "name", x: x + 13, y: y + 18 }, cut(step.handler, 17)), draw("text", { class: "about", x: x + 13, y: y + 34 }, cut(about, 22)));
}

function cut(text, most) {
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join("")}…`;
}

// One message, and all of them as a list.

function about(step) {
  const fact = (name, ...value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  const { cause } = step;
  const from = cause.timer !== undefined ? `timer ${cause.timer}` : cause.entity ? entityLink(cause.entity) : cause.kind === "ingress" ? "outside" : cause.kind;
  const due = step.due_ms && step.due_ms > Date.now() ? fact("due", `in ${span(step.due_ms - Date.now())}`) : null;
  return make("dl", { class: "facts" }, fact("handler", make("code", {}, step.handler)), fact("entity", entityLink(step.entity)), fact("status", badge(step.status)), fact("from", from),
    step.attempts ? fact("attempts", count(step.attempts)) : null, step.took_us === null ? null : fact("took", micros(step.took_us)),
    step.at_ms ? fact("ended", moment(step.at_ms)) : null, step.version === null ? null : fact("version", count(step.version)), due,
    step.reason ? fact("reason", make("span", { class: "reason whole" }, step.reason)) : null,
    step.status === "parked" ? fact("dead letter", make("a", { href: `#/dead/${encodeURIComponent(step.id)}` }, "look at it")) : null,
    step.status === "unknown" ? fact("note", "It was cancelled from outside, or what became of it is not remembered.") : null,
    fact("message", messageLink(step.id, step.id)));
}

function list(found) {
  const below = (cause) => found.messages.filter((step) => step.cause.message === cause);
  const known = new Set(found.messages.map((step) => step.id));
  const item = (step) => {
    const under = below(step.id);
    return make("li", {}, make("div", { class: "row" }, make("strong", {}, step.handler), entityLink(step.entity), badge(step.status), step.took_us === null ? null : make("span", { class: "soft" }, micros(step.took_us)),
      step.reason ? make("span", { class: "reason" }, step.reason) : null), under.length ? make("ul", {}, under.map(item)) : null);
  };
  return make("ul", { class: "steps" }, found.messages.filter((step) => !known.has(step.cause.message)).map(item));
}
