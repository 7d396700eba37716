//! What a component built for `wasm32-wasip2` gets of WASI: a log, the transaction's time, randomness, and a
//! clear refusal of the rest. The guest asks by its handler's first letter.

use super::super::testing::{MapIo, call, encode, engine, module_of_world};
use super::super::{LogLevel, Outcome, Trap, Worker};

/// WASI's own text for what is used here, at a version of today and at an older one.
const WIT: &str = r"
    package test:guest;
    world old-and-new {
        import wasi:cli/stdout@0.2.6;
        import wasi:cli/stderr@0.2.0;
        import wasi:io/streams@0.2.6;
        import wasi:clocks/wall-clock@0.2.3;
        import wasi:random/insecure-seed@0.2.6;
        import wasi:filesystem/preopens@0.2.6;
        import wasi:sockets/network@0.2.6;
        export keystead:entity/handler@0.1.0;
    }
    package keystead:entity@0.1.0 {
        interface handler {
            record failure {
                code: string, message: string, details: option<list<u8>>, retryable: bool,
            }
            describe: func() -> list<u8>;
            handle: func(name: string, input: list<u8>) -> result<list<u8>, failure>;
        }
    }
    package wasi:io@0.2.6 {
        interface error { resource error { to-debug-string: func() -> string; } }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                check-write: func() -> result<u64, stream-error>;
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }
    }
    package wasi:io@0.2.0 {
        interface error { resource error { to-debug-string: func() -> string; } }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }
    }
    package wasi:cli@0.2.6 {
        interface stdout {
            use wasi:io/streams@0.2.6.{output-stream};
            get-stdout: func() -> output-stream;
        }
    }
    package wasi:cli@0.2.0 {
        interface stderr {
            use wasi:io/streams@0.2.0.{output-stream};
            get-stderr: func() -> output-stream;
        }
    }
    package wasi:clocks@0.2.3 {
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
        }
    }
    package wasi:random@0.2.6 { interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; } }
    package wasi:filesystem@0.2.6 {
        interface types { resource descriptor; }
        interface preopens {
            use types.{descriptor};
            get-directories: func() -> list<tuple<descriptor, string>>;
        }
    }
    package wasi:sockets@0.2.6 {
        interface network { resource network; open: func() -> network; }
    }";

const GUEST: &str = r#"(module
    (import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
    (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
    (import "wasi:io/streams@0.2.6" "[method]output-stream.check-write"
        (func $check (param i32 i32)))
    (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush"
        (func $write (param i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
        (func $write_old (param i32 i32 i32 i32)))
    (import "wasi:clocks/wall-clock@0.2.3" "now" (func $now (param i32)))
    (import "wasi:random/insecure-seed@0.2.6" "insecure-seed" (func $seed (param i32)))
    (import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $folders (param i32)))
    (import "wasi:sockets/network@0.2.6" "open" (func $open (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 256) "one\ntwo\nthr")
    (data (i32.const 272) "ee\n")
    (data (i32.const 288) "oh")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "keystead:entity/handler@0.1.0#describe") (result i32)
        (call $seed (i32.const 64))
        (i32.store (i32.const 0) (i32.const 256))
        (i32.store (i32.const 4) (i32.const 3))
        (i32.const 0))
    (func (export "keystead:entity/handler@0.1.0#handle")
        (param $name i32) (param i32 i32 i32) (result i32)
        (local $letter i32) (local $stream i32)
        (local.set $letter (i32.load8_u (local.get $name)))
        (i32.store8 (i32.const 0) (i32.const 0))
        (i32.store (i32.const 4) (i32.const 64))
        (i32.store (i32.const 8) (i32.const 16))
        ;; p: print in two writes, and half a line of error
        (if (i32.eq (local.get $letter) (i32.const 112)) (then
            (local.set $stream (call $stdout))
            (call $check (local.get $stream) (i32.const 64))
            (call $write (local.get $stream) (i32.const 256) (i32.const 11) (i32.const 128))
            (call $write (local.get $stream) (i32.const 272) (i32.const 3) (i32.const 128))
            (call $write_old (call $stderr) (i32.const 288) (i32.const 2) (i32.const 128))))
        ;; f: where the list of folders is, and how long; t: time, r: random, s: socket
        (if (i32.eq (local.get $letter) (i32.const 102)) (then (call $folders (i32.const 64))))
        (if (i32.eq (local.get $letter) (i32.const 116)) (then (call $now (i32.const 64))))
        (if (i32.eq (local.get $letter) (i32.const 114)) (then (call $seed (i32.const 64))))
        (if (i32.eq (local.get $letter) (i32.const 115)) (then (drop (call $open))))
        (i32.const 0)))"#;

fn run(handler: &str) -> (Outcome, MapIo) {
    let cache = tempfile::tempdir().expect("tempdir");
    let engine = engine(cache.path());
    let component = encode(&module_of_world(GUEST, WIT, "old-and-new"));
    let guest = engine.prepare(&component).expect("prepared");
    assert_eq!(guest.describe(), b"one");
    let io = Box::new(MapIo::new("app", "k"));
    MapIo::back(Worker::new(&engine).run(&guest, call(handler, b""), io))
}

#[test]
fn standard_output_and_error_become_lines() {
    let (outcome, io) = run("print");
    assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
    let line = |level, text: &str| (level, text.to_owned());
    let expected = [
        line(LogLevel::Info, "one"),
        line(LogLevel::Info, "two"),
        line(LogLevel::Info, "three"),
        line(LogLevel::Warn, "oh"),
    ];
    assert_eq!(io.lines, expected);
}

#[test]
fn time_is_the_transactions_and_chance_the_hosts() {
    let (outcome, _) = run("time");
    let mut expected = 1_700_000_000_u64.to_le_bytes().to_vec();
    expected.extend(123_000_000_u64.to_le_bytes());
    assert_eq!(outcome, Outcome::Reply(expected.into()));
    assert_eq!(run("random").0, Outcome::Reply(vec![4; 16].into()));
}

/// Asked for by C libraries before they write a line: it must not end the call.
#[test]
fn there_are_no_folders() {
    let (outcome, _) = run("folders");
    let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reply[4..8], 0_u32.to_le_bytes(), "an empty list");
}

#[test]
fn anything_else_ends_the_call_with_its_name() {
    let text = "wasi:sockets/network@0.2.6#open is not available to handlers";
    assert_eq!(run("socket").0, Outcome::Trapped(Trap::Misuse(text.into())));
}
