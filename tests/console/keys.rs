//! The keyboard alone: what can be used is reached with Tab and shows that it is, on the pages and in the dialogs, and a
//! dialog lacks nothing that a page must have.

use serde_json::{Value, json};

use super::page::{COMPLAINTS, SCHEMES, chromium, harmless, press_button, show};
use super::past::impatient;
use crate::harness::browser::Page;
use crate::harness::{Guest, Host};

/// More controls than any of these pages has.
const TABS_MAX: usize = 150;

/// What can be used now: on the page, or in the dialog that covers it.
const USABLE: &str = "[...(document.querySelector('dialog') ?? document).querySelectorAll(\
    'a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]\
    .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled)";

/// Presses Tab through all that can be used, from `start` on.
async fn walk(page: &mut Page, start: &str, what: &str) {
    let begin = format!(
        "(globalThis.reached = new Set(), {start}.focus(), reached.add(document.activeElement), true)"
    );
    page.wait_for(&begin).await;
    let count = page.wait_for(&format!("{USABLE}.length")).await.as_u64().expect("a number");
    let count = usize::try_from(count).expect("a small number");
    assert!((2..TABS_MAX).contains(&count), "{what}: {count} controls");
    let note = "(() => { const one = document.activeElement; reached.add(one); \
                return one === document.body || one.matches('g.node') || \
                getComputedStyle(one).outlineStyle !== 'none' ? 'seen' : 'no ring: ' + one.outerHTML; })()";
    for _ in 0..count + 2 {
        page.press("Tab").await;
        assert_eq!(page.wait_for(note).await, "seen", "{what}");
    }
    let missed =
        format!("[{USABLE}.filter((one) => !reached.has(one)).map((one) => one.outerHTML)]");
    assert_eq!(page.wait_for(&missed).await, json!([[]]), "{what}: not reached with Tab");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_with_tab_and_shows_that_it_has_the_focus() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start().await;
    host.deploy_with(Guest::Bank, "bank", impatient()).await;
    let (client, base) = (host.client(), host.addresses().admin);
    client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
    client.call("bank/account/alice", "deposit", json!({"amount": 9})).ok().await;
    let gift = json!({"to": "full", "amount": 9});
    let id = client.call("bank/account/alice", "transfer", gift).answer().await.id();
    host.quiet().await;
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    let skip = "document.getElementById('skip')";
    for (hash, there) in [
        (String::new(), "tbody .is-done"),
        ("apps".into(), "td a"),
        ("apps/bank".into(), "textarea, .log, .tree"),
        ("entities/bank/account".into(), "td a"),
        ("entities/bank/account/alice".into(), "tbody .is-done"),
        (format!("journey/{id}"), "g.node"),
        ("dead".into(), "td input"),
        (format!("try/bank/account/transfer?key={id}"), ".trial"),
    ] {
        show(&mut page, &base, &hash).await;
        let there = Value::from(there);
        page.wait_for(&format!("document.querySelector({there}) !== null")).await;
        walk(&mut page, skip, &hash).await;
    }

    show(&mut page, &base, "apps/bank").await;
    for (button, first) in [
        ("Set a value…", "document.querySelector('dialog input')"),
        ("Set a secret…", "document.querySelector('dialog input')"),
        ("Change limits…", "document.querySelector('dialog textarea')"),
    ] {
        press_button(&mut page, button).await;
        page.wait_for(&format!("{first} === document.activeElement")).await;
        for scheme in SCHEMES {
            page.prefer(scheme).await;
            let complaints = page.wait_for(&format!("{COMPLAINTS} && found()")).await;
            assert_eq!(complaints, json!([]), "{button} in {scheme}");
        }
        walk(&mut page, first, button).await;
        page.press("Escape").await;
        page.wait_for("document.querySelector('dialog') === null").await;
        // Back where it was.
        let button = Value::from(button);
        page.wait_for(&format!("document.activeElement.innerText === {button}")).await;
    }
    harmless(&page, &base);
    page.close().await;
}
