//! Every metric there is: name, kind, labels, and what it means. `docs/metrics.md` is made of this.

/// What a metric counts or shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size; the upper bounds of the buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word of the exposition format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with unit.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Its labels; each has a bounded set of values.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const LATENCY: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0,
    14_400.0, 86_400.0,
];
const PARTS: &[f64] = &[
    0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    1_800.0, 3_600.0,
];
const CALLS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];
const TRANSACTIONS: &[f64] =
    &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const RESTORES: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const DEVICES: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0, 100_000.0];

macro_rules! table {
    ($($id:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            pub(super) const $id: Metric =
                Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };
        )*
        /// All metrics, in the order in which they are shown.
        pub const TABLE: &[Metric] = &[$($id),*];
    };
}

table! {
    ORDERS = Kind::Counter, "zerotouch_orders_consumed_total", [],
        "Order events taken in, dead letters and what is passed over included.";
    COMMANDS = Kind::Counter, "zerotouch_commands_total", ["action"],
        "Commands written by intake, by action.";
    FOLDED = Kind::Counter, "zerotouch_commands_folded_total", [],
        "Commands folded into others of the same device before they were sent.";
    OUTCOMES = Kind::Counter, "zerotouch_outcomes_total", ["action", "status", "code"],
        "Outcomes published, by action, status and failure code (empty without failure). Series of \
         `unresolved` and `stale` are there from the start, those of `failed` once a code occurs; a \
         worker has fewer than 100.";
    DEAD_LETTERS = Kind::Counter, "zerotouch_dead_letters_total", ["reason"],
        "Records written to the dead-letter topic, by reason.";
    SHORTENED = Kind::Counter, "zerotouch_records_shortened_total", ["kind"],
        "Outcomes and dead letters that did not fit into a record and were shortened; their \
         headers say what is missing.";
    PASSED_OVER = Kind::Counter, "zerotouch_passed_over_total", ["reason"],
        "Records of order topics that are passed over, without commands and without a dead letter: \
         tombstone (no value), unknown_type (with `intake.others` = \"skip\").";
    BATCHES = Kind::Counter, "zerotouch_batches_total", ["action"],
        "Batches sent, by action; one that is sent again counts again.";
    BATCH_DEVICES = Kind::Histogram(DEVICES), "zerotouch_batch_devices", ["action"],
        "Devices in each batch sent.";
    API_CALLS = Kind::Counter, "zerotouch_api_calls_total", ["account", "method", "class"],
        "Calls of the API by how they ended: ok, not_sent, ambiguous (no usable answer), rejected, \
         throttled (429), unauthorised (401, 403), not_found.";
    API_SECONDS = Kind::Histogram(CALLS), "zerotouch_api_call_seconds", ["method"],
        "How long calls of the API took, tokens included.";
    LOST_ANSWERS = Kind::Counter, "zerotouch_lost_answers_total", [],
        "Submits whose answer was lost, so that their devices have to be verified.";
    UNUSABLE_RESULTS = Kind::Counter, "zerotouch_unusable_results_total", ["kind"],
        "Results of operations that are not used, by kind: beyond (more than twice as many as a \
         batch has devices), unreadable. Their devices are looked up if they have no other.";
    SPLIT = Kind::Counter, "zerotouch_batches_split_total", [],
        "Batches taken apart to find the device that their calls fail for.";
    SET_ASIDE = Kind::Counter, "zerotouch_devices_set_aside_total", [],
        "Devices that the API refuses for what their calls say, found among others; their outcomes \
         are failed.";
    RETRIES = Kind::Counter, "zerotouch_retries_total", ["kind"],
        "What is done again: a submit, poll or lookup that did not get through, a device whose \
         failure may pass, an aborted transaction, the reading of a lane's ledger.";
    IN_FLIGHT = Kind::Gauge, "zerotouch_operations_in_flight", ["account"],
        "Batches between intent and last outcome.";
    QUOTA_TOKENS = Kind::Gauge, "zerotouch_quota_tokens", ["account"],
        "Calls that the quota would grant this worker at once.";
    QUOTA_WAIT = Kind::Counter, "zerotouch_quota_wait_seconds_total", ["account"],
        "Time during which a call was due and waited for nothing but the quota.";
    ACCOUNT_PAUSED = Kind::Gauge, "zerotouch_account_paused", ["account"],
        "1 while a person holds back the account's submits.";
    ACCOUNT_REFUSED = Kind::Gauge, "zerotouch_account_refused", ["account"],
        "1 while the API refuses the account (401, 403, 404), or no access token is given to it; \
         its commands wait.";
    ACCOUNT_WAITING = Kind::Gauge, "zerotouch_account_waiting", ["account"],
        "1 while nothing is called for the account because the API asked for a wait of 10 s or \
         more (429, Retry-After).";
    SUSPECTS = Kind::Gauge, "zerotouch_batches_suspect", ["account"],
        "Batches that fail while others of the account are accepted, or of which that is not known \
         yet; they are sent apart, in a quarter of the quota.";
    IN_MEMORY = Kind::Gauge, "zerotouch_commands_in_memory", [],
        "Commands in memory, waiting or under way.";
    COMMAND_BYTES = Kind::Gauge, "zerotouch_command_bytes", [],
        "Bytes of the commands in memory.";
    LANES = Kind::Gauge, "zerotouch_lanes", ["phase"],
        "Lanes of this worker: recovering, live, stopped (somebody has to decide; the log \
         says what), \
         closing; unread are those of the recovering whose ledger could not be read so far.";
    HEAD_AGE = Kind::Gauge, "zerotouch_lane_head_age_seconds", ["partition"],
        "How long ago the order event of a lane's oldest undecided command was taken in, by \
         whichever worker: a restart does not begin anew. That command holds back the lane's read \
         position. No series for a lane without one. Looked at every 5 s.";
    LAG = Kind::Gauge, "zerotouch_lag_records", ["topic", "partition"],
        "Records of a partition of this worker that are not worked off: order events not taken in, \
         commands without outcome. The mark with which a transaction ends counts as a record, \
         so 1 may stay. The end is that of the last fetch, so it stands still while the partition \
         is paused by a memory bound.";
    RECORDS_LOST = Kind::Counter, "zerotouch_records_lost_total", ["topic"],
        "Records that Kafka deleted before they were read: offsets between the position and the \
         first record that is left, so marks of transactions count too.";
    TOPICS_ANEW = Kind::Counter, "zerotouch_topic_made_anew_total", ["topic"],
        "Partitions whose topic was found to be another one under the same name; it is read from \
         its first record.";
    TRANSACTIONS_SECONDS = Kind::Histogram(TRANSACTIONS), "zerotouch_transaction_seconds",
        ["half", "result"],
        "How long Kafka transactions took, by half (intake, dispatch) and result (committed, \
         aborted, too_large, broken).";
    SESSIONS = Kind::Counter, "zerotouch_sessions_begun_total", ["half"],
        "Sessions begun; more than one for each half means that it had to begin anew.";
    RESTORE = Kind::Histogram(RESTORES), "zerotouch_lane_restore_seconds", [],
        "From the assignment of a lane until its ledger was read.";
    LATENCY_SECONDS = Kind::Histogram(LATENCY), "zerotouch_outcome_latency_seconds", [],
        "From the order event being taken in to its outcome being committed, for each outcome of \
         dispatch.";
    PART_SECONDS = Kind::Histogram(PARTS), "zerotouch_outcome_part_seconds", ["part"],
        "The parts of that. Of each outcome: wait (taken in until the call left), operation (call \
         left until decided), publish (decided until committed). Of each order event: intake \
         (taken in until its commands are committed; inside wait). Of each batch: intent \
         (its ledger record; inside wait), call (the submit; inside operation).";
    TELEMETRY_LOST = Kind::Counter, "zerotouch_telemetry_lost_total", ["signal"],
        "Spans (traces) and log lines (logs) that the collector did not get: it did not keep up or \
         did not take them. The work goes on.";
    ADMIN_CLOSED = Kind::Counter, "zerotouch_admin_connections_closed_total",
        ["listener", "reason"],
        "Connections that the admin server closed on its own, by listener (admin.listen, \
         admin.expose) and reason: crowded (there were as many as there may be, and a newer one \
         came), silent (no whole request came, or its reply was not taken, in time).";
    READY = Kind::Gauge, "zerotouch_ready", [],
        "1 while /readyz says ready.";
    LATCH = Kind::Gauge, "zerotouch_ready_latch", ["latch"],
        "1 while this is as /readyz wants it, which gives the reason when it is not: kafka, \
         topics, group, positions, reading, lanes, writes, account:<name>, movement, draining.";
    BUILD = Kind::Gauge, "zerotouch_build_info", ["version"],
        "Always 1; the version is in the label.";
    RESIDENT = Kind::Gauge, "process_resident_memory_bytes", [],
        "Resident memory of the process.";
    CPU = Kind::Counter, "process_cpu_seconds_total", [],
        "CPU time of the process, user and system.";
    START = Kind::Gauge, "process_start_time_seconds", [],
        "When the process started, in seconds since 1970.";
}

/// The table as a page of Markdown.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Served at `/metrics` in Prometheus' text format; see \"Watching it\" in the README. This \
         page is made from the code:\nrun the tests with `UPDATE=1`.\n\n\
         | Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help } in TABLE {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let line = format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join(", "));
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_all_metrics_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(path, page()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == page(), "docs/metrics.md is stale; run the tests with UPDATE=1");
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names: Vec<&str> = TABLE.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        for metric in TABLE {
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '|']));
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{metric:?}");
        }
    }
}
