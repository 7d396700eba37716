"""The counter of `examples/counter` in Python, against nothing but the WIT: a component describes its handlers and
runs them by name; input, reply and state are JSON. The state is laid out as the Rust SDK lays it out."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import state
from wit_world.imports.types import Failure

STATE_KEY = b"self"
COUNT_MIN, COUNT_MAX = -(2**63), 2**63 - 1
INTEGER = {"type": "integer"}


def add(by: int) -> int:
    """Adds a number and returns the new count."""
    counter = load()
    count = counter["count"] + int(by)  # 2.0 is an integer to JSON Schema.
    if not COUNT_MIN <= count <= COUNT_MAX:
        raise rejection("out_of_range", f"{counter['count']} + {by} is out of range")
    state.set(STATE_KEY, to_bytes(counter | {"count": count}))
    return count


def get() -> int:
    """The count."""
    return load()["count"]


HANDLERS = {"add": ("command", add, {"by": INTEGER}), "get": ("query", get, {})}


def rejection(code: str, message: str) -> Err:
    """A final no, which the caller sees."""
    return Err(Failure(code, message, details=None, retryable=False))


def load() -> dict:
    return json.loads(state.get(STATE_KEY) or b'{"count":0}')


def to_bytes(value) -> bytes:
    return json.dumps(value).encode()


def described(name: str) -> dict:
    kind, run, inputs = HANDLERS[name]
    schema = {"type": "object", "properties": inputs, "required": list(inputs), "additionalProperties": False}
    return {"name": name, "kind": kind, "about": run.__doc__, "input": {"json": schema}, "output": {"json": INTEGER}}


class Handler(exports.Handler):
    def describe(self) -> bytes:
        layout = {"version": 1, "fields": {"count": {"kind": "plain", "schema": INTEGER}}}
        counter = {"type": "counter", "state": layout, "handlers": [described(name) for name in HANDLERS]}
        return to_bytes({"entities": [counter]})

    def handle(self, name: str, input: bytes) -> bytes:
        try:
            _, run, _ = HANDLERS[name]
            return to_bytes(run(**json.loads(input or b"{}")))
        except Err:
            raise
        except Exception as mistake:
            # Worth another attempt: a better version may come.
            raise Err(Failure("error", repr(mistake), details=None, retryable=True))
