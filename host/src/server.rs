//! The composition root: builds everything in order and shuts down in reverse. Decides nothing
//! itself. Invariant: while a [`Server`] lives, its data folder is locked against every other host.

mod doors;
mod folder;
mod keys;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use http::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Door;
use crate::admin::{Admin, Tools};
use crate::backup::Backups;
use crate::clock::{Clock, SystemClock};
use crate::console;
use crate::edge::listener::{self, Bounds, Closing};
use crate::edge::tls::Tls;
use crate::engine::{Engine, EngineConfig};
use crate::ingress::Ingress;
use crate::limits;
use crate::otlp::{self, Exporter};
use crate::registry::{Keyring, Registry};
use crate::router::Router;

use doors::Doors;
pub use doors::{ACCESS, Rules};
pub use folder::DataFolder;

/// What a host is started with.
#[derive(Clone)]
pub struct ServerConfig {
    /// The data folder; created when missing.
    pub data: PathBuf,
    /// Where ingress listens; port 0 picks one.
    pub listen: SocketAddr,
    /// Where the admin API listens, on loopback unless there is TLS and a token; port 0 picks one.
    pub admin: SocketAddr,
    /// Executor threads; 0 means one per processor.
    pub workers: usize,
    /// Whether to pause everything before anything starts.
    pub paused: bool,
    /// The program that compiles components in a child process, mostly this one; `None` compiles
    /// here.
    pub compiler: Option<PathBuf>,
    /// Where spans of traces go.
    pub otlp: Option<otlp::Config>,
    /// Who may come in.
    pub rules: Rules,
    /// The file of the keys that seal apps' secrets.
    pub secrets_key: Option<PathBuf>,
}

/// A running host.
pub struct Server {
    /// Where ingress listens.
    pub ingress_addr: SocketAddr,
    /// Where the admin API listens.
    pub admin_addr: SocketAddr,
    /// The same as URLs, ingress first.
    pub urls: [String; 2],
    router: Router,
    registry: Arc<Registry>,
    closing: watch::Sender<bool>,
    /// And who looks at their certificate.
    listeners: Vec<JoinHandle<()>>,
    tls: Option<Tls>,
    folder: DataFolder,
    exporter: Option<Exporter>,
}

impl Server {
    /// Opens the data folder, recovers, and listens on both addresses.
    ///
    /// # Errors
    /// With the step that failed and what would help.
    pub async fn start(config: ServerConfig) -> anyhow::Result<Self> {
        let tls = Doors::tls(&config)?;
        let keys = keys::read(&config)?;
        let folder = DataFolder::open(&config.data)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let Doors { access, audit, ingress_tls, admin_tls } =
            Doors::open(&config, tls.clone(), &clock)?;
        // Ports are taken before the long work and answer after it: until then a client is refused,
        // not kept waiting.
        let ingress_port = Port::take("ingress", config.listen)?;
        let admin_port = Port::take("admin", config.admin)?;
        let backups = Backups::of(&config.data);
        let exporter = config.otlp.clone().and_then(|otlp| Exporter::start(otlp, clock.clone()));
        let door = Door::new(Arc::clone(&access), config.rules.open_ingress);
        let opening = {
            let clock = Arc::clone(&clock);
            tokio::task::spawn_blocking(move || open(&config, &clock, keys))
        };
        let (registry, router) = opening.await.context("opening the data folder panicked")??;
        let listening =
            ingress_port.listen().and_then(|ingress| Ok((ingress, admin_port.listen()?)));
        let (ingress_socket, admin_socket) = match listening {
            Ok(sockets) => sockets,
            Err(error) => {
                close(router).await?;
                return Err(error);
            }
        };
        let (ingress_addr, admin_addr) = (ingress_socket.local_addr()?, admin_socket.local_addr()?);
        let closing = watch::Sender::new(false);
        let told = || Closing::new(&closing);
        let (r, c) = (&registry, &clock);
        let ingress =
            Arc::new(Ingress::new(router.clone(), Arc::clone(r), Arc::clone(c), told(), door));
        let admin = Admin::new(Tools {
            router: router.clone(),
            registry: Arc::clone(r),
            clock: Arc::clone(c),
            closing: told(),
            access: (access, audit),
            loopback: admin_addr.ip().is_loopback(),
            backups,
            ingress: (ingress_addr, ingress.clone()),
        });
        let watching = tls.clone().map(|tls| tokio::spawn(tls.watch(told())));
        let urls = [url(ingress_tls.is_some(), ingress_addr), url(admin_tls.is_some(), admin_addr)];
        let listeners = [
            serve_ingress(ingress_socket, ingress_tls, told(), ingress),
            serve_admin(admin_socket, admin_tls, told(), Arc::new(admin)),
        ];
        let listeners = listeners.into_iter().chain(watching).collect();
        Ok(Self {
            ingress_addr,
            admin_addr,
            urls,
            router,
            registry,
            closing,
            listeners,
            tls,
            folder,
            exporter,
        })
    }

    /// Looks at the certificate's files now, and says in the log what it saw.
    pub fn reload(&self) {
        match &self.tls {
            Some(tls) => tls.look_now(),
            None => tracing::info!("there is no certificate to look at: SIGHUP does nothing else"),
        }
    }

    /// The router, for what runs in this process.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The registry, for what runs in this process.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Stops accepting, drains open requests up to [`crate::limits::DRAIN_TIME_MAX`], writes a last
    /// checkpoint, and closes the data folder.
    ///
    /// # Errors
    /// When the last checkpoint fails; nothing answered is lost by it.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.closing.send_replace(true);
        for listener in self.listeners {
            listener.await.context("a listener panicked")?;
        }
        let closed = close(self.router).await;
        if let Some(exporter) = self.exporter {
            exporter.stop().await;
        }
        drop(self.registry);
        drop(self.folder);
        closed
    }
}

/// The blocking part of a start, from the bottom up.
fn open(
    config: &ServerConfig,
    clock: &Arc<dyn Clock>,
    keys: Option<Keyring>,
) -> anyhow::Result<(Arc<Registry>, Router)> {
    let data = &config.data;
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    };
    let engine = EngineConfig {
        cache_dir: data.join("cache"),
        // The executor adds threads beyond `workers` while slow guests hold some up, and as many callers'
        // threads as `workers` run quick guests themselves.
        workers: limits::EXECUTOR_THREADS_MAX + workers.clamp(1, limits::EXECUTOR_THREADS_MAX),
        compiler: config.compiler.clone(),
    };
    let engine = Engine::new(engine, Arc::clone(clock)).context("the engine did not start")?;
    let apps = data.join("apps");
    let registry = Registry::open(&apps, engine.clone(), Arc::clone(clock), keys)
        .with_context(|| format!("the deployed apps in {} could not be opened", apps.display()))?;
    let registry = Arc::new(registry);
    if registry.seals() {
        keys::tell_of_readable(data);
    }
    let router = Router::open(
        data,
        Arc::clone(&registry),
        engine,
        Arc::clone(clock),
        (workers, config.paused),
    )
    .with_context(|| format!("the entities in {} could not be opened", data.display()))?;
    Ok((registry, router))
}

async fn close(router: Router) -> anyhow::Result<()> {
    let closing = tokio::task::spawn_blocking(move || router.close());
    closing.await.context("closing panicked")?.context("the last checkpoint failed")
}

fn url(tls: bool, addr: SocketAddr) -> String {
    format!("{}://{addr}", if tls { "https" } else { "http" })
}

fn serve_ingress(
    socket: TcpListener,
    tls: Option<Tls>,
    closing: Closing,
    ingress: Arc<Ingress>,
) -> JoinHandle<()> {
    let handle = move |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        Arc::clone(&ingress).handle(parts, body)
    };
    tokio::spawn(listener::serve(socket, tls, Bounds::INGRESS, closing, handle))
}

fn serve_admin(
    socket: TcpListener,
    tls: Option<Tls>,
    closing: Closing,
    admin: Arc<Admin>,
) -> JoinHandle<()> {
    let handle = move |request| {
        let admin = Arc::clone(&admin);
        async move {
            match console::answer(&request) {
                Some(reply) => reply,
                None => admin.handle(request).await,
            }
        }
    };
    tokio::spawn(listener::serve(socket, tls, Bounds::ADMIN, closing, handle))
}

/// An address that is ours and does not answer yet.
struct Port {
    socket: TcpSocket,
    name: &'static str,
    addr: SocketAddr,
}

impl Port {
    fn take(name: &'static str, addr: SocketAddr) -> anyhow::Result<Self> {
        let bind = || {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // So that a restart need not wait for old connections. Not for port 0: the kernel may
            // give two sockets that say this and do not listen yet the same one.
            socket.set_reuseaddr(addr.port() != 0)?;
            socket.bind(addr)?;
            std::io::Result::Ok(socket)
        };
        let socket = bind().with_context(|| busy(name, addr))?;
        Ok(Self { socket, name, addr })
    }

    fn listen(self) -> anyhow::Result<TcpListener> {
        let listening = self.socket.listen(limits::ACCEPT_BACKLOG);
        listening.with_context(|| busy(self.name, self.addr))
    }
}

fn busy(name: &str, addr: SocketAddr) -> String {
    let flag = if name == "ingress" { "--listen" } else { "--admin" };
    format!("the {name} address {addr} cannot be listened on; choose another with {flag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: PathBuf, listen: SocketAddr, admin: &str) -> ServerConfig {
        let admin = admin.parse().expect("an address");
        ServerConfig {
            data,
            listen,
            admin,
            workers: 1,
            paused: false,
            compiler: None,
            otlp: None,
            rules: Rules::default(),
            secrets_key: None,
        }
    }

    async fn refusal(config: ServerConfig) -> String {
        match Server::start(config).await {
            Ok(_) => panic!("it started"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[tokio::test]
    async fn the_admin_api_stays_on_loopback() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        let listen = "127.0.0.1:0".parse().expect("an address");
        let error = refusal(config(data.clone(), listen, "0.0.0.0:0")).await;
        assert!(error.contains("loopback"), "{error}");
        assert!(!data.exists(), "nothing was touched");
    }

    #[tokio::test]
    async fn a_taken_port_and_a_taken_folder_are_said_before_anything_is_opened() {
        let dir = tempfile::tempdir().expect("a folder");
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = taken.local_addr().expect("bound");
        let error = refusal(config(dir.path().into(), addr, "127.0.0.1:0")).await;
        assert!(error.contains(&addr.to_string()) && error.contains("--listen"), "{error}");
        let _other = DataFolder::open(dir.path()).expect("free again");
        let error = refusal(config(dir.path().into(), addr, "127.0.0.1:0")).await;
        assert!(error.contains("another host"), "{error}");
    }
}
