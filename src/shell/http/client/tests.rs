//! Every way a call can end, against servers on the loopback.

#![allow(clippy::needless_pass_by_value, reason = "tests read better without borrows")]

use serde_json::json;

use super::*;
use crate::model::{Cause, Command, DeviceVerdict, Identifiers, Source};
use crate::shell::http::Auth;
use crate::shell::http::fake::{self, Answer, Fake};

const IMEI: &str = "490154203237518";

/// `{"name":"operations/batch/1"}`, packed.
const GZIPPED: [u8; 49] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 75, 204, 77, 85, 178, 82, 202, 47, 72, 45, 74,
    44, 201, 204, 207, 43, 214, 79, 74, 44, 73, 206, 208, 55, 84, 170, 5, 0, 88, 43, 106, 41, 29,
    0, 0, 0,
];

/// 10,000 spaces, packed.
const BOMB: [u8; 46] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 1, 13, 0, 0, 0, 194, 160, 42, 239, 159, 210, 28,
    110, 64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 192, 191, 1, 84, 214, 6, 55, 16, 39, 0, 0,
];

fn options(base_url: &str) -> ClientOptions {
    ClientOptions {
        base_url: base_url.to_owned(),
        auth: Auth::None,
        request_timeout: Duration::from_secs(20),
        ..ClientOptions::new("main", "12")
    }
}

async fn client(base_url: &str) -> ResellerClient {
    ResellerClient::new(options(base_url)).await.unwrap()
}

fn command(device: Identifiers, device_id: Option<&str>) -> PackedCommand {
    PackedCommand::pack(&Command {
        action: Action::Claim,
        cause: Cause::Sale,
        event_id: "e".into(),
        order_id: "o".into(),
        line: "1".into(),
        account: "main".into(),
        customer: Some(Customer::ZeroTouch("7".into())),
        device,
        device_id: device_id.map(Into::into),
        metadata: Default::default(),
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        source: Source { topic: "t".into(), partition: 0, offset: 0 },
        traceparent: None,
    })
}

fn phone() -> PackedCommand {
    command(Identifiers { imei: Some(IMEI.into()), ..Default::default() }, None)
}

async fn claim(base_url: &str) -> Result<String, CallFailure> {
    client(base_url).await.submit(Action::Claim, &[phone()], None).await
}

/// What a claim ends with when the server gives one answer.
async fn claim_answered(answer: Answer) -> Result<String, CallFailure> {
    claim(&Fake::start([answer]).await.url()).await
}

fn error(status: &str, details: serde_json::Value) -> String {
    json!({"error": {"code": 1, "status": status, "message": "said", "details": details}})
        .to_string()
}

#[track_caller]
fn assert_ambiguous<T: std::fmt::Debug>(result: Result<T, CallFailure>) {
    assert!(matches!(result, Err(CallFailure::Ambiguous { .. })), "{result:?}");
}

#[track_caller]
fn assert_not_sent<T: std::fmt::Debug>(result: Result<T, CallFailure>) {
    assert!(matches!(result, Err(CallFailure::NotSent { .. })), "{result:?}");
}

#[tokio::test]
async fn a_claim_is_posted_with_our_headers_and_gives_the_operation() {
    let fake = Fake::start([Answer::new(200, r#"{"name":"operations/batch/1"}"#)]).await;
    let client = client(&format!("{}/prefix/", fake.url())).await;
    let name = client.submit(Action::Claim, &[phone(), phone()], None).await;
    assert_eq!(name.as_deref(), Ok("operations/batch/1"));
    let asked = &fake.asked()[0];
    assert_eq!(asked.line, "POST /prefix/v1/partners/12/devices:claimAsync");
    assert_eq!(asked.header("x-goog-api-format-version"), "2");
    assert!(asked.header("user-agent").starts_with("zerotouch-worker/"));
    assert_eq!(asked.header("accept-encoding"), "gzip");
    assert_eq!(asked.header("content-type"), "application/json");
    assert_eq!(asked.header("authorization"), "");
    assert_eq!(asked.json()["claims"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn each_action_has_its_method() {
    let name = || Answer::new(200, r#"{"name":"operations/1"}"#);
    let fake = Fake::start([name(), name(), name()]).await;
    let client = client(&fake.url()).await;
    for action in Action::ALL {
        client.submit(action, &[phone()], None).await.unwrap();
    }
    let lines: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(
        lines,
        [
            "POST /v1/partners/12/devices:claimAsync",
            "POST /v1/partners/12/devices:unclaimAsync",
            "POST /v1/partners/12/devices:updateMetadataAsync",
        ]
    );
}

#[tokio::test]
async fn a_packed_reply_is_unpacked() {
    let answer = Answer::new(200, GZIPPED).header("content-encoding", "gzip");
    assert_eq!(claim_answered(answer).await.as_deref(), Ok("operations/batch/1"));
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_are_not_sent() {
    let refused = claim(&format!("http://{}", fake::nobody().await)).await;
    assert!(!format!("{refused:?}").contains("/v1/"), "{refused:?}");
    assert_not_sent(refused);
    assert_not_sent(claim("http://no-such-host.invalid").await);
}

#[tokio::test]
async fn a_server_is_trusted_through_the_ca_file_and_only_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let (certificate, key) = certificate();
    std::fs::write(&ca_file, certificate.to_pem().unwrap()).unwrap();
    let server = tls_server(certificate.to_der().unwrap(), key);
    let with_ca = ClientOptions { ca_file: Some(ca_file.clone()), ..options(&server) };
    let client = ResellerClient::new(with_ca).await.unwrap();
    assert_eq!(client.check().await, Ok(()));

    let (other, _) = self::certificate();
    std::fs::write(&ca_file, other.to_pem().unwrap()).unwrap();
    let with_other = ClientOptions { ca_file: Some(ca_file), ..options(&server) };
    let client = ResellerClient::new(with_other).await.unwrap();
    assert_not_sent(client.submit(Action::Claim, &[phone()], None).await);
}

#[tokio::test]
async fn a_failed_handshake_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate().0.to_pem().unwrap()).unwrap();
    let server = fake::raw(b"this is no TLS\r\n", true).await.replace("http:", "https:");
    let options = ClientOptions { ca_file: Some(ca_file), ..options(&server) };
    let client = ResellerClient::new(options).await.unwrap();
    assert_not_sent(client.submit(Action::Claim, &[phone()], None).await);
}

#[tokio::test]
async fn silence_after_the_request_leaves_doubt() {
    let server = fake::raw(b"", false).await;
    let options = ClientOptions { request_timeout: Duration::from_millis(50), ..options(&server) };
    let client = ResellerClient::new(options).await.unwrap();
    assert_ambiguous(client.submit(Action::Claim, &[phone()], None).await);
}

#[tokio::test]
async fn a_connection_closed_before_or_within_the_reply_leaves_doubt() {
    assert_ambiguous(claim(&fake::raw(b"", true).await).await);
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"name\":\"operations/1\"}";
    assert_ambiguous(claim(&fake::raw(half, true).await).await);
    assert_ambiguous(claim(&fake::raw(b"HTTP/1.1 2", true).await).await);
}

#[tokio::test]
async fn a_success_that_cannot_be_read_leaves_doubt() {
    for body in ["", "<html>hello</html>", "{}", r#"{"name":""}"#, r#"{"name":5}"#] {
        assert_ambiguous(claim_answered(Answer::new(200, body)).await);
    }
}

#[tokio::test]
async fn a_reply_beyond_the_bound_leaves_doubt_even_when_it_is_small_on_the_wire() {
    let fake = Fake::start([
        Answer::new(200, " ".repeat(2_000)),
        Answer::new(200, BOMB).header("content-encoding", "gzip"),
    ])
    .await;
    let options = ClientOptions { response_bytes_max: 1_000, ..options(&fake.url()) };
    let client = ResellerClient::new(options).await.unwrap();
    assert_ambiguous(client.submit(Action::Claim, &[phone()], None).await);
    assert_ambiguous(client.submit(Action::Claim, &[phone()], None).await);
}

#[tokio::test]
async fn a_bad_request_carries_the_custom_error_code() {
    let body = error("INVALID_ARGUMENT", json!([{"code": "INVALID_IMEI", "message": "m"}]));
    assert_eq!(
        claim_answered(Answer::new(400, body)).await,
        Err(CallFailure::Rejected {
            status: "INVALID_ARGUMENT".into(),
            identifier: Some("INVALID_IMEI".into()),
            message: "said".into(),
            named: crate::model::Named::default(),
        })
    );
}

#[tokio::test]
async fn statuses_become_failures() {
    let not_found = error("NOT_FOUND", json!([]));
    let unauthorised = |result: &_| matches!(result, Err(CallFailure::Unauthorised { .. }));
    assert!(unauthorised(&claim_answered(Answer::new(401, "")).await));
    let denied = error("PERMISSION_DENIED", json!([]));
    let forbidden = |result: &_| matches!(result, Err(CallFailure::Forbidden { .. }));
    assert!(forbidden(&claim_answered(Answer::new(403, denied)).await));
    assert!(forbidden(&claim_answered(Answer::new(404, not_found)).await));
    let throttled = Answer::new(429, "").header("retry-after", "7");
    let after = Some(Duration::from_secs(7));
    assert_eq!(claim_answered(throttled).await, Err(CallFailure::Throttled { after }));
    assert_ambiguous(claim_answered(Answer::new(500, "<html>oops</html>")).await);
    assert_ambiguous(claim_answered(Answer::new(503, "x".repeat(3 << 20))).await);
    let moved = Answer::new(302, "").header("location", "http://127.0.0.1:1/");
    assert_not_sent(claim_answered(moved).await);
}

#[tokio::test]
async fn a_poll_reads_the_operation_under_its_whole_name() {
    let fake = Fake::start([
        Answer::new(200, r#"{"name":"operations/batch/1","metadata":{"progress":40}}"#),
        Answer::new(
            200,
            r#"{"done":true,"response":{"perDeviceStatus":[{"claim":{"deviceIdentifier":
            {"imei":"490154203237518"}},"result":{"status":"SINGLE_DEVICE_STATUS_SUCCESS"}}]}}"#,
        ),
        Answer::new(404, error("NOT_FOUND", json!([]))),
        Answer::new(404, "<html>"),
        Answer::new(500, ""),
    ])
    .await;
    let client = client(&fake.url()).await;
    let poll = || client.poll("operations/batch/1");
    assert_eq!(poll().await, Ok(OperationReply::Running { progress: Some(40) }));
    let Ok(OperationReply::Done { results }) = poll().await else { panic!("not done") };
    assert_eq!(results[0].device, phone().unpack().device_key().map(|key| key.hash()));
    assert_eq!(results[0].verdict, DeviceVerdict::Succeeded { device_id: None });
    assert_eq!(poll().await, Err(CallFailure::NotFound));
    assert_ambiguous(poll().await);
    assert_ambiguous(poll().await);
    assert_eq!(fake.asked()[0].line, "GET /v1/operations/batch/1");
    assert_eq!(client.poll("operations/../x").await, Err(CallFailure::NotFound));
    assert_eq!(fake.asked().len(), 5);
}

#[tokio::test]
async fn a_result_in_a_wrong_form_harms_no_other_and_those_beyond_the_bound_are_not_kept() {
    let claim = json!({"deviceIdentifier": {"imei": IMEI}});
    let item = |status: serde_json::Value| json!({"claim": claim, "result": {"status": status}});
    let status = json!("SINGLE_DEVICE_STATUS_SUCCESS");
    let items = [item(json!(5)), item(status.clone()), json!({}), json!({}), item(status)];
    let reply = json!({"done": true, "response": {"perDeviceStatus": items}}).to_string();
    let fake = Fake::start([Answer::new(200, reply)]).await;
    let stats = Arc::new(crate::shell::Stats::default());
    let observer = Some(crate::shell::telemetry::metrics::CallObserver::new(&stats));
    let options = ClientOptions { results_max: 2, observer, ..options(&fake.url()) };
    let client = ResellerClient::new(options).await.unwrap();
    let reply = client.poll("operations/1").await;
    let Ok(OperationReply::Done { results }) = reply else { panic!("{reply:?}") };
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].verdict, DeviceVerdict::Succeeded { device_id: None });
    let text = crate::shell::telemetry::metrics::text(&stats, &[]);
    for line in [r#"{kind="beyond"} 2"#, r#"{kind="unreadable"} 1"#] {
        let line = format!("zerotouch_unusable_results_total{line}");
        assert!(text.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn the_reply_to_a_lookup_is_bounded_by_its_kind() {
    let fake = Fake::start([Answer::new(200, " ".repeat(2 << 20))]).await;
    let failed = client(&fake.url()).await.lookup(&phone()).await;
    assert!(format!("{failed:?}").contains("1048576"), "{failed:?}");
    assert_ambiguous(failed);
}

#[tokio::test]
async fn a_lookup_follows_the_pages_to_the_device() {
    let fake = Fake::start([
        Answer::new(200, r#"{"nextPageToken":"p2"}"#),
        Answer::new(
            200,
            json!({"devices": [{
                "deviceId": "9", "deviceIdentifier": {"imei": IMEI},
                "deviceMetadata": {"entries": {"ordernumber": "A"}},
                "claims": [{"ownerCompanyId": "7", "resellerId": "12",
                            "sectionType": "SECTION_TYPE_ZERO_TOUCH"}],
            }]})
            .to_string(),
        ),
    ])
    .await;
    let state = client(&fake.url()).await.lookup(&phone()).await.unwrap().unwrap();
    assert_eq!(state.device_id.as_deref(), Some("9"));
    assert_eq!(state.owner, Some(Customer::ZeroTouch("7".into())));
    let asked = fake.asked();
    assert_eq!(asked[0].line, "POST /v1/partners/12/devices:findByIdentifier");
    assert_eq!(asked[0].json(), json!({"deviceIdentifier": {"imei": IMEI}, "limit": "100"}));
    assert_eq!(asked[1].json()["pageToken"], "p2");
}

#[tokio::test]
async fn a_lookup_that_finds_nothing_says_so_and_one_without_end_does_not() {
    let fake = Fake::start([Answer::new(200, "{}")]).await;
    assert_eq!(client(&fake.url()).await.lookup(&phone()).await, Ok(None));
    let endless = (0..10).map(|_| Answer::new(200, r#"{"nextPageToken":"p"}"#));
    let fake = Fake::start(endless).await;
    assert_ambiguous(client(&fake.url()).await.lookup(&phone()).await);
    assert_eq!(fake.asked().len(), 10);
}

#[tokio::test]
async fn a_device_known_only_by_its_api_id_is_read_directly() {
    let fake = Fake::start([
        Answer::new(200, r#"{"deviceId":"9","claims":[]}"#),
        Answer::new(404, error("NOT_FOUND", json!([]))),
    ])
    .await;
    let client = client(&fake.url()).await;
    let by_id = command(Identifiers::default(), Some("9"));
    let state = client.lookup(&by_id).await.unwrap().unwrap();
    assert_eq!((state.device_id.as_deref(), state.owner), (Some("9"), None));
    assert_eq!(client.lookup(&by_id).await, Ok(None));
    assert_eq!(fake.asked()[0].line, "GET /v1/partners/12/devices/9");
    let hostile = command(Identifiers::default(), Some("../../customers?x="));
    assert_eq!(client.lookup(&hostile).await, Ok(None));
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn customers_come_from_all_pages_and_the_check_asks_for_one() {
    let fake = Fake::start([
        Answer::new(200, r#"{"customers":[{"companyId":"1"}],"nextPageToken":"a b&c"}"#),
        Answer::new(200, r#"{"customers":[{"companyId":"2"}]}"#),
        Answer::new(200, "{}"),
    ])
    .await;
    let client = client(&fake.url()).await;
    let customers = client.customers().await.unwrap();
    let ids: Vec<_> = customers.iter().map(|c| c.company_id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(client.check().await, Ok(()));
    let lines: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/partners/12/customers?pageSize=100",
            "GET /v1/partners/12/customers?pageSize=100&pageToken=a+b%26c",
            "GET /v1/partners/12/customers?pageSize=1",
        ]
    );
}

#[tokio::test]
async fn the_way_to_the_api_is_tried_without_a_call_and_any_reply_will_do() {
    let fake = Fake::start([Answer::new(404, "")]).await;
    assert_eq!(client(&fake.url()).await.reach().await, Ok(()));
    assert_eq!(fake.asked()[0].line, "HEAD /");
    let nobody = client("http://127.0.0.1:1").await.reach().await;
    assert!(matches!(nobody, Err(CallFailure::NotSent { .. })), "{nobody:?}");
}

#[tokio::test]
async fn devices_of_an_owner_come_page_by_page() {
    let fake = Fake::start([Answer::new(200, r#"{"devices":[{}],"nextPageToken":"p2"}"#)]).await;
    let customers = [Customer::ZeroTouch("7".into()), Customer::Workspace("C".into())];
    let page = client(&fake.url()).await.find_by_owner(&customers, Some("p1".into())).await;
    let page = page.unwrap();
    assert_eq!((page.devices.len(), page.next_page_token.as_deref()), (1, Some("p2")));
    assert_eq!(
        fake.asked()[0].json(),
        json!({
            "customerId": ["7"], "googleWorkspaceCustomerId": ["C"], "limit": "100",
            "pageToken": "p1", "sectionType": "SECTION_TYPE_ZERO_TOUCH",
        })
    );
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_with_the_reason() {
    let refused = async |options| ResellerClient::new(options).await.err().unwrap().to_string();
    for url in ["", "nonsense", "ftp://x", "http://x/?a=b"] {
        assert!(refused(options(url)).await.contains("base_url"), "{url}");
    }
    let secret = refused(options("http://user:hunter2@x/")).await;
    assert!(!secret.contains("hunter2"), "{secret}");
    for partner_id in ["", "1/2", "..", "1?x"] {
        let options = ClientOptions { partner_id: partner_id.into(), ..options("http://x") };
        assert!(refused(options).await.contains("partner_id"), "{partner_id}");
    }
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let with_ca = || ClientOptions { ca_file: Some(ca_file.clone()), ..options("http://x") };
    assert!(refused(with_ca()).await.contains("ca.pem"));
    std::fs::write(&ca_file, "no certificate").unwrap();
    assert!(refused(with_ca()).await.contains("ca.pem"));
}

/// A self-signed certificate of 127.0.0.1, and its key in DER.
fn certificate() -> (openssl::x509::X509, Vec<u8>) {
    use openssl::asn1::Asn1Time;
    use openssl::x509::extension::SubjectAlternativeName;
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    let key = openssl::pkey::PKey::from_rsa(key).unwrap();
    let mut builder = openssl::x509::X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let context = builder.x509v3_context(None, None);
    let name = SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap();
    builder.append_extension(name).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    (builder.build(), key.private_key_to_pkcs8().unwrap())
}

/// Answers `{}` to every request, over TLS.
fn tls_server(certificate: Vec<u8>, key: Vec<u8>) -> String {
    use std::io::{Read as _, Write as _};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key.try_into().unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok() {
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _ = stream.write_all(reply);
            }
        }
    });
    format!("https://{address}")
}
