//! The subcommands that read the configuration: `run`, `check-config`, `topics create`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::{EXIT_CONFIGURATION, EXIT_CUT_SHORT, EXIT_TOPICS, failed, runtime};
use crate::config::{self, Config, ConfigArgs};
use crate::shell::chain;
use crate::shell::kafka::{self, KafkaOptions, TopicReport};
use crate::shell::run::{self, Ended, SINGLE_COPY, StartError, TopicsReady};
use crate::shell::runtime as threads;
use crate::shell::telemetry::logs;
use crate::shell::{neighbours, rights};

/// Exit codes: 0 drained, 1 cannot start and waiting would not help, 64 configuration, 75 cut
/// short, 78 topics changed.
pub(super) fn run(args: &ConfigArgs, until_stdin_ends: bool) -> ExitCode {
    if until_stdin_ends && let Err(error) = end_with_stdin() {
        return failed("the worker did not start", &error);
    }
    let config = match load(args) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let logs = match logs::init(config.log.format, &config.log.level) {
        Ok(logs) => logs,
        Err(error) => return failed("the logs cannot be set up", &error.into()),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed("the worker did not start", &error),
    };
    threads::log(&runtime);
    match runtime.block_on(run::run(&config, Some(logs))) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        // What still runs is left behind, since no time is to be lost.
        Ok(Ended::PartitionsChanged) => std::process::exit(i32::from(EXIT_TOPICS)),
        // What still runs is left behind, since it was told to end and did not in time.
        Ok(Ended::CutShort) => std::process::exit(i32::from(EXIT_CUT_SHORT)),
        Err(error) => failed("the worker did not start", &error.into()),
    }
}

/// Whoever started this process holds the other end: once it is gone, however it ended, so are we.
fn end_with_stdin() -> anyhow::Result<()> {
    std::thread::Builder::new().name("stdin".into()).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(i32::from(EXIT_CUT_SHORT));
    })?;
    Ok(())
}

#[allow(clippy::print_stdout)]
pub(super) fn check_config(args: &ConfigArgs, connect: bool) -> ExitCode {
    let config = match load(args) {
        Ok(config) => config,
        Err(code) => return code,
    };
    println!("the configuration is sound; what is not listed has its default:");
    for line in &config.explained {
        println!("  {line}");
    }
    if !connect {
        return ExitCode::SUCCESS;
    }
    match runtime().map(|runtime| runtime.block_on(try_out(&config))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed("nothing could be tried", &error),
    }
}

/// Tries everything that `run` needs, and goes on after failures so that one call shows all.
#[allow(clippy::print_stdout)]
async fn try_out(config: &Config) -> bool {
    let mut sound = true;
    let mut say = |what: &str, result: Result<String, String>| match result {
        Ok(text) => println!("ok      {what}: {text}"),
        Err(text) => {
            sound = false;
            println!("FAILED  {what}: {text}");
        }
    };
    let options = run::kafka(config);
    let plan = run::plan(config);
    let topics = run::topics_ready(&options, &plan, &config.topics.commands).await;
    // Rights at topics that are not there say nothing.
    let lanes = topics.as_ref().ok().map(|topics| topics.lanes);
    let topics = topics.map(|TopicsReady { lanes, single_copy }| match &single_copy[..] {
        [] => format!("{lanes} lanes"),
        topics => format!("{lanes} lanes, but {}: {SINGLE_COPY}", topics.join(", ")),
    });
    say("Kafka and topics", topics.map_err(|error| chain(&error)));
    if let Some(lanes) = lanes {
        match rights::try_all(&options, &plan).await {
            Ok(tried) => {
                let has_all = tried.iter().all(|(_, result)| result.is_ok());
                tried.into_iter().for_each(|(what, result)| say(&what, result));
                if has_all {
                    let places = rights::order_topics(&options, &plan, config.intake.start).await;
                    places.into_iter().for_each(|(what, result)| say(&what, result));
                } else {
                    println!("skipped positions: they are looked at once no right is missing");
                }
            }
            Err(error) => say("rights", Err(chain(&error))),
        }
        let retention = kafka::offsets_retention(&options, &plan).await;
        say("stopped workers", Ok(retention.to_string()));
        say("other installations", neighbours(config, options, lanes).await);
    } else {
        println!("skipped rights: they are tried once Kafka and topics are right");
    }
    for account in &config.accounts {
        let one = Config { accounts: vec![account.clone()], ..config.clone() };
        let result = match run::clients(&one, None).await {
            // The line names the account already.
            Err(StartError::Account { source, .. }) => Err(chain(&source)),
            Err(error) => Err(chain(&error)),
            Ok(clients) => match clients.first() {
                Some(client) => client.check().await.map_err(|failure| failure.to_string()),
                None => Ok(()),
            },
        };
        let result = result.map(|()| format!("partner {} answers", account.partner_id));
        say(&format!("account {}", account.name), result);
    }
    sound
}

/// Whether the topics are shared with another installation.
async fn neighbours(config: &Config, kafka: KafkaOptions, lanes: u32) -> Result<String, String> {
    let config = config.clone();
    let looked =
        tokio::task::spawn_blocking(move || neighbours::look(&config, &kafka, lanes)).await;
    match looked.map_err(|error| error.to_string())?.map_err(|error| chain(&error))? {
        None => Ok("none is seen at the end of the commands and the ledger".to_owned()),
        Some(found) if found.is_waiting || found.is_new_here => Err(found.what),
        Some(found) => Ok(format!("done with, but look: {}", found.what)),
    }
}

#[allow(clippy::print_stdout)]
pub(super) fn create_topics(args: &ConfigArgs) -> ExitCode {
    let config = match load(args) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (options, plan) = (run::kafka(&config), run::plan(&config));
    let create = |runtime: tokio::runtime::Runtime| {
        let made = runtime.block_on(kafka::create_topics(&options, &plan));
        let reports = made.context("Kafka did not make them")?;
        Ok((reports, runtime.block_on(kafka::offsets_retention(&options, &plan))))
    };
    let (reports, retention) = match runtime().and_then(create) {
        Ok(made) => made,
        Err(error) => return failed("no topics were made", &error),
    };
    let mut sound = true;
    for report in reports {
        match report {
            TopicReport::Created { topic } => println!("created  {topic}"),
            TopicReport::Present { topic } => println!("present  {topic}"),
            TopicReport::Failed { topic, reason } => {
                sound = false;
                println!("FAILED   {topic}: {reason}");
            }
            TopicReport::Wrong { topic, problems } => {
                sound = false;
                println!("WRONG    {topic}, nothing was changed:");
                problems.iter().for_each(|problem| println!("           {problem}"));
            }
        }
    }
    println!("note     {retention}");
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[allow(clippy::print_stderr)]
fn load(args: &ConfigArgs) -> Result<Config, ExitCode> {
    let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    config::load(args, std::env::vars_os().filter_map(text)).map_err(|mistakes| {
        eprintln!("{mistakes}");
        ExitCode::from(EXIT_CONFIGURATION)
    })
}
