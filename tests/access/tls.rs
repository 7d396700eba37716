//! TLS: both listeners beyond loopback, HTTP/1.1 and HTTP/2, a new certificate without a restart, and clients that
//! speak something else or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{Host, PATIENCE, eventually, keystead};
use crate::start::make;

/// A certificate for localhost that signs itself, in a folder of its own.
struct Certificate {
    folder: tempfile::TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let mut certificate = Self { folder, der: CertificateDer::from(Vec::new()) };
        certificate.renew(2031);
        certificate
    }

    /// Puts a new certificate and key in place of the old ones, good until that year begins.
    fn renew(&mut self, until: i32) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        std::fs::write(self.cert(), made.pem()).expect("written");
        std::fs::write(self.key(), key.serialize_pem()).expect("written");
        self.der = made.der().clone();
    }

    fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn args(&self) -> Vec<String> {
        let shown = |path: PathBuf| path.display().to_string();
        vec!["--tls-cert".into(), shown(self.cert()), "--tls-key".into(), shown(self.key())]
    }

    /// Connects to `address` if that has this certificate, and speaks `protocol`.
    async fn connect(
        &self,
        address: &str,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

async fn start(args: &[String], data: impl FnOnce(&Path)) -> Result<Host, String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Host::try_start_with(&args, data).await
}

/// Where a port is from here.
fn near(url: &str) -> String {
    let address = url.strip_prefix("https://").unwrap_or_else(|| panic!("{url} is no https://"));
    address.replace("0.0.0.0", "127.0.0.1")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_over_tls() {
    let certificate = Certificate::new();
    let host = start(&certificate.args(), |_| {}).await.expect("it starts");
    assert!(host.addresses().admin.starts_with("http://127."), "what stays here needs none");
    let address = near(&host.addresses().ingress);
    let request = || {
        let request = http::Request::get(format!("https://{address}/v1/openapi/bank"));
        request.header("host", &address).body(Empty::<Bytes>::new()).expect("a request")
    };
    let stream = certificate.connect(&address, "h2").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let answer = sender.send_request(request()).await.expect("an answer");
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 404));
    answer.into_body().collect().await.expect("whole");

    let stream = certificate.connect(&address, "http/1.1").await.expect("a handshake");
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let answer = sender.send_request(request()).await.expect("an answer");
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_11, 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_plain_clients_hold_nobody_up_and_are_told() {
    let certificate = Certificate::new();
    let host = start(&certificate.args(), |_| {}).await.expect("it starts");
    let address = near(&host.addresses().ingress);
    let mut silent = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        // The beginning of a handshake, and no more of it.
        stream.write_all(&[0x16, 3, 1, 2, 0]).await.expect("written");
        silent.push(stream);
    }
    certificate.connect(&address, "http/1.1").await.expect("a handshake beside them");
    let mut plain = TcpStream::connect(&address).await.expect("connects");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut told = String::new();
    plain.read_to_string(&mut told).await.expect("an answer and an end");
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("tls_required"), "{told}");
    for mut stream in silent {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a handshake that never ends is ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_without_a_restart_and_a_bad_one_is_not() {
    let mut certificate = Certificate::new();
    let host = start(&certificate.args(), |_| {}).await.expect("it starts");
    let address = near(&host.addresses().ingress);
    certificate.connect(&address, "h2").await.expect("the first");
    assert_eq!(expiry(&host).await, "1924992000", "the first second of 2031");
    certificate.renew(2032);
    let served = async |certificate: &Certificate| {
        certificate.connect(&address, "h2").await.map(drop).map_err(|error| error.to_string())
    };
    eventually("the new one is served", PATIENCE, || served(&certificate)).await;
    assert_eq!(expiry(&host).await, "1956528000");
    std::fs::write(certificate.key(), "no key").expect("written");
    eventually("the bad one is said", PATIENCE, async || {
        let log = host.log();
        if log.contains("holds no private key") { Ok(()) } else { Err(log) }
    })
    .await;
    served(&certificate).await.expect("the one of before stays");
    assert_eq!(expiry(&host).await, "1956528000", "of what is served");
    certificate.renew(2051);
    eventually("the next one is served", PATIENCE, || served(&certificate)).await;
    assert_eq!(expiry(&host).await, "2556144000");
}

/// What metrics say of the certificate's end.
async fn expiry(host: &Host) -> String {
    let page = host.client().admin(http::Method::GET, "/metrics").answer().await.text();
    let line = "keystead_certificate_expiry_timestamp_seconds ";
    let found = page.lines().find_map(|found| found.strip_prefix(line));
    found.unwrap_or_else(|| panic!("{page}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_listens_beyond_loopback_with_tls_and_a_token_only() {
    let certificate = Certificate::new();
    let elsewhere = ["--admin".to_owned(), "0.0.0.0:0".to_owned()];
    let root = ["--name", "root", "--role", "admin", "--all-apps"];
    let refused = start(&elsewhere, |data| drop(make(data, &root))).await.err();
    assert!(refused.is_some_and(|why| why.contains("only with TLS")), "without TLS");
    let args = [&elsewhere[..], &certificate.args()].concat();
    let refused = start(&args, |_| {}).await.err();
    assert!(refused.is_some_and(|why| why.contains("make a token first")), "without a token");

    let mut secret = String::new();
    let host = start(&args, |data| secret = make(data, &root)).await.expect("with both");
    let admin = format!("https://{}", near(&host.addresses().admin));
    let ca = certificate.cert().display().to_string();
    let run = |args: Vec<String>, token: &str| {
        let mut command = tokio::process::Command::new(keystead());
        command.args(args).env("KEYSTEAD_TOKEN", token).kill_on_drop(true);
        async move { command.output().await.expect("keystead runs") }
    };
    let apps = || vec!["apps".to_owned(), "--admin".to_owned(), admin.clone(), "--json".to_owned()];
    let trusting = || [apps(), vec!["--ca".to_owned(), ca.clone()]].concat();
    let listed = run(trusting(), &secret).await;
    let listed_text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed_text.trim(), json!({"apps": []}).to_string(), "{listed:?}");
    let untold = run(trusting(), "").await;
    let untold = String::from_utf8_lossy(&untold.stderr).into_owned();
    assert!(untold.contains("unauthenticated"), "{untold}");
    let untrusted = run(apps(), &secret).await;
    let untrusted = String::from_utf8_lossy(&untrusted.stderr).into_owned();
    assert!(untrusted.contains("is not trusted") && untrusted.contains("--ca"), "{untrusted}");

    // Elsewhere it has names of its own, and pages of other origins stay out.
    let head = |more: &str| {
        let authorization = format!("Authorization: Bearer {secret}\r\n");
        format!(
            "GET /admin/v1/apps HTTP/1.1\r\nHost: keystead.example\r\n{authorization}{more}Connection: close\r\n\r\n"
        )
    };
    for (more, status) in [("", "200"), ("Origin: https://evil.example\r\n", "403")] {
        let stream = certificate.connect(&near(&host.addresses().admin), "http/1.1").await;
        let mut stream = stream.expect("a handshake");
        stream.write_all(head(more).as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer and an end");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{more}: {answer}");
    }
}
