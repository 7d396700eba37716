// Elements, dialogs, and things in words. Invariant: what came from the host becomes text, never markup.

/** An element. Properties are set as such; `class`, `aria-…`, `data-…`, `role` and `for` as attributes; `on…` listens. */
export function make(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

/** The same for SVG, where everything is an attribute. */
export function draw(tag, properties = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children, true);
}

function dress(element, properties, children, attributes = false) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (attributes || /^(class|role|for|aria-|data-)/.test(name)) element.setAttribute(name, value === true ? "" : String(value));
    else element[name] = value;
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function by(id) {
  return document.getElementById(id);
}

/** Changes an element's text only when it differs, so that nothing is announced or redrawn for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts an element into its place, unless it is there: what has the focus in it keeps it. */
export function fill(place, element) {
  if (!place.contains(element)) place.replaceChildren(element);
}

export function heading(text, ...more) {
  return make("div", { class: "heading" }, make("h1", { class: text.length > 60 ? "lengthy" : undefined }, text), ...more);
}

export function section(title, ...children) {
  return make("section", { class: "card" }, make("h2", {}, title), ...children);
}

/** What a page says when there is nothing: what to do next. */
export function empty(...words) {
  return make("p", { class: "empty" }, ...words);
}

/** Why something is not there for who looks. */
export function lacking(...words) {
  return make("p", { class: "lacking" }, ...words);
}

export function code(text) {
  return make("code", {}, text);
}

export function link(href, ...children) {
  return make("a", { href }, ...children);
}

export function button(words, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, words);
}

/** A label with its control. */
export function field(label, control, hint) {
  control.id ||= `f${(fields += 1)}`;
  const about = hint ? make("span", { class: "hint", id: `${control.id}-hint` }, hint) : undefined;
  if (about) control.setAttribute("aria-describedby", about.id);
  return make("div", { class: "field" }, make("label", { for: control.id }, label), control, about);
}
let fields = 0;

export function input(properties = {}) {
  return make("input", { type: "text", autocomplete: "off", spellcheck: false, ...properties });
}

export function select(values, chosen, properties = {}) {
  const control = make("select", properties);
  for (const one of values) {
    const [value, words] = Array.isArray(one) ? one : [one, one];
    control.append(make("option", { value, selected: value === chosen }, words));
  }
  return control;
}

/** A table whose rows are kept by key: a row that is still there keeps its place, its focus and what is selected in it. */
export function table(caption, columns) {
  const body = make("tbody");
  const head = columns.map((column) => make("th", { scope: "col", class: column.number ? "number" : undefined }, column.name));
  const element = make("div", { class: "scroll", role: "region", "aria-label": caption, tabIndex: 0 },
    make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, make("tr", {}, head)), body));
  const rows = new Map();
  const set = (items, key) => {
    const wanted = new Map(items.map((item) => [key(item), item]));
    for (const [id, row] of rows) {
      if (!wanted.has(id)) {
        row.element.remove();
        rows.delete(id);
      }
    }
    let before = body.firstChild;
    for (const [id, item] of wanted) {
      let row = rows.get(id);
      if (!row) {
        const cells = columns.map((column) => make("td", { class: column.number ? "number" : undefined, "data-name": column.name }));
        row = { element: make("tr", {}, cells), cells, shown: [] };
        rows.set(id, row);
      }
      columns.forEach((column, at) => {
        const value = column.value(item);
        const same = typeof value === "string" ? value : JSON.stringify(column.same?.(item) ?? item);
        if (row.shown[at] === same) return;
        row.shown[at] = same;
        row.cells[at].replaceChildren(...[value].flat().filter((one) => one !== undefined && one !== null));
      });
      if (row.element === before) before = before.nextSibling;
      else body.insertBefore(row.element, before);
    }
  };
  return { element, set, body };
}

/**
 * Asks before something is done; resolves to whether it was wanted. `words` name what will happen. With `run`, it is done
 * while the dialog is there: what fails is said in it, and nothing that was written is lost.
 */
export function confirm(title, words, action, { danger = true, fields: extra = [], run } = {}) {
  return new Promise((resolve) => {
    const act = make("button", { type: "submit", class: danger ? "danger" : undefined, value: "yes" }, action);
    const trouble = make("div");
    const form = make("form", { method: "dialog" },
      make("div", { class: "prose" }, [words].flat().map((one) => (typeof one === "string" ? make("p", {}, one) : one))), ...extra,
      trouble, make("div", { class: "row end" }, cancel(), act));
    const box = dialog(title, form);
    if (run) {
      form.addEventListener("submit", async (event) => {
        event.preventDefault();
        act.disabled = true;
        try {
          await run();
          box.close("yes");
        } catch (error) {
          trouble.replaceChildren(failure(error));
          act.disabled = false;
          act.focus();
        }
      });
    }
    box.addEventListener("close", () => resolve(box.returnValue === "yes"));
    (extra.length ? box.querySelector("input, textarea, select") : box.querySelector("button.quiet")).focus();
  });
}

/** Leaves its dialog. No submit button: Enter presses the first one of those in a form. */
export function cancel() {
  return button("Cancel", (event) => event.target.closest("dialog").close(""), { class: "quiet" });
}

/** A modal dialog: the browser keeps the focus in it, Escape closes it, and the focus goes back to where it was. */
export function dialog(title, ...children) {
  const before = document.activeElement;
  const id = `d${(fields += 1)}`;
  const box = make("dialog", { "aria-labelledby": id }, make("h2", { id }, title), ...children);
  box.addEventListener("close", () => {
    box.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(box);
  box.showModal();
  return box;
}

/** A remark that goes by itself, unless it is a failure. */
export function note(words, bad = false) {
  const close = button("×", () => one.remove(), { class: "quiet", "aria-label": "Close this remark" });
  const one = make("div", { class: `note ${bad ? "bad" : "good"}` }, make("span", {}, words), close);
  by("notes").append(one);
  while (by("notes").children.length > 4) by("notes").firstChild.remove();
  if (!bad) setTimeout(() => one.remove(), 6000);
}

/** Why something failed, where it failed. */
export function failure(problem) {
  const title = problem.code ? `${problem.message} (${problem.code})` : problem.message;
  const details = problem.details === undefined || problem.details === null ? undefined
    : make("pre", { tabIndex: 0 }, JSON.stringify(problem.details, null, 2));
  return make("div", { class: "failure", role: "alert" }, make("p", {}, title), details);
}

export function badge(word) {
  return make("span", { class: `badge is-${word}` }, word.replaceAll("_", " "));
}

// Things in words.

export function count(number) {
  return Number(number).toLocaleString("en");
}

export function rate(number) {
  return number >= 100 ? count(Math.round(number)) : number.toFixed(number >= 10 || number === 0 ? 0 : 1);
}

export function bytes(number) {
  if (number < 1024) return `${number} B`;
  if (number < 1048576) return `${(number / 1024).toFixed(1)} KiB`;
  return `${(number / 1048576).toFixed(1)} MiB`;
}

export function micros(us) {
  if (us === undefined || us === null) return "–";
  if (us < 1000) return `${us} µs`;
  if (us < 1000000) return `${(us / 1000).toFixed(us < 10000 ? 1 : 0)} ms`;
  return `${(us / 1000000).toFixed(1)} s`;
}

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** A moment as an element: the time of day, and all of it for who asks. */
export function moment(ms, whole = false) {
  const at = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const today = !whole && at.toDateString() === new Date().toDateString();
  return make("time", { dateTime: at.toISOString(), title: at.toISOString() }, today ? `${time}.${String(at.getMilliseconds()).padStart(3, "0")}` : `${day} ${time}`);
}

// Addresses of pages.

export function part(text) {
  return encodeURIComponent(text).replace(/^\.{1,2}$/, (dots) => dots.replaceAll(".", "%2E"));
}

/** `app/type/key` in its parts; a key may hold slashes. */
export function parts(entity) {
  const [app, kind, ...key] = entity.split("/");
  return { app, kind, key: key.join("/") };
}

export function entityHref(entity) {
  const { app, kind, key } = parts(entity);
  return `#/entities/${part(app)}/${part(kind)}/${part(key)}`;
}

export function entityLink(entity) {
  const { app, kind, key } = parts(entity);
  return make("a", { href: entityHref(entity), class: "entity", title: entity }, make("span", { class: "soft" }, `${app}/${kind}/`), key);
}

export function messageLink(id, words = `${id.slice(0, 12)}…${id.slice(-4)}`) {
  return make("a", { href: `#/journey/${part(id)}`, class: words.startsWith("msg_") ? "mono" : undefined, title: id }, words);
}
