//! The console: a web page for operators at the admin listener's `/`. It is static files, the same for everybody, that hold
//! nothing of the host's; what they show comes from the admin API, which asks who wants it. Invariant: the page loads
//! from this listener alone, its answers forbid anything else, and nothing it is told becomes markup.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};

use crate::edge::{self, Problem, Reply, Source};

/// Answers a request for the console; `None` when it is for the API.
#[must_use]
pub fn answer<B>(request: &Request<B>) -> Option<Reply> {
    let path = request.uri().path();
    let name = match path {
        "/" => "",
        "/console" | "/console/" => return Some(moved()),
        _ => path.strip_prefix("/console/")?,
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = Problem::method_not_allowed("GET, HEAD").source(Source::Admin);
        return Some(problem.into_reply());
    }
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        let detail = format!("{path} is no file of the console; it is at /");
        return Some(
            Problem::not_found("unknown_route", detail).source(Source::Admin).into_reply(),
        );
    };
    let known = request.headers().get_all(IF_NONE_MATCH).iter();
    let known = known.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
    let is_known = known.map(str::trim).any(|tag| tag.trim_start_matches("W/") == file.tag);
    Some(reply(file, is_known))
}

/// One file of the page.
struct File {
    /// What follows `/console/` in its path; nothing for the page itself.
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    tag: HeaderValue,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

static FILES: LazyLock<[File; 17]> = LazyLock::new(|| {
    [
        file("", HTML, include_str!("files/index.html")),
        file("console.css", CSS, include_str!("files/console.css")),
        file("icon.svg", "image/svg+xml", include_str!("files/icon.svg")),
        file("theme.js", JS, include_str!("files/theme.js")),
        file("main.js", JS, include_str!("files/main.js")),
        file("api.js", JS, include_str!("files/api.js")),
        file("dom.js", JS, include_str!("files/dom.js")),
        file("schema.js", JS, edge::page::SCHEMA),
        file("tree.js", JS, include_str!("files/tree.js")),
        file("overview.js", JS, include_str!("files/overview.js")),
        file("apps.js", JS, include_str!("files/apps.js")),
        file("pauses.js", JS, include_str!("files/pauses.js")),
        file("entities.js", JS, include_str!("files/entities.js")),
        file("state.js", JS, include_str!("files/state.js")),
        file("journey.js", JS, include_str!("files/journey.js")),
        file("dead.js", JS, include_str!("files/dead.js")),
        file("try.js", JS, include_str!("files/try.js")),
    ]
});

fn file(name: &'static str, kind: &'static str, text: &'static str) -> File {
    let tag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..16]);
    // Digits and quotes are always a header's value.
    let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
    File { name, kind, text, tag }
}

/// Scripts, styles, pictures and requests from and to this listener; no frames, no forms that leave, nothing inline, and no
/// text that becomes markup.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

fn reply(file: &File, is_known: bool) -> Reply {
    let mut reply = match is_known {
        true => {
            let mut reply = Response::default();
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        }
        false => {
            let kind = HeaderValue::from_static(file.kind);
            edge::reply(StatusCode::OK, kind, Bytes::from_static(file.text.as_bytes()))
        }
    };
    let headers = reply.headers_mut();
    headers.insert(ETAG, file.tag.clone());
    for (name, value) in [
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    reply
}

fn moved() -> Reply {
    let mut reply = Response::default();
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    reply.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files together.
    const BYTES_MAX: usize = 150 * 1024;

    fn get(method: Method, path: &str, tag: Option<&str>) -> Option<Reply> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        answer(&request.body(()).expect("valid"))
    }

    #[test]
    fn the_page_and_its_files_are_found_and_the_api_is_left_alone() {
        for file in FILES.iter() {
            let path =
                if file.name.is_empty() { "/".into() } else { format!("/console/{}", file.name) };
            let reply = get(Method::GET, &path, None).expect("a file");
            assert_eq!(reply.status(), StatusCode::OK, "{path}");
            let tag = reply.headers()[ETAG].to_str().expect("text").to_owned();
            for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
                let again = get(Method::GET, &path, Some(&known)).expect("a file");
                assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path} {known}");
                assert!(again.headers().contains_key(CONTENT_SECURITY_POLICY));
            }
            let other = get(Method::GET, &path, Some("\"other\"")).expect("a file");
            assert_eq!(other.status(), StatusCode::OK);
        }
        assert!(get(Method::GET, "/admin/v1/apps", None).is_none());
        assert!(get(Method::GET, "/consoles", None).is_none());
        let status = |method, path| get(method, path, None).expect("the console's").status();
        assert_eq!(status(Method::GET, "/console"), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(status(Method::GET, "/console/none.js"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/"), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn nothing_comes_from_elsewhere_or_becomes_markup_and_all_is_small() {
        for file in FILES.iter() {
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for word in
                ["http:", "https:", "//cdn", "@import", " style=\"", "onclick=\"", "<script>"]
            {
                assert!(!text.contains(word), "{word} in {}", file.name);
            }
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                "new Function",
                "DOMParser",
            ] {
                assert!(!text.contains(word), "{word} in {}", file.name);
            }
            for used in text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(FILES.iter().any(|file| file.name == used), "{used} in {}", file.name);
            }
        }
        let bytes: usize = FILES.iter().map(|file| file.text.len()).sum();
        assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    }
}
