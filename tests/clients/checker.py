"""An independent judge of a finished run: a JSON request on stdin, a JSON report on stdout.

It reads the order events, the commands, the ledger and the outcomes (committed records only) and
the sandbox's devices and logs, and shares nothing with the worker but those contracts:

- I1, I6: every line of every order event has its commands, each has one committed outcome, and
  their ids follow from source, line and action;
- I2: every device is as its order events say, carried out in the order of the commands topic;
- I3: no device ever had two operations in flight;
- every write at the API belongs to a command, and a write that was made twice has a reason: its
  reply was lost, its result said that it had failed, or something was done to a worker, or Kafka
  took its partitions, before it could record the operation.

`violations` of a good run is a list without entries.
"""

import datetime
import json
import sys
import urllib.request
import uuid
from collections import Counter, defaultdict

import confluent_kafka as kafka

NAMESPACE = uuid.UUID("6f1c8a52-9d3e-4b07-8c11-5e2a7d90b3f4")
METHODS = {
    "claimAsync": "claim",
    "unclaimAsync": "unclaim",
    "updateMetadataAsync": "update_metadata",
}
# Outcomes of commands that went to the API themselves, if they did.
OWN_CALL = {"succeeded", "failed", "unresolved"}
# Faults of the sandbox after which a worker cannot know the operation, or cannot trust its result.
REPLY_LOST = {"loseReply", "statusAfter"}
RESULT_BAD = {"operationError", "vanish", "stuckAtHundred", "neverDone", "shortResult", "dropItems"}
NEVER_ENDS = {"stuckAtHundred", "neverDone"}
# A worker may be this long between the sandbox's acceptance and its own record of it.
RECORD_LIMIT = 5.0
SHOWN = 10


def main():
    request = json.load(sys.stdin)
    check = Check(request)
    check.read()
    check.lines_and_outcomes()
    check.devices()
    check.operations()
    json.dump(check.report(), sys.stdout)


class Check:
    def __init__(self, request):
        self.request = request
        self.disturbances = sorted((one["at"], one["kind"]) for one in request["disturbances"])
        self.violations = []
        self.facts = {}
        self.unrecorded = {}

    def wrong(self, rule, what):
        self.violations.append(f"{rule}: {what}")

    def read(self):
        topics = self.request["topics"]
        self.events = {
            (topics["orders"], message.partition(), message.offset()): json.loads(message.value())
            for message in self.topic(topics["orders"])
        }
        self.commands = []
        for message in self.topic(topics["commands"]):
            command = json.loads(message.value())
            place = (message.partition(), message.offset())
            self.commands.append((place, message.key().decode(), command))
        self.commands.sort(key=lambda command: command[0])
        self.outcomes = [
            (message.key().decode(), json.loads(message.value()))
            for message in self.topic(topics["outcomes"])
        ]
        self.dead_letters = sum(1 for _ in self.topic(topics["dead_letters"]))
        # Which operations a lane has on record.
        self.recorded = set()
        for message in self.topic(topics["ledger"]):
            record = json.loads(message.value()) if message.value() else {}
            if record.get("state") == "accepted":
                self.recorded.add((message.partition(), record["operation"]))

    def topic(self, topic):
        """All committed records of a topic, partition by partition."""
        consumer = kafka.Consumer(
            {
                "bootstrap.servers": self.request["servers"],
                "group.id": "judges-without-a-group",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([kafka.TopicPartition(topic, p, 0) for p in partitions])
        missing = set(partitions)
        while missing:
            for message in consumer.consume(num_messages=5000, timeout=0.1):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == kafka.KafkaError._PARTITION_EOF:
                    missing.discard(message.partition())
                else:
                    raise RuntimeError(str(error))
        consumer.close()

    def lines_and_outcomes(self):
        """I1 and I6."""
        expected = {}
        for source, event in self.events.items():
            for index, device in enumerate(event["devices"]):
                line = device.get("line", str(index))
                for action in actions_of(event, device):
                    expected[(*source, line, action)] = (event, device)
        self.expected = expected

        commands = Counter(name_of(command) for _, _, command in self.commands)
        outcomes = Counter(name_of(outcome) for _, outcome in self.outcomes)
        for kind, found in [("command", commands), ("outcome", outcomes)]:
            missing = [name for name in expected if name not in found]
            foreign = [name for name in found if name not in expected]
            twice = [name for name, count in found.items() if count > 1]
            for what, names in [("without", missing), ("foreign", foreign), ("twice", twice)]:
                for name in names[:SHOWN]:
                    self.wrong("I1" if what != "twice" else "I6", f"{kind} {what}: {name}")
            self.facts[f"{kind}s_missing"] = len(missing)
            self.facts[f"{kind}s_foreign"] = len(foreign)
            self.facts[f"{kind}s_doubled"] = sum(found[name] - 1 for name in twice)

        for record in [command for _, _, command in self.commands] + [o for _, o in self.outcomes]:
            topic, partition, offset, line, action = name_of(record)
            at = record.get("recordedAt") or record["times"]["recordedAt"]
            event = record["eventId"]
            length = len(event.encode())
            place = f"{topic}/{partition}/{offset}/{milliseconds(at)}"
            id = uuid.uuid5(NAMESPACE, f"{place}/{action}/{length}/{event}/{line}")
            if record["commandId"] != str(id):
                self.wrong("I1", f"the command id of {name_of(record)} is {record['commandId']}")
            outcome_id = record.get("outcomeId")
            if outcome_id is not None and outcome_id != str(uuid.uuid5(id, "outcome")):
                self.wrong("I1", f"the outcome id of {name_of(record)} is {outcome_id}")
        self.by_id = {outcome["commandId"]: outcome for _, outcome in self.outcomes}
        if self.dead_letters:
            self.wrong("I1", f"{self.dead_letters} dead letters of sound events")
        statuses = Counter(outcome["status"] for _, outcome in self.outcomes)
        self.facts["order_events"] = len(self.events)
        self.facts["changes"] = len(expected)
        self.facts["outcomes"] = len(self.outcomes)
        self.facts["statuses"] = dict(statuses)

    def devices(self):
        """I2: the fold of each device's orders, by the order of the commands topic alone."""
        holders, metadata = {}, defaultdict(dict)
        sequence = defaultdict(lambda: -1)
        for (partition, _), key, command in self.commands:
            name = name_of(command)
            if name not in self.expected:
                continue
            source = (key, *name[:2])
            if name[2] < sequence[source]:
                self.wrong("I2", f"{key}: its commands are not in the order of its events")
            sequence[source] = name[2]
            event, device = self.expected[name]
            fold(holders, metadata, key, name[4], event, device)
        actual = {device["device"]: device for device in self.sandbox("devices")["devices"]}
        exact = 0
        keys = {key for _, key, _ in self.commands}
        for key in keys:
            there = actual.get(key) or {}
            holder = (there.get("claim") or {}).get("customerId")
            seen = (holder, there.get("metadata") or {})
            wanted = (holders.get(key), metadata[key])
            if seen == wanted:
                exact += 1
            else:
                self.wrong("I2", f"{key} is {seen}, its orders say {wanted}")
        for key in actual.keys() - keys:
            self.wrong("I2", f"{key} is at the API and in no order")
        self.facts["devices"] = len(keys)
        self.facts["devices_exact"] = exact
        self.facts["devices_held"] = sum(1 for key in keys if holders.get(key))

    def operations(self):
        """I3, and a reason for every write that was made more than once."""
        log = self.sandbox("operations")
        if log["dropped"]:
            self.wrong("I3", f"the sandbox has forgotten {log['dropped']} operations")
        self.unresolved(log["entries"])
        writes = defaultdict(list)
        for operation in log["entries"]:
            begin, end = seconds(operation["acceptedAt"]), seconds(operation["endsAt"])
            for item in operation["items"]:
                writes[item["device"]].append((begin, end, operation, item))
        commands = defaultdict(list)
        for (partition, _), key, command in self.commands:
            outcome = self.by_id.get(command["commandId"])
            if outcome is not None and outcome["status"] in OWN_CALL:
                decided = seconds(outcome["times"]["completedAt"])
                commands[key].append((command["action"], decided, partition, command["commandId"]))
        reasons, overlaps, stray, repeated = Counter(), 0, 0, 0
        for device, made in writes.items():
            made.sort(key=lambda write: write[0])
            for one, next in zip(made, made[1:]):
                if next[0] < one[1]:
                    overlaps += 1
                    names = [one[2]["name"], next[2]["name"]]
                    self.wrong("I3", f"{device} had {names} in flight at {next[2]['acceptedAt']}")
            of_command = defaultdict(list)
            for write in made:
                action = METHODS.get(write[2]["method"])
                own = [c for c in commands[device] if c[0] == action and c[1] >= write[0]]
                if own:
                    of_command[own[0]].append(write)
                else:
                    stray += 1
                    name = write[2]["name"]
                    self.wrong("I6", f"{device}: {action} in {name} belongs to no command")
            for command, its in of_command.items():
                for write, next in zip(its, its[1:]):
                    repeated += 1
                    reason = self.reason(write, next, command[2])
                    reasons[reason] += 1
                    if reason == "unexplained":
                        name, at = write[2]["name"], write[2]["acceptedAt"]
                        faults = write[2]["faults"]
                        self.wrong("twice", f"{device}: {action} in {name} at {at} {faults}")
        gaps = sorted(self.unrecorded.values())
        self.facts["operations_not_recorded"] = dict(Counter(k for k, _ in self.unrecorded))
        self.facts["seconds_to_the_disturbance"] = {
            "median": round(gaps[len(gaps) // 2], 2) if gaps else None,
            "max": round(gaps[-1], 2) if gaps else None,
        }
        self.facts["api_operations"] = len(log["entries"])
        self.facts["api_writes"] = sum(map(len, writes.values()))
        self.facts["api_writes_repeated"] = repeated
        self.facts["api_writes_repeated_because"] = dict(reasons)
        self.facts["api_writes_of_no_command"] = stray
        self.facts["operations_overlapping"] = overlaps

    def unresolved(self, operations):
        """Such an outcome may only stand where the API, or an absence longer than the deadline of
        an operation, kept the worker from a result."""
        faults = {operation["name"]: set(operation["faults"]) for operation in operations}
        excused = Counter()
        for key, outcome in self.outcomes:
            if outcome["status"] != "unresolved":
                continue
            times, its = outcome["times"], faults.get(outcome.get("operation"), set())
            waited = seconds(times["completedAt"]) - seconds(times["submittedAt"])
            if its & NEVER_ENDS:
                excused["never_ended"] += 1
            elif outcome["operation"] in faults and waited >= self.request["deadline"]:
                excused["after_deadline"] += 1
            else:
                self.wrong("I2", f"unresolved, and its operation ended: {key} {outcome}")
        self.facts["unresolved_because"] = dict(excused)

    def reason(self, write, next, lane):
        """Why a write was made again."""
        begin, _, operation, item = write
        faults = set(operation["faults"])
        if operation["delivery"] != "sent" or faults & REPLY_LOST:
            return "reply_lost"
        if faults & RESULT_BAD or item["status"] not in (None, "SINGLE_DEVICE_STATUS_SUCCESS"):
            return "result_bad"
        if (lane, operation["name"]) not in self.recorded:
            until = min(begin + RECORD_LIMIT, next[0])
            between = [(kind, at) for at, kind in self.disturbances if begin - 1 <= at <= until]
            for kind in ["kill", "broker", "proxy", "freeze", "trouble", "leave", "join"]:
                after = [max(at - begin, 0.0) for other, at in between if other == kind]
                if after:
                    # The later the kill came, the less it explains.
                    self.unrecorded[kind, operation["name"]] = min(after)
                    return f"not_recorded_{kind}"
        return "unexplained"

    def sandbox(self, path):
        with urllib.request.urlopen(f"{self.request['sandbox']}/control/{path}") as reply:
            return json.load(reply)

    def report(self):
        stats = self.sandbox("stats")
        kinds = Counter(kind for _, kind in self.disturbances)
        return {
            "violations": self.violations[: 5 * SHOWN],
            "violations_count": len(self.violations),
            **self.facts,
            "disturbances": dict(kinds),
            "replies_lost": stats["repliesLost"],
            "device_in_flight_max": stats["deviceInFlightMax"],
        }


def actions_of(event, device):
    """What an order event wants for one of its devices, in order."""
    kind = event["type"]
    if kind == "sale":
        return ["claim"]
    if kind == "amendment":
        return ["update_metadata"]
    notes = kind == "return" and ("metadata" in event or "metadata" in device)
    return ["update_metadata", "unclaim"] if notes else ["unclaim"]


def fold(holders, metadata, key, action, event, device):
    """Carries out one command on the device as the orders left it."""
    notes = {**event.get("metadata", {}), **device.get("metadata", {})}
    holder = holders.get(key)
    if action == "claim":
        customer = event["customer"]["customerId"]
        if holder not in (None, customer):
            return
        holders[key] = customer
        merge(metadata[key], {"ordernumber": event["orderId"], **notes})
    elif holder is None:
        return
    elif action == "update_metadata":
        merge(metadata[key], notes)
    elif metadata[key].get("ordernumber", event["orderId"]) == event["orderId"]:
        holders[key] = None
        metadata[key] = {}


def merge(metadata, notes):
    for name, value in notes.items():
        if value:
            metadata[name] = value
        else:
            metadata.pop(name, None)


def name_of(record):
    source = record["source"]
    place = (source["topic"], source["partition"], source["offset"])
    return (*place, record["line"], record["action"])


def seconds(text):
    """An RFC 3339 time in UTC, with as many digits as there are."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + (float("0." + fraction) if fraction else 0.0)


def milliseconds(text):
    """The same in milliseconds, as Kafka counts."""
    return round(seconds(text) * 1000)


if __name__ == "__main__":
    main()
