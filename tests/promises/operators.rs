//! What operators do to entities, messages and dead letters holds what the promises say: it is durable before it is
//! answered, one transaction, in the entity's order, and a crash leaves all of it or nothing.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Guest, Host, PATIENCE, Request, eventually};

async fn with_attempts(guest: Guest, attempts_max: u32) -> Host {
    let host = Host::start().await;
    let retry = json!({"initial_ms": 10, "max_ms": 20, "attempts_max": attempts_max});
    host.deploy_with(guest, "app", json!({"retry": retry})).await;
    host
}

fn entity(client: &Client, method: Method, entity: &str, query: &str) -> Request {
    client.admin(method, format!("/admin/v1/entities/{entity}{query}"))
}

fn pause(client: &Client, method: Method, query: &str) -> Request {
    client.admin(method, format!("/admin/v1/pauses?{query}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_entity_is_gone_whole_and_its_keys_do_nothing_again() {
    let mut host = with_attempts(Guest::Hostile, 2).await;
    let client = host.client();
    for n in 0..3 {
        client.call("app/probe/a", "append", json!({"n": n})).ok().await;
    }
    let first = client.call("app/probe/a", "bump", json!({})).key("once").ok().await;
    assert_eq!(first, 1);
    let timer = json!({"name": "t", "n": 9, "delay_ms": 3_600_000});
    client.call("app/probe/a", "arm", timer).ok().await;
    let later = client.ingress(Method::POST, "/v1/send/app/probe/a/append?delay=1h");
    let later = later.json(json!({"n": 7})).answer().await.id();
    let poison = client.send("app/probe/a", "poison", json!({"note": "x"})).answer().await.id();
    host.finished(&poison).await.expect_problem(500, "parked");
    let before = host.entity("app/probe/a").await;

    let gone = entity(&client, Method::DELETE, "app/probe/a", "").ok().await;
    let version = before["version"].as_u64().expect("a version") + 1;
    let expected = json!({"version": version, "messages": 0, "scheduled": 2, "dead": 1});
    assert_eq!(gone["removed"], expected, "{gone}");
    host.crash().await;
    let shown = host.entity("app/probe/a").await;
    assert_eq!((&shown["removed"], &shown["state"]), (&json!(true), &Value::Null), "{shown}");
    let listed = client.admin(Method::GET, "/admin/v1/entities/app/probe").ok().await;
    assert_eq!(listed["entities"], json!([]));
    let totals = host.totals().await;
    assert_eq!((totals.scheduled, totals.queued, totals.dead), (0, 0, 0));
    client.ingress(Method::GET, format!("/v1/messages/{later}")).answer().await.expect_status(404);
    assert_eq!(entity(&client, Method::DELETE, "app/probe/a", "").answer().await.status, 404);

    let again = client.call("app/probe/a", "bump", json!({})).key("once").answer().await;
    again.expect_problem(500, "removed");
    assert_eq!(client.value("app/probe/a", "count").await, 0, "a key of before took effect");
    assert_eq!(client.call("app/probe/a", "bump", json!({})).key("other").ok().await, 1);
    assert_eq!(client.value("app/probe/a", "list").await, json!([]));
    let shown = host.entity("app/probe/a").await;
    assert!(shown["version"].as_u64() > Some(version), "a version came twice: {shown}");
    assert_eq!(shown["removed"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_a_removed_entity_is_told_and_who_was_removed_is_not() {
    let mut host = with_attempts(Guest::Desk, 2).await;
    let client = host.client();
    pause(&client, Method::PUT, "app=app&type=shop").ok().await;
    for (desk, n) in [("d", 1), ("e", 2)] {
        let asked = json!({"shop": "s", "n": n, "how": "ok", "patient": false});
        client.call(&format!("app/desk/{desk}"), "ask", asked).ok().await;
    }
    assert_eq!(host.totals().await.queued, 2);
    // `e` is gone before its answer comes; nobody hears of it, and no new `e` begins with it.
    entity(&client, Method::DELETE, "app/desk/e", "").ok().await;
    host.crash().await;
    assert_eq!(host.totals().await.queued, 2, "what it sent is on its way");
    let gone = entity(&client, Method::DELETE, "app/shop/s", "").ok().await;
    assert_eq!(gone["removed"]["messages"], 2, "{gone}");
    pause(&client, Method::DELETE, "app=app&type=shop").ok().await;
    assert_eq!(host.quiet().await.dead, 0);
    let heard = client.value("app/desk/d", "heard").await;
    assert_eq!(heard, json!([[1, "failed dropped"]]));
    assert_eq!(client.value("app/desk/e", "heard").await, json!([]));
    assert_eq!(client.value("app/shop/s", "worked").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_takes_messages_and_starts_nothing_until_it_goes_on() {
    let mut host = with_attempts(Guest::Hostile, 2).await;
    let client = host.client();
    client.call("app/probe/a", "bump", json!({})).ok().await;
    host.deploy(Guest::Hostile, "other").await;
    let timer = json!({"name": "t", "n": 5, "delay_ms": 1});
    for (scope, held) in [
        ("app=app&type=probe&key=a", true),
        ("app=app&type=probe", true),
        ("app=app", true),
        ("all=true", true),
        ("app=other", false),
    ] {
        client.call("app/probe/a", "arm", timer.clone()).ok().await;
        host.quiet().await;
        let before = client.value("app/probe/a", "count").await.as_u64().expect("a number");
        let done = pause(&client, Method::PUT, scope).ok().await;
        assert_eq!(done["changed"], true, "{scope}");
        let sent = client.send("app/probe/a", "bump", json!({})).answer().await;
        let id = sent.expect_status(202).id();
        if held {
            let call = client.call("app/probe/a", "bump", json!({})).answer().await;
            let call = call.expect_problem(503, "paused");
            assert_eq!(call.json()["retryable"], true);
            host.crash().await;
            assert_eq!(client.value("app/probe/a", "count").await, before, "{scope}");
            let status = client.ingress(Method::GET, format!("/v1/messages/{id}")).answer().await;
            assert_eq!(status.json()["stage"], "queued", "{scope}");
            assert_eq!(host.entity("app/probe/a").await["paused"], true, "{scope}");
        } else {
            host.finished(&id).await.expect_status(200);
        }
        let paused = client.admin(Method::GET, "/admin/v1/pauses").ok().await;
        assert_eq!(paused["paused"].as_array().map(Vec::len), Some(1), "{paused}");
        pause(&client, Method::DELETE, scope).ok().await;
        host.finished(&id).await.expect_status(200);
        assert_eq!(client.value("app/probe/a", "count").await, before + 1, "{scope}");
        assert_eq!(pause(&client, Method::DELETE, scope).ok().await["changed"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_is_written_only_over_the_version_that_was_looked_at() {
    let mut host = with_attempts(Guest::Hostile, 2).await;
    let client = host.client();
    client.call("app/probe/a", "append", json!({"n": 1})).ok().await;
    client.call("app/probe/a", "bump", json!({})).ok().await;
    let shown = host.entity("app/probe/a").await;
    let version = shown["version"].as_u64().expect("a version");
    let put = |query: String, body: &Value| {
        entity(&client, Method::PUT, "app/probe/a", &query).json(body.clone())
    };
    let stale = put(format!("?if_version={}", version - 1), &shown).answer().await;
    let stale = stale.expect_problem(409, "version_mismatch");
    assert_eq!(stale.json()["details"]["version"], version);
    put("?if_version=absent".into(), &shown).answer().await.expect_problem(409, "version_mismatch");
    put(String::new(), &shown).answer().await.expect_problem(400, "malformed");
    let done = put(format!("?if_version={version}"), &shown).ok().await;
    assert_eq!(done["version"], version + 1);
    let same = host.entity("app/probe/a").await;
    assert_eq!(same["state"], shown["state"], "handed back unchanged and not the same");

    // Another entity gets it whole, one row is edited, and the rest stays in a merge.
    let copied = entity(&client, Method::PUT, "app/probe/b", "?if_version=absent");
    copied.json(shown.clone()).ok().await;
    host.crash().await;
    assert_eq!(client.value("app/probe/b", "list").await, json!([1]));
    let mut rows = shown["state"].as_array().expect("rows").iter();
    let row = rows.find(|row| row["value"]["count"] == 1).expect("the plain fields");
    let merge = json!({"state": [], "remove": [row["key"]]});
    entity(&client, Method::PUT, "app/probe/b", "?if_version=1&mode=merge").json(merge).ok().await;
    assert_eq!(client.value("app/probe/b", "count").await, 0);
    assert_eq!(client.value("app/probe/b", "list").await, json!([1]), "a merge took the rest");
    let empty = json!({"state": []});
    entity(&client, Method::PUT, "app/probe/b", "?if_version=any").json(empty).ok().await;
    assert_eq!(client.value("app/probe/b", "list").await, json!([]));
    assert_eq!(client.call("app/probe/b", "bump", json!({})).ok().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_takes_its_turn_between_commands() {
    let host = with_attempts(Guest::Hostile, 2).await;
    let client = host.client();
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call("app/probe/a", "bump_slowly", json!({"rounds": 3_000_000})).ok().await }
    });
    let running = || async {
        let info = host.entity("app/probe/a").await;
        if info["running"] == true { Ok(()) } else { Err(info.to_string()) }
    };
    // A quick machine may be done before anybody looks; then there is nothing to see here.
    let seen = tokio::time::timeout(PATIENCE, async {
        while running().await.is_err() && !slow.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    seen.await.expect("it runs or is done");
    let removed = entity(&client, Method::DELETE, "app/probe/a", "").ok().await;
    assert_eq!(slow.await.expect("ends"), 1, "the command that ran was cut off");
    assert_eq!(removed["removed"]["version"], 2, "it was removed under its command: {removed}");
    assert_eq!(client.value("app/probe/a", "count").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_with_its_timers() {
    let host = with_attempts(Guest::Hostile, 2).await;
    let client = host.client();
    for key in ["a", "b%2Fb", "c"] {
        let path = format!("app/probe/{key}");
        client.call(&path, "append", json!({"n": 1})).ok().await;
        let timer = json!({"name": "t", "n": 9, "delay_ms": 3_600_000});
        client.call(&path, "arm", timer).ok().await;
    }
    let mut lines = Vec::new();
    let mut query = String::new();
    loop {
        let path = format!("/admin/v1/export/app/probe?limit=2{query}");
        let page = client.admin(Method::GET, path).ok().await;
        lines.extend(page["entities"].as_array().expect("entities").clone());
        match page["next"].as_str() {
            Some(next) => query = format!("&after={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    assert_eq!(lines.len(), 3);
    let other = with_attempts(Guest::Hostile, 2).await;
    let import = |line: &Value, expect: &str| {
        let name = line["entity"].as_str().expect("a name").replace("b/b", "b%2Fb");
        let query = format!("?mode=import&if_version={expect}");
        entity(&other.client(), Method::PUT, &name, &query).json(line.clone())
    };
    for line in &lines {
        import(line, "absent").ok().await;
        import(line, "absent").answer().await.expect_problem(409, "version_mismatch");
        import(line, "any").ok().await;
    }
    let page = other.client().admin(Method::GET, "/admin/v1/export/app/probe").ok().await;
    for (line, copy) in lines.iter().zip(page["entities"].as_array().expect("entities")) {
        for member in ["entity", "state", "timers"] {
            assert_eq!(line[member], copy[member], "{member}");
        }
        assert!(copy["version"].as_u64() >= line["version"].as_u64(), "{copy}");
    }
    assert_eq!(other.client().value("app/probe/c", "timers").await, json!(["t"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_timers_are_found_and_cancelled_where_they_wait() {
    let mut host = with_attempts(Guest::Hostile, 2).await;
    let client = host.client();
    let timer = json!({"name": "t", "n": 9, "delay_ms": 3_600_000});
    client.call("app/probe/a", "arm", timer).ok().await;
    pause(&client, Method::PUT, "app=app").ok().await;
    let mut ids = Vec::new();
    for key in ["a", "a", "b"] {
        let sent = client.send(&format!("app/probe/{key}"), "bump", json!({})).answer().await;
        ids.push(sent.expect_status(202).id());
    }
    let later = client.ingress(Method::POST, "/v1/send/app/probe/b/append?delay=1h");
    let later = later.json(json!({"n": 7})).answer().await.id();
    host.crash().await;
    let list = |query: &'static str| {
        let client = client.clone();
        async move {
            let page = client.admin(Method::GET, format!("/admin/v1/{query}")).ok().await;
            let name = if query.starts_with("timers") { "timers" } else { "messages" };
            let rows = page[name].as_array().expect("rows").clone();
            let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
            (rows.iter().map(id).collect::<Vec<_>>(), page["next"].clone())
        }
    };
    assert_eq!(list("messages?stage=queued").await.0, ids);
    assert_eq!(list("messages?app=app&type=probe&key=a&stage=queued").await.0, ids[..2]);
    assert_eq!(list("messages?app=other").await.0, Vec::<String>::new());
    assert_eq!(list("messages?stage=scheduled").await.0.len(), 2);
    let (mut found, mut query) = (Vec::new(), String::new());
    loop {
        let path = format!("/admin/v1/messages?limit=2{query}");
        let page = client.admin(Method::GET, path).ok().await;
        found.extend(page["messages"].as_array().expect("rows").clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("&after={next}");
    }
    assert_eq!(found.len(), 5, "pages: {found:?}");
    let one = client.admin(Method::GET, format!("/admin/v1/messages/{later}")).ok().await;
    assert_eq!((&one["stage"], &one["input"]), (&json!("scheduled"), &json!({"n": 7})), "{one}");
    for id in [&ids[0], &later] {
        client.admin(Method::DELETE, format!("/admin/v1/messages/{id}")).ok().await;
        let again = client.admin(Method::DELETE, format!("/admin/v1/messages/{id}"));
        again.answer().await.expect_status(404);
    }
    let (timers, _) = list("timers?app=app").await;
    assert_eq!(timers.len(), 1);
    let path = "/admin/v1/timers/app/probe/a?name=t";
    client.admin(Method::DELETE, path).ok().await;
    client.admin(Method::DELETE, path).answer().await.expect_problem(404, "unknown_timer");
    host.crash().await;
    pause(&client, Method::DELETE, "app=app").ok().await;
    assert_eq!(host.quiet().await.scheduled, 0);
    assert_eq!(client.value("app/probe/a", "count").await, 1);
    assert_eq!(client.value("app/probe/b", "count").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_dead_letter_runs_with_its_new_input_once() {
    let mut host = with_attempts(Guest::Desk, 2).await;
    let client = host.client();
    client.call("app/shop/s", "set_broken", json!({"broken": true})).ok().await;
    let asked = json!({"shop": "s", "n": 1, "how": "break", "patient": true});
    client.call("app/desk/d", "ask", asked).ok().await;
    assert_eq!(host.quiet().await.dead, 1);
    let id = host.dead_letters().await[0]["id"].as_str().expect("an id").to_owned();
    let edit = |query: &str, body: Value| {
        client.admin(Method::PUT, format!("/admin/v1/dead/{id}{query}")).json(body)
    };
    let bad = edit("", json!({"n": "many", "how": "ok"})).answer().await;
    bad.expect_problem(400, "invalid_input");
    edit("", json!({"n": 5, "how": "ok"})).ok().await;
    host.crash().await;
    let letter = host.dead_letters().await.remove(0);
    assert_eq!(letter["input"], json!({"n": 5, "how": "ok"}));
    edit("?retry=true", json!({"n": 6, "how": "ok"})).ok().await;
    host.crash().await;
    assert_eq!(host.quiet().await.dead, 0);
    assert_eq!(client.value("app/desk/d", "heard").await, json!([[1, "ok 6"]]));
    assert_eq!(client.value("app/shop/s", "worked").await, 1);
    edit("", json!({"n": 6, "how": "ok"})).answer().await.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_sent_again_in_bulk_keep_the_order_they_came_in() {
    let mut host = with_attempts(Guest::Hostile, 1).await;
    let client = host.client();
    let mut ids = Vec::new();
    client.call("app/probe/a", "set_broken", json!({"broken": true})).ok().await;
    for n in 0..25 {
        let key = if n % 5 == 4 { "b" } else { "a" };
        let handler = if key == "a" { "fragile" } else { "poison" };
        let input = if key == "a" { json!({}) } else { json!({"note": "x"}) };
        let sent = client.send(&format!("app/probe/{key}"), handler, input).answer().await;
        let id = sent.expect_status(202).id();
        host.finished(&id).await.expect_problem(500, "parked");
        ids.push((key, id));
    }
    let bulk = |step: &str, query: String| {
        client.admin(Method::POST, format!("/admin/v1/dead/{step}?{query}"))
    };
    let future = "parked_from=2999-01-01T00:00:00Z".to_owned();
    assert_eq!(bulk("retry", future).ok().await["done"], 0);
    assert_eq!(bulk("drop", "reason=nothing+like+it".into()).ok().await["done"], 0);
    let dropped = bulk("drop", "handler=poison".into()).ok().await;
    assert_eq!((&dropped["done"], &dropped["next"]), (&json!(5), &Value::Null), "{dropped}");
    // They are broken still: each fails again, and belongs to no later step of the same pass.
    pause(&client, Method::PUT, "all=true").ok().await;
    let (mut done, mut query, mut steps) = (0, "handler=fragile&limit=7".to_owned(), 0);
    loop {
        let step = bulk("retry", query).ok().await;
        done += step["done"].as_u64().expect("a number");
        steps += 1;
        let Some(next) = step["next"].as_str() else { break };
        query = format!("handler=fragile&limit=7&after={next}&through={}", step["through"]);
        host.crash().await;
    }
    assert_eq!((done, steps), (20, 3));
    let page = client.admin(Method::GET, "/admin/v1/messages?stage=queued").ok().await;
    let queued = page["messages"].as_array().expect("rows").iter();
    let queued: Vec<_> = queued.map(|row| row["id"].as_str().expect("an id")).collect();
    let wanted: Vec<_> = ids.iter().filter(|(key, _)| *key == "a").map(|(_, id)| id).collect();
    assert_eq!(queued, wanted, "sent again out of order");
    pause(&client, Method::DELETE, "all=true").ok().await;
    eventually("they are parked again", PATIENCE, || async {
        let totals = host.totals().await;
        if totals.dead == 20 { Ok(()) } else { Err(format!("{totals:?}")) }
    })
    .await;
}
