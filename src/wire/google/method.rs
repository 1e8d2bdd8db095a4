//! The methods of the API that this worker calls: id, verb and path of each, in one place.
//!
//! `tests/discovery.rs` holds them to the discovery document.

use crate::model::Action;

/// A method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Claims a batch of devices.
    ClaimAsync,
    /// Unclaims a batch of devices.
    UnclaimAsync,
    /// Updates the metadata of a batch of devices.
    UpdateMetadataAsync,
    /// Reads an operation.
    GetOperation,
    /// Reads a device by its API id.
    GetDevice,
    /// Finds devices by hardware id.
    FindByIdentifier,
    /// Finds devices by customer.
    FindByOwner,
    /// Lists the reseller's customers.
    ListCustomers,
}

impl Method {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 8] = [
        Self::ClaimAsync,
        Self::UnclaimAsync,
        Self::UpdateMetadataAsync,
        Self::GetOperation,
        Self::GetDevice,
        Self::FindByIdentifier,
        Self::FindByOwner,
        Self::ListCustomers,
    ];

    /// The method's id in the discovery document, without the name of the API; the name used in
    /// logs, traces and metrics.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ClaimAsync => "partners.devices.claimAsync",
            Self::UnclaimAsync => "partners.devices.unclaimAsync",
            Self::UpdateMetadataAsync => "partners.devices.updateMetadataAsync",
            Self::GetOperation => "operations.get",
            Self::GetDevice => "partners.devices.get",
            Self::FindByIdentifier => "partners.devices.findByIdentifier",
            Self::FindByOwner => "partners.devices.findByOwner",
            Self::ListCustomers => "partners.customers.list",
        }
    }

    /// `GET` or `POST`.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::GetOperation | Self::GetDevice | Self::ListCustomers => "GET",
            _ => "POST",
        }
    }

    /// Path below the base URL, with `{…}` where an id goes.
    #[must_use]
    pub const fn template(self) -> &'static str {
        match self {
            Self::ClaimAsync => "v1/partners/{partnersId}/devices:claimAsync",
            Self::UnclaimAsync => "v1/partners/{partnersId}/devices:unclaimAsync",
            Self::UpdateMetadataAsync => "v1/partners/{partnersId}/devices:updateMetadataAsync",
            Self::GetOperation => "v1/operations/{operationsId}",
            Self::GetDevice => "v1/partners/{partnersId}/devices/{devicesId}",
            Self::FindByIdentifier => "v1/partners/{partnersId}/devices:findByIdentifier",
            Self::FindByOwner => "v1/partners/{partnersId}/devices:findByOwner",
            Self::ListCustomers => "v1/partners/{partnersId}/customers",
        }
    }

    /// The path for a partner and, where the method names one, an operation or a device.
    /// `resource` is what follows `operations/` or `devices/`; ignored by the other methods.
    ///
    /// Ids are put in as they are: check them with [`is_path_id`] first.
    #[must_use]
    pub fn path(self, partner: &str, resource: &str) -> String {
        self.template()
            .replace("{partnersId}", partner)
            .replace("{operationsId}", resource)
            .replace("{devicesId}", resource)
    }

    /// Whether the call changes devices, so that a lost answer leaves doubt.
    #[must_use]
    pub const fn is_submit(self) -> bool {
        matches!(self, Self::ClaimAsync | Self::UnclaimAsync | Self::UpdateMetadataAsync)
    }
}

impl From<Action> for Method {
    fn from(action: Action) -> Self {
        match action {
            Action::Claim => Self::ClaimAsync,
            Action::Unclaim => Self::UnclaimAsync,
            Action::UpdateMetadata => Self::UpdateMetadataAsync,
        }
    }
}

/// Whether an id can stand in a path as it is: it cannot leave its segments or start a query.
#[must_use]
pub fn is_path_id(id: &str) -> bool {
    id.split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    })
}

/// The part of an operation's name after `operations/`; `None` if it is not such a name.
#[must_use]
pub fn operation_id(name: &str) -> Option<&str> {
    name.strip_prefix("operations/").filter(|id| is_path_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_templates_with_the_ids_in_place() {
        assert_eq!(Method::ClaimAsync.path("12", ""), "v1/partners/12/devices:claimAsync");
        assert_eq!(Method::GetDevice.path("12", "34"), "v1/partners/12/devices/34");
        assert_eq!(Method::GetOperation.path("12", "a/1"), "v1/operations/a/1");
    }

    #[test]
    fn an_operation_name_keeps_its_slashes_and_cannot_leave_its_place() {
        assert_eq!(operation_id("operations/batch/12"), Some("batch/12"));
        for bad in ["", "operations/", "op/1", "operations/../x", "operations/a?b", "operations//a"]
        {
            assert_eq!(operation_id(bad), None, "{bad}");
        }
    }
}
