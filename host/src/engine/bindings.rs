//! What wasmtime's `bindgen!` makes of `wit/keystead.wit`: the traits that `host` implements and the typed
//! exports that `worker` calls. Nothing here is written by hand.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "app",
    imports: { default: trappable },
});
