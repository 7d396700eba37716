//! An app's values and secrets, set and removed from the page. A secret goes in and is never shown again, not even to who
//! set it.

use http::Method;
use serde_json::{Value, json};

use super::page::{chromium, fill, harmless, press_button, show};
use crate::harness::browser::Page;
use crate::harness::{Guest, Host};

const TEXT: &str = "document.querySelector('.page')?.innerText";
const SECRET: &str = "hunter2-of-the-operator";

async fn config(host: &Host) -> Value {
    host.client().admin(Method::GET, "/admin/v1/apps/app/config").ok().await
}

/// What a handler reads under a name.
async fn read(host: &Host, handler: &str, name: &str) -> Value {
    host.client().call("app/page/p", handler, json!({ "name": name })).ok().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_and_removes_values_and_a_secret_that_is_never_shown() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::FirstEdition, "app").await;
    let base = host.addresses().admin;
    let mut page = Page::open(&chromium, &format!("{base}/#/apps/app")).await;

    press_button(&mut page, "Set a value…").await;
    fill(&mut page, "textarea", "hello").await;
    fill(&mut page, "input", "greeting").await;
    press_button(&mut page, "Set it").await;
    page.wait_for(&format!("/greeting\\s+hello/.test({TEXT})")).await;
    assert_eq!(read(&host, "setting", "greeting").await, "hello");

    press_button(&mut page, "Set anew…").await;
    fill(&mut page, "textarea", "two\nlines").await;
    press_button(&mut page, "Set it").await;
    page.wait_for(&format!("/greeting\\s+two/.test({TEXT})")).await;
    assert_eq!(read(&host, "setting", "greeting").await, "two\nlines");

    press_button(&mut page, "Set a secret…").await;
    fill(&mut page, "input", "api_key").await;
    fill(&mut page, "textarea", SECRET).await;
    press_button(&mut page, "Set it").await;
    page.wait_for(&format!("/api_key\\s+secret, never shown/.test({TEXT})")).await;
    assert_eq!(config(&host).await["secrets"], json!(["api_key"]));
    assert_eq!(read(&host, "length_of", "api_key").await, SECRET.len());
    let nowhere = format!(
        "!document.documentElement.outerHTML.includes('{SECRET}') && \
         ![...document.querySelectorAll('input, textarea')].some((one) => one.value.includes('{SECRET}'))"
    );
    page.wait_for(&nowhere).await;
    // Another look at it, and the form that sets it anew: they know no more.
    show(&mut page, &base, "apps").await;
    show(&mut page, &base, "apps/app").await;
    page.wait_for(&format!("/api_key\\s+secret, never shown/.test({TEXT})")).await;
    page.wait_for("document.querySelector('[aria-label=\"Set api_key anew…\"]').click() ?? true")
        .await;
    page.wait_for("document.querySelector('dialog[open] textarea')?.value === ''").await;
    page.wait_for(&nowhere).await;
    page.press("Escape").await;

    for name in ["greeting", "api_key"] {
        let remove = format!("document.querySelector('[aria-label=\"Remove {name}…\"]')");
        page.wait_for(&format!("{remove}.focus() ?? true")).await;
        page.press("Enter").await;
        press_button(&mut page, "Remove it").await;
        page.wait_for(&format!("document.querySelector('dialog') === null && {remove} === null"))
            .await;
        assert_eq!(read(&host, "setting", name).await, Value::Null);
    }
    let left = config(&host).await;
    assert_eq!((&left["secrets"], &left["config"]["values"]), (&json!([]), &json!({})));

    press_button(&mut page, "Change limits…").await;
    // What the host refuses is said in the dialog, where what was written still stands.
    fill(&mut page, "textarea", r#"{"deadline_ms": 0}"#).await;
    press_button(&mut page, "Change them").await;
    page.wait_for(
        "document.querySelector('dialog[open] .failure')?.innerText.includes('deadline_ms')",
    )
    .await;
    page.wait_for("document.querySelector('dialog textarea').value.includes('deadline_ms')").await;
    fill(&mut page, "textarea", r#"{"deadline_ms": 2345}"#).await;
    press_button(&mut page, "Change them").await;
    page.wait_for(&format!("{TEXT}.includes('deadline_ms: 2345')")).await;
    assert_eq!(config(&host).await["config"]["deadline_ms"], 2345);
    harmless(&page, &base);
    page.close().await;
}
