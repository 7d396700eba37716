//! One causal chain through any number of entities is one trace: read back from a collector, as one tree.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};

use super::collector::{Collector, Span};
use crate::harness::{Guest, Host};

/// A caller's own place in a trace.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_one_tree() {
    let collector = Collector::start(0).await;
    let host = traced(&collector, Guest::Shop, "shop", &[]).await;
    let client = host.client();
    client.call("shop/stock/i", "restock", json!({"count": 5})).ok().await;
    client.call("shop/wallet/w", "top_up", json!({"amount": 5})).ok().await;
    let order = json!({"item": "i", "price": 3, "wallet": "w"});
    let place = client.call("shop/order/o", "place", order).header("traceparent", &caller("01"));
    place.ok().await;
    // The saga's own turns, which hear of each step, are the order's too.
    let saga = "order.keystead-saga";
    let steps = ["stock.reserve", saga, "wallet.charge", saga, "stock.ship", saga];
    let closed = |spans: &[Span]| {
        spans.iter().filter(|span| span.name == saga).count() == 3
            && spans.iter().any(|span| span.name == "call order.place")
    };
    let spans = collector.whole(TRACE, closed).await;
    let tree = Tree::of(&spans, Some(CALLER));
    assert_eq!((tree.root.kind, tree.root.is("http.response.status_code", "200")), (2, true));
    assert_eq!(tree.entities(), ["shop/order/o", "shop/stock/i", "shop/wallet/w"]);
    let longest = tree.longest();
    assert_eq!(longest[..2], ["call order.place", "order.place"]);
    assert_eq!(longest[2..], steps);
    assert!(spans.iter().all(|span| !span.failed), "{spans:#?}");
    // What came before is of other traces, each with a beginning of its own.
    let traces: BTreeSet<String> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert_eq!(traces.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_over_five_entities_is_one_tree_also_over_a_crash() {
    let collector = Collector::start(0).await;
    let mut host = traced(&collector, Guest::Hostile, "app", &[]).await;
    // Longer than spans gather, so that the first of them are out before the crash.
    let relay = json!({"route": ["e2", "e3", "e4", "e5"], "n": 7, "delay_ms": 1_500});
    let sent = host.client().send("app/probe/e1", "relay", relay);
    sent.header("traceparent", &caller("01")).answer().await.expect_status(202);
    let begun = |spans: &[Span]| spans.iter().any(|span| span.entity() == "app/probe/e2");
    collector.whole(TRACE, begun).await;
    host.crash().await;
    let ended = |spans: &[Span]| spans.iter().any(|span| span.entity() == "app/probe/e5");
    let spans = collector.whole(TRACE, ended).await;
    let tree = Tree::of(&spans, Some(CALLER));
    assert_eq!(tree.root.name, "send probe.relay");
    let entities: Vec<String> = (1..=5).map(|n| format!("app/probe/e{n}")).collect();
    assert_eq!(tree.entities(), entities);
    assert_eq!(tree.longest().len(), 6);
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let hosts: BTreeSet<&String> = spans.iter().map(|span| &span.instance).collect();
    assert_eq!(hosts.len(), 2, "one process before the crash, one after");
    assert_eq!(host.client().value("app/probe/e5", "list").await, json!([7]));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_timers_replies_and_callbacks_have_their_place() {
    let collector = Collector::start(2).await;
    let mut host = traced(&collector, Guest::Hostile, "app", &[]).await;
    host.deploy(Guest::Desk, "desk").await;
    let client = host.client();
    let call = |entity: &str, handler: &str, input: Value| client.call(entity, handler, input);

    let behind = json!({"to": "b", "until": 3, "count": 1});
    let id = call("app/probe/a", "emit_behind_flaky", behind).answer().await.expect_status(200);
    let spans = of_message(&collector, &id.id(), 6).await;
    let tree = Tree::of(&spans, None);
    let flaky: Vec<&Span> = spans.iter().filter(|span| span.name == "probe.flaky").collect();
    let mut attempts: Vec<(&str, &str, bool)> = flaky
        .iter()
        .map(|span| {
            (
                &span.attributes["keystead.attempt"][..],
                &span.attributes["keystead.outcome"][..],
                span.failed,
            )
        })
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [("1", "failed", true), ("2", "failed", true), ("3", "done", false)]);
    for span in flaky {
        assert_eq!(tree.parent_of(span), "probe.emit_behind_flaky");
    }

    let arm = json!({"name": "t", "n": 4, "delay_ms": 5});
    let armed = call("app/probe/c", "arm", arm).answer().await.expect_status(200);
    let spans = of_message(&collector, &armed.id(), 3).await;
    let tree = Tree::of(&spans, None);
    let timer = spans.iter().find(|span| span.is("keystead.origin", "timer")).expect("the timer");
    assert_eq!((&timer.name[..], tree.parent_of(timer)), ("probe.append", "probe.arm"));

    let ask = json!({"shop": "s", "n": 1, "how": "ok", "patient": false});
    let asked = call("desk/desk/d", "ask", ask).answer().await.expect_status(200);
    let spans = of_message(&collector, &asked.id(), 4).await;
    let names = ["call desk.ask", "desk.ask", "shop.work", "desk.told"];
    assert_eq!(Tree::of(&spans, None).longest(), names);

    let open = json!({"n": 2, "wait_ms": 3_600_000});
    let opened = call("desk/desk/d", "open", open).answer().await.expect_status(200);
    let token = opened.json().as_str().expect("a token").to_owned();
    let resolve = client.ingress(Method::POST, format!("/v1/callbacks/{token}/resolve"));
    resolve.json(json!(3)).answer().await.expect_status(202);
    let spans = of_message(&collector, &opened.id(), 3).await;
    let names = ["call desk.open", "desk.open", "desk.told"];
    assert_eq!(Tree::of(&spans, None).longest(), names);
    assert!(spans.iter().any(|span| span.is("keystead.origin", "callback")));

    let shut = host.stop().await;
    assert!(shut.success());
    assert_eq!(collector.refused(), 2, "what was refused at first was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_a_chain_decides_whether_it_is_recorded() {
    let collector = Collector::start(0).await;
    let args = ["--otlp-ratio", "0", "--otlp-headers", "api-key=very%20secret"];
    let mut host = traced(&collector, Guest::Hostile, "app", &args).await;
    let client = host.client();
    client.call("app/probe/a", "bump", json!({})).ok().await;
    let bump = |flags| {
        let call = client.call("app/probe/a", "bump", json!({}));
        call.header("traceparent", &caller(flags))
    };
    bump("00").ok().await;
    bump("01").ok().await;
    // Whatever waits to be sent is sent before the end.
    assert!(host.stop().await.success());
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| &span.name[..]).collect();
    assert_eq!(spans.len(), 2, "{names:?}");
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!(collector.keys(), BTreeSet::from(["very secret".to_owned()]));
    assert!(!host.log().contains("secret"), "{}", host.log());
    Tree::of(&spans, Some(CALLER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_collector_costs_spans_and_nothing_else() {
    let collector = Collector::silent().await;
    let mut host = traced(&collector, Guest::Hostile, "app", &[]).await;
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..32 {
        let client = host.client();
        clients.spawn(async move {
            for _ in 0..300 {
                client.call(&format!("app/probe/e{n}"), "bump", json!({})).ok().await;
            }
        });
    }
    clients.join_all().await;
    let page = host.client().admin(http::Method::GET, "/metrics").answer().await.text();
    let page = super::page::Page::read(&page);
    let dropped = page.sum("keystead_spans_total", &[("outcome", "dropped")]);
    assert!(dropped > 1_000.0, "{dropped} spans were dropped");
    assert!(host.stop().await.success(), "it does not keep the host from stopping");
}

fn caller(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

async fn traced(collector: &Collector, guest: Guest, app: &str, args: &[&str]) -> Host {
    let url = collector.url();
    let mut all = vec!["--otlp", &url];
    all.extend(args);
    let host = Host::start_with(&all).await;
    let retry = json!({"retry": {"initial_ms": 1, "max_ms": 1}});
    host.deploy_with(guest, app, retry).await;
    host
}

/// The trace that the turn of a message belongs to, once it has `count` spans.
async fn of_message(collector: &Collector, message: &str, count: usize) -> Vec<Span> {
    let find = || async {
        let spans = collector.spans();
        let turn = spans.iter().find(|span| span.is("keystead.message_id", message));
        turn.map(|turn| turn.trace.clone()).ok_or_else(|| format!("{spans:#?}"))
    };
    let trace =
        crate::harness::eventually("the turn is there", crate::harness::PATIENCE, find).await;
    collector.whole(&trace, |spans| spans.len() >= count).await
}

/// A trace as a tree.
struct Tree<'s> {
    root: &'s Span,
    spans: BTreeMap<&'s str, &'s Span>,
}

impl<'s> Tree<'s> {
    /// Checks that it is one: one root, below `above`, every other span's parent is there and began before it, and no id
    /// is used twice.
    fn of(spans: &'s [Span], above: Option<&str>) -> Self {
        let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (&span.id[..], span)).collect();
        assert_eq!(by_id.len(), spans.len(), "an id is used twice: {spans:#?}");
        let mut roots = vec![];
        for span in spans {
            assert_eq!(span.trace, spans[0].trace);
            match span.parent.as_deref().filter(|parent| Some(*parent) != above) {
                None => roots.push(span),
                Some(parent) => {
                    let parent = by_id.get(parent);
                    let parent =
                        parent.unwrap_or_else(|| panic!("no parent: {span:?} in {spans:#?}"));
                    assert!(parent.began <= span.began, "{span:?} began before {parent:?}");
                }
            }
        }
        let [root] = roots[..] else { panic!("{} roots: {roots:#?}", roots.len()) };
        assert_eq!(root.parent.as_deref(), above);
        Self { root, spans: by_id }
    }

    fn entities(&self) -> Vec<&'s str> {
        let entities: BTreeSet<&str> = self.spans.values().map(|span| span.entity()).collect();
        entities.into_iter().collect()
    }

    fn parent_of(&self, span: &Span) -> &'s str {
        &self.spans[span.parent.as_deref().expect("not the root")].name
    }

    /// Names from the root down the longest branch.
    fn longest(&self) -> Vec<&'s str> {
        let branches = self.spans.values().map(|span| self.up(span));
        let mut longest = branches.max_by_key(Vec::len).expect("a span");
        longest.reverse();
        longest
    }

    fn up(&self, from: &'s Span) -> Vec<&'s str> {
        let next =
            |span: &&'s Span| span.parent.as_deref().and_then(|id| self.spans.get(id).copied());
        std::iter::successors(Some(from), next).map(|span| &span.name[..]).collect()
    }
}
