//! How a token is got with each kind of credentials.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::SCOPE;
use super::credentials::{AuthorizedUser, Credentials, External, Impersonated};
use super::credentials::{ServiceAccount, Source};
use super::endpoint::{self, Http, Issued, Whom, ask};
use super::file::{FileError, read_bounded};
use crate::model::CallFailure;
use crate::wire::google::failure;

/// Scope of a token with which a service account is impersonated.
const SCOPE_CLOUD: &str = "https://www.googleapis.com/auth/cloud-platform";
/// For how long an assertion is valid; an hour is the most that is accepted.
const ASSERTION_SECONDS: i64 = 3_595;

/// A token by the credentials of a file.
pub(super) async fn by(http: &Http, credentials: &Credentials) -> Result<Issued, CallFailure> {
    match credentials {
        Credentials::ServiceAccount(account) => by_key(http, account).await,
        Credentials::AuthorizedUser(user) => by_user(http, user).await,
        Credentials::External(external) => by_exchange(http, external).await,
    }
}

/// A token of the service account that is bound to this workload or machine.
pub(super) async fn by_metadata(http: &Http, url: &Url) -> Result<Issued, CallFailure> {
    let mut headers = HeaderMap::new();
    headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
    let body = ask(http.get_direct(url, headers), Whom::MetadataServer).await?;
    endpoint::token(&body, Whom::MetadataServer)
}

/// An assertion signed by the key (RFC 7523).
async fn by_key(http: &Http, account: &ServiceAccount) -> Result<Issued, CallFailure> {
    let assertion = assertion(account, Timestamp::now().as_second())?;
    let form =
        [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &*assertion)];
    posted(http, &account.token_url, &form, None).await
}

fn assertion(account: &ServiceAccount, now: i64) -> Result<String, CallFailure> {
    let mut head = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        head["kid"] = json!(id);
    }
    let claims = json!({
        "iss": account.email, "scope": SCOPE, "aud": account.audience,
        "iat": now, "exp": now + ASSERTION_SECONDS,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}", encode(&head), encode(&claims));
    let unusable = || failure::unauthorised("the private key of the service account cannot sign");
    let signer = account.signer().ok_or_else(unusable)?;
    let signature = signer.sign(unsigned.as_bytes()).map_err(|_| unusable())?;
    Ok(format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

async fn by_user(http: &Http, user: &AuthorizedUser) -> Result<Issued, CallFailure> {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &*user.client_id),
        ("client_secret", &*user.client_secret),
        ("refresh_token", &*user.refresh_token),
    ];
    posted(http, &user.token_url, &form, None).await
}

/// Exchanges another issuer's token (RFC 8693), and then takes a service account's if that is
/// wanted. The other token is read anew each time: what mounts it renews it, too.
async fn by_exchange(http: &Http, external: &External) -> Result<Issued, CallFailure> {
    let subject = subject_token(http, external).await?;
    let scope = if external.impersonated.is_some() { SCOPE_CLOUD } else { SCOPE };
    let mut form = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", &*external.audience),
        ("scope", scope),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", &*subject),
        ("subject_token_type", &*external.subject_token_type),
    ];
    let project = external.workforce_project.as_ref();
    let options = project.map(|project| json!({ "userProject": project }).to_string());
    if let Some(options) = &options {
        form.push(("options", options));
    }
    let client = external.client.as_ref().map(|(id, secret)| (&**id, &**secret));
    let federated = posted(http, &external.token_url, &form, client).await?;
    match &external.impersonated {
        Some(impersonated) => impersonate(http, impersonated, &federated).await,
        None => Ok(federated),
    }
}

async fn impersonate(
    http: &Http,
    impersonated: &Impersonated,
    federated: &Issued,
) -> Result<Issued, CallFailure> {
    let whom = Whom::Impersonation;
    let wanted = json!({"scope": [SCOPE], "lifetime": format!("{}s", impersonated.seconds)});
    let request = http.post(&impersonated.url).bearer_auth(&federated.secret).json(&wanted);
    let body = ask(request, whom).await?;
    let reply: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |key: &str| reply.get(key).and_then(Value::as_str);
    let end = text("expireTime").and_then(|time| time.parse::<Timestamp>().ok());
    match (text("accessToken"), end) {
        (Some(secret), Some(end)) => {
            let lifetime = Duration::try_from(end.duration_since(Timestamp::now()));
            Ok(Issued { secret: secret.to_owned(), lifetime: lifetime.unwrap_or_default() })
        }
        _ => Err(endpoint::no_token(&body, whom)),
    }
}

async fn subject_token(http: &Http, external: &External) -> Result<String, CallFailure> {
    let (text, place) = match &external.source {
        Source::File(path) => {
            let text = read_bounded(path).await.map_err(|error| match error {
                // What mounts the file may be a moment late.
                FileError::Missing => failure::not_sent(format!(
                    "the token to exchange is not there: {} does not exist (yet)",
                    path.display()
                )),
                error => failure::unauthorised(format!(
                    "cannot read the token to exchange from {}: {error}",
                    path.display()
                )),
            })?;
            (text, path.display().to_string())
        }
        Source::Url { url, headers } => {
            let body = ask(http.get(url, headers.clone()), Whom::Source).await?;
            (body, "credential_source.url".to_owned())
        }
    };
    let token = match &external.field {
        None => String::from_utf8(text).ok().map(|token| token.trim().to_owned()),
        Some(field) => {
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            value.get(field).and_then(Value::as_str).map(|token| token.trim().to_owned())
        }
    };
    token.filter(|token| !token.is_empty()).ok_or_else(|| {
        let what = match &external.field {
            Some(field) => format!("a JSON object with a token in its field {field:?}"),
            None => "the text of a token".to_owned(),
        };
        failure::unauthorised(format!("{place} does not hold {what}: check credential_source"))
    })
}

async fn posted(
    http: &Http,
    url: &Url,
    form: &[(&str, &str)],
    client: Option<(&str, &str)>,
) -> Result<Issued, CallFailure> {
    // reqwest's own encoder of forms is a feature that nothing else here needs.
    let mut body = Url::parse("http://form").map_err(|_| failure::not_sent("no form"))?;
    body.query_pairs_mut().extend_pairs(form);
    let mut request = http
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.query().unwrap_or_default().to_owned());
    if let Some((id, secret)) = client {
        request = request.basic_auth(id, Some(secret));
    }
    let reply = ask(request, Whom::TokenEndpoint).await?;
    endpoint::token(&reply, Whom::TokenEndpoint)
}
