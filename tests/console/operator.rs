//! What an operator changes from the console: pauses, state, removals, dead letters, versions. Each is done by the page's
//! own buttons and looked at in the host.

use http::Method;
use serde_json::{Value, json};

use super::page::{chromium, fill, harmless, press_button, show};
use super::past::impatient;
use crate::harness::browser::Page;
use crate::harness::{Guest, Host, PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_pauses_edits_removes_and_mends_from_the_page() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start().await;
    host.deploy_with(Guest::Bank, "bank", impatient()).await;
    let (client, base) = (host.client(), host.addresses().admin);
    client.call("bank/account/alice", "deposit", json!({"amount": 100})).ok().await;
    client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
    client.call("bank/account/alice", "transfer", json!({"to": "full", "amount": 7})).ok().await;
    host.quiet().await;
    let mut page = Page::open(&chromium, &format!("{base}/#/entities/bank/account/alice")).await;
    let text = "document.querySelector('.page')?.innerText";

    press_button(&mut page, "Pause…").await;
    press_button(&mut page, "Pause it").await;
    page.wait_for(&format!("{text}.includes('commands wait until it is resumed')")).await;
    let call = client.call("bank/account/alice", "deposit", json!({"amount": 1}));
    call.answer().await.expect_problem(503, "paused");
    press_button(&mut page, "Resume").await;
    page.wait_for(&format!("!{text}.includes('commands wait until it is resumed')")).await;
    client.call("bank/account/alice", "deposit", json!({"amount": 1})).ok().await;
    page.wait_for(&format!("{text}.includes('balance: 94')")).await;

    press_button(&mut page, "Edit state…").await;
    fill(&mut page, "textarea", r#"[{"key": "self", "value": {"balance": 500}}]"#).await;
    press_button(&mut page, "Replace its state").await;
    page.wait_for(&format!("{text}.includes('balance: 500')")).await;
    assert_eq!(client.value("bank/account/alice", "balance").await, 500);

    let dead = host.dead_letters().await;
    let letter = dead[0]["id"].as_str().expect("an id");
    show(&mut page, &base, &format!("dead/{letter}")).await;
    press_button(&mut page, "Edit…").await;
    fill(&mut page, "textarea", r#"{"amount": 0}"#).await;
    press_button(&mut page, "Keep this input").await;
    page.wait_for(&format!("/amount.?: 0/.test({text})")).await;
    press_button(&mut page, "Retry").await;
    page.wait_for("document.querySelector('.result .is-done') !== null").await;
    assert_eq!(host.totals().await.dead, 0);

    show(&mut page, &base, "entities/bank/account/alice").await;
    press_button(&mut page, "Remove…").await;
    press_button(&mut page, "Remove it").await;
    page.wait_for("document.body.innerText.includes('bank/account/alice is removed')").await;
    assert_eq!(client.value("bank/account/alice", "balance").await, 0);
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_rolls_back_from_the_page_and_is_asked_when_that_breaks_something() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::Bank, "app").await;
    let (client, base) = (host.client(), host.addresses().admin);
    let first = live(&host).await;
    let other = client.admin(Method::PUT, "/admin/v1/apps/app?breaking=true");
    other.body(Guest::Hostile.component().await).answer().await.expect_status(200);
    assert_ne!(live(&host).await, first);
    let mut page = Page::open(&chromium, &format!("{base}/#/apps/app")).await;
    press_button(&mut page, "Roll back…").await;
    press_button(&mut page, "Roll back").await;
    page.wait_for("document.querySelector('#notes, [role=status]') !== null").await;
    let done = "[...document.querySelectorAll('tr')].some((row) => row.innerText.includes('live') && \
                row.innerText.includes('FIRST'))";
    let done = done.replace("FIRST", first.as_str().expect("text"));
    page.wait_for(&done).await;
    assert_eq!(live(&host).await, first);
    client.call("app/account/a", "deposit", json!({"amount": 1})).ok().await;
    harmless(&page, &base);
    page.close().await;
}

async fn live(host: &Host) -> Value {
    let app = host.client().admin(Method::GET, "/admin/v1/apps/app").ok().await;
    app["version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_pauses_an_app_and_a_type_and_resumes_a_host_that_began_paused() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start_with(&["--paused"]).await;
    host.deploy(Guest::Bank, "bank").await;
    let (client, base) = (host.client(), host.addresses().admin);
    let deposit = || client.call("bank/account/alice", "deposit", json!({"amount": 1}));
    deposit().answer().await.expect_problem(503, "paused");
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    page.wait_for("document.querySelector('.warning:not([hidden])')?.innerText.includes('Everything is paused')").await;
    press_button(&mut page, "Resume everything…").await;
    press_button(&mut page, "Resume").await;
    page.wait_for("document.querySelector('.warning:not([hidden])') === null").await;
    deposit().ok().await;

    show(&mut page, &base, "apps/bank").await;
    let text = "document.querySelector('.page')?.innerText";
    page.wait_for(&format!("{text}.includes('Nothing of it is paused.')")).await;
    for (scope, shown) in [("bank", "bank"), ("bank/account", "bank/account")] {
        let choose = format!(
            "[...document.querySelectorAll('select')].find((one) => \
            [...one.options].some((option) => option.value === '{scope}')).value = '{scope}'"
        );
        page.wait_for(&choose).await;
        press_button(&mut page, "Pause…").await;
        press_button(&mut page, "Pause").await;
        let resume = format!("document.querySelector('[aria-label=\"Resume {shown}\"]')");
        page.wait_for(&format!("{resume} !== null")).await;
        deposit().answer().await.expect_problem(503, "paused");
        page.wait_for(&format!("{resume}.focus() ?? true")).await;
        page.press("Enter").await;
        page.wait_for(&format!("{text}.includes('Nothing of it is paused.')")).await;
        deposit().ok().await;
    }
    // Who leaves the page at once has done it all the same, and what the page wanted to look at next is no trouble.
    client.admin(Method::PUT, "/admin/v1/pauses?app=bank").ok().await;
    let leave = "(() => { document.querySelector('[aria-label=\"Resume bank\"]').click(); \
                 location.hash = '#/dead'; return true; })()";
    page.wait_for(leave).await;
    page.wait_for(&format!("{text}.includes('Dead letters')")).await;
    eventually("the pause has ended", PATIENCE, || async {
        let paused = client.admin(Method::GET, "/admin/v1/pauses").ok().await;
        if paused["paused"] == json!([]) { Ok(()) } else { Err(paused.to_string()) }
    })
    .await;
    deposit().ok().await;
    page.wait_for("true").await;
    harmless(&page, &base);
    page.close().await;
}
