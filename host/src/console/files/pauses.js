// What is paused: of one app, with its types and entities, or everything. An entity's own page pauses it alone.

import { ask, can, every, get, refused } from "./api.js";
import { button, code, confirm, empty, entityLink, field, fill, lacking, make, note, parts, section, select, table } from "./dom.js";

const PAUSES = "GET /admin/v1/pauses";
const PAUSE = "PUT /admin/v1/pauses";
/** How the host names a pause of everything. */
const ALL = "everything";

function query(scope) {
  if (scope === ALL) return "all=true";
  const { app, kind, key } = parts(scope);
  return new URLSearchParams([["app", app], ["type", kind], ["key", key]].filter(([, value]) => value));
}

/** Ends a pause; asks first when it is of everything. */
async function resume(scope, done) {
  if (scope === ALL && !(await confirm("Resume everything?", "All commands and messages that waited begin to run. What is paused by itself, an app, a type or an entity, stays so.", "Resume", { danger: false }))) return;
  try {
    await ask("DELETE", `/admin/v1/pauses?${query(scope)}`);
    note(`Resumed: ${scope}.`);
  } catch (error) {
    note(error.message, true);
  }
  await done();
}

/** A section with what is paused of an app, and the way to pause it or one of its types; nothing when one may not see that. */
export function pausesOf(app, types, signal) {
  if (!can(PAUSES)) return "";
  const shown = make("div");
  const rows = table("Paused", [
    { name: "what", value: (one) => (parts(one).key ? entityLink(one) : code(one)) },
    { name: "", value: (one) => make("div", { class: "row tight" }, can(PAUSE) ? button("Resume", () => resume(one, look), { class: "quiet", "aria-label": `Resume ${one}` }) : []) },
  ]);
  const look = async () => {
    const { paused } = await get("/admin/v1/pauses", signal);
    const own = paused.filter((one) => one === ALL || one === app || one.startsWith(`${app}/`));
    rows.set(own, (one) => one);
    if (own.length) fill(shown, rows.element);
    else shown.replaceChildren(empty("Nothing of it is paused."));
  };
  const scope = select([[app, "the whole app"], ...types.map((type) => [`${app}/${type}`, `the type ${type}`])], app);
  const pause = async () => {
    const run = () => ask("PUT", `/admin/v1/pauses?${query(scope.value)}`);
    if (!(await confirm(`Pause ${scope.value}?`, "Commands and messages for its entities wait, durably, until it is resumed. Queries go on.", "Pause", { danger: false, run }))) return;
    note(`Paused: ${scope.value}.`);
    await look();
  };
  every(2000, signal, look);
  const why = refused([["pause or resume it", PAUSE]]);
  return section("Paused", shown, can(PAUSE) ? make("div", { class: "row fields" }, field("What to pause", scope), button("Pause…", pause, { class: "quiet" })) : lacking(why));
}

/** What to say when everything is paused; `set(count)` is told how many pauses there are. */
export function allPaused(signal) {
  const remark = make("div", { class: "warning row", role: "status", hidden: true }, "Everything is paused: commands and messages wait until it is resumed.",
    can(PAUSE) ? button("Resume everything…", () => resume(ALL, look), { class: "quiet" }) : null);
  const look = async () => {
    const { paused } = await get("/admin/v1/pauses", signal);
    remark.hidden = !paused.includes(ALL);
  };
  const set = async (count) => {
    if (count > 0 && can(PAUSES)) await look();
    else remark.hidden = true;
  };
  return { element: remark, set };
}
