//! Keystead: entity functions as WebAssembly components. Each command runs in an atomic transaction over one
//! entity's state; the messages it sends are part of that transaction and take effect exactly once.
//! `host/ARCHITECTURE.md` is the map; modules are listed here from the lowest level up.

pub mod clock;
pub mod ids;
pub mod limits;
pub mod metrics;

pub mod logging;
pub mod trace;

pub mod access;
pub mod record;
pub mod storage;

pub mod config;

pub mod engine;
pub mod journal;
pub mod state;

pub mod registry;

pub mod partition;

pub mod router;

pub mod backup;

pub mod edge;

pub mod admin;
pub mod console;
pub mod ingress;

pub mod doctor;
pub mod otlp;
pub mod server;

pub mod bench;

pub mod cli;
