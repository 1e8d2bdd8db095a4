#!/usr/bin/env python3
"""A subscriber to the outcomes of zerotouch-worker.

    pip install confluent-kafka
    subscriber.py --bootstrap-servers localhost:9092 --database outcomes.sqlite

It writes the state of every order line into a small database. The two things to copy: outcomes
are read with `read_committed`, and what an outcome causes is stored together with its `ce_id`, so
that reading it a second time changes nothing.
"""

import argparse
import json
import signal
import sqlite3
import sys

from confluent_kafka import Consumer, KafkaException

# What each status means for an order line. A status that is not here is a mistake worth an alarm,
# not something to guess about.
LINE_STATES = {
    "succeeded": "done",
    "failed": "failed",
    "superseded": "replaced",  # a later command of the device decided: see decidedBy
    "merged": "carried along",  # its fate is that of the command in decidedBy
    "cancelled": "cancelled",
    "stale": "not allowed",  # the device belongs to another customer or order by now
    "unresolved": "to be checked",  # nobody knows: look the device up, or ask a person
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (outcome_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS lines (
    order_id TEXT, line TEXT, action TEXT, state TEXT, code TEXT, decided_by TEXT,
    PRIMARY KEY (order_id, line, action)
);
"""


def header(message, name):
    for key, value in message.headers() or []:
        if key == name:
            return value.decode()
    raise ValueError(f"offset {message.offset()} has no header {name}: is this the right topic?")


def handle(database, message):
    """Stores what the outcome causes, and that it was seen, in one step. False: seen before."""
    outcome = json.loads(message.value())
    state = LINE_STATES.get(outcome["status"])
    if state is None:
        raise ValueError(f"unknown status {outcome['status']!r}: this subscriber is too old")
    with database:  # one transaction
        fresh = database.execute(
            "INSERT OR IGNORE INTO seen VALUES (?)", (header(message, "ce_id"),)
        ).rowcount
        if not fresh:
            return False
        database.execute(
            "INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?, ?)",
            (
                outcome["orderId"],
                outcome["line"],
                outcome["action"],
                state,
                outcome.get("failure", {}).get("code"),
                outcome.get("decidedBy"),
            ),
        )
    failure = outcome.get("failure")
    why = f": {failure['code']}: {failure['message']}" if failure else ""
    # The key holds a whole hardware id: keep it out of logs.
    print(f"{outcome['orderId']} line {outcome['line']}: {outcome['action']} {state}{why}")
    return True


def connect(servers, group):
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "isolation.level": "read_committed",  # an aborted outcome never happened
            "enable.auto.commit": False,  # commit once your own work is stored
            "auto.offset.reset": "earliest",
        }
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap-servers", default="localhost:9092")
    arguments.add_argument("--group", default="order-desk")
    arguments.add_argument("--topic", default="zerotouch.outcomes")
    arguments.add_argument("--database", default="outcomes.sqlite")
    arguments.add_argument("--max", type=int, help="end after so many records")
    options = arguments.parse_args()

    stopping = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.append(True))

    database = sqlite3.connect(options.database)
    database.executescript(SCHEMA)
    consumer = connect(options.bootstrap_servers, options.group)
    consumer.subscribe([options.topic])
    fresh = again = 0
    try:
        while not stopping and fresh + again != options.max:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            if handle(database, message):
                fresh += 1
            else:
                again += 1
            consumer.commit(message, asynchronous=False)
    finally:
        consumer.close()
        database.close()
    print(f"{fresh} outcomes, {again} seen before", file=sys.stderr)


if __name__ == "__main__":
    main()
