//! Two versions beside each other, from the page: an operator starts a ramp, sees how it goes, raises it, ends it, and
//! makes the new version live; and tries a handler that only the new one has.

use http::Method;
use serde_json::{Value, json};

use super::page::{chromium, fill, harmless, press_button};
use crate::harness::browser::Page;
use crate::harness::{Guest, Host};

const TEXT: &str = "document.querySelector('.page')?.innerText";

async fn versions(host: &Host, app: &str) -> Value {
    let path = format!("/admin/v1/apps/{app}/versions");
    host.client().admin(Method::GET, path).ok().await
}

/// The percentage that is on a ramped version; null without a ramp.
async fn percent(host: &Host) -> Value {
    let page = versions(host, "app").await;
    let all = page["versions"].as_array().expect("versions").clone();
    let shares = all.into_iter().map(|one| one["percent"].clone());
    shares.into_iter().find(|share| !share.is_null()).unwrap_or_default()
}

async fn keep_beside(host: &Host, guest: Guest) {
    let put = host.client().admin(Method::PUT, "/admin/v1/apps/app?activate=false");
    put.body(guest.component().await).answer().await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ramps_raises_ends_and_finishes_from_the_page() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::FirstEdition, "app").await;
    let (client, base) = (host.client(), host.addresses().admin);
    keep_beside(&host, Guest::SecondEdition).await;
    let mut page = Page::open(&chromium, &format!("{base}/#/apps/app")).await;
    assert_eq!(percent(&host).await, Value::Null);

    press_button(&mut page, "Ramp…").await;
    // What makes no sense is said where it was written, and the dialog stays.
    fill(&mut page, "input", "7.5").await;
    page.wait_for("document.querySelector('dialog input').checkValidity() === false").await;
    fill(&mut page, "input", "100").await;
    press_button(&mut page, "Ramp").await;
    page.wait_for(&format!("{TEXT}.includes('100 % of the entities')")).await;
    assert_eq!(percent(&host).await, 100);
    let stamp = json!({"rounds": 1, "to": "x"});
    assert_eq!(client.call("app/page/a", "stamp", stamp).ok().await["by"], 2, "on the new one");
    page.wait_for(&format!("/[1-9][0-9]* on it, 0 of 0 on the live one/.test({TEXT})")).await;

    press_button(&mut page, "Change its share…").await;
    fill(&mut page, "input", "25").await;
    press_button(&mut page, "Ramp").await;
    page.wait_for(&format!("{TEXT}.includes('25 % of the entities')")).await;
    assert_eq!(percent(&host).await, 25);

    press_button(&mut page, "End the ramp…").await;
    press_button(&mut page, "End the ramp").await;
    page.wait_for(&format!("!{TEXT}.includes('% of the entities')")).await;
    assert_eq!(percent(&host).await, Value::Null);
    assert_eq!(client.value("app/page/a", "look").await["by"], 1, "back on the live one");

    press_button(&mut page, "Ramp…").await;
    press_button(&mut page, "Ramp").await;
    page.wait_for(&format!("{TEXT}.includes('10 % of the entities')")).await;
    press_button(&mut page, "Activate…").await;
    press_button(&mut page, "Activate it").await;
    page.wait_for(&format!("!{TEXT}.includes('% of the entities')")).await;
    page.wait_for("document.querySelector('.is-previous') !== null").await;
    assert_eq!(client.value("app/page/a", "look").await["by"], 2);
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ramp_that_halts_by_itself_says_so_on_the_page() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::FirstEdition, "app").await;
    let (client, base) = (host.client(), host.addresses().admin);
    keep_beside(&host, Guest::SecondEdition).await;
    let mut page = Page::open(&chromium, &format!("{base}/#/apps/app")).await;
    press_button(&mut page, "Ramp…").await;
    fill(&mut page, "input", "50").await;
    press_button(&mut page, "Ramp").await;
    page.wait_for(&format!("{TEXT}.includes('50 % of the entities')")).await;
    for n in 0..200 {
        let edition = json!({"edition": 2});
        client.call(&format!("app/page/{n}"), "fail_in", edition).answer().await;
    }
    page.wait_for(&format!("{TEXT}.includes('halted by itself at 50 %')")).await;
    assert_eq!(percent(&host).await, Value::Null);
    assert!(versions(&host, "app").await["halted"].is_object());
    harmless(&page, &base);
    page.close().await;
}
