//! Random streams, faults and crashes: whatever happens, each command gets one outcome.

use proptest::prelude::*;

use super::world::{Faults, World, command, options};
use crate::engine::Options;
use crate::model::{Cause, Command};

#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Box<Command>),
    Read,
    Run(u16),
    Crash,
}

fn commands() -> impl Strategy<Value = Command> {
    let cause = prop_oneof![
        4 => Just(Cause::Sale),
        2 => Just(Cause::Return),
        1 => Just(Cause::Cancellation),
        2 => Just(Cause::Amendment),
    ];
    (cause, 0_u64..12, 1_u8..3, 1_u8..4).prop_map(|(cause, device, customer, order)| {
        let customer = customer.to_string();
        let names_customer = matches!(cause, Cause::Sale) || order == 1;
        let order = format!("o{order}");
        let mut command = command(cause, device, names_customer.then_some(&*customer), &order);
        if cause == Cause::Amendment {
            command.metadata.insert("phonenumber".into(), customer);
        }
        command
    })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => commands().prop_map(|command| Step::Write(Box::new(command))),
        4 => Just(Step::Read),
        6 => (1_u16..40).prop_map(Step::Run),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..120)
}

pub(super) fn faults() -> impl Strategy<Value = Faults> {
    let percent = || prop_oneof![2 => Just(0_u32), 1 => 0_u32..40];
    (percent(), percent(), percent(), percent(), percent(), percent()).prop_map(
        |(not_sent, lost, throttled, short, failed, aborted)| Faults {
            not_sent,
            lost,
            throttled,
            short,
            failed,
            aborted,
        },
    )
}

/// Three lanes, assigned, with nothing in them.
pub(super) fn world(items_max: usize, faults: Faults, seed: u64) -> World {
    let options = Options { batch_items_max: items_max, partitions_total: 3, ..options() };
    let mut world = World::new(options, seed);
    world.faults = faults;
    for partition in 0..3 {
        world.log.entry(crate::model::Partition(partition)).or_default();
    }
    world.crash();
    world
}

pub(super) fn take(world: &mut World, step: Step) {
    match step {
        Step::Write(command) => {
            let lane = command.facts().unwrap().device.0 % 3;
            world.write(i32::try_from(lane).unwrap(), *command);
        }
        Step::Read => world.read_all(),
        Step::Run(count) => {
            for _ in 0..count {
                world.step();
            }
        }
        Step::Crash => world.crash(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_command_gets_one_outcome_whatever_fails(
        steps in steps(),
        faults in faults(),
        seed in any::<u64>(),
        items_max in 1_usize..20,
    ) {
        let mut world = world(items_max, faults, seed);
        for step in steps {
            take(&mut world, step);
        }
        world.faults = Faults::default();
        world.run();
        world.read_all();
        world.run();
        world.assert_settled();
    }
}
