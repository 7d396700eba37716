//! The table: every route of the admin API and of ingress × every credential that must not open it, and the ones that
//! must. A refused request changes nothing, and its body is not waited for.

use std::time::Duration;

use http::Method;
use keystead::access::Role;
use keystead::ingress::routes::ROUTES;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, Host, PATIENCE};
use crate::people::{People, ROLES, STRANGE, expect_unknown};

/// Which of the roles that a token may have open what asks for one of `asked`.
fn opening(asked: &[Role]) -> Vec<&'static str> {
    let opens = |name: &&&str| {
        let own = Role::ALL.into_iter().find(|role| role.name() == **name).expect("a role");
        asked.iter().any(|role| own.implies(*role))
    };
    ROLES.iter().filter(opens).copied().collect()
}

/// A route as a request.
struct Row {
    ingress: bool,
    method: Method,
    path: String,
    /// Any of these opens it; everybody may when there are none.
    roles: Vec<&'static str>,
    reach: String,
}

impl Row {
    fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    async fn answer(&self, people: &People, credential: &str) -> Answer {
        let request = match self.ingress {
            true => people.ingress(self.method.clone(), &self.path, credential),
            false => people.admin(self.method.clone(), &self.path, credential),
        };
        // Fits a handler's input and is no component and no token: what is let in by mistake still shows.
        if self.method == Method::GET { request } else { request.json(json!({})) }.answer().await
    }
}

fn filled(path: &str, people: &People, app: &str) -> String {
    let id = if path.contains("/dead/") { &people.dead } else { &people.later };
    let mut filled = path.replace("{app}", app).replace("{type}", "probe").replace("{key}", "a");
    let handler = if path.contains("/read/") { "count" } else { "bump" };
    filled = filled.replace("{handler}", handler).replace("{id}", id);
    // What a later route names is not there, which is fine: who may come in gets 404 or so.
    while let Some((start, rest)) = filled.split_once('{') {
        let end = rest.split_once('}').expect("a brace ends").1;
        filled = format!("{start}1{end}");
    }
    filled
}

async fn rows(people: &People) -> Vec<Row> {
    let document = people.admin(Method::GET, "/admin/v1/openapi", &people.root).ok().await;
    let mut rows = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let role =
                Role::ALL.into_iter().find(|role| operation["x-keystead-role"] == role.name());
            let role = role.unwrap_or_else(|| panic!("{method} {path} asks for no known role"));
            let reach = operation["x-keystead-reach"].as_str().expect("a reach").to_owned();
            let roles = match reach.as_str() {
                "open" => vec![],
                "token" => ROLES.to_vec(),
                _ => opening(&[role]),
            };
            let method = method.to_uppercase().parse().expect("a method");
            let path = filled(path, people, "bank");
            rows.push(Row { ingress: false, method, path, roles, reach });
        }
    }
    assert!(rows.len() >= 16, "{} admin routes", rows.len());
    for route in ROUTES {
        let named = route.path.contains("{app}");
        let reach = match () {
            () if route.roles.is_empty() => "open",
            () if named => "app",
            () => "shown",
        };
        let path = filled(route.path, people, "bank");
        let (method, reach) = (route.method.clone(), reach.to_owned());
        rows.push(Row { ingress: true, method, path, roles: opening(route.roles), reach });
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_every_credential_that_must_not_open_it() {
    let people = People::over(Host::start().await).await;
    let all = json!(["admin"]);
    let expired = people.token(all.clone(), json!("all"), json!("1ms")).await;
    let (id, revoked) = people.made(all.clone(), json!("all"), Value::Null).await;
    people.revoke(&id).await;
    let elsewhere = people.token(all.clone(), json!(["shop"]), Value::Null).await;
    let of_bank = people.token(all, json!(["bank"]), Value::Null).await;
    let mut by_role = Vec::new();
    for role in ROLES {
        let bank = people.token(json!([role]), json!(["bank"]), Value::Null).await;
        by_role.push((role, bank, people.token(json!([role]), json!("all"), Value::Null).await));
    }
    let rows = rows(&people).await;
    let before = people.shown().await;
    let root = &people.root["Bearer ".len()..];
    let basic = format!("Basic {root}");
    let strangers = [
        ("no token", ""),
        ("an unknown token", STRANGE),
        ("an expired token", &expired),
        ("a revoked token", &revoked),
        ("a token without a scheme", root),
        ("another scheme", &basic),
        ("half a token", &people.root[..30]),
    ];
    let mut refused = 0;
    for row in rows.iter().filter(|row| row.reach != "open") {
        for (what, credential) in strangers {
            let what = format!("{}, {what}", row.shown());
            expect_unknown(row.answer(&people, credential).await, &what);
            refused += 1;
        }
        refused += wrong_roles(&people, row, &by_role).await;
        other_apps(&people, row, &elsewhere, &of_bank).await;
        refused += 1;
    }
    println!("{} routes, {refused} refusals", rows.len());
    assert!(refused > 200, "{refused} refusals");
    assert_eq!(people.shown().await, before, "a refused request changed something");
    for row in &rows {
        right_roles(&people, row, &by_role).await;
    }
}

/// A role, a token with it for `bank`, and one for all apps.
type Holder = (&'static str, String, String);

/// Refused with every role that does not open it. Gives how often.
async fn wrong_roles(people: &People, row: &Row, by_role: &[Holder]) -> usize {
    let mut refused = 0;
    for (role, bank, all) in by_role.iter().filter(|(role, ..)| !row.roles.contains(role)) {
        for credential in [bank, all] {
            let answer = row.answer(people, credential).await;
            assert_eq!(answer.status, 403, "{} with {role}: {answer:?}", row.shown());
            let needs = answer.expect_problem(403, "forbidden").json()["details"]["needs"].clone();
            assert!(needs.is_array(), "{} does not say what it needs", row.shown());
            refused += 1;
        }
    }
    refused
}

/// Refused to the admin of another app, or answered as if `bank` did not exist.
async fn other_apps(people: &People, row: &Row, elsewhere: &str, of_bank: &str) {
    let answer = row.answer(people, elsewhere).await;
    if matches!(row.reach.as_str(), "shown" | "token") {
        let knows = answer.text().contains("bank") || answer.text().contains("probe/a");
        assert!(!knows, "{} shows another app: {answer:?}", row.shown());
        let names_one = row.path.contains("msg_");
        assert_eq!(answer.status == 404, names_one, "{}: {answer:?}", row.shown());
    } else {
        assert_eq!(answer.status, 403, "{}, another app's: {answer:?}", row.shown());
        answer.expect_problem(403, "forbidden");
    }
    if row.reach == "host" {
        row.answer(people, of_bank).await.expect_problem(403, "forbidden");
    }
}

/// Let in with every role that opens it; what comes then is the route's own answer.
async fn right_roles(people: &People, row: &Row, by_role: &[Holder]) {
    let open = row.reach == "open";
    let bring =
        |(_, bank, all): &Holder| if row.reach == "host" { all.clone() } else { bank.clone() };
    let holders = by_role.iter().filter(|(role, ..)| open || row.roles.contains(role));
    let nobody = open.then(String::new);
    for credential in holders.map(bring).chain(nobody) {
        let answer = row.answer(people, &credential).await;
        assert!(!matches!(answer.status, 401 | 403), "{}: {answer:?}", row.shown());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_message_is_nothing_to_tokens_of_another_app() {
    let mut people = People::over(Host::start().await).await;
    let called = people.ingress(Method::POST, "/v1/call/bank/probe/a/bump", &people.root);
    let called = called.json(json!({})).answer().await.expect_status(200).id();
    let kept = ended(&people).await;
    let mut all = kept.clone();
    all.push(("a call without a key", called));
    strangers_to(&people, &all).await;
    // Outcomes are read from the journal now; what was in memory only is forgotten.
    people.host.stop().await;
    people.host.spawn().await;
    strangers_to(&people, &kept).await;
}

/// Messages of `bank` that ended in every way of which an outcome is kept.
async fn ended(people: &People) -> Vec<(&'static str, String)> {
    let post = |path: &str| people.ingress(Method::POST, path, &people.root).json(json!({}));
    let sent = post("/v1/send/bank/probe/a/bump").answer().await.expect_status(202).id();
    let path = format!("/v1/messages/{sent}?wait=30s");
    people.ingress(Method::GET, &path, &people.root).answer().await.expect_status(200);
    let key = |path: &str| post(path).header("Idempotency-Key", "k");
    let keyed = key("/v1/call/bank/probe/a/bump").answer().await.expect_status(200).id();
    vec![("a send", sent), ("a call with a key", keyed)]
}

/// For who has a token of another app there is no difference to a message that never was; for the app's own there is.
async fn strangers_to(people: &People, messages: &[(&'static str, String)]) {
    let never = "msg_0123456789abcdef0123456789abcdef";
    for role in ROLES {
        let shop = people.token(json!([role]), json!(["shop"]), Value::Null).await;
        let bank = people.token(json!([role]), json!(["shop", "bank"]), Value::Null).await;
        for method in [Method::GET, Method::DELETE] {
            let ask = |id: &str, credential: &str| {
                let path = format!("/v1/messages/{id}");
                people.ingress(method.clone(), &path, credential).answer()
            };
            let missing = ask(never, &shop).await;
            let refused = missing.status == 403;
            assert!(refused || missing.status == 404, "{role}: {missing:?}");
            for (what, id) in messages {
                let cell = format!("{method} {what} with {role}");
                let told = ask(id, &shop).await;
                assert_eq!(told.status, missing.status, "{cell}: {told:?}");
                assert_eq!(told.text().replace(id, never), missing.text(), "{cell}");
                let own = ask(id, &bank).await.status;
                let known = if method == Method::GET { 200 } else { 409 };
                assert_eq!(own, if refused { 403 } else { known }, "{cell}, its own");
            }
        }
        let waited = format!("/v1/messages/{}?wait=30s", people.later);
        let told = people.ingress(Method::GET, &waited, &shop).answer();
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        let told = told.expect("whoever may not know does not wait");
        assert!(matches!(told.status, 403 | 404), "{role}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_do_not_tell_what_exists() {
    let people = People::over(Host::start().await).await;
    let of_shop = people.token(json!(["admin"]), json!(["shop"]), Value::Null).await;
    let anonymous = |answer: Answer, app: &str| {
        (answer.status, answer.text().replace(app, "APP"), answer.headers.len())
    };
    for row in rows(&people).await {
        if row.reach != "app" && !row.path.starts_with("/docs") {
            continue;
        }
        let path = row.path.replace("bank", "nosuch");
        let other = Row { path, ..row };
        for credential in ["", STRANGE, &of_shop] {
            let missing = anonymous(other.answer(&people, credential).await, "nosuch");
            let path = other.path.replace("nosuch", "bank");
            let row = Row {
                path,
                roles: vec![],
                reach: String::new(),
                method: other.method.clone(),
                ..other
            };
            let there = anonymous(row.answer(&people, credential).await, "bank");
            assert_eq!(missing, there, "{}", row.shown());
        }
    }
    let listed = people.ingress(Method::GET, "/docs/", "").answer().await.text();
    assert!(!listed.contains("bank"), "{listed}");
    let path = "/v1/call/shop/probe/a/nothing";
    let told = people.ingress(Method::POST, path, &of_shop).json(json!({})).answer().await;
    told.expect_problem(404, "unknown_handler");
    // Its own app is gone: what else is deployed is not its holder's to know.
    let of_gone = people.token(json!(["admin"]), json!(["gone"]), Value::Null).await;
    let told = people.ingress(Method::POST, "/v1/call/gone/probe/a/bump", &of_gone).json(json!({}));
    let told = told.answer().await.expect_problem(404, "unknown_app");
    assert!(!told.text().contains("bank") && !told.text().contains("shop"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_show_the_apps_of_the_token() {
    let people = People::over(Host::start().await).await;
    let apps = |page: Value| {
        let apps = page["apps"].as_array().expect("apps").clone();
        apps.iter().map(|app| app["app"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    for (own, seen, letters) in [
        (json!(["shop"]), vec!["shop"], 0),
        (json!(["bank"]), vec!["bank"], 1),
        (json!(["bank", "shop", "other"]), vec!["bank", "shop"], 1),
        (json!("all"), vec!["bank", "shop"], 1),
    ] {
        let token = people.token(json!(["read"]), own.clone(), Value::Null).await;
        let page = people.admin(Method::GET, "/admin/v1/apps", &token).ok().await;
        assert_eq!(apps(page), seen, "{own}");
        let page = people.admin(Method::GET, "/admin/v1/dead?limit=5", &token).ok().await;
        let found = page["dead_letters"].as_array().expect("letters").len();
        assert_eq!(found, letters, "{own}");
    }
}

/// Writes `head` and reads what comes until a whole head of an answer is there.
async fn exchange(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut seen = Vec::new();
    let reading = async {
        loop {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.expect("an answer");
            seen.extend_from_slice(&chunk[..count]);
            let text = String::from_utf8_lossy(&seen).into_owned();
            if count == 0 || text.contains("}") && text.contains("\r\n\r\n") {
                return text;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_wait_for_the_body() {
    let people = People::over(Host::start().await).await;
    let addresses = people.host.addresses();
    for (base, target) in [
        (&addresses.admin, "PUT /admin/v1/apps/bank"),
        (&addresses.ingress, "POST /v1/call/bank/probe/a/bump"),
    ] {
        let address = base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let head = format!(
            "{target} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
        );
        let answer = tokio::time::timeout(Duration::from_secs(1), exchange(&mut stream, &head));
        let answer = answer.await.expect("at once: no byte of the body was sent");
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_opens_nothing_more_on_connections_and_waits_that_are_open() {
    let people = People::over(Host::start().await).await;
    let (id, token) = people.made(json!(["read"]), json!("all"), Value::Null).await;
    let address = people.host.addresses().admin.replace("http://", "");
    let head = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\n\r\n")
    };
    let mut open = TcpStream::connect(&address).await.expect("connects");
    let answer = exchange(&mut open, &head("/admin/v1/apps")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut waiting = TcpStream::connect(&address).await.expect("connects");
    waiting.write_all(head("/admin/v1/apps/bank/logs?wait=3s").as_bytes()).await.expect("written");
    people.revoke(&id).await;
    let answer = exchange(&mut open, &head("/admin/v1/apps")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "the same connection: {answer}");
    let answer = exchange(&mut waiting, "").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "a wait that had begun: {answer}");
}
