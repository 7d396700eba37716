//! Sends finished spans to a collector: OTLP over HTTP in its JSON form, in batches, with retries as its specification
//! has them. Telemetry is not a promise: what finds no room or no collector in time is dropped and counted, and
//! nothing else of the host waits for it. Invariant: what it was given to authenticate with is in no message of its.

mod config;
mod encode;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub use config::{BadOtlp, Config};

use crate::clock::Clock;
use crate::limits;
use crate::metrics::{self, SpanEnd};
use crate::trace::{self, Span};

/// The task that sends.
pub struct Exporter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Collects spans from now on and sends them. `None` when this process collects already.
    #[must_use]
    pub fn start(config: Config, clock: Arc<dyn Clock>) -> Option<Self> {
        let spans = trace::collect(config.ratio)?;
        let (stop, stopped) = oneshot::channel();
        let sender = Sender::new(config, clock);
        Some(Self { stop, task: tokio::spawn(sender.run(spans, stopped)) })
    }

    /// Sends what is left, for [`limits::OTLP_FLUSH_MAX`] at most.
    pub async fn stop(self) {
        // An error means that the task has ended.
        let _ = self.stop.send(());
        if timeout(limits::OTLP_FLUSH_MAX, self.task).await.is_err() {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }
}

struct Sender {
    config: Config,
    clock: Arc<dyn Clock>,
    client: Client<HttpConnector, Full<Bytes>>,
    encoder: encode::Encoder,
    /// Whether the last batch failed: said once, not for each.
    failing: bool,
}

/// Why a batch was not taken.
enum Refused {
    /// It may be taken later; the collector may say when.
    Later(String, Option<Duration>),
    /// It never will be.
    ForGood(String),
}

impl Sender {
    fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let encoder = encode::Encoder::new(&config.service, &*clock);
        Self { config, clock, client, encoder, failing: false }
    }

    async fn run(mut self, mut spans: mpsc::Receiver<Span>, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(limits::OTLP_BATCH_SPANS_MAX);
        loop {
            // So that one span does not make a batch, and those that follow wake nobody.
            if batch.len() < limits::OTLP_BATCH_SPANS_MAX && !spans.is_closed() {
                tokio::select! {
                    biased;
                    _ = &mut stopped => spans.close(),
                    () = sleep(limits::OTLP_PAUSE) => {}
                }
            }
            batch.clear();
            let stopping = spans.is_closed();
            tokio::select! {
                biased;
                taken = spans.recv_many(&mut batch, limits::OTLP_BATCH_SPANS_MAX) => {
                    if taken == 0 {
                        return;
                    }
                }
                _ = &mut stopped, if !stopping => {
                    spans.close();
                    continue;
                }
            }
            let body = Bytes::from(self.encoder.encode(&batch, &*self.clock));
            let sent = self.deliver(body, batch.len());
            if stopping {
                sent.await;
                continue;
            }
            tokio::select! {
                () = sent => {}
                _ = &mut stopped => {
                    // Whoever stops has little time: what is left gets one attempt.
                    metrics::spans(SpanEnd::Dropped, batch.len());
                    spans.close();
                }
            }
        }
    }

    /// Sends one batch until it is taken, refused for good, or too old.
    async fn deliver(&mut self, body: Bytes, spans: usize) {
        let began = self.clock.monotonic();
        let mut pause = limits::OTLP_RETRY_MIN;
        loop {
            let (why, wait) = match self.post(body.clone()).await {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    metrics::spans(SpanEnd::Exported, spans - rejected);
                    metrics::spans(SpanEnd::Rejected, rejected);
                    if self.failing {
                        tracing::info!("the collector takes spans again");
                    }
                    self.failing = false;
                    return;
                }
                Err(Refused::ForGood(why)) => {
                    self.complain(&why);
                    return metrics::spans(SpanEnd::Rejected, spans);
                }
                Err(Refused::Later(why, wait)) => (why, wait),
            };
            self.complain(&why);
            // Apart from each other, so that hosts do not come back together.
            let spread = self.clock.chance() % (pause.as_millis() as u64 / 2 + 1);
            let wait = wait.unwrap_or(pause + Duration::from_millis(spread));
            let age = self.clock.monotonic().saturating_sub(began);
            if age + wait > limits::OTLP_RETRY_TIME_MAX {
                return metrics::spans(SpanEnd::Dropped, spans);
            }
            sleep(wait).await;
            pause = (pause * 2).min(limits::OTLP_RETRY_MAX);
        }
    }

    /// One attempt: how many spans the collector did not want.
    async fn post(&self, body: Bytes) -> Result<usize, Refused> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.config.endpoint.clone();
        request.headers_mut().extend(self.config.headers.clone());
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| {
                    Refused::Later(format!("it does not answer: {error}"), None)
                })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limits::OTLP_ANSWER_BYTES_MAX).collect().await;
            let body = body.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
            match head.status {
                status if status.is_success() => Ok(encode::rejected(&body)),
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => {
                    let after = head.headers.get(http::header::RETRY_AFTER);
                    let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
                    Err(Refused::Later(head.status.to_string(), after.map(Duration::from_secs)))
                }
                status => Err(Refused::ForGood(status.to_string())),
            }
        };
        let late = |_| Err(Refused::Later("it does not answer in time".into(), None));
        timeout(limits::OTLP_POST_MAX, exchange).await.unwrap_or_else(late)
    }

    fn complain(&mut self, why: &str) {
        if !self.failing {
            tracing::warn!(collector = %self.config.endpoint, why, "the collector takes no spans");
        }
        self.failing = true;
    }
}
