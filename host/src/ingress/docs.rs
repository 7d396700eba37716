//! `GET /docs/{app}`: a page where people read an app's OpenAPI document and try its handlers. It is served
//! here so that it has ingress's own origin: no page of another one is let in for it. Invariant: the page
//! fetches from this listener alone, and its answers forbid anything else.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use super::Ingress;
use crate::access::Caller;
use crate::edge::{self, Problem, Reply, path};

impl Ingress {
    /// `GET /docs`, and below it.
    pub(super) fn docs(&self, rest: &str) -> Result<Reply, Problem> {
        // A file's name has a dot and an app's has none.
        match rest {
            "" => Ok(moved("/docs/")),
            "/" => Ok(page(HTML, self.index())),
            "/page.css" => Ok(page("text/css; charset=utf-8", CSS)),
            "/page.js" => Ok(page(SCRIPT, JS)),
            "/schema.js" => Ok(page(SCRIPT, edge::page::SCHEMA)),
            // Where tokens are asked for, the page does not tell who has none which apps there are: it is the
            // same for every name, and asks its reader for a token.
            _ if self.door.asks() => Ok(page(HTML, PAGE)),
            app => {
                let app = path::segment("app", app.trim_start_matches('/'))?;
                self.app(&app, &Caller::Anyone)?;
                Ok(page(HTML, PAGE))
            }
        }
    }

    fn index(&self) -> String {
        if self.door.asks() {
            let list = "<p>This host asks for tokens. Open <code>/docs/APP</code>.</p>";
            return INDEX.replace("{apps}", list);
        }
        // Names are letters, digits, '_' and '-': they need no escaping.
        let item = |name: &str| format!("<li><a href=\"{name}\">{name}</a></li>");
        let apps: String = self.registry.apps().iter().map(|app| item(&app.name)).collect();
        let list = match apps.is_empty() {
            true => "<p>None yet: <code>keystead deploy FILE --app APP</code></p>".to_owned(),
            false => format!("<ul>{apps}</ul>"),
        };
        INDEX.replace("{apps}", &list)
    }
}

const PAGE: &str = include_str!("docs/page.html");
const INDEX: &str = include_str!("docs/index.html");
const CSS: &str = include_str!("docs/page.css");
const JS: &str = include_str!("docs/page.js");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Scripts, styles and requests from and to this listener; no frames, no forms, nothing inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

fn page(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let content_type = HeaderValue::from_static(content_type);
    let mut reply = edge::reply(StatusCode::OK, content_type, body.into());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

fn moved(to: &'static str) -> Reply {
    let mut reply = Response::default();
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    reply.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_the_page_comes_from_elsewhere_or_becomes_markup() {
        let scripts = [JS, edge::page::SCHEMA];
        for file in [PAGE, INDEX, CSS].into_iter().chain(scripts) {
            for word in ["http:", "https:", "//cdn", "url(", "@import", " style=", "onclick"] {
                assert!(!file.contains(word), "{word}");
            }
        }
        for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
            assert!(scripts.iter().all(|script| !script.contains(word)), "{word}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
    }
}
