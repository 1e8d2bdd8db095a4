//! One account's calls. Decides what certainly was not sent and what may have taken effect.
//!
//! Never sends a submit twice, save after a 401, which had no effect. Retries, quota and waiting
//! are the engine's.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Body, Request, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::token::{Token, TokenSource};
use super::{ClientError, ClientOptions, tls};
use crate::model::{
    Action, CallFailure, Customer, DeviceKey, DeviceState, OperationReply, PackedCommand,
};
use crate::shell::chain;
use crate::wire::google::{
    self, Company, Device, FindDevicesResponse, ListCustomersResponse, Method, SubmitRequest,
    failure,
    results::{self, Decoded},
};

/// A reply of one device, or of nothing but a name, is read up to here; the largest usual one takes
/// a few KiB.
const SMALL_BYTES_MAX: usize = 1 << 20;
/// Error bodies are read up to here; the rest says nothing more.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// Shorter than load balancers wait: a request on a connection that the other side is just closing
/// would leave doubt.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Customers on a page.
const CUSTOMERS_PAGE: &str = "100";
/// A list of customers longer than this many pages is a server that repeats itself.
const CUSTOMER_PAGES_MAX: usize = 10_000;

/// One page of devices found by owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePage {
    /// The devices; of vendors too, so compare the reseller.
    pub devices: Vec<Device>,
    /// Give it to the next call; `None` on the last page.
    pub next_page_token: Option<String>,
}

/// The API for one account. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct ResellerClient {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    options: ClientOptions,
    /// Without a slash at its end.
    base_url: String,
    tokens: Option<TokenSource>,
}

struct Reply {
    status: u16,
    retry_after: Option<String>,
    body: Vec<u8>,
}

impl ResellerClient {
    /// Makes a client: reads credentials and certificates, calls nothing.
    ///
    /// # Errors
    /// What in the options or their files cannot be used.
    pub async fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let url = base_url(&options.base_url)?;
        if !google::is_path_id(&options.partner_id) || options.partner_id.contains('/') {
            return Err(ClientError::PartnerId(options.partner_id));
        }
        let tls = tls::client_config(options.ca_file.as_deref(), url.scheme() == "https")?;
        let tokens = TokenSource::new(&options, &tls).await?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("zerotouch-worker/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(
                header::HeaderName::from_static("x-goog-api-format-version"),
                HeaderValue::from_static("2"),
            )]))
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .timeout(options.request_timeout);
        if is_loopback(&url) {
            // A sandbox on this machine; a proxy would look for it on its own.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(ClientError::Http)?;
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { inner: Arc::new(Inner { http, options, base_url, tokens }) })
    }

    /// Host and port of the API, for traces.
    #[must_use]
    pub fn server(&self) -> (String, Option<u16>) {
        match Url::parse(&self.inner.base_url) {
            Ok(url) => (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default()),
            Err(_) => (String::new(), None),
        }
    }

    /// Submits a batch and gives the name of the operation that carries it.
    ///
    /// Leaves no later than `not_after`, else it is not sent.
    ///
    /// # Errors
    /// What became of the call; see [`CallFailure`].
    pub async fn submit(
        &self,
        action: Action,
        commands: &[PackedCommand],
        not_after: Option<Instant>,
    ) -> Result<String, CallFailure> {
        let body = SubmitRequest::new(action, commands.iter().map(PackedCommand::unpack));
        let reply = self.post(action.into(), &body, commands.len(), not_after).await?;
        results::decode_name(&reply)
    }

    /// Asks how far an operation is.
    ///
    /// # Errors
    /// [`CallFailure::NotFound`] if there is no such operation, else what became of the call.
    pub async fn poll(&self, operation: &str) -> Result<OperationReply, CallFailure> {
        let Some(id) = google::operation_id(operation) else { return Err(CallFailure::NotFound) };
        let body = self.get(Method::GetOperation, id, &[]).await?;
        let Decoded { reply, beyond, unreadable } =
            results::decode(&body, self.inner.options.results_max)?;
        if beyond > 0 || unreadable > 0 {
            tracing::warn!(
                account = self.account(),
                operation,
                beyond,
                unreadable,
                "the API gives results that cannot be used: more than were asked for (beyond), or \
                 in a form that cannot be read (unreadable); devices that have no other result \
                 are looked up"
            );
            if let Some(observer) = &self.inner.options.observer {
                observer.unusable_results(beyond, unreadable);
            }
        }
        Ok(reply)
    }

    /// Looks up the device of a command; `None` if the API knows none. One call as a rule; more for
    /// a device with several modem ids that is not found by the first.
    ///
    /// # Errors
    /// What became of the call; see [`CallFailure`].
    pub async fn lookup(
        &self,
        command: &PackedCommand,
    ) -> Result<Option<DeviceState>, CallFailure> {
        let command = command.unpack();
        if DeviceKey::of(&command.device, None).is_none() {
            let Some(id) = command.device_id.as_deref().filter(|id| google::is_path_id(id)) else {
                return Ok(None);
            };
            return match self.get(Method::GetDevice, id, &[]).await {
                Ok(body) => {
                    let mut device: Device = decode(&body)?;
                    // Found under this id, whatever the reply repeats of it.
                    device.device_id = command.device_id.clone();
                    Ok(google::device_state(&command, &[device]))
                }
                Err(CallFailure::NotFound) => Ok(None),
                Err(failure) => Err(failure),
            };
        }
        for mut search in google::find_by_identifier(&command.device) {
            let mut found = None;
            for page in 0.. {
                if page == self.inner.options.find_pages_max {
                    return Err(failure::ambiguous("the lookup found more devices than it may"));
                }
                let body = self.post(Method::FindByIdentifier, &search, 1, None).await?;
                let reply: FindDevicesResponse = decode(&body)?;
                found = google::closest(&command, found.into_iter().chain(reply.devices));
                search.page_token = reply.next_page_token.filter(|token| !token.is_empty());
                if search.page_token.is_none() {
                    break;
                }
            }
            if let Some(state) = google::device_state(&command, found.as_slice()) {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    /// One page of the zero-touch devices of these customers.
    ///
    /// # Errors
    /// What became of the call; see [`CallFailure`].
    pub async fn find_by_owner(
        &self,
        customers: &[Customer],
        page_token: Option<String>,
    ) -> Result<DevicePage, CallFailure> {
        let body = google::find_by_owner(customers, page_token);
        let reply = self.post(Method::FindByOwner, &body, customers.len(), None).await?;
        let FindDevicesResponse { devices, next_page_token, .. } = decode(&reply)?;
        let next_page_token = next_page_token.filter(|token| !token.is_empty());
        Ok(DevicePage { devices, next_page_token })
    }

    /// All customers of the reseller.
    ///
    /// # Errors
    /// What became of the call; see [`CallFailure`].
    pub async fn customers(&self) -> Result<Vec<Company>, CallFailure> {
        let mut customers = Vec::new();
        let mut page_token = String::new();
        for _ in 0..CUSTOMER_PAGES_MAX {
            let query = [("pageSize", CUSTOMERS_PAGE), ("pageToken", &*page_token)];
            let query = if page_token.is_empty() { &query[..1] } else { &query };
            let body = self.get(Method::ListCustomers, "", query).await?;
            let page: ListCustomersResponse = decode(&body)?;
            customers.extend(page.customers);
            page_token = page.next_page_token.unwrap_or_default();
            if page_token.is_empty() {
                return Ok(customers);
            }
        }
        Err(failure::ambiguous("the list of customers does not end"))
    }

    /// Tests connection, credentials and partner id with the smallest call there is.
    ///
    /// # Errors
    /// What became of the call; see [`CallFailure`].
    pub async fn check(&self) -> Result<(), CallFailure> {
        let body = self.get(Method::ListCustomers, "", &[("pageSize", "1")]).await?;
        decode::<ListCustomersResponse>(&body).map(drop)
    }

    /// Tests connection and credentials without any call of the API: whatever it replies to a
    /// request for nothing, it is there.
    ///
    /// # Errors
    /// What is in the way; see [`CallFailure`].
    pub async fn reach(&self) -> Result<(), CallFailure> {
        let inner = &self.inner;
        if let Some(tokens) = &inner.tokens {
            tokens.token().await?;
        }
        let asked = inner.http.head(&inner.base_url).send().await;
        asked.map(drop).map_err(|error| inner.lost(error))
    }

    /// Whose client this is.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.inner.options.account
    }

    async fn get(
        &self,
        method: Method,
        resource: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<u8>, CallFailure> {
        let mut url = self.url(method, resource)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.call(method, Request::new(reqwest::Method::GET, url), 1, None).await
    }

    async fn post(
        &self,
        method: Method,
        body: &impl Serialize,
        items: usize,
        not_after: Option<Instant>,
    ) -> Result<Vec<u8>, CallFailure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| failure::not_sent(format!("cannot write the request: {error}")))?;
        let mut request = Request::new(reqwest::Method::POST, self.url(method, "")?);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        *request.body_mut() = Some(Body::from(body));
        self.call(method, request, items, not_after).await
    }

    /// Replies that are small by their kind have a bound of their own: of these many are under way.
    fn reply_bytes_max(&self, method: Method) -> usize {
        let bytes_max = self.inner.options.response_bytes_max;
        match method {
            Method::GetOperation | Method::FindByOwner | Method::ListCustomers => bytes_max,
            Method::ClaimAsync
            | Method::UnclaimAsync
            | Method::UpdateMetadataAsync
            | Method::GetDevice
            | Method::FindByIdentifier => bytes_max.min(SMALL_BYTES_MAX),
        }
    }

    fn url(&self, method: Method, resource: &str) -> Result<Url, CallFailure> {
        let path = method.path(&self.inner.options.partner_id, resource);
        Url::parse(&format!("{}/{path}", self.inner.base_url))
            .map_err(|error| failure::not_sent(format!("cannot make the URL: {error}")))
    }

    /// Makes the call and gives the body of a 2xx reply.
    async fn call(
        &self,
        method: Method,
        request: Request,
        items: usize,
        not_after: Option<Instant>,
    ) -> Result<Vec<u8>, CallFailure> {
        let span = tracing::info_span!(
            "reseller_call",
            method = method.id(),
            account = &*self.inner.options.account,
            items,
            status = tracing::field::Empty,
        );
        let began = Instant::now();
        let bytes_max = self.reply_bytes_max(method);
        let call = self.inner.call(method, request, bytes_max, not_after);
        let result = call.instrument(span).await;
        let options = &self.inner.options;
        if let Some(observer) = &options.observer {
            let (failure, no_token) = match &result {
                Ok(_) => (None, false),
                Err(Unanswered::Token(failure)) => (Some(failure), true),
                Err(Unanswered::Other(failure)) => (Some(failure), false),
            };
            observer.call((&options.account, method), failure, no_token, began.elapsed());
        }
        result.map_err(|(Unanswered::Token(failure) | Unanswered::Other(failure))| failure)
    }
}

/// A call without a usable reply.
enum Unanswered {
    /// There was no token for it.
    Token(CallFailure),
    Other(CallFailure),
}

impl From<CallFailure> for Unanswered {
    fn from(failure: CallFailure) -> Self {
        Self::Other(failure)
    }
}

impl Inner {
    async fn call(
        &self,
        method: Method,
        request: Request,
        bytes_max: usize,
        not_after: Option<Instant>,
    ) -> Result<Vec<u8>, Unanswered> {
        // Getting a token may take long: the lease is looked at right before each request leaves.
        let may_leave = || match not_after {
            Some(end) if Instant::now() >= end => {
                Err(failure::not_sent("the lease of its intent has passed"))
            }
            _ => Ok(()),
        };
        let again = request.try_clone();
        let mut reply = match &self.tokens {
            None => {
                may_leave()?;
                self.send(request, None, bytes_max).await?
            }
            Some(tokens) => {
                let token = tokens.token().await.map_err(Unanswered::Token)?;
                may_leave()?;
                let reply = self.send(request, Some(&token), bytes_max).await?;
                match again {
                    Some(request) if reply.status == 401 => {
                        let token = tokens.renew(&token).await.map_err(Unanswered::Token)?;
                        may_leave()?;
                        self.send(request, Some(&token), bytes_max).await?
                    }
                    _ => reply,
                }
            }
        };
        tracing::Span::current().record("status", reply.status);
        if (200..300).contains(&reply.status) {
            return Ok(std::mem::take(&mut reply.body));
        }
        let retry_after = reply.retry_after.as_deref();
        let now = Timestamp::now();
        Err(failure::from_reply(method, reply.status, retry_after, &reply.body, now).into())
    }

    async fn send(
        &self,
        mut request: Request,
        token: Option<&Token>,
        bytes_max: usize,
    ) -> Result<Reply, CallFailure> {
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token.header.clone());
        }
        let response = self.http.execute(request).await.map_err(|e| self.lost(e))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = if response.status().is_success() {
            self.read(response, bytes_max).await?
        } else {
            // The status says enough if the body breaks.
            self.read(response, ERROR_BYTES_MAX).await.unwrap_or_default()
        };
        Ok(Reply { status, retry_after, body })
    }

    async fn read(&self, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, CallFailure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.lost(e))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(failure::ambiguous(format!("the reply exceeds {bytes_max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A call without a reply.
    fn lost(&self, error: reqwest::Error) -> CallFailure {
        // A URL may end in a device's id.
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            return failure::not_sent(format!("cannot connect: {}", chain(&error)));
        }
        if error.is_timeout() {
            let limit = self.options.request_timeout;
            return failure::ambiguous(format!("no whole reply within {limit:?}"));
        }
        failure::ambiguous(format!("the connection broke: {}", chain(&error)))
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallFailure> {
    serde_json::from_slice(body)
        .map_err(|error| failure::ambiguous(format!("the reply cannot be read: {error}")))
}

fn base_url(given: &str) -> Result<Url, ClientError> {
    let wrong = |reason: String| ClientError::BaseUrl { url: given.to_owned(), reason };
    let url = Url::parse(given).map_err(|error| wrong(error.to_string()))?;
    let has_secret = !url.username().is_empty() || url.password().is_some();
    match url.scheme() {
        _ if has_secret => Err(ClientError::BaseUrl {
            url: "(hidden)".to_owned(),
            reason: "it has a user or a password in it".to_owned(),
        }),
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(url),
        "http" | "https" => Err(wrong("it has a query or a fragment".to_owned())),
        scheme => Err(wrong(format!("its scheme is {scheme}"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
