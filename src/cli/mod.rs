//! Subcommands and exit codes. The only place that prints to standard output.

mod admin;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, ConfigArgs};
use crate::demo::{self, DemoArgs, SummaryForm};
use crate::sandbox::{self, SandboxArgs};
use crate::shell::telemetry::logs;
use crate::shell::{chain, runtime};
use crate::wire::schema;

/// The configuration has mistakes (`EX_USAGE`).
const EXIT_CONFIGURATION: u8 = 64;
/// Ended before all was finished: nothing is lost, the next start recovers (`EX_TEMPFAIL`).
const EXIT_CUT_SHORT: u8 = 75;

/// The number of partitions was changed while the worker ran (`EX_CONFIG`).
const EXIT_TOPICS: u8 = 78;

/// Kafka worker for Android zero-touch enrollment: order events in, devices claimed, one outcome
/// per device out.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work until a signal: read order events, make the calls, publish outcomes
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// End at once, as if killed, when standard input closes: for a worker that must not
        /// outlive the process that started it
        #[arg(long, hide = true)]
        until_stdin_ends: bool,
    },
    /// Say everything that is wrong with the configuration, without running
    CheckConfig {
        #[command(flatten)]
        config: ConfigArgs,
        /// Also try the brokers, the topics, and each account's credentials
        #[arg(long)]
        connect: bool,
    },
    /// Make the worker's topics
    Topics {
        #[command(subcommand)]
        command: TopicsCommand,
    },
    /// Tell the worker of this pod to drain, and wait until it has: for a preStop hook
    Drain(admin::DrainArgs),
    /// Ask the worker of this pod whether it is live or ready: for an exec probe
    Probe(admin::ProbeArgs),
    /// Hold back the submits of an account in the worker of this pod, until `resume`
    Pause(admin::HoldArgs),
    /// Let an account that was paused go on
    Resume(admin::HoldArgs),
    /// Run everything at once on an embedded broker: nothing else is needed
    Demo(DemoArgs),
    /// Serve a double of the reseller API for staging and tests
    Sandbox(Box<SandboxArgs>),
    /// Print the JSON Schema of a record or of the configuration, or the names of all
    Schema {
        /// Which; all names are printed if none is given
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Make those that are missing, with the right settings; change none that exist
    Create(ConfigArgs),
}

/// The process's life.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config, until_stdin_ends } => worker::run(&config, until_stdin_ends),
        Command::CheckConfig { config, connect } => worker::check_config(&config, connect),
        Command::Topics { command: TopicsCommand::Create(args) } => worker::create_topics(&args),
        Command::Drain(args) => admin::drain(&args),
        Command::Probe(args) => admin::probe(&args),
        Command::Pause(args) => admin::hold(&args, true),
        Command::Resume(args) => admin::hold(&args, false),
        Command::Schema { name } => schema(name.as_deref()),
        Command::Demo(args) => demo(args),
        Command::Sandbox(args) => sandbox(*args),
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn demo(args: DemoArgs) -> ExitCode {
    if let Err(reason) = args.check() {
        eprintln!("{reason}");
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    if let Err(code) = start_logs(DEMO_LOG) {
        return code;
    }
    let form = args.summary;
    match runtime().and_then(|runtime| runtime.block_on(demo::run(args))) {
        Ok((summary, held)) => {
            match form {
                SummaryForm::Text => println!("{summary}"),
                SummaryForm::Json => println!("{:#}", summary.to_json()),
            }
            if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed("the demo did not come to its end", &error),
    }
}

fn sandbox(args: SandboxArgs) -> ExitCode {
    if let Err(code) = start_logs("info") {
        return code;
    }
    let run = |runtime: tokio::runtime::Runtime| Ok(runtime.block_on(sandbox::run(args))?);
    match runtime().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("the sandbox did not start", &error),
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn schema(name: Option<&str>) -> ExitCode {
    const CONFIG: &str = "config";
    let names = || schema::names().iter().copied().chain([CONFIG]);
    let Some(name) = name else {
        names().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let text = if name == CONFIG { Some(config::schema()) } else { schema::schema(name) };
    match text {
        Some(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        None => {
            let names: Vec<&str> = names().collect();
            eprintln!("there is no schema {name:?}; there are: {}", names.join(", "));
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(runtime::new()?)
}

/// What the demo logs: its records that cannot be used are meant to be so, and its summary counts
/// them.
const DEMO_LOG: &str =
    "warn,zerotouch_worker::demo=info,zerotouch_worker::shell::telemetry::unusable=error";

/// Logs of the commands that have no configuration; `RUST_LOG` decides what is shown.
fn start_logs(default: &str) -> Result<(), ExitCode> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| default.to_owned());
    match logs::init(config::LogFormat::Text, &filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(failed("the logs cannot be set up", &error.into())),
    }
}

#[allow(clippy::print_stderr)]
fn failed(what: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{what}: {}", chain(&**error));
    ExitCode::FAILURE
}
