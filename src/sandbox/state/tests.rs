//! Semantics and faults of the double, called without HTTP.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::model::Customer;
use crate::sandbox::api::Delivery;
use crate::sandbox::faults::Rule;
use crate::sandbox::options::{
    BadItem, DeviceIds, Duplicates, Listing, Reclaim, Semantics, UnclaimedUnclaim,
};
use crate::wire::google::{
    ClaimDevicesRequest, Device, DeviceIdentifier, DeviceMetadata, FindByIdentifierRequest,
    Operation, OperationPerDevice, PartnerClaim, PartnerUnclaim, UnclaimDevicesRequest,
    UpdateMetadataRequest,
};

const IMEIS: [&str; 4] =
    ["490154203237518", "356938035643809", "352099001761481", "358240051111110"];

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn open() -> Options {
    Options { auto_customers: true, operation_time: Duration::from_secs(1), ..Options::default() }
}

fn with(semantics: Semantics) -> State {
    State::new(Options { semantics, ..open() })
}

fn with_rule(rule: &str) -> State {
    let rule: Rule = serde_json::from_str(rule).unwrap();
    rule.check().unwrap();
    State::new(Options { faults: vec![rule], ..open() })
}

fn ids(device: usize) -> Option<DeviceIdentifier> {
    Some(DeviceIdentifier { imei: Some(IMEIS[device].into()), ..Default::default() })
}

fn zero_touch() -> Option<String> {
    Some("SECTION_TYPE_ZERO_TOUCH".into())
}

fn metadata(pairs: &[(&str, &str)]) -> DeviceMetadata {
    DeviceMetadata {
        entries: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

fn claim(device: usize, customer: &str) -> PartnerClaim {
    PartnerClaim {
        device_identifier: ids(device),
        section_type: zero_touch(),
        customer_id: Some(customer.into()),
        ..Default::default()
    }
}

fn unclaim(device: usize) -> PartnerUnclaim {
    PartnerUnclaim {
        device_identifier: ids(device),
        section_type: zero_touch(),
        ..Default::default()
    }
}

fn claims(claims: Vec<PartnerClaim>) -> Request {
    Request::ClaimAsync(ClaimDevicesRequest { claims })
}

fn unclaims(unclaims: Vec<PartnerUnclaim>) -> Request {
    Request::UnclaimAsync(UnclaimDevicesRequest { unclaims })
}

fn update(device: usize, change: DeviceMetadata) -> Request {
    Request::UpdateMetadataAsync(UpdateMetadataRequest {
        updates: vec![UpdateMetadataArguments {
            device_identifier: ids(device),
            device_metadata: Some(change),
            ..Default::default()
        }],
    })
}

fn send(state: &mut State, millis: i64, request: Request) -> Result<Body, ApiError> {
    state.call(at(millis), Call::new("1", request)).result
}

fn operation(body: Result<Body, ApiError>) -> Operation {
    match body {
        Ok(Body::Operation(operation)) => *operation,
        other => panic!("{other:?}"),
    }
}

fn poll(state: &mut State, millis: i64, name: &str) -> Operation {
    operation(send(state, millis, Request::GetOperation { name: name.into() }))
}

/// Sends a batch and gives its results once it is done.
fn finish(state: &mut State, millis: i64, request: Request) -> Vec<OperationPerDevice> {
    let name = operation(send(state, millis, request)).name;
    poll(state, millis + 1_000, &name).response.unwrap().per_device_status
}

/// Status without its prefix, and `errorIdentifier`.
fn outcomes(results: &[OperationPerDevice]) -> Vec<(&str, &str)> {
    let prefix = "SINGLE_DEVICE_STATUS_".len();
    results
        .iter()
        .map(|r| (&r.result.status[prefix..], r.result.error_identifier.as_deref().unwrap_or("")))
        .collect()
}

fn found(state: &mut State, millis: i64, device: usize) -> Vec<Device> {
    let body = FindByIdentifierRequest {
        device_identifier: ids(device).unwrap(),
        limit: "100".into(),
        page_token: None,
    };
    match send(state, millis, Request::FindByIdentifier(body)) {
        Ok(Body::Devices(found)) => found.devices,
        other => panic!("{other:?}"),
    }
}

fn owner(state: &mut State, millis: i64, device: usize) -> Option<String> {
    found(state, millis, device).first()?.claims.first()?.owner_company_id.clone()
}

#[test]
fn an_operation_shows_its_name_then_pending_then_progress_then_results() {
    let mut state = State::new(open());
    let accepted = operation(send(&mut state, 0, claims(vec![claim(0, "7")])));
    let name = accepted.name.clone();
    assert_eq!(accepted, Operation { name: name.clone(), ..Operation::default() });
    assert_eq!(poll(&mut state, 50, &name).metadata, None);
    let shown = |state: &mut State, millis| {
        let operation = poll(state, millis, &name);
        let metadata = operation.metadata.unwrap();
        (metadata.processing_status, metadata.progress, operation.done)
    };
    assert_eq!(shown(&mut state, 150), ("BATCH_PROCESS_PENDING".into(), 0, false));
    assert_eq!(shown(&mut state, 400), ("BATCH_PROCESS_IN_PROGRESS".into(), 40, false));
    assert_eq!(shown(&mut state, 999), ("BATCH_PROCESS_IN_PROGRESS".into(), 99, false));
    assert_eq!(shown(&mut state, 1_000), ("BATCH_PROCESS_PROCESSED".into(), 100, true));
    assert_eq!(poll(&mut state, 1_000, &name).response.unwrap().success_count, 1);
}

#[test]
fn changes_take_effect_at_the_end_or_at_acceptance_as_the_switch_says() {
    let mut late = with(Semantics::default());
    send(&mut late, 0, claims(vec![claim(0, "7")])).unwrap();
    assert_eq!(owner(&mut late, 999, 0), None);
    assert_eq!(owner(&mut late, 1_000, 0).as_deref(), Some("7"));
    let mut early = with(Semantics { effect: Effect::Acceptance, ..Default::default() });
    send(&mut early, 0, claims(vec![claim(0, "7")])).unwrap();
    assert_eq!(owner(&mut early, 0, 0).as_deref(), Some("7"));
}

#[test]
fn a_device_that_another_customer_or_reseller_holds_is_not_claimed() {
    let mut state = State::new(open());
    finish(&mut state, 0, claims(vec![claim(0, "7")]));
    let again = finish(&mut state, 2_000, claims(vec![claim(0, "8")]));
    assert_eq!(outcomes(&again), [("OTHER_ERROR", "DEVICE_ALREADY_EXISTS")]);
    state.seed_device(
        at(4_000),
        "2",
        ids(1).unwrap(),
        Some(Customer::ZeroTouch("9".into())),
        std::collections::BTreeMap::new(),
    );
    for (millis, request) in
        [(5_000, claims(vec![claim(1, "7")])), (7_000, unclaims(vec![unclaim(1)]))]
    {
        let results = finish(&mut state, millis, request);
        assert_eq!(outcomes(&results), [("SECTION_NOT_YOURS", "AUTHORIZATION_FAIL")]);
    }
    assert_eq!(owner(&mut state, 9_000, 0).as_deref(), Some("7"));
    assert_eq!(found(&mut state, 9_000, 1), []);
}

#[test]
fn a_claim_for_the_same_customer_succeeds_or_fails_as_the_switch_says() {
    for (reclaim, expected) in [
        (Reclaim::Success, ("SUCCESS", "")),
        (Reclaim::Error, ("OTHER_ERROR", "DEVICE_ALREADY_EXISTS")),
    ] {
        let mut state = with(Semantics { reclaim, ..Default::default() });
        finish(&mut state, 0, claims(vec![claim(0, "7")]));
        let again = finish(&mut state, 2_000, claims(vec![claim(0, "7")]));
        assert_eq!(outcomes(&again), [expected]);
    }
}

#[test]
fn an_unclaim_of_an_unclaimed_device_ends_as_the_switch_says() {
    for (unclaimed, once_claimed, never_claimed) in [
        (UnclaimedUnclaim::Success, "SUCCESS", "OTHER_ERROR"),
        (UnclaimedUnclaim::NotYours, "SECTION_NOT_YOURS", "SECTION_NOT_YOURS"),
        (UnclaimedUnclaim::NotFound, "OTHER_ERROR", "OTHER_ERROR"),
    ] {
        let mut state = with(Semantics { unclaimed, ..Default::default() });
        finish(&mut state, 0, claims(vec![claim(0, "7")]));
        finish(&mut state, 2_000, unclaims(vec![unclaim(0)]));
        let results = finish(&mut state, 4_000, unclaims(vec![unclaim(0), unclaim(1)]));
        let statuses: Vec<_> = outcomes(&results).into_iter().map(|(status, _)| status).collect();
        assert_eq!(statuses, [once_claimed, never_claimed]);
    }
}

#[test]
fn metadata_is_merged_per_key_and_an_empty_value_deletes_its_key() {
    let mut state = State::new(open());
    let first = PartnerClaim {
        device_metadata: Some(metadata(&[("ordernumber", "A"), ("phonenumber", "1")])),
        ..claim(0, "7")
    };
    finish(&mut state, 0, claims(vec![first]));
    let change = metadata(&[("phonenumber", ""), ("other", "x")]);
    finish(&mut state, 2_000, update(0, change));
    let device = &found(&mut state, 4_000, 0)[0];
    let expected = metadata(&[("ordernumber", "A"), ("other", "x")]);
    assert_eq!(device.device_metadata, Some(expected));
}

#[test]
fn metadata_of_a_device_that_one_does_not_hold_cannot_be_changed() {
    let mut state = State::new(open());
    let results = finish(&mut state, 0, update(0, metadata(&[("a", "b")])));
    assert_eq!(outcomes(&results), [("OTHER_ERROR", "INVALID_DEVICE_ID")]);
    finish(&mut state, 2_000, claims(vec![claim(0, "7")]));
    finish(&mut state, 4_000, unclaims(vec![unclaim(0)]));
    let results = finish(&mut state, 6_000, update(0, metadata(&[("a", "b")])));
    assert_eq!(outcomes(&results), [("SECTION_NOT_YOURS", "AUTHORIZATION_FAIL")]);
}

#[test]
fn an_unclaim_clears_metadata_unless_it_is_kept() {
    for (keep_metadata, expected) in [(false, None), (true, Some(metadata(&[("a", "b")])))] {
        let mut state = with(Semantics { keep_metadata, ..Default::default() });
        let kept = Some(metadata(&[("a", "b")]));
        finish(
            &mut state,
            0,
            claims(vec![PartnerClaim { device_metadata: kept, ..claim(0, "7") }]),
        );
        finish(&mut state, 2_000, unclaims(vec![unclaim(0)]));
        assert_eq!(found(&mut state, 4_000, 0)[0].device_metadata, expected);
    }
}

#[test]
fn a_device_id_is_kept_or_renewed_over_unclaim_and_claim() {
    for (device_ids, kept) in [(DeviceIds::Kept, true), (DeviceIds::Renewed, false)] {
        let mut state = with(Semantics { device_ids, ..Default::default() });
        let id = |results: Vec<OperationPerDevice>| results[0].result.device_id.clone().unwrap();
        let first = id(finish(&mut state, 0, claims(vec![claim(0, "7")])));
        assert!(first.parse::<u64>().unwrap() > 1 << 53, "ids must not fit a double");
        let by_id = PartnerUnclaim {
            device_id: Some(first.clone()),
            device_identifier: None,
            ..unclaim(0)
        };
        finish(&mut state, 2_000, unclaims(vec![by_id]));
        let second = id(finish(&mut state, 4_000, claims(vec![claim(0, "7")])));
        assert_eq!(first == second, kept);
        let old = send(&mut state, 6_000, Request::GetDevice { device_id: first });
        assert_eq!(old.is_ok(), kept);
    }
}

#[test]
fn lookups_show_or_hide_unclaimed_devices() {
    for (listing, shown) in [(Listing::Listed, 1), (Listing::Hidden, 0)] {
        let mut state = with(Semantics { listing, ..Default::default() });
        finish(&mut state, 0, claims(vec![claim(0, "7")]));
        finish(&mut state, 2_000, unclaims(vec![unclaim(0)]));
        assert_eq!(found(&mut state, 4_000, 0).len(), shown);
    }
}

#[test]
fn a_device_twice_in_a_batch_is_rejected_or_processed_in_order() {
    let twice = || claims(vec![claim(0, "7"), claim(0, "7")]);
    let mut state = State::new(open());
    let results = finish(&mut state, 0, twice());
    assert_eq!(outcomes(&results), [("SUCCESS", ""), ("OTHER_ERROR", "INVALID_PARAMETER")]);
    let mut state = with(Semantics { duplicates: Duplicates::Process, ..Default::default() });
    assert_eq!(outcomes(&finish(&mut state, 0, twice())), [("SUCCESS", ""), ("SUCCESS", "")]);
    assert_eq!(state.log().stats.device_in_flight_max, 1);
}

#[test]
fn a_bad_item_fails_alone_or_takes_the_request_with_it() {
    let bad = |imei: &str| PartnerClaim {
        device_identifier: Some(DeviceIdentifier { imei: Some(imei.into()), ..Default::default() }),
        ..claim(0, "7")
    };
    let batch = || claims(vec![bad("490154203237510"), claim(1, "7")]);
    let mut state = State::new(open());
    let results = finish(&mut state, 0, batch());
    let expected = [("INVALID_DEVICE_IDENTIFIER", "INVALID_IMEI"), ("SUCCESS", "")];
    assert_eq!(outcomes(&results), expected);
    let mut state = with(Semantics { bad_item: BadItem::Request, ..Default::default() });
    assert_eq!(send(&mut state, 0, batch()).unwrap_err().code, 400);
    assert_eq!(state.devices().count() + state.operations_in_flight(), 0);
}

#[test]
fn a_wrong_section_customer_or_size_is_refused() {
    let section = PartnerClaim { section_type: None, ..claim(0, "7") };
    let mut state = State::new(Options { auto_customers: false, batch_items_max: 2, ..open() });
    let results = finish(&mut state, 0, claims(vec![section, claim(1, "7")]));
    let expected =
        [("INVALID_SECTION_TYPE", "INVALID_SECTION_TYPE"), ("OTHER_ERROR", "INVALID_CUSTOMER_ID")];
    assert_eq!(outcomes(&results), expected);
    let three = claims(vec![claim(0, "7"), claim(1, "7"), claim(2, "7")]);
    assert_eq!(send(&mut state, 2_000, three).unwrap_err().code, 400);
    assert_eq!(send(&mut state, 2_000, claims(Vec::new())).unwrap_err().code, 400);
}

#[test]
fn partner_token_and_quota_are_checked_before_anything_happens() {
    let mut state = State::new(Options {
        partners: ["1".to_owned()].into(),
        auth_required: true,
        quota_calls: 1,
        ..open()
    });
    let mut code = |partner: &str, token: Option<&str>| {
        let token = token.map(str::to_owned);
        let call = Call { token, ..Call::new(partner, claims(vec![claim(0, "7")])) };
        state.call(at(0), call).result.map_or_else(|error| error.code, |_| 200)
    };
    assert_eq!(code("1", None), 401);
    assert_eq!(code("2", Some("t")), 403);
    assert_eq!(code("x", Some("t")), 400);
    assert_eq!(code("1", Some("t")), 200);
    assert_eq!(code("1", Some("t")), 429);
    state.revoke_token("t");
    let call = Call { token: Some("t".into()), ..Call::new("1", unclaims(vec![])) };
    assert_eq!(state.call(at(0), call).result.unwrap_err().code, 401);
}

#[test]
fn a_finished_operation_is_forgotten_after_its_retention() {
    let mut state =
        State::new(Options { operation_retention: Some(Duration::from_secs(5)), ..open() });
    let name = operation(send(&mut state, 0, claims(vec![claim(0, "7")]))).name;
    assert!(poll(&mut state, 5_999, &name).done);
    let gone = send(&mut state, 6_000, Request::GetOperation { name });
    assert_eq!(gone.unwrap_err().code, 404);
}

#[test]
fn an_error_before_takes_no_effect_and_an_error_after_does() {
    for (after, devices) in [(false, 0), (true, 1)] {
        let mut state = with_rule(&format!(
            r#"{{"method":"claimAsync","fault":{{"kind":"status","http":503,"after":{after}}}}}"#
        ));
        let error = send(&mut state, 0, claims(vec![claim(0, "7")])).unwrap_err();
        assert_eq!((error.code, error.status), (503, "UNAVAILABLE"));
        state.advance(at(1_000));
        assert_eq!(state.devices().count(), devices);
    }
}

#[test]
fn a_lost_reply_leaves_an_operation_that_runs_and_is_logged() {
    let mut state = with_rule(r#"{"times":1,"fault":{"kind":"loseReply"}}"#);
    let reply = state.call(at(0), Call::new("1", claims(vec![claim(0, "7")])));
    assert_eq!(reply.delivery, Delivery::Closed);
    assert_eq!(owner(&mut state, 1_000, 0).as_deref(), Some("7"));
    let entry = &state.log().operations.entries[0];
    assert_eq!(
        (entry.delivery, entry.ended, entry.faults[0]),
        (Delivery::Closed, true, "loseReply")
    );
    assert_eq!(state.log().stats.replies_lost, 1);
}

#[test]
fn results_can_be_short_doubled_reordered_or_without_echo() {
    let result = |fault: &str| {
        let mut state = with_rule(&format!(r#"{{"fault":{fault}}}"#));
        let batch = claims((0..4).map(|device| claim(device, "7")).collect());
        let name = operation(send(&mut state, 0, batch)).name;
        let first = poll(&mut state, 1_000, &name);
        assert_eq!(first, poll(&mut state, 2_000, &name), "every reading shows the same");
        assert_eq!(state.devices().filter(|record| record.claim.is_some()).count(), 4);
        let response = first.response.unwrap();
        assert_eq!(response.success_count, 4);
        response.per_device_status
    };
    let whole = result(r#"{"kind":"latency","millis":1}"#);
    assert_eq!(result(r#"{"kind":"shortResult","count":1}"#).len(), 3);
    assert_eq!(result(r#"{"kind":"duplicateResult","count":2}"#).len(), 6);
    let reordered = result(r#"{"kind":"reorderResult"}"#);
    assert_ne!(reordered, whole);
    assert!(reordered.iter().all(|entry| whole.contains(entry)));
    let silent = result(r#"{"kind":"missingEcho","count":1}"#);
    assert_eq!(silent.iter().filter(|entry| entry.claim.is_none()).count(), 1);
}

#[test]
fn operations_can_hang_stick_fail_or_vanish() {
    let after = |fault: &str| {
        let mut state = with_rule(&format!(r#"{{"fault":{fault}}}"#));
        let name = operation(send(&mut state, 0, claims(vec![claim(0, "7")]))).name;
        let shown = send(&mut state, 60_000, Request::GetOperation { name });
        let progress = shown.as_ref().ok().map(|body| match body {
            Body::Operation(o) => {
                (o.done, o.error.is_some(), o.metadata.as_ref().unwrap().progress)
            }
            other => panic!("{other:?}"),
        });
        (progress, owner(&mut state, 60_000, 0).is_some())
    };
    assert_eq!(after(r#"{"kind":"neverDone"}"#), (Some((false, false, 99)), false));
    assert_eq!(after(r#"{"kind":"stuckAtHundred"}"#), (Some((false, false, 100)), true));
    assert_eq!(after(r#"{"kind":"operationError","code":13}"#), (Some((true, true, 100)), false));
    assert_eq!(after(r#"{"kind":"vanish"}"#), (None, true));
}

#[test]
fn a_device_fault_fails_its_item_and_unparsed_items_are_not_counted() {
    let device = format!("imei:{}", IMEIS[1]);
    let mut state = with_rule(&format!(
        r#"{{"device":"{device}","times":1,
            "fault":{{"kind":"deviceStatus","status":"DEVICE_LIMIT_EXCEEDED"}}}}"#
    ));
    let both = || claims(vec![claim(0, "7"), claim(1, "7")]);
    let results = finish(&mut state, 0, both());
    assert_eq!(outcomes(&results), [("SUCCESS", ""), ("DEVICE_LIMIT_EXCEEDED", "")]);
    assert_eq!(outcomes(&finish(&mut state, 2_000, both())), [("SUCCESS", ""), ("SUCCESS", "")]);

    let mut state = with_rule(r#"{"fault":{"kind":"dropItems","count":1}}"#);
    let name = operation(send(&mut state, 0, both())).name;
    let done = poll(&mut state, 1_000, &name);
    assert_eq!(done.metadata.unwrap().devices_count, 1);
    assert_eq!(done.response.unwrap().per_device_status.len(), 1);
    assert_eq!(state.devices().count(), 1);
}

#[test]
fn two_operations_for_one_device_at_once_are_seen() {
    let mut state = State::new(open());
    send(&mut state, 0, claims(vec![claim(0, "7")])).unwrap();
    send(&mut state, 999, unclaims(vec![unclaim(1)])).unwrap();
    send(&mut state, 1_000, unclaims(vec![unclaim(0)])).unwrap();
    assert_eq!(state.log().stats.device_in_flight_max, 1);
    send(&mut state, 1_500, claims(vec![claim(0, "7")])).unwrap();
    let stats = &state.log().stats;
    assert_eq!(stats.device_in_flight_max, 2);
    let overlapping: Vec<_> = stats.devices_overlapping.iter().map(|key| &**key).collect();
    assert_eq!(overlapping, [format!("imei:{}", IMEIS[0])]);
}

#[test]
fn a_reset_forgets_everything_but_never_reuses_an_operation_name() {
    let mut state = State::new(open());
    let first = operation(send(&mut state, 0, claims(vec![claim(0, "7")]))).name;
    state.reset();
    assert_eq!(
        send(&mut state, 1, Request::GetOperation { name: first.clone() }).unwrap_err().code,
        404
    );
    let second = operation(send(&mut state, 2, claims(vec![claim(0, "7")]))).name;
    assert_ne!(first, second);
}

#[test]
fn time_does_not_go_back() {
    let mut state = State::new(open());
    send(&mut state, 5_000, claims(vec![claim(0, "7")])).unwrap();
    send(&mut state, 1_000, claims(vec![claim(1, "7")])).unwrap();
    assert_eq!(state.log().operations.entries[1].accepted_at, at(5_000));
}

#[derive(Clone, Debug)]
enum Step {
    Claim(usize, u8),
    Unclaim(usize),
    Update(usize, u8),
}

fn step() -> impl Strategy<Value = (i64, Step)> {
    let step = prop_oneof![
        (0..4_usize, 1..3_u8).prop_map(|(device, customer)| Step::Claim(device, customer)),
        (0..4_usize).prop_map(Step::Unclaim),
        (0..4_usize, 0..3_u8).prop_map(|(device, value)| Step::Update(device, value)),
    ];
    (0..700_i64, step)
}

fn request(step: &Step) -> Request {
    match step {
        Step::Claim(device, customer) => claims(vec![claim(*device, &customer.to_string())]),
        Step::Unclaim(device) => unclaims(vec![unclaim(*device)]),
        Step::Update(device, value) => update(*device, metadata(&[("k", &value.to_string())])),
    }
}

proptest! {
    /// Nobody need look: many small steps of time and one large one end alike, log included.
    #[test]
    fn small_steps_of_time_equal_one_large_step(
        steps in prop::collection::vec(step(), 1..30),
        tick in 1..400_i64,
        seed: u64,
    ) {
        let options = Options {
            seed,
            operation_jitter: 1.0,
            quota_calls: 0,
            operation_retention: Some(Duration::from_secs(3)),
            ..open()
        };
        let (mut small, mut large) = (State::new(options.clone()), State::new(options));
        let mut now = 0;
        for (wait, step) in &steps {
            let next = now + wait;
            while now < next {
                now = (now + tick).min(next);
                small.advance(at(now));
            }
            let ours = small.call(at(now), Call::new("1", request(step)));
            prop_assert_eq!(ours, large.call(at(now), Call::new("1", request(step))));
        }
        let end = now + 10_000;
        while now < end {
            now += tick;
            small.advance(at(now));
        }
        large.advance(at(now));
        prop_assert_eq!(&small.log().changes.entries, &large.log().changes.entries);
        prop_assert_eq!(&small.log().operations.entries, &large.log().operations.entries);
        prop_assert_eq!(&small.log().stats, &large.log().stats);
        prop_assert!(small.devices().eq(large.devices()));
        prop_assert_eq!(small.operations_in_flight(), 0);
        let times: Vec<_> = large.log().changes.entries.iter().map(|entry| entry.time).collect();
        prop_assert!(times.is_sorted(), "changes take effect in the order of time");
    }
}
