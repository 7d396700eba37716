//! What the page offers to whom: a token's roles and apps decide it, what is not there says why, and what is there works.

use http::Method;
use serde_json::{Value, json};

use super::page::{chromium, click, harmless, press_button, show};
use super::past::impatient;
use crate::harness::browser::Page;
use crate::harness::{Guest, Host};

const TEXT: &str = "document.querySelector('.page')?.innerText";
const BUTTONS: &str = "[...document.querySelectorAll('.page button:not([hidden], [type=submit])')]\
                       .map((one) => one.innerText)";
const MENU: &str = "[...document.querySelectorAll('nav a')].map((one) => one.innerText).join()";

/// A host with two apps, an entity, a dead letter, and the token of who may do everything.
struct Guarded {
    host: Host,
    root: String,
}

impl Guarded {
    async fn start() -> Self {
        let host = Host::start().await;
        host.deploy_with(Guest::Bank, "bank", impatient()).await;
        host.deploy(Guest::FirstEdition, "other").await;
        let client = host.client();
        client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
        client.call("bank/account/alice", "deposit", json!({"amount": 100})).ok().await;
        let gift = json!({"to": "full", "amount": 7});
        client.call("bank/account/alice", "transfer", gift).ok().await;
        host.quiet().await;
        assert_eq!(host.totals().await.dead, 1);
        let mut guarded = Self { host, root: String::new() };
        guarded.root = guarded.token("root", json!(["admin"]), json!("all")).await;
        guarded
    }

    async fn token(&self, name: &str, roles: Value, apps: Value) -> String {
        let what = json!({"name": name, "roles": roles, "apps": apps});
        let made = self.host.client().admin(Method::POST, "/admin/v1/tokens").json(what);
        let made = match self.root.as_str() {
            "" => made,
            root => made.header("Authorization", &format!("Bearer {root}")),
        };
        let made = made.answer().await.expect_status(201).json();
        made["token"].as_str().expect("a token").to_owned()
    }

    async fn me(&self, token: &str) -> Value {
        let asked = self.host.client().admin(Method::GET, "/admin/v1/me");
        asked.header("Authorization", &format!("Bearer {token}")).ok().await
    }
}

/// Gives the page a token: another one than it has, if it has one.
async fn give(page: &mut Page, token: &str) {
    page.wait_for(
        "document.querySelector('dialog') !== null || !document.getElementById('forget').hidden",
    )
    .await;
    page.wait_for("document.querySelector('dialog') !== null || (document.getElementById('forget').click() ?? true)")
        .await;
    page.wait_for(
        "document.querySelector('dialog input[type=password]') === document.activeElement",
    )
    .await;
    page.write(token).await;
    page.press("Enter").await;
    page.wait_for("document.querySelector('dialog') === null").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_who_they_are_and_nobody_else() {
    let host = Host::start().await;
    let nobody = host.client().admin(Method::GET, "/admin/v1/me").ok().await;
    let all = json!(["invoke", "read", "operate", "admin"]);
    assert_eq!(nobody, json!({"asked": false, "token": null, "roles": all, "apps": "all"}));
    let guarded = Guarded::start().await;
    let operator = guarded.token("ops", json!(["operate"]), json!(["bank"])).await;
    let me = guarded.me(&operator).await;
    assert_eq!((&me["roles"], &me["apps"]), (&json!(["read", "operate"]), &json!(["bank"])));
    assert_eq!((&me["token"]["name"], &me["asked"]), (&json!("ops"), &json!(true)));
    assert!(!me.to_string().contains(&operator) && !me.to_string().contains("hash"), "{me}");
    let caller = guarded.token("app", json!(["invoke"]), json!(["bank"])).await;
    assert_eq!(guarded.me(&caller).await["roles"], json!(["invoke"]));
    // Who may call sees what may be called of its apps, and no internal handler.
    let ask = |path: &str| {
        let asked = guarded.host.client().admin(Method::GET, path.to_owned());
        asked.header("Authorization", &format!("Bearer {caller}"))
    };
    assert_eq!(ask("/admin/v1/try").ok().await, json!({"apps": ["bank"]}));
    let offered = ask("/admin/v1/try/bank").ok().await;
    assert_eq!(offered["versions"][0]["percent"], 100);
    let handlers = offered["versions"][0]["entities"][0]["handlers"].as_array().expect("handlers");
    assert!(handlers.iter().any(|one| one["name"] == "deposit"), "{offered}");
    assert!(handlers.iter().all(|one| one["kind"] != "internal"), "{offered}");
    ask("/admin/v1/try/other").answer().await.expect_problem(403, "forbidden");
    ask("/admin/v1/apps/bank").answer().await.expect_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_look_is_offered_no_change_and_told_why() {
    let Some(chromium) = chromium() else { return };
    let guarded = Guarded::start().await;
    let base = guarded.host.addresses().admin;
    let reader = guarded.token("watcher", json!(["read"]), json!("all")).await;
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    give(&mut page, &reader).await;
    page.wait_for("document.getElementById('connection').innerText.endsWith('as watcher: read')")
        .await;
    page.wait_for("document.querySelector('.tile .value')?.innerText > ''").await;
    page.wait_for(&format!("{MENU} === 'Overview,Apps,Entities,Journeys,Dead letters'")).await;
    let letter = "document.querySelector('td a[href^=\"#/dead/\"]')";
    for (hash, there, role) in [
        ("entities/bank/account/alice", "balance: 93", "operate"),
        ("apps/bank", "deadline_ms", "admin"),
        ("dead", "account_full", "operate"),
    ] {
        show(&mut page, &base, hash).await;
        page.wait_for(&format!("{TEXT}.includes('{there}')")).await;
        page.wait_for(&format!("{TEXT}.includes('needs the role {role}')")).await;
        // Nothing but what looks further.
        let more = page.wait_for(&format!("[{BUTTONS}]")).await;
        assert_eq!(more, json!([[]]), "{hash}");
        page.wait_for(
            "document.querySelector('.page input[type=checkbox]:not(#log-paused)') === null",
        )
        .await;
    }
    page.wait_for(&format!("{letter}.click() ?? true")).await;
    page.wait_for(&format!(
        "{TEXT}.includes('To retry, edit or drop it, a token needs the role operate')"
    ))
    .await;
    show(&mut page, &base, "try").await;
    page.wait_for(&format!("{TEXT}.includes('To try handlers, a token needs the role invoke.')"))
        .await;

    // The page is another one's as soon as another token is given.
    give(&mut page, &guarded.root).await;
    page.wait_for("document.querySelector('.trial') !== null").await;
    page.wait_for(&format!("{MENU}.endsWith('Try it')")).await;
    show(&mut page, &base, "entities/bank/account/alice").await;
    page.wait_for(&format!("{BUTTONS}.includes('Remove…') && !{TEXT}.includes('needs the role')"))
        .await;
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_call_tries_handlers_and_sees_nothing_else() {
    let Some(chromium) = chromium() else { return };
    let guarded = Guarded::start().await;
    let base = guarded.host.addresses().admin;
    let caller = guarded.token("client", json!(["invoke"]), json!(["bank"])).await;
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    give(&mut page, &caller).await;
    page.wait_for(&format!("{TEXT}.includes('To look at the host, a token needs the role read.')"))
        .await;
    page.wait_for(&format!("{MENU} === 'Overview,Try it'")).await;
    show(&mut page, &base, "apps/bank").await;
    page.wait_for(&format!("{TEXT}.includes('To look at apps, a token needs the role read.')"))
        .await;
    show(&mut page, &base, "try/bank/account/deposit?key=bob").await;
    page.wait_for("document.querySelector('.trial') !== null").await;
    // The token's app alone is there to choose.
    page.wait_for("document.querySelector('.page select').innerText.trim() === 'bank'").await;
    page.wait_for("document.querySelector('.trial input.value').focus() ?? true").await;
    page.write("11").await;
    page.press("Enter").await;
    page.wait_for("/^200 OK/.test(document.querySelector('.answer')?.innerText)").await;
    // It would lead to what it may not see.
    page.wait_for("document.querySelector('.answer a[href^=\"#/entities\"]') === null").await;
    harmless(&page, &base);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_one_app_mends_it_and_does_not_touch_the_host() {
    let Some(chromium) = chromium() else { return };
    let guarded = Guarded::start().await;
    let base = guarded.host.addresses().admin;
    let operator = guarded.token("ops", json!(["operate"]), json!(["bank"])).await;
    let mut page = Page::open(&chromium, &format!("{base}/#/entities/bank/account/alice")).await;
    give(&mut page, &operator).await;
    page.wait_for(
        "document.getElementById('connection').innerText.endsWith('as ops: operate, of bank')",
    )
    .await;
    page.wait_for(&format!("{BUTTONS}.includes('Edit state…') && {BUTTONS}.includes('Remove…')"))
        .await;
    page.wait_for(&format!("!{BUTTONS}.includes('Pause…')")).await;
    page.wait_for(&format!(
        "{TEXT}.includes('To pause or resume it, a token needs to be for all apps.')"
    ))
    .await;
    show(&mut page, &base, "dead").await;
    page.wait_for(&format!(
        "{TEXT}.includes('To retry or drop all at once, a token needs to be for all apps.')"
    ))
    .await;
    click(&mut page, "#all-dead").await;
    press_button(&mut page, "Drop 1…").await;
    press_button(&mut page, "Drop").await;
    page.wait_for(&format!("{TEXT}.includes('There are no dead letters')")).await;
    harmless(&page, &base);
    page.close().await;
}
