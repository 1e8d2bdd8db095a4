//! What a credentials file says, checked as a whole before anything is asked with it.
//!
//! What this worker cannot do is refused by name, with what to do instead. Nothing here quotes the
//! file: a parser's own text may hold a part of the key.

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{Signer, SigningKey};
use serde::Deserialize;
use serde_json::Value;

use super::endpoint::is_near;

const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";

/// What tokens are got with.
pub(super) enum Credentials {
    ServiceAccount(ServiceAccount),
    AuthorizedUser(AuthorizedUser),
    External(Box<External>),
}

/// The key of a service account.
pub(super) struct ServiceAccount {
    pub(super) email: String,
    pub(super) key_id: Option<String>,
    pub(super) token_url: Url,
    /// The same, as the file spells it: the signature covers that.
    pub(super) audience: String,
    key: Arc<dyn SigningKey>,
}

impl ServiceAccount {
    /// Signs as RS256 does.
    pub(super) fn signer(&self) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
    }
}

/// A person, as gcloud keeps one.
pub(super) struct AuthorizedUser {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) refresh_token: String,
    pub(super) token_url: Url,
}

/// Workload identity federation: another issuer's token is exchanged for one of Google's.
pub(super) struct External {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: Url,
    pub(super) source: Source,
    /// The field that holds the token, if the source gives JSON.
    pub(super) field: Option<String>,
    pub(super) client: Option<(String, String)>,
    pub(super) workforce_project: Option<String>,
    pub(super) impersonated: Option<Impersonated>,
}

/// The service account in whose name the calls are made, and for how long.
pub(super) struct Impersonated {
    pub(super) url: Url,
    pub(super) seconds: u32,
}

/// Where the other issuer's token is.
pub(super) enum Source {
    File(PathBuf),
    Url { url: Url, headers: HeaderMap },
}

/// Reads a credentials file; `only_key` if it has to be the key of a service account.
///
/// # Errors
/// What is wrong with it, to follow "the file is unusable: ".
pub(super) fn read(text: &[u8], only_key: bool) -> Result<Credentials, String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "type", default)]
        kind: String,
    }
    let head: Head = serde_json::from_slice(text).map_err(|_| malformed("credentials"))?;
    match head.kind.as_str() {
        "service_account" => service_account(text).map(Credentials::ServiceAccount),
        "authorized_user" if !only_key => user(text).map(Credentials::AuthorizedUser),
        "external_account" if !only_key => {
            external(text).map(|external| Credentials::External(Box::new(external)))
        }
        "external_account" => Err("it is of workload identity federation and not the key of a \
                                   service account: use auth kind \"application_default\", and \
                                   name the file in GOOGLE_APPLICATION_CREDENTIALS"
            .to_owned()),
        other => Err(format!(
            "credentials of type {:?} cannot be used here: use the key of a service account, or \
             workload identity federation",
            short(other)
        )),
    }
}

fn malformed(what: &str) -> String {
    format!("it is not the JSON of {what}")
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn service_account(text: &[u8]) -> Result<ServiceAccount, String> {
    #[derive(Deserialize)]
    struct File {
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    }
    let file: File =
        serde_json::from_slice(text).map_err(|_| malformed("a service account key"))?;
    let key = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes())
        .map_err(|_| "its private_key is not in PEM".to_owned())?;
    let no_rsa = || "its private_key is not a usable RSA key".to_owned();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| no_rsa())?;
    let audience = file.token_uri.unwrap_or_else(|| GOOGLE_TOKENS.to_owned());
    let account = ServiceAccount {
        email: file.client_email,
        key_id: file.private_key_id.filter(|id| !id.is_empty()),
        token_url: url("token_uri", &audience)?,
        audience,
        key,
    };
    account.signer().map(|_| account).ok_or_else(no_rsa)
}

fn user(text: &[u8]) -> Result<AuthorizedUser, String> {
    #[derive(Deserialize)]
    struct File {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        token_uri: Option<String>,
    }
    let file: File = serde_json::from_slice(text).map_err(|_| malformed("an authorized user"))?;
    Ok(AuthorizedUser {
        client_id: file.client_id,
        client_secret: file.client_secret,
        refresh_token: file.refresh_token,
        token_url: url("token_uri", file.token_uri.as_deref().unwrap_or(GOOGLE_TOKENS))?,
    })
}

fn external(text: &[u8]) -> Result<External, String> {
    #[derive(Deserialize)]
    struct File {
        audience: String,
        subject_token_type: String,
        token_url: String,
        service_account_impersonation_url: Option<String>,
        #[serde(default)]
        service_account_impersonation: Impersonation,
        #[serde(default)]
        credential_source: Value,
        client_id: Option<String>,
        client_secret: Option<String>,
        workforce_pool_user_project: Option<String>,
    }
    #[derive(Default, Deserialize)]
    struct Impersonation {
        token_lifetime_seconds: Option<u32>,
    }
    let file: File = serde_json::from_slice(text).map_err(|_| malformed("an external account"))?;
    let (source, field) = source(&file.credential_source)?;
    let seconds = file.service_account_impersonation.token_lifetime_seconds.unwrap_or(3_600);
    let impersonated = file.service_account_impersonation_url.map(|given| {
        let url = url("service_account_impersonation_url", &given)?;
        Ok::<_, String>(Impersonated { url, seconds })
    });
    Ok(External {
        audience: file.audience,
        subject_token_type: file.subject_token_type,
        token_url: url("token_url", &file.token_url)?,
        source,
        field,
        client: file.client_id.map(|id| (id, file.client_secret.unwrap_or_default())),
        workforce_project: file.workforce_pool_user_project,
        impersonated: impersonated.transpose()?,
    })
}

/// Where the token to exchange is, and the field that holds it.
fn source(given: &Value) -> Result<(Source, Option<String>), String> {
    const INSTEAD: &str = "have the token written to a file and name that as \
                           credential_source.file, or use the key of a service account";
    for (field, kind, instead) in [
        (
            "environment_id",
            "AWS",
            "on EKS, mount the pod's service account token, name its file as \
             credential_source.file and have an OIDC provider in the pool, or use the key of a \
             service account",
        ),
        ("executable", "an executable", INSTEAD),
        ("certificate", "a certificate (X.509)", INSTEAD),
    ] {
        if given.get(field).is_some() {
            return Err(format!(
                "workload identity federation with {kind} as the source is not supported: {instead}"
            ));
        }
    }
    let text = |key: &str| given.get(key).and_then(Value::as_str);
    let source = if let Some(path) = text("file") {
        Source::File(path.into())
    } else if let Some(given_url) = text("url") {
        // Without encryption only where the network is the machine's own.
        let url = url("credential_source.url", given_url)?;
        let mut headers = HeaderMap::new();
        for (name, value) in given.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let name = HeaderName::try_from(name.as_str()).ok();
            let value = value.as_str().and_then(|value| HeaderValue::try_from(value).ok());
            let (Some(name), Some(mut value)) = (name, value) else {
                return Err("credential_source.headers has a header that is none".to_owned());
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Source::Url { url, headers }
    } else {
        return Err(
            "its credential_source has neither file nor url, other sources are not supported"
                .to_owned(),
        );
    };
    let format = given.get("format");
    let of_format = |key: &str| format.and_then(|format| format.get(key)?.as_str());
    match of_format("type").unwrap_or("text") {
        "text" => Ok((source, None)),
        "json" => match of_format("subject_token_field_name") {
            Some(field) => Ok((source, Some(field.to_owned()))),
            None => Err("its credential_source.format is json and names no \
                         subject_token_field_name"
                .to_owned()),
        },
        other => {
            Err(format!("its credential_source.format {:?} is neither text nor json", short(other)))
        }
    }
}

/// A URL that secrets may be sent to.
fn url(name: &str, given: &str) -> Result<Url, String> {
    let url = Url::parse(given).ok().filter(|url| url.has_host());
    match url {
        Some(url) if url.scheme() == "https" => Ok(url),
        Some(url) if url.scheme() == "http" && is_near(&url) => Ok(url),
        Some(url) if url.scheme() == "http" => Err(format!(
            "its {name} is plain http to another machine, where everybody on the way can read the \
             token: it has to be https"
        )),
        _ => Err(format!("its {name} is not an https URL")),
    }
}
