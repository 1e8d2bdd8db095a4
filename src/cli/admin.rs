//! The subcommands that ask the admin server of a running worker: `drain` and `probe`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{EXIT_CUT_SHORT, failed};
use crate::config::values::Span;
use crate::shell::admin::{self, Reply};

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
