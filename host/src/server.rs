//! The composition root: builds everything in order and shuts down in reverse.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What a host is started with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The data folder; created when missing.
    pub data: PathBuf,
    /// Where ingress listens; port 0 picks one.
    pub listen: SocketAddr,
    /// Where the admin API listens; port 0 picks one.
    pub admin: SocketAddr,
    /// Executor threads; 0 means one per processor.
    pub workers: usize,
    /// The program that compiles components in a child process, [`crate::engine::EngineConfig::compiler`].
    pub compiler: Option<PathBuf>,
}

/// A running host.
pub struct Server {
    /// Where ingress listens.
    pub ingress_addr: SocketAddr,
    /// Where the admin API listens.
    pub admin_addr: SocketAddr,
}

impl Server {
    /// Opens the data folder, recovers, and listens on both addresses.
    ///
    /// # Errors
    /// With the step that failed and what would help.
    pub async fn start(_config: ServerConfig) -> anyhow::Result<Self> {
        todo!("server")
    }

    /// Stops accepting, drains open requests up to [`crate::limits::DRAIN_TIME_MAX`], writes a last
    /// checkpoint, and closes the data folder.
    ///
    /// # Errors
    /// When the last checkpoint fails; nothing answered is lost by it.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        todo!("server")
    }
}
