//! Who asks: what a token is called and opens, so that a page shows each person what they may do. Tells nobody of another
//! token. Invariant: the door decides, for each request anew; this only says what it would.

use http::StatusCode;
use serde_json::json;

use super::Admin;
use crate::access::{Apps, Caller, Role};
use crate::edge::{self, Problem, Reply};

impl Admin {
    /// `GET /admin/v1/me`.
    pub(super) fn me(caller: &Caller) -> Result<Reply, Problem> {
        let shown = match caller {
            Caller::Anyone => {
                json!({"asked": false, "token": null, "roles": Role::ALL, "apps": Apps::All})
            }
            Caller::Token(token) => {
                let roles: Vec<_> = Role::ALL.into_iter().filter(|role| token.has(*role)).collect();
                let own = json!({
                    "id": token.id, "name": token.name, "expires_at_ms": token.expires_ms,
                });
                json!({"asked": true, "token": own, "roles": roles, "apps": token.apps})
            }
        };
        edge::json(StatusCode::OK, &shown)
    }
}
