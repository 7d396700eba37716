//! An entity as the explorer shows it: activities and sagas as what they are, told by the component's own description;
//! what it sent that is under way; and what is tried while two versions serve.

use http::Method;
use serde_json::{Value, json};

use super::page::{chromium, fill, harmless, press_button, show};
use crate::harness::browser::Page;
use crate::harness::transcript::{root, run};
use crate::harness::{Guest, Host};

const TEXT: &str = "document.querySelector('.page')?.innerText";

/// The text of the section with this heading.
fn card(heading: &str) -> String {
    format!(
        "[...document.querySelectorAll('.card')].find((one) => one.querySelector('h2')?.innerText === '{heading}')?.innerText"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn activities_are_told_by_the_component_and_not_by_how_a_key_looks() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::Chat, "chat").await;
    host.deploy(Guest::Bank, "bank").await;
    let (client, base) = (host.client(), host.addresses().admin);
    for number in 1..=3 {
        let said = json!({"who": "ann", "number": number, "line": "hello"});
        client.call("chat/room/hall", "say", said).ok().await;
    }
    client.call("chat/room/hall", "catch_up", json!({"who": "bob"})).ok().await;
    client.call("chat/room/hall", "leave", json!({"who": "ann"})).ok().await;
    let mut page = Page::open(&chromium, &format!("{base}/#/entities/chat/room/hall")).await;
    let rows = "[...document.querySelectorAll('[aria-label=Activities] tbody tr')].map((row) => \
                [...row.cells].map((cell) => cell.innerText.trim()))";
    let rows = page.wait_for(&format!("{rows}.length === 2 && {rows}")).await;
    let cell = |row: usize, at: usize| rows[row][at].as_str().expect("text").to_owned();
    assert_eq!([cell(0, 0), cell(0, 1), cell(0, 2)], ["ann", "members", "closed"]);
    assert_eq!((cell(0, 6), cell(0, 3)), ("3".into(), String::new()), "the numbers stay: {rows}");
    assert_eq!([cell(1, 0), cell(1, 2), cell(1, 3)], ["bob", "open", "read: 3"]);
    assert!(cell(1, 4).starts_with("20"), "when it was heard of: {rows}");
    page.wait_for(&format!("/lines\\s+list\\s+\\[3\\]/.test({})", card("State"))).await;
    page.wait_for(&format!("!{}.includes('members')", card("State"))).await;

    // A row of a type that has no activities is what it is, however it is called.
    client.call("bank/account/alice", "deposit", json!({"amount": 1})).ok().await;
    let put = json!({"state": [{"key": "a/friends/obob", "value": {"sent": 1, "accepted": 2}},
                               {"key": "s/trip", "value": {"phase": "running", "at": 0}}]});
    let path = "/admin/v1/entities/bank/account/alice?if_version=any&mode=merge";
    client.admin(Method::PUT, path).json(put).ok().await;
    show(&mut page, &base, "entities/bank/account/alice").await;
    for name in ["balance: 1", "a/friends/obob", "s/trip"] {
        page.wait_for(&format!("{}.includes('{name}')", card("State"))).await;
    }
    page.wait_for(&format!("!{TEXT}.includes('Activities') && !{TEXT}.includes('Sagas')")).await;
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_shows_its_steps_and_what_the_one_under_way_waits_for() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::Shop, "shop").await;
    let (client, base) = (host.client(), host.addresses().admin);
    client.call("shop/stock/lamp", "restock", json!({"count": 2})).ok().await;
    client.call("shop/wallet/ann", "top_up", json!({"amount": 100})).ok().await;
    let pause = "/admin/v1/pauses?app=shop&type=wallet&key=ann";
    client.admin(Method::PUT, pause).ok().await;
    let order = |price: u64| json!({"item": "lamp", "price": price, "wallet": "ann"});
    client.call("shop/order/o1", "place", order(60)).ok().await;
    let mut page = Page::open(&chromium, &format!("{base}/#/entities/shop/order/o1")).await;
    let saga = card("Sagas");
    page.wait_for(&format!("{saga}.includes('step 2 of 3')")).await;
    let steps = "[...document.querySelectorAll('.saga li')].map((one) => one.innerText.replaceAll(/\\s+/g, ' '))";
    let shown = page
        .wait_for(&format!("{steps}.length === 3 && {steps}[1].includes('since') && {steps}"))
        .await;
    let step = |at: usize| shown[at].as_str().expect("text").to_owned();
    assert!(step(0).starts_with("reserve done reserve shop/stock/lamp"), "{shown}");
    assert!(step(1).starts_with("charge running charge shop/wallet/ann journey queued"), "{shown}");
    assert!(step(2).starts_with("ship to come"), "{shown}");
    page.wait_for(&format!("/charge\\s+queued/.test({})", card("Sent by it, under way"))).await;
    let sent = "/admin/v1/messages?sender=shop%2Forder%2Fo1";
    let sent = client.admin(Method::GET, sent).ok().await;
    let sent = sent["messages"].as_array().expect("messages").clone();
    assert_eq!((sent.len(), &sent[0]["entity"]), (1, &json!("shop/wallet/ann")));
    assert!(sent[0]["sent_at_ms"].as_u64() > Some(0), "{sent:?}");
    let listed = ["message", "ls", "--sender", "shop/order/o1"];
    let listed = run(&host, &root(), &listed).await.expect("keystead message ls");
    assert!(listed.contains("shop/wallet/ann") && listed.lines().count() == 2, "{listed}");

    client.admin(Method::DELETE, pause).ok().await;
    page.wait_for(&format!("/steps\\s+done/.test({saga})")).await;
    page.wait_for(&format!("{}.includes('Nothing that it sent')", card("Sent by it, under way")))
        .await;
    // One that is called off says why.
    client.call("shop/order/o2", "place", order(60)).ok().await;
    show(&mut page, &base, "entities/shop/order/o2").await;
    page.wait_for(&format!("/undone[^]*Step charge was not done: no_money/.test({saga})")).await;
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_entity_sent_says_that_it_waits_for_another_attempt() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start().await;
    let patient = json!({"retry": {"attempts_max": 5, "initial_ms": 600_000, "max_ms": 600_000}});
    host.deploy_with(Guest::Bank, "bank", patient).await;
    let (client, base) = (host.client(), host.addresses().admin);
    client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
    client.call("bank/account/alice", "deposit", json!({"amount": 9})).ok().await;
    let mut page = Page::open(&chromium, &format!("{base}/#/entities/bank/account/alice")).await;
    let sent = card("Sent by it, under way");
    page.wait_for(&format!("{sent}.includes('Nothing that it sent')")).await;
    client.call("bank/account/alice", "transfer", json!({"to": "full", "amount": 9})).ok().await;
    let said = "backing off since [^,]+, 1 failed attempt, again in [0-9]+ min";
    page.wait_for(&format!("/full\\s+deposit\\s+{said}/.test({sent})")).await;
    press_button(&mut page, "Cancel…").await;
    press_button(&mut page, "Cancel the message").await;
    page.wait_for(&format!("{sent}.includes('Nothing that it sent')")).await;
    assert_eq!(host.totals().await.queued, 0);
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_count_down_and_are_cancelled() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::Witness, "app").await;
    let (client, base) = (host.client(), host.addresses().admin);
    for (name, delay_ms) in [("soon", 600_000), ("late", 86_400_000)] {
        let arm = json!({"name": name, "delay_ms": delay_ms});
        client.call("app/node/n", "arm", arm).ok().await;
    }
    let mut page = Page::open(&chromium, &format!("{base}/#/entities/app/node/n")).await;
    let timers = card("Timers");
    page.wait_for(&format!("/late\\s+ring\\s+20[^]*in 2[34] h[^]*soon\\s+ring/.test({timers})"))
        .await;
    let left = page.wait_for(&format!("/in 9 min [0-9]+ s/.exec({timers})?.[0]")).await;
    // It goes on without anything of the entity changing.
    page.wait_for(&format!("!{timers}.includes({left})")).await;
    page.wait_for(
        "document.querySelector('[aria-label=\"Cancel the timer soon…\"]').focus() ?? true",
    )
    .await;
    page.press("Enter").await;
    press_button(&mut page, "Cancel the timer").await;
    page.wait_for(&format!("!{timers}.includes('soon') && {timers}.includes('late')")).await;
    assert_eq!(host.totals().await.scheduled, 1);
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_ramped_version_has_can_be_tried() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::Bank, "app").await;
    let (client, base) = (host.client(), host.addresses().admin);
    let put = client.admin(Method::PUT, "/admin/v1/apps/app?activate=false&breaking=true");
    put.body(Guest::FirstEdition.component().await).answer().await.expect_status(200);
    let mut page = Page::open(&chromium, &format!("{base}/#/apps/app")).await;
    press_button(&mut page, "Ramp…").await;
    fill(&mut page, "input", "1").await;
    press_button(&mut page, "Ramp").await;
    // Its types are others, so it is asked for once more.
    page.wait_for(
        "document.querySelector('dialog')?.innerText.includes('account: the entity type is gone')",
    )
    .await;
    press_button(&mut page, "Do it all the same").await;
    page.wait_for(&format!("{TEXT}.includes('1 % of the entities')")).await;

    show(&mut page, &base, "try/app/page/look?key=p").await;
    page.wait_for(&format!("{TEXT}.includes('Only the ramped version has this handler')")).await;
    press_button(&mut page, "Read").await;
    page.wait_for("/^200 OK[^]*\"by\": 1/.test(document.querySelector('.answer')?.innerText)")
        .await;
    show(&mut page, &base, "try/app/account/balance?key=p").await;
    page.wait_for(&format!("{TEXT}.includes('Only the live version has this handler')")).await;
    press_button(&mut page, "Read").await;
    page.wait_for("/^200 OK[^]*\\n0\\n/.test(document.querySelector('.answer')?.innerText)").await;
    // Without saying how: a query of the ramped version is read.
    let tried = client.admin(Method::POST, "/admin/v1/try/app/page/p/look").json(json!({}));
    assert_eq!(tried.ok().await["by"], 1);
    let none: Value = client.admin(Method::GET, "/admin/v1/entities/app/page").ok().await;
    assert_eq!(none["entities"], json!([]), "nothing was written");
    harmless(&page, &base);
    page.close().await;
}
