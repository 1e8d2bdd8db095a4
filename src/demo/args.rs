//! The demo's flags.

use std::net::SocketAddr;

use clap::{Args, ValueEnum, value_parser};

/// Runs the whole product at once: a broker, the sandbox API, a stream of orders and the worker.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Devices to sell; returns, cancellations, amendments and further sales come on top.
    #[arg(long, default_value_t = 3_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub devices: u64,
    /// Seed of the stream: the same seed gives the same orders.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Use this Kafka (host:port,…) in place of the embedded broker. Topics of the run's own are
    /// made in it and left there.
    #[arg(long, value_name = "HOSTS")]
    pub bootstrap_servers: Option<String>,
    /// Sell single devices only, all at once: shows how full batches get.
    #[arg(long)]
    pub full_load: bool,
    /// Serve the worker's status page, metrics and controls there. If not given: on
    /// 127.0.0.1:9700, unless that port is taken.
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<SocketAddr>,
    /// Kill the workers again and again while the orders run: they are processes of their own then,
    /// and the summary says what became of every kill. Needs a real Kafka.
    #[arg(long, conflicts_with_all = ["full_load", "keep_running", "admin"])]
    pub chaos: bool,
    /// Devices in one call at most.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub batch_items_max: u32,
    /// The form of the summary on standard output.
    #[arg(long, value_enum, default_value_t)]
    pub summary: SummaryForm,
    /// Go on running when the stream is done, until interrupted: the sandbox and the broker can
    /// be looked at.
    #[arg(long)]
    pub keep_running: bool,
}

/// Why `--chaos` wants a real Kafka.
const CHAOS_ON_MOCK: &str = "\
--chaos needs a real Kafka. The embedded broker lives in this process, keeps no committed offsets, \
isolates no transactions and fences no dead worker, so a worker that is killed on it could not \
recover, and nothing would be shown. Start a Kafka and name it:
  zerotouch-worker demo --chaos --bootstrap-servers HOST:PORT
In a checkout of the source this starts one, if there is Java 17 and Maven:
  tail -f /dev/null | tests/kafka/kafka.sh run /tmp/kafka 9092 9093";

impl DemoArgs {
    /// Whether these flags go together.
    ///
    /// # Errors
    /// They do not; why, and what to do.
    pub const fn check(&self) -> Result<(), &'static str> {
        if self.chaos && self.bootstrap_servers.is_none() { Err(CHAOS_ON_MOCK) } else { Ok(()) }
    }
}

/// The form of the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SummaryForm {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}
