//! Who may ask the listener that serves everything. It has no passwords: whoever reaches it is
//! trusted, which is right for a person on this machine and wrong for a web page in their browser.
//!
//! Such a page can reach this machine in two ways. It lets its own name resolve to this address
//! (DNS rebinding): then the Host header holds that name, so only addresses and `localhost` pass.
//! Or it posts straight to the address: then the browser says where the request comes from.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::routes::Refusal;

pub(super) async fn guard(request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers()) {
        Some(reason) => Refusal::forbidden(reason).into_response(),
        None => next.run(request).await,
    }
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: header::HeaderName| {
        headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"))
    };
    let host = text(header::HOST);
    if host.is_some_and(|host| !is_this_machine(host)) {
        return Some("the Host header has to be localhost or an address: ask by one of those");
    }
    if method == Method::GET || method == Method::HEAD {
        return None;
    }
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map(|(_, at)| at));
    let is_own = origin.is_none_or(|origin| origin.is_some() && origin == host);
    let site = headers.get("sec-fetch-site").map(header::HeaderValue::as_bytes);
    let is_own = is_own && site.is_none_or(|site| site == b"same-origin" || site == b"none");
    (!is_own).then_some("requests that another web page makes are refused")
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        refusal(method, &headers).is_some()
    }

    #[test]
    fn names_other_than_localhost_are_refused_as_host() {
        for host in ["localhost:9700", "LOCALHOST", "127.0.0.1:9700", "[::1]:9700", "10.0.0.7"] {
            assert!(!refused(&Method::GET, &[("host", host)]), "{host}");
        }
        for host in ["evil.example:9700", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
            assert!(refused(&Method::GET, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_post_from_another_page_is_refused_and_one_from_the_own_page_or_a_shell_is_not() {
        let host = ("host", "127.0.0.1:9700");
        let own = ("origin", "http://127.0.0.1:9700");
        assert!(!refused(&Method::POST, &[host]));
        assert!(!refused(&Method::POST, &[host, own, ("sec-fetch-site", "same-origin")]));
        for origin in ["https://evil.example", "null", "http://127.0.0.1:8080"] {
            assert!(refused(&Method::POST, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(refused(&Method::POST, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(!refused(&Method::GET, &[host, ("sec-fetch-site", "cross-site")]));
    }
}
