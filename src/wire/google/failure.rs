//! What a failed call means: the only place that reads HTTP statuses and error bodies.
//!
//! Total: any status and any bytes give a [`CallFailure`]. Holds I10 for texts from outside: what
//! a server says goes through [`redact`] before it reaches a log or an event.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

use super::Method;
use super::named::named;
use crate::model::{CallFailure, Named};

/// A server cannot make an account wait longer than this with one `Retry-After`: what asks for more
/// is a mistake more often than a wish, and an hour is soon enough to ask again.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Texts from outside are cut to this many characters.
const TEXT_CHARS_MAX: usize = 300;

/// What may stand inside a word of a token or between two ids.
const SEPARATORS: [char; 7] = ['.', '_', '-', '/', '+', '=', '~'];

/// `CustomError` codes that speak of the request's content: one bad item must not pause the
/// account, whatever status it comes with.
const CONTENT_CODES: [&str; 12] = [
    "INVALID_CUSTOMER_ID",
    "INVALID_IDENTIFIER_SET",
    "INVALID_DEVICE_ID",
    "INVALID_IMEI",
    "INVALID_MEID",
    "INVALID_SERIAL",
    "INVALID_MANUFACTURER",
    "INVALID_MODEL",
    "INVALID_PARAMETER",
    "INVALID_SECTION_TYPE",
    "INVALID_PAGE_TOKEN",
    "DEVICE_ALREADY_EXISTS",
];

/// The error body every Google API uses.
#[derive(Debug, Default)]
struct ApiError {
    /// RPC status name, e.g. `INVALID_ARGUMENT`.
    status: String,
    message: String,
    /// The first `CustomError` code among the details.
    identifier: Option<String>,
    /// Reasons of `ErrorInfo` details and of the older `errors` list.
    reasons: Vec<String>,
    /// Whether the terms of service have to be accepted first.
    is_terms: bool,
    /// What of the request it names.
    named: Named,
}

impl ApiError {
    /// `None` if the body is something else: then the answer may not be the API's at all.
    fn read(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let error = value.get("error")?.as_object()?;
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let list = |key: &str| error.get(key).and_then(Value::as_array).map_or(&[][..], |l| l);
        let field = |item: &Value, key: &str| item.get(key)?.as_str().map(str::to_owned);
        let details = list("details");
        Some(Self {
            status: redact(text("status")),
            message: redact(text("message")),
            identifier: details.iter().find_map(|item| field(item, "code")).map(|c| redact(&c)),
            reasons: details
                .iter()
                .chain(list("errors"))
                .filter_map(|i| field(i, "reason"))
                .collect(),
            is_terms: details
                .iter()
                .filter_map(|item| field(item, "@type"))
                .any(|kind| kind.ends_with(".TosError")),
            named: named(text("message"), details),
        })
    }

    fn is_quota(&self) -> bool {
        const REASONS: [&str; 6] = [
            "rateLimitExceeded",
            "userRateLimitExceeded",
            "quotaExceeded",
            "dailyLimitExceeded",
            "RATE_LIMIT_EXCEEDED",
            "RESOURCE_QUOTA_EXCEEDED",
        ];
        self.status == "RESOURCE_EXHAUSTED"
            || self.reasons.iter().any(|reason| REASONS.contains(&reason.as_str()))
    }

    fn is_content(&self) -> bool {
        self.identifier.as_deref().is_some_and(|code| CONTENT_CODES.contains(&code))
    }

    fn rejected(self, http: u16) -> CallFailure {
        let status = if self.status.is_empty() { format!("HTTP_{http}") } else { self.status };
        let (identifier, message) = (self.identifier, self.message);
        CallFailure::Rejected { status, identifier, message, named: self.named }
    }
}

/// What an HTTP reply other than 2xx means. `retry_after` is the header's value; `now` is only
/// needed to read it when it is a date.
#[must_use]
pub fn from_reply(
    method: Method,
    http: u16,
    retry_after: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> CallFailure {
    let api = ApiError::read(body);
    let throttled = || CallFailure::Throttled { after: retry_after.and_then(|v| wait(v, now)) };
    match http {
        429 => throttled(),
        401 => unauthorised(format!("HTTP 401: the access token was refused{}", said(&api))),
        403 if api.as_ref().is_some_and(ApiError::is_quota) => throttled(),
        403 => forbidden(method, api),
        404 => missing(method, api),
        // A request that is too large is halved, whoever says so.
        413 => bad_request(method, http, api.unwrap_or_default()),
        400 | 409 | 412 | 422 if api.is_some() => {
            bad_request(method, http, api.unwrap_or_default())
        }
        408 | 500..=599 => ambiguous(format!("HTTP {http}{}", said(&api))),
        400..=499 => match api {
            Some(api) => api.rejected(http),
            // Not the API's own answer, but perhaps about what is in the request all the same.
            None => forbidden_by(
                http,
                None,
                &format!("HTTP {http} without the API's error body: check base_url and proxies"),
            ),
        },
        300..=399 => not_sent(format!(
            "HTTP {http} redirects, the API never does: check base_url and proxies"
        )),
        _ => ambiguous(format!("HTTP {http}, which the API never sends")),
    }
}

fn bad_request(method: Method, http: u16, api: ApiError) -> CallFailure {
    let is_gone = api.identifier.as_deref() == Some("INVALID_OPERATION_ID");
    if method == Method::GetOperation && is_gone {
        return CallFailure::NotFound;
    }
    api.rejected(http)
}

fn forbidden(method: Method, api: Option<ApiError>) -> CallFailure {
    let Some(api) = api else {
        let reason =
            "HTTP 403 without the API's error body: check api.endpoint, proxies and credentials";
        return forbidden_by(403, None, reason);
    };
    if api.is_terms {
        return unauthorised(format!(
            "HTTP 403: accept the newest terms of service in the zero-touch portal ({})",
            api.message
        ));
    }
    // A device id that is not ours says nothing about the account, unless the API gives a
    // reason such as SERVICE_DISABLED.
    let is_device = method == Method::GetDevice && api.reasons.is_empty();
    if api.is_content() || is_device || !api.named.is_empty() {
        return api.rejected(403);
    }
    let api = Some(api);
    let reason = format!(
        "HTTP 403{}: check that the API is enabled in the project and that the service account is \
         linked to this partner in the zero-touch portal",
        said(&api)
    );
    forbidden_by(403, api, &reason)
}

fn missing(method: Method, api: Option<ApiError>) -> CallFailure {
    match (method, api) {
        (Method::GetOperation | Method::GetDevice, Some(_)) => CallFailure::NotFound,
        // A load balancer's 404 must not make an operation look gone.
        (Method::GetOperation | Method::GetDevice, None) => {
            ambiguous("HTTP 404 without the API's error body: check base_url and proxies")
        }
        (_, Some(api)) if api.is_content() || !api.named.is_empty() => api.rejected(404),
        (_, api) => {
            let reason = format!("HTTP 404: check partner_id and base_url{}", said(&api));
            forbidden_by(404, api, &reason)
        }
    }
}

/// Refused without a word about why: by the API, or by something in between.
fn forbidden_by(http: u16, api: Option<ApiError>, reason: &str) -> CallFailure {
    let api = api.unwrap_or_default();
    let status = if api.status.is_empty() { format!("HTTP_{http}") } else { api.status };
    let message = if api.message.is_empty() { reason.to_owned() } else { api.message };
    CallFailure::Forbidden { status, message: redact(&message), reason: redact(reason) }
}

fn said(api: &Option<ApiError>) -> String {
    match api {
        Some(api) => {
            let identifier = api.identifier.as_ref().map_or(String::new(), |id| format!(" {id}"));
            format!(" ({}{identifier}: {})", api.status, api.message)
        }
        None => String::new(),
    }
}

/// The request never left, or provably had no effect.
#[must_use]
pub fn not_sent(reason: impl AsRef<str>) -> CallFailure {
    CallFailure::NotSent { reason: redact(reason.as_ref()) }
}

/// The request may have had its effect.
#[must_use]
pub fn ambiguous(reason: impl AsRef<str>) -> CallFailure {
    CallFailure::Ambiguous { reason: redact(reason.as_ref()) }
}

/// The account may not call until somebody does what the reason says.
#[must_use]
pub fn unauthorised(reason: impl AsRef<str>) -> CallFailure {
    CallFailure::Unauthorised { reason: redact(reason.as_ref()) }
}

/// `Retry-After`: seconds, or an HTTP date.
fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let at = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Makes a text from outside fit for logs and events: access tokens go, long hardware ids keep
/// their last four characters, control characters become spaces, and the length is bounded.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut clean = String::new();
    let mut after_bearer = false;
    // Twice the bound, so that a run across the bound is still seen whole by far.
    let text: String = text.chars().take(2 * TEXT_CHARS_MAX).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || SEPARATORS.contains(&c);
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let in_word = is_word(first);
        let end = rest.find(|c| is_word(c) != in_word).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        rest = tail;
        if !in_word {
            clean.extend(run.chars().map(|c| if c.is_control() { ' ' } else { c }));
        } else if after_bearer || is_token(run) {
            clean.push_str("[secret]");
            after_bearer = false;
        } else {
            after_bearer = run.eq_ignore_ascii_case("bearer");
            mask_ids(run, &mut clean);
        }
    }
    clean.chars().take(TEXT_CHARS_MAX).collect()
}

/// Google's access tokens and JWTs.
fn is_token(word: &str) -> bool {
    word.contains("ya29.") || (word.contains("eyJ") && word.len() > 20)
}

/// IMEI, MEID and the like: 14 or more hexadecimal digits in a row, not all of them letters.
fn mask_ids(word: &str, clean: &mut String) {
    for part in word.split_inclusive(SEPARATORS) {
        let id = part.trim_end_matches(SEPARATORS);
        let is_id = id.len() >= 14
            && id.bytes().all(|b| b.is_ascii_hexdigit())
            && id.bytes().any(|b| b.is_ascii_digit());
        if is_id {
            clean.push('…');
            clean.push_str(&id[id.len() - 4..]);
        } else {
            clean.push_str(id);
        }
        clean.push_str(&part[id.len()..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn failure(method: Method, http: u16, body: &str) -> CallFailure {
        from_reply(method, http, None, body.as_bytes(), NOW)
    }

    fn envelope(status: &str, details: &str) -> String {
        format!(
            r#"{{"error":{{"code":1,"status":"{status}","message":"said","details":[{details}]}}}}"#
        )
    }

    fn is_unauthorised(failure: &CallFailure) -> bool {
        matches!(failure, CallFailure::Unauthorised { .. })
    }

    /// The account or something in the request: the engine finds out which.
    fn is_forbidden(failure: &CallFailure) -> bool {
        matches!(failure, CallFailure::Forbidden { .. })
    }

    #[test]
    fn a_bad_request_gives_the_status_the_custom_code_and_the_message() {
        let body = envelope("INVALID_ARGUMENT", r#"{"code":"INVALID_IMEI","message":"m"}"#);
        for http in [400, 409, 412, 413] {
            assert_eq!(
                failure(Method::ClaimAsync, http, &body),
                CallFailure::Rejected {
                    status: "INVALID_ARGUMENT".into(),
                    identifier: Some("INVALID_IMEI".into()),
                    message: "said".into(),
                    named: Named::default(),
                }
            );
        }
    }

    #[test]
    fn a_bad_request_without_the_error_body_is_still_a_rejection() {
        let CallFailure::Rejected { status, .. } = failure(Method::ClaimAsync, 413, "<html>")
        else {
            panic!("not rejected");
        };
        assert_eq!(status, "HTTP_413");
    }

    #[test]
    fn other_refusals_count_only_if_the_api_itself_made_them() {
        let body = envelope("FAILED_PRECONDITION", "");
        let api = failure(Method::ClaimAsync, 405, &body);
        assert!(matches!(api, CallFailure::Rejected { .. }));
        let proxy = failure(Method::ClaimAsync, 405, "<html>");
        assert!(matches!(proxy, CallFailure::Forbidden { .. }));
        let redirect = failure(Method::ClaimAsync, 302, "");
        assert!(matches!(redirect, CallFailure::NotSent { .. }));
    }

    #[test]
    fn server_errors_leave_doubt_for_every_method() {
        for method in Method::ALL {
            for http in [408, 500, 502, 503, 504] {
                let failure = failure(method, http, "<html>oops</html>");
                assert!(matches!(failure, CallFailure::Ambiguous { .. }), "{method:?} {http}");
            }
        }
    }

    #[test]
    fn over_quota_is_throttled_whether_it_comes_as_429_or_as_403() {
        let by_status = envelope("RESOURCE_EXHAUSTED", "");
        let by_reason = envelope("PERMISSION_DENIED", r#"{"reason":"rateLimitExceeded"}"#);
        let old = r#"{"error":{"code":403,"errors":[{"reason":"userRateLimitExceeded"}]}}"#;
        for (http, body) in [(429, ""), (403, &*by_status), (403, &*by_reason), (403, old)] {
            let failure = failure(Method::ClaimAsync, http, body);
            assert_eq!(failure, CallFailure::Throttled { after: None }, "{http} {body}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_is_bounded() {
        let after = |value: &str| match from_reply(Method::ClaimAsync, 429, Some(value), b"", NOW) {
            CallFailure::Throttled { after } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(after("Thu, 01 Jan 1970 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(after("Wed, 31 Dec 1969 23:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("99999999999999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Fri, 01 Jan 2100 00:00:00 GMT"), Some(RETRY_AFTER_MAX));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_account_that_may_not_call_is_unauthorised_and_says_what_to_do() {
        let body = envelope("PERMISSION_DENIED", "");
        let refused = failure(Method::ClaimAsync, 403, &body);
        let CallFailure::Forbidden { reason, status, message } = &refused else {
            panic!("{refused:?}")
        };
        assert!(reason.contains("zero-touch portal"), "{reason}");
        assert_eq!((&**status, &**message), ("PERMISSION_DENIED", "said"));
        assert!(is_unauthorised(&failure(Method::GetOperation, 401, "")));
        assert!(is_forbidden(&failure(Method::FindByIdentifier, 403, "<html>")));
        let terms =
            envelope("PERMISSION_DENIED", r#"{"@type":"type.googleapis.com/a.b.TosError"}"#);
        assert!(is_unauthorised(&failure(Method::GetDevice, 403, &terms)));
    }

    #[test]
    fn one_bad_item_never_pauses_the_account_whatever_status_it_comes_with() {
        let body = envelope("PERMISSION_DENIED", r#"{"code":"INVALID_CUSTOMER_ID"}"#);
        for http in [403, 404] {
            let failure = failure(Method::ClaimAsync, http, &body);
            assert!(matches!(failure, CallFailure::Rejected { .. }), "{http}");
        }
        let foreign = failure(Method::GetDevice, 403, &envelope("PERMISSION_DENIED", ""));
        assert!(matches!(foreign, CallFailure::Rejected { .. }));
        let disabled = envelope("PERMISSION_DENIED", r#"{"reason":"SERVICE_DISABLED"}"#);
        assert!(is_forbidden(&failure(Method::GetDevice, 403, &disabled)));
    }

    #[test]
    fn a_missing_operation_or_device_is_not_found_and_a_missing_partner_is_forbidden() {
        let body = envelope("NOT_FOUND", "");
        assert_eq!(failure(Method::GetOperation, 404, &body), CallFailure::NotFound);
        assert_eq!(failure(Method::GetDevice, 404, &body), CallFailure::NotFound);
        for method in [Method::ClaimAsync, Method::FindByIdentifier, Method::ListCustomers] {
            assert!(is_forbidden(&failure(method, 404, &body)), "{method:?}");
        }
        let gone = envelope("INVALID_ARGUMENT", r#"{"code":"INVALID_OPERATION_ID"}"#);
        assert_eq!(failure(Method::GetOperation, 400, &gone), CallFailure::NotFound);
    }

    #[test]
    fn a_proxy_that_says_404_does_not_make_an_operation_look_gone() {
        let failure = failure(Method::GetOperation, 404, "<html>not here</html>");
        assert!(matches!(failure, CallFailure::Ambiguous { .. }));
    }

    #[test]
    fn tokens_and_hardware_ids_do_not_survive_in_texts() {
        assert_eq!(redact("bad Bearer abc/d+e== used"), "bad Bearer [secret] used");
        assert_eq!(redact("token=ya29.a0Af-x_y\n!"), "[secret] !");
        assert_eq!(redact("no eyJhbGciOiJSUzI1NiJ9.e30.c2ln here"), "no [secret] here");
        assert_eq!(redact("IMEI 490154203237518."), "IMEI …7518.");
        assert_eq!(redact("imei=490154203237518,A10000009296F2"), "imei=…7518,…96F2");
        assert_eq!(redact("INVALID_ARGUMENT in 12 items"), "INVALID_ARGUMENT in 12 items");
    }

    proptest! {
        #[test]
        fn any_status_and_any_bytes_give_a_failure_of_bounded_size(
            http in any::<u16>(),
            header in proptest::option::of(".*"),
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                ".*".prop_map(String::into_bytes),
                ".*".prop_map(|m| serde_json::json!({"error": {"message": m, "details": [m]}})
                    .to_string().into_bytes()),
            ],
        ) {
            for method in Method::ALL {
                let failure = from_reply(method, http, header.as_deref(), &body, NOW);
                let shown = format!("{failure:?}");
                prop_assert!(shown.len() < 20_000);
            }
        }

        #[test]
        fn a_long_hardware_id_never_survives_whatever_stands_around_it(
            before in "[^0-9A-Za-z]{0,30}", imei in "[0-9]{15}", after in "[^0-9A-Za-z]{0,30}",
        ) {
            let clean = redact(&format!("{before}{imei}{after}"));
            prop_assert!(!clean.contains(&imei));
        }
    }
}
