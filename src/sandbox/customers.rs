//! Companies: the customers of each reseller, and its vendors (sub-resellers) with theirs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::api::{ApiError, Body, CompanyBody, Paging};
use super::identifiers::ItemError;
use super::paging;
use crate::model::Customer;
use crate::wire::google::PartnerClaim;

/// The file that `--customers` names.
///
/// ```json
/// {"customers": [{"companyId": "100", "companyName": "Acme", "partnerId": "1"}],
///  "vendors": [{"partnerId": "1", "companyId": "7", "companyName": "Sub-reseller",
///               "customers": [{"companyId": "200", "companyName": "Their customer"}]}]}
/// ```
/// A company has the fields of the API's `Company`. Without `partnerId` it is a customer of every
/// partner. A vendor's `companyId` is also its partner id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CustomersFile {
    /// Customers of the resellers.
    pub customers: Vec<KnownCompany>,
    /// Vendors of the resellers.
    pub vendors: Vec<KnownVendor>,
}

/// A customer that exists from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KnownCompany {
    /// Whose customer; absent: everybody's.
    pub partner_id: Option<String>,
    /// The company; `companyId` is needed.
    #[serde(flatten)]
    pub company: CompanyBody,
}

/// A vendor that exists from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KnownVendor {
    /// Whose vendor; absent: everybody's.
    pub partner_id: Option<String>,
    /// The vendor's customers.
    pub customers: Vec<CompanyBody>,
    /// The vendor; `companyId` is needed.
    #[serde(flatten)]
    pub company: CompanyBody,
}

/// All companies. Keys are (partner or `*`, company id).
#[derive(Clone, Debug)]
pub struct Customers {
    any: bool,
    companies: BTreeMap<(String, String), CompanyBody>,
    vendors: BTreeMap<(String, String), CompanyBody>,
    next_id: u64,
}

const EVERY_PARTNER: &str = "*";
/// Where the ids of created customers begin.
const FIRST_ID: u64 = 900_000_001;

impl Customers {
    /// The companies of the file; `any` lets claims name customers that do not exist.
    #[must_use]
    pub fn new(file: &CustomersFile, any: bool) -> Self {
        let mut customers =
            Self { any, companies: BTreeMap::new(), vendors: BTreeMap::new(), next_id: FIRST_ID };
        let partner = |id: &Option<String>| id.clone().unwrap_or_else(|| EVERY_PARTNER.into());
        for known in &file.customers {
            customers.insert(&partner(&known.partner_id), known.company.clone());
        }
        for known in &file.vendors {
            let id = known.company.company_id.clone().unwrap_or_default();
            for company in &known.customers {
                customers.insert(&id, company.clone());
            }
            let owner = partner(&known.partner_id);
            let company = with_name(known.company.clone(), &format!("partners/{owner}/vendors"));
            customers.vendors.insert((owner, id), company);
        }
        customers
    }

    fn insert(&mut self, partner: &str, company: CompanyBody) {
        let id = company.company_id.clone().unwrap_or_default();
        let company = with_name(company, &format!("partners/{partner}/customers"));
        self.companies.insert((partner.to_owned(), id), company);
    }

    /// Whether `vendor` is a sub-reseller of `partner`.
    #[must_use]
    pub fn is_vendor_of(&self, vendor: &str, partner: &str) -> bool {
        of(&self.vendors, partner).any(|(id, _)| id == vendor)
    }

    /// `partners.customers.create`.
    ///
    /// # Errors
    /// Without a name or an owner.
    pub fn create(&mut self, partner: &str, mut company: CompanyBody) -> Result<Body, ApiError> {
        if company.company_name.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(ApiError::invalid("INVALID_PARAMETER", "companyName is needed"));
        }
        if company.owner_emails.is_empty() {
            return Err(ApiError::invalid("INVALID_PARAMETER", "ownerEmails needs one address"));
        }
        while self.companies.keys().any(|(_, id)| *id == self.next_id.to_string()) {
            self.next_id += 1;
        }
        let id = self.next_id.to_string();
        self.next_id += 1;
        company.company_id = Some(id.clone());
        company.skip_welcome_email = None;
        company.terms_status = Some("TERMS_STATUS_NOT_ACCEPTED".into());
        company.name = None;
        self.insert(partner, company);
        let company = self.companies.get(&(partner.to_owned(), id)).cloned().unwrap_or_default();
        Ok(Body::Company(Box::new(company)))
    }

    /// `partners.customers.list`.
    ///
    /// # Errors
    /// For a page token that is not of this list.
    pub fn list(&self, partner: &str, paging: &Paging) -> Result<Body, ApiError> {
        let all: Vec<_> = of(&self.companies, partner)
            .map(|(_, company)| {
                with_name(company.clone(), &format!("partners/{partner}/customers"))
            })
            .collect();
        let page = paging::page(all, &format!("customers/{partner}"), paging)?;
        Ok(Body::Customers {
            customers: page.items,
            next_page_token: page.next_page_token,
            total_size: page.total_size,
        })
    }

    /// `partners.vendors.list`.
    ///
    /// # Errors
    /// For a page token that is not of this list.
    pub fn list_vendors(&self, partner: &str, paging: &Paging) -> Result<Body, ApiError> {
        let all: Vec<_> = of(&self.vendors, partner)
            .map(|(_, company)| with_name(company.clone(), &format!("partners/{partner}/vendors")))
            .collect();
        let page = paging::page(all, &format!("vendors/{partner}"), paging)?;
        Ok(Body::Vendors {
            vendors: page.items,
            next_page_token: page.next_page_token,
            total_size: page.total_size,
        })
    }

    /// `partners.vendors.customers.list`.
    ///
    /// # Errors
    /// For a vendor that is not the partner's.
    pub fn list_of_vendor(
        &self,
        partner: &str,
        vendor: &str,
        paging: &Paging,
    ) -> Result<Body, ApiError> {
        if !self.is_vendor_of(vendor, partner) {
            return Err(ApiError::new(404, "the partner has no such vendor"));
        }
        self.list(vendor, paging)
    }

    /// The customer that a claim names, if the partner may claim for it.
    ///
    /// # Errors
    /// As a result of the item.
    pub fn of_claim(&self, partner: &str, claim: &PartnerClaim) -> Result<Customer, ItemError> {
        let wrong =
            |message: &str| Err(ItemError::new("OTHER_ERROR", "INVALID_CUSTOMER_ID", message));
        match (&claim.customer_id, &claim.google_workspace_customer_id) {
            (Some(id), None) => {
                if id.parse::<i64>().is_ok_and(|id| id > 0) && (self.any || self.has(partner, id)) {
                    Ok(Customer::ZeroTouch(id.clone()))
                } else {
                    wrong("the partner has no such customer")
                }
            }
            (None, Some(id)) => self.workspace(partner, id, claim),
            _ => wrong("give exactly one of customerId and googleWorkspaceCustomerId"),
        }
    }

    fn has(&self, partner: &str, id: &str) -> bool {
        [partner, EVERY_PARTNER]
            .iter()
            .any(|owner| self.companies.contains_key(&((*owner).to_owned(), id.to_owned())))
    }

    fn workspace(
        &self,
        partner: &str,
        id: &str,
        claim: &PartnerClaim,
    ) -> Result<Customer, ItemError> {
        let account = of(&self.companies, partner)
            .filter_map(|(_, company)| company.google_workspace_account.as_ref())
            .find(|account| account.customer_id == id);
        if id.is_empty() || (account.is_none() && !self.any) {
            return Err(ItemError::new(
                "OTHER_ERROR",
                "INVALID_CUSTOMER_ID",
                "the partner has no such Workspace customer",
            ));
        }
        let token = claim.pre_provisioning_token.as_deref().unwrap_or_default();
        let accepted = account.map_or(&[][..], |account| &account.pre_provisioning_tokens);
        let is_chrome_os = claim
            .device_identifier
            .as_ref()
            .is_some_and(|ids| ids.chrome_os_attested_device_id.is_some());
        let taken = !token.is_empty()
            && (accepted.is_empty() || accepted.iter().any(|known| known == token));
        if is_chrome_os && !taken {
            return Err(ItemError::new(
                "INVALID_TOKEN",
                "INVALID_PARAMETER",
                "the pre-provisioning token is not valid",
            ));
        }
        Ok(Customer::Workspace(id.to_owned()))
    }
}

/// The entries of one partner, then those of every partner.
fn of<'a>(
    map: &'a BTreeMap<(String, String), CompanyBody>,
    partner: &'a str,
) -> impl Iterator<Item = (&'a String, &'a CompanyBody)> {
    map.iter()
        .filter(move |((owner, _), _)| owner == partner || owner == EVERY_PARTNER)
        .map(|((_, id), company)| (id, company))
}

fn with_name(mut company: CompanyBody, parent: &str) -> CompanyBody {
    let id = company.company_id.as_deref().unwrap_or_default();
    company.name = Some(format!("{parent}/{id}"));
    company
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> CustomersFile {
        serde_json::from_str(
            r#"{"customers": [{"companyId": "100", "companyName": "Acme", "partnerId": "1"},
                              {"companyId": "101", "companyName": "Everybody's"}],
                "vendors": [{"partnerId": "1", "companyId": "7", "companyName": "Sub",
                             "customers": [{"companyId": "200", "companyName": "Theirs"}]}]}"#,
        )
        .unwrap()
    }

    fn claim(customer: &str) -> PartnerClaim {
        PartnerClaim { customer_id: Some(customer.into()), ..Default::default() }
    }

    #[test]
    fn a_partner_claims_only_for_its_own_customers() {
        let customers = Customers::new(&file(), false);
        assert!(customers.of_claim("1", &claim("100")).is_ok());
        assert!(customers.of_claim("2", &claim("101")).is_ok());
        for (partner, customer) in [("2", "100"), ("1", "200"), ("1", "x")] {
            let error = customers.of_claim(partner, &claim(customer)).unwrap_err();
            assert_eq!(error.identifier, "INVALID_CUSTOMER_ID");
        }
        assert!(Customers::new(&file(), true).of_claim("2", &claim("55")).is_ok());
    }

    #[test]
    fn exactly_one_kind_of_customer_is_taken() {
        let customers = Customers::new(&file(), true);
        let both = PartnerClaim { google_workspace_customer_id: Some("C1".into()), ..claim("100") };
        assert!(customers.of_claim("1", &both).is_err());
        assert!(customers.of_claim("1", &PartnerClaim::default()).is_err());
    }

    #[test]
    fn a_created_customer_has_an_id_and_is_listed() {
        let mut customers = Customers::new(&file(), false);
        let body = CompanyBody {
            company_name: Some("New".into()),
            owner_emails: vec!["a@example.com".into()],
            ..Default::default()
        };
        let Body::Company(created) = customers.create("2", body).unwrap() else { panic!() };
        assert_eq!(created.name.as_deref(), Some("partners/2/customers/900000001"));
        let Body::Customers { customers: listed, .. } =
            customers.list("2", &Paging::default()).unwrap()
        else {
            panic!()
        };
        assert_eq!(listed.len(), 2);
        assert!(customers.create("2", CompanyBody::default()).is_err());
    }

    #[test]
    fn a_vendors_customers_are_listed_for_its_parent_only() {
        let customers = Customers::new(&file(), false);
        let listed = customers.list_of_vendor("1", "7", &Paging::default()).unwrap();
        assert!(matches!(listed, Body::Customers { total_size: 2, .. }));
        assert_eq!(customers.list_of_vendor("2", "7", &Paging::default()).unwrap_err().code, 404);
    }
}
