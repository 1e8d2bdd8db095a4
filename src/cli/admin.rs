//! The subcommands that ask the admin server of a running worker: `drain`, `probe`, `pause` and
//! `resume`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{EXIT_CUT_SHORT, failed};
use crate::config::values::Span;
use crate::shell::admin::{self, AskError, Reply};

/// Between two questions whether the worker has drained.
const AGAIN: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
struct Whom {
    /// The admin server of the worker
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9700")]
    admin: String,
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    whom: Whom,
    /// How long to wait; what is not finished then is recovered by the next start
    #[arg(long, default_value = "25s")]
    timeout: Span,
}

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// What to ask
    what: What,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Whether it has to be started anew
    Live,
    /// Whether it works
    Ready,
}

#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// The account's name in the configuration
    name: String,
    #[command(flatten)]
    whom: Whom,
}

/// Exit codes: 0 drained, 1 nobody to tell, 75 not drained in time.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub(super) fn drain(args: &DrainArgs) -> ExitCode {
    let deadline = Instant::now() + args.timeout.0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = left.clamp(AGAIN, ANSWER_TIME);
        let reply = match admin::ask(&args.whom.admin, "POST", "/drain", limit) {
            Ok(reply) => reply,
            Err(error) => return failed("the worker cannot be told to drain", &error.into()),
        };
        if reply.status != 200 {
            eprintln!("the worker refuses to drain: HTTP {} {}", reply.status, reply.body);
            return ExitCode::FAILURE;
        }
        if is_drained(&reply) {
            println!("drained");
            return ExitCode::SUCCESS;
        }
        if left.is_zero() {
            eprintln!("not drained within {}; nothing is lost by ending it now", args.timeout);
            return ExitCode::from(EXIT_CUT_SHORT);
        }
        std::thread::sleep(AGAIN.min(left));
    }
}

fn is_drained(reply: &Reply) -> bool {
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
    body["drained"] == true
}

/// Exit codes: 0 it is, 1 it is not, or nobody answers; the reasons go to standard output.
#[allow(clippy::print_stdout)]
pub(super) fn probe(args: &ProbeArgs) -> ExitCode {
    let path = match args.what {
        What::Live => "/livez",
        What::Ready => "/readyz",
    };
    match admin::ask(&args.whom.admin, "GET", path, ANSWER_TIME) {
        Ok(reply) => {
            println!("{}", reply.body);
            if reply.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed("no answer", &error.into()),
    }
}

/// Exit codes: 0 done, 1 nobody to tell, or no such account; which there are is said.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub(super) fn hold(args: &HoldArgs, paused: bool) -> ExitCode {
    let (word, HoldArgs { name, whom }) = (if paused { "pause" } else { "resume" }, args);
    let path = format!("/accounts/{}/{word}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    match admin::ask(&whom.admin, "POST", &path, ANSWER_TIME) {
        Ok(reply) if reply.status == 200 && paused => {
            println!("paused: nothing is sent for the account {name} until `resume {name}`");
            println!("only this worker was told, and it forgets it when its process ends");
            ExitCode::SUCCESS
        }
        Ok(reply) if reply.status == 200 => {
            println!("resumed: the account {name} goes on, in this worker");
            ExitCode::SUCCESS
        }
        Ok(reply) => {
            eprintln!("cannot {word} the account: {}", refusal(&reply));
            ExitCode::FAILURE
        }
        Err(error) => {
            let unreachable = matches!(error, AskError::Unreachable { .. });
            let code = failed(&format!("cannot {word} the account"), &error.into());
            if unreachable {
                eprintln!("{WHERE_TO_ASK}");
            }
            code
        }
    }
}

const WHERE_TO_ASK: &str = "is the worker running, and is this its `admin.listen`? It can be asked \
     from its own machine or pod alone: `kubectl exec POD -c zerotouch-worker -- \
     /usr/local/bin/zerotouch-worker …`, or `kubectl port-forward POD 9700`; name another port by \
     `--admin http://127.0.0.1:PORT`";

/// What the worker says against it.
fn refusal(reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
    match body["error"].as_str() {
        Some(reason) => reason.to_owned(),
        None => format!("HTTP {} {}", reply.status, reply.body),
    }
}
