//! Keeps web pages out. A browser lets any page send requests to the local machine: by a name that
//! its owner points at a loopback address (DNS rebinding), or across origins without asking.
//! Programs are not affected: they send no `Origin`, and call loopback by its own name.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{StatusCode, Uri};

use super::headers;
use super::problem::Problem;

/// Refuses a request that a web page of another origin sent.
///
/// # Errors
/// 403 when `Origin` is there and does not name this host.
pub fn same_origin(parts: &Parts) -> Result<(), Problem> {
    if !parts.headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = headers::single(&parts.headers, &ORIGIN)?.and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| origin.parse::<Uri>().ok());
    let same = match (origin.as_ref().and_then(Uri::authority), authority(parts)?) {
        (Some(origin), Some(host)) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    };
    if same {
        return Ok(());
    }
    let detail = "this host answers no request that a web page of another origin sends";
    Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail))
}

/// Refuses a request for any host but this machine's loopback.
///
/// # Errors
/// 403 when the host it names is not `localhost` or a loopback address.
pub fn loopback_host(parts: &Parts) -> Result<(), Problem> {
    let host = authority(parts)?.unwrap_or_default();
    if is_loopback(host) {
        return Ok(());
    }
    let detail =
        format!("the admin API answers to localhost and loopback addresses, not to {host:?}");
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden_host", detail))
}

/// The host and port that the request is for: HTTP/2 says it in the URI, HTTP/1.1 in `Host`.
fn authority(parts: &Parts) -> Result<Option<&str>, Problem> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    Ok(headers::single(&parts.headers, &HOST)?.and_then(|value| value.to_str().ok()))
}

fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let userless = !authority.as_str().contains('@');
    let loopback = literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    userless && (loopback || host.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("valid").into_parts().0
    }

    #[test]
    fn programs_and_own_pages_pass_and_other_pages_do_not() {
        let host = ("host", "localhost:7070");
        let check = |fields: &[(&str, &str)]| same_origin(&request("/", fields));
        assert!(check(&[host]).is_ok());
        assert!(check(&[host, ("origin", "http://LOCALHOST:7070")]).is_ok());
        for origin in ["http://localhost:7071", "http://evil.example", "null", "", "localhost"] {
            let problem = check(&[host, ("origin", origin)]).expect_err(origin);
            assert_eq!(problem.status(), StatusCode::FORBIDDEN, "{origin}");
        }
        assert!(check(&[("origin", "http://localhost:7070")]).is_err(), "no host to compare with");
        let twice = [host, ("origin", "http://localhost:7070"), ("origin", "http://evil.example")];
        assert!(check(&twice).is_err());
        let http2 = request("http://h:1/", &[("origin", "http://h:1")]);
        assert!(same_origin(&http2).is_ok());
    }

    #[test]
    fn only_loopback_names_reach_the_admin_api() {
        let check = |host: &str| loopback_host(&request("/", &[("host", host)]));
        for host in ["localhost", "LocalHost:7071", "127.0.0.1:7071", "127.9.9.9", "[::1]:7071"] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]:1",
            "",
            "a@localhost",
            "127.0.0.1.nip.io",
        ] {
            assert_eq!(check(host).expect_err(host).code(), "forbidden_host");
        }
        assert!(loopback_host(&request("/", &[])).is_err(), "no host at all");
        assert!(
            loopback_host(&request("http://[::1]:7071/x", &[("host", "evil.example")])).is_ok()
        );
    }
}
