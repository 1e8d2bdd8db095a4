//! How far the group is in the order topics, looked at without a worker: from where `run` would
//! read each, or what has to be said before it does.

use std::sync::Arc;

use super::start::{PATIENCE, Placed, place};
use crate::engine::StartFrom;
use crate::engine::positions::{News, Undecided};
use crate::shell::kafka::rights_check::Tried;
use crate::shell::kafka::{Anchors, KafkaOptions, Readers, positions_in};
use crate::shell::positions::{start_to_set, stopped};

/// Looks at order topics with the options of the intake half. Nothing is committed.
pub(in crate::shell) async fn order_topics(
    kafka: KafkaOptions,
    topics: Vec<String>,
    start: Option<StartFrom>,
) -> Vec<Tried> {
    let looked = tokio::task::spawn_blocking(move || {
        let tried = |topic: String| {
            let result = order_topic(&kafka, &topic, start);
            (format!("position in {topic}"), result)
        };
        topics.into_iter().map(tried).collect()
    });
    looked.await.unwrap_or_else(|error| vec![("positions".to_owned(), Err(error.to_string()))])
}

fn order_topic(
    kafka: &KafkaOptions,
    topic: &str,
    start: Option<StartFrom>,
) -> Result<String, String> {
    let readers = Readers::new(kafka).map_err(|error| error.to_string())?;
    let committed = positions_in(&readers, &Arc::from(topic), PATIENCE)?;
    let placed = place(kafka, start, &Anchors::default(), &committed)?;
    summary(topic, &kafka.group_id, start, &placed)
}

fn summary(
    topic: &str,
    group: &str,
    start: Option<StartFrom>,
    placed: &[Placed],
) -> Result<String, String> {
    let (mut behind, mut first, mut skipped, mut lost, mut unread) = (0, 0, 0, 0, None);
    let mut unasked = 0;
    for one in placed {
        behind += one.behind;
        match one.position {
            Err(Undecided::StartNotGiven { records }) => unasked += records,
            Err(why) => return Err(stopped(&one.partition, group, why, None)),
            Ok(position) => match position.news {
                News::None => {}
                News::First { behind, skipped: before } => {
                    first += behind;
                    skipped += before;
                }
                News::Lost { from, to } => lost += to - from,
                News::MadeAnew { unread: there, .. } => {
                    unread = Some(unread.unwrap_or(0) + there);
                }
            },
        }
    }
    if unasked > 0 {
        return Err(start_to_set(topic, unasked, group));
    }
    let mut text = format!("{behind} records behind");
    if first + skipped > 0 {
        text += &format!(", {first} of them in partitions that the group {group} has not read yet");
        if let Some(start) = start {
            text += &format!(" (`intake.start` is {start}");
            text += &match skipped {
                0 => ")".to_owned(),
                _ => format!(": {skipped} records before that are left out)"),
            };
        }
    }
    if lost > 0 {
        text += &format!("; {lost} more were deleted before they were read");
    }
    if let Some(unread) = unread {
        text += &format!("; the topic was made anew, and its {unread} records count as unread");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::positions::Position;
    use crate::shell::kafka::TopicPartition;

    fn placed(behind: i64, position: Result<News, Undecided>) -> Placed {
        let at = |news| Position { from: 0, news, log: Default::default() };
        Placed {
            partition: TopicPartition::new("shop.orders", 0),
            position: position.map(at),
            anchor: None,
            is_committed: false,
            behind,
        }
    }

    fn said(start: Option<StartFrom>, placed: &[Placed]) -> Result<String, String> {
        summary("shop.orders", "shop.intake", start, placed)
    }

    #[test]
    fn a_history_without_word_fails_with_all_its_records_and_what_to_set() {
        let unasked = |records| placed(0, Err(Undecided::StartNotGiven { records }));
        let empty = placed(0, Ok(News::First { behind: 0, skipped: 0 }));
        let text = said(None, &[unasked(30), empty, unasked(12)]).unwrap_err();
        for word in ["42 records", "shop.orders", "shop.intake", "`intake.start`", "\"latest\""] {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }

    #[test]
    fn records_behind_are_added_up_and_what_run_would_tell_is_told() {
        let known = || placed(3, Ok(News::None));
        assert_eq!(said(None, &[known(), known()]).unwrap(), "6 records behind");
        let first = || placed(40, Ok(News::First { behind: 40, skipped: 12 }));
        let text = said(Some(StartFrom::Latest), &[known(), first()]).unwrap();
        for word in ["43 records behind", "40 of them", "is latest", "12 records before"] {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
        let lost = placed(7, Ok(News::Lost { from: 5, to: 14 }));
        assert!(said(None, &[lost]).unwrap().contains("7 records behind; 9 more were deleted"));
        let anew = placed(7, Ok(News::MadeAnew { was: Some(30), unread: 7 }));
        assert!(said(None, &[anew]).unwrap().contains("made anew, and its 7 records"));
    }
}
