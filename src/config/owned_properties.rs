//! librdkafka properties that may not be set freely: a key of ours sets them, or a promise of this
//! worker rests on them.

const PROMISE: &str = "not to be set: the worker's guarantees rest on its own value";
const HANDLING: &str = "not to be set: the worker's way of using the client rests on its own value";

/// The properties, librdkafka's other names for them included, each with what to do instead.
pub(super) const OWNED: [(&str, &str); 33] = [
    ("bootstrap.servers", "not to be set: use `kafka.bootstrap_servers`"),
    ("metadata.broker.list", "not to be set: use `kafka.bootstrap_servers`"),
    ("client.id", "not to be set: use `kafka.client_id`"),
    ("group.id", "not to be set: use `kafka.group_id`"),
    ("group.instance.id", "not to be set: use `kafka.group_instance_id`"),
    ("group.protocol", "not to be set: use `kafka.group_protocol`"),
    ("session.timeout.ms", "not to be set: use `kafka.session_timeout`"),
    ("max.poll.interval.ms", "not to be set: use `kafka.max_poll_interval`"),
    ("transaction.timeout.ms", "not to be set: use `kafka.transaction_timeout`"),
    ("queued.max.messages.kbytes", "not to be set: use `kafka.fetch_memory`"),
    ("transactional.id", PROMISE),
    ("enable.idempotence", PROMISE),
    ("enable.gapless.guarantee", PROMISE),
    ("acks", PROMISE),
    ("request.required.acks", PROMISE),
    ("retries", PROMISE),
    ("message.send.max.retries", PROMISE),
    ("message.timeout.ms", PROMISE),
    ("delivery.timeout.ms", PROMISE),
    ("isolation.level", PROMISE),
    ("enable.auto.commit", PROMISE),
    ("auto.commit.enable", PROMISE),
    ("enable.auto.offset.store", PROMISE),
    ("auto.offset.reset", PROMISE),
    ("enable.partition.eof", PROMISE),
    ("partition.assignment.strategy", PROMISE),
    ("group.remote.assignor", PROMISE),
    ("allow.auto.create.topics", "not to be set: `topics create` makes the topics as they must be"),
    ("batch.size", HANDLING),
    ("message.max.bytes", HANDLING),
    ("consume.callback.max.messages", HANDLING),
    ("statistics.interval.ms", HANDLING),
    ("log.queue", HANDLING),
];

/// What to do instead of setting the property, if it is not to be set.
#[must_use]
pub fn owned_property(property: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == property).map(|(_, instead)| *instead)
}
