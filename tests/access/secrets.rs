//! No credential is stored or logged: after a token was used on every route, in every way that a client may bring it,
//! neither the data folder nor the host's log at its most talkative holds it.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystead::ingress::routes::ROUTES;
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::Host;
use crate::people::People;

/// Every file below `folder` that holds `secret`.
fn holding(folder: &Path, secret: &[u8], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            holding(&path, secret, found);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        if bytes.windows(secret.len()).any(|window| window == secret) {
            found.push(path.display().to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_stored_or_logged() {
    let host = Host::try_start_with(&["--log", "trace"], |_| {}).await.expect("it starts");
    let mut people = People::over(host).await;
    let secret = people.root["Bearer ".len()..].to_owned();
    let document = people.admin(Method::GET, "/admin/v1/openapi", &people.root).ok().await;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let path = path.replace("{app}", "bank").replace("{id}", &people.dead);
            let path = path.replace(['{', '}'], "");
            for credential in [&people.root, &secret, &format!("Basic {secret}")] {
                people.admin(method.clone(), &path, credential).answer().await;
            }
        }
    }
    for route in ROUTES {
        let path = route.path.replace("{app}/{type}/{key}/{handler}", "bank/probe/a/bump");
        let path = path.replace("{app}", "bank").replace("{id}", &people.later);
        let path = path.replace("{token}/{verb}", "none/resolve");
        for credential in [&people.root, &secret] {
            let request = people.ingress(route.method.clone(), &path, credential);
            request.json(json!({})).answer().await;
        }
    }
    over_http2(&people).await;
    let log = people.host.log();
    assert!(
        log.contains("TRACE") && log.contains("frame=Headers"),
        "the log says too little to say anything"
    );
    assert!(!log.contains(&secret[3..]), "the log holds a token");
    assert!(people.host.stop().await.success(), "all of it is on disk");
    let mut found = Vec::new();
    holding(&people.host.data(), &secret.as_bytes()[3..], &mut found);
    assert!(found.is_empty(), "{found:?}");
    // The search would find it: what a command was given is there.
    holding(&people.host.data(), b"\"note\":\"n\"", &mut found);
    assert!(!found.is_empty(), "nothing was found that must be there");
}

async fn over_http2(people: &People) {
    let address = people.host.addresses().ingress;
    let stream = TcpStream::connect(address.trim_start_matches("http://")).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::post(format!("{address}/v1/call/bank/probe/a/bump"))
        .header("authorization", &people.root)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"{}")))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.expect("whole");
}
