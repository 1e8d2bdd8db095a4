//! Access tokens: fetched by one caller at a time, kept, and renewed ahead of their end.
//!
//! A token that is about to end is renewed while it still works, so that a token endpoint that is
//! down for some minutes is not noticed. No token and no key is ever in a log or an error.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use yup_oauth2::authenticator::Authenticator;
use yup_oauth2::error::AuthErrorCode;
use yup_oauth2::hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use yup_oauth2::{
    AuthorizedUserAuthenticator, CustomHyperClientBuilder, ExternalAccountAuthenticator,
    ServiceAccountAuthenticator,
};

use super::{Auth, ClientError, ClientOptions};
use crate::model::CallFailure;
use crate::shell::chain;
use crate::shell::lock::locked;
use crate::wire::google::failure;

const SCOPE: &str = "https://www.googleapis.com/auth/androidworkprovisioning";
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_PATH: &str = "computeMetadata/v1/instance/service-accounts/default/token";

/// Renewal begins this long before the end.
const AHEAD: Duration = Duration::from_secs(300);
/// A token is not used any more this long before its end: clocks differ, and calls take time.
const MARGIN: Duration = Duration::from_secs(30);
/// Next try after a renewal that failed while the old token still works.
const RETRY: Duration = Duration::from_secs(15);
/// Assumed lifetime when the endpoint does not say.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);

type Connector = HttpsConnector<HttpConnector>;

/// One access token.
pub(super) struct Token {
    /// `Bearer …`, marked as secret.
    pub(super) header: HeaderValue,
    number: u64,
    renew_at: Instant,
    ends_at: Instant,
}

impl Token {
    fn new(secret: &str, lifetime: Duration, number: u64) -> Result<Self, CallFailure> {
        let mut header = HeaderValue::try_from(format!("Bearer {secret}"))
            .map_err(|_| failure::not_sent("the token endpoint gave a token that is not text"))?;
        header.set_sensitive(true);
        // Half of a short life is always used, so that it is not renewed in a loop.
        let usable = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        let unhurried = lifetime.saturating_sub(AHEAD).max(lifetime / 2);
        let now = Instant::now();
        Ok(Self { header, number, renew_at: now + unhurried.min(usable), ends_at: now + usable })
    }
}

enum Issuer {
    KeyFile(Box<Authenticator<Connector>>),
    Metadata { http: reqwest::Client, url: String },
}

/// Gives tokens for one account.
pub(super) struct TokenSource {
    issuer: Issuer,
    timeout: Duration,
    current: Mutex<Option<Arc<Token>>>,
    /// Held by the one that fetches.
    fetching: tokio::sync::Mutex<()>,
}

impl TokenSource {
    /// `None` for [`Auth::None`]. Reads credential files, calls nothing.
    pub(super) async fn new(
        options: &ClientOptions,
        tls: &rustls::ClientConfig,
    ) -> Result<Option<Self>, ClientError> {
        let environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let file = match &options.auth {
            Auth::None => return Ok(None),
            Auth::ServiceAccountKey(path) => Some(path.clone()),
            Auth::ApplicationDefault => default_file(environment),
            Auth::MetadataServer => None,
        };
        let issuer = match file {
            Some(path) => {
                let only_key = matches!(options.auth, Auth::ServiceAccountKey(_));
                Issuer::KeyFile(Box::new(key_file(&path, only_key, tls).await?))
            }
            None => metadata(options, environment, tls)?,
        };
        Ok(Some(Self {
            issuer,
            timeout: options.request_timeout,
            current: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }))
    }

    /// A token that works, as far as anybody can tell.
    pub(super) async fn token(&self) -> Result<Arc<Token>, CallFailure> {
        if let Some(token) = self.usable() {
            if Instant::now() < token.renew_at {
                return Ok(token);
            }
            // Somebody else is at it: the old one will do until then.
            let Ok(_turn) = self.fetching.try_lock() else { return Ok(token) };
            return Ok(self.fetch().await.unwrap_or_else(|error| self.postpone(&token, &error)));
        }
        let _turn = self.fetching.lock().await;
        match self.usable() {
            Some(token) => Ok(token),
            None => self.fetch().await,
        }
    }

    /// Another token than the one that the API has refused.
    pub(super) async fn renew(&self, refused: &Token) -> Result<Arc<Token>, CallFailure> {
        let _turn = self.fetching.lock().await;
        match self.usable() {
            Some(token) if token.number != refused.number => Ok(token),
            _ => self.fetch().await,
        }
    }

    fn usable(&self) -> Option<Arc<Token>> {
        let current = locked(&self.current);
        current.clone().filter(|token| Instant::now() < token.ends_at)
    }

    fn keep(&self, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        *locked(&self.current) = Some(Arc::clone(&token));
        token
    }

    fn postpone(&self, token: &Token, error: &CallFailure) -> Arc<Token> {
        tracing::warn!(?error, "cannot renew the access token yet, the old one still works");
        self.keep(Token {
            header: token.header.clone(),
            number: token.number,
            renew_at: Instant::now() + RETRY,
            ends_at: token.ends_at,
        })
    }

    /// Call only with the turn.
    async fn fetch(&self) -> Result<Arc<Token>, CallFailure> {
        let number = {
            let current = locked(&self.current);
            current.as_ref().map_or(0, |token| token.number + 1)
        };
        let issue = async {
            match &self.issuer {
                Issuer::KeyFile(authenticator) => from_key_file(authenticator).await,
                Issuer::Metadata { http, url } => from_metadata(http, url).await,
            }
        };
        let (secret, lifetime) = tokio::time::timeout(self.timeout, issue)
            .await
            .map_err(|_| failure::not_sent("the token endpoint did not answer in time"))??;
        Ok(self.keep(Token::new(&secret, lifetime, number)?))
    }
}

/// Where application default credentials are, if they are a file.
fn default_file(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(path) = environment("GOOGLE_APPLICATION_CREDENTIALS") {
        return Some(path.into());
    }
    let folder = environment("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&environment("HOME")?).join(".config/gcloud")))?;
    Some(folder.join("application_default_credentials.json")).filter(|path| path.is_file())
}

fn metadata(
    options: &ClientOptions,
    environment: impl Fn(&str) -> Option<OsString>,
    tls: &rustls::ClientConfig,
) -> Result<Issuer, ClientError> {
    let host = options
        .metadata_host
        .clone()
        .or_else(|| environment("GCE_METADATA_HOST")?.into_string().ok())
        .unwrap_or_else(|| METADATA_HOST.to_owned());
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout)
        .build()
        .map_err(ClientError::Http)?;
    Ok(Issuer::Metadata { http, url: format!("http://{host}/{METADATA_PATH}?scopes={SCOPE}") })
}

async fn key_file(
    path: &Path,
    only_key: bool,
    tls: &rustls::ClientConfig,
) -> Result<Authenticator<Connector>, ClientError> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type", default)]
        kind: String,
        /// Of a service account.
        token_uri: Option<String>,
        /// Of an external account.
        token_url: Option<String>,
        service_account_impersonation_url: Option<String>,
    }
    let unusable = |reason: String| ClientError::Credentials { path: path.to_owned(), reason };
    // Never the parser's own text: it may quote the file.
    let malformed = |what: &str| unusable(format!("it is not the JSON of {what}"));
    let text = tokio::fs::read(path).await.map_err(|source| ClientError::Read {
        what: "credentials file",
        path: path.to_owned(),
        source,
    })?;
    let head: Kind = serde_json::from_slice(&text).map_err(|_| malformed("credentials"))?;
    let urls = [&head.token_uri, &head.token_url, &head.service_account_impersonation_url];
    for url in urls.into_iter().flatten() {
        let is_http = reqwest::Url::parse(url).is_ok_and(|u| u.has_host() && u.scheme() != "ftp");
        if !is_http {
            return Err(unusable("its token endpoint is not a URL".to_owned()));
        }
    }
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .build();
    let http = HyperClient::builder(TokioExecutor::new()).build::<_, String>(connector);
    let http = CustomHyperClientBuilder::from(http);
    let built = match head.kind.as_str() {
        "service_account" => {
            let key = yup_oauth2::parse_service_account_key(&text)
                .map_err(|_| malformed("a service account key"))?;
            ServiceAccountAuthenticator::with_client(key, http).build().await
        }
        "authorized_user" if !only_key => {
            let secret =
                serde_json::from_slice(&text).map_err(|_| malformed("an authorized user"))?;
            AuthorizedUserAuthenticator::with_client(secret, http).build().await
        }
        "external_account" if !only_key => {
            let secret =
                serde_json::from_slice(&text).map_err(|_| malformed("an external account"))?;
            ExternalAccountAuthenticator::with_client(secret, http).build().await
        }
        other => {
            return Err(unusable(format!("credentials of type {other:?} cannot be used here")));
        }
    };
    built.map_err(|error| unusable(error.to_string()))
}

async fn from_key_file(
    authenticator: &Authenticator<Connector>,
) -> Result<(String, Duration), CallFailure> {
    let token = authenticator.force_refreshed_token(&[SCOPE]).await.map_err(refused)?;
    let lifetime = token.expiration_time().map_or(LIFETIME_DEFAULT, |end| {
        let left = end.unix_timestamp().saturating_sub(Timestamp::now().as_second());
        Duration::from_secs(left.try_into().unwrap_or(0))
    });
    match token.token() {
        Some(secret) => Ok((secret.to_owned(), lifetime)),
        None => Err(failure::not_sent("the token endpoint gave no token")),
    }
}

fn refused(error: yup_oauth2::Error) -> CallFailure {
    use yup_oauth2::Error as E;
    const PASSING: [&str; 4] =
        ["internal_failure", "internal_error", "server_error", "temporarily_unavailable"];
    match error {
        E::AuthError(error) => match &error.error {
            AuthErrorCode::Other(code) if PASSING.contains(&code.as_str()) => {
                failure::not_sent(format!("the token endpoint is in trouble: {error}"))
            }
            _ => failure::unauthorised(format!(
                "the token endpoint refused the credentials ({error}): check that the service \
                 account and its key exist, and that this machine's clock is right"
            )),
        },
        E::HttpError(error) => unreachable_endpoint(&error),
        E::HttpClientError(error) => unreachable_endpoint(&error),
        E::JSONError(_) | E::MissingAccessToken => {
            failure::not_sent("the token endpoint answered with something that is not a token")
        }
        E::UserError(_)
        | E::LowLevelError(_)
        | E::StorageError(_)
        | E::CredentialSourceError(_) => {
            failure::unauthorised(format!("cannot use the credentials: {error}"))
        }
    }
}

fn unreachable_endpoint(error: &dyn std::error::Error) -> CallFailure {
    failure::not_sent(format!("cannot reach the token endpoint: {}", chain(error)))
}

async fn from_metadata(
    http: &reqwest::Client,
    url: &str,
) -> Result<(String, Duration), CallFailure> {
    #[derive(Deserialize)]
    struct Issued {
        access_token: String,
        expires_in: Option<u64>,
    }
    let request = http.get(url).header("Metadata-Flavor", "Google");
    let reply = request.send().await.map_err(|error| {
        failure::not_sent(format!("cannot reach the metadata server: {}", chain(&error)))
    })?;
    let status = reply.status().as_u16();
    match status {
        200 => {
            let issued: Issued = reply.json().await.map_err(|_| {
                failure::not_sent("the metadata server answered with something that is no token")
            })?;
            let lifetime = issued.expires_in.map_or(LIFETIME_DEFAULT, Duration::from_secs);
            Ok((issued.access_token, lifetime))
        }
        400..=499 if !matches!(status, 408 | 429) => Err(failure::unauthorised(format!(
            "the metadata server gives no token (HTTP {status}): check that a service account is \
             bound to this workload and may use the scope androidworkprovisioning"
        ))),
        _ => Err(failure::not_sent(format!("the metadata server answered HTTP {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shell::http::fake::{self, Answer, Fake};
    use crate::shell::http::{ResellerClient, tls};

    fn issued(secret: &str, seconds: u64) -> Answer {
        let body = json!({"access_token": secret, "expires_in": seconds, "token_type": "Bearer"});
        Answer::new(200, body.to_string())
    }

    fn metadata_options(host: &str) -> ClientOptions {
        ClientOptions {
            auth: Auth::MetadataServer,
            metadata_host: Some(host.to_owned()),
            request_timeout: Duration::from_secs(20),
            ..ClientOptions::new("main", "12")
        }
    }

    async fn source(options: &ClientOptions) -> Result<TokenSource, ClientError> {
        let tls = tls::client_config(None, false).unwrap();
        TokenSource::new(options, &tls).await.map(Option::unwrap)
    }

    async fn metadata_source(fake: &Fake) -> TokenSource {
        source(&metadata_options(&fake.address.to_string())).await.unwrap()
    }

    fn shown(token: &Token) -> &str {
        token.header.to_str().unwrap()
    }

    /// A key file whose key is made now and whose tokens come from `token_uri`.
    fn key_file(folder: &Path, token_uri: &str) -> PathBuf {
        let key = openssl::rsa::Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
        let path = folder.join("key.json");
        let file = json!({
            "type": "service_account", "client_email": "worker@project.example",
            "private_key": String::from_utf8(key).unwrap(), "token_uri": token_uri,
        });
        std::fs::write(&path, file.to_string()).unwrap();
        path
    }

    fn key_options(path: PathBuf) -> ClientOptions {
        ClientOptions { auth: Auth::ServiceAccountKey(path), ..metadata_options("unused") }
    }

    #[tokio::test]
    async fn the_metadata_server_is_asked_for_the_scope_and_only_once() {
        let fake = Fake::start([issued("one", 3_600)]).await;
        let source = metadata_source(&fake).await;
        let (a, b, c) = tokio::join!(source.token(), source.token(), source.token());
        for token in [a, b, c] {
            assert_eq!(shown(&token.unwrap()), "Bearer one");
        }
        let asked = fake.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("metadata-flavor"), "Google");
        assert_eq!(asked[0].line, format!("GET /{METADATA_PATH}?scopes={SCOPE}"));
    }

    #[tokio::test]
    async fn a_service_account_signs_for_a_token_of_the_scope_at_the_uri_of_its_key() {
        let fake = Fake::start([issued("one", 3_600)]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = key_file(folder.path(), &format!("{}/token", fake.url()));
        let source = source(&key_options(path)).await.unwrap();
        let token = source.token().await.unwrap();
        assert_eq!(shown(&token), "Bearer one");
        assert!(token.renew_at > Instant::now() + Duration::from_secs(3_200));
        let asked = &fake.asked()[0];
        assert_eq!(asked.line, "POST /token");
        let claims = claims(&asked.body);
        assert_eq!(claims["scope"], SCOPE);
        assert_eq!(claims["aud"], format!("{}/token", fake.url()));
        assert_eq!(claims["iss"], "worker@project.example");
    }

    /// The claims of the signed assertion in a token request.
    fn claims(body: &str) -> serde_json::Value {
        let assertion = body.split_once("&assertion=").unwrap().1;
        let claims = assertion.split('.').nth(1).unwrap();
        let claims = claims.replace("%3D", "=").replace('-', "+").replace('_', "/");
        serde_json::from_slice(&openssl::base64::decode_block(&claims).unwrap()).unwrap()
    }

    /// Makes the kept token as old as asked.
    fn age(source: &TokenSource, renew_at: Instant, ends_at: Instant) {
        let token = source.usable().unwrap();
        source.keep(Token {
            header: token.header.clone(),
            number: token.number,
            renew_at,
            ends_at,
        });
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_its_end_and_the_old_one_serves_while_that_fails() {
        let fake =
            Fake::start([issued("one", 3_600), Answer::new(503, ""), issued("two", 3_600)]).await;
        let source = metadata_source(&fake).await;
        source.token().await.unwrap();
        let later = Instant::now() + Duration::from_secs(100);
        age(&source, Instant::now(), later);
        assert_eq!(shown(&source.token().await.unwrap()), "Bearer one");
        assert_eq!(fake.asked().len(), 2);
        // Not at once again.
        assert_eq!(shown(&source.token().await.unwrap()), "Bearer one");
        assert_eq!(fake.asked().len(), 2);
        age(&source, Instant::now(), later);
        assert_eq!(shown(&source.token().await.unwrap()), "Bearer two");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_renewal_while_the_old_token_works_and_everybody_after_its_end() {
        let fake = Fake::start([issued("one", 3_600), issued("two", 3_600)]).await;
        let source = metadata_source(&fake).await;
        source.token().await.unwrap();
        let turn = source.fetching.lock().await;
        age(&source, Instant::now(), Instant::now() + Duration::from_secs(100));
        assert_eq!(shown(&source.token().await.unwrap()), "Bearer one");
        drop(turn);
        age(&source, Instant::now(), Instant::now());
        assert_eq!(shown(&source.token().await.unwrap()), "Bearer two");
    }

    #[test]
    fn half_of_a_short_life_is_used_and_a_long_one_ends_early() {
        let life = |seconds| {
            let before = Instant::now();
            let token = Token::new("t", Duration::from_secs(seconds), 0).unwrap();
            let until = |at: Instant| (at - before).as_secs();
            (until(token.renew_at), until(token.ends_at))
        };
        assert_eq!(life(3_600), (3_300, 3_570));
        assert_eq!(life(400), (200, 370));
        assert_eq!(life(40), (20, 20));
    }

    #[tokio::test]
    async fn a_refused_call_is_repeated_once_with_a_new_token() {
        let ok = Answer::new(200, "{}");
        let api =
            Fake::start([Answer::new(401, ""), ok, Answer::new(401, ""), Answer::new(401, "")])
                .await;
        let tokens = Fake::start(["one", "two", "three"].map(|t| issued(t, 3_600))).await;
        let options =
            ClientOptions { base_url: api.url(), ..metadata_options(&tokens.address.to_string()) };
        let client = ResellerClient::new(options).await.unwrap();
        assert_eq!(client.check().await, Ok(()));
        let refused = client.check().await.unwrap_err();
        assert!(matches!(refused, CallFailure::Unauthorised { .. }), "{refused:?}");
        let used: Vec<String> =
            api.asked().iter().map(|a| a.header("authorization").to_owned()).collect();
        assert_eq!(used, ["Bearer one", "Bearer two", "Bearer two", "Bearer three"]);
    }

    #[tokio::test]
    async fn a_token_endpoint_that_cannot_be_reached_means_not_sent() {
        let nobody = fake::nobody().await;
        let folder = tempfile::tempdir().unwrap();
        let path = key_file(folder.path(), &format!("http://{nobody}/token"));
        for options in [key_options(path), metadata_options(&nobody.to_string())] {
            let failure = source(&options).await.unwrap().token().await.err().unwrap();
            assert!(matches!(failure, CallFailure::NotSent { .. }), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_token_endpoint_means_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = key_file(folder.path(), &fake::raw(b"", false).await);
        let timeout = Duration::from_millis(50);
        let options = ClientOptions { request_timeout: timeout, ..key_options(path) };
        let failure = source(&options).await.unwrap().token().await.err().unwrap();
        assert!(matches!(failure, CallFailure::NotSent { .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn refused_credentials_are_unauthorised_and_trouble_at_the_endpoint_is_not() {
        let error = |status, code: &str| Answer::new(status, json!({"error": code}).to_string());
        for (answer, is_refusal) in [
            (error(400, "invalid_grant"), true),
            (error(401, "unauthorized_client"), true),
            (error(500, "internal_failure"), false),
            (Answer::new(502, "<html>"), false),
            (Answer::new(200, "{}"), false),
        ] {
            let fake = Fake::start([answer]).await;
            let folder = tempfile::tempdir().unwrap();
            let path = key_file(folder.path(), &fake.url());
            let failure = source(&key_options(path)).await.unwrap().token().await.err().unwrap();
            assert_eq!(
                matches!(failure, CallFailure::Unauthorised { .. }),
                is_refusal,
                "{failure:?}"
            );
        }
        for (status, is_refusal) in [(403, true), (404, true), (429, false), (500, false)] {
            let fake = Fake::start([Answer::new(status, "no")]).await;
            let failure = metadata_source(&fake).await.token().await.err().unwrap();
            assert_eq!(
                matches!(failure, CallFailure::Unauthorised { .. }),
                is_refusal,
                "{failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_unusable_key_file_is_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let error = async || source(&key_options(path.clone())).await.err().unwrap().to_string();
        assert!(error().await.contains("key.json"));
        let key = |token_uri: &str| {
            json!({"type": "service_account", "private_key": "hunter2", "client_email": "e",
                   "token_uri": token_uri})
            .to_string()
        };
        for text in [
            "hunter2".to_owned(),
            r#"{"type":"service_account","private_key":"hunter2"}"#.to_owned(),
            r#"{"type":"authorized_user","client_id":"hunter2"}"#.to_owned(),
            key("not a url"),
            key("http://x"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = error().await;
            assert!(error.contains("key.json") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn default_credentials_are_the_named_file_else_gcloud_s_else_none() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().as_os_str().to_owned();
        let only_home = |name: &str| (name == "HOME").then(|| home.clone());
        assert_eq!(default_file(only_home), None);
        let gcloud = folder.path().join(".config/gcloud");
        std::fs::create_dir_all(&gcloud).unwrap();
        let known = gcloud.join("application_default_credentials.json");
        std::fs::write(&known, "{}").unwrap();
        assert_eq!(default_file(only_home), Some(known));
        let named = |_: &str| Some("/x/key.json".into());
        assert_eq!(default_file(named), Some("/x/key.json".into()));
    }
}
