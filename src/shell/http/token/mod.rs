//! Access tokens: fetched by one caller at a time, kept, and renewed ahead of their end.
//!
//! A token that is about to end is renewed while it still works, so that a token endpoint that is
//! down for some minutes is not noticed. No token and no key is ever in a log or an error.
//!
//! The flows are written here, over the client that calls the API too, because no crate that makes
//! Google's tokens takes all of: this client's proxies and certificates, a renewal that is forced
//! after a refusal, and keys that change while the process runs.

mod credentials;
mod endpoint;
mod file;
mod issue;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::HeaderValue;

use self::endpoint::{Http, Issued};
use self::file::CredentialsFile;
use super::{Auth, ClientError, ClientOptions};
use crate::model::CallFailure;
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
    File(CredentialsFile),
    Metadata(Url),
}

/// Gives tokens for one account.
pub(super) struct TokenSource {
    issuer: Issuer,
    http: Http,
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
                Issuer::File(CredentialsFile::open(&options.account, path, only_key).await?)
            }
            None => Issuer::Metadata(metadata_url(options, environment)?),
        };
        Ok(Some(Self {
            issuer,
            http: Http::new(options, tls)?,
            timeout: options.request_timeout,
            current: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }))
    }

    /// A token that works, as far as anybody can tell.
    pub(super) async fn token(&self) -> Result<Arc<Token>, CallFailure> {
        if let Some(token) = self.usable() {
            let is_old = Instant::now() >= token.renew_at;
            let file = self.file().filter(|file| file.is_due());
            if !is_old && file.is_none() {
                return Ok(token);
            }
            // Somebody else is at it: the old one will do until then.
            let Ok(_turn) = self.fetching.try_lock() else { return Ok(token) };
            let has_changed = match file {
                Some(file) => file.look().await,
                None => false,
            };
            if !is_old && !has_changed {
                return Ok(token);
            }
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

    fn file(&self) -> Option<&CredentialsFile> {
        match &self.issuer {
            Issuer::File(file) => Some(file),
            Issuer::Metadata(_) => None,
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
        tracing::warn!(%error, "cannot renew the access token yet, the old one still works");
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
        let Issued { secret, lifetime } = match &self.issuer {
            Issuer::Metadata(url) => self.in_time(issue::by_metadata(&self.http, url)).await?,
            Issuer::File(file) => {
                file.look().await;
                let issued = self.by_file(file).await;
                let is_refused = matches!(issued, Err(CallFailure::Unauthorised { .. }));
                // The key may have been replaced, and the old one ended, while it was in use.
                if is_refused && file.look().await { self.by_file(file).await? } else { issued? }
            }
        };
        Ok(self.keep(Token::new(&secret, lifetime, number)?))
    }

    async fn by_file(&self, file: &CredentialsFile) -> Result<Issued, CallFailure> {
        let credentials = file.credentials();
        self.in_time(issue::by(&self.http, &credentials)).await
    }

    async fn in_time(
        &self,
        issue: impl Future<Output = Result<Issued, CallFailure>>,
    ) -> Result<Issued, CallFailure> {
        let late = |_| failure::not_sent("the token endpoint did not answer in time");
        tokio::time::timeout(self.timeout, issue).await.map_err(late)?
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

fn metadata_url(
    options: &ClientOptions,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Url, ClientError> {
    let host = options
        .metadata_host
        .clone()
        .or_else(|| environment("GCE_METADATA_HOST")?.into_string().ok())
        .unwrap_or_else(|| METADATA_HOST.to_owned());
    Url::parse(&format!("http://{host}/{METADATA_PATH}?scopes={SCOPE}"))
        .map_err(|_| ClientError::MetadataHost(host))
}

#[cfg(test)]
mod tests;
