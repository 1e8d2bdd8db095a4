//! One worker between two proxies, one before the broker and one before the API, and what of it can
//! be seen from outside.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::events::{sale, single_sales};
use crate::judge::{self, Disturbances};
use crate::kafka::Kafka;
use crate::process::{Process, wait_for};
use crate::proxy::{END_TRANSACTION, Held, Mode, Protocol, Proxy, Side};
use crate::world::{SOON, Setup, World};

/// Devices that a scene begins with.
pub(crate) const DEVICES: u64 = 20;

const READ_WAIT: Duration = Duration::from_millis(50);

pub(crate) const SETTINGS: [(&str, &str); 5] = [
    ("kafka.transaction_timeout", "\"3s\""),
    ("kafka.commit_timeout", "\"1500ms\""),
    ("kafka.max_poll_interval", "\"10s\""),
    ("retry.lease", "\"2s\""),
    ("retry.ambiguous_grace", "\"1s\""),
];

/// The proxy before the shared broker: the broker advertises one address, so all scenes share it.
pub(crate) fn broker_proxy() -> &'static Proxy {
    static SHARED: OnceLock<Proxy> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (listener, target) = Kafka::shared().proxy();
        Proxy::start(listener, &target, Protocol::Kafka)
    })
}

/// Whose transactions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Intake,
    Dispatch,
}

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) api: Proxy,
    pub(crate) disturbances: Disturbances,
    /// Also the `client.id` of its workers, unless one gets another.
    pub(crate) name: String,
    /// Committed ledger records that were seen, by state.
    ledger: BTreeMap<String, usize>,
}

impl Scene {
    pub(crate) fn new(name: &str, sandbox: &[&str]) -> Self {
        let setup = Setup { sandbox, settings: &SETTINGS, ..Setup::default() };
        let mut world = World::new(name, setup);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = world.sandbox.url().replace("http://", "");
        let api = Proxy::start(listener, &target, Protocol::Other);
        let quoted = |text: &str| format!("{text:?}");
        world.set("kafka.bootstrap_servers", &quoted(broker_proxy().address()));
        world.set("kafka.client_id", &quoted(name));
        world.set("api.endpoint", &quoted(&format!("http://{}", api.address())));
        Self {
            world,
            api,
            disturbances: Disturbances::default(),
            name: name.to_owned(),
            ledger: BTreeMap::new(),
        }
    }

    pub(crate) fn worker(&mut self) -> Process {
        self.disturbances.note("join");
        self.world.worker()
    }

    /// A worker that has its partitions and nothing to do.
    pub(crate) fn idle_worker(&mut self) -> Process {
        let worker = self.worker();
        self.world.wait_for_shares(&[crate::world::PARTITIONS]);
        worker
    }

    pub(crate) fn kill(&mut self, mut worker: Process) {
        self.disturbances.note("kill");
        worker.kill9();
    }

    /// Sells the devices that the scene is about, in one order.
    pub(crate) fn sell(&mut self) {
        let devices: Vec<u64> = (0..DEVICES).collect();
        self.world.send(&[sale("sale", "order", "100", &devices)]);
    }

    /// Sells other devices, one by one.
    pub(crate) fn sell_more(&mut self, devices: std::ops::Range<u64>) {
        self.world.send(&single_sales(devices));
    }

    /// Holds the end of the next transactions of one half of the workers with this client id.
    pub(crate) fn stop_at_commit(&self, client: &str, half: Half, side: Side) -> Held {
        let id = match half {
            Half::Intake => format!("{}.intake", self.name),
            Half::Dispatch => format!("{}.dispatch", self.name),
        };
        broker_proxy().stop_at(client, END_TRANSACTION, &[id.as_bytes()], side)
    }

    /// How many committed ledger records have this state.
    pub(crate) fn ledger(&mut self, state: &str) -> usize {
        let topic = self.world.topic("ledger");
        for record in self.world.client.read(&topic, READ_WAIT) {
            if record.value.is_some() {
                let seen = record.json()["state"].as_str().unwrap().to_owned();
                *self.ledger.entry(seen).or_default() += 1;
            }
        }
        self.ledger.get(state).copied().unwrap_or_default()
    }

    pub(crate) fn wait_for_ledger(&mut self, state: &str) {
        wait_for(&format!("a ledger record {state}"), SOON, || {
            (self.ledger(state) > 0).then_some(())
        });
    }

    /// Batches that the API has accepted.
    pub(crate) fn operations(&self) -> u64 {
        self.world.sandbox.stats()["operations"].as_u64().unwrap()
    }

    pub(crate) fn wait_for_operation(&self) {
        wait_for("an operation", SOON, || (self.operations() > 0).then_some(()));
    }

    /// Committed outcomes so far.
    pub(crate) fn outcomes(&mut self) -> usize {
        self.world.read_outcomes()
    }

    /// Lets everything through, waits until all is decided, and lets the checker judge.
    pub(crate) fn settle(&mut self) -> Value {
        self.api.set_mode("", Mode::Pass);
        broker_proxy().heal(&self.name);
        let changes = self.world.written.iter().map(|written| {
            written.event["devices"].as_array().unwrap().len() // Only sales: one change each.
        });
        let changes: usize = changes.sum();
        self.world.wait_for_outcomes(changes, SOON);
        self.world.wait_until_quiet(SOON);
        let report = judge::must_hold(&self.world, &self.disturbances);
        eprintln!("{}: {report:#}", self.name);
        assert_eq!(self.world.statuses()["succeeded"], changes);
        report
    }

    /// Starts the next worker, and settles.
    pub(crate) fn recover(&mut self) -> Value {
        let _worker = self.worker();
        self.settle()
    }
}

pub(crate) fn wait_until_hit(held: &Held) {
    wait_for("the request that is to be held", SOON, || held.is_hit().then_some(()));
}

/// Writes at the API that were made again, and the reasons for it.
pub(crate) fn repeated(report: &Value) -> (u64, Vec<String>) {
    let reasons = report["api_writes_repeated_because"].as_object().unwrap();
    let reasons = reasons.keys().cloned().collect();
    (report["api_writes_repeated"].as_u64().unwrap(), reasons)
}
