//! Promise 5: messages from one sender to one receiver take effect in the order they were sent, across
//! restarts and failures.

use serde_json::{Value, json};

use crate::harness::{Guest, Host, PATIENCE, eventually};

const BATCH: u64 = 500;

/// `source` sends the numbers of `range` to `sink`, in batches.
async fn emit(host: &Host, range: std::ops::Range<u64>) {
    for first in range.step_by(BATCH as usize) {
        let batch = json!({"to": "sink", "first": first, "count": BATCH});
        host.client().call("app/probe/source", "emit", batch).ok().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_arrive_in_order_across_two_crashes() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let mut cut_short = 0;
    for range in [0..4_000, 4_000..7_000] {
        let sent = range.end;
        emit(&host, range).await;
        host.crash().await;
        let arrived = client.value("app/probe/sink", "length").await;
        cut_short += u64::from(arrived.as_u64().expect("a number") < sent);
    }
    emit(&host, 7_000..10_000).await;
    eventually("all of them arrive", PATIENCE * 2, || async {
        let length = client.value("app/probe/sink", "length").await;
        if length == 10_000 { Ok(()) } else { Err(format!("{length} of 10000 are there")) }
    })
    .await;
    host.quiet().await;
    let list = client.value("app/probe/sink", "list").await;
    let list: Vec<u64> = serde_json::from_value(list).expect("numbers");
    let wrong = list.iter().enumerate().find(|(place, n)| *place as u64 != **n);
    if let Some((place, _)) = wrong {
        let around = &list[place.saturating_sub(5)..(place + 5).min(list.len())];
        panic!("out of order at place {place}: … {around:?} … ({} in all)", list.len());
    }
    assert_eq!(list.len(), 10_000);
    assert!(cut_short > 0, "neither crash hit while messages were under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_messages_of_a_sender_wait_for_one_that_backs_off() {
    let host = Host::start().await;
    let retry = json!({"initial_ms": 50, "max_ms": 100, "attempts_max": 10});
    host.deploy_with(Guest::Hostile, "app", json!({"retry": retry})).await;
    let client = host.client();
    let batch = json!({"to": "sink", "until": 4, "count": 20});
    client.call("app/probe/source", "emit_behind_flaky", batch).ok().await;
    host.quiet().await;
    let expected: Vec<u64> = (0..=20).collect();
    assert_eq!(client.value("app/probe/sink", "list").await, json!(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_senders_keep_their_own_order() {
    const SENDERS: u64 = 8;
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    for batch in 0..5 {
        for sender in 0..SENDERS {
            let first = sender * 1_000 + batch * 20;
            let numbers = json!({"to": "sink", "first": first, "count": 20});
            client.call(&format!("app/probe/source-{sender}"), "emit", numbers).ok().await;
        }
    }
    host.quiet().await;
    let list = client.value("app/probe/sink", "list").await;
    let list: Vec<u64> = serde_json::from_value::<Vec<u64>>(list).expect("numbers");
    for sender in 0..SENDERS {
        let own: Vec<u64> = list.iter().copied().filter(|n| n / 1_000 == sender).collect();
        let expected: Vec<u64> = (0..100).map(|n| sender * 1_000 + n).collect();
        assert_eq!(own, expected, "sender {sender}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_sees_who_sent() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let from_outside = client.call("app/probe/me", "whoami", json!({})).ok().await;
    assert_eq!(from_outside["app"], "app", "{from_outside}");
    assert_eq!(from_outside["key"], "me", "{from_outside}");
    assert_eq!(from_outside["sender"], Value::Null, "{from_outside}");
    client.call("app/probe/you", "ask_whoami", json!({"to": "me"})).ok().await;
    host.quiet().await;
    let asked = client.value("app/probe/me", "last_whoami").await;
    assert_eq!(asked["sender"], "you", "{asked}");
    assert_eq!(asked["attempt"], 1, "{asked}");
}
