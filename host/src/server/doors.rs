//! What a host may listen on, for whom, and with which certificate: the rules that keep it from letting in whoever
//! asks. Invariant: beyond loopback, ingress is open only by an explicit word, and admin speaks TLS and asks for tokens.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use super::ServerConfig;
use crate::access::Access;
use crate::access::audit::Audit;
use crate::clock::Clock;
use crate::edge::tls::{Files, Tls};

/// Tokens and the audit log, in the data folder.
pub const ACCESS: &str = "access";

/// Who may come in and how, where the tokens in the data folder do not say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Every request needs a token, also while there is none.
    pub require_tokens: bool,
    /// Ingress asks nobody for a token, wherever it listens.
    pub open_ingress: bool,
    /// The certificate of ingress, and of the admin API where it does not listen on loopback: what stays on this
    /// machine needs none, and no certificate has loopback's names.
    pub tls: Option<Files>,
}

/// What both listeners need.
pub(super) struct Doors {
    pub(super) access: Arc<Access>,
    pub(super) audit: Arc<Audit>,
    pub(super) ingress_tls: Option<Tls>,
    pub(super) admin_tls: Option<Tls>,
}

impl Doors {
    /// Checks what can be without touching anything, and reads the certificate.
    pub(super) fn tls(config: &ServerConfig) -> anyhow::Result<Option<Tls>> {
        let files = config.rules.tls.clone();
        ensure!(
            files.is_some() || config.admin.ip().is_loopback(),
            "the admin API listens beyond loopback only with TLS (--tls-cert and --tls-key) and a token; {} is not a \
             loopback address (127.0.0.1:7071 is)",
            config.admin
        );
        Ok(files.map(Tls::load).transpose()?)
    }

    /// Opens the tokens of a locked data folder, and refuses what would let in whoever asks.
    pub(super) fn open(
        config: &ServerConfig,
        tls: Option<Tls>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (folder, rules) = (config.data.join(ACCESS), &config.rules);
        let access = Access::open(&folder, Arc::clone(clock), rules.require_tokens)
            .with_context(|| format!("the tokens in {} cannot be read", folder.display()))?;
        let make = format!(
            "make a token first (`keystead token create --data {} --name admin --role admin --all-apps`)",
            config.data.display()
        );
        let elsewhere = |addr: SocketAddr| !addr.ip().is_loopback();
        ensure!(
            access.asks() || !elsewhere(config.admin),
            "{} is not a loopback address, and anybody who reaches it could change everything: {make}",
            config.admin
        );
        ensure!(
            access.asks() || rules.open_ingress || !elsewhere(config.listen),
            "{} is not a loopback address, and anybody who reaches it could call everything: {make}, or say \
             --open-ingress if that is meant",
            config.listen
        );
        if elsewhere(config.listen) && tls.is_none() && !rules.open_ingress {
            tracing::warn!("tokens cross the network in the clear: ingress has no --tls-cert");
        }
        let admin_tls = tls.clone().filter(|_| elsewhere(config.admin));
        let audit = Arc::new(Audit::new(&folder, Arc::clone(clock)));
        Ok(Self { access: Arc::new(access), audit, ingress_tls: tls, admin_tls })
    }
}
