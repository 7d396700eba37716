// The frame around the pages: which one is shown, where the host is, theme, keys, and who is asked for a token.

import { Away, ask, can, hasToken, learn, onUnauthorized, setToken, watch } from "./api.js";
import { apps } from "./apps.js";
import { dead } from "./dead.js";
import { button, by, dialog, failure, field, heading, input, link, make, say, span } from "./dom.js";
import { entities } from "./entities.js";
import { journey } from "./journey.js";
import { overview } from "./overview.js";
import { trial } from "./try.js";

const PAGES = [
  { name: "", words: "Overview", show: overview },
  { name: "apps", words: "Apps", show: apps },
  { name: "entities", words: "Entities", show: entities },
  { name: "journey", words: "Journeys", show: journey },
  { name: "dead", words: "Dead letters", show: dead },
  { name: "try", words: "Try it", show: trial, needs: "POST /admin/v1/try/{app}/{type}/{key}/{handler}" },
];

let shown = new AbortController();
let learned = false;

// Pages.

async function route() {
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
    }
    if (signal.aborted) return;
    await page.show({ place, parts: rest, query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(heading(page.words), failure(error), retry(error));
    if (error instanceof Away) await back(signal);
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function retry(error) {
  const words = error instanceof Away ? "It is tried again by itself, each second." : "";
  return make("div", { class: "row" }, button("Try again", route), make("span", { class: "soft" }, words));
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
  const items = PAGES.filter((page) => !page.needs || !learned || can(page.needs)).map((page) =>
    make("li", {}, make("a", { href: `#/${page.name}`, "aria-current": page === current ? "page" : undefined }, page.words)));
  const nav = by("nav");
  const focused = nav.contains(document.activeElement) ? document.activeElement.getAttribute("href") : undefined;
  nav.replaceChildren(make("ul", {}, items));
  if (focused) nav.querySelector(`a[href="${focused}"]`)?.focus();
  const active = nav.querySelector("[aria-current]");
  nav.scrollLeft = active ? active.offsetLeft - 60 : 0;
}

// Where the host is.

let connection = { away: false, seen: 0 };

function showConnection() {
  const { away, seen } = connection;
  const place = by("connection");
  place.classList.toggle("bad", away);
  const last = seen ? `; last seen ${span(Date.now() - seen)} ago` : "";
  say(place, away ? `host away${last}` : seen ? `connected to ${location.host}` : "connecting");
  by("forget").hidden = !hasToken();
}

watch((state) => {
  const came = connection.away && !state.away;
  connection = { ...state };
  showConnection();
  // Another build may have been started meanwhile.
  if (came && learned) learn().catch(() => {});
});
setInterval(() => { if (connection.away) showConnection(); }, 1000);

// A token, when the host wants one.

onUnauthorized((again) => new Promise((resolve) => {
  const token = input({ type: "password", required: true, autocomplete: "off" });
  const words = again ? "The host does not take this token. Give another one." : "The host asks who you are. Give a token that may read, or more.";
  const box = dialog("Token", make("form", { method: "dialog" },
    make("p", {}, words), field("Token", token, "Kept for this tab only, until it is closed."),
    make("div", { class: "row end" }, make("button", { type: "submit", class: "quiet", value: "", formNoValidate: true }, "Cancel"),
      make("button", { type: "submit", value: "yes" }, "Use it"))));
  token.focus();
  box.addEventListener("close", () => {
    const given = box.returnValue === "yes" && token.value.trim() !== "";
    if (given) setToken(token.value.trim());
    resolve(given);
  });
}));

by("forget").addEventListener("click", () => {
  setToken(null);
  route();
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
  ["1 to 6", "the pages, in the order of the menu"],
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
