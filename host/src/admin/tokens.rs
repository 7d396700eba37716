//! Tokens: listing, making, revoking. A token's secret is in the answer that makes it and nowhere else. Invariant: no
//! answer here tells more of a token than its holder's rights.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::access::audit::Facts;
use crate::access::{Apps, ChangeError, NewToken, Role, Token};
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, body, credential, path, time};
use crate::limits;
use crate::storage::StorageError;

impl Admin {
    /// `GET /admin/v1/tokens`.
    pub(super) fn tokens(&self) -> Result<Reply, Problem> {
        let tokens: Vec<_> = self.access.list().iter().map(|token| shown(token)).collect();
        edge::json(StatusCode::OK, &json!({"tokens": tokens, "asked_for": self.access.asks()}))
    }

    /// `POST /admin/v1/tokens`, with [`Asked`] as its body.
    pub(super) async fn token_create(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        Params::new(parts.uri.query())?.finish("a token is described in the body")?;
        let bounds = body::Bounds {
            bytes_max: limits::TOKEN_REQUEST_BYTES_MAX,
            time_max: limits::BODY_TIME_MAX,
        };
        let new = read(&body::read(body, bounds).await?)?;
        let access = Arc::clone(&self.access);
        let (secret, token) = blocking(move || access.create(new)).await?.map_err(refused)?;
        let mut shown = shown(&token);
        facts.after = shown.clone();
        shown["token"] = json!(secret.text());
        let mut reply = edge::json(StatusCode::CREATED, &shown)?;
        credential::keep_private(&mut reply);
        Ok(reply)
    }

    /// `DELETE /admin/v1/tokens/{id}`.
    pub(super) async fn token_revoke(&self, id: &str, facts: &mut Facts) -> Result<Reply, Problem> {
        let id = path::segment("token id", id)?.into_owned();
        let (access, wanted) = (Arc::clone(&self.access), id.clone());
        match blocking(move || access.revoke(&wanted)).await?.map_err(unavailable)? {
            Some(token) => {
                facts.before = shown(&token);
                edge::json(StatusCode::OK, &json!({"id": id, "status": "revoked"}))
            }
            None => {
                Err(Problem::not_found("unknown_token", format!("there is no token with id {id}")))
            }
        }
    }
}

/// What a request for a token says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    roles: BTreeSet<Role>,
    apps: Apps,
    expires: Option<String>,
}

fn read(body: &[u8]) -> Result<NewToken, Problem> {
    let shape = "a token is a JSON object with name, roles, apps (a list, or \"all\") and maybe expires (\"30d\")";
    let Asked { name, roles, apps, expires } = serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("{shape}: {error}")))?;
    let lasts = expires.map(|text| time::duration("expires", &text, limits::TOKEN_TIME_MAX));
    Ok(NewToken { name, roles, apps, lasts: lasts.transpose()? })
}

fn shown(token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "roles": token.roles,
        "apps": token.apps,
        "created_at_ms": token.created_ms,
        "expires_at_ms": token.expires_ms,
    })
}

fn refused(error: ChangeError) -> Problem {
    match error {
        ChangeError::Bad(bad) => Problem::malformed(bad.to_string()),
        ChangeError::First => {
            Problem::new(StatusCode::CONFLICT, "first_token", ChangeError::First.to_string())
        }
        ChangeError::TooMany => {
            Problem::new(StatusCode::CONFLICT, "too_many_tokens", ChangeError::TooMany.to_string())
        }
        ChangeError::Storage(error) => unavailable(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a closure would")]
fn unavailable(error: StorageError) -> Problem {
    let detail = format!("tokens cannot be stored: {error}");
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
    problem.retry_after_s(limits::RETRY_AFTER.as_secs())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::internal(format!("changing tokens failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_asked_for_whole() {
        let asked = br#"{"name":"ci","roles":["admin"],"apps":["bank"],"expires":"30d"}"#;
        let new = read(asked).expect("valid");
        assert_eq!(new.apps, Apps::These(BTreeSet::from(["bank".to_owned()])));
        assert_eq!(new.lasts.expect("said").as_secs(), 30 * 24 * 3600);
        let all = br#"{"name":"root","roles":["admin","invoke"],"apps":"all"}"#;
        let new = read(all).expect("valid");
        assert_eq!((new.apps, new.lasts, new.roles.len()), (Apps::All, None, 2));
        for bad in [
            &b""[..],
            br#"{"name":"x","roles":["root"],"apps":"all"}"#,
            br#"{"name":"x","roles":["read"]}"#,
            br#"{"name":"x","roles":["read"],"apps":"some"}"#,
            br#"{"name":"x","roles":["read"],"apps":"all","expires":"soon"}"#,
            br#"{"name":"x","roles":["read"],"apps":"all","expired":"1d"}"#,
        ] {
            assert_eq!(read(bad).expect_err("bad").code(), "malformed");
        }
    }
}
