//! The command line: one file per verb or noun. It is not a second way in: client verbs use HTTP alone, as
//! any other program would. Invariant: answers go to stdout, everything said about them to stderr.

mod apps;
mod artifact;
mod audit;
mod bench;
mod build;
mod client;
mod compile;
mod dead;
mod deploy;
mod dev;
mod doctor;
mod entity;
mod export;
mod invoke;
mod logs;
mod message;
mod new;
mod output;
mod sample;
mod serve;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod timer;
mod token;
mod trust;
mod typed;
mod versions;
mod watch;
mod wit;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::logging;
use client::ClientError;
use output::Output;

/// Entity functions as WebAssembly components: each command is an atomic, durable transaction over one entity.
#[derive(Debug, Parser)]
#[command(name = "keystead", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage. KEYSTEAD_LOG sets what goes to stderr: \
                        error, warn, info, debug or trace; KEYSTEAD_LOG_FORMAT how it looks: text or json."
)]
pub struct Cli {
    /// Print JSON for programs instead of tables for people
    #[arg(long, global = true, display_order = 100)]
    json: bool,
    /// How much to say on stderr
    #[arg(long, env = "KEYSTEAD_LOG", global = true, hide = true)]
    log: Option<LevelFilter>,
    /// How it looks on stderr
    #[arg(
        long,
        env = "KEYSTEAD_LOG_FORMAT",
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide = true
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    New(new::Args),
    Build(build::Args),
    Dev(dev::Args),
    Serve(serve::Args),
    Deploy(deploy::Args),
    Call(invoke::CallArgs),
    Send(invoke::SendArgs),
    Read(invoke::ReadArgs),
    #[command(subcommand)]
    Entity(entity::Verb),
    #[command(subcommand)]
    Dead(dead::Verb),
    #[command(subcommand)]
    Message(message::Verb),
    #[command(subcommand)]
    Timer(timer::Verb),
    Apps(apps::Args),
    Versions(versions::VersionsArgs),
    Activate(versions::ActivateArgs),
    Rollback(versions::RollbackArgs),
    Ramp(versions::RampArgs),
    #[command(subcommand)]
    Config(settings::ConfigVerb),
    #[command(subcommand)]
    Secret(settings::SecretVerb),
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    #[command(subcommand)]
    Token(token::Verb),
    Audit(audit::Args),
    Logs(logs::Args),
    Client(typed::Args),
    Wit(wit::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    CompileComponent(compile::Args),
    #[command(hide = true)]
    BenchHello(bench::HelloArgs),
}

/// A mistake in what was typed that clap cannot see; ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Cli {
    /// Reads this process's command line. Help and mistakes are printed and end the process.
    #[must_use]
    pub fn from_line() -> Self {
        Self::parse()
    }

    /// How much to say on stderr: what `KEYSTEAD_LOG` says, else `info` for verbs that serve and `warn`
    /// for all others.
    #[must_use]
    pub fn log_level(&self) -> LevelFilter {
        self.log.unwrap_or(match self.verb {
            Verb::Serve(_) | Verb::Dev(_) => LevelFilter::INFO,
            _ => LevelFilter::WARN,
        })
    }

    /// How lines on stderr look.
    #[must_use]
    pub fn log_format(&self) -> logging::Format {
        match self.log_format {
            LogFormat::Text => logging::Format::Text,
            LogFormat::Json => logging::Format::Json,
        }
    }

    /// Runs the verb, says what went wrong, and gives the exit code.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let out = Output::new(self.json);
        let Err(error) = self.verb.run(&out) else { return ExitCode::SUCCESS };
        if output::is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        let problem = error.downcast_ref::<ClientError>().and_then(ClientError::problem);
        out.error(&error, problem.map(|problem| &problem.document));
        ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
    }
}

impl Verb {
    fn run(self, out: &Output) -> anyhow::Result<()> {
        match self {
            Self::New(args) => new::run(&args, out),
            Self::Wit(args) => wit::run(&args, out),
            Self::CompileComponent(args) => compile::run(&args),
            Self::Doctor(args) => doctor::run(&args, out),
            Self::Bench(args) => block_on(bench::run(&args, out)),
            Self::BenchHello(args) => block_on(bench::hello(&args)),
            Self::Build(args) => block_on(build::run(&args, out)),
            Self::Dev(args) => block_on(dev::run(&args, out)),
            Self::Serve(args) => block_on(serve::run(&args, out)),
            Self::Deploy(args) => block_on(deploy::run(&args, out)),
            Self::Call(args) => block_on(invoke::call(&args, out)),
            Self::Send(args) => block_on(invoke::send(&args, out)),
            Self::Read(args) => block_on(invoke::read(&args, out)),
            Self::Entity(verb) => block_on(entity::run(&verb, out)),
            Self::Dead(verb) => block_on(dead::run(&verb, out)),
            Self::Message(verb) => block_on(message::run(&verb, out)),
            Self::Timer(verb) => block_on(timer::run(&verb, out)),
            Self::Snapshot(verb) => block_on(snapshot::run(&verb, out)),
            Self::Token(verb) => block_on(token::run(&verb, out)),
            Self::Audit(args) => block_on(audit::run(&args, out)),
            Self::Apps(args) => block_on(apps::run(&args, out)),
            Self::Versions(args) => block_on(versions::versions(&args, out)),
            Self::Activate(args) => block_on(versions::activate(&args, out)),
            Self::Rollback(args) => block_on(versions::rollback(&args, out)),
            Self::Ramp(args) => block_on(versions::ramp(&args, out)),
            Self::Config(verb) => block_on(settings::config(&verb, out)),
            Self::Secret(verb) => block_on(settings::secret(&verb, out)),
            Self::Client(args) => block_on(typed::run(&args, out)),
            Self::Logs(args) => block_on(logs::run(&args, out)),
        }
    }
}

fn block_on(verb: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(verb)
}
