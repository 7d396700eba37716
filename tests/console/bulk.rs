//! Many dead letters from the page: found by what they have in common, and sent again or dropped, all or some of them.

use serde_json::json;

use super::page::{chromium, harmless, press_button, show};
use super::past::impatient;
use crate::harness::browser::Page;
use crate::harness::{Guest, Host};

const ROWS: &str = "[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_filters_dead_letters_and_retries_or_drops_all_that_match() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start().await;
    host.deploy_with(Guest::Bank, "bank", impatient()).await;
    host.deploy_with(Guest::Hostile, "hostile", impatient()).await;
    let (client, base) = (host.client(), host.addresses().admin);
    client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
    client.call("bank/account/alice", "deposit", json!({"amount": 100})).ok().await;
    for _ in 0..3 {
        let gift = json!({"to": "full", "amount": 7});
        client.call("bank/account/alice", "transfer", gift).ok().await;
    }
    for key in ["p", "q", "r"] {
        let panic = json!({"how": "panic", "to": "q"});
        let sent = client.send(&format!("hostile/probe/{key}"), "misbehave", panic).answer().await;
        sent.expect_status(202);
    }
    host.quiet().await;
    assert_eq!(host.totals().await.dead, 6);

    let mut page = Page::open(&chromium, &format!("{base}/#/dead")).await;
    page.wait_for(&format!("{ROWS}.length === 6")).await;
    // By what its reason says, with the keyboard.
    page.wait_for("document.querySelector('input[type=search]').focus() ?? true").await;
    page.write("account_full").await;
    page.press("Enter").await;
    page.wait_for(&format!(
        "{ROWS}.length === 3 && {ROWS}.every((row) => row.includes('deposit'))"
    ))
    .await;
    page.wait_for("location.hash === '#/dead?reason=account_full'").await;
    client.call("bank/account/full", "transfer", json!({"to": "bob", "amount": 500})).ok().await;
    press_button(&mut page, "Retry all that match…").await;
    page.wait_for("document.querySelector('dialog')?.innerText.includes('reason account_full')")
        .await;
    press_button(&mut page, "Retry all").await;
    page.wait_for("document.body.innerText.includes('Sent again: 3.')").await;
    page.wait_for("document.body.innerText.includes('No dead letter is like that')").await;
    host.quiet().await;
    assert_eq!(host.totals().await.dead, 3, "the others are left alone");
    assert_eq!(client.value("bank/account/bob", "balance").await, 500);

    // Some of them, by their boxes.
    show(&mut page, &base, "dead?app=hostile").await;
    page.wait_for(&format!("{ROWS}.length === 3")).await;
    page.wait_for("document.querySelector('tbody input[type=checkbox]').focus() ?? true").await;
    page.press("Space").await;
    press_button(&mut page, "Drop 1…").await;
    press_button(&mut page, "Drop").await;
    page.wait_for(&format!("{ROWS}.length === 2")).await;
    assert_eq!(host.totals().await.dead, 2);

    // A filter that fits nothing, then all that are left.
    show(&mut page, &base, "dead?handler=nothing").await;
    page.wait_for("document.body.innerText.includes('No dead letter is like that')").await;
    show(&mut page, &base, "dead?app=hostile&type=probe&handler=misbehave&since=3600000").await;
    page.wait_for(&format!("{ROWS}.length === 2")).await;
    press_button(&mut page, "Drop all that match…").await;
    press_button(&mut page, "Drop all").await;
    page.wait_for("document.body.innerText.includes('Dropped: 2.')").await;
    assert_eq!(host.totals().await.dead, 0);
    // What makes no sense is the host's to say.
    show(&mut page, &base, "dead?type=not%20one").await;
    page.wait_for("document.querySelector('.page .failure')?.innerText").await;
    harmless(&page, &base);
    page.close().await;
}
