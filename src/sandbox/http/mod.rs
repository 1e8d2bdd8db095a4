//! HTTP around the double; the only part of it that knows tokio and axum.

mod connection;
mod control;
mod json;
mod route;
mod server;

pub use server::{Sandbox, serve};
