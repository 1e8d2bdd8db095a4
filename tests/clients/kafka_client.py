"""An independent Kafka client for the black-box tests: requests on stdin, answers on stdout.

One JSON object a line, each way. It shares nothing with the worker but the protocol. Bytes are
{"text": "…"} if they are UTF-8, else {"hex": "…"}; null is no bytes at all. A request that fails
gives {"error": "…"}.
"""

import json
import sys
import time

import confluent_kafka as kafka
from confluent_kafka import admin
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

SERVERS = sys.argv[1]
TIMEOUT = 30.0
# Outages are part of the tests: what matters of them comes back as an answer.
COMMON = {"bootstrap.servers": SERVERS, "log_level": 0}


class Client:
    def __init__(self):
        self.admin = AdminClient(COMMON)
        self.producer = kafka.Producer(
            {
                **COMMON,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.max.bytes": 16 << 20,
            }
        )
        self.readers = {}
        self.next = {}
        self.counters = {}
        self.counted = {}

    def create(self, topic, partitions, config):
        """Makes a topic."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
        self.admin.create_topics([new])[topic].result(TIMEOUT)
        return {}

    def set_topic(self, topic, key, value):
        """Changes a setting of a topic."""
        operation = AlterConfigOpType.SET
        entry = ConfigEntry(key, value, incremental_operation=operation)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(TIMEOUT)
        return {}

    def may_write(self, topic, allowed):
        """Says whether clients without a name of their own may write to a topic."""
        rule = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
        if allowed:
            any_rule = (*rule, AclOperation.ANY, AclPermissionType.ANY)
            found = AclBindingFilter(*any_rule)
            self.admin.delete_acls([found])[found].result(TIMEOUT)
            return {}
        others = AclBinding(*rule, AclOperation.ALL, AclPermissionType.ALLOW)
        denied = AclBinding(*rule, AclOperation.WRITE, AclPermissionType.DENY)
        for made in self.admin.create_acls([others, denied]).values():
            made.result(TIMEOUT)
        return {}

    def delete(self, topic):
        """Deletes a topic."""
        self.admin.delete_topics([topic])[topic].result(TIMEOUT)
        return {}

    def grant(self, kind, name, pattern, operation):
        """Lets the user `worker` do something."""
        place = admin.ResourceType[kind], name, admin.ResourcePatternType[pattern]
        who = "User:worker", "*"
        allow = admin.AclOperation[operation], admin.AclPermissionType.ALLOW
        for result in self.admin.create_acls([admin.AclBinding(*place, *who, *allow)]).values():
            result.result(TIMEOUT)
        return {}

    def revoke(self, kind, name, pattern, operation):
        """Takes that back."""
        place = admin.ResourceType[kind], name, admin.ResourcePatternType[pattern]
        who = "User:worker", "*"
        allow = admin.AclOperation[operation], admin.AclPermissionType.ALLOW
        asked = [admin.AclBindingFilter(*place, *who, *allow)]
        for result in self.admin.delete_acls(asked).values():
            result.result(TIMEOUT)
        return {}

    def set_position(self, group, topic, partition, offset):
        """Moves the position of a group that has no members."""
        places = [kafka.TopicPartition(topic, partition, offset)]
        asked = [kafka.ConsumerGroupTopicPartitions(group, places)]
        self.admin.alter_consumer_group_offsets(asked)[group].result(TIMEOUT)
        return {}

    def produce(self, records):
        """Writes records, and gives partition and offset of each once all are acknowledged."""
        places = [None] * len(records)

        def delivered(index):
            def callback(error, message):
                places[index] = str(error) if error else [message.partition(), message.offset()]

            return callback

        for index, record in enumerate(records):
            options = {} if record.get("partition") is None else {"partition": record["partition"]}
            self.producer.produce(
                record["topic"],
                key=from_json(record.get("key")),
                value=from_json(record.get("value")),
                headers=[(name, from_json(value)) for name, value in record.get("headers", [])],
                on_delivery=delivered(index),
                **options,
            )
            self.producer.poll(0)
        left = self.producer.flush(TIMEOUT)
        failed = [place for place in places if not isinstance(place, list)]
        if left or failed:
            raise RuntimeError(f"{left} records not acknowledged, errors: {failed[:3]}")
        return {"places": places}

    def read(self, topic, wait, maximum):
        """Gives committed records that were not given yet."""
        reader = self.readers.get(topic)
        if reader is None:
            reader = self.readers[topic] = self.reader(topic, False)
        return self.records(topic, reader.consume(num_messages=maximum, timeout=wait))

    def rest(self, topic):
        """Gives all committed records that were not given yet, up to the end as it is now."""
        reader = self.readers.pop(topic, None)
        if reader is not None:
            reader.close()
        reader = self.reader(topic, True)
        missing, taken = set(self.partitions(topic)), []
        while missing:
            messages = reader.consume(num_messages=5000, timeout=0.05)
            for message in messages:
                error = message.error()
                if error and error.code() == kafka.KafkaError._PARTITION_EOF:
                    missing.discard(message.partition())
                else:
                    taken.append(message)
        reader.close()
        return self.records(topic, taken)

    def count(self, topic, wait, maximum):
        """Counts committed records from the beginning on: all that were seen so far, and by
        partition the offset behind the last one. Waits a moment for the first new one."""
        reader = self.counters.get(topic)
        if reader is None:
            reader = self.reader(topic, False, from_start=True)
            self.counters[topic] = reader
            self.counted[topic] = [0, {}]
        seen = self.counted[topic]
        for message in reader.consume(num_messages=maximum, timeout=wait):
            if message.error():
                raise RuntimeError(str(message.error()))
            seen[0] += 1
            seen[1][message.partition()] = message.offset() + 1
        return {"count": seen[0], "next": seen[1]}

    def topic_id(self, topic):
        """Gives the id of a topic, by which newer requests name it."""
        asked = kafka.TopicCollection([topic])
        found = self.admin.describe_topics(asked)[topic].result(TIMEOUT).topic_id
        halves = [found.get_most_significant_bits(), found.get_least_significant_bits()]
        return {"id": "".join(f"{half & (2**64 - 1):016x}" for half in halves)}

    def records(self, topic, messages):
        records = [to_json(message) for message in messages]
        for record in records:
            self.next[topic, record["partition"]] = record["offset"] + 1
        return {"records": records}

    def reader(self, topic, with_end, from_start=False):
        consumer = kafka.Consumer(
            {
                **COMMON,
                "group.id": "reads-without-a-group",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": with_end,
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 8 << 20,
            }
        )
        known = {} if from_start else self.next
        places = [(p, known.get((topic, p), 0)) for p in self.partitions(topic)]
        consumer.assign([kafka.TopicPartition(topic, p, offset) for p, offset in places])
        return consumer

    def partitions(self, topic):
        metadata = self.admin.list_topics(topic, timeout=TIMEOUT)
        return sorted(metadata.topics[topic].partitions)

    def committed(self, topic, group):
        """Gives the group's committed offset of each partition, -1 for none."""
        # A reader of committed offsets would wait for those of an open transaction.
        options = {"group.id": group, "isolation.level": "read_uncommitted"}
        consumer = kafka.Consumer({**COMMON, **options})
        try:
            asked = [kafka.TopicPartition(topic, p) for p in self.partitions(topic)]
            found = patiently(lambda: consumer.committed(asked, timeout=TIMEOUT))
            return {"offsets": [max(place.offset, -1) for place in found]}
        finally:
            consumer.close()

    def members(self, group):
        """Gives the number of partitions of each member of the group."""
        ask = lambda: self.admin.describe_consumer_groups([group], request_timeout=5.0)[group]
        found = patiently(lambda: ask().result(TIMEOUT))
        return {"members": [len(one.assignment.topic_partitions) for one in found.members]}


# A broker that has just started is looking for the coordinator of a group.
PASSING = {
    kafka.KafkaError.NOT_COORDINATOR,
    kafka.KafkaError.COORDINATOR_NOT_AVAILABLE,
    kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    # It looked for the coordinator before there was one, and did not look again in time.
    kafka.KafkaError._TIMED_OUT,
}


def patiently(ask):
    """Asks again, within the time limit, while a broker says that it is not ready."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            return ask()
        except kafka.KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() > end:
                raise
        time.sleep(0.1)


def from_json(value):
    if value is None:
        return None
    return bytes.fromhex(value["hex"]) if "hex" in value else value["text"].encode()


def bytes_json(value):
    if value is None:
        return None
    if isinstance(value, str):
        value = value.encode()
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"hex": value.hex()}


def to_json(record):
    if record.error():
        raise RuntimeError(str(record.error()))
    return {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "key": bytes_json(record.key()),
        "value": bytes_json(record.value()),
        "headers": [[name, bytes_json(value)] for name, value in record.headers() or []],
    }


def main():
    client = Client()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(client, request.pop("op"))(**request)
        except Exception as error:  # whatever it is, the test has to see it
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
