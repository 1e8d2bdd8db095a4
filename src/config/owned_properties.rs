//! librdkafka properties that may not be set freely: a key of ours sets them, or a promise of this
//! worker rests on them.

/// What exactly-once rests on.
const PROMISE: &str = "not to be set: the worker's guarantees rest on its own value";

/// Why a property is not to be set, if it is not.
pub(super) fn owner(property: &str) -> Option<&'static str> {
    let reason = match property {
        "bootstrap.servers" | "metadata.broker.list" => {
            "not to be set: use `kafka.bootstrap_servers`"
        }
        "group.id" => "not to be set: use `kafka.group_id`",
        "client.id" => "not to be set: use `kafka.client_id`",
        "group.instance.id" => "not to be set: use `kafka.group_instance_id`",
        "group.protocol" => "not to be set: use `kafka.group_protocol`",
        "session.timeout.ms" => "not to be set: use `kafka.session_timeout`",
        "max.poll.interval.ms" => "not to be set: use `kafka.max_poll_interval`",
        "transaction.timeout.ms" => "not to be set: use `kafka.transaction_timeout`",
        "queued.max.messages.kbytes" => "not to be set: use `kafka.fetch_memory`",
        "transactional.id"
        | "enable.idempotence"
        | "enable.gapless.guarantee"
        | "acks"
        | "request.required.acks"
        | "isolation.level"
        | "enable.auto.commit"
        | "enable.auto.offset.store"
        | "auto.offset.reset"
        | "enable.partition.eof"
        | "partition.assignment.strategy" => PROMISE,
        _ => return None,
    };
    Some(reason)
}
