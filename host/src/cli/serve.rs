//! `keystead serve`: runs the host until it is told to stop. Invariant: the ready line is printed once, after
//! both listeners accept, a signal ends the host by its own graceful shutdown, and SIGHUP never ends it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::Output;
use crate::edge::tls::Files;
use crate::otlp;
use crate::server::{Rules, Server, ServerConfig};

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
    /// Where the admin API listens, on loopback unless there is TLS and a token; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7071")]
    admin: SocketAddr,
    /// Threads that run handlers; 0 means one per processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Pause everything before anything starts; `keystead entity resume --all` ends it
    #[arg(long)]
    paused: bool,
    /// Where traces go: a collector of OpenTelemetry that takes OTLP over HTTP, like http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp: Option<String>,
    /// The share of traces to record, 0 to 1, of requests whose caller has not decided
    #[arg(long, value_name = "SHARE", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0)]
    otlp_ratio: f64,
    /// Headers for the collector, like name=value,name=value; a secret
    #[arg(
        long,
        value_name = "HEADERS",
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide = true,
        hide_env_values = true
    )]
    otlp_headers: Option<String>,
    /// What the host is called in traces
    #[arg(
        long,
        value_name = "NAME",
        env = "OTEL_SERVICE_NAME",
        default_value = "keystead",
        hide = true
    )]
    otlp_service: String,
    /// Ask for a token on every request, also while there is none
    #[arg(long)]
    require_tokens: bool,
    /// Ask nobody for a token on ingress, wherever it listens: for what stands behind a gateway of yours
    #[arg(long, conflicts_with = "require_tokens")]
    open_ingress: bool,
    /// The certificate of ingress, and of the admin API beyond loopback, in PEM; a new one in its place is used soon
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Keys that encrypt apps' secrets on disk, 64 hex digits a line: the first encrypts, all decrypt
    #[arg(long, value_name = "FILE", env = "KEYSTEAD_SECRETS_KEY")]
    secrets_key: Option<PathBuf>,
}

/// The signals that end a host.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let server = args.host.start(out).await?;
    loop {
        tokio::select! {
            () = stop.asked() => break,
            _ = hangup.recv() => server.reload(),
        }
    }
    stop.shut_down(server).await
}

impl HostArgs {
    /// Starts the host and prints the ready line.
    pub(super) async fn start(&self, out: &Output) -> anyhow::Result<Server> {
        let compiler = std::env::current_exe().context("this program cannot find itself")?;
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        let tls = tls.map(|(cert, key)| Files { cert, key });
        let config = ServerConfig {
            data: self.data.clone(),
            listen: self.listen,
            admin: self.admin,
            workers: self.workers,
            paused: self.paused,
            compiler: Some(compiler),
            otlp: self.otlp()?,
            rules: Rules {
                require_tokens: self.require_tokens,
                open_ingress: self.open_ingress,
                tls,
            },
            secrets_key: self.secrets_key.clone(),
        };
        let server = Server::start(config).await?;
        // Not a document: the line is the same with and without --json, for whoever starts hosts.
        let [ingress, admin] = &server.urls;
        out.line(&ready_line(ingress, admin))?;
        Ok(server)
    }
}

impl HostArgs {
    fn otlp(&self) -> anyhow::Result<Option<otlp::Config>> {
        let Some(url) = &self.otlp else { return Ok(None) };
        let (headers, service) = (self.otlp_headers.as_deref(), &self.otlp_service);
        let config = otlp::Config::new(url, self.otlp_ratio, headers, service);
        Ok(Some(config.map_err(|error| super::Usage(error.to_string()))?))
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

fn ready_line(ingress: &str, admin: &str) -> String {
    format!("keystead ready ingress={ingress} admin={admin}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_stable() {
        let line = ready_line("http://127.0.0.1:7070", "http://[::1]:1");
        assert_eq!(line, "keystead ready ingress=http://127.0.0.1:7070 admin=http://[::1]:1");
    }
}
