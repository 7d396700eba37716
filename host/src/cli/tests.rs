//! The command line as a whole: what is typed, against the request that a host sees and what is printed. The
//! host here records one request per connection; what real hosts do is tested in `tests/`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use clap::CommandFactory;

use super::*;

const ID: &str = "msg_0123456789abcdef0123456789abcdef";

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_and_flag_says_what_it_is_for() {
    fn check(command: &clap::Command) {
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{} has no help", sub.get_name());
            for arg in sub.get_arguments() {
                assert!(arg.get_help().is_some(), "{} of {}", arg.get_id(), sub.get_name());
            }
            check(sub);
        }
    }
    check(&Cli::command());
}

#[test]
fn usage_is_refused_by_the_parser() {
    let usage = |line: &str| Cli::try_parse_from(line.split(' ')).err().map(|e| e.exit_code());
    assert_eq!(usage("keystead call bank/account add"), Some(2));
    assert_eq!(usage("keystead entity ls bank"), None);
    assert_eq!(usage("keystead entity ls 1bank/account"), Some(2));
    assert_eq!(usage("keystead entity pause bank/account/"), Some(2));
    assert_eq!(usage("keystead entity resume"), Some(2));
    assert_eq!(usage("keystead entity ls bank/account/alice"), Some(2));
    assert_eq!(usage("keystead message show msg_1"), Some(2));
    assert_eq!(usage("keystead send a/b/c d --at now --delay 1s"), Some(2));
    assert_eq!(usage("keystead serve --listen nowhere"), Some(2));
    assert_eq!(usage("keystead ramp bank 0f00 --percent 101"), Some(2));
    assert_eq!(usage("keystead config set bank"), Some(2));
    assert_eq!(usage("keystead apps --admin ftp://example.org"), Some(2));
    assert_eq!(usage("keystead entity rm a/b/c"), Some(2));
    assert_eq!(usage("keystead call bank/account/alice add {} --json"), None);
}

#[test]
fn serving_verbs_say_more() {
    let level = |line: &str| Cli::try_parse_from(line.split(' ')).expect("valid").log_level();
    assert_eq!(level("keystead serve"), LevelFilter::INFO);
    assert_eq!(level("keystead apps"), LevelFilter::WARN);
    assert_eq!(level("keystead apps --log debug"), LevelFilter::DEBUG);
}

/// Runs a verb against a host that gives `answers` in turn; gives what it printed and the requests' heads
/// (first lines and bodies).
fn run(line: &[&str], answers: &[&str]) -> (anyhow::Result<String>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let base = format!("http://{}", listener.local_addr().expect("address"));
    let host = serve(listener, answers.iter().map(|&answer| answer.to_owned()).collect());
    let line = line.iter().map(|&word| if word == "HOST" { base.as_str() } else { word });
    let cli = Cli::try_parse_from(["keystead"].into_iter().chain(line)).expect("valid");
    let out = Output::captured(cli.json);
    let result = cli.verb.run(&out);
    (result.map(|()| out.text()), host.join().expect("the host saw every request"))
}

/// Answers `answers.len()` requests, one a connection: a status line's rest, a blank, a body.
fn serve(listener: TcpListener, answers: Vec<String>) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("accept");
            seen.push(request(&mut stream));
            let (status, body) = answer.split_once(' ').expect("STATUS BODY");
            let length = body.len();
            let kind = "content-type: application/json\r\nconnection: close";
            let head = format!("HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all((head + body).as_bytes()).expect("write");
        }
        seen
    })
}

/// Reads one request; gives its method and path, the headers that verbs set, and its body.
fn request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).expect("read");
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        if body.len() < header("content-length").map_or(0, |n| n.parse().expect("a number")) {
            continue;
        }
        let first = head.lines().next().expect("a line").trim_end_matches(" HTTP/1.1");
        let key = header("idempotency-key").map(|key| format!(" key={key}")).unwrap_or_default();
        let kind = header("content-type").map(|kind| format!(" type={kind}")).unwrap_or_default();
        return format!("{first}{key}{kind} {body}").trim_end().to_owned();
    }
}

#[test]
fn handlers_are_run_through_ingress() {
    let check = |line: &[&str], answer: &str, request: &str, printed: &str| {
        let (result, seen) = run(&[line, &["--ingress", "HOST"]].concat(), &[answer]);
        assert_eq!(seen, [request]);
        assert_eq!(result.expect("ok"), printed);
    };
    let json = "type=application/json";
    check(
        &["call", "bank/account/a/b", "add", r#"{"n":1}"#, "--idempotency-key", "k 1"],
        "200 37",
        &format!(r#"POST /v1/call/bank/account/a%2Fb/add key=k 1 {json} {{"n":1}}"#),
        "37\n",
    );
    check(
        &["send", "bank/account/a", "add", "--delay", "10s"],
        r#"202 {"id":"x"}"#,
        &format!("POST /v1/send/bank/account/a/add?delay=10s {json} {{}}"),
        "{\"id\":\"x\"}\n",
    );
    check(
        &["send", "bank/account/a", "add", "--at", "2030-01-31T12:00:00+01:00"],
        r#"202 {"id":"x"}"#,
        &format!(
            "POST /v1/send/bank/account/a/add?at=2030-01-31T12%3A00%3A00%2B01%3A00 {json} {{}}"
        ),
        "{\"id\":\"x\"}\n",
    );
    check(
        &["read", "bank/account/a", "put", "hi", "--content-type", "text/plain"],
        "200 \"x\"\n",
        "POST /v1/read/bank/account/a/put type=text/plain hi",
        "\"x\"\n",
    );
    let path = format!("/v1/messages/{ID}");
    let show = ["message", "show", ID, "--wait", "30s"];
    check(&show, "200 37", &format!("GET {path}?wait=30s"), "37\n");
    let cancelled = format!("{ID} cancelled\n");
    check(&["message", "cancel", ID], "200 {}", &format!("DELETE {path}"), &cancelled);
}

#[test]
fn operators_verbs_use_the_admin_api() {
    let check = |line: &[&str], answer: &str, request: &str| {
        let (result, seen) = run(&[line, &["--admin", "HOST"]].concat(), &[answer]);
        assert_eq!(seen, [request]);
        result.expect("ok")
    };
    check(&["apps"], r#"200 {"apps":[]}"#, "GET /admin/v1/apps");
    check(
        &["entity", "ls", "bank/account", "--prefix", "a/", "--after", "a b", "--limit", "3"],
        r#"200 {"entities":[],"next":"z"}"#,
        "GET /admin/v1/entities/bank/account?prefix=a%2F&after=a%20b&limit=3",
    );
    check(
        &["entity", "get", "bank/account/a/b"],
        r#"200 {"entity":"bank/account/a/b","version":1,"mailbox":0}"#,
        "GET /admin/v1/entities/bank/account/a%2Fb",
    );
    check(
        &["dead", "ls", "--app", "bank"],
        r#"200 {"dead_letters":[],"next":null}"#,
        "GET /admin/v1/dead?app=bank&limit=100",
    );
    let path = format!("/admin/v1/dead/{ID}");
    check(&["dead", "show", ID], "200 {}", &format!("GET {path}"));
    let printed = check(&["dead", "retry", ID], "200 {}", &format!("POST {path}/retry"));
    assert_eq!(printed, format!("{ID} sent again\n"));
    let printed = check(&["--json", "dead", "drop", ID], "204 ", &format!("DELETE {path}"));
    assert_eq!(printed, format!("{{\"id\":\"{ID}\",\"status\":\"dropped\"}}\n"));
}

#[test]
fn operators_change_entities_and_dead_letters_through_the_admin_api() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("entities").display().to_string();
    let info = r#"{"entity":"bank/account/a/b","state":[],"version":7}"#;
    std::fs::write(&file, format!("{info}\n\n{info}\n")).expect("written");
    let one = dir.path().join("entity").display().to_string();
    std::fs::write(&one, info).expect("written");
    let check = |line: &[&str], answers: &[&str], requests: &[String], printed: &str| {
        let (result, seen) = run(&[line, &["--admin", "HOST"]].concat(), answers);
        assert_eq!(seen, requests, "{line:?}");
        assert_eq!(result.expect("ok"), printed, "{line:?}");
    };
    let at = "/admin/v1/entities/bank/account/a%2Fb";
    let put = ["entity", "put", "bank/account/a/b", &one];
    let written = "bank/account/a/b is at version 8\n";
    let request = |query: &str| format!("PUT {at}?{query} {info}");
    let answer = r#"200 {"version":8}"#;
    check(&put, &[answer], &[request("if_version=7&mode=replace")], written);
    let merge = [&put[..], &["--merge", "--if-version", "any"]].concat();
    check(&merge, &[answer], &[request("if_version=any&mode=merge")], written);
    let gone = r#"200 {"removed":{"version":8,"messages":1,"scheduled":2,"dead":3}}"#;
    let said = "bank/account/a/b is removed, with 1 messages, 2 scheduled ones and timers, 3 dead letters\n";
    check(&["entity", "rm", "bank/account/a/b", "--all"], &[gone], &[format!("DELETE {at}")], said);
    let paused = r#"200 {"scope":"bank/account","changed":true}"#;
    let line = ["entity", "pause", "bank/account"];
    let asked = ["PUT /admin/v1/pauses?app=bank&type=account".to_owned()];
    check(&line, &[paused], &asked, "bank/account is paused\n");
    let all = r#"200 {"scope":"everything","changed":true}"#;
    let asked = ["DELETE /admin/v1/pauses?all=true".to_owned()];
    check(&["entity", "resume", "--all"], &[all], &asked, "everything goes on\n");
    let pages = [
        &format!(r#"200 {{"entities":[{info}],"next":"a b"}}"#),
        r#"200 {"entities":[],"next":null}"#,
    ];
    let path = "GET /admin/v1/export/bank/account?prefix=";
    let asked = [path.to_owned(), format!("{path}&after=a%20b")];
    check(&["entity", "export", "bank/account"], &pages, &asked, &format!("{info}\n"));
    let import = request("if_version=absent&mode=import");
    let line = ["entity", "import", &file];
    check(&line, &[answer, answer], &[import.clone(), import], "2 entities are imported\n");

    let path = format!("/admin/v1/dead/{ID}");
    let line = ["dead", "edit", ID, "{}", "--retry"];
    let said = format!("{ID} edited and sent again\n");
    check(&line, &["200 {}"], &[format!("PUT {path}?retry=true {{}}")], &said);
    let steps = [
        r#"200 {"done":2,"final":1,"next":"7.x","through":9}"#,
        r#"200 {"done":1,"final":0,"next":null,"through":9}"#,
    ];
    let path = "POST /admin/v1/dead/retry?app=bank&reason=no%20way";
    let asked = [path.to_owned(), format!("{path}&after=7.x&through=9")];
    let line = ["dead", "retry", "--app", "bank", "--reason", "no way"];
    let said = "3 sent again; 1 are final and stay, their senders were told\n";
    check(&line, &steps, &asked, said);
    let line = ["timer", "cancel", "bank/account/a/b", "t"];
    let asked = ["DELETE /admin/v1/timers/bank/account/a%2Fb?name=t".to_owned()];
    check(&line, &["200 {}"], &asked, "timer t of bank/account/a/b is cancelled\n");
    let line = ["--json", "message", "ls", "bank/account/a/b", "--stage", "queued"];
    let page = r#"{"messages":[],"next":null}"#;
    let path = "GET /admin/v1/messages?app=bank&type=account&key=a%2Fb&stage=queued&limit=100";
    check(&line, &[&format!("200 {page}")], &[path.to_owned()], &format!("{page}\n"));
}

#[test]
fn many_dead_letters_are_never_settled_by_accident() {
    for line in ["dead drop", "dead retry msg_1 --app bank", "entity rm a/b/c"] {
        let cli = Cli::try_parse_from(["keystead"].into_iter().chain(line.split(' ')));
        let refused = match cli {
            Err(_) => true,
            Ok(cli) => cli.verb.run(&Output::captured(false)).is_err(),
        };
        assert!(refused, "{line}");
    }
}

#[test]
fn a_deploy_sends_bytes_and_settings() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("app.wasm"), "component").expect("write");
    std::fs::write(path("keystead.toml"), "deadline_ms = 7").expect("write");
    let file = path("app.wasm");
    let deploy = ["deploy", &file, "--app", "bank", "--admin", "HOST"];
    let answer = r#"200 {"app":"bank","version":"0f","changed":true}"#;
    let (result, seen) = run(&deploy, &[answer]);
    assert_eq!(result.expect("ok"), "deployed bank, version 0f\n");
    assert_eq!(seen, ["PUT /admin/v1/apps/bank?breaking=false component"]);
    let settings = path("keystead.toml");
    let (_, seen) = run(&[&deploy[..], &["--breaking", "--config", &settings]].concat(), &[answer]);
    assert!(seen[0].starts_with("PUT /admin/v1/apps/bank?breaking=true&config=%7B"), "{seen:?}");
    assert!(seen[0].contains("%22deadline_ms%22%3A7%2C"), "{seen:?}");
}

#[test]
fn versions_settings_and_secrets_use_the_admin_api() {
    let check = |line: &[&str], answer: &str, request: &str| {
        let (result, seen) = run(&[line, &["--admin", "HOST"]].concat(), &[answer]);
        assert_eq!(seen, [request]);
        result.expect("ok")
    };
    let bank = "/admin/v1/apps/bank";
    let versions = r#"200 {"versions":[],"halted":null,"trial":null}"#;
    check(&["versions", "bank"], versions, &format!("GET {bank}/versions"));
    let done = r#"200 {"app":"bank","version":"0f","replaced":"0e","changed":true,"diff":[]}"#;
    let printed = check(&["rollback", "bank"], done, &format!("POST {bank}/rollback"));
    assert_eq!(printed, "bank is on version 0f now; it was on 0e\n");
    let path = format!("POST {bank}/versions/0f00/activate?breaking=true");
    check(&["activate", "bank", "0f00", "--breaking"], done, &path);
    let path = format!("POST {bank}/versions/0f00/ramp?percent=10");
    check(&["ramp", "bank", "0f00", "--percent", "10"], done, &path);
    let shown = r#"200 {"config":{"deadline_ms":5},"secrets":[]}"#;
    check(&["config", "show", "bank"], shown, &format!("GET {bank}/config"));
    let path = format!(r#"PATCH {bank}/config {{"deadline_ms":5,"values":{{"a":"1"}}}}"#);
    check(&["config", "set", "bank", "deadline_ms=5", "values.a=1"], shown, &path);
    let path = format!(r#"PATCH {bank}/config {{"retry":{{"max_ms":null}}}}"#);
    check(&["config", "unset", "bank", "retry.max_ms"], shown, &path);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "hunter2\r\n").expect("write");
    let name = file.path().display().to_string();
    let set = ["secret", "set", "bank", "token", "--file", &name];
    let printed =
        check(&set, r#"200 {"secret":"token"}"#, &format!("PUT {bank}/secrets/token hunter2"));
    assert_eq!(printed, "token is set\n");
    check(&["secret", "ls", "bank"], shown, &format!("GET {bank}/config"));
    let path = format!("DELETE {bank}/secrets/token");
    check(&["secret", "unset", "bank", "token"], r#"200 {"secret":"token"}"#, &path);
}

#[test]
fn a_refused_deploy_fails_with_its_code_and_a_dry_run_changes_nothing() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "component").expect("write");
    let name = file.path().display().to_string();
    let line = ["deploy", &name, "--app", "bank", "--admin", "HOST"];
    let refused = r#"422 {"code":"breaking_change","detail":"it breaks","details":{"diff":[]}}"#;
    let (result, _) = run(&line, &[refused]);
    assert_eq!(result.expect_err("refused").to_string(), "it breaks (breaking_change)");
    let dry = r#"200 {"app":"bank","version":"0f","changed":true,"diff":[],"breaking":["- b"]}"#;
    let (result, seen) = run(&[&line[..], &["--dry-run", "--no-activate"]].concat(), &[dry]);
    assert_eq!(
        result.expect("ok"),
        "would deploy bank, version 0f\nrefused without --breaking:\n- b\n"
    );
    let path = "PUT /admin/v1/apps/bank?breaking=false&activate=false&dry_run=true component";
    assert_eq!(seen, [path]);
}

#[test]
fn followed_logs_go_on_where_they_were() {
    let line =
        |n: u32| format!(r#"{{"seq":{n},"at_ms":0,"level":"info","entity":"e/{n}","line":"l"}}"#);
    let first = format!(r#"200 {{"lines":[{},{}],"next":2}}"#, line(1), line(2));
    let end = r#"404 {"code":"unknown_app","detail":"gone"}"#;
    let (result, seen) = run(
        &["logs", "bank", "-f", "--admin", "HOST"],
        &[&first, r#"200 {"lines":[],"next":2}"#, end],
    );
    assert_eq!(result.expect_err("gone").to_string(), "gone (unknown_app)");
    let path =
        |after: u32| format!("GET /admin/v1/apps/bank/logs?after={after}&limit=1000&wait=30s");
    assert_eq!(seen, [path(0), path(2), path(2)]);
    let (result, seen) = run(&["--json", "logs", "bank", "--admin", "HOST"], &[&first]);
    assert_eq!(result.expect("ok"), format!("{}\n{}\n", sorted(&line(1)), sorted(&line(2))));
    assert_eq!(seen, ["GET /admin/v1/apps/bank/logs?after=0&limit=1000"]);
}

fn sorted(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).expect("JSON").to_string()
}

#[test]
fn a_rejection_is_an_error_with_its_code() {
    let rejection =
        r#"422 {"code":"insufficient_funds","detail":"only 3 left","source":"handler"}"#;
    let line = ["call", "bank/account/a", "transfer", "--ingress", "HOST"];
    let error = run(&line, &[rejection]).0.expect_err("rejected");
    assert_eq!(error.to_string(), "only 3 left (insufficient_funds)");
    let problem = error.downcast_ref::<ClientError>().and_then(ClientError::problem);
    assert_eq!(problem.expect("a problem").document["source"], "handler");
}
