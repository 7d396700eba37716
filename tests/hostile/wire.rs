//! A plain socket that says what no HTTP client would, and hears what comes back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One connection.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    /// Connects to an address as the host tells it.
    pub(crate) async fn to(address: &str) -> Self {
        let address = address.strip_prefix("http://").expect("an http address");
        Self(TcpStream::connect(address).await.expect("connected"))
    }

    /// Sends all of it, or what the host takes before it closes.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(SAID_WITHIN, self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Everything that comes until the host closes; `None` when it does not within `patience`.
    pub(crate) async fn hear_end(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let mut heard = Vec::new();
        // A reset is an end as well.
        timeout(patience, self.0.read_to_end(&mut heard)).await.is_ok().then_some(heard)
    }

    /// What comes until `enough`, or until nothing has come for the time of `patience`.
    pub(crate) async fn hear(
        &mut self,
        patience: Duration,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut part = vec![0; 64 * 1024];
        while !enough(&heard) {
            match timeout(patience, self.0.read(&mut part)).await {
                Ok(Ok(n @ 1..)) => heard.extend_from_slice(&part[..n]),
                _ => break,
            }
        }
        heard
    }

    /// The statuses of the answers to one or more HTTP/1.1 requests; ends with the connection or after a pause.
    pub(crate) async fn statuses(&mut self, count: usize) -> Vec<u16> {
        let heard = self.hear(HEARD_WITHIN, |heard| statuses(heard).len() >= count).await;
        statuses(&heard)
    }
}

/// Time to take what is said.
const SAID_WITHIN: Duration = Duration::from_secs(20);
/// Time without a word after which nothing more is expected.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

fn statuses(heard: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(heard);
    let starts = text.split("HTTP/1.").skip(1);
    starts
        .filter_map(|answer| answer.get(2..5)?.parse().ok())
        .filter(|status| *status != 100)
        .collect()
}
