//! `keystead serve`: runs the host until it is told to stop. Invariant: the ready line is printed once, after
//! both listeners accept, and a signal ends the host by its own graceful shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::Output;
use crate::server::{Server, ServerConfig};

/// Run a host
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) host: HostArgs,
}

/// What a host is started with; `dev` takes the same.
#[derive(Debug, clap::Args)]
pub(super) struct HostArgs {
    /// The data folder; made when missing
    #[arg(long, value_name = "DIR", default_value = "./keystead-data")]
    data: PathBuf,
    /// Where ingress listens; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where the admin API listens, a loopback address; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7071")]
    admin: SocketAddr,
    /// Threads that run handlers; 0 means one per processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Pause everything before anything starts; `keystead entity resume --all` ends it
    #[arg(long)]
    paused: bool,
}

/// The signals that end a host.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let server = args.host.start(out).await?;
    stop.asked().await;
    stop.shut_down(server).await
}

impl HostArgs {
    /// Starts the host and prints the ready line.
    pub(super) async fn start(&self, out: &Output) -> anyhow::Result<Server> {
        let compiler = std::env::current_exe().context("this program cannot find itself")?;
        let config = ServerConfig {
            data: self.data.clone(),
            listen: self.listen,
            admin: self.admin,
            workers: self.workers,
            paused: self.paused,
            compiler: Some(compiler),
        };
        let server = Server::start(config).await?;
        // Not a document: the line is the same with and without --json, for whoever starts hosts.
        out.line(&ready_line(server.ingress_addr, server.admin_addr))?;
        Ok(server)
    }
}

impl Stop {
    /// From now on SIGINT and SIGTERM are heard here and do not kill.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for either signal.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Shuts the host down; a second signal stops waiting for that.
    pub(super) async fn shut_down(mut self, server: Server) -> anyhow::Result<()> {
        tracing::info!("shutting down; once more to stop at once");
        tokio::select! {
            done = server.shutdown() => done,
            () = self.asked() => anyhow::bail!("stopped before the shutdown was complete"),
        }
    }
}

fn ready_line(ingress: SocketAddr, admin: SocketAddr) -> String {
    format!("keystead ready ingress=http://{ingress} admin=http://{admin}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_stable() {
        let (ingress, admin) = (SocketAddr::from(([127, 0, 0, 1], 7070)), "[::1]:1".parse());
        let line = ready_line(ingress, admin.expect("valid"));
        assert_eq!(line, "keystead ready ingress=http://127.0.0.1:7070 admin=http://[::1]:1");
    }
}
