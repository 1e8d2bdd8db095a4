//! A right that is missing is named where people look: in the log and in readiness.

use crate::asking::{ADMIN, Admin};
use crate::events::sale;
use crate::invariants;
use crate::process::wait_for;
use crate::world::{SOON, Setup, World};

#[test]
fn a_worker_that_may_not_write_its_outcomes_says_which_right_is_missing_until_it_has_it() {
    let mut world = World::new("no-write", Setup { settings: &ADMIN, ..Setup::default() });
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let outcomes = world.topic("outcomes");
    world.client.may_write(&outcomes, false);
    world.send(&[sale("sale", "order-1", "100", &[1])]);

    let right = format!("no WRITE on the topic {outcomes}");
    let reason = wait_for("the latch", SOON, || admin.reason("writes"));
    assert!(reason.contains("dispatch") && reason.contains(&right), "{reason}");
    let (status, _) = admin.ask("GET", "/readyz", "");
    assert_eq!(status, 503);
    let said = worker.stderr();
    assert!(said.contains(&right) && said.contains("transactions keep failing"), "{said}");
    assert!(!said.contains("Purged"), "{said}");

    world.client.may_write(&outcomes, true);
    admin.wait_until_ready();
    world.wait_until_quiet(SOON);
    assert_eq!(world.outcome_of("sale").status(), "succeeded");
    invariants::hold(&world);
}
