//! Whether a record was made for this worker, and the words when it was not.
//!
//! Two installations that share topics by mistake read each other's commands. An account's name
//! tells them not apart: both may call theirs `main`. So every record says for which partner, API
//! and group it was made, and one for somebody else stops its lane: nothing is sent, nothing is
//! passed over, and somebody is told. A record that says nothing is of an older worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Purpose;

use super::options::Installation;
use super::{AccountOptions, Options};

/// What is to be done about topics that two installations share.
const SHARED: &str = "two installations share these topics: give each its own `prefix`";
/// What is to be done if it was meant.
const MEANT: &str = "If it was changed here on purpose, change it back until what waits is done";

/// Why a command is not this worker's; `account` is the index of the account that it names, if that
/// is configured here.
pub(crate) fn foreign_command(
    options: &Options,
    account: Option<u16>,
    purpose: &Purpose,
) -> Option<String> {
    let own = options.installation.as_ref()?;
    let partner = match account.and_then(|ix| options.accounts.get(usize::from(ix))) {
        Some(account) if account.partner_id == purpose.partner => None,
        Some(account) => Some(format!(
            "the partner id of this worker's account `{}` is {}",
            account.name, account.partner_id
        )),
        // Its account was taken out of the configuration or has another name now.
        None if options.accounts.iter().any(|own| own.partner_id == purpose.partner) => None,
        None => {
            let partners = options.accounts.iter().map(|account| &*account.partner_id);
            let partners = partners.collect::<Vec<_>>().join(", ");
            Some(format!("no account of this worker has that partner id ({partners})"))
        }
    };
    let group = foreign_group(own, purpose);
    let endpoint = (own.endpoint != purpose.endpoint)
        .then(|| format!("this worker's API is at {}", own.endpoint));
    let differences: Vec<_> = [partner, endpoint, group].into_iter().flatten().collect();
    (!differences.is_empty()).then(|| words(purpose, &differences))
}

/// Why a record of the ledger is not this worker's. `account` is that of commands under way; of a
/// record that has none, only the group counts: its work is done.
pub(crate) fn foreign_record(
    options: &Options,
    account: Option<u16>,
    purpose: &Purpose,
) -> Option<String> {
    let own = options.installation.as_ref()?;
    match account {
        Some(_) => foreign_command(options, account, purpose),
        None => foreign_group(own, purpose).map(|group| words(purpose, &[group])),
    }
}

fn foreign_group(own: &Installation, purpose: &Purpose) -> Option<String> {
    (own.group != purpose.group).then(|| format!("this worker's group is {}", own.group))
}

fn words(purpose: &Purpose, differences: &[String]) -> String {
    format!("is meant for {purpose}; {}: {SHARED}. {MEANT}", differences.join("; "))
}

impl Options {
    /// What the records of an account are meant for; none if this worker is of no installation, as
    /// in tests.
    #[must_use]
    pub fn purpose(&self, partner: &Arc<str>) -> Option<Arc<Purpose>> {
        let Installation { endpoint, group } = self.installation.clone()?;
        Some(Arc::new(Purpose { endpoint, partner: Arc::clone(partner), group }))
    }

    /// Why a command that names this account is not this worker's; none if it is.
    #[must_use]
    pub fn foreign_command(&self, account: &str, purpose: &Purpose) -> Option<String> {
        let place = self.accounts.iter().position(|own| *own.name == *account);
        foreign_command(self, place.and_then(|ix| u16::try_from(ix).ok()), purpose)
    }

    /// Why a record is not of this worker's group; none if it is.
    #[must_use]
    pub fn foreign_group(&self, purpose: &Purpose) -> Option<String> {
        foreign_record(self, None, purpose)
    }

    /// What the records of each account are meant for, by the account's name.
    #[must_use]
    pub fn purposes(&self) -> BTreeMap<Arc<str>, Arc<Purpose>> {
        let accounts = self.accounts.iter();
        let purpose =
            |one: &AccountOptions| Some((Arc::clone(&one.name), self.purpose(&one.partner_id)?));
        accounts.filter_map(purpose).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let account = |name: &str, partner: &str| AccountOptions {
            name: name.into(),
            partner_id: partner.into(),
            quota_calls: 1,
            quota_window: std::time::Duration::from_secs(1),
        };
        Options {
            accounts: vec![account("main", "123"), account("emea", "124")],
            installation: Some(Installation {
                endpoint: "https://api.example".into(),
                group: "zerotouch-worker".into(),
            }),
            ..Options::default()
        }
    }

    fn purpose(endpoint: &str, partner: &str, group: &str) -> Purpose {
        Purpose { endpoint: endpoint.into(), partner: partner.into(), group: group.into() }
    }

    fn told(account: Option<u16>, endpoint: &str, partner: &str, group: &str) -> Option<String> {
        foreign_command(&options(), account, &purpose(endpoint, partner, group))
    }

    const API: &str = "https://api.example";
    const GROUP: &str = "zerotouch-worker";

    #[test]
    fn a_command_for_this_worker_is_taken() {
        assert_eq!(told(Some(0), API, "123", GROUP), None);
        assert_eq!(told(Some(1), API, "124", GROUP), None);
        let nowhere = Options { installation: None, ..options() };
        assert_eq!(foreign_command(&nowhere, Some(0), &purpose("x", "9", "y")), None);
    }

    #[test]
    fn a_command_for_another_partner_api_or_group_is_refused_with_what_differs() {
        for (account, endpoint, partner, group, words) in [
            (Some(0), API, "222", GROUP, "partner id of this worker's account `main` is 123"),
            (Some(0), API, "124", GROUP, "account `main` is 123"),
            (Some(0), "http://sandbox:8080", "123", GROUP, "API is at https://api.example"),
            (Some(0), API, "123", "two", "this worker's group is zerotouch-worker"),
            (None, API, "222", GROUP, "no account of this worker has that partner id (123, 124)"),
        ] {
            let told = told(account, endpoint, partner, group).expect(words);
            assert!(told.contains(words) && told.contains("its own `prefix`"), "{told}");
            assert!(told.contains(&format!("partner {partner} at {endpoint}, group {group}")));
        }
    }

    #[test]
    fn a_command_whose_account_has_another_name_now_is_of_this_worker() {
        assert_eq!(told(None, API, "123", GROUP), None);
    }

    #[test]
    fn of_a_record_whose_work_is_done_only_the_group_counts() {
        let of = |partner, group| purpose(API, partner, group);
        assert_eq!(foreign_record(&options(), None, &of("222", GROUP)), None);
        assert!(foreign_record(&options(), None, &of("123", "two")).is_some());
        assert!(foreign_record(&options(), Some(0), &of("222", GROUP)).is_some());
    }
}
