//! A host with two apps that hold something each, and tokens of every kind. What it shows of itself before and after
//! requests that must be refused is compared whole.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Guest, Host, PATIENCE, Request, eventually};

pub(crate) const ROLES: [&str; 4] = ["invoke", "read", "operate", "admin"];
/// Well-formed, and no host's.
pub(crate) const STRANGE: &str = "Bearer ks_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) struct People {
    pub(crate) host: Host,
    /// May do everything.
    pub(crate) root: String,
    /// A message of `bank` that is due in a day.
    pub(crate) later: String,
    /// A dead letter of `bank`.
    pub(crate) dead: String,
}

impl People {
    /// `bank` and `shop` with an entity each, before there is a token; then the first token.
    pub(crate) async fn over(host: Host) -> Self {
        let client = host.client();
        for app in ["bank", "shop"] {
            let config = json!({"retry": {"initial_ms": 1, "max_ms": 1, "attempts_max": 1}});
            host.deploy_with(Guest::Hostile, app, config).await;
            client.call(&format!("{app}/probe/a"), "bump", json!({})).ok().await;
        }
        let path = "/v1/send/bank/probe/a/bump?delay=1d";
        let later = client.ingress(Method::POST, path).json(json!({})).answer().await;
        let later = later.expect_status(202).id();
        let poison = client.send("bank/probe/p", "poison", json!({"note": "n"})).answer().await;
        let dead = poison.expect_status(202).id();
        eventually("the poison is parked", PATIENCE, || async {
            let letters = host.dead_letters().await;
            if letters.len() == 1 { Ok(()) } else { Err(format!("{letters:?}")) }
        })
        .await;
        let mut people = Self { host, root: String::new(), later, dead };
        people.root = people.token(json!(["admin"]), json!("all"), Value::Null).await;
        people
    }

    /// Makes a token and gives the header that brings it.
    pub(crate) async fn token(&self, roles: Value, apps: Value, expires: Value) -> String {
        self.made(roles, apps, expires).await.1
    }

    /// The same, with its id.
    pub(crate) async fn made(&self, roles: Value, apps: Value, expires: Value) -> (String, String) {
        let asked = json!({"name": "test", "roles": roles, "apps": apps, "expires": expires});
        let made = self.admin(Method::POST, "/admin/v1/tokens", &self.root).json(asked);
        let made = made.answer().await.expect_status(201);
        assert_eq!(made.header("cache-control"), Some("no-store"));
        let made = made.json();
        let secret = made["token"].as_str().expect("a secret");
        (made["id"].as_str().expect("an id").into(), format!("Bearer {secret}"))
    }

    pub(crate) async fn revoke(&self, id: &str) {
        let path = format!("/admin/v1/tokens/{id}");
        self.admin(Method::DELETE, &path, &self.root).answer().await.expect_status(200);
    }

    /// A request to the admin API with this header; without one when it is empty.
    pub(crate) fn admin(&self, method: Method, path: &str, credential: &str) -> Request {
        with(self.host.client().admin(method, path), credential)
    }

    /// The same to ingress.
    pub(crate) fn ingress(&self, method: Method, path: &str, credential: &str) -> Request {
        with(self.host.client().ingress(method, path), credential)
    }

    /// All that the host shows of what it holds.
    pub(crate) async fn shown(&self) -> Value {
        let mut shown = Vec::new();
        for path in [
            "/admin/v1/apps",
            "/admin/v1/apps/bank",
            "/admin/v1/apps/shop",
            "/admin/v1/entities/bank/probe/a",
            "/admin/v1/entities/shop/probe/a",
            "/admin/v1/dead",
            "/admin/v1/tokens",
        ] {
            shown.push(self.admin(Method::GET, path, &self.root).ok().await);
        }
        let status = self.admin(Method::GET, "/admin/v1/status", &self.root).ok().await;
        let transactions = status["partitions"][0]["transactions"].clone();
        json!({"shown": shown, "transactions": transactions})
    }
}

fn with(request: Request, credential: &str) -> Request {
    if credential.is_empty() { request } else { request.header("Authorization", credential) }
}

/// 401, with how to do better.
pub(crate) fn expect_unknown(answer: Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer "), "{what}: {answer:?}");
    answer.expect_problem(401, "unauthenticated");
}
