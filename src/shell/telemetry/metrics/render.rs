//! One scrape: the registry's counters and histograms, and what is read off the moment.

use std::fmt::Write as _;
use std::time::Instant;

use prometheus::TextEncoder;

use super::process;
use super::table::{self, Metric};
use crate::engine::Report;
use crate::shell::Stats;
use crate::shell::admin::DispatchView;

/// All metrics in Prometheus' text format; `latches` are those of readiness, and whether each is
/// in order.
pub(in crate::shell) fn text(stats: &Stats, latches: &[(&str, bool)]) -> String {
    let mut text = Text::default();
    let families = stats.metrics.registry.gather();
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text.0) {
        tracing::error!(%error, "metrics could not be written");
    }
    text.single(&table::ORDERS, stats.orders.get() as f64);
    let is_ready = latches.iter().all(|(_, ok)| *ok);
    text.single(&table::READY, f64::from(u8::from(is_ready)));
    text.family(&table::LATCH);
    for (name, ok) in latches {
        text.sample(&table::LATCH, &[name], f64::from(u8::from(*ok)));
    }
    text.family(&table::BUILD);
    text.sample(&table::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    if let Some(process) = process::read() {
        text.single(&table::RESIDENT, process.resident_bytes);
        text.single(&table::CPU, process.cpu_seconds);
        text.single(&table::START, process.started);
    }
    let (dispatch, intake) = (stats.board.dispatch(), stats.board.intake());
    let nothing = Report::default();
    let report = dispatch.as_ref().map_or(&nothing, |view| &view.report);
    text.report(report, &|account| stats.board.is_refused(account));
    text.lanes(dispatch.as_deref());
    text.family(&table::LAG);
    let of_intake = intake.iter().flat_map(|view| &view.lag);
    for lag in of_intake.chain(dispatch.iter().flat_map(|view| &view.lag)) {
        let labels = [&*lag.topic, &lag.partition.to_string()];
        text.sample(&table::LAG, &labels, lag.records as f64);
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
    }

    fn sample(&mut self, metric: &Metric, values: &[&str], value: f64) {
        self.0.push_str(metric.name);
        for (at, (label, text)) in metric.labels.iter().zip(values).enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let end = if metric.labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn single(&mut self, metric: &Metric, value: f64) {
        self.family(metric);
        self.sample(metric, &[], value);
    }

    /// `has_no_token` says whether an account is refused without a call of the engine's.
    fn report(&mut self, report: &Report, has_no_token: &dyn Fn(&str) -> bool) {
        self.single(&table::IN_MEMORY, report.commands as f64);
        self.single(&table::COMMAND_BYTES, report.command_bytes as f64);
        type Of<'a> = &'a dyn Fn(&crate::engine::AccountReport) -> f64;
        let gauges: [(&Metric, Of<'_>); 6] = [
            (&table::IN_FLIGHT, &|account| account.batches as f64),
            (&table::QUOTA_TOKENS, &|account| account.quota_tokens.max(0.0)),
            (&table::ACCOUNT_PAUSED, &|account| f64::from(u8::from(account.paused))),
            (&table::ACCOUNT_REFUSED, &|account| {
                let is_refused = account.refused_because.is_some() || has_no_token(&account.name);
                f64::from(u8::from(is_refused))
            }),
            (&table::ACCOUNT_WAITING, &|account| {
                let is_waiting =
                    account.waiting_until.is_some_and(|at| at > jiff::Timestamp::now());
                f64::from(u8::from(is_waiting))
            }),
            (&table::SUSPECTS, &|account| account.suspects as f64),
        ];
        for (metric, of) in gauges {
            self.family(metric);
            for account in &report.accounts {
                self.sample(metric, &[&account.name], of(account));
            }
        }
    }

    fn lanes(&mut self, view: Option<&DispatchView>) {
        let lanes = view.map_or(&[][..], |view| &view.report.lanes);
        self.family(&table::LANES);
        for phase in ["recovering", "live", "stopped", "closing"] {
            let count = lanes.iter().filter(|lane| lane.phase == phase).count();
            self.sample(&table::LANES, &[phase], count as f64);
        }
        let unread = view.map_or(0, |view| view.unread.len());
        self.sample(&table::LANES, &["unread"], unread as f64);
        self.family(&table::HEAD_AGE);
        let Some(view) = view else { return };
        let since = Instant::now().saturating_duration_since(view.heads_taken).as_secs_f64();
        for head in view.heads.iter() {
            // One that was decided since the last look is no head any more.
            let lane = lanes.iter().find(|lane| lane.partition == head.partition);
            if lane.is_some_and(|lane| lane.watermark == head.offset) {
                let labels = [&*head.partition.to_string()];
                self.sample(&table::HEAD_AGE, &labels, head.held_seconds as f64 + since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::model::{Action, Command, DeadLetterReason, Failure, FailureCode, Status, Verdict};
    use crate::shell::telemetry::metrics::{Decided, Half, TABLE};
    use crate::wire;

    #[test]
    fn every_metric_of_the_table_is_in_a_scrape_once_with_its_help() {
        let stats = Stats::default();
        let scrape = text(&stats, &[]);
        let helped: Vec<&str> = scrape
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
            .collect();
        let known: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
        let found: BTreeSet<&str> = helped.iter().copied().collect();
        // These have series only once there are accounts that called, or topics that are read.
        let late = BTreeSet::from([
            "zerotouch_api_calls_total",
            "zerotouch_api_call_seconds",
            "zerotouch_quota_wait_seconds_total",
            "zerotouch_records_lost_total",
            "zerotouch_topic_made_anew_total",
        ]);
        assert_eq!(&known - &found, late);
        assert_eq!(&found - &known, BTreeSet::new());
        assert_eq!(helped.len(), found.len(), "a family is there twice");
        assert!(scrape.contains("\nzerotouch_ready 1\n"), "{scrape}");
    }

    #[test]
    fn what_is_told_becomes_series_and_labels_are_escaped() {
        let stats = Stats::default();
        stats.metrics.commands(Action::Claim, 3);
        stats.metrics.batch(Action::Unclaim, 40, Duration::from_millis(20));
        stats.metrics.transaction(Half::Intake, "aborted", Duration::from_secs(1));
        let mut decided = Decided::default();
        decided.add_dead_letters(DeadLetterReason::NotJson, 2);
        stats.metrics.published(&decided, Timestamp::now());
        let mut scrape = text(&stats, &[("topics", true), ("kafka", false)]);
        for line in [
            "zerotouch_commands_total{action=\"claim\"} 3",
            "zerotouch_batches_total{action=\"unclaim\"} 1",
            "zerotouch_batch_devices_bucket{action=\"unclaim\",le=\"25\"} 0",
            "zerotouch_batch_devices_bucket{action=\"unclaim\",le=\"50\"} 1",
            "zerotouch_transaction_seconds_count{half=\"intake\",result=\"aborted\"} 1",
            "zerotouch_dead_letters_total{reason=\"not_json\"} 2",
            "zerotouch_ready 0",
            "zerotouch_ready_latch{latch=\"topics\"} 1",
            "zerotouch_ready_latch{latch=\"kafka\"} 0",
        ] {
            assert!(scrape.lines().any(|found| found == line), "{line}\n{scrape}");
        }
        let mut text = Text(std::mem::take(&mut scrape));
        text.sample(&table::QUOTA_TOKENS, &["a\"b\\c"], 1.5);
        assert!(text.0.ends_with("{account=\"a\\\"b\\\\c\"} 1.5\n"));
    }

    #[test]
    fn what_a_person_must_not_miss_is_there_at_zero_and_the_first_one_is_an_increase() {
        let stats = Stats::default();
        let series = |scrape: &str| -> BTreeSet<String> {
            let lines = scrape.lines().filter(|line| line.starts_with("zerotouch_outcomes_total{"));
            lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        let before = text(&stats, &[]);
        assert!(
            before
                .lines()
                .filter(|line| line.starts_with("zerotouch_outcomes_total{"))
                .all(|line| line.ends_with(" 0")),
            "{before}"
        );
        let failure = |code| Failure {
            code,
            api_status: None,
            api_identifier: None,
            message: String::new(),
            retryable: false,
        };
        let sample = include_bytes!("../../../../schemas/examples/command.claim.json");
        let command = wire::command::decode(sample).unwrap();
        let mut decided = Decided::default();
        for (action, status, code) in [
            (Action::Claim, Status::Unresolved, Some(FailureCode::DeadlineExceeded)),
            (Action::UpdateMetadata, Status::Unresolved, Some(FailureCode::ResultMissing)),
            (Action::Unclaim, Status::Stale, Some(FailureCode::StaleUnclaim)),
            (Action::Unclaim, Status::Cancelled, None),
        ] {
            let verdict = Verdict {
                status,
                failure: code.map(|code| Box::new(failure(code))),
                decided_by: None,
                device_id: None,
                operation: None,
                attempts: 1,
                submitted_at: None,
                completed_at: Timestamp::now(),
            };
            decided.add(&Command { action, ..command.clone() }, &verdict);
        }
        stats.metrics.published(&decided, Timestamp::now());
        let after = text(&stats, &[]);
        assert_eq!(series(&after), series(&before), "none of them made a series");
        let unresolved = "zerotouch_outcomes_total{action=\"claim\",\
                          code=\"transport.deadline_exceeded\",status=\"unresolved\"}";
        assert!(after.lines().any(|line| line == format!("{unresolved} 1")), "{after}");
        assert!(before.contains("zerotouch_dead_letters_total{reason=\"invalid_command\"} 0\n"));
    }
}
