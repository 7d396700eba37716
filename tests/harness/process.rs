//! One `keystead serve` process: started, killed and started again over the same data folder. Ends only the
//! process that it started. When a test fails, it shows what the host wrote last.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::client::{Addresses, Answer, Client, Request};
use super::faults::Faults;
use super::guests::host_binary;
use super::{Guest, PATIENCE, eventually};

/// How much of the host's own log a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A host over a data folder that lives as long as this does.
pub(crate) struct Host {
    folder: TempDir,
    child: Option<Child>,
    client: Client,
    /// What `keystead serve` is told beyond where to listen.
    args: Vec<String>,
}

/// Gauges over all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) queued: u64,
    pub(crate) scheduled: u64,
    pub(crate) dead: u64,
    pub(crate) running: u64,
}

impl Host {
    /// A new host over an empty data folder.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut host = Self { folder, child: None, client: Client::new(), args: vec![] };
        host.spawn().await;
        host
    }

    /// A new host that is started with `args` too, now and after each crash.
    pub(crate) async fn start_with(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut host = Self { folder, child: None, client: Client::new(), args };
        host.spawn().await;
        host
    }

    /// A new host over what `write` puts into its folder, started with `args` beside it: what it wrote, when it does
    /// not start.
    pub(crate) async fn try_start_with(
        args: &[&str],
        write: impl FnOnce(&Path),
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut host = Self { folder, child: None, client: Client::new(), args };
        write(&host.data());
        match host.try_run(Command::new(host_binary())).await {
            Ok(()) => Ok(host),
            Err(problem) => Err(format!("{problem}\n{}", host.log())),
        }
    }

    /// A new host with `guest` deployed as `app`.
    pub(crate) async fn with(guest: Guest, app: &str) -> Self {
        let host = Self::start().await;
        host.deploy(guest, app).await;
        host
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.client.addresses()
    }

    /// SIGKILL, and nothing of the process is left.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("the host runs");
        child.start_kill().expect("SIGKILL");
        child.wait().await.expect("the killed host's end");
    }

    /// SIGTERM: the way an operator stops it.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the host runs");
        let pid = child.id().expect("the host runs").cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(status) => status.expect("the host's end"),
            Err(_) => panic!("the host did not stop within {PATIENCE:?} of SIGTERM"),
        }
    }

    /// Starts it again over the same data folder, on new ports.
    pub(crate) async fn spawn(&mut self) {
        self.run(Command::new(host_binary())).await;
    }

    /// What it is told from its next start on, beyond where to listen.
    pub(crate) fn tell(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
    }

    /// Starts it again, where it may not start: what it wrote then, last.
    pub(crate) async fn try_spawn(&mut self) -> Result<(), String> {
        let before = self.log().len();
        let started = self.try_run(Command::new(host_binary())).await;
        started.map_err(|problem| format!("{problem}\n{}", &self.log()[before..]))
    }

    /// The same on a disk where no file may grow beyond `blocks` of 512 bytes: writing more is an I/O error.
    pub(crate) async fn spawn_on_small_disk(&mut self, blocks: u64) {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script]).arg(host_binary());
        self.run(shell).await;
    }

    /// A new host whose every change of its disk is noted in the file that this returns too.
    pub(crate) async fn start_recorded() -> (Self, PathBuf) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut host = Self { folder, child: None, client: Client::new(), args: vec![] };
        let trace = host.folder.path().join("disk-trace");
        host.spawn_recorded().await;
        (host, trace)
    }

    /// Up again, and its changes go on in the same file.
    pub(crate) async fn spawn_recorded(&mut self) {
        let library = self.preloaded("recorded_disk").await;
        let mut command = Command::new(host_binary());
        command.env("LD_PRELOAD", library).env("KEYSTEAD_TEST_DISK_ROOT", self.data());
        command.env("KEYSTEAD_TEST_DISK_TRACE", self.folder.path().join("disk-trace"));
        self.run(command).await;
    }

    /// A new host over what `write` puts into the folder that it is given.
    pub(crate) async fn start_over(write: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut host = Self { folder, child: None, client: Client::new(), args: vec![] };
        write(&host.data());
        host.spawn().await;
        host
    }

    /// The same, for a folder over which a host may not start: what it wrote then, last.
    pub(crate) async fn try_start_over(write: impl FnOnce(&Path)) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut host = Self { folder, child: None, client: Client::new(), args: vec![] };
        write(&host.data());
        match host.try_run(Command::new(host_binary())).await {
            Ok(()) => Ok(host),
            Err(problem) => Err(format!("{problem}\n{}", host.log())),
        }
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The same where every `fdatasync` of the journal fails while the file exists whose path this returns.
    pub(crate) async fn spawn_with_failing_syncs(&mut self) -> PathBuf {
        self.spawn_with_failing_syncs_of("/journal-").await
    }

    /// The same for files whose paths hold `of`.
    pub(crate) async fn spawn_with_failing_syncs_of(&mut self, of: &str) -> PathBuf {
        let library = self.preloaded("failing_syncs").await;
        let flag = self.folder.path().join("syncs-fail");
        let mut command = Command::new(host_binary());
        command.env("LD_PRELOAD", library).env("KEYSTEAD_TEST_SYNCS_FAIL", &flag);
        command.env("KEYSTEAD_TEST_SYNCS_OF", of);
        self.run(command).await;
        flag
    }

    /// A new host, not started yet, whose disk will do what the page of faults says.
    pub(crate) fn with_faults() -> (Self, Faults) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let faults = Faults::new(&folder.path().join("faults"));
        (Self { folder, child: None, client: Client::new(), args: vec![] }, faults)
    }

    /// Starts it, or again; it may end before it is ready.
    pub(crate) async fn try_spawn_with(&mut self, faults: &Faults) -> Result<(), String> {
        let library = self.preloaded("faulty_disk").await;
        let mut command = Command::new(host_binary());
        command.env("LD_PRELOAD", library).env("KEYSTEAD_TEST_FAULTS", faults.path());
        command.env("KEYSTEAD_TEST_DISK_ROOT", self.data());
        self.try_run(command).await
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.child.as_ref()?.id().map(u32::cast_signed)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.pid().and_then(rustix::process::Pid::from_raw).expect("the host runs");
        rustix::process::kill_process(pid, signal).expect("signalled");
    }

    /// How it ended, if it does within this time.
    pub(crate) async fn ended(&mut self, within: std::time::Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the host was started");
        let status = tokio::time::timeout(within, child.wait()).await.ok()?;
        self.child = None;
        Some(status.expect("its end"))
    }

    /// Compiles `tests/harness/NAME.c` into a library that a host can be started with.
    async fn preloaded(&self, name: &str) -> PathBuf {
        let library = self.folder.path().join(name).with_extension("so");
        if library.exists() {
            return library;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/harness");
        let source = source.join(name).with_extension("c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC"]).arg(&source).args(["-ldl", "-o"]).arg(&library);
        let compiled = compiler.status().await.expect("a C compiler");
        assert!(compiled.success(), "{} compiles", source.display());
        library
    }

    async fn run(&mut self, command: Command) {
        if let Err(problem) = self.try_run(command).await {
            panic!("{problem}");
        }
    }

    async fn try_run(&mut self, mut command: Command) -> Result<(), String> {
        assert!(self.child.is_none(), "the host runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.log_path());
        let mut child = command
            .args(self.line())
            .arg("--data")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("the log file"))
            .kill_on_drop(true)
            .spawn()
            .expect("keystead serve");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(addresses) = parse_ready(&line) {
                    return Some(addresses);
                }
            }
            None
        };
        let addresses = match tokio::time::timeout(PATIENCE, ready).await {
            Ok(Some(addresses)) => addresses,
            Ok(None) => {
                return Err(format!(
                    "the host ended before it was ready: {:?}",
                    child.wait().await
                ));
            }
            Err(_) => panic!("the host was not ready within {PATIENCE:?}"),
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.client.moved_to(addresses);
        self.child = Some(child);
        Ok(())
    }

    /// `kill -9` and up again.
    pub(crate) async fn crash(&mut self) {
        self.kill().await;
        self.spawn().await;
    }

    /// Deploys with the default configuration.
    pub(crate) async fn deploy(&self, guest: Guest, app: &str) -> Answer {
        self.deploy_with(guest, app, json!({})).await
    }

    /// Deploys with an app's configuration.
    pub(crate) async fn deploy_with(&self, guest: Guest, app: &str, config: Value) -> Answer {
        self.deploying(guest, app, config).await.answer().await.expect_status(200)
    }

    /// The same, not sent yet.
    pub(crate) async fn deploying(&self, guest: Guest, app: &str, config: Value) -> Request {
        let component = guest.component().await;
        let config = config.to_string();
        let config = utf8_percent_encode(&config, NON_ALPHANUMERIC);
        let path = format!("/admin/v1/apps/{app}?config={config}");
        let request = self.client.admin(Method::PUT, path).body(component);
        request.header("Content-Type", "application/wasm")
    }

    /// Gauges over all partitions; panics when one of them is poisoned.
    pub(crate) async fn totals(&self) -> Totals {
        let status = self.client.admin(Method::GET, "/admin/v1/status").ok().await;
        let partitions = status["partitions"].as_array().expect("partitions").clone();
        assert!(!partitions.is_empty(), "no partition in {status}");
        let poisoned = partitions.iter().any(|partition| !partition["poisoned"].is_null());
        assert!(!poisoned, "a partition is poisoned: {status}");
        let sum = |gauge: &str| {
            let of = |partition: &Value| partition[gauge].as_u64();
            let gauges = partitions.iter().map(of).collect::<Option<Vec<u64>>>();
            gauges.unwrap_or_else(|| panic!("no gauge {gauge} in {status}")).iter().sum()
        };
        Totals {
            queued: sum("queued"),
            scheduled: sum("scheduled"),
            dead: sum("dead"),
            running: sum("running"),
        }
    }

    /// Waits until no message waits, backs off or runs. Scheduled ones stay where they are.
    pub(crate) async fn quiet(&self) -> Totals {
        eventually("no message waits or runs", PATIENCE * 2, || async {
            let totals = self.totals().await;
            if totals.queued == 0 && totals.running == 0 {
                return Ok(totals);
            }
            Err(format!("{totals:?}"))
        })
        .await
    }

    /// The status document of one message once it is final.
    pub(crate) async fn finished(&self, id: &str) -> Answer {
        eventually(&format!("{id} is done or parked"), PATIENCE, || async {
            let path = format!("/v1/messages/{id}?wait=5s");
            let answer = self.client.ingress(Method::GET, path).answer().await;
            if answer.status == 202 { Err(format!("{answer:?}")) } else { Ok(answer) }
        })
        .await
    }

    /// The dead letters of all apps.
    pub(crate) async fn dead_letters(&self) -> Vec<Value> {
        let page = self.client.admin(Method::GET, "/admin/v1/dead").ok().await;
        page["dead_letters"].as_array().expect("dead_letters").clone()
    }

    /// What operators see of an entity; null when there is none.
    pub(crate) async fn entity(&self, entity: &str) -> Value {
        let path = format!("/admin/v1/entities/{entity}");
        let answer = self.client.admin(Method::GET, path).answer().await;
        match answer.status {
            404 => Value::Null,
            _ => answer.expect_status(200).json(),
        }
    }

    /// On ports of its own, unless its arguments say where it listens.
    fn line(&self) -> Vec<String> {
        let mut line = vec!["serve".to_owned()];
        for flag in ["--listen", "--admin"] {
            if !self.args.iter().any(|arg| arg == flag) {
                line.extend([flag.to_owned(), "127.0.0.1:0".to_owned()]);
            }
        }
        line.extend_from_slice(&self.args);
        line
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("host.log")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            eprintln!("--- the host's log, the last {LOG_LINES_SHOWN} lines ---\n{tail}\n---");
        }
    }
}

/// Reads `keystead ready ingress=URL admin=URL`.
fn parse_ready(line: &str) -> Option<Addresses> {
    let mut words = line.strip_prefix("keystead ready ")?.split(' ');
    let ingress = words.next()?.strip_prefix("ingress=")?.to_owned();
    let admin = words.next()?.strip_prefix("admin=")?.to_owned();
    Some(Addresses { ingress, admin })
}
