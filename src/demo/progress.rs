//! How far the demo is: bars on a terminal, else a line every few seconds. Never stops the demo,
//! so a closed terminal or pipe is not an error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
/// What a bar looks like.
const BAR: &str = "{prefix:>9} [{bar:32}] {human_pos}/{human_len} {msg}";

/// The state of the demo at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Time since the start.
    pub elapsed: Duration,
    /// Order events written.
    pub orders: u64,
    /// Devices sold in them, each counted once.
    pub devices: u64,
    /// Devices that will be sold.
    pub devices_total: u64,
    /// Commands made of them.
    pub commands: u64,
    /// Commands sent and not yet decided.
    pub in_flight: u64,
    /// Outcomes published.
    pub outcomes: u64,
    /// Calls made to the API.
    pub calls: u64,
    /// Calls that the quota would grant now.
    pub quota_left: u64,
    /// Calls that it grants at most.
    pub quota: u64,
    /// Workers killed, if they are killed: shown in place of the quota.
    pub kills: Option<Kills>,
}

/// How often workers were killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kills {
    /// So far.
    pub done: u64,
    /// In the whole run.
    pub planned: u64,
}

/// Shows snapshots on standard error.
pub enum Progress {
    /// For a person who watches.
    Bars(Bars),
    /// For a log.
    Lines(Lines),
}

impl Progress {
    /// Bars if standard error is a terminal, lines otherwise.
    #[must_use]
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars(Bars::new(ProgressDrawTarget::stderr()))
        } else {
            Self::Lines(Lines::new(Box::new(std::io::stderr())))
        }
    }

    /// Shows the state; call it as often as you like.
    pub fn update(&mut self, now: &Snapshot) {
        match self {
            Self::Bars(bars) => bars.draw(now),
            Self::Lines(lines) => lines.write_if_due(now),
        }
    }

    /// Shows the last state and gives the terminal back.
    pub fn finish(&mut self, now: &Snapshot) {
        match self {
            Self::Bars(bars) => bars.finish(now),
            Self::Lines(lines) => lines.write(now),
        }
    }
}

/// Several bars under each other.
pub struct Bars {
    // Owns the lines; dropping it would stop the drawing.
    _all: MultiProgress,
    orders: ProgressBar,
    outcomes: ProgressBar,
    in_flight: ProgressBar,
    quota: ProgressBar,
}

impl Bars {
    /// Draws on a target of one's choice.
    #[must_use]
    pub fn new(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let bar = |name: &'static str| {
            let style = ProgressStyle::with_template(BAR)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            all.add(ProgressBar::new(0).with_style(style).with_prefix(name))
        };
        let (orders, in_flight) = (bar("orders"), bar("in flight"));
        let (outcomes, quota) = (bar("outcomes"), bar("quota"));
        Self { _all: all, orders, outcomes, in_flight, quota }
    }

    fn draw(&self, now: &Snapshot) {
        let set = |bar: &ProgressBar, value, of, text: String| {
            bar.set_length(of);
            bar.set_position(value);
            bar.set_message(text);
        };
        let orders = format!("devices sold in {} order events", HumanCount(now.orders));
        set(&self.orders, now.devices, now.devices_total, orders);
        let open = now.commands.saturating_sub(now.outcomes);
        set(&self.in_flight, now.in_flight, open, "commands without outcome are sent".to_owned());
        set(&self.outcomes, now.outcomes, now.commands, "commands decided".to_owned());
        let calls = HumanCount(now.calls);
        if let Some(Kills { done, planned }) = now.kills {
            self.quota.set_prefix("kills");
            let text = format!("workers killed and started again, {calls} calls made");
            set(&self.quota, done, planned, text);
        } else {
            set(&self.quota, now.quota_left, now.quota, format!("calls left, {calls} made"));
        }
    }

    fn finish(&self, now: &Snapshot) {
        self.draw(now);
        for bar in [&self.orders, &self.in_flight, &self.outcomes, &self.quota] {
            bar.abandon();
        }
    }
}

/// One line at a time.
pub struct Lines {
    out: Box<dyn Write + Send>,
    next: Duration,
}

impl Lines {
    /// Writes to a place of one's choice.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, next: Duration::ZERO }
    }

    fn write_if_due(&mut self, now: &Snapshot) {
        if now.elapsed >= self.next {
            self.next = now.elapsed + LINE_INTERVAL;
            self.write(now);
        }
    }

    fn write(&mut self, now: &Snapshot) {
        let last = match now.kills {
            Some(Kills { done, planned }) => format!("{done} of {planned} kills"),
            None => format!("quota {}/{}", HumanCount(now.quota_left), HumanCount(now.quota)),
        };
        let line = format!(
            "{:>5.1} s: {} orders, {} of {} devices, {} commands, {} in flight, {} outcomes, \
             {} calls, {}\n",
            now.elapsed.as_secs_f64(),
            HumanCount(now.orders),
            HumanCount(now.devices),
            HumanCount(now.devices_total),
            HumanCount(now.commands),
            HumanCount(now.in_flight),
            HumanCount(now.outcomes),
            HumanCount(now.calls),
            last,
        );
        // In one piece, so that log lines of the worker do not cut it.
        drop(self.out.write_all(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn snapshot(milliseconds: u64) -> Snapshot {
        Snapshot {
            elapsed: Duration::from_millis(milliseconds),
            orders: 1_234,
            devices: 4_000,
            devices_total: 10_000,
            commands: 4_100,
            in_flight: 900,
            outcomes: 2_100,
            calls: 17,
            quota_left: 983,
            quota: 1_000,
            kills: None,
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_two_seconds_and_at_the_end() {
        let log = Log::default();
        let mut progress = Progress::Lines(Lines::new(Box::new(log.clone())));
        for milliseconds in [100, 1_000, 2_099, 2_100, 3_000] {
            progress.update(&snapshot(milliseconds));
        }
        progress.finish(&snapshot(3_100));
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let (times, lines): (Vec<_>, Vec<_>) =
            text.lines().map(|line| line.split_once(" s: ").unwrap()).unzip();
        assert_eq!(times, ["  0.1", "  2.1", "  3.1"]);
        let line = "1,234 orders, 4,000 of 10,000 devices, 4,100 commands, 900 in flight, \
                    2,100 outcomes, 17 calls, quota 983/1,000";
        assert_eq!(lines, [line; 3]);
    }

    #[test]
    fn when_workers_are_killed_the_kills_are_shown() {
        let log = Log::default();
        let killed = Snapshot { kills: Some(Kills { done: 3, planned: 11 }), ..snapshot(100) };
        Progress::Lines(Lines::new(Box::new(log.clone()))).update(&killed);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("17 calls, 3 of 11 kills\n"), "{text}");
        let bars = Bars::new(ProgressDrawTarget::hidden());
        bars.draw(&killed);
        let bar = &bars.quota;
        assert_eq!((bar.position(), bar.length(), bar.prefix()), (3, Some(11), "kills".into()));
    }

    #[test]
    fn on_a_terminal_there_is_a_bar_for_each_stage() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        let bars = Bars::new(ProgressDrawTarget::hidden());
        bars.draw(&snapshot(100));
        let shown = |bar: &ProgressBar| (bar.position(), bar.length().unwrap(), bar.message());
        assert_eq!(
            shown(&bars.orders),
            (4_000, 10_000, "devices sold in 1,234 order events".to_owned())
        );
        assert_eq!(shown(&bars.in_flight).0, 900);
        assert_eq!(shown(&bars.in_flight).1, 2_000);
        assert_eq!(shown(&bars.outcomes), (2_100, 4_100, "commands decided".to_owned()));
        assert_eq!(shown(&bars.quota), (983, 1_000, "calls left, 17 made".to_owned()));
        bars.finish(&snapshot(200));
        assert!(bars.orders.is_finished() && bars.quota.is_finished());
    }
}
