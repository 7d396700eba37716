//! Does a component fit the world `app`? Names everything that does not, all at once: imports that the host
//! does not give, functions that an interface does not have, exports that are missing, types that differ.
//! wasmtime's linker says the first of these only.

use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentFunc, ComponentInstance, ComponentItem};

use super::bindings::keystead::entity::{log, state, timers, types};
use super::wasi;

type Bytes = Vec<u8>;
type HandleResult = Result<Bytes, types::Failure>;

/// Compares a function's type with ours.
type Check = fn(&ComponentFunc, &Component) -> bool;

/// One function: its name, its type for people, and its type for the machine.
type Function = (&'static str, Check);

const PACKAGE: &str = "keystead:entity/";
const VERSION: &str = "@0.1.0";
const HANDLER: &str = "keystead:entity/handler@0.1.0";

/// What the host gives; a test compares it with `wit/keystead.wit`.
const IMPORTS: &[(&str, &[Function])] = &[
    ("types", &[]),
    (
        "context",
        &[
            ("self-ref", check::<(), (types::EntityRef,)>),
            ("app", check::<(), (String,)>),
            ("sender", check::<(), (Option<types::EntityRef>,)>),
            ("message-id", check::<(), (String,)>),
            ("attempt", check::<(), (u32,)>),
            ("now-ms", check::<(), (u64,)>),
            ("random", check::<(u32,), (Bytes,)>),
            ("content-type", check::<(), (Option<String>,)>),
            ("config", check::<(String,), (Option<String>,)>),
        ],
    ),
    (
        "state",
        &[
            ("get", check::<(Bytes,), (Option<Bytes>,)>),
            ("get-many", check::<(Vec<Bytes>,), (Vec<Option<Bytes>>,)>),
            ("set", check::<(Bytes, Bytes), ()>),
            ("delete", check::<(Bytes,), ()>),
            ("scan", check::<(Bytes, Option<Bytes>, u32, state::Direction), (Vec<state::Entry>,)>),
        ],
    ),
    (
        "outbox",
        &[
            ("send", check::<(types::EntityRef, String, Bytes, types::Due), (String,)>),
            (
                "call-then",
                check::<
                    (types::EntityRef, String, Bytes, types::Due, types::Continuation),
                    (String,),
                >,
            ),
            ("cancel", check::<(String,), (bool,)>),
        ],
    ),
    (
        "timers",
        &[
            ("set", check::<(String, String, Bytes, types::Due), ()>),
            ("cancel", check::<(String,), (bool,)>),
            ("pending", check::<(), (Vec<timers::Timer>,)>),
        ],
    ),
    (
        "callbacks",
        &[
            ("create", check::<(types::Continuation, types::Due), (String,)>),
            ("cancel", check::<(String,), (bool,)>),
        ],
    ),
    ("log", &[("emit", check::<(log::Level, String), ()>), ("panicked", check::<(String,), ()>)]),
];

/// What the component must export.
const EXPORTS: &[Function] =
    &[("describe", check::<(), (Bytes,)>), ("handle", check::<(String, Bytes), (HandleResult,)>)];

fn check<P, R>(function: &ComponentFunc, component: &Component) -> bool
where
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
    R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
{
    !function.async_() && function.typecheck::<P, R>(&component.instance_type()).is_ok()
}

/// Everything about `component` that does not fit, a line each; empty when it fits.
pub(super) fn problems(engine: &Engine, component: &Component) -> Vec<String> {
    let mut missing = Vec::new();
    let mut mistyped = Vec::new();
    for (name, import) in component.imports(engine) {
        if wasi::is_wasi(name) {
            continue;
        }
        let known = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_suffix(VERSION));
        let known = known.and_then(|known| IMPORTS.iter().find(|(name, _)| *name == known));
        match (known, import.ty) {
            (Some((_, functions)), ComponentItem::ComponentInstance(instance)) => {
                let at = Place { engine, component, interface: name };
                at.compare(&instance, functions, &mut missing, &mut mistyped);
            }
            // A type that the world uses has no implementation.
            (None, ComponentItem::Type(_)) => {}
            _ => missing.push(format!("- {name}")),
        }
    }
    let mut lines = Vec::new();
    if !missing.is_empty() {
        lines.push("it requires the following imports, which the host does not provide:".into());
        lines.append(&mut missing);
    }
    let absent = absent_exports(engine, component, &mut mistyped);
    if !absent.is_empty() {
        lines.push("it lacks the following exports, which the host calls:".into());
        lines.extend(absent);
    }
    if !mistyped.is_empty() {
        lines.push(
            "the following functions have other types than in wit/keystead.wit; was it built with another \
             version of the SDK?"
                .into(),
        );
        lines.append(&mut mistyped);
    }
    lines
}

fn absent_exports(
    engine: &Engine,
    component: &Component,
    mistyped: &mut Vec<String>,
) -> Vec<String> {
    let mut absent = Vec::new();
    match component.get_export(engine, HANDLER).map(|export| export.ty) {
        Some(ComponentItem::ComponentInstance(instance)) => {
            for (name, check) in EXPORTS {
                match instance.get_export(engine, name).map(|export| export.ty) {
                    Some(ComponentItem::ComponentFunc(function)) => {
                        if !check(&function, component) {
                            mistyped.push(format!("- {HANDLER}#{name} (export)"));
                        }
                    }
                    _ => absent.push(format!("- {HANDLER}#{name}")),
                }
            }
        }
        _ => {
            absent.push(format!("- {HANDLER} (interface)"));
            let others: Vec<_> = component.exports(engine).map(|(name, _)| name).collect();
            if !others.is_empty() {
                absent.push(format!("  (it exports {})", others.join(", ")));
            }
        }
    }
    absent
}

/// One imported interface of one component.
struct Place<'a> {
    engine: &'a Engine,
    component: &'a Component,
    interface: &'a str,
}

impl Place<'_> {
    fn compare(
        &self,
        instance: &ComponentInstance,
        functions: &[Function],
        missing: &mut Vec<String>,
        mistyped: &mut Vec<String>,
    ) {
        for (name, export) in instance.exports(self.engine) {
            let line = || format!("- {}#{name}", self.interface);
            match (functions.iter().find(|(known, _)| *known == name), export.ty) {
                (_, ComponentItem::Type(_)) => {}
                (Some((_, check)), ComponentItem::ComponentFunc(function)) => {
                    if !check(&function, self.component) {
                        mistyped.push(line());
                    }
                }
                _ => missing.push(line()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The tables above and the WIT say the same.
    #[test]
    fn the_tables_match_the_wit() {
        let mut resolve = wit_parser::Resolve::default();
        let text = include_str!("../../../wit/keystead.wit");
        let package = resolve.push_str("keystead.wit", text).expect("WIT");
        let mut of_wit = BTreeSet::new();
        for (name, id) in &resolve.packages[package].interfaces {
            of_wit.insert((name.clone(), String::new()));
            for function in resolve.interfaces[*id].functions.keys() {
                of_wit.insert((name.clone(), function.clone()));
            }
        }
        let mut ours = BTreeSet::new();
        for (interface, functions) in IMPORTS.iter().chain(&[("handler", EXPORTS)]) {
            ours.insert(((*interface).to_owned(), String::new()));
            for (function, _) in *functions {
                ours.insert(((*interface).to_owned(), (*function).to_owned()));
            }
        }
        assert_eq!(ours, of_wit);
    }
}
