//! For how long the brokers keep the positions of a group without members, and whether that is as
//! long as commands are kept.

use std::fmt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, ResourceSpecifier};

use super::client::{KafkaOptions, LogContext};
use super::topics::{TopicPlan, admin, limits, settings};

/// What brokers call it.
const KEY: &str = "offsets.retention.minutes";
/// All questions together may take this many times as long as one.
const REQUESTS_MAX: u32 = 3;

/// How two times compare: for which positions are kept, and for which commands are. Without end if
/// there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetsRetention {
    /// Positions are kept for at least as long as commands.
    Enough {
        /// How long positions are kept.
        positions: Duration,
        /// How long commands are kept.
        commands: Option<Duration>,
    },
    /// Positions may be forgotten while commands are still there.
    Short {
        /// How long positions are kept.
        positions: Duration,
        /// How long commands are kept.
        commands: Option<Duration>,
    },
    /// Kafka does not say.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for OffsetsRetention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |commands: &Option<Duration>| commands.map_or("ever".to_owned(), span);
        match self {
            Self::Enough { positions, commands } => write!(
                f,
                "the brokers keep the positions of a group without members for {} ({KEY}), and \
                 commands for {}",
                span(*positions),
                end(commands)
            ),
            Self::Short { positions, commands } => {
                let minutes = commands.map(|commands| commands.as_secs().div_ceil(60));
                let wanted = minutes
                    .map_or("more than the longest time without a worker".to_owned(), |minutes| {
                        format!("at least {minutes}")
                    });
                let positions = span(*positions);
                write!(
                    f,
                    "the brokers forget the positions of a group without members after {positions} \
                     ({KEY}), and keep commands for {}: if no worker runs for longer than \
                     {positions}, lanes stop until somebody sets their positions by hand. Set {KEY} \
                     of the brokers to {wanted}",
                    end(commands)
                )
            }
            Self::Unknown { reason } => write!(
                f,
                "it could not be checked whether positions are kept for as long as commands: \
                 {reason}. Compare {KEY} of the brokers with retention.ms of the commands topic, or \
                 allow this worker to describe the cluster's settings (ACL DescribeConfigs on \
                 Cluster)"
            ),
        }
    }
}

/// Asks the brokers and compares. That they do not answer, or may not be asked, is an answer too.
pub async fn offsets_retention(options: &KafkaOptions, plan: &TopicPlan) -> OffsetsRetention {
    let asked = async {
        let (positions, commands) = ask(options, plan).await?;
        compare(&positions, commands.as_deref())
    };
    let patience = options.request_timeout * REQUESTS_MAX;
    let answer = tokio::time::timeout(patience, asked).await;
    answer
        .unwrap_or_else(|_| Err(format!("there was no answer within {}", span(patience))))
        .unwrap_or_else(|reason| OffsetsRetention::Unknown { reason })
}

/// The same, told in the log.
pub(in crate::shell) async fn tell_offsets_retention(options: KafkaOptions, plan: TopicPlan) {
    match offsets_retention(&options, &plan).await {
        enough @ OffsetsRetention::Enough { .. } => tracing::debug!("{enough}"),
        short @ OffsetsRetention::Short { .. } => tracing::warn!("{short}"),
        unknown @ OffsetsRetention::Unknown { .. } => tracing::info!("{unknown}"),
    }
}

/// What each broker says, and what the commands topic does.
async fn ask(
    options: &KafkaOptions,
    plan: &TopicPlan,
) -> Result<(Vec<Option<String>>, Option<String>), String> {
    let owned = options.clone();
    let begun = tokio::task::spawn_blocking(move || {
        let admin = admin(&owned).map_err(|error| error.to_string())?;
        let brokers = brokers(&admin, &owned)?;
        Ok::<_, String>((admin, brokers))
    });
    let (admin, brokers) = begun.await.map_err(|error| error.to_string())??;
    let topics = settings(&admin, options, &[&plan.commands]).await;
    let topic = topics.map_err(|error| error.to_string())?.remove(&plan.commands);
    let commands = topic.transpose()?.and_then(|mut settings| settings.remove("retention.ms"));
    // Any of them may keep the group's positions. Each has to be asked for itself.
    let mut positions = Vec::with_capacity(brokers.len());
    for id in brokers {
        let broker = [ResourceSpecifier::Broker(id)];
        let answer = admin.describe_configs(&broker, &limits(options));
        let failed = |reason: String| format!("broker {id} does not tell its settings ({reason})");
        let answer = answer.await.map_err(|error| failed(error.to_string()))?.pop();
        let entries = match answer {
            Some(Ok(resource)) => resource.entries,
            Some(Err(code)) => return Err(failed(code.to_string())),
            None => Vec::new(),
        };
        let entry = entries.into_iter().find(|entry| entry.name == KEY);
        positions.push(entry.and_then(|entry| entry.value));
    }
    Ok((positions, commands))
}

fn brokers(admin: &AdminClient<LogContext>, options: &KafkaOptions) -> Result<Vec<i32>, String> {
    let metadata = admin.inner().fetch_metadata(None, options.request_timeout);
    let metadata = metadata.map_err(|error| error.to_string())?;
    Ok(metadata.brokers().iter().map(|broker| broker.id()).collect())
}

/// Compares what was answered: `positions` in minutes, of each broker, and `commands` in
/// milliseconds, where less than zero is for ever.
fn compare(
    positions: &[Option<String>],
    commands: Option<&str>,
) -> Result<OffsetsRetention, String> {
    let minutes = |answer: &Option<String>| answer.as_ref()?.parse::<u64>().ok();
    let shortest: Option<Vec<u64>> = positions.iter().map(minutes).collect();
    let Some(minutes) = shortest.and_then(|all| all.into_iter().min()) else {
        return Err(format!("the brokers do not tell their {KEY}"));
    };
    let Some(commands) = commands.and_then(|answer| answer.parse::<i64>().ok()) else {
        return Err("the retention.ms of the commands topic is not told".to_owned());
    };
    let positions = Duration::from_secs(minutes.saturating_mul(60));
    let commands = u64::try_from(commands).ok().map(Duration::from_millis);
    Ok(if commands.is_some_and(|commands| commands <= positions) {
        OffsetsRetention::Enough { positions, commands }
    } else {
        OffsetsRetention::Short { positions, commands }
    })
}

/// A time as people say it, in the largest unit that needs no fraction.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let fits =
        units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (unit, name) = fits.unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn compared(positions: &[Option<&str>], commands: Option<&str>) -> OffsetsRetention {
        let positions: Vec<Option<String>> =
            positions.iter().map(|answer| answer.map(str::to_owned)).collect();
        let answer = compare(&positions, commands);
        answer.unwrap_or_else(|reason| OffsetsRetention::Unknown { reason })
    }

    #[test]
    fn positions_that_are_forgotten_before_commands_are_found_and_the_way_out_is_said() {
        let two_weeks = (14 * DAY_MS).to_string();
        let short = compared(&[Some("10080")], Some(&two_weeks));
        let days = |days| Duration::from_millis(days * DAY_MS);
        let expected = OffsetsRetention::Short { positions: days(7), commands: Some(days(14)) };
        assert_eq!(short, expected);
        let text = short.to_string();
        for words in ["after 7 days", "commands for 14 days", "to at least 20160", KEY] {
            assert!(text.contains(words), "{words:?} is not in: {text}");
        }
    }

    #[test]
    fn positions_that_are_kept_as_long_are_enough_and_a_minute_less_is_not() {
        let two_weeks = (14 * DAY_MS).to_string();
        let is_enough = |minutes: &str| {
            let compared = compared(&[Some(minutes)], Some(&two_weeks));
            matches!(compared, OffsetsRetention::Enough { .. })
        };
        assert!(is_enough("20160") && is_enough("99999"));
        assert!(!is_enough("20159"));
    }

    #[test]
    fn commands_without_end_outlive_every_position() {
        let text = compared(&[Some("10080")], Some("-1")).to_string();
        assert!(text.contains("commands for ever"), "{text}");
        assert!(text.contains("more than the longest time without a worker"), "{text}");
    }

    #[test]
    fn of_several_brokers_the_one_that_forgets_first_counts() {
        let week = (7 * DAY_MS).to_string();
        let all = [Some("20160"), Some("60"), Some("20160")];
        let text = compared(&all, Some(&week)).to_string();
        assert!(text.contains("after 1 hour "), "{text}");
    }

    #[test]
    fn what_is_not_told_could_not_be_checked_and_is_never_enough() {
        let week = (7 * DAY_MS).to_string();
        let answers: [(&[Option<&str>], Option<&str>); 5] = [
            (&[], Some(&week)),
            (&[None], Some(&week)),
            (&[Some("20160"), None], Some(&week)),
            (&[Some("a week")], Some(&week)),
            (&[Some("20160")], None),
        ];
        for (positions, commands) in answers {
            let compared = compared(positions, commands);
            let text = compared.to_string();
            assert!(matches!(compared, OffsetsRetention::Unknown { .. }), "{text}");
            assert!(text.contains("could not be checked") && text.contains("DescribeConfigs"));
        }
    }

    #[test]
    fn a_time_is_said_without_fractions() {
        for (seconds, words) in
            [(0, "0 seconds"), (90, "90 seconds"), (5_400, "90 minutes"), (86_400, "1 day")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}
