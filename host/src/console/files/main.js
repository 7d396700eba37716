// The frame around the pages: which one is shown, where the host is, theme, keys, and who is asked for a token.

import { Away, ask, askAgain, can, every, get, hasToken, learn, myself, onUnauthorized, refused, setToken, watch } from "./api.js";
import { apps } from "./apps.js";
import { dead } from "./dead.js";
import { button, by, cancel, dialog, failure, field, heading, input, lacking, make, say, span } from "./dom.js";
import { entities } from "./entities.js";
import { journey } from "./journey.js";
import { overview } from "./overview.js";
import { trial } from "./try.js";

/** `needs` is the route that a page cannot be without, and `to` what it is for. */
const PAGES = [
  { name: "", words: "Overview", show: overview },
  { name: "apps", words: "Apps", show: apps, needs: "GET /admin/v1/apps", to: "look at apps" },
  { name: "entities", words: "Entities", show: entities, needs: "GET /admin/v1/entities/{app}/{type}", to: "look at entities" },
  { name: "journey", words: "Journeys", show: journey, needs: "GET /admin/v1/messages/{id}/journey", to: "follow messages" },
  { name: "dead", words: "Dead letters", show: dead, needs: "GET /admin/v1/dead", to: "look at dead letters" },
  { name: "try", words: "Try it", show: trial, needs: "POST /admin/v1/try/{app}/{type}/{key}/{handler}", to: "try handlers" },
];

let shown = new AbortController();
let learned = false;

// Pages.

async function route() {
  askAgain();
  shown.abort();
  shown = new AbortController();
  const signal = shown.signal;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decode);
  const page = PAGES.find((one) => one.name === name) ?? PAGES[0];
  document.title = `${page.words}: Keystead console`;
  menu(page);
  const main = by("main");
  const place = make("div", { class: `page ${page.name || "overview"}` });
  main.replaceChildren(place);
  try {
    if (!learned) {
      await learn();
      learned = true;
      menu(page);
      showConnection();
    }
    if (signal.aborted) return;
    const why = page.needs && refused([[page.to, page.needs]]);
    if (why) return void place.append(heading(page.words), lacking(why));
    await page.show({ place, parts: rest, query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(heading(page.words), failure(error), retry(error, page, rest.length > 0));
    if (error instanceof Away) await back(signal);
  }
}

// Whoever leaves a page leaves what it was about to look at: what was done is done, and nobody waits for the look after it.
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") event.preventDefault();
});

/** The page for somebody else. */
function anew() {
  learned = false;
  route();
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function retry(error, page, inside) {
  const away = error instanceof Away;
  return make("div", { class: "row" }, button("Try again", route, { class: "quiet" }), away ? make("span", { class: "soft" }, "It is tried again by itself, each second.") : null,
    inside && !away ? make("a", { href: `#/${page.name}` }, `Back to: ${page.words}`) : null);
}

/** Waits until the host answers again, then shows the page anew. */
async function back(signal) {
  while (!signal.aborted) {
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    if (signal.aborted || document.hidden) continue;
    try {
      await ask("GET", "/admin/v1/health", { signal });
      if (!signal.aborted) await route();
      return;
    } catch {
      // Not yet.
    }
  }
}

function menu(current) {
  const items = PAGES.filter((page) => !page.needs || (learned && can(page.needs))).map((page) =>
    make("li", {}, make("a", { href: `#/${page.name}`, "aria-current": page === current ? "page" : undefined }, page.words)));
  const nav = by("nav");
  const focused = nav.contains(document.activeElement) ? document.activeElement.getAttribute("href") : undefined;
  nav.replaceChildren(make("ul", {}, items));
  if (focused) nav.querySelector(`a[href="${focused}"]`)?.focus();
}

// Where the host is.

let connection = { away: false, seen: 0, declined: false };

function showConnection() {
  const { away, seen, declined } = connection;
  const place = by("connection");
  place.classList.toggle("bad", away || declined);
  const last = seen ? `; last seen ${span(Date.now() - seen)} ago` : "";
  say(place, away ? `host away${last}` : declined ? "the host asks for a token" : seen ? `connected to ${location.host}${learned && myself() ? `, as ${myself()}` : ""}` : "connecting");
  by("forget").hidden = !hasToken() && !declined;
  say(by("forget"), declined ? "Give a token" : "Forget token");
}

watch((state) => {
  const came = connection.away && !state.away;
  connection = { ...state };
  showConnection();
  // Another build may have been started meanwhile.
  if (came && learned) learn().catch(() => {});
});
setInterval(() => { if (connection.away) showConnection(); }, 1000);
// A page that asks nothing by itself should say so too when the host goes away.
every(2000, new AbortController().signal, async () => {
  if (Date.now() - connection.seen > 3000) await get("/admin/v1/health");
});

// A token, when the host wants one.

onUnauthorized((again) => new Promise((resolve) => {
  const token = input({ type: "password", required: true, autocomplete: "off" });
  const words = again ? "The host does not take this token. Give another one." : "The host asks who you are. Give a token that may read, or more.";
  const box = dialog("Token", make("form", { method: "dialog" },
    make("p", {}, words), field("Token", token, "Kept for this tab only, until it is closed."),
    make("div", { class: "row end" }, cancel(), make("button", { type: "submit", value: "yes" }, "Use it"))));
  token.focus();
  box.addEventListener("close", () => {
    const given = box.returnValue === "yes" && token.value.trim() !== "";
    if (given) setToken(token.value.trim());
    resolve(given);
    // Another token may show and do other things.
    if (given && learned) anew();
  });
}));

by("forget").addEventListener("click", () => {
  setToken(null);
  anew();
});

// Theme.

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  by("theme").value = name;
  keep("keystead-theme", name);
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Then it holds for this visit.
  }
}

function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

by("theme").value = document.documentElement.dataset.theme ?? "";
by("theme").addEventListener("change", () => theme(by("theme").value));

// Keys.

let keys = kept("keystead-keys") !== "off";

const SHORTCUTS = [
  ["?", "this list"],
  ["1, 2, 3…", "the pages, in the order of the menu"],
  ["/", "to the page's first field: search, filter or key"],
  ["t", "another theme"],
  ["Ctrl Enter", "in a form: run it"],
  ["Esc", "closes a dialog"],
];

function help() {
  if (document.querySelector("dialog")) return;
  const rows = SHORTCUTS.map(([key, words]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, words)));
  const toggle = make("input", { type: "checkbox", id: "keys-on", checked: keys });
  toggle.addEventListener("change", () => {
    keys = toggle.checked;
    keep("keystead-keys", keys ? "on" : "off");
  });
  const box = dialog("Keyboard shortcuts", make("table", { class: "plain" }, make("tbody", {}, rows)),
    make("p", { class: "choices" }, make("label", { for: "keys-on" }, toggle, "Single keys do this")),
    make("div", { class: "row end" }, button("Close", () => box.close())));
  box.querySelector(".row button").focus();
}

by("help").addEventListener("click", help);
by("skip").addEventListener("click", () => by("main").focus());

document.addEventListener("keydown", (event) => {
  if (!keys || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog")) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const links = [...by("nav").querySelectorAll("a")];
  if (event.key === "?") help();
  else if (event.key === "t") theme({ "": "dark", dark: "light", light: "" }[by("theme").value]);
  else if (event.key === "/") by("main").querySelector("input:not([type=checkbox]), select, textarea")?.focus();
  else if (/^[1-9]$/.test(event.key) && links[event.key - 1]) {
    location.hash = links[event.key - 1].getAttribute("href");
    by("main").focus();
  } else return;
  event.preventDefault();
});

addEventListener("hashchange", route);
route();
