//! Guests by hand, in the text format: a core module that does everything right, of which an attack replaces the
//! part that it does wrong. Wrapped by the library that `keystead build` uses, without any check of the host's.

use wit_component::{ComponentEncoder, StringEncoding};

const WIT: &str = include_str!("../../wit/keystead.wit");

/// Every import of the world, flattened as the canonical ABI does.
const IMPORTS: &str = r#"
  (import "keystead:entity/context@0.1.0" "self-ref" (func $self_ref (param i32)))
  (import "keystead:entity/context@0.1.0" "message-id" (func $message_id (param i32)))
  (import "keystead:entity/context@0.1.0" "attempt" (func $attempt (result i32)))
  (import "keystead:entity/context@0.1.0" "random" (func $random (param i32 i32)))
  (import "keystead:entity/context@0.1.0" "config" (func $config (param i32 i32 i32)))
  (import "keystead:entity/state@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "keystead:entity/state@0.1.0" "get-many" (func $get_many (param i32 i32 i32)))
  (import "keystead:entity/state@0.1.0" "set" (func $set (param i32 i32 i32 i32)))
  (import "keystead:entity/state@0.1.0" "delete" (func $delete (param i32 i32)))
  (import "keystead:entity/state@0.1.0" "scan"
    (func $scan (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "keystead:entity/outbox@0.1.0" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "keystead:entity/outbox@0.1.0" "call-then"
    (func $call_then
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32)))
  (import "keystead:entity/outbox@0.1.0" "cancel" (func $unsend (param i32 i32) (result i32)))
  (import "keystead:entity/timers@0.1.0" "set"
    (func $timer (param i32 i32 i32 i32 i32 i32 i32 i64)))
  (import "keystead:entity/timers@0.1.0" "cancel" (func $untimer (param i32 i32) (result i32)))
  (import "keystead:entity/timers@0.1.0" "pending" (func $pending (param i32)))
  (import "keystead:entity/callbacks@0.1.0" "create"
    (func $callback (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "keystead:entity/callbacks@0.1.0" "cancel"
    (func $uncallback (param i32 i32) (result i32)))
  (import "keystead:entity/log@0.1.0" "emit" (func $emit (param i32 i32 i32)))
  (import "keystead:entity/log@0.1.0" "panicked" (func $panicked (param i32 i32)))
"#;

/// Reserves what it is asked for above 1 MiB, and grows the memory for it.
const REALLOC: &str = r"
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $enough
      (loop $more
        (br_if $enough
          (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $enough (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
        (br $more)))
    (local.get $at)";

/// Answers `null`, which stands at 256.
const REPLY: &str = "(call $reply (i32.const 256) (i32.const 4))";

/// Where every guest keeps its texts: `null` at 256, `probe` at 272, `key` at 288, `heard` at 304, `{}` at 320, bytes
/// that are no UTF-8 at 336, a message's id at 352. The document is at 4096, and 64 is for what host calls return.
const TEXTS: &str = r#"
  (data (i32.const 256) "null") (data (i32.const 272) "probe") (data (i32.const 288) "key")
  (data (i32.const 304) "heard") (data (i32.const 320) "{}") (data (i32.const 336) "\ff\fe\fd\fc")
  (data (i32.const 352) "msg_0000000000000000000000000000002a")
"#;

/// A guest whose parts are all right until one is replaced.
#[derive(Clone)]
pub(crate) struct Wat {
    document: Vec<u8>,
    fields: String,
    memory: String,
    realloc: String,
    describe: Option<String>,
    handle: String,
    post: String,
    world: Option<String>,
}

impl Wat {
    /// Type `probe` with a command `go`, a query `ask` and an internal `heard`, all the same and all right.
    pub(crate) fn right() -> Self {
        Self {
            document: document("{}", "{}").into_bytes(),
            fields: String::new(),
            memory: "(memory (export \"memory\") 32)".into(),
            realloc: REALLOC.into(),
            describe: None,
            handle: String::new(),
            post: "(global.set $heap (i32.const 1572864))".into(),
            world: None,
        }
    }

    /// One whose handlers begin with this; what is left on the stack must be nothing.
    pub(crate) fn handles(code: &str) -> Self {
        Self { handle: code.into(), ..Self::right() }
    }

    /// One whose handlers return this pointer to a result.
    pub(crate) fn returns(code: &str) -> Self {
        Self::handles(&format!("(return {code})"))
    }

    /// One whose handlers do this until they are stopped. `$n` counts the rounds.
    pub(crate) fn floods(code: &str) -> Self {
        let round = "(local.set $n (i32.add (local.get $n) (i32.const 1)))";
        let fixed = "(i32.const 1048576)";
        Self::handles(&format!("(loop $for_ever {code} {round} (br $for_ever))")).realloc(fixed)
    }

    pub(crate) fn document(self, document: impl Into<Vec<u8>>) -> Self {
        Self { document: document.into(), ..self }
    }

    /// With more fields of the module.
    pub(crate) fn fields(self, fields: impl Into<String>) -> Self {
        Self { fields: fields.into(), ..self }
    }

    pub(crate) fn memory(self, memory: &str) -> Self {
        Self { memory: memory.into(), ..self }
    }

    /// With another body of `cabi_realloc`; `$new` is how many bytes it is asked for.
    pub(crate) fn realloc(self, code: &str) -> Self {
        Self { realloc: code.into(), ..self }
    }

    /// With another body of `describe`.
    pub(crate) fn describes(self, code: &str) -> Self {
        Self { describe: Some(code.into()), ..self }
    }

    /// With other work after a handler's result was taken.
    pub(crate) fn post(self, code: &str) -> Self {
        Self { post: code.into(), ..self }
    }

    /// In a world that `lines` are added to.
    pub(crate) fn world(self, lines: &str) -> Self {
        Self { world: Some(lines.into()), ..self }
    }

    /// The component.
    pub(crate) fn build(self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).expect("the text is right");
        let mut resolve = wit_parser::Resolve::default();
        let mut wit = WIT.to_owned();
        if let Some(lines) = &self.world {
            wit.push_str(&format!("\nworld more {{ include app;\n{lines}\n}}\n"));
        }
        let package = resolve.push_str("keystead.wit", &wit).expect("the WIT is right");
        let name = if self.world.is_some() { "more" } else { "app" };
        let world = resolve.select_world(&[package], Some(name)).expect("the world is there");
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the interface fits");
        let encoder = ComponentEncoder::default().module(&module).expect("a module");
        encoder.validate(false).encode().expect("the module fits")
    }

    fn text(&self) -> String {
        let document: String = self.document.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let describe = self.describe.clone().unwrap_or_else(|| {
            let length = self.document.len();
            format!(
                "(i32.store (i32.const 0) (i32.const 4096)) \
                 (i32.store (i32.const 4) (i32.const {length})) (i32.const 0)"
            )
        });
        let Self { fields, memory, realloc, handle, post, .. } = self;
        format!(
            r#"(module {IMPORTS} {memory} {TEXTS}
  (global $heap (mut i32) (i32.const 1572864))
  (global $times (mut i32) (i32.const 0))
  (data (i32.const 4096) "{document}")
  (func (export "cabi_realloc") (param $old i32) (param i32 i32) (param $new i32) (result i32)
    {realloc})
  (func (export "keystead:entity/handler@0.1.0#describe") (result i32) {describe})
  (func $reply (param $at i32) (param $len i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (local.get $at))
    (i32.store (i32.const 8) (local.get $len))
    (i32.const 0))
  {fields}
  (func (export "keystead:entity/handler@0.1.0#handle")
    (param $name i32) (param $name_len i32) (param $in i32) (param $in_len i32) (result i32)
    (local $n i32)
    {handle}
    {REPLY})
  (func (export "cabi_post_keystead:entity/handler@0.1.0#handle") (param i32) {post}))"#
        )
    }
}

/// A describe document of type `probe` with these schemas of inputs and outputs.
pub(crate) fn document(input: &str, output: &str) -> String {
    let handler = |name: &str, kind: &str| {
        format!(
            r#"{{"name":"{name}","kind":"{kind}","input":{{"json":{input}}},"output":{{"json":{output}}}}}"#
        )
    };
    let handlers = [("go", "command"), ("ask", "query"), ("heard", "internal")];
    let handlers = handlers.map(|(name, kind)| handler(name, kind)).join(",");
    format!(r#"{{"entities":[{{"type":"probe","handlers":[{handlers}]}}]}}"#)
}

/// A component in the text format, as it is.
pub(crate) fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("the text is right")
}

/// A component that only wraps a module.
pub(crate) fn around(module: &str) -> Vec<u8> {
    text(&format!("(component (core module {module}))"))
}
