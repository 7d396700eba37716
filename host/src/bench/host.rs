//! Hosts to measure: `keystead serve` as a child process over a fresh folder, or a host in this process. Both
//! are asked for their gauges over the admin API. Invariant: what was started here ends here, with its folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::now;
use super::wire;
use super::workload::APP;
use crate::engine::Isolation;
use crate::limits;
use crate::server::{Rules, Server, ServerConfig};

/// Where a measured server is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) pid: u32,
    pub(super) ingress: SocketAddr,
    /// None when it is no host.
    pub(super) admin: Option<SocketAddr>,
}

/// What a host counts, over all partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gauges {
    pub(super) transactions: u64,
    pub(super) appends: u64,
    /// Messages that wait, are scheduled, or run.
    pub(super) open: u64,
    pub(super) checkpoints: u64,
    /// Journal records that no checkpoint holds.
    pub(super) unmerged: u64,
    /// Bytes of their writes in memory.
    pub(super) view_bytes: u64,
}

impl Place {
    /// What the host counts; zeroes for a server that is no host.
    pub(super) fn gauges(&self) -> anyhow::Result<Gauges> {
        let Some(admin) = self.admin else { return Ok(Gauges::default()) };
        let mut request = vec![];
        wire::request(&mut request, "GET", "/admin/v1/status", "", b"");
        gauges(&wire::exchange(admin, &request)?)
    }

    /// Deploys the bench guest; the same again changes nothing.
    pub(super) fn deploy(&self, component: &[u8], isolation: Isolation) -> anyhow::Result<()> {
        self.deploy_as(APP, component, &json!({"isolation": isolation}))
    }

    /// Deploys the bench guest under another name.
    pub(super) fn deploy_as(
        &self,
        app: &str,
        component: &[u8],
        config: &Value,
    ) -> anyhow::Result<()> {
        let admin = self.admin.context("nothing can be deployed here")?;
        let mut request = vec![];
        let config = config.to_string();
        let config = utf8_percent_encode(&config, NON_ALPHANUMERIC);
        let path = format!("/admin/v1/apps/{app}?config={config}");
        wire::request(&mut request, "PUT", &path, "content-type: application/wasm\r\n", component);
        wire::exchange(admin, &request).context("the bench guest does not deploy")?;
        Ok(())
    }
}

fn gauges(status: &[u8]) -> anyhow::Result<Gauges> {
    let status: Value = serde_json::from_slice(status).context("the host's status is no JSON")?;
    let partitions = status["partitions"].as_array().context("the status has no partitions")?;
    if let Some(why) = partitions.iter().find_map(|partition| partition["poisoned"].as_str()) {
        bail!("a partition refuses work: {why}");
    }
    let sum = |name: &str| partitions.iter().filter_map(|part| part[name].as_u64()).sum::<u64>();
    Ok(Gauges {
        transactions: sum("transactions"),
        appends: sum("appends"),
        open: sum("queued") + sum("scheduled") + sum("running"),
        checkpoints: sum("checkpoints"),
        unmerged: sum("durable") - sum("checkpointed").min(sum("durable")),
        view_bytes: sum("view_bytes"),
    })
}

/// A server in a process of its own.
pub(super) struct Process {
    child: Child,
    pub(super) place: Place,
    /// From its start to its ready line.
    pub(super) ready: Duration,
}

impl Process {
    /// `keystead serve` over `data`, on ports that it picks.
    pub(super) fn host(program: &Path, data: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]);
        command.arg(data).env("KEYSTEAD_LOG", "warn");
        Self::start(command)
    }

    /// The bare HTTP server.
    pub(super) fn hello(program: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("bench-hello");
        Self::start(command)
    }

    /// Asks it to shut down and waits until it has: its last checkpoint is written then.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.place.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the server has no process id")?, Signal::TERM)?;
        let patience = now() + limits::BENCH_START_MAX;
        while self.child.try_wait()?.is_none() {
            ensure!(now() < patience, "the server does not shut down");
            std::thread::park_timeout(limits::BENCH_LOOK);
        }
        Ok(())
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        let start = now();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("the server does not start")?;
        let lines = child.stdout.take().context("the server has no stdout")?;
        let (line, first) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(lines).lines();
            // Nobody listens any more when the wait below was too long.
            let _ = line.send(lines.next());
            lines.for_each(drop);
        });
        let pid = child.id();
        let ingress = SocketAddr::from(([127, 0, 0, 1], 0));
        let place = Place { pid, ingress, admin: None };
        let mut process = Self { child, place, ready: Duration::ZERO };
        let ready = first.recv_timeout(limits::BENCH_START_MAX);
        process.ready = start.elapsed();
        let Ok(Some(Ok(ready))) = ready else { bail!("the server ended before it was ready") };
        (process.place.ingress, process.place.admin) = addresses(&ready)?;
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killed, not asked: what it holds is thrown away. An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two addresses of a ready line.
fn addresses(ready: &str) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
    let found = |name: &str| {
        let url = ready.split(' ').find_map(|word| word.strip_prefix(name))?;
        url.strip_prefix("=http://")?.parse().ok()
    };
    let ingress = found("ingress").with_context(|| format!("{ready:?} is no ready line"))?;
    Ok((ingress, found("admin")))
}

/// A host in this process.
pub(super) struct Inside {
    pub(super) runtime: Runtime,
    server: Option<Server>,
    pub(super) place: Place,
}

impl Inside {
    pub(super) fn start(program: &Path, data: &Path) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = ServerConfig {
            data: data.to_path_buf(),
            listen: any,
            admin: any,
            workers: 0,
            paused: false,
            compiler: Some(program.to_path_buf()),
            otlp: None,
            rules: Rules::default(),
            secrets_key: None,
        };
        let runtime = Runtime::new()?;
        let server = runtime.block_on(Server::start(config))?;
        let (ingress, admin) = (server.ingress_addr, Some(server.admin_addr));
        let place = Place { pid: std::process::id(), ingress, admin };
        Ok(Self { runtime, server: Some(server), place })
    }

    pub(super) fn server(&self) -> anyhow::Result<&Server> {
        self.server.as_ref().context("the host in this process has ended")
    }

    /// Shuts it down; its last checkpoint is written then.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), |server| self.runtime.block_on(server.shutdown()))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // Its folder is thrown away, so a checkpoint that fails loses nothing.
            let _ = self.runtime.block_on(server.shutdown());
        }
    }
}

/// A fresh folder under `parent`.
pub(super) fn folder(parent: &Path) -> anyhow::Result<TempDir> {
    ensure!(parent.is_dir(), "{} is not a folder", parent.display());
    tempfile::Builder::new()
        .prefix("keystead-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("no folder can be made in {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_are_read() {
        let line = "keystead ready ingress=http://127.0.0.1:1 admin=http://127.0.0.1:2";
        let (ingress, admin) = addresses(line).expect("a ready line");
        assert_eq!((ingress.port(), admin.map(|admin| admin.port())), (1, Some(2)));
        let hello = addresses("keystead ready ingress=http://127.0.0.1:3").expect("one too");
        assert_eq!((hello.0.port(), hello.1), (3, None));
        assert!(addresses("listening").is_err());
    }

    #[test]
    fn gauges_add_up_and_a_poisoned_partition_is_an_error() {
        let one = r#"{"transactions":3,"appends":2,"queued":1,"scheduled":4,"running":1,
            "checkpoints":5,"durable":9,"checkpointed":7,"view_bytes":100}"#;
        let status = format!(r#"{{"partitions":[{one},{one}]}}"#);
        let expected = Gauges {
            transactions: 6,
            appends: 4,
            open: 12,
            checkpoints: 10,
            unmerged: 4,
            view_bytes: 200,
        };
        assert_eq!(gauges(status.as_bytes()).expect("good"), expected);
        let error = gauges(br#"{"partitions":[{"poisoned":"disk full"}]}"#).expect_err("bad");
        assert!(error.to_string().contains("disk full"));
    }

    #[test]
    fn a_program_that_says_nothing_is_not_ready() {
        let error = Process::start(Command::new("true")).err().expect("no ready line");
        assert!(error.to_string().contains("ended before it was ready"), "{error}");
    }
}
