//! The console in a browser, as somebody who is paged would use it: look, try, find what failed, mend it. On the way it is
//! held to what it promises everybody: keys suffice, contrast, names for what can be used, nothing from elsewhere, and
//! text that stays text.

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};

use super::past::impatient;
use crate::harness::browser::{self, Page};
use crate::harness::{Guest, Host};

/// A key that would be a script in a page that lets it.
const NASTY: &str = "<img src=x onerror=\"document.title='owned'\">";

pub(super) const SCHEMES: [&str; 2] = ["light", "dark"];

pub(super) fn chromium() -> Option<PathBuf> {
    let found = browser::find();
    if found.is_none() {
        eprintln!(
            "NOT TESTED: there is no chromium here to open the console with (apt-get install chromium)"
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_files_of_the_admin_listener_and_not_of_ingress() {
    let host = Host::start().await;
    let client = host.client();
    let page = client.admin(Method::GET, "/").answer().await.expect_status(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    assert!(page.text().contains("/console/main.js"), "{page:?}");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let tag = page.header("etag").expect("a tag").to_owned();
    let again = client.admin(Method::GET, "/").header("If-None-Match", &tag).answer().await;
    again.expect_status(304);
    let main = client.admin(Method::GET, "/console/main.js").answer().await.expect_status(200);
    assert_eq!(main.header("x-content-type-options"), Some("nosniff"));
    client.ingress(Method::GET, "/").answer().await.expect_problem(404, "unknown_route");
    client
        .ingress(Method::GET, "/console/main.js")
        .answer()
        .await
        .expect_problem(404, "unknown_route");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_tries_a_handler_finds_what_failed_and_mends_it() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start().await;
    let base = host.addresses().admin;
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    page.wait_for("document.body.innerText.includes('No app is deployed')").await;
    host.deploy_with(Guest::Bank, "bank", impatient()).await;
    page.wait_for("document.querySelector('a[href=\"#/apps/bank\"]') !== null").await;

    // The keyboard alone: to the page for trying, through its form, and to the answer.
    page.wait_for("document.activeElement === document.body").await;
    page.press("6").await;
    page.wait_for("document.querySelector('.trial') && location.hash === '#/try'").await;
    page.press("/").await;
    focused(&mut page, "App").await;
    for (label, text) in [("Handler", ""), ("Key", "alice"), ("amount", "100")] {
        page.press("Tab").await;
        focused(&mut page, label).await;
        page.write(text).await;
    }
    page.press("Enter").await;
    let answer = page.wait_for("document.querySelector('.answer')?.innerText").await;
    let answer = answer.as_str().expect("text").to_owned();
    assert!(answer.starts_with("200 OK") && answer.contains("\n100\n"), "{answer}");
    assert!(answer.contains("msg_"), "{answer}");

    // Its state in the explorer, by the link.
    click(&mut page, ".answer a.entity").await;
    page.wait_for("document.querySelector('.state')?.innerText.includes('balance: 100')").await;
    page.wait_for("document.querySelector('tbody .is-done') !== null").await;

    let client = host.client();
    client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
    let exact = "document.querySelector('.state')?.innerText.includes('18446744073709551615')";
    show(&mut page, &base, "entities/bank/account/full").await;
    page.wait_for(exact).await;
    mends_a_dead_letter(&host, &mut page).await;
    goes_through_dialogs(&mut page, &base).await;
    harmless(&page, &base);

    let mut host = host;
    host.kill().await;
    page.wait_for("/host away; last seen/.test(document.getElementById('connection').innerText)")
        .await;
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asks_for_tokens_gets_one_from_the_person_and_only_this_tab_keeps_it() {
    let Some(chromium) = chromium() else { return };
    let host = Host::with(Guest::Bank, "bank").await;
    let base = host.addresses().admin;
    let client = host.client();
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    page.wait_for("document.querySelector('a[href=\"#/apps/bank\"]') !== null").await;
    let ask = |name: &str, roles: Value, apps: Value| {
        let what = json!({"name": name, "roles": roles, "apps": apps});
        client.admin(Method::POST, "/admin/v1/tokens").json(what)
    };
    let made = ask("all", json!(["admin"]), json!("all")).answer().await.expect_status(201).json();
    let all = made["token"].as_str().expect("a token").to_owned();
    let bearer = format!("Bearer {all}");
    let made = ask("one", json!(["read"]), json!(["bank"])).header("Authorization", &bearer);
    let one = made.answer().await.expect_status(201).json()["token"]
        .as_str()
        .expect("a token")
        .to_owned();

    let asked =
        "document.querySelector('dialog[open] input[type=password]') === document.activeElement";
    // Who declines is left alone, and may come back to it.
    page.wait_for(asked).await;
    page.press("Escape").await;
    page.wait_for(
        "document.getElementById('connection').innerText === 'the host asks for a token'",
    )
    .await;
    page.wait_for("document.getElementById('forget').innerText === 'Give a token'").await;
    click(&mut page, "#forget").await;
    page.wait_for(asked).await;
    page.write("ks_wrong").await;
    page.press("Enter").await;
    page.wait_for("document.querySelector('dialog[open]')?.innerText.includes('does not take')")
        .await;
    page.wait_for(asked).await;
    page.write(&all).await;
    page.press("Enter").await;
    let lives = "document.querySelector('dialog') === null && document.querySelector('.tile .value').innerText";
    page.wait_for(lives).await;
    page.wait_for("sessionStorage.length === 1 && !JSON.stringify(localStorage).includes('ks_')")
        .await;
    page.wait_for("!document.getElementById('forget').hidden").await;

    // Another one that sees its own app and not the host's figures.
    click(&mut page, "#forget").await;
    page.wait_for(asked).await;
    page.write(&one).await;
    page.press("Enter").await;
    page.wait_for("document.querySelector('.remark')?.innerText.includes('some apps only')").await;
    show(&mut page, &base, "apps/bank").await;
    let codes = "[...document.querySelectorAll('td code')].map((code) => code.innerText)";
    page.wait_for(&format!("{codes}.includes('deposit')")).await;
    harmless(&page, &base);
    page.close().await;
}

/// A message fails, is seen, is retried in vain, its cause is mended, and it takes effect.
async fn mends_a_dead_letter(host: &Host, page: &mut Page) {
    let (client, base) = (host.client(), host.addresses().admin);
    show(page, &base, "dead").await;
    page.wait_for("document.body.innerText.includes('There are no dead letters')").await;
    client.call("bank/account/alice", "transfer", json!({"to": "full", "amount": 7})).ok().await;
    click(page, "td a[href^='#/dead/']").await;
    let text = "document.querySelector('.page')?.innerText";
    page.wait_for(&format!("{text}.includes('account_full: the account is full')")).await;
    page.wait_for(&format!("/amount.: 7|amount: 7/.test({text})")).await;
    press_button(page, "Retry").await;
    page.wait_for("document.querySelector('.result .is-parked') !== null").await;

    client.call("bank/account/full", "transfer", json!({"to": "bob", "amount": 50})).ok().await;
    press_button(page, "Retry").await;
    page.wait_for("document.querySelector('.result .is-done') !== null").await;
    click(page, ".result a").await;
    let nodes =
        "[...document.querySelectorAll('g.node')].map((node) => node.getAttribute('aria-label'))";
    let nodes = page.wait_for(&format!("{nodes}.length >= 2 && {nodes}")).await;
    let expected =
        json!(["transfer at bank/account/alice: done", "deposit at bank/account/full: done"]);
    assert_eq!(nodes, expected);
    page.wait_for("document.querySelector('g.node').focus() ?? true").await;
    page.press("Enter").await;
    page.wait_for("document.querySelector('.detail')?.innerText.includes('bank/account/alice')")
        .await;
    show(page, &base, "dead").await;
    page.wait_for("document.body.innerText.includes('There are no dead letters')").await;
    assert_eq!(host.totals().await.dead, 0);
}

/// Dialogs take the focus, keep it, close with Escape and give it back.
async fn goes_through_dialogs(page: &mut Page, base: &str) {
    show(page, base, "apps").await;
    page.wait_for("document.querySelector('h1')?.innerText === 'Apps'").await;
    page.wait_for("document.getElementById('help').focus() ?? true").await;
    page.press("?").await;
    page.wait_for("document.querySelector('dialog[open]')?.innerText.includes('the pages')").await;
    for _ in 0..5 {
        page.press("Tab").await;
        let inside = "document.activeElement === document.body || \
                      document.querySelector('dialog').contains(document.activeElement)";
        page.wait_for(inside).await;
    }
    page.press("Escape").await;
    page.wait_for("document.querySelector('dialog') === null").await;
    page.wait_for("document.activeElement.id === 'help'").await;
    page.press("t").await;
    page.wait_for("document.documentElement.dataset.theme === 'dark'").await;
    for theme in ["light", "undefined"] {
        page.press("t").await;
        page.wait_for(&format!("String(document.documentElement.dataset.theme) === '{theme}'"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_readable_named_and_fits_and_shows_text_as_text() {
    let Some(chromium) = chromium() else { return };
    let host = Host::start().await;
    host.deploy_with(Guest::Bank, "bank", impatient()).await;
    host.deploy_with(Guest::Hostile, "hostile", impatient()).await;
    host.deploy(Guest::Chat, "chat").await;
    let client = host.client();
    let said = json!({"who": NASTY, "number": 1, "line": NASTY});
    client.call("chat/room/hall", "say", said).ok().await;
    let key = percent_encoding::utf8_percent_encode(NASTY, percent_encoding::NON_ALPHANUMERIC);
    let nasty = format!("bank/account/{key}");
    client.call(&nasty, "deposit", json!({"amount": u64::MAX})).ok().await;
    client.call("bank/account/alice", "deposit", json!({"amount": 9})).ok().await;
    let gift = json!({"to": NASTY, "amount": 9});
    let id = client.call("bank/account/alice", "transfer", gift).answer().await.id();
    // Reasons and log lines say what they were given.
    let odd = json!({"how": NASTY, "to": "q"});
    client.call("hostile/probe/p", "misbehave", odd).answer().await.expect_status(422);
    let panic = json!({"how": "panic", "to": "q"});
    let sent = client.send(&format!("hostile/probe/{key}"), "misbehave", panic).answer().await;
    sent.expect_status(202);
    host.quiet().await;
    let dead = host.dead_letters().await;
    assert!(dead.len() >= 2, "{dead:?}");

    let base = host.addresses().admin;
    let mut page = Page::open(&chromium, &format!("{base}/")).await;
    let letter = dead[0]["id"].as_str().expect("an id");
    for (hash, heading) in [
        (String::new(), "Overview"),
        ("apps".into(), "Apps"),
        ("apps/hostile".into(), "hostile"),
        ("entities/bank/account".into(), "Entities"),
        (format!("entities/{nasty}"), NASTY),
        ("entities/chat/room/hall".into(), "hall"),
        ("journey".into(), "Journey of a message"),
        (format!("journey/{id}"), "Journey of a message"),
        ("dead".into(), "Dead letters"),
        ("dead?reason=nobody-says-this".into(), "Dead letters"),
        (format!("dead/{letter}"), "Dead letter"),
        (format!("try/bank/account/transfer?key={key}"), "Try it"),
    ] {
        show(&mut page, &base, &hash).await;
        let heading = Value::from(heading);
        page.wait_for(&format!("document.querySelector('h1')?.innerText === {heading}")).await;
        page.wait_for("document.querySelector('.card, .tile') !== null").await;
        for scheme in SCHEMES {
            page.prefer(scheme).await;
            let complaints = page.wait_for(&format!("{COMPLAINTS} && found()")).await;
            assert_eq!(complaints, json!([]), "#/{hash} in {scheme}");
        }
        page.narrow().await;
        let fits = "innerWidth < 400 && document.documentElement.scrollWidth <= innerWidth";
        page.wait_for(fits).await;
        page.wide().await;
    }
    page.wait_for("document.querySelector('img') === null && document.title !== 'owned'").await;
    harmless(&page, &base);
    page.close().await;
}

/// What a page lacks that everybody needs: one heading, names of what can be used, ids that are one's own, and text that
/// stands out from what is behind it by 4.5 to 1.
pub(super) const COMPLAINTS: &str = r#"(globalThis.found = () => {
  const said = [];
  const complain = (what, one) => said.push(`${what}: ${one.outerHTML.slice(0, 120)}`);
  if (document.querySelectorAll("h1").length !== 1) said.push("not one h1");
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  if (new Set(ids).size !== ids.length) said.push("an id twice");
  for (const one of document.querySelectorAll("input, select, textarea")) {
    if (!one.labels?.length && !one.ariaLabel) complain("no label", one);
  }
  for (const one of document.querySelectorAll("a, button, summary, [role=button]")) {
    if (!(one.ariaLabel || one.textContent.trim())) complain("no name", one);
  }
  for (const one of document.querySelectorAll("[role=region], nav")) {
    if (!one.ariaLabel) complain("no name", one);
  }
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === undefined || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  for (const one of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !one.checkVisibility() || one.closest(":disabled, .unseen, .skip, option")) continue;
    const [ink, paper] = [light(parse(getComputedStyle(one).color)), light(behind(one))];
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < 4.5) complain(`contrast ${contrast.toFixed(2)}`, one);
  }
  for (const one of document.querySelectorAll("svg text")) {
    const fill = light(parse(getComputedStyle(one).fill));
    const papers = [...document.querySelectorAll("svg rect.lane, g.node > rect:first-of-type")];
    for (const paper of papers.map((rect) => light(parse(getComputedStyle(rect).fill)))) {
      const contrast = (Math.max(fill, paper) + 0.05) / (Math.min(fill, paper) + 0.05);
      if (contrast < 4.5) complain(`contrast ${contrast.toFixed(2)}`, one);
    }
  }
  return said;
})"#;

pub(super) fn harmless(page: &Page, base: &str) {
    assert!(page.trouble().is_empty(), "{:#?}", page.trouble());
    let own = |url: &&String| !url.starts_with(base) && url.as_str() != "about:blank";
    let elsewhere: Vec<_> = page.requests().iter().filter(own).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert!(page.requests().iter().any(|url| url.contains("/admin/v1/")), "it asks");
}

pub(super) async fn show(page: &mut Page, base: &str, hash: &str) {
    page.go(&format!("{base}/#/{hash}")).await;
}

pub(super) async fn click(page: &mut Page, selector: &str) {
    let selector = Value::from(selector);
    page.wait_for(&format!("document.querySelector({selector}).click() ?? true")).await;
}

pub(super) async fn press_button(page: &mut Page, words: &str) {
    let all = "[...document.querySelectorAll('button:not(:disabled)')]";
    page.wait_for(&format!("{all}.find((one) => one.innerText === '{words}').focus() ?? true"))
        .await;
    page.press("Enter").await;
}

/// Puts a text into one of the dialog's controls.
pub(super) async fn fill(page: &mut Page, control: &str, text: &str) {
    let field =
        format!("document.querySelector({})", Value::from(format!("dialog[open] {control}")));
    let text = Value::from(text);
    page.wait_for(&format!(
        "{field} !== null && ({field}.value = {text}, {field}.dispatchEvent(new Event('input')))"
    ))
    .await;
}

async fn focused(page: &mut Page, label: &str) {
    let found = format!("document.activeElement.labels[0].innerText === '{label}'");
    page.wait_for(&found).await;
}
