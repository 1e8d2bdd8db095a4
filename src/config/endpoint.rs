//! Hosts, ports and base URLs as people write them.

use std::net::Ipv4Addr;

/// What is to be known of a base URL here; the HTTP client parses it again.
pub(super) struct Endpoint {
    /// Whether it is plain http.
    pub(super) plain: bool,
    /// Whether it is on this machine.
    pub(super) local: bool,
}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (plain, rest) = match text.split_once("://") {
            Some(("https", rest)) => (false, rest),
            Some(("http", rest)) => (true, rest),
            _ => return Err("expected a URL such as https://host or http://host:port"),
        };
        if rest.contains('@') {
            return Err("expected a URL without user name and password");
        }
        if rest.contains(['?', '#']) {
            return Err("expected a URL without query and fragment");
        }
        let host_port = rest.split('/').next().unwrap_or_default();
        let with_port =
            if is_host_port(host_port) { host_port.to_owned() } else { format!("{host_port}:443") };
        if !is_host_port(&with_port) {
            return Err("expected a URL such as https://host or http://host:port");
        }
        let host = with_port.rsplit_once(':').map_or("", |(host, _)| host);
        let loopback = host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        let local = host == "localhost" || host == "[::1]" || loopback;
        Ok(Self { plain, local })
    }
}

pub(super) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host_right = bracketed || (!host.is_empty() && host.chars().all(plain));
    host_right && port.parse::<u16>().is_ok_and(|port| port > 0)
}
