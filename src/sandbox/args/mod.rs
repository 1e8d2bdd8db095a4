//! The flags of `zerotouch-worker sandbox`, and what runs behind them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::sandbox::api::Method;
use crate::sandbox::customers::CustomersFile;
use crate::sandbox::faults::{Fault, Rule};
use crate::sandbox::http::Sandbox;
use crate::sandbox::options::{
    BadItem, DeviceIds, Duplicates, Effect, Listing, Options, Reclaim, Semantics, UnclaimedUnclaim,
};

/// Serve a double of the reseller API, for staging and tests.
#[derive(Clone, Debug, clap::Args)]
pub struct SandboxArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Serve only this partner id (repeatable); default: any
    #[arg(long = "partner", value_name = "ID")]
    pub partners: Vec<String>,
    /// JSON file with customers and vendors
    #[arg(long, value_name = "FILE")]
    pub customers: Option<PathBuf>,
    /// Accept claims for customers that do not exist
    #[arg(long)]
    pub auto_customers: bool,
    /// Seed of all chance
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How long an operation takes
    #[arg(long, default_value = "3s", value_name = "DURATION", value_parser = duration)]
    pub operation_time: Duration,
    /// How much longer for each of its devices
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    pub operation_time_per_device: Duration,
    /// By what share chance makes that longer, 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub operation_jitter: f64,
    /// How long a finished operation can be read; it is kept in memory that long
    #[arg(long, default_value = "168h", value_name = "DURATION", value_parser = duration)]
    pub operation_retention: Duration,
    /// Items of one batch at most
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub batch_items_max: usize,
    /// Calls of one partner in a window; 0: no quota
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub quota_calls: usize,
    /// The window of the quota
    #[arg(long, default_value = "100s", value_name = "DURATION", value_parser = duration)]
    pub quota_window: Duration,
    /// Send 429 without Retry-After
    #[arg(long)]
    pub no_retry_after: bool,
    /// Refuse calls without a bearer token
    #[arg(long)]
    pub require_auth: bool,
    /// Entries that each list of the log holds
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub log_max: usize,
    /// When the changes of an operation take effect
    #[arg(long, value_enum, default_value_t)]
    pub effect: Effect,
    /// What a claim of a device that the customer already holds gives
    #[arg(long, value_enum, default_value_t)]
    pub reclaim: Reclaim,
    /// What an unclaim of a device that nobody holds gives
    #[arg(long, value_enum, default_value_t)]
    pub unclaimed: UnclaimedUnclaim,
    /// What becomes of the second mention of a device in one batch
    #[arg(long, value_enum, default_value_t)]
    pub duplicates: Duplicates,
    /// What an item does that is wrong in itself
    #[arg(long, value_enum, default_value_t)]
    pub bad_item: BadItem,
    /// Whether a device keeps its id over unclaim and claim
    #[arg(long, value_enum, default_value_t)]
    pub device_ids: DeviceIds,
    /// Whether lookups show devices that nobody holds
    #[arg(long, value_enum, default_value_t)]
    pub unclaimed_lookup: Listing,
    /// Keep a device's metadata over an unclaim
    #[arg(long)]
    pub keep_metadata: bool,
    /// JSON file with fault rules: {"rules": [...]}, as for the control route
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Share of calls that fail before they take effect (repeatable); `any` for every method
    #[arg(long, value_name = "METHOD=SHARE[:HTTP]", value_parser = error_rate)]
    pub error_rate: Vec<Rule>,
    /// How much longer every reply takes
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    pub latency: Duration,
    /// Share of batch calls that take effect but lose their reply
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub lost_reply_rate: f64,
    /// Share of operations that never end
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub never_done_rate: f64,
    /// Share of operations that reach 100 % and never say done
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub stuck_rate: f64,
    /// Share of operations whose results lack a device
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub short_result_rate: f64,
    /// Share of operations whose results name a device twice
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub duplicate_result_rate: f64,
    /// Share of operations whose results are in another order
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub reordered_result_rate: f64,
}

/// Why the flags cannot be used, or the sandbox could not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A flag's file cannot be read.
    #[error("--{flag}: could not read {path}")]
    Read {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A flag's file is not what it should be.
    #[error("--{flag}: {path} is not valid: {reason}")]
    Invalid {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("--host, --port: could not listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be waited for, or the listener failed.
    #[error("the sandbox stopped")]
    Serve(#[source] std::io::Error),
}

impl TryFrom<&SandboxArgs> for Options {
    type Error = SandboxError;

    fn try_from(args: &SandboxArgs) -> Result<Self, SandboxError> {
        Ok(Self {
            seed: args.seed,
            partners: args.partners.iter().cloned().collect(),
            auto_customers: args.auto_customers,
            customers: match &args.customers {
                Some(path) => customers(path)?,
                None => CustomersFile::default(),
            },
            semantics: Semantics {
                effect: args.effect,
                reclaim: args.reclaim,
                unclaimed: args.unclaimed,
                duplicates: args.duplicates,
                bad_item: args.bad_item,
                device_ids: args.device_ids,
                listing: args.unclaimed_lookup,
                keep_metadata: args.keep_metadata,
            },
            operation_time: args.operation_time,
            operation_time_per_device: args.operation_time_per_device,
            operation_jitter: args.operation_jitter,
            operation_retention: Some(args.operation_retention),
            batch_items_max: args.batch_items_max,
            quota_calls: args.quota_calls,
            quota_window: args.quota_window,
            retry_after: !args.no_retry_after,
            auth_required: args.require_auth,
            log_max: args.log_max,
            faults: rules(args)?,
        })
    }
}

/// Listens, says where, and serves until SIGTERM or ctrl-c.
///
/// # Errors
/// When a flag is wrong, the address is taken, or the listener fails.
pub async fn run(args: SandboxArgs) -> Result<(), SandboxError> {
    let options = Options::try_from(&args)?;
    let address = format!("{}:{}", args.host, args.port);
    let listen = |source| SandboxError::Listen { address: address.clone(), source };
    let listener = TcpListener::bind(&address).await.map_err(listen)?;
    let bound: SocketAddr = listener.local_addr().map_err(listen)?;
    let stop = stop_signal().map_err(SandboxError::Serve)?;
    tracing::info!(address = %bound, url = %format!("http://{bound}"), "the sandbox listens");
    Sandbox::new(options).serve(listener, stop).await.map_err(SandboxError::Serve)
}

/// Waits for SIGTERM or ctrl-c. Handlers are in place once this returns.
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration; write for example 3s, 250ms or 1h30m");
    let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("'{text}' is not a number from 0 to 1")),
    }
}

/// `METHOD=SHARE[:HTTP]`.
fn error_rate(text: &str) -> Result<Rule, String> {
    let (name, rest) = text.split_once('=').ok_or("write METHOD=SHARE[:HTTP]")?;
    let (probability, http) = match rest.split_once(':') {
        Some((rate, http)) => {
            (share(rate)?, http.parse().map_err(|_| format!("'{http}' is no HTTP status"))?)
        }
        None => (share(rest)?, 503),
    };
    let method = if name == "any" {
        None
    } else {
        Some(method(name).ok_or_else(|| format!("'{name}' is no method of the API"))?)
    };
    let fault = Fault::Status { http, after: false, retry_after: None };
    let rule = Rule { method, probability, ..Rule::of(fault) };
    rule.check().map(|()| rule)
}

fn method(name: &str) -> Option<Method> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

fn customers(path: &Path) -> Result<CustomersFile, SandboxError> {
    let file: CustomersFile = read("customers", path)?;
    let companies = file.customers.iter().map(|known| &known.company);
    let vendors = file.vendors.iter().map(|known| &known.company);
    let theirs = file.vendors.iter().flat_map(|known| &known.customers);
    for company in companies.chain(vendors).chain(theirs) {
        let id = company.company_id.as_deref().unwrap_or_default();
        if !id.parse::<i64>().is_ok_and(|id| id > 0) {
            return Err(SandboxError::Invalid {
                flag: "customers",
                path: path.display().to_string(),
                reason: format!("companyId is '{id}', must be a positive number as text"),
            });
        }
    }
    Ok(file)
}

fn rules(args: &SandboxArgs) -> Result<Vec<Rule>, SandboxError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        rules: Vec<Rule>,
    }
    let mut rules = args.error_rate.clone();
    if !args.latency.is_zero() {
        let millis = u64::try_from(args.latency.as_millis()).unwrap_or(u64::MAX);
        rules.push(Rule::of(Fault::Latency { millis }));
    }
    for method in [Method::ClaimAsync, Method::UnclaimAsync, Method::UpdateMetadataAsync] {
        rules.push(Rule {
            method: Some(method),
            probability: args.lost_reply_rate,
            ..Rule::of(Fault::LoseReply { hang: false })
        });
    }
    for (probability, fault) in [
        (args.never_done_rate, Fault::NeverDone),
        (args.stuck_rate, Fault::StuckAtHundred),
        (args.short_result_rate, Fault::ShortResult { count: 1 }),
        (args.duplicate_result_rate, Fault::DuplicateResult { count: 1 }),
        (args.reordered_result_rate, Fault::ReorderResult),
    ] {
        rules.push(Rule { probability, ..Rule::of(fault) });
    }
    rules.retain(|rule| rule.probability > 0.0);
    if let Some(path) = &args.faults {
        let File { rules: from_file } = read("faults", path)?;
        for rule in &from_file {
            rule.check().map_err(|reason| SandboxError::Invalid {
                flag: "faults",
                path: path.display().to_string(),
                reason,
            })?;
        }
        rules.extend(from_file);
    }
    Ok(rules)
}

fn read<T: DeserializeOwned>(flag: &'static str, path: &Path) -> Result<T, SandboxError> {
    let name = || path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|source| SandboxError::Read { flag, path: name(), source })?;
    serde_json::from_slice(&bytes).map_err(|error| SandboxError::Invalid {
        flag,
        path: name(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
