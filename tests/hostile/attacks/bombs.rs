//! Components whose make is the attack: too much of a part, too deep, too dear to compile, with imports they may
//! not have and without the exports they must have.

use super::super::wat::{Wat, around, text};
use super::{Attack, Ends, bad, row, too_large};

/// Nested loops: compile time is quadratic in the depth.
fn loops(depth: usize) -> String {
    format!("{}{}", "(loop ".repeat(depth), ")".repeat(depth))
}

/// A module with this many of `part`.
fn many(part: &str, count: usize) -> Vec<u8> {
    around(&part.repeat(count))
}

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = parts();
    rows.extend(compile_time());
    rows.extend(imports());
    rows.extend(exports());
    rows
}

fn parts() -> Vec<Attack> {
    vec![
        row("no component at all", bad("not a WebAssembly"), || b"\x7fELF".to_vec()),
        row("the head of a component alone", bad("lacks"), || b"\0asm\x0d\0\x01\0".to_vec()),
        row("half of a component", bad("cut short"), || {
            let whole = Wat::right().build();
            whole[..whole.len() / 2].to_vec()
        }),
        row("a section that lies about its length", bad("cut short"), || {
            let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
            bytes.extend([1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
            bytes
        }),
        row("components within components", too_large("within components"), || {
            text(&format!("{}{}", "(component ".repeat(100), ")".repeat(100)))
        }),
        row("two thousand modules", too_large("modules and components"), || {
            text(&format!("(component {})", "(core module)".repeat(2_000)))
        }),
        row("types within types", bad(""), || nested_types(10_000)),
        row("a type that doubles at each step", bad("size"), || {
            let twice = |n: usize| format!("(type $t{} (tuple $t{n} $t{n}))", n + 1);
            let steps: String = (0..60).map(twice).collect();
            text(&format!("(component (type $t0 (tuple u8 u8)) {steps})"))
        }),
        row("a million functions", too_large("functions"), || many("(func)", 100_000)),
        row("a function of a megabyte", too_large("bytes of one function"), || {
            around(&format!("(func {})", "nop ".repeat(1_000_000)))
        }),
        row("fifty thousand locals", too_large("locals of one function"), || {
            around(&format!("(func (local {}))", "i32 ".repeat(50_000)))
        }),
        row("locals that one byte asks for", too_large("locals of one function"), || {
            locals_by_count(4_000_000_000)
        }),
        row("too many segments", too_large("segments"), || {
            around(&format!("(memory 1) {}", "(data (i32.const 0) \"\")".repeat(200_001)))
        }),
        row("a hundred thousand globals", bad(""), || many("(global i32 (i32.const 0))", 100_000)),
        row("a million types", bad(""), || many("(type (func))", 900_000)),
        row("instances without end", too_large("exceeds the configured"), || {
            text(&format!(
                "(component (core module $m (func (export \"f\"))) {})",
                "(core instance (instantiate $m))".repeat(500)
            ))
        }),
        row("31 MiB of nothing", bad("lacks"), || {
            let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
            let mut length = 31 * 1024 * 1024_u32;
            let body = length as usize;
            while length >= 128 {
                bytes.push((length & 127) as u8 | 128);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.resize(bytes.len() + body, 0);
            bytes
        }),
    ]
}

/// A component type within a component type, and so on.
fn nested_types(depth: usize) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    let mut body = vec![1];
    body.extend([0x41, 1, 1].repeat(depth));
    body.extend([0x41, 0]);
    bytes.push(7);
    let mut length = body.len();
    while length >= 128 {
        bytes.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
    bytes
}

/// One function whose locals are given as a count.
fn locals_by_count(count: u32) -> Vec<u8> {
    let mut count_bytes = Vec::new();
    let mut rest = count;
    while rest >= 128 {
        count_bytes.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    count_bytes.push(rest as u8);
    let body_len = 1 + count_bytes.len() + 2;
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a".to_vec();
    module.push((body_len + 2) as u8);
    module.push(1);
    module.push(body_len as u8);
    module.push(1);
    module.extend(count_bytes);
    module.extend([0x7f, 0x0b]);
    let mut bytes = b"\0asm\x0d\0\x01\0\x01".to_vec();
    bytes.push(module.len() as u8);
    bytes.extend(module);
    bytes
}

fn compile_time() -> Vec<Attack> {
    vec![
        row("a nest of loops", too_large("loops within loops"), || {
            around(&format!("(func {})", loops(10_000)))
        }),
        row("a nest of blocks", too_large("blocks within blocks"), || {
            around(&format!("(func {}{})", "(block ".repeat(50_000), ")".repeat(50_000)))
        }),
        row("nests of loops up to the limit", Ends::Answers(200), || {
            let nests = format!("(func {})", loops(60).repeat(20)).repeat(20);
            Wat::right().fields(nests).build()
        }),
        row("twenty thousand branches", Ends::Answers(200), || branched(20_000, 1)),
        row("a table of branches", Ends::Answers(200), || {
            let targets = "0 ".repeat(60_000);
            Wat::right().fields(format!("(func (br_table {targets} (i32.const 1)))")).build()
        }),
        row("sixty thousand functions", too_large("functions"), || {
            Wat::right().fields("(func)".repeat(60_000)).build()
        }),
    ]
}

/// What the caps let pass and the compiler's own time must end.
pub(super) fn long_rows() -> Vec<Attack> {
    vec![
        row("as many branches as a function may have", Ends::Answers(200), || branched(60_000, 1)),
        row("more to compile than there is time", bad("does not compile"), || branched(60_000, 40)),
    ]
}

/// So many functions of so many branches.
fn branched(branches: usize, functions: usize) -> Vec<u8> {
    let function = format!("(func {})", "(block (br_if 0 (i32.const 1)))".repeat(branches));
    Wat::right().fields(function.repeat(functions)).build()
}

fn imports() -> Vec<Attack> {
    const NOT: &str = "does not provide";
    vec![
        row("an import of a disk", bad(NOT), || {
            text("(component (import \"other:place/disk\" (instance (export \"open\" (func)))))")
        }),
        row("an import of a bare function", bad(NOT), || {
            text("(component (import \"open\" (func (param \"path\" string))))")
        }),
        row("an import of a module", bad(NOT), || {
            text("(component (import \"code\" (core module (export \"run\" (func)))))")
        }),
        row("an import of a component", bad("not supported"), || {
            text("(component (import \"part\" (component (export \"run\" (func)))))")
        }),
        row("an import of a resource", bad(NOT), || {
            text(
                "(component (import \"other:place/files\" (instance (export \"file\" (type (sub resource))))))",
            )
        }),
        row("an import of a later version", bad(NOT), || {
            text(
                "(component (import \"keystead:entity/state@9.0.0\" (instance \
                 (export \"get\" (func (param \"key\" (list u8)) (result (option (list u8))))))))",
            )
        }),
        row("an import of another type", bad("other types"), || {
            text(
                "(component (import \"keystead:entity/state@0.1.0\" (instance \
                 (export \"get\" (func (param \"key\" string) (result string))))))",
            )
        }),
        row("an import of a function that waits", bad(""), || {
            text(
                "(component (import \"keystead:entity/context@0.1.0\" (instance \
                 (export \"attempt\" (func async (result u32))))))",
            )
        }),
        row("a thousand imports", bad(NOT), || {
            let import = |n: usize| format!("(import \"other:place/n{n}\" (instance))");
            let imports: String = (0..1_000).map(import).collect();
            text(&format!("(component {imports})"))
        }),
    ]
}

fn exports() -> Vec<Attack> {
    vec![
        row("no export at all", bad("lacks"), || text("(component (core module))")),
        row("an export of another name", bad("lacks"), || {
            around_exports("describe2", "(result (list u8))", "(result i32)", "handler@0.1.0")
        }),
        row("an export of a later version", bad("lacks"), || {
            around_exports("describe", "(result (list u8))", "(result i32)", "handler@9.0.0")
        }),
        row("an export of another type", bad("other types"), || {
            around_exports("describe", "(result u32)", "(result i32)", "handler@0.1.0")
        }),
        row("an export that is no function", bad("lacks"), || {
            text(
                "(component (type $t (record (field \"a\" u8))) (instance $i (export \"describe\" (type $t))) \
                 (export \"keystead:entity/handler@0.1.0\" (instance $i)))",
            )
        }),
    ]
}

/// A component with one exported function of an interface `keystead:entity/{interface}`.
fn around_exports(name: &str, ty: &str, flat: &str, interface: &str) -> Vec<u8> {
    text(&format!(
        r#"(component
            (core module $m (memory (export "memory") 1)
              (func (export "f") {flat} (i32.const 0)))
            (core instance $i (instantiate $m))
            (alias core export $i "f" (core func $core))
            (alias core export $i "memory" (core memory $memory))
            (func $f {ty} (canon lift (core func $core) (memory $memory)))
            (instance $e (export "{name}" (func $f)))
            (export "keystead:entity/{interface}" (instance $e)))"#
    ))
}
