//! The whole engine in virtual time, against a small world that can lose answers and crash.

mod random;
mod rules;
mod world;
