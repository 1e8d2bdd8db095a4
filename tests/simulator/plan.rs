//! What one seed tries: sizes, limits and clocks, and which faults happen how often. All of it is
//! drawn from the seed, so that seeds differ in kind and not only in detail (swarm testing).

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zerotouch_worker::engine::{AccountOptions, GuardMode, Installation, Options};
use zerotouch_worker::sandbox;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Crash,
    CrashAtEffect,
    FreezeAtEffect,
    Freeze,
    CutOff,
    Rebalance,
    Drain,
    ProduceFails,
    TransactionStalls,
    CommitRequestLost,
    CommitReplyLost,
    LateEndTxn,
    SlowBroker,
    SlowMarkers,
    NotSent,
    SlowApi,
    ReplyLost,
    Throttled,
    ServerError,
    ServerErrorAfter,
    Poison,
    Unauthorised,
    DropItems,
    ShortResult,
    DuplicateResult,
    ReorderResult,
    MissingEcho,
    NeverDone,
    StuckAtHundred,
    OperationError,
    Vanish,
    DeviceStatus,
    WallJump,
    WildClock,
    Foreign,
    UnknownAccount,
    GiantOrder,
    OpenIntake,
    Culprit,
    CulpritPoll,
    Outage,
    NewerCommand,
    ForeignPurpose,
}

impl Fault {
    pub(crate) const ALL: [Self; 43] = [
        Self::Crash,
        Self::CrashAtEffect,
        Self::FreezeAtEffect,
        Self::Freeze,
        Self::CutOff,
        Self::Rebalance,
        Self::Drain,
        Self::ProduceFails,
        Self::TransactionStalls,
        Self::CommitRequestLost,
        Self::CommitReplyLost,
        Self::LateEndTxn,
        Self::SlowBroker,
        Self::SlowMarkers,
        Self::NotSent,
        Self::SlowApi,
        Self::ReplyLost,
        Self::Throttled,
        Self::ServerError,
        Self::ServerErrorAfter,
        Self::Poison,
        Self::Unauthorised,
        Self::DropItems,
        Self::ShortResult,
        Self::DuplicateResult,
        Self::ReorderResult,
        Self::MissingEcho,
        Self::NeverDone,
        Self::StuckAtHundred,
        Self::OperationError,
        Self::Vanish,
        Self::DeviceStatus,
        Self::WallJump,
        Self::WildClock,
        Self::Foreign,
        Self::UnknownAccount,
        Self::GiantOrder,
        Self::OpenIntake,
        Self::Culprit,
        Self::CulpritPoll,
        Self::Outage,
        Self::NewerCommand,
        Self::ForeignPurpose,
    ];

    /// Those that are drawn last, each for a whole run.
    const LASTING: [Self; 3] = [Self::Culprit, Self::CulpritPoll, Self::Outage];

    /// Those that are drawn after them.
    const STOPPING: [Self; 2] = [Self::NewerCommand, Self::ForeignPurpose];

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// How the API answers every call with the culprit in it, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Status(u16),
    NoReply { hang: bool },
    Unreadable,
}

impl Class {
    const ALL: [Self; 9] = [
        Self::Status(400),
        Self::Status(403),
        Self::Status(404),
        Self::Status(409),
        Self::Status(500),
        Self::Status(503),
        Self::NoReply { hang: false },
        Self::NoReply { hang: true },
        Self::Unreadable,
    ];
}

/// Everything that a seed decides before its run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) partitions: i32,
    pub(crate) devices: u64,
    pub(crate) customers: u64,
    pub(crate) orders: u64,
    /// Commands written at most.
    pub(crate) commands: usize,
    /// How long faults and orders last.
    pub(crate) phase_one: Duration,
    pub(crate) engine: Options,
    pub(crate) request_timeout: Duration,
    /// How wrong wall clocks may be.
    pub(crate) skew: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) transaction_timeout: Duration,
    pub(crate) commit_timeout: Duration,
    /// The longest until a member hears of a rebalance.
    pub(crate) heartbeat: Duration,
    /// Longest ordinary way to the broker and back.
    pub(crate) broker_ms: u64,
    pub(crate) fetch_max: usize,
    pub(crate) static_members: bool,
    /// The group fences each partition by itself (KIP-848).
    pub(crate) fenced_by_partition: bool,
    /// A transactional id for each process in place of one for each worker.
    pub(crate) fresh_transactional_ids: bool,
    /// Between two faults of processes.
    pub(crate) mischief: Duration,
    /// How often each kind hits, in 1/10,000.
    pub(crate) rates: [u32; Fault::ALL.len()],
    pub(crate) semantics: sandbox::Semantics,
    pub(crate) api_quota: usize,
    pub(crate) operation_time: Duration,
    pub(crate) operation_jitter: f64,
    /// The device that spoils every submit, or every poll of an operation with it, and how.
    pub(crate) culprit: (u64, Class),
    /// How long no submit of anybody is accepted, from the end of the other faults on.
    pub(crate) outage: Duration,
}

fn millis(rng: &mut impl Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(log_uniform(rng, from.max(1), to))
}

/// Drawn so that each order of magnitude is as likely as another.
pub(crate) fn log_uniform(rng: &mut impl Rng, from: u64, to: u64) -> u64 {
    let (from_ln, to_ln) = ((from.max(1) as f64).ln(), (to.max(1) as f64).ln());
    let drawn = rng.random_range(0.0..=1.0_f64).mul_add(to_ln - from_ln, from_ln).exp();
    (drawn as u64).clamp(from, to)
}

fn pick<T: Copy>(rng: &mut impl Rng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let rates = rates(rng);
        let rate = |fault: Fault| rates[fault as usize];
        let operation_time = if rng.random_bool(0.3) {
            Duration::from_millis(500)
        } else {
            millis(rng, 100, 30_000)
        };
        let operation_jitter = pick(rng, &[0.0, 0.3, 1.0]);
        let operation_max = operation_time.mul_f64(1.0 + operation_jitter);
        let request_timeout = millis(rng, 1_000, 30_000);
        let skew = if rate(Fault::WildClock) > 0 {
            Duration::from_secs(40 * 24 * 3_600)
        } else if rate(Fault::WallJump) > 0 {
            millis(rng, 10, 30_000)
        } else {
            Duration::ZERO
        };
        let margin = if rate(Fault::WildClock) > 0 { Duration::ZERO } else { 2 * skew };
        let engine = engine(rng, operation_max, request_timeout, margin);
        let semantics = semantics(rng);
        let commands = log_uniform(rng, 3, 80) as usize;
        let mut plan = Self {
            seed,
            workers: rng.random_range(1..=4),
            partitions: i32::try_from(engine.partitions_total).unwrap(),
            devices: log_uniform(rng, 1, 12),
            customers: rng.random_range(1..=3),
            orders: rng.random_range(1..=4),
            commands,
            phase_one: millis(rng, 5_000, 300_000),
            request_timeout,
            skew,
            session_timeout: millis(rng, 3_000, 45_000),
            rebalance_timeout: millis(rng, 20_000, 300_000),
            transaction_timeout: millis(rng, 4_000, 60_000),
            commit_timeout: millis(rng, 500, 10_000),
            heartbeat: millis(rng, 10, 3_000),
            broker_ms: log_uniform(rng, 1, 20),
            fetch_max: log_uniform(rng, 1, 100) as usize,
            static_members: rng.random_bool(0.3),
            fenced_by_partition: rng.random_bool(0.3),
            fresh_transactional_ids: rng.random_bool(0.3),
            mischief: millis(rng, 300, 30_000),
            rates,
            semantics,
            api_quota: if rng.random_bool(0.2) { api_quota(rng, &engine) } else { 0 },
            operation_time,
            operation_jitter,
            culprit: (0, Class::Unreadable),
            outage: Duration::ZERO,
            engine,
        };
        // What is drawn last leaves the seeds of before as they were.
        plan.engine.revocation_wait = millis(rng, 10, 15_000);
        for (fault, share) in [(Fault::Culprit, 0.15), (Fault::CulpritPoll, 0.05)] {
            plan.rates[fault as usize] = u32::from(rng.random_bool(share));
        }
        plan.rates[Fault::Outage as usize] = u32::from(rng.random_bool(0.1));
        plan.culprit = (rng.random_range(0..plan.devices), pick(rng, &Class::ALL));
        plan.outage = millis(rng, 60_000, 7_200_000);
        if plan.rate(Fault::Culprit) > 0 {
            // With a memory so small that the culprit's own commands fill it, no others are read,
            // and then nobody can tell it from an outage.
            (plan.engine.commands_max, plan.engine.command_bytes_max) = (1_000, 1 << 20);
        }
        // Each stops a lane until the faults end, so they are few, and there are none where all but
        // the culprit has to go on.
        let has_culprit = plan.rate(Fault::Culprit) + plan.rate(Fault::CulpritPoll) > 0;
        for fault in Fault::STOPPING {
            let (hit, rate) = (rng.random_bool(0.08), log_uniform(rng, 50, 2_000));
            plan.rates[fault as usize] = if hit && !has_culprit { rate as u32 } else { 0 };
        }
        plan
    }

    pub(crate) fn rate(&self, fault: Fault) -> u32 {
        self.rates[fault as usize]
    }

    pub(crate) fn is_wild(&self) -> bool {
        self.rate(Fault::WildClock) > 0
    }

    /// The kinds of faults that this seed has.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.rate(*fault) > 0).collect()
    }
}

fn rates(rng: &mut ChaCha8Rng) -> [u32; Fault::ALL.len()] {
    let mut rates = [0; Fault::ALL.len()];
    let density = pick(rng, &[0.0, 0.1, 0.25, 0.5]);
    let is_drawn_last =
        |fault: &Fault| Fault::LASTING.contains(fault) || Fault::STOPPING.contains(fault);
    for fault in Fault::ALL.into_iter().filter(|fault| !is_drawn_last(fault)) {
        let max = match fault {
            Fault::CrashAtEffect | Fault::FreezeAtEffect => 200,
            Fault::Unauthorised => 1_000,
            _ => 3_000,
        };
        let wanted = if fault == Fault::WildClock { density / 5.0 } else { density };
        let (hit, mut rate) = (rng.random_bool(wanted), log_uniform(rng, 20, max));
        if fault == Fault::LateEndTxn {
            // Of requests that are lost, a part that matters.
            rate = 1_000 + 3 * rate;
        }
        if hit {
            rates[fault as usize] = rate as u32;
        }
    }
    rates
}

fn engine(
    rng: &mut ChaCha8Rng,
    operation_max: Duration,
    request_timeout: Duration,
    margin: Duration,
) -> Options {
    let lease = millis(rng, 500, 30_000);
    let second = Duration::from_secs(1);
    let ambiguous_grace = lease + request_timeout + operation_max + margin + second;
    let accounts = rng.random_range(1..=2);
    let backoff_min = millis(rng, 100, 2_000);
    let account = |index: u16| AccountOptions {
        name: format!("account-{index}").into(),
        partner_id: (index + 1).to_string().into(),
        quota_calls: 0,
        quota_window: Duration::ZERO,
    };
    let mut accounts: Vec<AccountOptions> = (0..accounts).map(account).collect();
    for account in &mut accounts {
        account.quota_calls = log_uniform(rng, 10, 1_000) as u32;
        account.quota_window = millis(rng, 5_000, 100_000);
    }
    let poll_delay_min = millis(rng, 50, 2_000);
    Options {
        accounts,
        installation: Some(installation()),
        partitions_total: rng.random_range(1..=4),
        batch_items_max: pick(rng, &[1, 2, 3, 7, 30, 1_000]),
        batch_linger: millis(rng, 1, 200),
        batch_linger_max: millis(rng, 100, 3_000),
        lease,
        ambiguous_grace,
        operation_deadline: ambiguous_grace
            + 2 * operation_max
            + margin
            + millis(rng, 1_000, 300_000),
        poll_delay_min,
        poll_delay_max: poll_delay_min + millis(rng, 100, 10_000),
        device_attempts_max: rng.random_range(1..=5),
        backoff_min,
        backoff_max: backoff_min + millis(rng, 100, 20_000),
        guard: pick(
            rng,
            &[GuardMode::Always, GuardMode::Unknown, GuardMode::Unknown, GuardMode::Never],
        ),
        guard_match_order: rng.random_bool(0.8),
        guard_memory_max: pick(rng, &[0, 2, 1_000]),
        commands_max: pick(rng, &[3, 10, 1_000]),
        command_bytes_max: pick(rng, &[2_000, 1 << 20]),
        operations_max: pick(rng, &[1, 3, 500]),
        lookups_max: pick(rng, &[1, 4, 16]),
        ..Options::default()
    }
}

/// The one that all workers are of.
pub(crate) fn installation() -> Installation {
    Installation { endpoint: "https://api".into(), group: "group".into() }
}

/// Calls that the API allows in 20 s: fewer than the workers believe, yet enough that the least
/// flow that they fall back to gets through, lookups of two calls included.
fn api_quota(rng: &mut ChaCha8Rng, engine: &Options) -> usize {
    let believed = engine
        .accounts
        .iter()
        .map(|account| f64::from(account.quota_calls) / account.quota_window.as_secs_f64());
    let most = believed.fold(0.0, f64::max) * 20.0;
    (most * rng.random_range(0.1..0.9)).ceil() as usize + 5
}

fn semantics(rng: &mut ChaCha8Rng) -> sandbox::Semantics {
    use sandbox::{BadItem, DeviceIds, Duplicates, Effect, Listing, Reclaim, UnclaimedUnclaim};
    sandbox::Semantics {
        effect: pick(rng, &[Effect::Completion, Effect::Acceptance]),
        reclaim: pick(rng, &[Reclaim::Success, Reclaim::Error]),
        unclaimed: pick(
            rng,
            &[UnclaimedUnclaim::Success, UnclaimedUnclaim::NotYours, UnclaimedUnclaim::NotFound],
        ),
        duplicates: Duplicates::Reject,
        bad_item: pick(rng, &[BadItem::Item, BadItem::Request]),
        device_ids: pick(rng, &[DeviceIds::Kept, DeviceIds::Renewed]),
        listing: pick(rng, &[Listing::Listed, Listing::Hidden]),
        keep_metadata: rng.random_bool(0.5),
    }
}
