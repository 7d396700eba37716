//! `keystead call|send|read`: one handler of one entity, through ingress. Nothing is retried here: whether
//! to try again is the caller's choice, safe with an `--idempotency-key`.

use std::io::Read;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::de::IgnoredAny;

use super::Usage;
use super::client::{IngressUrl, Path};
use super::output::Output;
use crate::ids::EntityRef;
use crate::limits;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Run a command and print its durable result
#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    ingress: IngressUrl,
}

/// Queue a command durably and print its message id
#[derive(Debug, clap::Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    key: Key,
    /// Run it after this time, e.g. 10s or 2h
    #[arg(long, value_name = "TIME", conflicts_with = "at")]
    delay: Option<String>,
    /// Run it at this time, e.g. 2030-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    #[command(flatten)]
    ingress: IngressUrl,
}

/// Run a query and print its result
#[derive(Debug, clap::Args)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    ingress: IngressUrl,
}

/// Which handler, with what.
#[derive(Debug, clap::Args)]
struct Target {
    /// The entity; a key may hold slashes
    #[arg(value_name = "APP/TYPE/KEY")]
    entity: EntityRef,
    /// The handler's name
    handler: String,
    /// The arguments by name, as one JSON object; - reads them from stdin
    #[arg(value_name = "JSON", default_value = "{}", allow_hyphen_values = true)]
    input: String,
    /// The input is not JSON but this, for a handler that takes bytes
    #[arg(long, value_name = "TYPE")]
    content_type: Option<HeaderValue>,
}

/// The idempotency key.
#[derive(Debug, clap::Args)]
struct Key {
    /// Let the command take effect once, however often this is repeated with the same key
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<HeaderValue>,
}

pub(super) async fn call(args: &CallArgs, out: &Output) -> anyhow::Result<()> {
    let path = args.target.path("/v1/call");
    args.target.post(path, Some(&args.key), &args.ingress, out).await
}

pub(super) async fn send(args: &SendArgs, out: &Output) -> anyhow::Result<()> {
    let path = args.target.path("/v1/send").maybe("delay", args.delay.as_deref());
    let path = path.maybe("at", args.at.as_deref());
    args.target.post(path, Some(&args.key), &args.ingress, out).await
}

pub(super) async fn read(args: &ReadArgs, out: &Output) -> anyhow::Result<()> {
    args.target.post(args.target.path("/v1/read"), None, &args.ingress, out).await
}

impl Target {
    fn path(&self, verb: &'static str) -> Path {
        let entity = &self.entity;
        let path = Path::new(verb).part(entity.app()).part(entity.kind()).part(entity.key());
        path.part(&self.handler)
    }

    async fn post(
        &self,
        path: Path,
        key: Option<&Key>,
        ingress: &IngressUrl,
        out: &Output,
    ) -> anyhow::Result<()> {
        let body = self.body(std::io::stdin())?;
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![(CONTENT_TYPE, self.content_type.clone().unwrap_or(json))];
        if let Some(value) = key.and_then(|key| key.idempotency_key.as_ref()) {
            headers.push((IDEMPOTENCY_KEY, value.clone()));
        }
        let answer = ingress.client().request(Method::POST, path, &headers, body).await?;
        Ok(out.body(&answer.body, answer.is_text())?)
    }

    /// The input, from the command line or from `stdin`. Mistakes are told before anything is sent.
    fn body(&self, stdin: impl Read) -> anyhow::Result<Bytes> {
        let body = if self.input == "-" {
            let mut body = Vec::new();
            stdin.take(limits::BODY_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
            body
        } else {
            self.input.clone().into_bytes()
        };
        if body.len() > limits::BODY_BYTES_MAX {
            let problem = format!("the input has more than {} bytes", limits::BODY_BYTES_MAX);
            return Err(Usage(problem).into());
        }
        if self.content_type.is_none()
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(&body)
        {
            let problem = format!("the input is not JSON: {error}; try '{{\"name\": value}}'");
            return Err(Usage(problem).into());
        }
        Ok(body.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        send: SendArgs,
    }

    fn send(args: &[&str]) -> SendArgs {
        Line::parse_from([&["send"], args].concat()).send
    }

    #[test]
    fn keys_with_slashes_are_one_segment() {
        let args = send(&["bank/account/a/b c", "add"]);
        assert_eq!(args.target.path("/v1/call").as_str(), "/v1/call/bank/account/a%2Fb%20c/add");
    }

    #[test]
    fn input_comes_from_the_line_or_stdin_or_is_empty() {
        let body = |args: &SendArgs, stdin: &str| args.target.body(stdin.as_bytes());
        assert_eq!(body(&send(&["a/b/c", "d"]), "no").expect("valid"), "{}");
        assert_eq!(body(&send(&["a/b/c", "d", "-1"]), "no").expect("valid"), "-1");
        assert_eq!(body(&send(&["a/b/c", "d", "-"]), "{\"n\":1}").expect("valid"), "{\"n\":1}");
        let bytes = ["a/b/c", "d", "-", "--content-type", "text/plain"];
        assert_eq!(body(&send(&bytes), "hello").expect("valid"), "hello");
    }

    #[test]
    fn bad_input_is_a_usage_mistake() {
        for (input, stdin, says) in [("{", "", "not JSON"), ("-", "hello", "not JSON")] {
            let error = send(&["a/b/c", "d", input]).target.body(stdin.as_bytes());
            let error = error.expect_err("bad");
            assert!(error.is::<Usage>() && error.to_string().contains(says), "{error}");
        }
        let big = " ".repeat(limits::BODY_BYTES_MAX + 1);
        let error = send(&["a/b/c", "d", "-"]).target.body(big.as_bytes()).expect_err("big");
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
