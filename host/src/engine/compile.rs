//! Compiles in a child process of the same program, which can be killed: compile time and memory are not
//! bounded by a component's size, and wasmtime does not count that as a flaw. The child limits its own
//! address space and processor time; the parent limits wall time and the size of the answer.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, Signal};

use super::PrepareError;
use super::settings::{Space, compiling_engine};
use crate::limits;

/// The argument that makes the program a compiling child.
const ARGUMENT: &str = "compile-component";
/// How much of what the child says on standard error is passed on.
const MESSAGE_BYTES_MAX: u64 = 4 * 1024;

/// Compiles with `program compile-component`.
pub(super) fn compile_by(
    program: &Path,
    component: &[u8],
    space: Space,
    time_max: Duration,
) -> Result<Vec<u8>, PrepareError> {
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            PrepareError::Host(format!("cannot start {}: {error}", program.display()))
        })?;
    let answer = converse(&mut child, component, space, time_max);
    // A child that has answered has nothing left to do; one that has not is out of time.
    let killed = answer.is_none() && child.kill().is_ok();
    let status = child.wait().map_err(|error| PrepareError::Host(error.to_string()))?;
    match answer {
        Some((code, _)) if status.success() && code.len() <= limits::COMPILED_BYTES_MAX => Ok(code),
        Some((_, message)) => Err(PrepareError::Compile(reason(status, &message))),
        None if killed => {
            Err(PrepareError::Compile(format!("it took more than {} s", time_max.as_secs_f32())))
        }
        None => Err(PrepareError::Compile(reason(status, ""))),
    }
}

/// Compiles in this process.
pub(super) fn compile_here(component: &[u8], space: Space) -> Result<Vec<u8>, PrepareError> {
    let engine =
        compiling_engine(space).map_err(|error| PrepareError::Host(format!("{error:#}")))?;
    engine
        .precompile_component(component)
        .map_err(|error| PrepareError::Compile(format!("{error:#}")))
}

/// The child's side: limits itself, compiles what comes on standard input, and writes to standard output.
pub(super) fn child() -> anyhow::Result<()> {
    // The parent may die without the time to kill.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    lower(Resource::As, limits::COMPILE_MEMORY_BYTES_MAX)?;
    lower(Resource::Cpu, limits::COMPILE_TIME_MAX.as_secs())?;
    lower(Resource::Core, 0)?;

    let mut input = Vec::new();
    let most = limits::COMPONENT_BYTES_MAX as u64 + 1;
    std::io::stdin().lock().take(most + 1).read_to_end(&mut input).context("reading")?;
    let (tag, component) = input.split_first().context("no input")?;
    let space = Space::from_tag(*tag).context("the input does not begin with its settings")?;
    anyhow::ensure!(component.len() <= limits::COMPONENT_BYTES_MAX, "the component is too large");
    let code = compile_here(component, space).map_err(|error| match error {
        PrepareError::Compile(text) => anyhow::Error::msg(text),
        error => error.into(),
    })?;
    std::io::stdout().lock().write_all(&code).context("writing")
}

/// Limits this process for good. Never raises: the operator's limit may be lower, and raising it would fail.
fn lower(resource: Resource, max: u64) -> std::io::Result<()> {
    let max = rustix::process::getrlimit(resource).maximum.map_or(max, |hard| hard.min(max));
    let limit = Rlimit { current: Some(max), maximum: Some(max) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Sends the component and takes the code and the child's message; `None` when the time is up.
fn converse(
    child: &mut Child,
    component: &[u8],
    space: Space,
    time_max: Duration,
) -> Option<(Vec<u8>, String)> {
    let (mut to_child, from_child, errors) =
        (child.stdin.take()?, child.stdout.take()?, child.stderr.take()?);
    let component = component.to_vec();
    // A thread for each pipe: a child blocked on one of them must not block us on another. They end with the
    // child, for the caller kills it.
    std::thread::spawn(move || {
        // A child that ends early breaks the pipe; its status and message say why.
        let _ = to_child.write_all(&[space.tag()]).and_then(|()| to_child.write_all(&component));
    });
    let (done, answer) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let message = std::thread::spawn(move || {
            let mut message = Vec::new();
            let _ = errors.take(MESSAGE_BYTES_MAX).read_to_end(&mut message);
            String::from_utf8_lossy(&message).trim().to_owned()
        });
        let mut code = Vec::new();
        let most = limits::COMPILED_BYTES_MAX as u64 + 1;
        let read = from_child.take(most).read_to_end(&mut code);
        let message = message.join().unwrap_or_default();
        // Nobody listens when the time is up.
        let _ = done.send(if read.is_ok() { (code, message) } else { (Vec::new(), message) });
    });
    answer.recv_timeout(time_max).ok()
}

fn reason(status: ExitStatus, message: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU | Signal::KILL) => {
            format!("it took more than {} s of processor time", limits::COMPILE_TIME_MAX.as_secs())
        }
        Some(Signal::ABORT | Signal::SEGV) => {
            let max = limits::COMPILE_MEMORY_BYTES_MAX >> 20;
            format!("the compiler gave up; it may use {max} MiB of memory. {message}")
        }
        Some(signal) => {
            format!("the compiler was stopped by signal {}. {message}", signal.as_raw())
        }
        None if status.success() => "the compiled code is too large".into(),
        None if message.is_empty() => format!("the compiler ended with {status}"),
        None => message.trim_start_matches("Error: ").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Runs a shell script as the compiler.
    fn compile_with(script: &str, time_max: Duration) -> Result<Vec<u8>, PrepareError> {
        let dir = tempfile::tempdir().expect("tempdir");
        let program = dir.path().join("compiler");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("script");
        compile_by(&program, b"component", Space::Wide, time_max)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn the_child_gets_settings_and_component_and_its_output_is_the_code() {
        let code = compile_with("test $1 = compile-component && cat", LONG).expect("code");
        assert_eq!(code, b"wcomponent");
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        let error = compile_with("exec sleep 1000", Duration::from_millis(200)).expect_err("late");
        assert!(error.to_string().contains("more than 0.2 s"), "{error}");
    }

    #[test]
    fn a_refusal_is_passed_on_and_an_abort_is_explained() {
        let error = compile_with("echo 'Error: no such type' >&2; exit 1", LONG).expect_err("bad");
        assert_eq!(error.to_string(), "the component does not compile: no such type");
        let error = compile_with("kill -ABRT $$", LONG).expect_err("abort");
        assert!(error.to_string().contains("may use 4096 MiB"), "{error}");
        let error = compile_with("kill -XCPU $$", LONG).expect_err("cpu");
        assert!(error.to_string().contains("60 s of processor time"), "{error}");
    }
}
