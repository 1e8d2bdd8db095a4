//! Subcommands and exit codes. The only place that prints to standard output.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo::{self, DemoArgs, SummaryForm};
use crate::sandbox::{self, SandboxArgs};
use crate::wire::schema;

/// Kafka worker for Android zero-touch enrollment: order events in, devices claimed, one outcome
/// per device out.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything at once on an embedded broker: nothing else is needed
    Demo(DemoArgs),
    /// Serve a double of the reseller API for staging and tests
    Sandbox(Box<SandboxArgs>),
    /// Print the JSON Schema of a record, or the names of all
    Schema {
        /// Which; all names are printed if none is given
        name: Option<String>,
    },
}

/// The process's life.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Schema { name } => schema(name.as_deref()),
        Command::Demo(args) => demo(args),
        Command::Sandbox(args) => sandbox(*args),
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn demo(args: DemoArgs) -> ExitCode {
    logs("warn");
    let form = args.summary;
    match runtime().and_then(|runtime| runtime.block_on(demo::run(args))) {
        Ok((summary, held)) => {
            match form {
                SummaryForm::Text => println!("{summary}"),
                SummaryForm::Json => println!("{:#}", summary.to_json()),
            }
            if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the demo did not come to its end: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)]
fn sandbox(args: SandboxArgs) -> ExitCode {
    logs("info");
    let run = |runtime: tokio::runtime::Runtime| Ok(runtime.block_on(sandbox::run(args))?);
    match runtime().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the sandbox did not start: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn schema(name: Option<&str>) -> ExitCode {
    let Some(name) = name else {
        for name in schema::names() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    match schema::schema(name) {
        Some(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("there is no schema {name:?}; there are: {}", schema::names().join(", "));
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn logs(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
