//! Intake as tables: an event in, commands and refusals out.

use super::*;
use crate::model::{DeviceType, Identifiers};

const IMEI: &str = "490154203237518";
const IMEI_2: &str = "356938035643809";

fn options() -> IntakeOptions {
    IntakeOptions {
        accounts: BTreeSet::from(["main".to_owned(), "emea".to_owned()]),
        default_account: Some("main".to_owned()),
        skips_others: false,
    }
}

fn phone(imei: &str) -> OrderDevice {
    OrderDevice {
        ids: Identifiers { imei: Some(imei.into()), ..Default::default() },
        ..Default::default()
    }
}

fn chromebook() -> OrderDevice {
    OrderDevice {
        ids: Identifiers {
            chrome_os_attested_device_id: Some("a1".into()),
            serial_number: Some("S".into()),
            model: Some("M".into()),
            device_type: Some(DeviceType::ChromeOs),
            ..Default::default()
        },
        pre_provisioning_token: Some("t".into()),
        ..Default::default()
    }
}

fn event(kind: Cause, devices: Vec<OrderDevice>) -> OrderEvent {
    OrderEvent {
        id: "e-1".into(),
        kind,
        occurred_at: "2026-05-04T08:00:00Z".parse().unwrap(),
        order_id: "A-1".into(),
        account: None,
        customer: OrderCustomer { customer_id: Some("077".into()), ..Default::default() },
        metadata: Metadata::new(),
        devices,
        traceparent: Some("t".into()),
    }
}

fn source() -> Source {
    Source { topic: "orders".into(), partition: 1, offset: 9 }
}

fn run(event: OrderEvent) -> Vec<Intaken> {
    map(event, (&source(), None), "2026-05-04T08:00:01Z".parse().unwrap(), &options())
}

fn commands(event: OrderEvent) -> Vec<Command> {
    run(event)
        .into_iter()
        .map(|intaken| match intaken {
            Intaken::Command(command) => command,
            Intaken::Refused(refused) => panic!("refused: {:?}", refused.verdict),
        })
        .collect()
}

fn code(intaken: &Intaken) -> Option<&'static str> {
    match intaken {
        Intaken::Command(_) => None,
        Intaken::Refused(refused) => {
            let failure = refused.verdict.failure.as_ref().expect("a refusal has a failure");
            assert_eq!(refused.verdict.status, Status::Failed);
            assert!(failure.code.as_str().starts_with("input."));
            Some(failure.code.as_str())
        }
    }
}

fn codes(event: OrderEvent) -> Vec<Option<&'static str>> {
    run(event).iter().map(code).collect()
}

fn entries(pairs: &[(&str, &str)]) -> Metadata {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn a_sale_claims_with_the_order_number_and_the_devices_metadata_above_the_events() {
    let mut sale = event(Cause::Sale, vec![phone("49-015420-323751-8"), phone(IMEI_2)]);
    sale.metadata = entries(&[("a", "event"), ("b", "event")]);
    sale.devices[0].metadata = entries(&[("b", "device")]);
    sale.devices[1].metadata = entries(&[("ordernumber", "mine")]);
    let commands = commands(sale);
    assert_eq!(commands.len(), 2);
    assert_eq!(commands[0].action, Action::Claim);
    assert_eq!(commands[0].device.imei.as_deref(), Some(IMEI));
    assert_eq!(commands[0].customer, Some(Customer::ZeroTouch("77".into())));
    assert_eq!(commands[0].account, "main");
    assert_eq!(commands[0].traceparent.as_deref(), Some("t"));
    let expected = entries(&[("a", "event"), ("b", "device"), ("ordernumber", "A-1")]);
    assert_eq!(commands[0].metadata, expected);
    assert_eq!(commands[1].metadata.get("ordernumber").map(String::as_str), Some("mine"));
}

#[test]
fn a_return_notes_its_metadata_first_and_then_unclaims() {
    let mut with = event(Cause::Return, vec![phone(IMEI)]);
    with.metadata = entries(&[("note", "broken")]);
    let commands_with = commands(with);
    let actions: Vec<_> = commands_with.iter().map(|c| (c.action, c.metadata.len())).collect();
    assert_eq!(actions, [(Action::UpdateMetadata, 1), (Action::Unclaim, 0)]);
    assert_ne!(commands_with[0].id(), commands_with[1].id());
    let without = commands(event(Cause::Return, vec![phone(IMEI)]));
    assert_eq!(without.iter().map(|c| c.action).collect::<Vec<_>>(), [Action::Unclaim]);
}

#[test]
fn a_cancellation_unclaims_and_needs_no_customer() {
    let mut cancel = event(Cause::Cancellation, vec![phone(IMEI)]);
    cancel.customer = OrderCustomer::default();
    cancel.metadata = entries(&[("note", "x")]);
    cancel.devices[0].configuration_id = Some("5".into());
    let commands = commands(cancel);
    assert_eq!(commands.len(), 1);
    assert_eq!((commands[0].action, commands[0].cause), (Action::Unclaim, Cause::Cancellation));
    assert!(commands[0].metadata.is_empty() && commands[0].configuration_id.is_none());
}

#[test]
fn an_amendment_needs_metadata() {
    let mut amendment = event(Cause::Amendment, vec![phone(IMEI), phone(IMEI_2)]);
    amendment.devices[1].metadata = entries(&[("a", "b")]);
    let intaken = run(amendment);
    assert_eq!(code(&intaken[0]), Some("input.invalid_metadata"));
    assert!(matches!(&intaken[1], Intaken::Command(c) if c.action == Action::UpdateMetadata));
}

#[test]
fn a_bad_device_fails_alone_under_the_id_its_command_would_have_had() {
    let good = commands(event(Cause::Sale, vec![phone(IMEI)]));
    let intaken = run(event(Cause::Sale, vec![phone("490154203237517"), phone(IMEI_2)]));
    assert_eq!(code(&intaken[0]), Some("input.invalid_imei"));
    assert_eq!(code(&intaken[1]), None);
    let Intaken::Refused(refused) = &intaken[0] else { panic!("refused") };
    assert_eq!(refused.command.id(), good[0].id());
    assert_eq!(refused.command.device.imei.as_deref(), Some("490154203237517"));
}

#[test]
fn what_is_wrong_with_the_whole_event_fails_each_device() {
    let two = || event(Cause::Sale, vec![phone(IMEI), phone(IMEI_2)]);
    let unknown = OrderEvent { account: Some("nobody".into()), ..two() };
    assert_eq!(codes(unknown), [Some("input.unknown_account"); 2]);
    let customer = |id: Option<&str>, workspace: Option<&str>| OrderEvent {
        customer: OrderCustomer {
            customer_id: id.map(Into::into),
            google_workspace_customer_id: workspace.map(Into::into),
        },
        ..two()
    };
    for (id, workspace) in [
        (None, None),
        (Some("1"), Some("C1")),
        (Some("-1"), None),
        (Some("0"), None),
        (Some("+1"), None),
        (Some("9223372036854775808"), None),
        (None, Some("C1")),
    ] {
        let codes = codes(customer(id, workspace));
        assert_eq!(codes, [Some("input.invalid_customer"); 2], "{id:?} {workspace:?}");
    }
    assert_eq!(codes(customer(Some("9223372036854775807"), None)), [None, None]);
}

#[test]
fn without_a_default_account_an_event_has_to_name_one() {
    let options = IntakeOptions { default_account: None, ..options() };
    let at = "2026-05-04T08:00:01Z".parse().unwrap();
    let sale = event(Cause::Sale, vec![phone(IMEI)]);
    let named = OrderEvent { account: Some("emea".into()), ..sale.clone() };
    assert_eq!(code(&map(sale, (&source(), None), at, &options)[0]), Some("input.unknown_account"));
    assert_eq!(code(&map(named, (&source(), None), at, &options)[0]), None);
}

#[test]
fn a_claim_needs_identifiers_while_others_are_content_with_the_device_id() {
    let by_id = || OrderDevice { device_id: Some("5".into()), ..Default::default() };
    assert_eq!(codes(event(Cause::Sale, vec![by_id()])), [Some("input.no_identifier")]);
    assert_eq!(codes(event(Cause::Return, vec![by_id()])), [None]);
    let nothing = event(Cause::Return, vec![OrderDevice::default()]);
    assert_eq!(codes(nothing), [Some("input.no_identifier")]);
}

#[test]
fn a_chromebook_needs_its_set_its_token_and_a_workspace_customer() {
    let sale = |device: OrderDevice, customer: OrderCustomer| OrderEvent {
        customer,
        ..event(Cause::Sale, vec![device])
    };
    let workspace =
        || OrderCustomer { google_workspace_customer_id: Some("C1".into()), ..Default::default() };
    assert_eq!(codes(sale(chromebook(), workspace())), [None]);
    let zero_touch = OrderCustomer { customer_id: Some("1".into()), ..Default::default() };
    assert_eq!(codes(sale(chromebook(), zero_touch)), [Some("input.invalid_customer")]);
    let tokenless = OrderDevice { pre_provisioning_token: None, ..chromebook() };
    assert_eq!(codes(sale(tokenless, workspace())), [Some("input.incomplete_chromeos")]);
    let mut serialless = chromebook();
    serialless.ids.serial_number = None;
    assert_eq!(codes(sale(serialless, workspace())), [Some("input.incomplete_chromeos")]);
}

#[test]
fn values_of_a_device_are_checked() {
    type Edit = fn(&mut OrderDevice);
    let edits: [(Edit, Option<&str>); 7] = [
        (|d| d.section_type = Some("SECTION_TYPE_ZERO_TOUCH".into()), None),
        (|d| d.section_type = Some("SECTION_TYPE_SIM_LOCK".into()), Some("input.invalid_field")),
        (|d| d.configuration_id = Some("x".into()), Some("input.invalid_field")),
        (|d| d.configuration_id = Some("12".into()), None),
        (|d| d.device_id = Some("-5".into()), Some("input.invalid_field")),
        (|d| d.pre_provisioning_token = Some("t".into()), Some("input.invalid_field")),
        (
            |d| d.fault = Some(InputFault::new(FailureCode::InvalidMetadata, "x")),
            Some("input.invalid_metadata"),
        ),
    ];
    for (index, (edit, expected)) in edits.into_iter().enumerate() {
        let mut device = phone(IMEI);
        edit(&mut device);
        assert_eq!(codes(event(Cause::Sale, vec![device])), [expected], "edit {index}");
    }
}

#[test]
fn lines_get_names_of_their_own() {
    let line =
        |imei: &str, line: Option<&str>| OrderDevice { line: line.map(Into::into), ..phone(imei) };
    let devices = vec![
        line(IMEI, Some("1")),
        line(IMEI_2, None),
        line("356938035643809", Some("1")),
        line("x", Some("1#2")),
        line("y", Some("1")),
    ];
    let names: Vec<String> = run(event(Cause::Sale, devices))
        .into_iter()
        .map(|intaken| match intaken {
            Intaken::Command(command) => command.line,
            Intaken::Refused(refused) => refused.command.line,
        })
        .collect();
    assert_eq!(names, ["1", "1#2", "1#3", "1#2#2", "1#4"]);
}

#[test]
fn the_same_device_twice_fails_the_second_time_unless_the_first_failed() {
    let twice = event(Cause::Sale, vec![phone(IMEI), phone(IMEI)]);
    assert_eq!(codes(twice), [None, Some("input.duplicate_device")]);
    let mut bad = phone(IMEI);
    bad.fault = Some(InputFault::new(FailureCode::InvalidField, "x"));
    let retried = event(Cause::Sale, vec![bad, phone(IMEI)]);
    assert_eq!(codes(retried), [Some("input.invalid_field"), None]);
}

#[test]
fn a_tombstone_is_passed_over_and_a_foreign_type_if_the_operator_says_so() {
    use DeadLetterReason as Reason;
    let skipping = IntakeOptions { skips_others: true, ..options() };
    let over = |rejection: &Rejection| {
        (passes_over(rejection, &options()), passes_over(rejection, &skipping))
    };
    let tombstone = Rejection::new(Reason::Tombstone, "no value");
    assert_eq!(over(&tombstone), (Some(PassedOver::Tombstone), Some(PassedOver::Tombstone)));
    let foreign = Rejection::foreign(Reason::UnknownType, "order.shipped");
    assert_eq!(over(&foreign), (None, Some(PassedOver::Other)));
    let misspelt = Rejection::new(Reason::UnknownType, "Sale");
    assert_eq!(over(&misspelt), (None, None));
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Tombstone) {
        assert_eq!(over(&Rejection::new(reason, "spoiled")), (None, None), "{reason:?}");
    }
}
