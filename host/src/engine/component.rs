//! Makes a component of what `cargo build` leaves: a core module with the SDK's interface in a custom
//! section. For `keystead build`; a host never wraps what it is given.

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::{PrepareError, inspect};

const NO_INTERFACE: &str = "- it carries no Keystead interface: does the crate use keystead-sdk, have an \
     #[entity], and crate-type = [\"cdylib\"]?";

/// Wraps and validates a core module built for `wasm32-unknown-unknown`; returns bytes that are a component
/// already as they are.
///
/// # Errors
/// [`PrepareError`] that names the import or export that is in the way, and what to do about it.
pub fn componentize(core_module: &[u8]) -> Result<Vec<u8>, PrepareError> {
    if Parser::is_component(core_module) {
        inspect::inspect(core_module)?;
        return Ok(core_module.to_vec());
    }
    if !Parser::is_core_wasm(core_module) {
        return Err(PrepareError::NotAComponent("this is not WebAssembly".into()));
    }
    let foreign = foreign_imports(core_module)?;
    if !foreign.is_empty() {
        return Err(PrepareError::WrongWorld(foreign));
    }
    if !carries_interface(core_module) {
        return Err(PrepareError::WrongWorld(vec![NO_INTERFACE.into()]));
    }
    let component = ComponentEncoder::default()
        .validate(true)
        .module(core_module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| PrepareError::WrongWorld(vec![format!("- {error:#}")]))?;
    inspect::inspect(&component)?;
    Ok(component)
}

/// Imports that no component for this world can have, each with where it comes from.
fn foreign_imports(core_module: &[u8]) -> Result<Vec<String>, PrepareError> {
    let mut lines = Vec::new();
    for payload in Parser::new(0).parse_all(core_module) {
        let Payload::ImportSection(section) = payload? else { continue };
        for import in section.into_imports() {
            let import = import?;
            if let Some(advice) = advice(import.module, import.name) {
                lines.push(format!(
                    "- it imports {} from {:?}: {advice}",
                    import.name, import.module
                ));
            }
        }
    }
    Ok(lines)
}

fn advice(module: &str, name: &str) -> Option<String> {
    let tree = |package: &str| {
        format!("`cargo tree -i {package} --target wasm32-unknown-unknown` says who needs it")
    };
    if module.starts_with("__wbindgen") || module == "wbg" {
        let tree = tree("wasm-bindgen");
        return Some(format!("that is wasm-bindgen's, for browsers; {tree}"));
    }
    if module == "wasi_snapshot_preview1" {
        return Some(
            "that is WASI preview 1; build for wasm32-unknown-unknown or wasm32-wasip2".into(),
        );
    }
    if name.contains("getrandom") {
        let tree = tree("getrandom");
        return Some(format!("handlers take randomness from `ctx.random`; {tree}"));
    }
    if module == "env" {
        return Some(
            "some crate expects a C library or a host function of its own; look for it (often its name \
             ends in -sys) with `cargo tree --target wasm32-unknown-unknown`, then `cargo tree -i` it"
                .into(),
        );
    }
    None
}

/// wit-component would make an empty component of a module without one.
fn carries_interface(core_module: &[u8]) -> bool {
    Parser::new(0).parse_all(core_module).any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(section))
            if section.name().starts_with("component-type"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(wat: &str) -> String {
        componentize(&wat::parse_str(wat).expect("wat")).expect_err("refused").to_string()
    }

    #[test]
    fn a_component_stays_as_it_is() {
        let component = wat::parse_str("(component)").expect("wat");
        assert_eq!(componentize(&component).expect("accepted"), component);
    }

    #[test]
    fn foreign_imports_are_named_with_advice() {
        let text = refusal(
            r#"(module
                (import "__wbindgen_placeholder__" "__wbindgen_throw" (func))
                (import "env" "__getrandom_v03_custom" (func))
                (import "env" "sqlite3_open" (func)))"#,
        );
        assert!(text.contains("__wbindgen_throw") && text.contains("-i wasm-bindgen"), "{text}");
        assert!(text.contains("__getrandom_v03_custom") && text.contains("-i getrandom"), "{text}");
        assert!(text.contains("sqlite3_open") && text.contains("ends in -sys"), "{text}");
    }

    #[test]
    fn a_module_without_the_sdk_is_told_so() {
        assert!(refusal("(module)").contains("carries no Keystead interface"));
        assert!(componentize(b"text").is_err());
    }
}
