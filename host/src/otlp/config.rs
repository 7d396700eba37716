//! Where spans go, as the flags and the variables of OpenTelemetry say it: checked before anything starts.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, uri};
use percent_encoding::percent_decode_str;

/// Where spans go.
#[derive(Clone)]
pub struct Config {
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    pub(super) ratio: f64,
    pub(super) service: String,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOtlp {
    /// Not an address that spans can be sent to.
    #[error(
        "the OTLP endpoint must be like http://127.0.0.1:4318, without a user in it; for a collector behind TLS run an \
         agent beside the host"
    )]
    Endpoint,
    /// Not a share.
    #[error("the share of recorded traces is a number from 0 to 1")]
    Ratio,
    /// Not headers. It does not say which: they are secret.
    #[error("the OTLP headers must be like name=value,name=value, with special characters as %20")]
    Headers,
}

impl Config {
    /// Sends to the collector at `url`, to its path `/v1/traces`; of the chains that begin here the share `ratio`.
    ///
    /// # Errors
    /// [`BadOtlp`].
    pub fn new(
        url: &str,
        ratio: f64,
        headers: Option<&str>,
        service: &str,
    ) -> Result<Self, BadOtlp> {
        let endpoint = endpoint(url).ok_or(BadOtlp::Endpoint)?;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(BadOtlp::Ratio);
        }
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for pair in headers.unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = header(pair).ok_or(BadOtlp::Headers)?;
            map.insert(name, value);
        }
        Ok(Self { endpoint, headers: map, ratio, service: service.to_owned() })
    }
}

fn endpoint(url: &str) -> Option<Uri> {
    let url: Uri = url.parse().ok()?;
    let mut parts = url.into_parts();
    let plain = parts.scheme == Some(uri::Scheme::HTTP);
    let authority = parts.authority.as_ref()?.as_str();
    if !plain || authority.contains('@') {
        return None;
    }
    let path = parts.path_and_query.as_ref().map_or("", |path| path.path());
    let path = format!("{}/v1/traces", path.trim_end_matches('/'));
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_headers_are_checked() {
        let endpoint = |url: &str| Config::new(url, 1.0, None, "k").map(|c| c.endpoint.to_string());
        assert_eq!(endpoint("http://h:4318").as_deref(), Ok("http://h:4318/v1/traces"));
        assert_eq!(endpoint("http://h/otlp/").as_deref(), Ok("http://h/otlp/v1/traces"));
        for bad in ["", "h:4318", "https://h:4318", "http://u:p@h", "ftp://h", "/v1/traces"] {
            assert_eq!(endpoint(bad), Err(BadOtlp::Endpoint), "{bad}");
        }
        for ratio in [-0.1, 1.1, f64::NAN] {
            let bad = Config::new("http://h", ratio, None, "k").err();
            assert_eq!(bad, Some(BadOtlp::Ratio));
        }
        let config = Config::new("http://h", 0.5, Some("api-key=a%20b, x-t=1"), "k");
        let headers = config.expect("valid").headers;
        assert_eq!(
            (&headers["api-key"], &headers["x-t"]),
            (&"a b".parse().expect("valid"), &"1".parse().expect("valid"))
        );
        assert!(headers["api-key"].is_sensitive());
        for bad in ["secret", "a b=secret", "a=secret%0a"] {
            let error = Config::new("http://h", 1.0, Some(bad), "k").err().expect(bad);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
