//! Guests that do anything at the boundary, and components of any bytes. A call ends in an outcome with a type,
//! its entity holds what the guest set and nothing else, and the next honest call is served as ever; a component
//! is refused in words or runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use keystead_fuzz::{Source, peak_bytes, target};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Resolve, WorldItem, WorldKey};

use super::super::testing::{MapIo, call, component, encode, engine, module_of_world};
use super::super::{Outcome, PrepareError, Trap, Worker, compile, componentize, inspect};
use crate::limits;

const WIT: &str = include_str!("../../../../wit/keystead.wit");
/// Memory of the host beyond its base for one call: what one host call may pass, several times over, and the reply.
const CALL_BYTES_MAX: u64 = 8 * limits::HOST_CALL_BYTES_MAX as u64;
/// The same for looking at a component of one byte.
const INSPECT_GROWTH: u64 = 64;

/// One function of the world, as the canonical ABI flattens it.
struct Import {
    interface: String,
    name: String,
    params: Vec<WasmType>,
    results: usize,
}

/// A guest that does what its input says: it calls any host function with any numbers, writes anything anywhere
/// into its memory, and returns any pointer as its result.
#[test]
fn puppets() {
    let cache = tempfile::tempdir().expect("folder");
    let engine = engine(cache.path());
    let puppet = engine.prepare(&puppet()).expect("prepared");
    let honest = engine.prepare(&component("{}")).expect("prepared");
    let worker = std::cell::RefCell::new(Worker::new(&engine));
    let count = imports().len();
    let seeds = (0..count).map(|number| {
        // A call with texts that are there, and a reply of `null`.
        let mut script = vec![number as u8 + 2];
        for (at, size) in [(256_u32, 4_u32), (272, 5), (288, 3), (304, 5), (320, 2), (64, 1)] {
            script.extend_from_slice(&at.to_le_bytes());
            script.extend_from_slice(&size.to_le_bytes());
        }
        script
    });
    target!(puppets).seeds(seeds).runs(1_500).bytes_max(600).check(|input| {
        let mut io = MapIo::new("app", "k");
        io.read_only = input.first().is_some_and(|byte| byte & 1 == 1);
        let (read_only, mut worker) = (io.read_only, worker.borrow_mut());
        let run = || MapIo::back(worker.run(&puppet, call("go", input), Box::new(io)));
        let ((outcome, io), peak) = peak_bytes(run);
        assert!(peak <= CALL_BYTES_MAX, "{peak} bytes");
        match outcome {
            Outcome::Reply(bytes) => assert!(bytes.len() <= limits::BODY_BYTES_MAX),
            Outcome::Failed(failure) => {
                let size = failure.code.len() + failure.message.len();
                assert!(size <= 2 * limits::BODY_BYTES_MAX, "{size} bytes of words");
            }
            Outcome::Trapped(Trap::Fault(text)) => panic!("the host failed: {text}"),
            Outcome::Trapped(trap) => assert!(trap.to_string().len() < 64 * 1024, "{trap}"),
        }
        assert!(
            !read_only || (io.state.is_empty() && io.sent.is_empty() && io.callbacks.is_empty())
        );
        let io = Box::new(MapIo { state: BTreeMap::new(), ..MapIo::new("app", "k") });
        let (outcome, _) = MapIo::back(worker.run(&honest, call("echo", b"hello"), io));
        assert_eq!(outcome, Outcome::Reply("hello".into()), "the next one");
    });
}

/// Any bytes as a component or core module: looked at in bounded memory, and refused in bounded words.
#[test]
fn component_bytes() {
    let module = super::super::testing::core_module("{}");
    let seeds = [component("{}"), module, wat::parse_str("(component)").expect("text")];
    target!(component_bytes).seeds(seeds).runs(400).bytes_max(20_000).check(|input| {
        let (looked, peak) = peak_bytes(|| inspect::inspect(input));
        let most = 1024 * 1024 + INSPECT_GROWTH * input.len() as u64;
        assert!(peak <= most, "{peak} bytes for {}", input.len());
        if let Err(error) = looked {
            assert!(error.to_string().len() < 4_096, "{error}");
        }
        match componentize(input) {
            Ok(component) => inspect::inspect(&component).expect("what we make we take"),
            Err(error) => assert!(error.to_string().len() < 64 * 1024 + input.len(), "{error}"),
        }
    });
}

/// Components that are changed in a few places and still look right: compiled in bounded time or refused by the
/// compiler in words, and what compiles answers `describe` or fails it.
#[test]
fn compiled_components() {
    let cache = tempfile::tempdir().expect("folder");
    let engine = engine(cache.path());
    let whole = component("{}");
    target!(compiled_components).runs(12).bytes_max(40).check(|input| {
        let source = &mut Source::new(input);
        let mut bytes = whole.clone();
        for _ in 0..=source.below(4) {
            let at = source.below(bytes.len());
            bytes[at] = source.byte();
        }
        if inspect::inspect(&bytes).is_err() {
            return;
        }
        match engine.prepare(&bytes) {
            Ok(guest) => assert!(guest.describe().len() <= limits::DESCRIBE_BYTES_MAX),
            Err(PrepareError::Host(text)) => panic!("the host failed: {text}"),
            Err(error) => assert!(error.to_string().len() < 64 * 1024, "{error}"),
        }
    });
}

/// Modules made of decisions, each of them valid: loops, tables, calls, arithmetic and memory of every width. Each
/// compiles, or is over a cap that is named.
#[test]
fn valid_modules() {
    target!(valid_modules).runs(15).bytes_max(400).check(|input| {
        let text = module(&mut Source::new(input));
        let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let component =
            format!("(component (core module {}))", &text["(module".len()..text.len() - 1]);
        let component = wat::parse_str(&component).expect("it holds the module");
        assert!(wasmparser::Validator::new().validate_all(&module).is_ok(), "{text}");
        match inspect::inspect(&component) {
            Ok(()) => {
                let space = super::super::settings::Space::Wide;
                let code = compile::compile_here(&component, space)
                    .unwrap_or_else(|e| panic!("{e}\n{text}"));
                assert!(code.len() <= 256 * 1024 + 1_000 * component.len(), "{} bytes", code.len());
            }
            Err(error) => assert!(matches!(error, PrepareError::TooLarge(_)), "{error}"),
        }
    });
}

/// All that the world imports, however many functions it gets.
fn imports() -> Vec<Import> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("keystead.wit", WIT).expect("the WIT is right");
    let world = resolve.select_world(&[package], Some("app")).expect("the world is there");
    let mut all = vec![];
    for (key, item) in &resolve.worlds[world].imports {
        let (WorldKey::Interface(id), WorldItem::Interface { .. }) = (key, item) else { continue };
        let interface = resolve.id_of(*id).expect("it has a name");
        for (name, function) in &resolve.interfaces[*id].functions {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            all.push(Import {
                interface: interface.clone(),
                name: name.clone(),
                params: signature.params,
                results: signature.results.len(),
            });
        }
    }
    assert!(all.len() >= 20, "found {} imports", all.len());
    all
}

/// The guest whose script is its input: steps of one byte and the arguments that it takes, each four or eight bytes.
/// 0 ends it with a pointer; 1 writes four bytes; the others call one import each.
fn puppet() -> Vec<u8> {
    let (mut declared, mut steps) = (String::new(), String::new());
    for (number, import) in imports().iter().enumerate() {
        let Import { interface, name, params, results } = import;
        let typed = |ty: &WasmType| if matches!(ty, WasmType::I64) { "i64" } else { "i32" };
        let types: Vec<_> = params.iter().map(typed).collect();
        let result = if *results > 0 {
            if name == "now-ms" { "(result i64)" } else { "(result i32)" }
        } else {
            ""
        };
        let _ = writeln!(
            declared,
            "(import {interface:?} {name:?} (func $f{number} (param {}) {result}))",
            types.join(" ")
        );
        let mut arguments = String::new();
        for ty in types {
            let read = if ty == "i64" { "(call $long)" } else { "(call $word)" };
            arguments.push_str(read);
        }
        let code = number + 2;
        let dropped = if result.is_empty() { "" } else { "(drop)" };
        let _ = writeln!(
            steps,
            "(if (i32.eq (local.get $step) (i32.const {code})) (then {arguments} (call $f{number}) {dropped}))"
        );
    }
    let text = format!(
        r#"(module {declared} (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (global $at (mut i32) (i32.const 0)) (global $end (mut i32) (i32.const 0))
  (data (i32.const 256) "null") (data (i32.const 272) "thing") (data (i32.const 288) "key")
  (data (i32.const 304) "heard") (data (i32.const 320) "{{}}")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $to i32)
    (local.set $to (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $to) (local.get 3)))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.eq (memory.grow (i32.const 4)) (i32.const -1)))
      (br $more)))
    (local.get $to))
  (func $byte (result i32)
    (if (i32.ge_u (global.get $at) (global.get $end)) (then (return (i32.const 0))))
    (global.set $at (i32.add (global.get $at) (i32.const 1)))
    (i32.load8_u (i32.sub (global.get $at) (i32.const 1))))
  (func $word (result i32)
    (i32.or (call $byte) (i32.or (i32.shl (call $byte) (i32.const 8))
      (i32.or (i32.shl (call $byte) (i32.const 16)) (i32.shl (call $byte) (i32.const 24))))))
  (func $long (result i64)
    (i64.or (i64.extend_i32_u (call $word)) (i64.shl (i64.extend_i32_u (call $word)) (i64.const 32))))
  (func (export "keystead:entity/handler@0.1.0#describe") (result i32)
    (i32.store (i32.const 0) (i32.const 320)) (i32.store (i32.const 4) (i32.const 2)) (i32.const 0))
  (func (export "keystead:entity/handler@0.1.0#handle") (param i32 i32 i32 i32) (result i32) (local $step i32)
    (global.set $at (local.get 2)) (global.set $end (i32.add (local.get 2) (local.get 3)))
    (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 256))
    (i32.store (i32.const 8) (i32.const 4))
    (loop $next
      (local.set $step (call $byte))
      (if (i32.eqz (local.get $step)) (then (return (call $word))))
      (if (i32.eq (local.get $step) (i32.const 1)) (then (i32.store (call $word) (call $word))))
      {steps}
      (br $next))
    (unreachable)))"#
    );
    encode(&module_of_world(&text, WIT, "app"))
}

/// A module that is valid whatever was decided.
fn module(source: &mut Source<'_>) -> String {
    let count = 1 + source.below(4);
    let mut functions = String::new();
    for number in 0..count {
        let mut body = String::new();
        for _ in 0..source.below(12) {
            body.push_str(&statement(source, count, 0));
        }
        let value = expression(source, count, 0);
        let _ = writeln!(
            functions,
            "(func $f{number} (export \"f{number}\") (param i32) (result i32) (local $n i32) {body} {value})"
        );
    }
    let elements: Vec<_> = (0..count).map(|number| format!("$f{number}")).collect();
    format!(
        "(module (type $t (func (param i32) (result i32))) (memory 1 4) (table 8 funcref) \
         (global $g (mut i32) (i32.const 1)) (elem (i32.const 0) {}) (data (i32.const 8) \"data\")\n{functions})",
        elements.join(" ")
    )
}

/// Something that leaves nothing on the stack.
fn statement(source: &mut Source<'_>, count: usize, depth: usize) -> String {
    if depth > 6 {
        return String::new();
    }
    let value = |source: &mut Source<'_>| expression(source, count, depth + 1);
    let inner = |source: &mut Source<'_>| statement(source, count, depth + 1);
    match source.below(9) {
        0 => format!("(local.set $n {})", value(source)),
        1 => format!("(global.set $g {})", value(source)),
        2 => format!("(i32.store8 {} {})", value(source), value(source)),
        3 => format!("(loop {} (br_if 0 {}))", inner(source), value(source)),
        4 => format!("(block (block (br_table 0 1 0 {}) {}))", value(source), inner(source)),
        5 => format!("(if {} (then {}) (else {}))", value(source), inner(source), inner(source)),
        6 => format!("(memory.fill {} {} {})", value(source), value(source), value(source)),
        7 => format!(
            "(i64.store offset={} {} (i64.extend_i32_s {}))",
            source.number() as u32,
            value(source),
            value(source)
        ),
        _ => format!(
            "(block (block {} (br_if 1 {})) {})",
            inner(source),
            value(source),
            inner(source)
        ),
    }
}

/// Something that leaves one number.
fn expression(source: &mut Source<'_>, count: usize, depth: usize) -> String {
    if depth > 6 || source.is_empty() {
        return "(local.get 0)".into();
    }
    let value = |source: &mut Source<'_>| expression(source, count, depth + 1);
    match source.below(10) {
        0 => format!("(i32.const {})", source.number() as i32),
        1 => "(local.get $n)".into(),
        2 => "(global.get $g)".into(),
        3 => {
            let name =
                source.pick(&["add", "mul", "div_s", "rem_u", "shl", "rotl", "and", "lt_s", "eq"]);
            format!("(i32.{name} {} {})", value(source), value(source))
        }
        4 => format!("(call $f{} {})", source.below(count), value(source)),
        5 => format!("(call_indirect (type $t) {} {})", value(source), value(source)),
        6 => format!("(i32.load16_s offset={} {})", source.number() as u32, value(source)),
        7 => format!("(select {} {} {})", value(source), value(source), value(source)),
        8 => format!("(i32.trunc_sat_f64_u (f64.sqrt (f64.convert_i32_s {})))", value(source)),
        _ => format!("(memory.grow {})", value(source)),
    }
}
