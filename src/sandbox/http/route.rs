//! From an HTTP request to a call: paths with `:verb` suffixes and names with slashes.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::json::{self, Fields};
use crate::sandbox::api::{ApiError, Call, CompanyBody, Method, Paging, Request};
use crate::wire::google::DeviceMetadata;

/// The parts of an HTTP request that matter.
pub(super) struct HttpRequest<'a> {
    pub(super) verb: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a BTreeMap<String, String>,
    pub(super) token: Option<String>,
    pub(super) body: &'a [u8],
}

impl HttpRequest<'_> {
    /// The call; one that cannot be understood becomes [`Request::Malformed`].
    pub(super) fn call(&self) -> Call {
        let path = percent_decode_str(self.path).decode_utf8_lossy();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (method, partner) = self.target(&segments);
        let request = self.check_query().and_then(|()| self.request(method, &segments));
        Call {
            partner: partner.to_owned(),
            token: self.token.clone(),
            request: request.unwrap_or_else(|error| Request::Malformed { method, error }),
        }
    }

    fn target<'p>(&self, segments: &[&'p str]) -> (Method, &'p str) {
        match (self.verb, segments) {
            ("POST", ["v1", "partners", partner, verb]) => {
                let method = match *verb {
                    "devices:claim" => Method::Claim,
                    "devices:claimAsync" => Method::ClaimAsync,
                    "devices:unclaim" => Method::Unclaim,
                    "devices:unclaimAsync" => Method::UnclaimAsync,
                    "devices:updateMetadataAsync" => Method::UpdateMetadataAsync,
                    "devices:findByIdentifier" => Method::FindByIdentifier,
                    "devices:findByOwner" => Method::FindByOwner,
                    "customers" => Method::CreateCustomer,
                    _ => Method::None,
                };
                (method, partner)
            }
            ("POST", ["v1", "partners", partner, "devices", _, "metadata"]) => {
                (Method::Metadata, partner)
            }
            ("GET", ["v1", "partners", partner, "devices", _]) => (Method::GetDevice, partner),
            ("GET", ["v1", "partners", partner, "customers"]) => (Method::ListCustomers, partner),
            ("GET", ["v1", "partners", partner, "vendors"]) => (Method::ListVendors, partner),
            ("GET", ["v1", "partners", partner, "vendors", _, "customers"]) => {
                (Method::ListVendorCustomers, partner)
            }
            ("GET", ["v1", "operations", _, ..]) => (Method::GetOperation, ""),
            _ => (Method::None, ""),
        }
    }

    fn request(&self, method: Method, segments: &[&str]) -> Result<Request, ApiError> {
        Ok(match method {
            Method::Claim => Request::Claim(self.body(json::CLAIM)?),
            Method::ClaimAsync => Request::ClaimAsync(self.body_with("claims", json::CLAIMS)?),
            Method::Unclaim => Request::Unclaim(self.body(json::UNCLAIM)?),
            Method::UnclaimAsync => {
                Request::UnclaimAsync(self.body_with("unclaims", json::UNCLAIMS)?)
            }
            Method::UpdateMetadataAsync => {
                Request::UpdateMetadataAsync(self.body_with("updates", json::UPDATES)?)
            }
            Method::Metadata => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase", default)]
                #[derive(Default)]
                struct Wrapped {
                    device_metadata: DeviceMetadata,
                }
                let wrapped: Wrapped = self.body(json::UPDATE_METADATA)?;
                let device_id = segments[4].to_owned();
                Request::Metadata { device_id, metadata: wrapped.device_metadata }
            }
            Method::FindByIdentifier => {
                Request::FindByIdentifier(self.body(json::FIND_BY_IDENTIFIER)?)
            }
            Method::FindByOwner => Request::FindByOwner(self.body(json::FIND_BY_OWNER)?),
            Method::GetDevice => Request::GetDevice { device_id: segments[4].to_owned() },
            Method::CreateCustomer => {
                #[derive(Default, Deserialize)]
                #[serde(default)]
                struct Wrapped {
                    customer: CompanyBody,
                }
                let wrapped: Wrapped = self.body(json::CREATE_CUSTOMER)?;
                Request::CreateCustomer(wrapped.customer)
            }
            Method::ListCustomers => Request::ListCustomers(self.paging()?),
            Method::ListVendors => Request::ListVendors(self.paging()?),
            Method::ListVendorCustomers => Request::ListVendorCustomers {
                vendor: segments[4].to_owned(),
                paging: self.paging()?,
            },
            Method::GetOperation => Request::GetOperation { name: segments[1..].join("/") },
            Method::None => {
                return Err(ApiError::new(404, "the sandbox serves no such method"));
            }
        })
    }

    fn body<T: serde::de::DeserializeOwned>(&self, fields: Fields) -> Result<T, ApiError> {
        typed(json::read(self.body, fields)?)
    }

    /// The same for a batch, whose list may be absent.
    fn body_with<T>(&self, list: &str, fields: Fields) -> Result<T, ApiError>
    where
        T: serde::de::DeserializeOwned,
    {
        let mut value = json::read(self.body, fields)?;
        if value.get(list).is_none() {
            value[list] = Value::Array(Vec::new());
        }
        typed(value)
    }

    fn paging(&self) -> Result<Paging, ApiError> {
        let page_size = match self.query.get("pageSize") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| ApiError::invalid("INVALID_PARAMETER", "pageSize is no number"))?,
        };
        Ok(Paging { page_size, page_token: self.query.get("pageToken").cloned() })
    }

    fn check_query(&self) -> Result<(), ApiError> {
        match self.query.get("alt").map(String::as_str) {
            None | Some("json") => Ok(()),
            Some(_) => Err(ApiError::invalid("INVALID_PARAMETER", "only alt=json is served")),
        }
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value)
        .map_err(|error| ApiError::new(400, format!("Invalid JSON payload received. {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(verb: &str, path: &str, query: &[(&str, &str)], body: &str) -> Call {
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        HttpRequest { verb, path, query: &query, token: None, body: body.as_bytes() }.call()
    }

    #[test]
    fn an_operations_name_keeps_its_slashes_and_a_colon_may_be_escaped() {
        let read = call("GET", "/v1/operations/apibatchoperation/12", &[], "");
        let name = "operations/apibatchoperation/12".to_owned();
        assert_eq!(read.request, Request::GetOperation { name });
        let claim = call("POST", "/v1/partners/5/devices%3AclaimAsync", &[], "{}");
        assert_eq!((claim.request.method(), &*claim.partner), (Method::ClaimAsync, "5"));
    }

    #[test]
    fn an_unknown_path_is_404_and_a_wrong_body_400_for_its_method() {
        let codes = [
            call("GET", "/v1/partners/5/nothing", &[], ""),
            call("DELETE", "/v1/operations/x/1", &[], ""),
            call("POST", "/v1/partners/5/devices:claim", &[], "["),
            call("GET", "/v1/partners/5/customers", &[("alt", "proto")], ""),
            call("GET", "/v1/partners/5/customers", &[("pageSize", "x")], ""),
        ]
        .map(|call| match call.request {
            Request::Malformed { method, error } => (method, error.code),
            other => panic!("{other:?}"),
        });
        let expected = [
            (Method::None, 404),
            (Method::None, 404),
            (Method::Claim, 400),
            (Method::ListCustomers, 400),
            (Method::ListCustomers, 400),
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn paging_comes_from_the_query() {
        let query = [("pageSize", "7"), ("pageToken", "t"), ("alt", "json")];
        let list = call("GET", "/v1/partners/5/vendors/9/customers", &query, "");
        let paging = Paging { page_size: 7, page_token: Some("t".into()) };
        assert_eq!(list.request, Request::ListVendorCustomers { vendor: "9".into(), paging });
    }

    const PATHS: &str = concat!(
        "/v1/(partners/[^/]{0,3}/(devices|customers|vendors|devices:claimAsync)(/[^/]{0,3}){0,3}",
        "|operations(/[^/]{0,3}){0,3}|.{0,20})"
    );

    proptest::proptest! {
        #[test]
        fn no_request_makes_it_panic(
            verb in "GET|POST|PUT",
            path in PATHS,
            body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        ) {
            let query = BTreeMap::new();
            let request = HttpRequest { verb: &verb, path: &path, query: &query, token: None,
                body: &body };
            request.call();
        }
    }
}
