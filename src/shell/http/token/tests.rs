//! Tokens of each kind, against servers on the loopback.

use base64::Engine as _;
use jiff::Timestamp;
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
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// Makes the kept token as old as asked.
fn age(source: &TokenSource, renew_at: Instant, ends_at: Instant) {
    let token = source.usable().unwrap();
    source.keep(Token { header: token.header.clone(), number: token.number, renew_at, ends_at });
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
        Fake::start([Answer::new(401, ""), ok, Answer::new(401, ""), Answer::new(401, "")]).await;
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
        assert_eq!(matches!(failure, CallFailure::Unauthorised { .. }), is_refusal, "{failure:?}");
    }
    for (status, is_refusal) in [(403, true), (404, true), (429, false), (500, false)] {
        let fake = Fake::start([Answer::new(status, "no")]).await;
        let failure = metadata_source(&fake).await.token().await.err().unwrap();
        assert_eq!(matches!(failure, CallFailure::Unauthorised { .. }), is_refusal, "{failure:?}");
    }
}

/// Another key, in place of the one before.
fn replace_key(path: &Path, email: &str, token_uri: &str) {
    let key = openssl::rsa::Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
    let file = json!({
        "type": "service_account", "client_email": email, "private_key_id": "k2",
        "private_key": String::from_utf8(key).unwrap(), "token_uri": token_uri,
    });
    let new = path.with_extension("new");
    std::fs::write(&new, file.to_string()).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn refusal(code: &str, words: &str) -> Answer {
    Answer::new(400, json!({"error": code, "error_description": words}).to_string())
}

/// Who signed for each token that was asked for.
fn signers(fake: &Fake) -> Vec<String> {
    fake.asked().iter().map(|a| claims(&a.body)["iss"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_that_is_replaced_while_the_old_one_is_refused_is_used_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let (at, uri) = (path.clone(), Arc::new(Mutex::new(String::new())));
    let shared = Arc::clone(&uri);
    let refused = refusal("invalid_grant", "Invalid JWT Signature.").after(move || {
        replace_key(&at, "new@project.example", &shared.lock().unwrap());
    });
    let fake = Fake::start([refused, issued("two", 3_600)]).await;
    *uri.lock().unwrap() = format!("{}/token", fake.url());
    let path = key_file(folder.path(), &uri.lock().unwrap());
    let source = source(&key_options(path)).await.unwrap();
    assert_eq!(shown(&source.token().await.unwrap()), "Bearer two");
    assert_eq!(signers(&fake), ["worker@project.example", "new@project.example"]);
}

#[tokio::test]
async fn a_key_that_is_replaced_is_used_for_the_next_token_and_before_the_old_one_ends() {
    let tokens = ["one", "two", "three"].map(|token| issued(token, 3_600));
    let fake = Fake::start(tokens).await;
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("{}/token", fake.url());
    let path = key_file(folder.path(), &uri);
    let source = source(&key_options(path.clone())).await.unwrap();
    assert_eq!(shown(&source.token().await.unwrap()), "Bearer one");
    replace_key(&path, "second@project.example", &uri);
    assert_eq!(shown(&source.token().await.unwrap()), "Bearer one", "not looked at at each call");
    source.file().unwrap().make_due();
    assert_eq!(shown(&source.token().await.unwrap()), "Bearer two");
    replace_key(&path, "third@project.example", &uri);
    let refused = source.token().await.unwrap();
    assert_eq!(shown(&source.renew(&refused).await.unwrap()), "Bearer three");
    let all = ["worker@project.example", "second@project.example", "third@project.example"];
    assert_eq!(signers(&fake), all);
}

#[tokio::test]
async fn the_old_token_serves_while_a_new_key_is_refused() {
    let fake = Fake::start([
        issued("one", 3_600),
        refusal("invalid_grant", "Invalid JWT Signature."),
        issued("two", 3_600),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), &fake.url());
    let source = source(&key_options(path.clone())).await.unwrap();
    source.token().await.unwrap();
    replace_key(&path, "new@project.example", &fake.url());
    source.file().unwrap().make_due();
    let token = source.token().await.unwrap();
    assert_eq!(shown(&token), "Bearer one");
    age(&source, Instant::now(), token.ends_at);
    assert_eq!(shown(&source.token().await.unwrap()), "Bearer two");
}

#[tokio::test]
async fn a_key_file_that_is_missing_or_broken_for_a_while_leaves_the_old_key_in_use() {
    let tokens = ["one", "two", "three", "four"].map(|token| issued(token, 3_600));
    let fake = Fake::start(tokens).await;
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), &fake.url());
    let source = source(&key_options(path.clone())).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut token = source.token().await.unwrap();
    for (content, next) in [(None, "two"), (Some(&whole[..60]), "three"), (Some(&whole), "four")] {
        match content {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        token = source.renew(&token).await.unwrap();
        assert_eq!(shown(&token), format!("Bearer {next}"));
    }
    assert!(signers(&fake).iter().all(|signer| signer == "worker@project.example"));
}

/// Workload identity federation; what is given here replaces the usual fields.
#[allow(clippy::needless_pass_by_value, reason = "reads better at the callers")]
fn federated(folder: &Path, fake: &Fake, other: serde_json::Value) -> ClientOptions {
    let mut file = json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", fake.url()),
        "credential_source": {"file": folder.join("token")},
    });
    for (key, value) in other.as_object().unwrap() {
        file[key] = value.clone();
    }
    let path = folder.join("adc.json");
    std::fs::write(&path, file.to_string()).unwrap();
    ClientOptions { auth: Auth::ApplicationDefault, ..key_options(path) }
}

/// As [`source`], with the file of the application default credentials named by the test: the
/// environment belongs to the whole process.
async fn default_source(
    options: &ClientOptions,
    folder: &Path,
) -> Result<TokenSource, ClientError> {
    let tls = tls::client_config(None, false).unwrap();
    let path = folder.join("adc.json");
    let file = CredentialsFile::open(&options.account, path, false).await?;
    Ok(TokenSource {
        issuer: Issuer::File(file),
        http: Http::new(options, &tls)?,
        timeout: options.request_timeout,
        current: Mutex::new(None),
        fetching: tokio::sync::Mutex::new(()),
    })
}

#[tokio::test]
async fn another_issuers_token_is_read_anew_for_each_exchange_and_without_its_line_end() {
    let fake = Fake::start([issued("one", 3_600), issued("two", 3_600)]).await;
    let folder = tempfile::tempdir().unwrap();
    let options = federated(folder.path(), &fake, json!({}));
    std::fs::write(folder.path().join("token"), "THE-JWT\n").unwrap();
    let source = default_source(&options, folder.path()).await.unwrap();
    let token = source.token().await.unwrap();
    std::fs::write(folder.path().join("token"), "NEXT-JWT").unwrap();
    assert_eq!(shown(&source.renew(&token).await.unwrap()), "Bearer two");
    let bodies: Vec<String> = fake.asked().into_iter().map(|asked| asked.body).collect();
    assert!(bodies[0].contains("subject_token=THE-JWT&"), "{}", bodies[0]);
    assert!(bodies[1].contains("subject_token=NEXT-JWT&"), "{}", bodies[1]);
    assert!(bodies[0].contains("token-exchange") && bodies[0].contains("androidworkprovisioning"));
    assert_eq!(fake.asked()[0].line, "POST /v1/token");
    assert_eq!(fake.asked()[0].header("content-type"), "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn of_a_token_file_in_json_only_the_named_field_is_sent() {
    let fake = Fake::start([issued("one", 3_600)]).await;
    let folder = tempfile::tempdir().unwrap();
    let source_of = json!({"credential_source": {
        "file": folder.path().join("token"),
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    }});
    let options = federated(folder.path(), &fake, source_of);
    let source = default_source(&options, folder.path()).await.unwrap();
    std::fs::write(folder.path().join("token"), r#"{"other":"x"}"#).unwrap();
    let failure = source.token().await.err().unwrap().to_string();
    assert!(failure.contains("access_token") && failure.contains("credential_source"), "{failure}");
    std::fs::write(folder.path().join("token"), r#"{"access_token":"THE-JWT","n":1}"#).unwrap();
    source.token().await.unwrap();
    assert!(fake.asked()[0].body.contains("subject_token=THE-JWT&"), "{:?}", fake.asked());
}

#[tokio::test]
async fn the_token_to_exchange_may_come_from_a_url_with_headers() {
    let subject = Answer::new(200, r#"{"access_token":"THE-JWT"}"#);
    let fake = Fake::start([subject, issued("one", 3_600)]).await;
    let folder = tempfile::tempdir().unwrap();
    let source_of = json!({"credential_source": {
        "url": format!("{}/identity?resource=x", fake.url()), "headers": {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    }});
    let options = federated(folder.path(), &fake, source_of);
    let source = default_source(&options, folder.path()).await.unwrap();
    assert_eq!(shown(&source.token().await.unwrap()), "Bearer one");
    let asked = fake.asked();
    assert_eq!(asked[0].line, "GET /identity?resource=x");
    assert_eq!(asked[0].header("metadata"), "True");
    assert!(asked[1].body.contains("subject_token=THE-JWT&"), "{asked:?}");
}

#[tokio::test]
async fn a_service_account_is_impersonated_with_the_token_of_the_exchange() {
    let end = Timestamp::now() + jiff::SignedDuration::from_secs(1_800);
    let given = json!({"accessToken": "sa", "expireTime": end.to_string()}).to_string();
    let fake = Fake::start([issued("federated", 3_600), Answer::new(200, given)]).await;
    let folder = tempfile::tempdir().unwrap();
    let options = federated(
        folder.path(),
        &fake,
        json!({
            "service_account_impersonation_url": format!("{}/sa:generateAccessToken", fake.url()),
            "service_account_impersonation": {"token_lifetime_seconds": 1800},
        }),
    );
    std::fs::write(folder.path().join("token"), "THE-JWT").unwrap();
    let source = default_source(&options, folder.path()).await.unwrap();
    let token = source.token().await.unwrap();
    assert_eq!(shown(&token), "Bearer sa");
    let left = token.renew_at - Instant::now();
    assert!((1_400..=1_500).contains(&left.as_secs()), "{left:?}");
    let asked = fake.asked();
    assert!(asked[0].body.contains("cloud-platform"), "{asked:?}");
    assert_eq!(asked[1].line, "POST /sa:generateAccessToken");
    assert_eq!(asked[1].header("authorization"), "Bearer federated");
    assert_eq!(asked[1].json(), json!({"scope": [SCOPE], "lifetime": "1800s"}));
}

#[tokio::test]
async fn a_refused_impersonation_is_a_refusal_and_says_what_google_says_and_which_role_is_missing()
{
    for status in [403, 404] {
        let said = json!({"error": {"code": status, "status": "PERMISSION_DENIED", "message":
            "Permission 'iam.serviceAccounts.getAccessToken' denied"}});
        let fake =
            Fake::start([issued("federated", 3_600), Answer::new(status, said.to_string())]).await;
        let folder = tempfile::tempdir().unwrap();
        let url = format!("{}/sa:generateAccessToken", fake.url());
        let other = json!({"service_account_impersonation_url": url});
        let options = federated(folder.path(), &fake, other);
        std::fs::write(folder.path().join("token"), "THE-JWT").unwrap();
        let source = default_source(&options, folder.path()).await.unwrap();
        let failure = source.token().await.err().unwrap();
        assert!(matches!(failure, CallFailure::Unauthorised { .. }), "{failure:?}");
        let text = failure.to_string();
        for part in [&*format!("HTTP {status}"), "getAccessToken", "roles/iam.workloadIdentityUser"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn what_the_token_endpoint_says_is_repeated_and_of_a_page_its_first_words() {
    let page = "<html><head><title>Sign in</title></head><body><h1>Hotel  guest</h1></html>";
    for (answer, parts, is_refusal) in [
        (
            refusal("invalid_grant", "Invalid JWT Signature."),
            &["HTTP 400", "invalid_grant", "Invalid JWT Signature.", "key"][..],
            true,
        ),
        (Answer::new(404, page), &["HTTP 404", "Sign in Hotel guest"], true),
        (Answer::new(200, page), &["not a token", "Sign in Hotel guest"], false),
        (Answer::new(503, page), &["HTTP 503", "in trouble"], false),
        (
            Answer::new(302, "").header("location", "http://evil.example"),
            &["HTTP 302", "proxies"],
            false,
        ),
        (refusal("temporarily_unavailable", "later"), &["in trouble", "later"], false),
        (Answer::new(200, "x".repeat(2 << 20)), &["more than a token"], false),
    ] {
        let fake = Fake::start([answer]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = key_file(folder.path(), &fake.url());
        let failure = source(&key_options(path)).await.unwrap().token().await.err().unwrap();
        let text = failure.to_string();
        let refused = matches!(failure, CallFailure::Unauthorised { .. });
        assert_eq!(refused, is_refusal, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}: {parts:?}");
        assert_eq!(fake.asked().len(), 1, "nothing is followed");
    }
}

#[tokio::test]
async fn sources_that_are_not_supported_are_refused_by_name_and_with_what_to_use_instead() {
    let fake = Fake::start([]).await;
    for (source_of, parts) in [
        (json!({"environment_id": "aws1", "url": "http://169.254.169.254/x"}), ["AWS", "EKS"]),
        (json!({"executable": {"command": "/bin/true"}}), ["executable", "file"]),
        (json!({"certificate": {"use_default_certificate_config": true}}), ["X.509", "file"]),
        (json!({}), ["neither file nor url", "credential_source"]),
        (json!({"url": "http://tokens.example/x"}), ["credential_source.url", "https"]),
        (json!({"file": "t", "format": {"type": "xml"}}), ["xml", "json"]),
        (json!({"file": "t", "format": {"type": "json"}}), ["subject_token_field_name", "json"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let options = federated(folder.path(), &fake, json!({"credential_source": source_of}));
        let error = default_source(&options, folder.path()).await.err().unwrap().to_string();
        assert!(error.contains("adc.json"), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}: {parts:?}");
    }
    for kind in ["impersonated_service_account", "external_account_authorized_user"] {
        let folder = tempfile::tempdir().unwrap();
        let options = federated(folder.path(), &fake, json!({"type": kind}));
        let error = default_source(&options, folder.path()).await.err().unwrap().to_string();
        assert!(error.contains(kind) && error.contains("service account"), "{error}");
    }
}

#[tokio::test]
async fn secrets_are_sent_in_plain_http_to_this_machine_only() {
    let fake = Fake::start([]).await;
    for field in ["token_url", "service_account_impersonation_url"] {
        let folder = tempfile::tempdir().unwrap();
        for (url, is_fine) in [
            ("http://tokens.example/token", false),
            ("http://10.0.0.7/token", false),
            ("ftp://tokens.example/token", false),
            ("https://tokens.example/token", true),
            ("http://localhost:1/token", true),
            ("http://[::1]:1/token", true),
        ] {
            let options = federated(folder.path(), &fake, json!({field: url}));
            let opened = default_source(&options, folder.path()).await;
            let error = opened.err().map(|error| error.to_string());
            assert_eq!(error.is_none(), is_fine, "{url}: {error:?}");
            assert!(error.is_none_or(|error| error.contains(field)), "{url}");
        }
        let path = key_file(folder.path(), "http://tokens.example/token");
        let error = source(&key_options(path)).await.err().unwrap().to_string();
        assert!(error.contains("token_uri") && error.contains("https"), "{error}");
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
