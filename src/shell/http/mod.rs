//! The reseller API over HTTP.
