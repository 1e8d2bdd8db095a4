//! The whole engine in virtual time, against a small world that can lose answers and crash.

mod bare;
mod random;
mod refusals;
mod replay;
mod restarts;
mod rules;
mod stops;
mod suspects;
mod trail;
mod world;
