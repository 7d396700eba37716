//! The little of WASI 0.2 that lets a component built for `wasm32-wasip2` run: standard output and error
//! become log lines, the clock is the transaction's, randomness is the host's. There is no environment, no
//! input, no folder and no socket; calling anything else ends the call with its name. Invariant: nothing here
//! reaches the machine.

use wasmtime::Engine;
use wasmtime::StoreContextMut;
use wasmtime::component::types::{Component, ComponentInstance, ComponentItem};
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use super::host::Host;
use super::{Fault, LogLevel};
use crate::limits;

/// Whether an import is WASI's.
pub(super) fn is_wasi(name: &str) -> bool {
    name.starts_with("wasi:")
}

/// What an instance has written to its two streams since the last line break.
#[derive(Default)]
pub(super) struct State {
    partial: [Vec<u8>; 2],
}

impl State {
    /// The unfinished lines, for the end of a call.
    pub(super) fn take_partial_lines(&mut self) -> Vec<(LogLevel, String)> {
        let mut lines = Vec::new();
        for (stream, level) in [(STDOUT, LogLevel::Info), (STDERR, LogLevel::Warn)] {
            let bytes = std::mem::take(&mut self.partial[stream as usize]);
            if !bytes.is_empty() {
                lines.push((level, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        lines
    }
}

const STDOUT: u32 = 0;
const STDERR: u32 = 1;
/// Most bytes that one write may bring; `check-write` says so.
const WRITE_BYTES_MAX: usize = 64 * 1024;
const NANOS_PER_MS: u64 = 1_000_000;

struct InputStream;
struct OutputStream;
struct IoError;
struct Pollable;
/// A resource of an interface that is not available; nobody ever has one.
struct Absent;

#[derive(ComponentType, Lower, Lift)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower, Lift)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Store<'a> = StoreContextMut<'a, Host>;
type Written = (Result<(), StreamError>,);

/// Defines every `wasi:*` import of `component`, at whatever 0.2 version it names.
pub(super) fn define(
    linker: &mut Linker<Host>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    for (name, import) in component.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if is_wasi(name) {
            interface(&mut linker.instance(name)?, engine, name, &instance)?;
        }
    }
    Ok(())
}

fn interface(
    linker: &mut LinkerInstance<'_, Host>,
    engine: &Engine,
    interface: &str,
    instance: &ComponentInstance,
) -> wasmtime::Result<()> {
    let unversioned = interface.split('@').next().unwrap_or(interface);
    for (name, export) in instance.exports(engine) {
        match export.ty {
            ComponentItem::Resource(_) => linker.resource(name, resource(name), |_, _| Ok(()))?,
            ComponentItem::ComponentFunc(_) if define_function(linker, unversioned, name)? => {}
            ComponentItem::ComponentFunc(_) => {
                let text = format!("{interface}#{name} is not available to handlers");
                linker.func_new(name, move |_, _, _, _| {
                    Err(Fault::BadArgument(text.clone()).into())
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn resource(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "pollable" => ResourceType::host::<Pollable>(),
        _ => ResourceType::host::<Absent>(),
    }
}

/// Defines a function that is available; false when it is not.
fn define_function(
    linker: &mut LinkerInstance<'_, Host>,
    interface: &str,
    name: &str,
) -> wasmtime::Result<bool> {
    match interface {
        "wasi:io/streams" => streams(linker, name),
        "wasi:io/poll" | "wasi:io/error" => poll_and_error(linker, name),
        "wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed" => {
            random(linker, name)
        }
        "wasi:clocks/wall-clock" => wall_clock(linker, name),
        "wasi:clocks/monotonic-clock" => monotonic_clock(linker, name),
        "wasi:filesystem/preopens" => no_folders(linker, name),
        interface if interface.starts_with("wasi:cli/") => cli(linker, name),
        _ => Ok(false),
    }
}

/// C libraries ask which folders there are before they write a line or look for a file; a path then leads nowhere.
fn no_folders(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    type Folders = (Vec<(Resource<Absent>, String)>,);
    if name != "get-directories" {
        return Ok(false);
    }
    linker.func_wrap(name, |_: Store<'_>, (): ()| Ok::<Folders, _>((Vec::new(),)))?;
    Ok(true)
}

fn cli(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    type NoTerminal = (Option<Resource<Absent>>,);
    match name {
        "get-environment" => {
            linker.func_wrap(name, |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
        }
        "get-arguments" => {
            linker.func_wrap(name, |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
        }
        "initial-cwd" => {
            linker.func_wrap(name, |_: Store<'_>, (): ()| Ok((None::<String>,)))?;
        }
        "exit" => linker.func_wrap(name, |_: Store<'_>, (status,): (Result<(), ()>,)| {
            let how = if status.is_ok() { "success" } else { "failure" };
            Err::<(), _>(Fault::BadArgument(format!("the handler called exit ({how})")).into())
        })?,
        "get-stdin" => linker
            .func_wrap(name, |_: Store<'_>, (): ()| Ok((Resource::<InputStream>::new_own(0),)))?,
        "get-stdout" => linker.func_wrap(name, |_: Store<'_>, (): ()| {
            Ok((Resource::<OutputStream>::new_own(STDOUT),))
        })?,
        "get-stderr" => linker.func_wrap(name, |_: Store<'_>, (): ()| {
            Ok((Resource::<OutputStream>::new_own(STDERR),))
        })?,
        "get-terminal-stdin" | "get-terminal-stdout" | "get-terminal-stderr" => {
            linker.func_wrap(name, |_: Store<'_>, (): ()| Ok::<NoTerminal, _>((None,)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn streams(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]output-stream.check-write" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<OutputStream>,)| {
                Ok((Ok::<_, StreamError>(WRITE_BYTES_MAX as u64),))
            })?;
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            linker.func_wrap(
                name,
                |mut store: Store<'_>, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| {
                    write(store.data_mut(), stream.rep(), &bytes)?;
                    Ok::<Written, _>((Ok(()),))
                },
            )?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<OutputStream>,)| {
                Ok::<Written, _>((Ok(()),))
            })?;
        }
        "[method]output-stream.subscribe" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<OutputStream>,)| {
                Ok((Resource::<Pollable>::new_own(0),))
            })?;
        }
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            linker.func_wrap(name, |_: Store<'_>, (_, _): (Resource<InputStream>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            linker.func_wrap(name, |_: Store<'_>, (_, _): (Resource<InputStream>, u64)| {
                Ok((Err::<u64, _>(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.subscribe" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<InputStream>,)| {
                Ok((Resource::<Pollable>::new_own(0),))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Everything that can be waited for is ready: nothing here ever waits.
fn poll_and_error(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "poll" => linker.func_wrap(name, |_: Store<'_>, (all,): (Vec<Resource<Pollable>>,)| {
            Ok(((0..all.len() as u32).collect::<Vec<u32>>(),))
        })?,
        "[method]pollable.ready" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<Pollable>,)| Ok((true,)))?;
        }
        "[method]pollable.block" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<Pollable>,)| Ok(()))?;
        }
        "[method]error.to-debug-string" => {
            linker.func_wrap(name, |_: Store<'_>, (_,): (Resource<IoError>,)| {
                Ok((String::from("closed"),))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn random(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    fn number(mut store: Store<'_>) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        store.data_mut().ambient_io()?.random(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => {
            linker.func_wrap(name, |mut store: Store<'_>, (len,): (u64,)| {
                let max = u64::from(limits::RANDOM_BYTES_MAX);
                if len > max {
                    Err(Fault::Limit { what: "number of random bytes", max })?;
                }
                let mut bytes = vec![0; len as usize];
                store.data_mut().ambient_io()?.random(&mut bytes);
                Ok((bytes,))
            })?;
        }
        "get-random-u64" | "get-insecure-random-u64" => {
            linker.func_wrap(name, |store: Store<'_>, (): ()| Ok((number(store)?,)))?;
        }
        "insecure-seed" => linker.func_wrap(name, |mut store: Store<'_>, (): ()| {
            let first = number(StoreContextMut::from(&mut store))?;
            Ok(((first, number(store)?),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn wall_clock(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => linker.func_wrap(name, |mut store: Store<'_>, (): ()| {
            let now_ms = store.data_mut().ambient_io()?.now_ms();
            let nanoseconds = (now_ms % 1_000 * NANOS_PER_MS) as u32;
            Ok((Datetime { seconds: now_ms / 1_000, nanoseconds },))
        })?,
        "resolution" => linker.func_wrap(name, |_: Store<'_>, (): ()| {
            Ok((Datetime { seconds: 0, nanoseconds: NANOS_PER_MS as u32 },))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The transaction's time as well: it does not move during a call, so that nothing can be timed by it.
fn monotonic_clock(linker: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => linker.func_wrap(name, |mut store: Store<'_>, (): ()| {
            Ok((store.data_mut().ambient_io()?.now_ms().saturating_mul(NANOS_PER_MS),))
        })?,
        "resolution" => {
            linker.func_wrap(name, |_: Store<'_>, (): ()| Ok((NANOS_PER_MS,)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Logs each finished line, and keeps the rest for the next write or the end of the call.
fn write(host: &mut Host, stream: u32, bytes: &[u8]) -> Result<(), Fault> {
    let level = if stream == STDOUT { LogLevel::Info } else { LogLevel::Warn };
    host.ambient_io()?;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let partial = &mut host.wasi.partial[stream.min(STDERR) as usize];
        let room = limits::LOG_LINE_BYTES_MAX.saturating_sub(partial.len());
        partial.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.ends_with(b"\n") {
            let line = std::mem::take(partial);
            host.log_line(level, String::from_utf8_lossy(&line).trim_end())?;
        }
    }
    Ok(())
}
