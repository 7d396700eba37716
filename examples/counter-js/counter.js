// The counter of `examples/counter` in JavaScript, against nothing but the WIT: a component describes its handlers
// and runs them by name; input, reply and state are JSON. The state is laid out as the Rust SDK lays it out.

import { get, set } from "keystead:entity/state@0.1.0";

const STATE_KEY = new TextEncoder().encode("self");
const INTEGER = { type: "integer" };

const handlers = {
  add: {
    kind: "command",
    about: "Adds a number and returns the new count.",
    input: { by: INTEGER },
    run({ by }) {
      const state = load();
      const count = state.count + by;
      // Beyond these, JavaScript's numbers skip some.
      if (!Number.isSafeInteger(by) || !Number.isSafeInteger(count)) {
        throw new Rejection("out_of_range", `${state.count} + ${by} is out of range`);
      }
      set(STATE_KEY, toBytes({ ...state, count }));
      return count;
    },
  },
  get: {
    kind: "query",
    about: "The count.",
    input: {},
    run: () => load().count,
  },
};

// A final no, which the caller sees: an error that is also the WIT's `failure`.
class Rejection extends Error {
  retryable = false;

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const toBytes = (value) => new TextEncoder().encode(JSON.stringify(value));
const fromBytes = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

function load() {
  const stored = get(STATE_KEY);
  return stored ? fromBytes(stored) : { count: 0 };
}

function describe() {
  const schema = (properties) => {
    return { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
  };
  const listed = Object.entries(handlers).map(([name, { kind, about, input }]) => {
    return { name, kind, about, input: { json: schema(input) }, output: { json: INTEGER } };
  });
  const state = { version: 1, fields: { count: { kind: "plain", schema: INTEGER } } };
  return toBytes({ entities: [{ type: "counter", state, handlers: listed }] });
}

function handle(name, input) {
  try {
    return toBytes(handlers[name].run(input.length ? fromBytes(input) : {}));
  } catch (error) {
    // What is thrown here must be a `failure`. A mistake is worth another attempt: a better version may come.
    throw error instanceof Rejection ? error : { code: "error", message: String(error), retryable: true };
  }
}

export const handler = { describe, handle };
