//! The promises of Keystead, one module each, against the real binary over real HTTP on port 0. Every test would
//! fail without the promise it is named for: each has a control that shows the effect it then shows absent.

#[path = "../harness/mod.rs"]
mod harness;

mod atomic;
mod bounded;
mod callbacks;
mod crash;
mod deploys;
mod durable;
mod exactly_once;
mod exports;
mod isolated;
mod nothing_lost;
mod operators;
mod order;
mod quotas;
mod replies;
mod sagas;
mod serial;
mod snapshots;
mod telemetry;
mod timers;
mod versions;
