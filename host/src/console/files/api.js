// Asks the admin API, and nobody else. Keeps the token for this tab only, and knows what it opens and whether the host
// answers.
// Invariant: numbers that JavaScript would round stay the text they are.

const TOKEN = "keystead-token";
const listeners = new Set();
const state = { away: false, seen: 0, declined: false };
let routes = new Map();
/** Who this page is for the host: their token, its roles and its apps. */
let me = { asked: false, token: null, roles: [], apps: "all" };
let asking;

/** A refusal, as the host explained it. */
export class Problem extends Error {
  constructor(status, document) {
    super(document?.detail ?? `The host answered ${status}.`);
    this.status = status;
    this.code = document?.code;
    this.details = document?.details;
    this.document = document;
  }
}

/** No answer came. */
export class Away extends Error {}

/** A number beyond what JavaScript holds exactly. */
class Exact {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  toJSON() {
    return JSON.rawJSON ? JSON.rawJSON(this.text) : Number(this.text);
  }
}

export function isExact(value) {
  return value instanceof Exact;
}

export function parse(text) {
  return JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && context?.source !== undefined && !Number.isSafeInteger(value) && String(value) !== context.source
      ? new Exact(context.source) : value);
}

export function get(path, signal) {
  return ask("GET", path, { signal });
}

/** The JSON of an answer; throws [`Problem`] or [`Away`]. */
export async function ask(method, path, options = {}) {
  const answer = await raw(method, path, options);
  const text = await answer.text();
  const document = text === "" ? null : tried(text);
  if (!answer.ok) throw new Problem(answer.status, document);
  return document;
}

function tried(text) {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

/** An answer as it came, whatever its status. Asks for a token when the host wants one. */
export async function raw(method, path, { body, headers = {}, signal } = {}) {
  for (let again = false; ; again = true) {
    const token = sessionStorage.getItem(TOKEN);
    const sent = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
    let answer;
    try {
      answer = await fetch(path, { method, body, headers: sent, signal, cache: "no-store", credentials: "omit", redirect: "error" });
    } catch (error) {
      if (signal?.aborted) throw error;
      tell({ away: true });
      throw new Away("The host does not answer.");
    }
    tell({ away: false, seen: Date.now() });
    if (answer.status !== 401 || !askToken || state.declined) return answer;
    // Whoever comes while somebody is being asked waits for the same answer.
    const since = sessionStorage.getItem(TOKEN);
    if (since === token) {
      asking ??= askToken(again || token !== null).finally(() => { asking = undefined; });
      if (!(await asking)) {
        tell({ declined: true });
        return answer;
      }
    }
  }
}

let askToken;

/** Who asks a person for a token; resolves to whether there is one. */
export function onUnauthorized(how) {
  askToken = how;
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
  tell({ declined: false });
}

/** A person who gave no token is not asked again until they do something. */
export function askAgain() {
  if (state.declined) tell({ declined: false });
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

/** Calls `listener` when the host goes away or comes back. */
export function watch(listener) {
  listeners.add(listener);
  listener(state);
}

function tell(change) {
  Object.assign(state, change);
  for (const listener of listeners) listener(state);
}

/** Learns what this host can do from its own description, and what this page's token may. */
export async function learn() {
  const [document, who] = await Promise.all([get("/admin/v1/openapi"), get("/admin/v1/me")]);
  me = who;
  routes = new Map();
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(item)) routes.set(template(`${method.toUpperCase()} ${path}`), operation);
  }
}

function template(route) {
  return route.replace(/\{[^}]*\}/g, "{}");
}

/** Who this page is for the host, in words; nothing when nobody is asked. */
export function myself() {
  if (!me.asked) return "";
  const [admin, operate] = ["admin", "operate"].map((role) => me.roles.includes(role));
  const roles = admin ? ["admin"] : me.roles.filter((role) => !(operate && role === "read"));
  return `${me.token.name}: ${roles.join(", ")}${me.apps === "all" ? "" : `, of ${me.apps.join(", ") || "no app"}`}`;
}

/** Whether a route such as `POST /admin/v1/dead/{id}/retry` is there and open to this page's token, for this app. */
export function can(route, app) {
  return routes.has(template(route)) && lacks(route, app) === undefined;
}

/** What this page's token lacks for a route. */
function lacks(route, app) {
  const operation = routes.get(template(route));
  const [role, reach] = [operation?.["x-keystead-role"], operation?.["x-keystead-reach"]];
  if (!operation || reach === "open" || reach === "token") return undefined;
  if (!me.roles.includes(role)) return `the role ${role}`;
  if (me.apps === "all") return undefined;
  if (reach === "host") return "to be for all apps";
  return reach === "app" && app !== undefined && !me.apps.includes(app) ? `to be for the app ${app}` : undefined;
}

/**
 * Why some of these cannot be done with this page's token: `[["retry", "POST /admin/v1/dead/{id}/retry"], …]`, as a
 * sentence that ends their words with `object`; nothing when all can.
 */
export function refused(wanted, app, object = "") {
  const missing = new Map();
  for (const [what, route] of wanted) {
    const lack = lacks(route, app);
    if (lack) missing.set(lack, [...(missing.get(lack) ?? []), what]);
  }
  if (!missing.size) return undefined;
  const listed = (all) => (all.length > 1 ? `${all.slice(0, -1).join(", ")} or ${all.at(-1)}` : all[0]);
  return [...missing].map(([lack, whats]) => `To ${listed(whats)}${object}, a token needs ${lack}.`).join(" ");
}

/** Does something now and again while the page is looked at, until `signal`; never twice at once. */
export function every(ms, signal, work) {
  let timer;
  let busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (signal.aborted || busy || document.hidden) return;
    busy = true;
    try {
      await work();
    } catch (error) {
      if (!signal.aborted && !(error instanceof Away)) console.warn(error.message);
    }
    busy = false;
    if (!signal.aborted && !document.hidden) timer = setTimeout(turn, ms);
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  return turn();
}
