//! Flags become options, and wrong ones are refused by name.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    sandbox: SandboxArgs,
}

fn parse(flags: &[&str]) -> Result<Options, String> {
    let all = std::iter::once("sandbox").chain(flags.iter().copied());
    let cli = Cli::try_parse_from(all).map_err(|error| error.to_string())?;
    Options::try_from(&cli.sandbox).map_err(|error| error.to_string())
}

#[test]
fn without_flags_the_defaults_hold() {
    assert_eq!(parse(&[]).unwrap(), Options::default());
}

#[test]
fn flags_reach_the_options() {
    let options = parse(&[
        "--partner=5",
        "--auto-customers",
        "--operation-time=250ms",
        "--quota-window=1m",
        "--effect=acceptance",
        "--unclaimed=not-yours",
        "--no-retry-after",
        "--error-rate=claimAsync=0.5:500",
        "--lost-reply-rate=0.1",
    ])
    .unwrap();
    assert_eq!(options.partners, ["5".to_owned()].into());
    assert_eq!(options.operation_time, Duration::from_millis(250));
    assert_eq!(options.quota_window, Duration::from_secs(60));
    assert_eq!(options.semantics.effect, Effect::Acceptance);
    assert_eq!(options.semantics.unclaimed, UnclaimedUnclaim::NotYours);
    assert!(!options.retry_after);
    assert_eq!(options.faults.len(), 4);
    assert_eq!(options.faults[0].method, Some(Method::ClaimAsync));
}

#[test]
fn a_wrong_flag_is_named() {
    for (flag, named) in [
        ("--operation-time=soon", "--operation-time"),
        ("--error-rate=claimAsink=1", "claimAsink"),
        ("--error-rate=any=1:200", "--error-rate"),
        ("--never-done-rate=2", "--never-done-rate"),
        ("--customers=/does/not/exist", "--customers"),
    ] {
        let error = parse(&[flag]).unwrap_err();
        assert!(error.contains(named), "{flag}: {error}");
    }
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("customers.json");
    std::fs::write(&path, r#"{"customers": [{"companyName": "no id"}]}"#).unwrap();
    let error = parse(&[&format!("--customers={}", path.display())]).unwrap_err();
    assert!(error.contains("--customers") && error.contains("companyId"), "{error}");
    std::fs::write(&path, r#"{"rules": [{"fault": {"kind": "nonsense"}}]}"#).unwrap();
    let error = parse(&[&format!("--faults={}", path.display())]).unwrap_err();
    assert!(error.contains("--faults") && error.contains("nonsense"), "{error}");
}
