//! The page at `/docs/{app}`: what it may do, and one visit by a real browser, with the keyboard alone.

use http::Method;

use crate::harness::browser::{self, Page};
use crate::harness::{Guest, Host};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_ingress_own_and_may_nothing_else() {
    let host = Host::with(Guest::Bank, "bank").await;
    let client = host.client();
    let get = |path: &str| client.ingress(Method::GET, path.to_owned());
    for (path, kind, part) in [
        ("/docs/bank", "text/html", "<script src=\"page.js\" type=\"module\">"),
        ("/docs/", "text/html", "<a href=\"bank\">bank</a>"),
        ("/docs/page.css", "text/css", ":focus-visible"),
        ("/docs/page.js", "text/javascript", "from \"./schema.js\""),
        ("/docs/schema.js", "text/javascript", "export function words("),
    ] {
        let answer = get(path).answer().await.expect_status(200);
        assert!(answer.header("content-type").is_some_and(|given| given.starts_with(kind)));
        assert!(answer.text().contains(part), "{path} lacks {part}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    }
    let moved = get("/docs").answer().await.expect_status(308);
    assert_eq!(moved.header("location"), Some("/docs/"));
    get("/docs/nobody").answer().await.expect_problem(404, "unknown_app");
    get("/docs/bank/more").answer().await.expect_problem(404, "unknown_app");
    get("/docsbank").answer().await.expect_problem(404, "unknown_route");
    let posted = client.ingress(Method::POST, "/docs/bank").answer().await;
    posted.expect_problem(405, "method_not_allowed");
    // What the page may do, the admin listener's pages and others may not.
    let call = client.call("bank/account/alice", "deposit", serde_json::json!({"amount": 1}));
    let foreign = call.header("Origin", &host.addresses().admin).answer().await;
    foreign.expect_problem(403, "cross_origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_and_tries_with_the_keyboard() {
    let Some(chromium) = browser::find() else {
        eprintln!(
            "NOT TESTED: there is no chromium here to open /docs/{{app}} with (apt-get install chromium)"
        );
        return;
    };
    let host = Host::with(Guest::Bank, "bank").await;
    let base = host.addresses().ingress;
    let mut page = Page::open(&chromium, &format!("{base}/docs/")).await;
    page.wait_for("document.querySelector('a[href=bank]').focus() ?? true").await;
    page.press("Enter").await;
    let types = page.wait_for("document.querySelector('#types section h2').textContent").await;
    assert_eq!(types, "account");
    let arguments = page.wait_for("document.getElementById('account.transfer').innerText").await;
    assert!(arguments.as_str().is_some_and(|text| text.contains("integer ≥ 0")), "{arguments}");

    let answer = attempt(&mut page, "deposit", &[("key", "a/é"), ("amount", "18")]).await;
    assert!(answer.starts_with("200 OK") && answer.contains("\n18\n"), "{answer}");
    assert!(answer.contains("/v1/call/bank/account/a%2F%C3%A9/deposit"), "{answer}");
    assert!(answer.contains("keystead-id"), "{answer}");
    let all = [("key", "a/é"), ("amount", "19"), ("to", "bob")];
    let answer = attempt(&mut page, "transfer", &all).await;
    assert!(answer.starts_with("422") && answer.contains("insufficient_funds"), "{answer}");
    // No number of the page's own would keep its last digits.
    let most = [("key", "big"), ("amount", "18446744073709551615")];
    let answer = attempt(&mut page, "deposit", &most).await;
    assert!(answer.contains("\n18446744073709551615\n"), "{answer}");
    let answer = attempt(&mut page, "balance", &[("key", "a/é")]).await;
    assert!(answer.starts_with("200 OK") && answer.contains("etag"), "{answer}");
    assert_eq!(host.client().value("bank/account/a%2F%C3%A9", "balance").await, 18);

    page.narrow().await;
    let fits = "innerWidth < 400 && document.documentElement.scrollWidth <= innerWidth";
    page.wait_for(fits).await;
    page.close().await;
}

/// Opens a handler's form, fills these fields, runs it, and gives the answer's text.
async fn attempt(page: &mut Page, handler: &str, fields: &[(&str, &str)]) -> String {
    let card = format!("document.getElementById('account.{handler}')");
    let open = page.wait_for(&format!("[{card}.querySelector('form') !== null]")).await;
    if open[0] == false {
        page.wait_for(&format!(
            "{card}.querySelector('details:last-of-type summary').focus() ?? true"
        ))
        .await;
        page.press("Enter").await;
    }
    page.wait_for(&format!(
        "{card}.querySelector('.answer')?.remove() ?? {card}.querySelector('form') !== null"
    ))
    .await;
    for (name, value) in fields {
        page.wait_for(&format!(
            "document.getElementById('account.{handler}-{name}').select() ?? true"
        ))
        .await;
        page.write(value).await;
    }
    page.press("Enter").await;
    let answer = page.wait_for(&format!("{card}.querySelector('.answer')?.innerText")).await;
    answer.as_str().expect("text").to_owned()
}
