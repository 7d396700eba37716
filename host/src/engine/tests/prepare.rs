//! Deploys: what is accepted, and what is said of what is not.

use super::super::testing::{component, core_module, encode, engine, module_of_world};
use super::super::{PrepareError, componentize};
use crate::ids::VersionId;

fn refusal(bytes: &[u8]) -> PrepareError {
    let cache = tempfile::tempdir().expect("tempdir");
    engine(cache.path()).prepare(bytes).err().expect("refused")
}

#[test]
fn a_guest_knows_its_version_and_document() {
    let cache = tempfile::tempdir().expect("tempdir");
    let bytes = component("{\"entities\":[]}");
    let guest = engine(cache.path()).prepare(&bytes).expect("prepared");
    assert_eq!(guest.version(), VersionId::of(&bytes));
    assert_eq!(guest.describe(), b"{\"entities\":[]}");
}

#[test]
fn build_wraps_what_prepare_accepts() {
    let wrapped = componentize(&core_module("{}")).expect("wrapped");
    assert_eq!(wrapped, component("{}"));
    let text = refusal(&core_module("{}")).to_string();
    assert!(text.contains("`keystead build` wraps it"), "{text}");
}

#[test]
fn a_truncated_upload_is_refused_at_every_length() {
    let whole = component("{}");
    let cache = tempfile::tempdir().expect("tempdir");
    let engine = engine(cache.path());
    for part in 1..20 {
        let cut = &whole[..whole.len() * part / 20];
        assert!(engine.prepare(cut).is_err(), "{part}/20");
    }
}

#[test]
fn every_import_and_export_that_does_not_fit_is_named() {
    let wit = r"
        package other:place;
        interface disk { open: func(path: string); }
        world wrong {
            import disk;
            import keystead:entity/state@0.1.0;
            import keystead:entity/log@0.1.0;
            import keystead:entity/magic@0.1.0;
            export run: func();
        }
        package keystead:entity@0.1.0 {
            interface state { get: func(key: string) -> option<string>; forget: func(); }
            interface log { emit: func(level: u8, message: string); panicked: func(message: string); }
            interface magic { wave: func(); }
        }";
    let wat = r#"(module
        (import "other:place/disk" "open" (func (param i32 i32)))
        (import "keystead:entity/state@0.1.0" "get" (func (param i32 i32 i32)))
        (import "keystead:entity/state@0.1.0" "forget" (func))
        (import "keystead:entity/log@0.1.0" "emit" (func (param i32 i32 i32)))
        (import "keystead:entity/log@0.1.0" "panicked" (func (param i32 i32)))
        (import "keystead:entity/magic@0.1.0" "wave" (func))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "run")))"#;
    let error = refusal(&encode(&module_of_world(wat, wit, "wrong")));
    let PrepareError::WrongWorld(lines) = &error else { panic!("{error}") };
    let expected = [
        "it requires the following imports, which the host does not provide:",
        "- other:place/disk",
        "- keystead:entity/state@0.1.0#forget",
        "- keystead:entity/magic@0.1.0",
        "it lacks the following exports, which the host calls:",
        "- keystead:entity/handler@0.1.0 (interface)",
        "  (it exports run)",
        "the following functions have other types than in wit/keystead.wit; was it built with another \
         version of the SDK?",
        "- keystead:entity/state@0.1.0#get",
        "- keystead:entity/log@0.1.0#emit",
    ];
    for line in expected {
        assert!(lines.iter().any(|l| l == line), "{line:?} is missing:\n{error}");
    }
    assert_eq!(lines.len(), expected.len(), "{error}");
}

#[test]
fn a_memory_that_no_instance_may_have_is_refused() {
    let module = include_str!("guest.wat")
        .replace("(memory (export \"memory\") 4)", "(memory (export \"memory\") 2000)")
        .replace("DOCUMENT_LEN", "0")
        .replace("DOCUMENT", "");
    let wit = include_str!("../../../../wit/keystead.wit");
    let error = refusal(&encode(&module_of_world(&module, wit, "app")));
    assert!(matches!(error, PrepareError::TooLarge(_)), "{error}");
}

#[test]
fn describe_may_log_and_nothing_else() {
    let describe = r#"(func (export "keystead:entity/handler@0.1.0#describe") (result i32)"#;
    let with = |body: &str| {
        let text = include_str!("guest.wat")
            .replace(describe, &format!("{describe} {body}"))
            .replace("DOCUMENT_LEN", "2")
            .replace("DOCUMENT", "{}");
        encode(&module_of_world(&text, include_str!("../../../../wit/keystead.wit"), "app"))
    };
    let cache = tempfile::tempdir().expect("tempdir");
    let engine = engine(cache.path());
    engine
        .prepare(&with("(call $emit (i32.const 1) (i32.const 256) (i32.const 3))"))
        .expect("a line is fine");
    let text = engine.prepare(&with("(drop (call $attempt))")).err().expect("refused").to_string();
    assert_eq!(text, "describe failed: describe may use no import but log");
    let text = engine.prepare(&with("(unreachable)")).err().expect("refused").to_string();
    assert!(text.starts_with("describe failed: trapped"), "{text}");
    let panics = "(call $panicked (i32.const 272) (i32.const 21)) (unreachable)";
    let text = engine.prepare(&with(panics)).err().expect("refused").to_string();
    assert_eq!(text, "describe failed: panicked: went wrong on purpose");
}
