//! Whoever gives tokens, over HTTP: the same proxies and certificates as for calls of the API, and
//! what it says when it gives none.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::model::CallFailure;
use crate::shell::chain;
use crate::shell::http::{ClientError, ClientOptions};
use crate::wire::google::failure;

/// A reply of a token endpoint is read up to here.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Assumed lifetime when the endpoint does not say.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);
/// Of a page that is no answer, this many characters are repeated.
const WORDS_CHARS: usize = 100;

/// A token as it was issued.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) secret: String,
    pub(super) lifetime: Duration,
}

/// Who is asked, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    TokenEndpoint,
    Impersonation,
    MetadataServer,
    Source,
}

impl Whom {
    const fn name(self) -> &'static str {
        match self {
            Self::TokenEndpoint => "the token endpoint",
            Self::Impersonation => "the impersonation of the service account",
            Self::MetadataServer => "the metadata server",
            Self::Source => "the source of the token to exchange (credential_source.url)",
        }
    }

    /// A refusal, up to what was said, and what to do.
    const fn refusal(self) -> (&'static str, &'static str) {
        match self {
            Self::TokenEndpoint => (
                "the token endpoint refused the credentials",
                "check that the service account and its key exist, and that this machine's clock \
                 is right",
            ),
            Self::Impersonation => (
                "the service account may not be impersonated",
                "check that it exists, and that this identity has the role \
                 roles/iam.workloadIdentityUser on it",
            ),
            Self::MetadataServer => (
                "the metadata server gives no token",
                "check that a service account is bound to this workload and may use the scope \
                 androidworkprovisioning",
            ),
            Self::Source => (
                "the source of the token to exchange (credential_source.url) gives none",
                "check credential_source in the credentials file",
            ),
        }
    }
}

/// Whether no proxy and no other machine stands between: the machine itself, and the addresses at
/// which clouds have their metadata servers.
pub(super) fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => host == "localhost",
    }
}

/// What tokens are asked with.
pub(super) struct Http {
    /// As the environment says: `HTTPS_PROXY`, `NO_PROXY`.
    as_told: Client,
    /// Never through a proxy.
    direct: Client,
}

impl Http {
    pub(super) fn new(
        options: &ClientOptions,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, ClientError> {
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("zerotouch-worker/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(options.connect_timeout)
                .timeout(options.request_timeout)
        };
        Ok(Self {
            as_told: builder().build().map_err(ClientError::Http)?,
            direct: builder().no_proxy().build().map_err(ClientError::Http)?,
        })
    }

    pub(super) fn get(&self, url: &Url, headers: HeaderMap) -> RequestBuilder {
        self.client(url).get(url.clone()).headers(headers)
    }

    /// The metadata server has a name, too.
    pub(super) fn get_direct(&self, url: &Url, headers: HeaderMap) -> RequestBuilder {
        self.direct.get(url.clone()).headers(headers)
    }

    pub(super) fn post(&self, url: &Url) -> RequestBuilder {
        self.client(url).post(url.clone())
    }

    fn client(&self, url: &Url) -> &Client {
        if is_near(url) { &self.direct } else { &self.as_told }
    }
}

/// Asks, and gives the body of a reply that is a success.
pub(super) async fn ask(request: RequestBuilder, whom: Whom) -> Result<Vec<u8>, CallFailure> {
    let unreached = |error: reqwest::Error| {
        let error = error.without_url();
        failure::not_sent(format!("cannot reach {}: {}", whom.name(), chain(&error)))
    };
    let mut reply = request.send().await.map_err(unreached)?;
    let status = reply.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(unreached)? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            let reason = format!("{} answers with more than a token", whom.name());
            return Err(failure::not_sent(reason));
        }
        body.extend_from_slice(&chunk);
    }
    if status == 200 { Ok(body) } else { Err(refused(whom, status, &body)) }
}

/// What a reply without a token means: a refusal is for a person to act on, the rest passes.
fn refused(whom: Whom, status: u16, body: &[u8]) -> CallFailure {
    const PASSING: [&str; 4] =
        ["internal_failure", "internal_error", "server_error", "temporarily_unavailable"];
    let (code, words) = said(body);
    let said = format!("HTTP {status}{words}");
    if matches!(status, 408 | 429 | 500..=599) || PASSING.contains(&code.as_str()) {
        return failure::not_sent(format!("{} is in trouble ({said})", whom.name()));
    }
    if (400..=499).contains(&status) {
        let (refused, advice) = whom.refusal();
        return failure::unauthorised(format!("{refused} ({said}): {advice}"));
    }
    failure::not_sent(format!(
        "{} answered {said}, which it never does: check the address and proxies",
        whom.name()
    ))
}

/// The code and the words of an error, whoever's it is.
fn said(body: &[u8]) -> (String, String) {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    match value.as_ref().and_then(|value| Some((value, value.get("error")?))) {
        // OAuth's.
        Some((value, Value::String(code))) => {
            let description = text(value, "error_description");
            let words = description.map_or(String::new(), |words| format!(": {words}"));
            (code.clone(), format!(" {code}{words}"))
        }
        // Google's.
        Some((_, error @ Value::Object(_))) => {
            let code = text(error, "status").unwrap_or_default();
            let words = text(error, "message").unwrap_or_default();
            let line = format!(" {code}: {words}");
            (code, line)
        }
        _ if value.is_some() => (String::new(), String::new()),
        _ => {
            let words = first_words(body);
            let words = if words.is_empty() { words } else { format!(", not an API: {words:?}") };
            (String::new(), words)
        }
    }
}

/// The first words of a page, without its tags.
fn first_words(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(&page[..page.len().min(4_096)]);
    let mut text = String::new();
    let mut in_tag = false;
    for c in page.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            c => text.push(c),
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(WORDS_CHARS).collect()
}

/// Reads a token as OAuth gives it.
pub(super) fn token(body: &[u8], whom: Whom) -> Result<Issued, CallFailure> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let secret = value.get("access_token").and_then(Value::as_str).unwrap_or_default();
    if secret.is_empty() {
        return Err(no_token(body, whom));
    }
    let seconds = match value.get("expires_in") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_f64(),
        None => None,
    };
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // A year is more than any token lives, and nothing overflows by it.
    let lifetime = lifetime.unwrap_or(LIFETIME_DEFAULT).min(Duration::from_secs(31_536_000));
    Ok(Issued { secret: secret.to_owned(), lifetime })
}

/// A success that is none.
pub(super) fn no_token(body: &[u8], whom: Whom) -> CallFailure {
    let (_, words) = said(body);
    failure::not_sent(format!("{} answered with something that is not a token{words}", whom.name()))
}
